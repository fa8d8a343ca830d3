//! `docs/vault.md`, "When Vault is away": what its rows promise of the log is said when a real
//! OpenBao gets into that state.

use std::time::Duration;

use kes_testkit::faulty::{Faulty, Mode, Relay, Reply};
use kes_testkit::{Authority, Bao, wait};
use serde_json::json;

use super::book::Book;
use super::session::Session;
use super::tour;

/// A hanging Vault is told after the time that a question for its health may take.
const LIMIT: Duration = Duration::from_secs(60);

/// A row of the table: what Vault is, and the texts of which the log has one.
struct Row {
    vault: String,
    texts: Vec<String>,
}

#[test]
fn the_log_says_what_the_table_promises() {
    let mut rows = rows();
    assert!(rows.iter().filter(|row| !row.texts.is_empty()).count() >= 5, "a table of promises");
    rows.retain(|row| !row.texts.is_empty());
    std::thread::scope(|scope| {
        for row in &rows {
            scope.spawn(|| row.happens());
        }
    });
}

impl Row {
    fn happens(&self) {
        match &*self.vault {
            "down" | "down, or resets connections" => self.after(Bao::kill),
            "hanging, or its packets are lost" => self.after(|bao| bao.freeze()),
            "sealed" => self.after(|bao| bao.seal()),
            "not initialised" => self.beside(&Bao::start_uninitialised().url()),
            "sealed, or not initialised" => {
                self.after(|bao| bao.seal());
                self.beside(&Bao::start_uninitialised().url());
            }
            "up, and refuses the login" => self.beside(&Bao::start_in_memory().url()),
            "up, with a certificate that is not trusted" => {
                self.beside(&Bao::start_tls(&Authority::new(), false).url());
            }
            "a cluster that elects a leader" => self.beside(&without_leader().url()),
            vault if vault.starts_with("away for up to") => comes_back(),
            vault => panic!("no test makes Vault '{vault}': see tests/docs/away.rs"),
        }
    }

    /// Something happens to the Vault of a server that runs.
    fn after(&self, happens: impl FnOnce(&mut Bao)) {
        let mut bao = Bao::start();
        let mut session = tour::with_vault(&bao);
        happens(&mut bao);
        self.is_told(&mut session);
        if self.vault.starts_with("hanging") {
            bao.thaw();
        }
    }

    /// A server starts with a Vault that is so already.
    fn beside(&self, other: &str) {
        let bao = Bao::start_in_memory();
        let mut session = tour::with_vault(&bao);
        session.end_server();
        let config = session.file("config.yml");
        let text = std::fs::read_to_string(&config).unwrap();
        assert!(text.contains(&bao.url()));
        std::fs::write(&config, text.replace(&bao.url(), other)).unwrap();
        session.run_line("the test", "kes server --config config.yml");
        self.is_told(&mut session);
    }

    /// The log has one of the texts after a request.
    fn is_told(&self, session: &mut Session) {
        let export = "export KES_SERVER=https://127.0.0.1:7373";
        session.run_line("README.md", export);
        session.run_line("the test", "! kes key create another-key");
        let is_there = |log: &str| {
            self.texts.iter().any(|text| {
                let parts = text.split('…').map(|part| part.trim_end_matches("https://"));
                log.lines().any(|line| parts.clone().all(|part| line.contains(part)))
            })
        };
        let mut log = String::new();
        let what = format!("'{}': {:?} is logged", self.vault, self.texts);
        let end = std::time::Instant::now() + LIMIT;
        wait::eventually(LIMIT * 2, &what, || {
            log = session.output();
            assert!(std::time::Instant::now() < end || is_there(&log), "{what}, not\n{log}");
            is_there(&log)
        });
    }
}

/// Vault is away for a moment, and is told to be there again.
fn comes_back() {
    let mut bao = Bao::start();
    let session = tour::with_vault(&bao);
    bao.kill();
    let told = |text: &str| session.output().matches(text).count();
    wait::eventually(LIMIT, "it is told that Vault is away", || told("vault: not available") == 1);
    bao.start_again();
    bao.unseal();
    wait::eventually(LIMIT, "it is told that Vault is back", || told("vault: available") == 2);
}

/// The cause that the log has is the one that holds, also when it is another than at first.
#[test]
fn a_cause_that_changes_is_told() {
    let bao = Bao::start();
    let relay = Relay::to(bao.address());
    let mut session = tour::with_vault(&bao);
    session.end_server();
    let config = session.file("config.yml");
    let text = std::fs::read_to_string(&config).unwrap();
    let url = format!("http://{}", relay.address());
    std::fs::write(&config, text.replace(&bao.url(), &url)).unwrap();
    session.run_line("the test", "kes server --config config.yml");
    let is_told = |text: &str| {
        let what = format!("'{text}' is told");
        wait::eventually(LIMIT, &what, || session.output().contains(text));
    };
    relay.set(Mode::Refuse);
    is_told("not available: no connection to");
    relay.set(Mode::Answer(500));
    is_told("not available: http://127.0.0.1:");
    relay.set(Mode::Pass);
    bao.seal();
    is_told(" is sealed");
}

/// A standby of a cluster that knows no leader, as it answers until one is elected.
fn without_leader() -> Faulty {
    Faulty::start(|request| match request.path() {
        "/v1/sys/health" => {
            Reply::json(200, json!({ "initialized": true, "sealed": false, "standby": true }))
        }
        "/v1/sys/leader" => Reply::json(200, json!({ "ha_enabled": true, "leader_address": "" })),
        _ => Reply::json(
            500,
            json!({ "errors": ["local node not active but active cluster node not found"] }),
        ),
    })
}

/// The rows of the table, with the texts in their last column.
fn rows() -> Vec<Row> {
    let book = Book::read();
    let text = &book.documents["docs/vault.md"];
    let (_, after) = text.split_once("\n| Vault is |").expect("the table is there");
    let (_, rows) = after.split_once("\n| --- ").unwrap();
    let rows = rows.lines().skip(1).take_while(|line| line.starts_with('|'));
    rows.map(|line| {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let [vault, .., log] = cells[..] else { panic!("{line}") };
        let texts = log.split('`').skip(1).step_by(2).map(str::to_owned).collect();
        Row { vault: vault.to_owned(), texts }
    })
    .collect()
}
