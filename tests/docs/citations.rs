//! Comments that cite the contract, such as "contract `api.md`, Routes", name a document of
//! `docs/contract` and a heading in it.

use std::collections::BTreeMap;
use std::path::Path;

use super::book::root;
use crate::layout::files;

/// The documents of the contract: name to headings.
type Contract = BTreeMap<String, Vec<String>>;

#[test]
fn every_citation_of_the_contract_names_a_document_and_a_heading() {
    let contract = contract();
    let mut bad = Vec::new();
    let mut count = 0;
    for file in files(root(), &["rs", "toml", "md", "sh", "yml", "service"]) {
        let text = unwrapped(&std::fs::read_to_string(&file).unwrap());
        let is_document = file.extension().is_some_and(|ending| ending == "md");
        let place = file.strip_prefix(root()).unwrap().display();
        for citation in citations(&text, &contract, is_document) {
            count += 1;
            if let Err(reason) = citation {
                bad.push(format!("{place}: {reason}"));
            }
        }
    }
    assert!(count > 80, "{count} citations");
    assert_eq!(bad, [""; 0]);
}

#[test]
fn wrong_citations_are_found() {
    // Put together from pieces, so that this file passes as well.
    let [api, wrong] = ["api", "wrong"].map(|name| format!("{name}.md"));
    let headings = vec!["Routes".to_owned(), "Order of checks".to_owned()];
    let contract = BTreeMap::from([(api.clone(), headings)]);
    let judge = |text: &str| -> Vec<bool> {
        citations(text, &contract, false).iter().map(Result::is_ok).collect()
    };
    let name = format!("`{api}`");
    for (text, expected) in [
        (format!("(contract {name}, Order of checks)"), true),
        (format!("contract {name}, Routes, says"), true),
        (format!("the contract {name} says"), true),
        (format!("docs/contract/{api}"), true),
        (format!("contract {name}, Route"), false),
        (format!("contract {name}, routes"), false),
        (format!("contract {name}, Routess"), false),
        (format!("contract {name} Routes"), false),
        (format!("({name}, Routes)"), false),
        (format!("({api}, Routes)"), false),
        (format!("contract `{wrong}`, Routes"), false),
    ] {
        assert_eq!(judge(&text), [expected], "{text}");
    }
    assert_eq!(judge(&unwrapped(&format!("//! a (contract\n//! {name},\n//! Routes)"))), [true]);
}

/// The glossary is in alphabetical order, and has each word once.
#[test]
fn the_glossary_is_sorted() {
    let text = std::fs::read_to_string(root().join("docs/glossary.md")).unwrap();
    let words: Vec<String> = text
        .lines()
        .filter_map(|line| Some(line.strip_prefix("- **")?.split_once("**")?.0.to_lowercase()))
        .collect();
    assert!(words.len() > 40, "{words:?}");
    let misplaced: Vec<_> = words.windows(2).filter(|pair| pair[0] >= pair[1]).collect();
    assert!(misplaced.is_empty(), "{misplaced:?}");
}

fn contract() -> Contract {
    let mut contract = Contract::new();
    for file in files(&root().join("docs/contract"), &["md"]) {
        let text = std::fs::read_to_string(&file).unwrap();
        let mut is_block = false;
        let headings = text.lines().filter(|line| {
            is_block ^= line.starts_with("```");
            line.starts_with('#') && !is_block
        });
        let headings = headings.map(|line| line.trim_start_matches('#').trim().to_owned());
        contract.insert(name_of(&file), headings.collect());
    }
    contract.remove("README.md");
    assert!(contract.len() >= 5, "{contract:?}");
    contract
}

fn name_of(file: &Path) -> String {
    file.file_name().unwrap().to_str().unwrap().to_owned()
}

/// A text without the signs that begin its comments, in one line.
fn unwrapped(text: &str) -> String {
    let without_sign = |line: &str| {
        let line = line.trim();
        let signs = ["//!", "///", "//", "#"];
        let rest = signs.iter().find_map(|sign| line.strip_prefix(sign));
        rest.unwrap_or(line).trim().to_owned()
    };
    text.lines().map(without_sign).collect::<Vec<_>>().join(" ")
}

/// The citations in a text, each with what is wrong with it. A document may link to the contract
/// by a file name alone, anything else may not.
fn citations(text: &str, contract: &Contract, is_document: bool) -> Vec<Result<(), String>> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices(".md") {
        let is_of_a_name = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        let start = text[..at].trim_end_matches(is_of_a_name).len();
        let (before, name) = (&text[..start], &text[start..at + ".md".len()]);
        let after = &text[at + ".md".len()..];
        if before.ends_with("contract `") {
            found.push(judge(name, after, contract));
        } else if contract.contains_key(name) && !before.ends_with('/') && !is_document {
            let shown: String = text[start..].chars().take(40).collect();
            found.push(Err(format!("'{shown}' is not written as a citation of the contract")));
        } else if before.ends_with("docs/contract/") {
            let is_there = contract.contains_key(name) || name == "README.md";
            found.push(if is_there { Ok(()) } else { Err(format!("there is no {name}")) });
        }
    }
    found
}

fn judge(name: &str, after: &str, contract: &Contract) -> Result<(), String> {
    let headings = contract.get(name).ok_or_else(|| format!("the contract has no {name}"))?;
    let after = after.strip_prefix('`').ok_or_else(|| format!("{name}: a '`' is missing"))?;
    let shown: String = after.chars().take(40).collect();
    let Some(section) = after.strip_prefix(", ") else {
        let goes_on =
            after.strip_prefix(' ').is_some_and(|rest| rest.starts_with(char::is_uppercase));
        return if goes_on {
            Err(format!("{name}: a ',' is missing before '{shown}'"))
        } else {
            Ok(())
        };
    };
    let is_heading = headings.iter().any(|heading| {
        let rest = section.strip_prefix(heading.as_str());
        rest.is_some_and(|rest| !rest.starts_with(char::is_alphanumeric))
    });
    if is_heading { Ok(()) } else { Err(format!("{name} has no heading for '{shown}'")) }
}
