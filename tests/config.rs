//! The configuration file (contract `config.md`), as who starts a server with it sees it.
//!
//! The files stand in `config/testdata`: those of `accept` start a server, those of `refuse` end
//! the program with a sentence. Those of `tests/data/deployed` are written as files are deployed.

/// Files as they are deployed.
mod deployed;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use kes_testkit::{Process, wait};
use rustix::process::Signal;

use crate::harness::{self, Client, Config, Credentials, Protocol, Server, Who};

/// How long a server may take to start or to end before a test fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// What `${CONTRACT_IDENTITY}` stands for.
const IDENTITY: &str = "1111111111111111111111111111111111111111111111111111111111111111";

fn files(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/testdata").join(folder);
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// The program with a file of the contract, in a folder with the server's key and certificate.
fn command(folder: &Path, file: &Path, tls: &Credentials) -> Command {
    std::fs::write(folder.join("server.key"), &tls.key_pem).unwrap();
    std::fs::write(folder.join("server.crt"), &tls.certificate_pem).unwrap();
    std::fs::copy(file, folder.join("config.yml")).unwrap();
    let mut command = Process::command(&harness::program());
    command
        .args(["server", "--config", "config.yml"])
        .env("CONTRACT_IDENTITY", IDENTITY)
        .env("CONTRACT_ADDRESS", "127.0.0.1:0")
        .env_remove("CONTRACT_NOT_SET")
        .current_dir(folder)
        .stdin(Stdio::null());
    command
}

#[test]
fn every_file_that_must_load_starts_a_server() {
    let files = files("accept");
    assert_eq!(files.len(), 13);
    harness::run(async {
        for file in files {
            let name = file.file_stem().unwrap().to_str().unwrap().to_owned();
            let folder = tempfile::tempdir().unwrap();
            let tls = Credentials::new(&["127.0.0.1"]);
            let mut command = command(folder.path(), &file, &tls);
            let output = |name| File::create(folder.path().join(name)).unwrap();
            command.stdout(output("stdout")).stderr(output("stderr"));
            // What the file says is tried where it names a free port of this machine.
            if name != "05-env-quoted" {
                command.args(["--addr", "127.0.0.1:0"]);
            }
            serves(&name, folder.path(), Process::start(command), &tls).await;
        }
    });
}

async fn serves(name: &str, folder: &Path, mut process: Process, tls: &Credentials) {
    let read = |name| std::fs::read_to_string(folder.join(name)).unwrap();
    let mut address = None;
    wait::eventually(PATIENCE, &format!("{name} starts"), || {
        assert!(process.is_running(), "{name}: {}", read("stderr"));
        let printed = read("stdout");
        let endpoints = printed.lines().find_map(|line| line.strip_prefix("Endpoints"));
        let url = endpoints.and_then(|line| line.trim().strip_prefix("https://"));
        address = url.filter(|_| printed.contains("Memory")).map(str::to_owned);
        address.is_some()
    });
    let address = address.unwrap();
    let who = Credentials::new(&["client"]);
    let mut client =
        Client::connect(&address, &tls.certificate, Some(&who), Protocol::H2).await.unwrap();
    assert_eq!(client.send("GET", "/version", "").await.status, 200, "{name}");
    assert_eq!(client.send("GET", "/v1/status", "").await.status, 403, "{name}");

    match name {
        "07-yes-and-upper-case" => {
            let mut nobody =
                Client::connect(&address, &tls.certificate, None, Protocol::H1).await.unwrap();
            assert_eq!(nobody.send("GET", "/v1/ready", "").await.status, 200);
            assert_eq!(nobody.send("GET", "/v1/metrics", "").await.status, 200);
            assert_eq!(nobody.send("GET", "/v1/status", "").await.status, 400);
            assert!(read("stdout").contains("stdout level=INFO+1"), "{}", read("stdout"));
        }
        "12-predefined-keys" => {
            wait::eventually(PATIENCE, "the keys are created", || {
                ["minio-default", "tenant-1"]
                    .iter()
                    .all(|key| folder.join("keys").join(key).exists())
            });
        }
        "02-guide-vault-approle" | "03-operator-style" | "10-kubernetes-v2-transit" => {
            assert!(read("stdout").contains("vault: https://127.0.0.1:8200"), "{}", read("stdout"));
        }
        _ => assert!(folder.join("keys").is_dir(), "{name}"),
    }

    process.signal(Signal::TERM);
    wait::eventually(PATIENCE, &format!("{name} ends"), || !process.is_running());
    assert_eq!(process.exit_status().unwrap().code(), Some(0), "{name}");
}

/// What the message holds, as the contract has it.
const REFUSED: [(&str, &str); 25] = include!("../config/testdata/refused.rs");

#[test]
fn every_file_that_must_be_refused_is_refused_with_its_sentence() {
    let files = files("refuse");
    let names: Vec<&str> =
        files.iter().map(|file| file.file_stem().unwrap().to_str().unwrap()).collect();
    assert_eq!(names, REFUSED.map(|(name, _)| name));
    for (file, (name, text)) in files.iter().zip(REFUSED) {
        let folder = tempfile::tempdir().unwrap();
        let tls = Credentials::new(&["127.0.0.1"]);
        let (output, stderr) = refused(command(folder.path(), file, &tls));
        assert_eq!(output.status.code(), Some(1), "{name}: {stderr}");
        assert!(stderr.starts_with("Error: ") && stderr.contains(text), "{name}: {stderr}");
        assert!(stderr.contains("config.yml"), "{name} does not say which file: {stderr}");
        assert_eq!(output.stdout, b"", "{name}");
        assert!(!folder.path().join("keys").exists(), "{name} opened the key store");
    }
}

fn refused(mut command: Command) -> (Output, String) {
    let output = command.output().unwrap();
    let stderr = String::from_utf8(output.stderr.clone()).unwrap();
    (output, stderr)
}

#[test]
fn all_mistakes_of_a_file_are_told_at_once_with_their_lines() {
    let config = Config::usual()
        .with("cache", "{ expiry: { any: 5, unused: -1s } }")
        .with("log", "{ error: loud }")
        .with("keys", "[ { name: a.b } ]");
    let line = |section: &str| {
        let text = config.text();
        let line = text.lines().position(|line| line.starts_with(section)).unwrap();
        format!("config.yml:{}: {section}.", line + 1)
    };
    let refused = Server::refused(&config, |_| {});
    assert_eq!(refused.status, Some(1));
    for place in [
        format!("{}expiry.any: ", line("cache")),
        format!("{}expiry.unused: ", line("cache")),
        format!("{}error: ", line("log")),
    ] {
        assert!(refused.stderr.contains(&place), "no {place} in {}", refused.stderr);
    }
    assert!(refused.stderr.contains("'a.b'"), "{}", refused.stderr);
    assert_eq!(refused.stdout, "");
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Process::command(&harness::program());
    command.args(["server", "--config", "nowhere.yml"]).current_dir(folder.path());
    let (output, stderr) = refused(command);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(stderr, "Error: open nowhere.yml: no such file or directory\n");
}

#[test]
fn what_a_file_surely_did_not_mean_is_told_once_at_start() {
    let policy = "
  minio:
    alow: [/v1/status]
    allow:
    - /v1/key/generate/*
    - /v1/key/decrypt/*
    - /v1/key/*/name
    - /v1/key/bulk/decrypt
    deny:
    - /v1/key/*/internal
    identities: [\"${MINIO}\"]";
    let config =
        Config::usual().with("polcy", "{ a: {} }").with("policy", policy).with("log", "{}");
    let server = Server::with(&config);
    let text = config.text();
    let line =
        |start: &str| 1 + text.lines().position(|line| line.trim().starts_with(start)).unwrap();
    for (line, field, words) in [
        (line("polcy"), "polcy", "'policy'"),
        (line("alow"), "policy.minio.alow", "'allow'"),
        (line("minio"), "policy.minio", "/v1/key/describe/"),
        (line("- /v1/key/*/name"), "policy.minio.allow[2]", "/v1/key/*/name"),
        (line("- /v1/key/bulk/decrypt"), "policy.minio.allow[3]", "/v1/key/bulk/decrypt/*"),
        (line("- /v1/key/*/internal"), "policy.minio.deny[0]", "/v1/key/*/internal"),
    ] {
        let start = format!("config.yml:{line}: {field}: ");
        server.wait_for_stderr(&start);
        let stderr = server.stderr();
        let told: Vec<&str> = stderr.lines().filter(|line| line.contains(&start)).collect();
        assert_eq!(told.len(), 1, "{start}\n{stderr}");
        assert!(told[0].contains(" level=WARN ") && told[0].contains(words), "{}", told[0]);
    }
}

/// The same report as at start: the mistake, and the typo that caused it.
#[test]
fn a_refused_reload_tells_the_typo_that_caused_it() {
    harness::run(async {
        let server = Server::start();
        let text = Config::usual().text().replace("tls:", "tsl:");
        let line = 1 + text.lines().position(|line| line.starts_with("tsl:")).unwrap();
        std::fs::write(server.file("config.yml"), text).unwrap();
        server.signal(Signal::HUP);
        let typo = format!("config.yml:{line}: tsl: unknown field, ignored; is 'tls' meant?");
        let mistake = "config.yml: tls.key: is required";
        for (text, level) in [(typo.as_str(), " level=WARN "), (mistake, " level=ERROR ")] {
            server.wait_for_stderr(text);
            let stderr = server.stderr();
            let logged = stderr.lines().find(|line| line.contains(text)).unwrap();
            assert!(logged.contains(level), "{logged}");
        }
        let mut admin = server.client(Who::Admin, Protocol::H2).await;
        assert_eq!(admin.send("GET", "/v1/status", "").await.status, 200);
    });
}

/// A deny pattern keeps what it says, inner star or not; an allow pattern is not opened by one.
#[test]
fn a_star_inside_a_pattern_denies_and_does_not_allow() {
    harness::run(async {
        let policy = "
  minio:
    allow: [/v1/key/create/*, /v1/key/*/opened]
    deny: [/v1/key/*/internal-*]
    identities: [\"${MINIO}\"]";
        let server = Server::with(&Config::usual().with("policy", policy));
        let mut minio = server.client(Who::Minio, Protocol::H1).await;
        for (method, path, status) in [
            ("PUT", "/v1/key/create/a", 200),
            ("PUT", "/v1/key/create/internal-a", 403),
            ("GET", "/v1/key/describe/opened", 403),
        ] {
            assert_eq!(minio.send(method, path, "").await.status, status, "{path}");
        }
    });
}
