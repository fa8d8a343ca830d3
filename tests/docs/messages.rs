//! `docs/messages/` has each message of the server and the command line, with its meaning, its cause and
//! what mends it. [`scan`] reads the messages from the code, [`list`] the entries from the documents; this
//! file compares the two, in both directions.
//!
//! A new message fails [`every_message_has_an_entry`], which prints what is missing, ready to be pasted. What
//! stands in brackets behind a message is written by `KES_RECORD=1 cargo test --test tests docs`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::LazyLock;

/// The entries of the documents.
mod list;

/// The messages of the code.
mod scan;

use list::List;
use scan::{Code, Message};

/// Which document has the messages of which files: the first that fits.
const PLACES: [(&str, &str); 27] = [
    ("api/", "answers"),
    ("audit/", "audit"),
    ("backup/", "backup"),
    ("cli/commands/audit", "audit"),
    ("cli/commands/backup", "backup"),
    ("cli/commands/migrate", "migrate"),
    ("cli/commands/policy/", "policies"),
    ("cli/commands/restore", "backup"),
    ("cli/commands/seal", "backup"),
    ("cli/", "commands"),
    ("client/", "commands"),
    ("config/", "configuration"),
    ("crypto/", "answers"),
    ("keys/", "keystore"),
    ("keystore/src/remote", "vault"),
    ("keystore/src/vault", "vault"),
    ("keystore/", "keystore"),
    ("migrate/", "migrate"),
    ("policy/", "policies"),
    ("server/src/lifecycle/", "start"),
    ("server/src/observe/logging/file", "audit"),
    ("server/src/service/", "answers"),
    ("server/src/transport/tls", "tls"),
    ("server/", "log"),
    ("shadow/", "commands"),
    ("tls/", "tls"),
    ("", "log"),
];

/// Read once for all tests.
static CODE: LazyLock<Code> = LazyLock::new(Code::read);

#[test]
fn every_message_has_an_entry() {
    let list = List::read();
    let listed = list.texts();
    let mut missing: BTreeMap<&str, Vec<&Message>> = BTreeMap::new();
    for message in CODE.messages.iter().filter(|message| !listed.contains(message.text.as_str())) {
        missing.entry(document_of(&message.file)).or_default().push(message);
    }
    let mut paste = String::new();
    for (document, messages) in &missing {
        writeln!(paste, "\n\n==> docs/messages/{document}.md").unwrap();
        let mut file = "";
        for message in messages {
            if message.file != file {
                let end = if file.is_empty() { "" } else { list::FORM };
                writeln!(paste, "{end}").unwrap();
                file = &message.file;
            }
            let told = list::note(&CODE.kinds(&message.text));
            writeln!(paste, "- {}{told}", list::code(&message.text)).unwrap();
        }
        paste.push_str(list::FORM);
    }
    let places: Vec<String> =
        missing.values().flatten().map(|m| format!("{}:{}: {}", m.file, m.line, m.text)).collect();
    assert!(
        missing.is_empty(),
        "these messages have no entry:\n{}\n\nAdd them to the entry of the same cause, or as entries of \
         their own, with a text for each ???:{paste}",
        places.join("\n"),
    );
}

#[test]
fn every_entry_is_of_a_message() {
    let list = List::read();
    let unknown: Vec<String> = list
        .entries
        .iter()
        .flat_map(|entry| entry.messages.iter().map(move |message| (entry, message)))
        .filter(|(_, message)| !CODE.literals.contains(&message.text))
        .map(|(entry, message)| format!("{}:{}: {}", entry.document, message.line, message.text))
        .collect();
    assert_eq!(unknown, [""; 0], "no source has these messages any more");
}

#[test]
fn every_entry_says_meaning_cause_and_mend() {
    let list = List::read();
    assert!(list.entries.len() > 250, "{} entries", list.entries.len());
    let mut bad = Vec::new();
    for entry in &list.entries {
        if let Some(fault) = entry.fault() {
            bad.push(format!("{}:{}: {fault}", entry.document, entry.messages[0].line));
        }
    }
    assert_eq!(bad, [""; 0]);
    // A message stands in one place, where one that is looked for is found.
    let mut seen = BTreeSet::new();
    let texts = list.entries.iter().flat_map(|entry| &entry.messages).map(|m| &m.text);
    let twice: Vec<&String> = texts.filter(|text| !seen.insert(*text)).collect();
    assert_eq!(twice, [""; 0], "these messages stand in two entries");
}

/// Level, status and the like stand behind each message.
#[test]
fn what_stands_behind_a_message_is_that_of_the_code() {
    let mut list = List::read();
    if std::env::var_os("KES_RECORD").is_some() {
        list.record(|text| list::note(&CODE.kinds(text)));
        list = List::read();
    }
    let mut bad = Vec::new();
    for entry in &list.entries {
        for message in &entry.messages {
            let expected = list::note(&CODE.kinds(&message.text));
            if message.note != expected {
                let place = format!("{}:{}", entry.document, message.line);
                bad.push(format!("{place}: {}{expected}", list::code(&message.text)));
            }
        }
    }
    assert!(
        bad.is_empty(),
        "as the code has it; `KES_RECORD=1 cargo test --test tests docs` writes it:\n{}",
        bad.join("\n")
    );
}

/// What is left out by name is still there.
#[test]
fn nothing_is_left_out_in_vain() {
    let unused: Vec<_> = scan::LEFT_OUT
        .iter()
        .filter(|(file, item, _)| !CODE.left_out.contains(&(*file, *item)))
        .collect();
    assert!(unused.is_empty(), "{unused:?}");
}

fn document_of(file: &str) -> &'static str {
    PLACES.iter().find(|(start, _)| file.starts_with(start)).map_or("log", |(_, document)| document)
}
