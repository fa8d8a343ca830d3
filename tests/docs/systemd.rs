//! `systemd/README.md`, followed after the README's section on Vault: the service starts with
//! the files and variables that its user was given.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use kes_testkit::Bao;

use super::book::{Block, Book};
use super::session::Session;
use super::tour;
use super::unit::Unit;
use super::{Runner, runner};

/// The heading from which on the secrets are credentials.
const CREDENTIAL: &str = "Secrets as credentials";

#[test]
fn the_service_follows_from_the_tour() {
    let book = Book::read();
    let bao = Bao::start_in_memory();
    let mut session = made(&book, &bao);
    let notes = session.notes();
    for note in ["sudo as root: systemd-sysusers", "sudo as root: systemctl enable --now kes"] {
        assert!(notes.iter().any(|other| other == note), "{note}: {notes:#?}");
    }
    fs::read_to_string(session.system_file("/usr/lib/sysusers.d/kes.conf")).unwrap();
    for name in ["config.yml", "server.key", "server.crt"] {
        is_readable_for_the_service(&session, &format!("/etc/kes/{name}"));
    }
    let environment = session.system_file("/etc/kes/environment");
    assert_eq!(fs::metadata(&environment).unwrap().permissions().mode() & 0o077, 0, "a secret");
    start(&mut session, &[]);
    session.run_line("the test", "kes key create made-by-the-service");
    session.end_server();

    // The same without secrets that the service's user can read in a file or in its environment.
    let config = session.system_file("/etc/kes/config.yml");
    let text = fs::read_to_string(&config).unwrap();
    let mut changed = text.clone();
    for (before, after) in [
        ("secret: ${APPROLE_SECRET}", "secret_file: ${CREDENTIALS_DIRECTORY}/approle-secret"),
        ("key: server.key", "key: ${CREDENTIALS_DIRECTORY}/server.key"),
    ] {
        assert!(text.contains(before), "{text}");
        changed = changed.replace(before, after);
    }
    fs::write(&config, changed).unwrap();
    for block in blocks(&book, true) {
        session.run(block);
    }
    let environment = fs::read_to_string(environment).unwrap();
    assert!(!environment.contains("APPROLE_SECRET"), "it was taken out: {environment}");
    assert!(!session.system_file("/etc/kes/server.key").exists(), "it was taken away");
    let part = book
        .blocks()
        .find(|block| block.heading() == CREDENTIAL && runner(block) == Some(Runner::Unit));
    start(&mut session, &[&part.expect("the document has the part of the unit").text]);
    session.run_line("the test", "kes key dek made-by-the-service");
}

/// A reader who has made the service. It does not run yet.
pub(super) fn made(book: &Book, bao: &Bao) -> Session {
    let mut session = tour::with_vault(bao);
    session.end_server();
    for block in blocks(book, false) {
        session.run(block);
    }
    session
}

/// The blocks of the document, of those from which on the secrets are credentials or of the others.
fn blocks(book: &Book, credentials: bool) -> Vec<&Block> {
    let mut blocks = book.blocks_of(Runner::Systemd);
    blocks.retain(|block| (block.heading() == CREDENTIAL) == credentials);
    blocks
}

/// The user and group of the service can read a file: it belongs to the group, by the notes of
/// the stand-ins, and the group may read it.
fn is_readable_for_the_service(session: &Session, path: &str) {
    let file = session.system_file(path);
    let mode = fs::metadata(&file).unwrap().permissions().mode();
    let owner = format!("owner root:kes {}", file.display());
    let belongs = session.notes().contains(&owner);
    assert!(belongs && mode & 0o040 != 0 && mode & 0o007 == 0, "{path}: {mode:o} {belongs}");
}

/// Starts the service as systemd would: in its folder, with its environment and nothing else.
pub(super) fn start(session: &mut Session, parts: &[&str]) {
    let unit = session.system_file("/etc/systemd/system/kes.service");
    let unit = fs::read_to_string(unit).unwrap();
    let unit = Unit::parse(&[&[&*unit], parts].concat()).unwrap();
    let mut variables = Vec::new();
    let credentials = session.system_file("/run/credentials/kes.service");
    fs::create_dir_all(&credentials).unwrap();
    for file in unit.all("EnvironmentFile") {
        let (is_optional, path) = match file.strip_prefix('-') {
            Some(path) => (true, path),
            None => (false, file),
        };
        match fs::read_to_string(session.system_file(path)) {
            Ok(text) => variables.extend(text.lines().map(str::to_owned)),
            Err(error) => assert!(is_optional, "{path}: {error}"),
        }
    }
    for credential in unit.all("LoadCredential") {
        let (name, path) = credential.split_once(':').unwrap();
        fs::copy(session.system_file(path), credentials.join(name)).unwrap();
        variables.push(format!("CREDENTIALS_DIRECTORY={}", credentials.display()));
    }
    let quoted: Vec<String> = variables
        .iter()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|variable| format!("'{variable}'"))
        .collect();
    let (program, arguments) = unit.last("ExecStart").split_once(' ').unwrap();
    let folder = session.system_file(unit.last("WorkingDirectory"));
    assert!(Path::new(&session.system_file(program)).exists(), "{program} is installed");
    session.start_server(
        "systemd/kes.service",
        &format!(
            "cd '{}' && exec env -i {} {program} {arguments}",
            folder.display(),
            quoted.join(" ")
        ),
    );
    session.run_line("README.md", "export KES_SERVER=https://127.0.0.1:7373");
}
