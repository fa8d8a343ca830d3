//! The entries of `docs/messages/`. An entry is a list of messages, and a paragraph that says what they mean,
//! what causes them and what mends that:
//!
//! ```text
//! - `a message with a … in place of what differs` (ERROR)
//! - `another one with the same cause`
//!
//! *Meaning:* …\
//! *Cause:* …\
//! *Mend:* …
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use super::super::book::root;

const FOLDER: &str = "docs/messages";

/// What an entry has to say, in this order.
const FIELDS: [&str; 3] = ["*Meaning:* ", "*Cause:* ", "*Mend:* "];

/// The paragraph of an entry that nobody has written yet.
pub(super) const FORM: &str = "\n*Meaning:* ???\\\n*Cause:* ???\\\n*Mend:* ???\n";

/// All entries, in the order of the documents.
pub(super) struct List {
    pub(super) entries: Vec<Entry>,
    documents: BTreeMap<String, String>,
}

pub(super) struct Entry {
    /// The path of its document below the repository.
    pub(super) document: String,
    /// At least one.
    pub(super) messages: Vec<Listed>,
    /// The paragraph below them.
    paragraph: Vec<String>,
}

/// A message of an entry.
pub(super) struct Listed {
    /// The line that it stands in, from 1.
    pub(super) line: usize,
    pub(super) text: String,
    /// What stands behind it.
    pub(super) note: String,
}

impl List {
    pub(super) fn read() -> Self {
        let mut list = Self { entries: Vec::new(), documents: BTreeMap::new() };
        let mut files: Vec<_> =
            fs::read_dir(root().join(FOLDER)).unwrap().map(|file| file.unwrap().path()).collect();
        files.sort();
        for file in files {
            let name = file.file_name().unwrap().to_str().unwrap();
            let (document, text) = (format!("{FOLDER}/{name}"), fs::read_to_string(&file).unwrap());
            list.add(&document, &text);
            list.documents.insert(document, text);
        }
        list
    }

    fn add(&mut self, document: &str, text: &str) {
        let mut is_open = false;
        for (index, line) in text.lines().enumerate() {
            if let Some((text, note)) = listed(line) {
                let message = Listed { line: index + 1, text, note };
                match self.entries.last_mut() {
                    Some(entry) if is_open && entry.paragraph.is_empty() => {
                        entry.messages.push(message);
                    }
                    _ => self.entries.push(Entry {
                        document: document.to_owned(),
                        messages: vec![message],
                        paragraph: Vec::new(),
                    }),
                }
                is_open = true;
            } else if line.starts_with('#') {
                is_open = false;
            } else if is_open && !line.is_empty() {
                self.entries.last_mut().unwrap().paragraph.push(line.to_owned());
            }
        }
    }

    /// The messages of all entries.
    pub(super) fn texts(&self) -> BTreeSet<&str> {
        let messages = self.entries.iter().flat_map(|entry| &entry.messages);
        messages.map(|message| message.text.as_str()).collect()
    }

    /// Writes anew what stands behind each message.
    pub(super) fn record(&self, note: impl Fn(&str) -> String) {
        for (document, text) in &self.documents {
            let mut new = String::new();
            for line in text.lines() {
                match listed(line) {
                    Some((text, _)) => new += &format!("- {}{}\n", code(&text), note(&text)),
                    None => new += &format!("{line}\n"),
                }
            }
            if new != *text {
                fs::write(root().join(document), new).unwrap();
            }
        }
    }
}

impl Entry {
    /// What an entry lacks.
    pub(super) fn fault(&self) -> Option<String> {
        let paragraph = self.paragraph.join("\n");
        let begins: Vec<Option<usize>> = FIELDS.iter().map(|f| paragraph.find(f)).collect();
        let [Some(meaning), Some(cause), Some(mend)] = begins[..] else {
            return Some(format!("it needs a paragraph of {}", FIELDS.join("…, ")));
        };
        if !(meaning == 0 && meaning < cause && cause < mend) {
            return Some("meaning, cause and mend stand in this order".to_owned());
        }
        let parts = [&paragraph[..cause], &paragraph[cause..mend], &paragraph[mend..]];
        for (field, part) in FIELDS.iter().zip(parts) {
            let part = part[field.len()..].trim().trim_end_matches('\\');
            if part.len() < 5 || part.contains("???") || !part.ends_with('.') {
                return Some(format!("{field}is no sentence"));
            }
        }
        None
    }
}

/// A line of a list whose point begins with code: the code, and what follows.
fn listed(line: &str) -> Option<(String, String)> {
    let rest = line.strip_prefix("- ")?;
    let ticks = rest.len() - rest.trim_start_matches('`').len();
    if ticks == 0 {
        return None;
    }
    let (fence, rest) = rest.split_at(ticks);
    // The first run of so many ticks, and no more.
    let mut from = 0;
    let end = loop {
        let start = from + rest[from..].find('`')?;
        let run = rest[start..].len() - rest[start..].trim_start_matches('`').len();
        if run == fence.len() {
            break start;
        }
        from = start + run;
    };
    let (text, note) = (&rest[..end], &rest[end + ticks..]);
    let is_padded = text.starts_with(' ') && text.ends_with(' ') && text.contains('`');
    let text = if is_padded { &text[1..text.len() - 1] } else { text };
    Some((text.to_owned(), note.to_owned()))
}

/// A text as code of Markdown.
pub(super) fn code(text: &str) -> String {
    let longest = text.split(|c: char| c != '`').map(str::len).max().unwrap_or_default();
    let fence = "`".repeat(longest + 1);
    let pad = if text.starts_with('`') || text.ends_with('`') { " " } else { "" };
    format!("{fence}{pad}{text}{pad}{fence}")
}

/// What stands behind a message of these kinds.
pub(super) fn note(kinds: &BTreeSet<String>) -> String {
    if kinds.is_empty() {
        return String::new();
    }
    let kinds: Vec<&str> = kinds.iter().map(String::as_str).collect();
    format!(" ({})", kinds.join(", "))
}

#[test]
fn code_is_read_as_it_is_written() {
    for text in ["a b", "a `b` c", "`a` b", "``a`` b `c`", " a b"] {
        let line = format!("- {} (ERROR)", code(text));
        assert_eq!(listed(&line), Some((text.to_owned(), " (ERROR)".to_owned())), "{line}");
    }
    assert_eq!(listed("- a `b`"), None);
}
