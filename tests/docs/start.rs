//! `docs/start.md`: from building the program to a data key, with keys in a folder.

use super::Runner;
use super::book::Book;
use super::session::Session;

const DOCUMENT: &str = "docs/start.md";

#[test]
fn five_minutes_lead_to_a_data_key() {
    let book = Book::read();
    let mut session = Session::new();
    session.fill("address: 127.0.0.1:7373", "address: 127.0.0.1:0");
    let mut said = String::new();
    for block in book.blocks().filter(|block| block.document == DOCUMENT) {
        match &*block.language {
            "sh" => {
                for ran in session.run(block) {
                    assert!(!ran.stdout.contains("FAILED"), "{}: {}", ran.command, ran.stdout);
                    let warned = ran.stdout.contains("warning") || ran.stderr.contains("WARN");
                    assert!(!warned, "{}: {}{}", ran.command, ran.stdout, ran.stderr);
                    said += &ran.stdout;
                }
            }
            "yaml" => session.write(&block.place(), "config.yml", &block.text),
            language => panic!("{}: '{language}'", block.place()),
        }
    }
    assert!(!book.blocks_of(Runner::Start).is_empty());
    assert!(said.contains("plaintext") && said.contains("refused"), "{said}");
    assert!(session.file("keys/my-key").is_file(), "the key is in the folder");
    let bucket = session.variable("MINIO_KMS_KES_KEY_NAME");
    assert_eq!(bucket, "my-key");
}
