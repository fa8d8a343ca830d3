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

/// Makes a Vault, and passes its URL on.
type WithOther = fn(&mut dyn FnMut(&str));

/// How Vault gets into the state of a row.
enum Way {
    /// Something happens to the Vault of a server that runs, and is undone.
    After(fn(&mut Bao), fn(&mut Bao)),
    /// A server starts with another Vault, which is so already.
    Beside(WithOther),
    /// Vault is away for a moment, and is told to be there again.
    ComesBack,
}

/// A reader who has followed the README, once for many rows: its commands take much time.
struct Reader {
    bao: Bao,
    session: Session,
    /// The server's configuration.
    config: String,
}

#[test]
fn the_log_says_what_the_table_promises() {
    let mut rows = rows();
    assert!(rows.iter().filter(|row| !row.texts.is_empty()).count() >= 5, "a table of promises");
    rows.retain(|row| !row.texts.is_empty());
    let ways: Vec<(&Row, Way)> =
        rows.iter().flat_map(|row| row.ways().into_iter().map(move |way| (row, way))).collect();
    let (beside, after): (Vec<_>, Vec<_>) =
        ways.iter().partition(|(_, way)| matches!(way, Way::Beside(_)));
    std::thread::scope(|scope| {
        scope.spawn(|| Reader::new(Bao::start_in_memory()).meets(&beside));
        scope.spawn(|| Reader::new(Bao::start()).meets(&after));
    });
}

impl Reader {
    fn new(bao: Bao) -> Self {
        let session = tour::with_vault(&bao);
        let config = std::fs::read_to_string(session.file("config.yml")).unwrap();
        assert!(config.contains(&bao.url()));
        Self { bao, session, config }
    }

    fn meets(mut self, ways: &[&(&Row, Way)]) {
        for (row, way) in ways {
            match way {
                Way::After(happens, undo) => {
                    self.start_server_with(&self.bao.url());
                    happens(&mut self.bao);
                    row.is_told(&mut self.session);
                    undo(&mut self.bao);
                }
                Way::Beside(make) => make(&mut |url| {
                    self.start_server_with(url);
                    row.is_told(&mut self.session);
                }),
                Way::ComesBack => self.comes_back(),
            }
        }
    }

    /// Ends the server, and starts it with this Vault.
    fn start_server_with(&mut self, url: &str) {
        self.session.end_server();
        let config = self.config.replace(&self.bao.url(), url);
        std::fs::write(self.session.file("config.yml"), config).unwrap();
        self.session.run_line("the test", "kes server --config config.yml");
    }

    fn comes_back(&mut self) {
        self.start_server_with(&self.bao.url());
        self.bao.kill();
        let told = |text: &str| self.session.output().matches(text).count();
        let away = || told("vault: not available") == 1;
        wait::eventually(LIMIT, "it is told that Vault is away", away);
        self.bao.start_again();
        self.bao.unseal();
        let back = || told("vault: available") == 2;
        wait::eventually(LIMIT, "it is told that Vault is back", back);
    }
}

impl Row {
    fn ways(&self) -> Vec<Way> {
        let sealed = Way::After(|bao| bao.seal(), |bao| bao.unseal());
        let uninitialised = Way::Beside(|with| with(&Bao::start_uninitialised().url()));
        match &*self.vault {
            "down" | "down, or resets connections" => {
                vec![Way::After(Bao::kill, Bao::restart)]
            }
            "hanging, or its packets are lost" => {
                vec![Way::After(|bao| bao.freeze(), |bao| bao.thaw())]
            }
            "sealed" => vec![sealed],
            "not initialised" => vec![uninitialised],
            "sealed, or not initialised" => vec![sealed, uninitialised],
            "up, and refuses the login" => {
                vec![Way::Beside(|with| with(&Bao::start_in_memory().url()))]
            }
            "up, with a certificate that is not trusted" => {
                vec![Way::Beside(|with| with(&Bao::start_tls(&Authority::new(), false).url()))]
            }
            "a cluster that elects a leader" => {
                vec![Way::Beside(|with| with(&without_leader().url()))]
            }
            vault if vault.starts_with("away for up to") => vec![Way::ComesBack],
            vault => panic!("no test makes Vault '{vault}': see tests/docs/away.rs"),
        }
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

/// The cause that the log has is the one that holds, also when it is another than at first.
#[test]
fn a_cause_that_changes_is_told() {
    let mut reader = Reader::new(Bao::start());
    let relay = Relay::to(reader.bao.address());
    reader.start_server_with(&format!("http://{}", relay.address()));
    let Reader { bao, session, .. } = reader;
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
