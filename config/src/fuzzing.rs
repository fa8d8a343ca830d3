//! The YAML reader for the fuzz targets, which are another crate.

use crate::yaml::{self, Kind, Node};

/// The most nodes of a tree that is made: what an alias bomb expands to is not of interest.
const MAX_NODES: u64 = 20_000;

/// A document, with aliases and merge keys resolved. A scalar is its text, whatever its type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tree {
    /// Nothing.
    Null,
    /// A scalar.
    Text(String),
    /// A list.
    List(Vec<Self>),
    /// A map in the order of the file. A key may occur twice.
    Map(Vec<(String, Self)>),
}

/// Reads the first document of a text; `None` if it is refused or very large.
pub fn yaml(text: &str) -> Option<Tree> {
    let document = yaml::parse(text, &|| {}).ok()?;
    (document.root.size <= MAX_NODES).then(|| tree(&document.root))
}

fn tree(node: &Node) -> Tree {
    match &node.kind {
        Kind::Null => Tree::Null,
        Kind::Scalar(text) => Tree::Text(text.to_string()),
        Kind::List(items) => Tree::List(items.iter().map(|item| tree(item)).collect()),
        Kind::Map(entries) => {
            let entries = entries.iter().map(|entry| (entry.key.to_string(), tree(&entry.value)));
            Tree::Map(entries.collect())
        }
    }
}
