//! The site: `docs/SUMMARY.md` lists its pages, `bash .ci/book` makes it, `.ci/pages` looks for dead links.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use super::book::{Book, root};

const SUMMARY: &str = "docs/SUMMARY.md";

#[test]
fn every_document_of_the_folder_is_a_page() {
    let book = Book::read();
    let pages: Vec<&str> = book
        .links
        .iter()
        .filter(|link| link.document == SUMMARY)
        .map(|link| link.target.as_str())
        .collect();
    let listed: BTreeSet<&str> = pages.iter().copied().collect();
    assert_eq!(pages.len(), listed.len(), "a page is listed twice: {pages:?}");
    // That each of them is there: `links::every_link_leads_somewhere`.
    let documents: BTreeSet<&str> = book
        .documents
        .keys()
        .filter(|document| **document != SUMMARY)
        .filter_map(|document| document.strip_prefix("docs/"))
        .collect();
    let pages: BTreeSet<&str> =
        listed.into_iter().filter(|target| !target.starts_with("../")).collect();
    assert_eq!(pages, documents);
}

/// A document that a page links to is a page as well: in the site, nothing else is there.
#[test]
fn every_document_that_a_page_links_to_is_a_page() {
    let book = Book::read();
    let page = |document: &str, target: &str| {
        let folder = Path::new(document).parent().unwrap();
        let path = folder.join(target.split('#').next().unwrap());
        let parts = path.components().map(|part| part.as_os_str().to_str().unwrap());
        let clean = parts.fold(Vec::new(), |mut clean, part| {
            if part == ".." {
                clean.pop();
            } else {
                clean.push(part);
            }
            clean
        });
        clean.join("/")
    };
    let summary = book.links.iter().filter(|link| link.document == SUMMARY);
    let pages: BTreeSet<String> = summary.map(|link| page(SUMMARY, &link.target)).collect();
    let is_bad = |link: &&super::book::Link| {
        let target = page(link.document, &link.target);
        pages.contains(link.document)
            && !link.target.starts_with('#')
            && ![".svg", ".webp"].iter().any(|ending| target.ends_with(ending))
            && !pages.contains(&target)
    };
    let bad: Vec<_> = book.links.iter().filter(is_bad).collect();
    assert!(bad.is_empty(), "in the site these lead nowhere: {bad:#?}");
}

#[test]
fn dead_links_of_a_site_are_found() {
    let site = tempfile::tempdir().unwrap();
    fs::create_dir(site.path().join("docs")).unwrap();
    fs::write(site.path().join("index.html"), "<h1 id=\"here\">a</h1><img src='a.svg'>").unwrap();
    fs::write(site.path().join("a.svg"), "<svg/>").unwrap();
    let check = |body: &str| {
        fs::write(site.path().join("docs/b.html"), body).unwrap();
        let mut command = Command::new("python3");
        let output = command.arg(root().join(".ci/pages")).arg("check").arg(site.path()).output();
        let output = output.expect("python3 is there");
        (output.status.success(), String::from_utf8(output.stderr).unwrap())
    };
    assert_eq!(check("<a href='../index.html#here'>b</a><a href=''>c</a>"), (true, String::new()));
    for (reference, fault) in [
        ("../index.html#there", "there is no such anchor"),
        ("#here", "there is no such anchor"),
        ("../other.html", "there is no such file"),
        ("index.html", "there is no such file"),
        ("https://example.net/", "is outside of the site"),
    ] {
        let told = format!("docs/b.html:2: {reference}: {fault}\n");
        assert_eq!(check(&format!("<p>\n<a href='{reference}'>b</a>")), (false, told));
    }
}
