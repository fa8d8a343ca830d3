//! Links lead to files that are there, and to headings that are in them.

use std::path::{Component, Path, PathBuf};

use super::book::{Book, root};

#[test]
fn every_link_leads_somewhere() {
    let book = Book::read();
    let mut broken = Vec::new();
    for link in &book.links {
        let (path, anchor) = link.target.split_once('#').unwrap_or((&link.target, ""));
        let target = if path.is_empty() {
            PathBuf::from(link.document)
        } else if path.contains("://") {
            panic!("{}:{}: '{path}' is outside of the repository", link.document, link.line)
        } else {
            clean(&Path::new(link.document).parent().unwrap().join(path))
        };
        let has_anchor = anchor.is_empty()
            || book.anchors.get(target.to_str().unwrap()).is_some_and(|all| all.contains(anchor));
        if !root().join(&target).exists() || !has_anchor {
            broken.push(format!("{}:{}: {}", link.document, link.line, link.target));
        }
    }
    assert!(!book.links.is_empty());
    assert_eq!(broken, [""; 0]);
}

/// Files of the repository that the text names are there: `keys/src/keys.rs`, `CONTRIBUTING.md`.
#[test]
fn every_file_that_is_named_is_there() {
    let book = Book::read();
    let endings = [".rs", ".md", ".toml", ".json", ".py", ".service", ".sysusers"];
    let mut missing = Vec::new();
    let mut count = 0;
    for code in &book.codes {
        let is_file =
            endings.iter().any(|ending| code.text.ends_with(ending)) || code.text.ends_with('/');
        // A path from the root is a file of the system.
        if !is_file || code.text.starts_with('/') || code.text.contains([' ', '*', '<', '$']) {
            continue;
        }
        count += 1;
        let beside = Path::new(code.document).parent().unwrap().join(&code.text);
        let is_there = [PathBuf::from(&code.text), clean(&beside)]
            .iter()
            .any(|path| root().join(path).exists());
        if !is_there {
            missing.push(format!("{}:{}: {}", code.document, code.line, code.text));
        }
    }
    assert!(count > 10);
    assert_eq!(missing, [""; 0]);
}

fn clean(path: &Path) -> PathBuf {
    path.components().fold(PathBuf::new(), |mut clean, part| {
        match part {
            Component::ParentDir => assert!(clean.pop(), "{} leaves it", path.display()),
            Component::CurDir => (),
            part => clean.push(part),
        }
        clean
    })
}
