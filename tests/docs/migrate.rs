//! `docs/migrate.md`: its commands, one after the other, from a folder to Vault as it says.

use kes_testkit::Bao;

use super::Runner;
use super::book::Book;
use super::session::Session;
use crate::migrate::stored;

#[test]
fn keys_are_moved_as_the_document_says() {
    let bao = Bao::start();
    let role = bao.root().set_up().kv("kv", 2).app_role();
    let mut session = Session::with_vault(&bao);
    session.install_kes();
    session.export("APPROLE_ID", &role.role_id);
    session.export("APPROLE_SECRET", &role.secret_id);
    session.fill("http://127.0.0.1:8200", &bao.url());
    let book = Book::read();
    let mut files = ["old.yml", "new.yml"].into_iter();
    let keys = session.file("old-keys");
    std::fs::create_dir(&keys).unwrap();
    let names = || bao.root().list("kv/metadata");
    let put = |name: &str, seed| std::fs::write(keys.join(name), stored(seed)).unwrap();
    put("minio-backend-default-key", 1);
    put("other", 2);

    let mut outputs = Vec::new();
    for block in book.blocks().filter(|block| block.document == "docs/migrate.md") {
        match &*block.language {
            "yaml" => {
                session.write(&block.place(), files.next().unwrap(), &block.text);
            }
            _ => {
                assert_eq!(super::runner(block), Some(Runner::Migration), "{}", block.place());
                match outputs.len() {
                    1 => assert_eq!(names(), [""; 0], "a dry run has written"),
                    // Between the two runs.
                    2 => put("late", 3),
                    3 => put("minio-new", 4),
                    _ => {}
                }
                for ran in session.run(block) {
                    // The reader's own variables for `vault` are told.
                    let told = ran.stderr.lines().all(|line| line.contains("VAULT_ADDR"));
                    assert!(told, "{}: {}", ran.command, ran.stderr);
                    outputs.push(ran.stdout.lines().last().unwrap().to_owned());
                }
            }
        }
    }
    let expected = [
        "Would migrate      2 keys.",
        "Migrated      2 keys successfully!",
        "Migrated      1 key successfully!",
        "Migrated      1 key successfully!",
    ];
    assert_eq!(outputs, expected);
    assert_eq!(names(), ["late", "minio-backend-default-key", "minio-new", "other"]);
}
