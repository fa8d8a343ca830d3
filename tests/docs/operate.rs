//! `docs/operate.md`, followed with a service that was made as the other documents say.

use std::fs;
use std::time::Duration;

use kes_testkit::{Bao, wait};
use rustix::process::Signal;

use super::Runner;
use super::book::{Block, Book};
use super::session::{Ran, Session, commands};
use super::systemd;

const CONFIGURATION: &str = "/etc/kes/config.yml";

/// What a server may take to notice a file, or Vault to be there again, on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

/// The part for keys in a folder.
const FOLDER: &str = "A folder";

#[test]
fn each_step_works_with_keys_in_vault() {
    let book = Book::read();
    let bao = Bao::start();
    let mut session = systemd::made(&book, &bao);
    systemd::start(&mut session, &[]);
    let mut steps = 0;
    for block in blocks(&book, false) {
        for (line, command) in commands(&block.text) {
            before(&mut session, &command);
            let ran = session.run_line(&place(block, line), &command);
            after(&mut session, &ran);
            steps += 1;
        }
    }
    assert!(steps > 20, "{steps} commands");
    session.run_line("the test", "kes key create at-the-end");
    let names = session.run_line("the test", "kes key ls").stdout;
    assert!(names.contains("my-first-key"), "{names}");
}

#[test]
fn a_folder_is_backed_up_and_restored() {
    let book = Book::read();
    let bao = Bao::start_in_memory();
    let mut session = systemd::made(&book, &bao);
    let config = session.system_file(CONFIGURATION);
    let text = fs::read_to_string(&config).unwrap();
    let (before_store, _) = text.split_once("keystore:").unwrap();
    let folder = session.system_file("/var/lib/kes");
    fs::create_dir_all(&folder).unwrap();
    let store = format!("keystore:\n  fs:\n    path: {}\n", folder.display());
    fs::write(&config, format!("{before_store}{store}")).unwrap();
    systemd::start(&mut session, &[]);
    session.run_line("the test", "kes key create before-the-backup");

    let (mut listed, mut is_backed_up) = (String::new(), false);
    for block in blocks(&book, true) {
        for (line, command) in commands(&block.text) {
            let ran = session.run_line(&place(block, line), &command);
            after(&mut session, &ran);
            if command.starts_with("sudo cp -a") && !is_backed_up {
                is_backed_up = true;
                session.run_line("the test", "kes key create after-the-backup");
            } else if command == "kes key ls" {
                listed = ran.stdout;
            }
        }
    }
    assert!(listed.contains("before-the-backup"), "{listed}");
    assert!(!listed.contains("after-the-backup"), "{listed}");
    session.run_line("the test", "kes key dek before-the-backup");
}

/// The blocks of the part for folders, or of all others.
fn blocks(book: &Book, folder: bool) -> Vec<&Block> {
    let mut blocks = book.blocks_of(Runner::Operate);
    blocks.retain(|block| (block.heading() == FOLDER) == folder);
    blocks
}

fn place(block: &Block, line: usize) -> String {
    format!("{}:{}", block.document, block.line + line)
}

/// What has to have happened for a command to be of use.
fn before(session: &mut Session, command: &str) {
    let restores = ["vault operator raft snapshot restore", "vault kv put"];
    if restores.iter().any(|restore| command.starts_with(restore)) {
        session.run_line("the test", "vault kv delete kv/my-first-key");
        let names = session.run_line("the test", "kes key ls").stdout;
        assert!(!names.contains("my-first-key"), "{names}");
    }
}

/// What systemd or the reader does at a command, and what has to be so after it.
fn after(session: &mut Session, ran: &Ran) {
    match &*ran.command {
        "sudo systemctl stop kes" => session.end_server(),
        "sudo systemctl start kes" => systemd::start(session, &[]),
        "sudo systemctl restart kes" => {
            session.end_server();
            systemd::start(session, &[]);
        }
        "kes identity of minio-new.crt" => {
            let file = session.system_file(CONFIGURATION);
            let text = fs::read_to_string(&file).unwrap();
            let old = "    - ${MINIO_IDENTITY}\n";
            let both = format!("{old}    - {}\n", ran.stdout.trim());
            assert!(text.contains(old), "{text}");
            fs::write(file, text.replace(old, &both)).unwrap();
        }
        "sudo systemctl reload kes" => {
            session.signal_server(Signal::HUP);
            let pair = "env KES_CLIENT_KEY=minio-new.key KES_CLIENT_CERT=minio-new.crt";
            becomes_true(session, &format!("{pair} kes key ls"));
            assert!(session.succeeds("kes key ls"), "the old identity is known as well");
        }
        command if command.contains("server-new.crt /etc/kes/server.crt") => {
            becomes_true(session, "env KES_CAPATH=server-new.crt kes status");
        }
        command if command.starts_with("vault operator raft snapshot restore") => {
            becomes_true(session, "vault kv get kv/my-first-key");
            becomes_true(session, "kes key ls my-first-key | grep -q my-first-key");
        }
        command if command.starts_with("vault kv put") => {
            becomes_true(session, "kes key ls my-first-key | grep -q my-first-key");
        }
        _ => {}
    }
}

fn becomes_true(session: &Session, command: &str) {
    wait::eventually(LIMIT, &format!("`{command}` succeeds"), || session.succeeds(command));
}

/// The figures are those that were measured.
#[test]
fn the_figures_are_those_of_the_benches() {
    let book = Book::read();
    let measured = &book.documents["docs/performance.md"];
    let (_, after) = book.documents["docs/operate.md"].split_once("| what | measured |").unwrap();
    let rows: Vec<&str> = after.lines().skip(2).take_while(|line| line.starts_with('|')).collect();
    assert!(rows.len() >= 6, "{rows:?}");
    for row in rows {
        let (_, figures) = row.trim_end_matches(" |").rsplit_once("| ").unwrap();
        for figure in figures.split(" to ") {
            assert!(measured.contains(figure), "docs/performance.md does not have {figure}");
        }
    }
}
