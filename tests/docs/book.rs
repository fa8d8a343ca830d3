//! The documents, taken apart: blocks, commands and file names in the text, headings, links.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use pulldown_cmark::{CodeBlockKind, Event, HeadingLevel, Options, Parser, Tag, TagEnd};

use super::{Runner, runner};

/// A fenced block.
#[derive(Clone, Debug)]
pub(super) struct Block {
    /// The document's path below the repository.
    pub(super) document: &'static str,
    /// The line of its first line, from 1.
    pub(super) line: usize,
    /// What stands behind the opening fence.
    pub(super) language: String,
    /// The headings above it, from the document's title on.
    pub(super) section: Vec<String>,
    pub(super) text: String,
}

/// A piece of code in a sentence or a table.
#[derive(Clone, Debug)]
pub(super) struct Code {
    pub(super) document: &'static str,
    pub(super) line: usize,
    pub(super) text: String,
}

/// A link of a document.
#[derive(Clone, Debug)]
pub(super) struct Link {
    pub(super) document: &'static str,
    pub(super) line: usize,
    pub(super) target: String,
}

/// All documents.
#[derive(Debug, Default)]
pub(super) struct Book {
    pub(super) documents: BTreeMap<&'static str, String>,
    blocks: Vec<Block>,
    pub(super) codes: Vec<Code>,
    pub(super) links: Vec<Link>,
    /// The anchors of each document's headings.
    pub(super) anchors: BTreeMap<&'static str, BTreeSet<String>>,
}

impl Block {
    /// Where the block stands, for messages.
    pub(super) fn place(&self) -> String {
        format!("{}:{}", self.document, self.line)
    }

    /// The heading right above it.
    pub(super) fn heading(&self) -> &str {
        self.section.last().unwrap()
    }
}

impl Book {
    pub(super) fn read() -> Self {
        let mut book = Self::default();
        for document in documents() {
            let text = std::fs::read_to_string(root().join(document)).unwrap();
            book.add(document, &text);
            book.documents.insert(document, text);
        }
        book
    }

    pub(super) fn blocks(&self) -> impl Iterator<Item = &Block> {
        self.blocks.iter()
    }

    /// The blocks that a test runs, in the order in which a reader meets them.
    pub(super) fn blocks_of(&self, wanted: Runner) -> Vec<&Block> {
        let blocks: Vec<&Block> =
            self.blocks().filter(|block| runner(block) == Some(wanted)).collect();
        assert!(!blocks.is_empty(), "no document has a block for {wanted:?}");
        blocks
    }

    /// The blocks below a heading of a document.
    pub(super) fn blocks_below(&self, document: &str, heading: &str) -> Vec<&Block> {
        let is_below = |block: &&Block| {
            block.document == document && block.section.iter().any(|above| above == heading)
        };
        let blocks: Vec<&Block> = self.blocks().filter(is_below).collect();
        assert!(!blocks.is_empty(), "{document}: no block below '{heading}'");
        blocks
    }

    fn add(&mut self, document: &'static str, text: &str) {
        let line_of = |offset: usize| text[..offset].matches('\n').count() + 1;
        let mut section: Vec<String> = Vec::new();
        let mut heading: Option<String> = None;
        let mut block: Option<Block> = None;
        let anchors = self.anchors.entry(document).or_default();
        for (event, range) in Parser::new_ext(text, Options::ENABLE_TABLES).into_offset_iter() {
            let line = line_of(range.start);
            match event {
                Event::Start(Tag::Heading { level, .. }) => {
                    section.truncate(depth(level) - 1);
                    heading = Some(String::new());
                }
                Event::End(TagEnd::Heading(_)) => {
                    let heading = heading.take().unwrap();
                    assert!(anchors.insert(anchor(&heading)), "{document}: '{heading}' twice");
                    section.push(heading);
                }
                Event::Start(Tag::CodeBlock(kind)) => {
                    let language = match kind {
                        CodeBlockKind::Fenced(language) => language.into_string(),
                        CodeBlockKind::Indented => "indented".to_owned(),
                    };
                    block = Some(Block {
                        document,
                        line: line + 1,
                        language,
                        section: section.clone(),
                        text: String::new(),
                    });
                }
                Event::End(TagEnd::CodeBlock) => self.blocks.extend(block.take()),
                Event::Text(text) => {
                    if let Some(block) = &mut block {
                        block.text.push_str(&text);
                    } else if let Some(heading) = &mut heading {
                        heading.push_str(&text);
                    }
                }
                Event::Code(text) => {
                    if let Some(heading) = &mut heading {
                        heading.push_str(&text);
                    }
                    self.codes.push(Code { document, line, text: text.into_string() });
                }
                Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                    self.links.push(Link { document, line, target: dest_url.into_string() });
                }
                _ => (),
            }
        }
    }
}

/// The repository.
pub(super) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every Markdown file of the repository, as a path below it.
fn documents() -> Vec<&'static str> {
    let mut found = Vec::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(root().join(&folder)).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            let path = folder.join(&name);
            // What is below `tests` is for tests, not for readers.
            if name.starts_with('.') || name == "target" || path == Path::new("tests") {
                continue;
            } else if entry.file_type().unwrap().is_dir() {
                folders.push(path);
            } else if name.ends_with(".md") {
                found.push(path.into_os_string().into_string().unwrap());
            }
        }
    }
    found.sort();
    // A handful of short names that live as long as the test process.
    found.into_iter().map(|path| &*path.leak()).collect()
}

fn depth(level: HeadingLevel) -> usize {
    level as usize
}

/// A heading's anchor, as GitHub and GitLab make it.
fn anchor(heading: &str) -> String {
    heading
        .to_lowercase()
        .chars()
        .filter_map(|c| match c {
            ' ' => Some('-'),
            c if c.is_alphanumeric() || c == '-' || c == '_' => Some(c),
            _ => None,
        })
        .collect()
}
