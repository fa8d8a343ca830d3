//! `docs/shadow.md`: its commands, between two servers that use one Vault.

use std::fs;
use std::time::Duration;

use kes_testkit::Bao;
use kes_testkit::wait::eventually;
use rustix::process::Signal;
use serde_json::Value;

use super::Runner;
use super::book::Book;
use super::session::{Session, commands};

const PATIENCE: Duration = Duration::from_secs(60);

const CONFIGURATION: &str = "
address: 127.0.0.1:0
admin:
  identity: disabled
tls:
  key: /etc/kes/server.key
  cert: /etc/kes/server.crt
policy:
  minio:
    allow:
    - /v1/key/create/*
    - /v1/key/generate/*
    - /v1/key/decrypt/*
    - /v1/key/describe/*
    - /v1/key/list/*
    - /v1/status
    identities:
    - ${MINIO_IDENTITY}
keystore:
  vault:
    endpoint: ${VAULT_ADDR}
    version: v2
    approle:
      id: ${APPROLE_ID}
      secret: ${APPROLE_SECRET}
";

#[test]
fn a_week_beside_the_old_server_goes_as_the_document_says() {
    let bao = Bao::start();
    let role = bao.root().set_up().kv("kv", 2).app_role();
    let mut session = Session::with_vault(&bao);
    session.install_kes();
    session.export("APPROLE_ID", &role.role_id);
    session.export("APPROLE_SECRET", &role.secret_id);
    for line in [
        "\"$KES\" identity new --key server.key --cert server.crt --ip 127.0.0.1",
        "\"$KES\" identity new --key minio.key --cert minio.crt MinIO",
        "mkdir -p /etc/kes",
        "cp server.key server.crt minio.key minio.crt /etc/kes/",
    ] {
        session.run_line("the test", line);
    }
    let identity = session.run_line("the test", "\"$KES\" identity of minio.crt").stdout;
    session.export("MINIO_IDENTITY", identity.trim());
    session.write_system("the test", "/etc/kes/config.yml", CONFIGURATION);
    let start = |session: &mut Session, place: &str, command: &str, documented: &str| {
        let said = session.start_server(place, &format!("exec {command}")).stdout;
        let (_, after) = said.split_once("https://").unwrap();
        session.fill(documented, after.split_whitespace().next().unwrap());
    };
    start(&mut session, "the test", "kes server --config /etc/kes/config.yml", "127.0.0.1:7374");

    let summaries = |session: &Session| -> Vec<Value> {
        let told = fs::read_to_string(session.file("shadow.jsonl")).unwrap_or_default();
        let lines = told.lines().filter_map(|line| serde_json::from_str(line).ok());
        lines.collect()
    };
    for block in Book::read().blocks_of(Runner::Shadow) {
        for (line, command) in commands(&block.text) {
            let place = format!("{}:{}", block.document, block.line + line);
            if command.starts_with("kes server") {
                let (own_port, _) = command.split_once(" --addr 127.0.0.1:7375").unwrap();
                start(&mut session, &place, own_port, "127.0.0.1:7375");
            } else if command.starts_with("kes shadow") {
                let here = command.replace("kes shadow", "exec kes shadow --addr 127.0.0.1:0");
                session.start(&place, &here);
                let mut address = String::new();
                eventually(PATIENCE, "the shadow listens", || {
                    let lines = summaries(&session);
                    let start = lines.iter().find(|line| line["event"] == "start");
                    let listens = start.and_then(|start| start["listens"][0].as_str());
                    address = listens.unwrap_or_default().to_owned();
                    !address.is_empty()
                });
                session.export("KES_SERVER", &address);
                for command in ["kes key create my-key", "kes key ls", "kes status"] {
                    session.run_line("the test", command);
                }
                session.signal_server(Signal::TERM);
                eventually(PATIENCE, "the summary is there", || {
                    summaries(&session).iter().any(|line| line["event"] == "summary")
                });
            } else {
                let ran = session.run_line(&place, &command);
                if command.starts_with("grep") {
                    let summary: Value = serde_json::from_str(ran.stdout.trim()).unwrap();
                    assert_eq!(summary["different"], 0, "{summary}");
                    assert_eq!(summary["operations"]["Status"]["equal"], 1, "{summary}");
                }
            }
        }
    }
    assert!(bao.root().list("kv/metadata") == ["my-key"]);
}
