//! `docs/vault.md`, "Set-up": each way to set up an engine, followed by each way to log in, with
//! and without transit, inside a namespace and outside of one. What is proved in the end is what
//! the document proves it with.

use kes_testkit::{Authority, Bao, kubernetes};

use super::Runner;
use super::book::{Block, Book};
use super::configurations::completed;
use super::session::Session;

const DOCUMENT: &str = "docs/vault.md";

#[test]
fn each_engine_works_with_a_role_and_then_with_transit() {
    let book = Book::read();
    for engine in engines(&book) {
        let bao = Bao::start_in_memory();
        let mut session = reader(&bao);
        session.run(engine);
        log_in_by_role(&book, &mut session);
        prove(&book, &mut session, engine, only(&book, "Login by AppRole"));

        for block in book.blocks_of(Runner::VaultTransit) {
            session.run(block);
        }
        let policy = book.blocks_of(Runner::Policy);
        let transit = policy.iter().find(|block| block.heading() == "Transit").unwrap();
        let both = format!(
            "{{ vault policy read kes; cat <<EOF\n{}EOF\n}} | vault policy write kes -",
            transit.text
        );
        session.run_line(&transit.place(), &both);
        prove(&book, &mut session, engine, only(&book, "Transit"));
    }
}

#[test]
fn each_engine_works_inside_a_namespace() {
    let book = Book::read();
    for engine in engines(&book) {
        let bao = Bao::start_in_memory();
        let mut session = reader(&bao);
        for block in book.blocks_of(Runner::VaultNamespace) {
            session.run(block);
        }
        session.run(engine);
        log_in_by_role(&book, &mut session);
        session.run_line("the test", "unset VAULT_NAMESPACE");
        prove(&book, &mut session, engine, only(&book, "Namespaces"));
    }
}

#[test]
fn a_login_by_kubernetes_works() {
    let book = Book::read();
    let cluster = kubernetes::token_review(|subject| subject == "kes");
    let bao = Bao::start_in_memory();
    let mut session = reader(&bao);
    // What a pod of the cluster has in its folders.
    let authority = Authority::new();
    let host = format!(
        "{} kubernetes_ca_cert=@{} disable_local_ca_jwt=true",
        cluster.url(),
        authority.certificate().display()
    );
    session.fill("https://kubernetes.default.svc", &host);
    let engine = engines(&book)[0];
    session.run(engine);
    for block in book.blocks_of(Runner::VaultKubernetes) {
        session.run(block);
    }
    let token = session.file("token");
    std::fs::write(&token, kubernetes::token("kes")).unwrap();
    let mounted = "/var/run/secrets/kubernetes.io/serviceaccount/token";
    session.fill(mounted, token.to_str().unwrap());
    prove(&book, &mut session, engine, only(&book, "Login by Kubernetes"));
    assert!(!cluster.requests().is_empty(), "Vault asked the cluster");
}

/// The same with the secret ID in a file, which is where a systemd credential stands.
#[test]
fn a_secret_in_a_file_works() {
    let book = Book::read();
    let bao = Bao::start_in_memory();
    let mut session = reader(&bao);
    let engine = engines(&book)[0];
    session.run(engine);
    log_in_by_role(&book, &mut session);
    let secret = session.variable("APPROLE_SECRET");
    std::fs::write(session.file("approle-secret"), secret).unwrap();
    session.run_line("the test", "unset APPROLE_SECRET");
    session.export("CREDENTIALS_DIRECTORY", ".");
    prove(&book, &mut session, engine, only(&book, "Secrets in files"));
}

/// A reader with a Vault, the program, and a certificate for the server.
fn reader(bao: &Bao) -> Session {
    let mut session = Session::with_vault(bao);
    session.install_kes();
    session.run_line(
        "README.md",
        "kes identity new --key server.key --cert server.crt --ip 127.0.0.1 --expiry 8760h",
    );
    session.fill("https://vault.example.net:8200", &bao.url());
    // The Vault of the tests speaks plain HTTP.
    session.fill("      ca: vault-ca.crt ", "      # ");
    session
}

/// The ways to set up an engine.
fn engines(book: &Book) -> Vec<&Block> {
    let blocks = book.blocks_of(Runner::VaultEngine);
    assert!(blocks.len() >= 2, "versions 1 and 2");
    blocks
}

fn log_in_by_role(book: &Book, session: &mut Session) {
    for block in book.blocks_of(Runner::VaultLogin) {
        session.run(block);
    }
}

/// The one configuration below a heading.
fn only<'a>(book: &'a Book, heading: &str) -> &'a Block {
    let blocks = book.blocks_below(DOCUMENT, heading);
    let mut blocks = blocks.into_iter().filter(|block| block.language == "yaml");
    let block = blocks.next().unwrap();
    assert!(blocks.next().is_none(), "{DOCUMENT}: more than one configuration below '{heading}'");
    block
}

/// The document's proof succeeds with a configuration, for the version of the engine.
fn prove(book: &Book, session: &mut Session, engine: &Block, configuration: &Block) {
    let version = if engine.text.contains("-version=1") { "v1" } else { "v2" };
    assert!(engine.text.contains("-version="), "{}: it names the version", engine.place());
    session.fill("version: v2", &format!("version: {version}"));
    session.write(&configuration.place(), "config.yml", &completed(&configuration.text));
    for block in book.blocks_of(Runner::VaultProof) {
        let proved = session.run(block);
        let said = &proved.last().unwrap().stdout;
        assert!(said.contains("key store") || said.contains("keystore"), "{said}");
        assert!(!said.contains("FAILED"), "{}: {said}", engine.place());
    }
}
