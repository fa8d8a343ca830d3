//! `docs/operations.md`: the paths of its probes and scrapers are those of a server with its
//! configuration.

use std::process::Command;

use kes_testkit::wait;

use super::Runner;
use super::book::Book;
use crate::harness::{Config, Server};

#[test]
fn probes_and_scrapers_are_answered() {
    let server =
        Server::with(&Config::usual().with("operations", "{ address: '127.0.0.1:0', tls: on }"));
    let mut url = None;
    wait::eventually(std::time::Duration::from_secs(30), "the listener is told", || {
        let printed = server.stdout();
        let mut lines = printed.split_inclusive('\n').filter(|line| line.ends_with('\n'));
        url = lines.find_map(|line| Some(line.strip_prefix("Operations ")?.trim().to_owned()));
        url.is_some()
    });
    let url = url.unwrap();
    let mut paths = Vec::new();
    for block in Book::read().blocks_of(Runner::Probes) {
        let text = block.text.to_ascii_lowercase();
        assert!(text.contains("https") && text.contains("7374"), "{}", block.place());
        let words: Vec<&str> = block.text.split([' ', ',', '\n']).collect();
        let named = words.windows(2).filter(|pair| pair[0].ends_with("path:")).map(|pair| pair[1]);
        paths.extend(named.map(str::to_owned));
    }
    assert_eq!(paths, ["/ready", "/live", "/ready?keystore=false", "/metrics"]);
    for path in paths {
        let output = Command::new("curl")
            .args(["--silent", "--show-error", "--fail", "--max-time", "30", "--cacert"])
            .arg(server.file("server.crt"))
            .arg(format!("{url}{path}"))
            .output()
            .expect("the tests need curl");
        assert!(output.status.success(), "{path}: {}", String::from_utf8_lossy(&output.stderr));
    }
    for metric in ["keystore_reachable", "tls_certificate_expiry", "http_request_failure"] {
        let output = Command::new("curl")
            .args(["--silent", "--cacert"])
            .arg(server.file("server.crt"))
            .arg(format!("{url}/metrics"))
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.contains(&format!("kes_{metric}")), "{metric}: {text}");
    }
}
