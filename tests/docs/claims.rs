//! Figures and names in the documentation are those of the program.

use std::collections::BTreeSet;
use std::time::Duration;

use kes_testkit::{Bao, wait};
use rustix::process::Signal;

use super::Runner;
use super::book::{Book, root};
use super::session::Session;
use super::tour;

/// What a document says of limits that a crate has.
struct Limits {
    document: &'static str,
    crate_folder: &'static str,
    /// The words of the document, the constant, and its value.
    limits: &'static [(&'static str, &'static str, &'static str)],
}

const VAULT: &str = "docs/vault.md";

const KNOWN_ROOM: &str = "Room { requests: 1024, of_identity: 64 }";

const STRANGERS_ROOM: &str = "Room { requests: 256, of_identity: 16 }";

const BUDGETS: &str = "Budgets { reads: 1024, changes: 1024, listings: 8 }";

const LIMITS: [Limits; 11] = [
    Limits {
        document: "docs/contract/config.md",
        crate_folder: "server",
        limits: &[
            ("Up to 8 streams are open", "MAX_STREAMS", "8"),
            ("from the 16 connections", "MAX_CONNECTIONS", "16"),
            ("takes nothing for 15 s", "STALLED", "Duration::from_secs(15)"),
        ],
    },
    Limits {
        document: "docs/policies.md",
        crate_folder: "server",
        limits: &[
            ("1,024 different requests of identities with a policy", "KNOWN", KNOWN_ROOM),
            ("256 of all others, 16 of each", "STRANGERS", STRANGERS_ROOM),
        ],
    },
    Limits {
        document: "docs/limits.md",
        crate_folder: "server",
        limits: &[
            ("waits for its turn, up to 1 s", "WAIT", "Duration::from_secs(1)"),
            ("Up to 64 requests wait", "WAITING_OF_IDENTITY", "64"),
            ("and 256 in all", "WAITING", "256"),
            ("idle for | 5 s |", "STRANGER_IDLE_TIMEOUT", "Duration::from_secs(5)"),
            ("idle for | 5 s | 90 s | 90 s |", "IDLE_TIMEOUT", "Duration::from_secs(90)"),
            ("untaken for | 5 s |", "STRANGER_ANSWER_TIMEOUT", "Duration::from_secs(5)"),
            ("untaken for | 5 s | 15 s | 15 s |", "ANSWER_TIMEOUT", "Duration::from_secs(15)"),
            ("connection | 0.5 s |", "STRANGER_GRACEFUL_SHUTDOWN", "Duration::from_millis(500)"),
            ("connection | 0.5 s | 5 s | 5 s |", "GRACEFUL_SHUTDOWN", "Duration::from_secs(5)"),
            ("connection | 100 |", "STRANGER_MAX_STREAMS", "100"),
            ("connection | 100 | 256 | 256 |", "MAX_STREAMS", "256"),
            ("one log | 8 |", "STRANGER_FOLLOWERS", "8"),
            ("one log | 8 | 56, with strangers |", "OTHER_FOLLOWERS", "56"),
            ("with strangers | 64, with all |", "MAX_FOLLOWERS", "64"),
            ("48 MiB each | 48 MiB |", "LARGE_BODIES", "48 << 20"),
            ("8 MiB each | 8 MiB |", "SMALL_BODIES", "8 << 20"),
            ("have twice the memory of one", "SERVER", "2"),
        ],
    },
    Limits {
        document: "SECURITY.md",
        crate_folder: "server",
        limits: &[
            ("64 KiB for a request's head", "MAX_HEAD", "64 * 1024"),
            ("5 s for a handshake", "HANDSHAKE", "Duration::from_secs(5)"),
            ("256 requests at a time", "MAX_STREAMS", "256"),
            ("48 MiB in large pieces", "LARGE_BODIES", "48 << 20"),
            ("8 MiB in small ones", "SMALL_BODIES", "8 << 20"),
            ("twice that for all but the admin", "SERVER", "2"),
            ("within 15 s, by a stranger", "ANSWER_TIMEOUT", "Duration::from_secs(15)"),
            ("a stranger within 5 s", "STRANGER_ANSWER_TIMEOUT", "Duration::from_secs(5)"),
            ("An idle one is closed after 5 s", "STRANGER_IDLE_TIMEOUT", "Duration::from_secs(5)"),
            ("A chain has at most 16 KiB", "MAX_CHAIN", "16 * 1024"),
            ("of TLS 1.2 together 8 MiB", "MAX_BYTES", "8 << 20"),
            ("8,192 lines or 4 MiB", "CHANGES", "lines: 8 * 1024, bytes: 4 * 1024 * 1024"),
        ],
    },
    Limits {
        document: "SECURITY.md",
        crate_folder: "api",
        limits: &[("1 MB for its body", "MAX_BODY", "1_000_000")],
    },
    Limits {
        document: "SECURITY.md",
        crate_folder: "keystore",
        limits: &[
            (
                "96 reads, 64 changes and 8 listings at a folder",
                "BUDGETS",
                "Budgets { reads: 96, changes: 64, listings: 8 }",
            ),
            ("1,024, 1,024 and 8 at Vault", "BUDGETS", BUDGETS),
        ],
    },
    Limits {
        document: "docs/differences.md",
        crate_folder: "server",
        limits: &[
            ("64 clients at a time can follow each log", "MAX_FOLLOWERS", "64"),
            ("up to 10 s to finish", "DRAIN", "Duration::from_secs(10)"),
            ("fit into 768 KiB", "PAGE", "768 * 1024"),
            ("2 MiB within 5 s", "MAX_UNUSED", "2 * 1024 * 1024"),
            ("within 5 s", "UNUSED_TIME", "Duration::from_secs(5)"),
        ],
    },
    Limits {
        document: "docs/differences.md",
        crate_folder: "api",
        limits: &[("1,000 ciphertexts", "MAX_BULK", "1_000")],
    },
    Limits {
        document: VAULT,
        crate_folder: "server",
        limits: &[
            ("768 KiB of JSON", "PAGE", "768 * 1024"),
            ("makes eight pages at a time", "MAKING", "8"),
            ("more than 64 KiB that its client", "LARGE", "64 * 1024"),
            ("one of 32 places", "LARGE_ANSWERS", "32"),
        ],
    },
    Limits {
        document: VAULT,
        crate_folder: "keys",
        limits: &[
            ("16 times within one second", "THRESHOLD", "16"),
            ("16 times within one second", "WINDOW", "Duration::from_secs(1)"),
        ],
    },
    Limits {
        document: VAULT,
        crate_folder: "keystore",
        limits: &[
            ("49,153 names at a time", "NAMES", "48 * 1024 + 1"),
            ("asks again every 0.5 s", "RECOVERY_PING", "Duration::from_millis(500)"),
            ("up to 4.5 s", "PATIENCE", "Duration::from_millis(4500)"),
            ("4.5 s from the first try", "PATIENCE", "Duration::from_millis(4500)"),
            ("away for more than 4 s", "AWAY", "Duration::from_secs(4)"),
            ("every 0.25 s on behalf of all", "PROBE_PAUSE", "Duration::from_millis(250)"),
            ("At most 1,024 calls wait", "MAX_WAITING", "1024"),
            (
                "after 0.1 s, doubled each time up to 1 s",
                "PAUSES",
                "[Duration::from_millis(100), Duration::from_secs(1)]",
            ),
            ("| 2 s |", "CONNECT_LIMIT", "Duration::from_secs(2)"),
            ("| 5 s; a listing 10 s |", "ANSWER_LIMIT", "Duration::from_secs(5)"),
            ("| 5 s; a listing 10 s |", "LIST_LIMIT", "Duration::from_secs(10)"),
            ("| 12 s;", "CALL_LIMIT", "Duration::from_secs(12)"),
            ("every 0.75 s", "MAX_INTERVAL", "Duration::from_millis(750)"),
            ("answer within 2 s", "PING_LIMIT", "Duration::from_secs(2)"),
            ("one a second, also", "LOGIN_PAUSE", "Duration::from_secs(1)"),
            (
                "1 s, doubled each time up to 15 s",
                "REFUSED_PAUSE",
                "[Duration::from_secs(1), Duration::from_secs(15)]",
            ),
            ("younger than 3 s", "UNHEARD", "Duration::from_secs(3)"),
            ("older than 30 s", "OLD_RIGHTS", "Duration::from_secs(30)"),
            ("| 96 for reads of keys", "MAX_READ_REQUESTS", "96"),
            ("and 64 for all else", "MAX_OTHER_REQUESTS", "64"),
            ("1,024 reads, 1,024 creates and deletes, and 8 listings", "BUDGETS", BUDGETS),
            ("closed after 60 s", "IDLE_LIMIT", "Duration::from_secs(60)"),
            ("64 are kept for each endpoint", "MAX_IDLE", "64"),
            ("every 15 s", "KEEPALIVE", "Duration::from_secs(15)"),
            ("| 10 s; if its fate", "MAX_HOLD", "Duration::from_secs(10)"),
            ("is not known, 25 s |", "MAX_UNSURE", "Duration::from_secs(25)"),
            ("15 s if its policy", "DEAD_HARMLESS", "Duration::from_secs(15)"),
            ("else 120 s |", "DEAD", "Duration::from_secs(120)"),
            ("90 s after it was sent", "MAX_DURATION", "Duration::from_secs(90)"),
            ("waits for at most 10 s", "TURN_LIMIT", "Duration::from_secs(10)"),
            ("at most 32 MiB", "MAX_ANSWER", "32 << 20"),
            ("at most four listings", "RUNS", "4"),
            ("for 10 s", "MAX_AGE", "Duration::from_secs(10)"),
        ],
    },
];

#[test]
fn every_limit_is_the_programs() {
    let book = Book::read();
    for Limits { document, crate_folder, limits } in LIMITS {
        let text = book.documents[document].split_whitespace().collect::<Vec<_>>().join(" ");
        let sources = sources(crate_folder);
        let lines: Vec<&str> = sources.iter().flat_map(|text| text.lines()).collect();
        for (phrase, constant, value) in limits {
            assert!(text.contains(phrase), "{document} does not say '{phrase}' ({constant})");
            let named = format!("const {constant}: ");
            assert!(
                lines.iter().any(|line| line.contains(&named) && line.contains(value)),
                "{document} says '{phrase}', and {constant} of {crate_folder} is not {value}"
            );
        }
    }
}

/// A promise about security names what checks it, and each test that it names is there.
#[test]
fn every_promise_names_its_tests() {
    let book = Book::read();
    let text = &book.documents["SECURITY.md"];
    let rows: Vec<&str> = text
        .lines()
        .filter(|line| line.starts_with("| ") && !line.starts_with("| asset |"))
        .filter(|line| !line.starts_with("| --- |"))
        .collect();
    assert!(rows.len() > 20, "{rows:#?}");
    for row in rows {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        assert!(cells.len() == 4 && cells[3].starts_with('`'), "no check: {row}");
    }
}

/// A document names tests as `tests/cache.rs: the_offline_time_has_an_end`.
#[test]
fn every_test_that_is_named_is_there() {
    let book = Book::read();
    let mut missing = Vec::new();
    let mut count = 0;
    for code in &book.codes {
        let Some((file, test)) = code.text.split_once(".rs: ") else { continue };
        count += 1;
        let file = format!("{file}.rs");
        let source = std::fs::read_to_string(root().join(&file)).unwrap_or_default();
        let function = format!("{test}(");
        let is_test = ["#[test]", "#[tokio::test"].into_iter().any(|attribute| {
            source.split(attribute).skip(1).any(|after| {
                after.split_once("fn ").is_some_and(|(_, name)| name.starts_with(&function))
            })
        });
        if !is_test {
            missing.push(format!("{}:{}: {}", code.document, code.line, code.text));
        }
    }
    assert!(count > 50, "{count}");
    assert_eq!(missing, [""; 0]);
}

/// Every metric that a document names stands in the answer of a server with keys in Vault.
#[test]
fn every_metric_is_there() {
    let bao = Bao::start_in_memory();
    let mut session: Session = tour::with_vault(&bao);
    let config = session.file("config.yml");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text.replace("    - /v1/status\n", "    - /v1/metrics\n")).unwrap();
    session.end_server();
    session.run_line("the test", "kes server --config config.yml");
    session.run_line("README.md", "export KES_SERVER=https://127.0.0.1:7373");
    // A counter of answers is there once there was such an answer, that of reloads after a reload, and
    // that of policies once one has refused something.
    let metrics = "curl -sS --fail --cacert server.crt --cert minio.crt --key minio.key \
                   -H 'Accept: text/plain;version=0.0.4' https://127.0.0.1:7373/v1/metrics";
    session.signal_server(Signal::HUP);
    let is_told = || session.succeeds(&format!("{metrics} | grep -q kes_config_reloads"));
    wait::eventually(Duration::from_secs(60), "a reload is counted", is_told);
    bao.seal();
    session.run_line(
        "the test",
        "kes key create a-key && exit 1 || kes key ls unknown && exit 1 || kes log && exit 1 || :",
    );
    let answer = session.run_line("the test", metrics);
    let there: BTreeSet<&str> = answer
        .stdout
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next())
        .collect();
    let is_metric = |text: &str| text.starts_with("kes_") && !text.ends_with(".deb");
    let named = Book::read().codes.into_iter().filter(|code| is_metric(&code.text));
    let mut count = 0;
    for code in named {
        count += 1;
        let name = code.text.split('{').next().unwrap();
        assert!(there.contains(name), "{}:{}: {name}: {there:?}", code.document, code.line);
    }
    assert!(count > 5);
}

/// The variables that the README lists are those that the command reads.
#[test]
fn every_variable_is_read() {
    let environment = std::fs::read_to_string(root().join("cli/env.rs")).unwrap();
    let named: BTreeSet<String> =
        Book::read().codes.into_iter().map(|code| code.text).filter(|t| is_variable(t)).collect();
    let of_minio = |name: &&String| name.starts_with("MINIO_KMS_");
    for name in named.iter().filter(|name| !of_minio(name)) {
        assert!(environment.contains(&format!("\"{name}\"")), "{name} is not read");
    }
    let read = environment.split('"').skip(1).step_by(2).filter(|name| is_variable(name));
    for name in read {
        assert!(named.contains(name), "no document names {name}");
    }
}

fn is_variable(text: &str) -> bool {
    (text.starts_with("KES_") || text.starts_with("MINIO_K"))
        && text.chars().all(|c| c.is_ascii_uppercase() || c == '_')
}

/// A table that a bench printed has the rows that the bench prints today.
#[test]
fn every_row_of_figures_is_printed_by_the_bench() {
    let tail = std::fs::read_to_string(root().join("benches/serve/tail.rs")).unwrap();
    let servers = std::fs::read_to_string(root().join("benches/serve/servers.rs")).unwrap();
    for block in Book::read().blocks_of(Runner::Figures) {
        for line in block.text.lines().filter(|line| !line.trim().is_empty()) {
            // The label; figures are set apart by blanks.
            let label = line.split("  ").next().unwrap();
            let label = label.split([',', ':']).next().unwrap().trim();
            let is_there = tail.contains(label) || servers.contains(&format!("\"{label}\""));
            assert!(label.is_empty() || is_there, "{}: '{label}'", block.place());
        }
    }
}

/// The source files of a crate.
fn sources(crate_folder: &str) -> Vec<String> {
    let mut texts = Vec::new();
    let mut folders = vec![root().join(crate_folder).join("src")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                texts.push(std::fs::read_to_string(path).unwrap());
            }
        }
    }
    texts
}
