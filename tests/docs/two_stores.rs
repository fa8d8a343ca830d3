//! `docs/two-stores.md`: its commands, one after the other, from a folder to Vault as it says. The stages
//! are walked by `tests/two_stores.rs`.

use kes_testkit::Bao;

use super::Runner;
use super::book::Book;
use super::session::Session;
use crate::migrate::stored;

#[test]
fn keys_are_moved_beside_servers_as_the_document_says() {
    let bao = Bao::start();
    let role = bao.root().set_up().kv("kv", 2).app_role();
    let mut session = Session::with_vault(&bao);
    session.install_kes();
    session.export("APPROLE_ID", &role.role_id);
    session.export("APPROLE_SECRET", &role.secret_id);
    session.fill("http://127.0.0.1:8200", &bao.url());
    let keys = session.file("old-keys");
    std::fs::create_dir(&keys).unwrap();
    for (number, name) in (0..).zip(["a", "b", "c"]) {
        std::fs::write(keys.join(name), stored(number)).unwrap();
    }
    let book = Book::read();
    let (mut outputs, mut is_written) = (Vec::new(), false);
    for block in book.blocks().filter(|block| block.document == "docs/two-stores.md") {
        if block.language == "yaml" {
            // The first one has both key stores; the others are the same section in later steps.
            if !is_written {
                session.write(&block.place(), "config.yml", &block.text);
            }
            is_written = true;
            continue;
        }
        assert_eq!(super::runner(block), Some(Runner::Migration), "{}", block.place());
        if outputs.len() == 2 {
            std::fs::remove_file(keys.join("b")).unwrap();
        }
        for ran in session.run(block) {
            outputs.push(ran.stdout.lines().last().unwrap().to_owned());
        }
    }
    let expected = [
        "Would migrate      3 keys.",
        "Migrated      3 keys successfully!",
        "Migrated      1 key successfully!",
    ];
    assert_eq!(outputs, expected);
    assert_eq!(bao.root().list("kv/metadata"), ["a", "b", "c"]);
}
