//! The audit file: written by the server, checked and searched by the command line.

use std::process::Output;
use std::time::Duration;

use kes_testkit::wait;
use serde_json::Value;

use crate::harness::{Config, Server, Who};

/// A record for each request, whatever becomes of it.
mod complete;

/// Servers that are killed, files that are moved, and disks that are full.
mod trouble;

/// What a record tells.
mod records;

/// How long a record may take to be written before a test fails.
const PATIENCE: Duration = Duration::from_secs(30);

const KEY: &str = "a key of an audit file has at least 32 bytes\n";

/// An audit file with a key and further fields.
fn config(fields: &str) -> Config {
    let file = format!("{{ path: audit.jsonl, key: audit.key{fields} }}");
    Config::usual().with("log", &format!("{{ audit: off, audit_file: {file} }}"))
}

/// Starts a server, and waits until it has made its file.
fn start(config: &Config) -> Server {
    let server = start_beside(config);
    wait::eventually(PATIENCE, "there is an audit file", || server.file("audit.jsonl").exists());
    server
}

/// The same of a server whose file is elsewhere.
fn start_beside(config: &Config) -> Server {
    Server::prepared(config, |folder| std::fs::write(folder.join("audit.key"), KEY).unwrap())
}

/// All segments in their order, and the checkpoint.
fn files(server: &Server) -> Vec<String> {
    let names = std::fs::read_dir(server.folder()).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.filter(|name| name.starts_with("audit.jsonl")).collect();
    names.sort();
    names
}

/// Runs `kes audit` with the files of a server. Again, if one of them was renamed meanwhile, or was
/// replaced by a compressed one.
fn run(server: &Server, args: &[&str]) -> Output {
    let mut output = None;
    wait::eventually(PATIENCE, "all files are read", || {
        let mut files = files(server);
        // The server renames it, and then makes the next one.
        if files.iter().any(|name| name.starts_with("audit.jsonl.0")) {
            files.retain(|name| name != "audit.jsonl");
            files.push("audit.jsonl".to_owned());
        }
        let files: Vec<&str> = files.iter().map(String::as_str).collect();
        let done = server.command(Who::Nobody, &[&["audit"], args, &files].concat()).output();
        let done = done.unwrap();
        let said = [&*done.stdout, &*done.stderr].concat();
        let is_gone = String::from_utf8_lossy(&said).contains("No such file");
        output = Some(done);
        !is_gone
    });
    output.unwrap()
}

/// What `kes audit verify --json` says of the files of a server.
fn report(server: &Server, args: &[&str]) -> Value {
    let args = [&["verify", "--json", "--key-file", "audit.key"], args].concat();
    let output = run(server, &args);
    let report: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    assert_eq!(report["good"], output.status.success(), "{report:#}");
    report
}

/// The records that a search finds.
fn grep(server: &Server, args: &[&str]) -> Vec<Value> {
    let output = run(server, &[&["grep", "--json"], args].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Waits until a search finds so many records, and returns them.
fn wait_for(server: &Server, count: usize, args: &[&str]) -> Vec<Value> {
    let mut found = Vec::new();
    wait::eventually(PATIENCE, &format!("{count} records"), || {
        found = grep(server, args);
        found.len() >= count
    });
    assert_eq!(found.len(), count, "{found:#?}");
    found
}
