//! Figures and names in the documentation are those of the program.

use std::collections::BTreeSet;

use kes_testkit::Bao;

use super::Runner;
use super::book::{Book, root};
use super::session::Session;
use super::tour;

/// What a document says of a limit, the crate that has it, and the constant.
const LIMITS: [(&str, &str, &str, &str, &str); 44] = [
    ("SECURITY.md", "64 KiB for a request's head", "server", "MAX_HEAD", "64 * 1024"),
    ("SECURITY.md", "1 MB for its body", "api", "MAX_BODY", "1_000_000"),
    ("SECURITY.md", "5 s for a handshake", "server", "HANDSHAKE", "Duration::from_secs(5)"),
    ("SECURITY.md", "256 requests at a time", "server", "MAX_STREAMS", "256"),
    (
        "docs/differences.md",
        "64 clients at a time can follow each log",
        "server",
        "MAX_FOLLOWERS",
        "64",
    ),
    ("docs/differences.md", "1,000 ciphertexts", "api", "MAX_BULK", "1_000"),
    ("docs/differences.md", "up to 10 s to finish", "server", "DRAIN", "Duration::from_secs(10)"),
    ("docs/differences.md", "fit into 768 KiB", "server", "PAGE", "768 * 1024"),
    ("docs/differences.md", "2 MiB within 2 s", "server", "MAX_UNWANTED", "2 * 1024 * 1024"),
    ("docs/differences.md", "within 2 s", "server", "UNWANTED_TIME", "Duration::from_secs(2)"),
    (VAULT, "768 KiB of JSON", "server", "PAGE", "768 * 1024"),
    (VAULT, "makes four pages at a time", "server", "MAKING", "4"),
    (VAULT, "more than 64 KiB that its client", "server", "LARGE", "64 * 1024"),
    (VAULT, "one of 32 places", "server", "LARGE_ANSWERS", "32"),
    (VAULT, "49,153 names at a time", "keystore", "NAMES", "48 * 1024 + 1"),
    (VAULT, "16 times within one second", "server", "STORM", "16"),
    (VAULT, "16 times within one second", "server", "MEMORY", "Duration::from_secs(1)"),
    (VAULT, "asks again every 0.5 s", "keystore", "RECOVERY_PING", "Duration::from_millis(500)"),
    (VAULT, "up to 4.5 s", "keystore", "PATIENCE", "Duration::from_millis(4500)"),
    (VAULT, "4.5 s from the first try", "keystore", "PATIENCE", "Duration::from_millis(4500)"),
    (VAULT, "away for more than 4 s", "keystore", "AWAY", "Duration::from_secs(4)"),
    (VAULT, "every 0.25 s on behalf of all", "keystore", "SCOUT", "Duration::from_millis(250)"),
    (VAULT, "At most 1,024 calls wait", "keystore", "MAX_WAITING", "1024"),
    (
        VAULT,
        "after 0.1 s, doubled each time up to 1 s",
        "keystore",
        "PAUSES",
        "[Duration::from_millis(100), Duration::from_secs(1)]",
    ),
    (VAULT, "| 2 s |", "keystore", "CONNECT_LIMIT", "Duration::from_secs(2)"),
    (VAULT, "| 5 s; a listing 10 s |", "keystore", "ANSWER_LIMIT", "Duration::from_secs(5)"),
    (VAULT, "| 5 s; a listing 10 s |", "keystore", "LIST_LIMIT", "Duration::from_secs(10)"),
    (VAULT, "| 12 s;", "keystore", "CALL_LIMIT", "Duration::from_secs(12)"),
    (VAULT, "every 0.75 s", "keystore", "MAX_INTERVAL", "Duration::from_millis(750)"),
    (VAULT, "answer within 2 s", "keystore", "PING_LIMIT", "Duration::from_secs(2)"),
    (VAULT, "one a second, also", "keystore", "LOGIN_PAUSE", "Duration::from_secs(1)"),
    (
        VAULT,
        "1 s, doubled each time up to 15 s",
        "keystore",
        "REFUSED_PAUSE",
        "[Duration::from_secs(1), Duration::from_secs(15)]",
    ),
    (VAULT, "younger than 3 s", "keystore", "UNHEARD", "Duration::from_secs(3)"),
    (VAULT, "older than 30 s", "keystore", "OLD_RIGHTS", "Duration::from_secs(30)"),
    (VAULT, "| 128 for each server", "keystore", "MAX_CALLS", "128"),
    (VAULT, "closed after 60 s", "keystore", "IDLE_LIMIT", "Duration::from_secs(60)"),
    (VAULT, "64 are kept for each endpoint", "keystore", "MAX_IDLE", "64"),
    (VAULT, "every 15 s", "keystore", "KEEPALIVE", "Duration::from_secs(15)"),
    (VAULT, "| 10 s; if its fate", "keystore", "MAX_HOLD", "Duration::from_secs(10)"),
    (VAULT, "is not known, 25 s |", "keystore", "MAX_UNSURE", "Duration::from_secs(25)"),
    (VAULT, "| 120 s |", "keystore", "DEAD", "Duration::from_secs(120)"),
    (VAULT, "at most 32 MiB", "keystore", "MAX_ANSWER", "32 << 20"),
    (VAULT, "at most four listings", "keystore", "RUNS", "4"),
    (VAULT, "for 10 s", "keystore", "MAX_AGE", "Duration::from_secs(10)"),
];

const VAULT: &str = "docs/vault.md";

#[test]
fn every_limit_is_the_programs() {
    let book = Book::read();
    for (document, phrase, crate_folder, constant, value) in LIMITS {
        let text = book.documents[document].split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(text.contains(phrase), "{document} does not say '{phrase}' ({constant})");
        let line = sources(crate_folder)
            .iter()
            .flat_map(|text| text.lines())
            .find(|line| line.contains(&format!("const {constant}: ")) && line.contains(value))
            .is_some();
        assert!(
            line,
            "{document} says '{phrase}', and {constant} of {crate_folder} is not {value}"
        );
    }
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
    // A counter of answers is there once there was such an answer.
    bao.seal();
    session.run_line("README.md", "export KES_SERVER=https://127.0.0.1:7373");
    session.run_line(
        "the test",
        "kes key create a-key && exit 1 || kes key ls unknown && exit 1 || :",
    );
    let answer = session.run_line(
        "the test",
        "curl -sS --fail --cacert server.crt --cert minio.crt --key minio.key \
         -H 'Accept: text/plain;version=0.0.4' https://127.0.0.1:7373/v1/metrics",
    );
    let there: BTreeSet<&str> = answer
        .stdout
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next())
        .collect();
    let named = Book::read().codes.into_iter().filter(|code| code.text.starts_with("kes_"));
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
