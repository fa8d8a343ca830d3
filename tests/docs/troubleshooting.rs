//! The messages in `docs/troubleshooting.md` are those of the program.

use super::book::{Book, root};
use crate::layout::files;

const DOCUMENT: &str = "docs/troubleshooting.md";

/// The folders of the code that tells something.
const CRATES: [&str; 10] =
    ["api", "audit", "cli", "client", "config", "keys", "keystore", "policy", "server", "tls"];

#[test]
fn every_message_stands_in_the_code() {
    let sources = sources();
    let book = Book::read();
    let mut missing = Vec::new();
    let mut count = 0;
    for row in book.documents[DOCUMENT].lines() {
        for message in messages(row) {
            count += 1;
            // What differs from case to case is `…`; one file has all that stands around it.
            let parts: Vec<&str> = message.split('…').map(str::trim).collect();
            let has_all = |text: &String| parts.iter().all(|part| text.contains(part));
            if !sources.iter().any(has_all) {
                missing.push(message.to_owned());
            }
        }
    }
    assert!(count > 45, "{count} messages");
    assert_eq!(missing, [""; 0], "no source has these messages");
}

/// The messages of a row: the codes in its first cell.
fn messages(row: &str) -> Vec<&str> {
    let Some(cell) = row.strip_prefix("| ") else { return Vec::new() };
    let cell = cell.split(" | ").next().unwrap();
    cell.split('`').skip(1).step_by(2).collect()
}

/// The sources without tests. A text that goes on in the next line is one line.
fn sources() -> Vec<String> {
    let mut texts = Vec::new();
    for folder in CRATES {
        for file in files(&root().join(folder), &["rs"]) {
            let is_test = file.components().any(|part| part.as_os_str() == "tests")
                || file.ends_with("tests.rs");
            if is_test {
                continue;
            }
            let text = std::fs::read_to_string(&file).unwrap();
            let code = text.split("\n#[cfg(test)]\nmod tests {").next().unwrap();
            let mut joined = String::new();
            for line in code.lines() {
                match line.trim_start().strip_suffix('\\') {
                    Some(begun) => joined.push_str(begun),
                    None => {
                        joined.push_str(line.trim_start());
                        joined.push('\n');
                    }
                }
            }
            texts.push(joined);
        }
    }
    texts
}
