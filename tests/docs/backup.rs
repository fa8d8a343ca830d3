//! `docs/backup.md`: its commands, one after the other: a backup, its check, the drill, a loss and a restore.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use kes_testkit::age;

use super::Runner;
use super::book::Book;
use super::session::Session;
use crate::migrate::stored;

const CONFIGURATION: &str = "keystore:\n  fs:\n    path: /var/lib/kes\n";

fn keys(folder: &Path) -> BTreeMap<String, String> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let keys =
        entries.filter(|path| !path.file_name().unwrap().as_encoded_bytes().starts_with(b"."));
    keys.map(|path| {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        (name, fs::read_to_string(path).unwrap())
    })
    .collect()
}

#[test]
#[cfg_attr(feature = "fips", ignore = "a FIPS build makes no backups")]
fn keys_that_were_lost_come_back_as_the_document_says() {
    let book = Book::read();
    let mut session = Session::new();
    session.install_kes();
    session.add_program("age-keygen", &format!("exec '{}' \"$@\"", age::keygen().display()));
    session.run_line("the test", "mkdir -p /etc/kes /var/lib/kes");
    session.write_system("the test", "/etc/kes/config.yml", CONFIGURATION);
    let folder = session.system_file("/var/lib/kes");
    for number in 0..5 {
        fs::write(folder.join(format!("key-{number}")), stored(number)).unwrap();
    }
    let before = keys(&folder);
    let (mut restored, mut verified) = (0, 0);
    let blocks = book.blocks_of(Runner::Backup);
    for block in &blocks {
        if block.text.contains("systemctl stop") {
            for name in before.keys() {
                fs::remove_file(folder.join(name)).unwrap();
            }
        }
        for ran in session.run(block) {
            assert!(!ran.stdout.contains("FAILED"), "{}: {}", ran.command, ran.stdout);
            assert!(!ran.stdout.contains("warning"), "{}: {}", ran.command, ran.stdout);
            restored += usize::from(ran.stdout.contains("Restored      5 keys successfully!"));
            verified += usize::from(ran.stdout.contains("has 5 keys of the backup"));
        }
    }
    assert_eq!((blocks.len(), restored, verified), (5, 2, 2));
    assert_eq!(keys(&folder), before);
    assert!(!session.file("drill").exists());
    // Whose files they are.
    let notes = session.notes();
    for command in ["backup", "restore"] {
        let start = format!("sudo as kes: kes {command} ");
        assert!(notes.iter().any(|note| note.starts_with(&start)), "{command}: {notes:#?}");
    }
}
