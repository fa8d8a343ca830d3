//! The tables of `docs/config.md` are those of the code. After a change of a field:
//! `KES_RECORD=1 cargo test -p kes-config reference`.

/// Files that set one field.
mod file;

/// Values that have the form of a field, and others.
mod forms;

/// What is told of a change.
mod changes;

use self::file::{File, chosen};
use super::*;
use crate::fields::facts::{Change, Facts, Form, Unset};
use crate::fields::{self, Section};

const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/config.md");
const CHANGELOG: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../CHANGELOG.md");

const TWOS: &str = "2222222222222222222222222222222222222222222222222222222222222222";

/// The first line of each table.
const HEAD: &str = "| field | meaning | default | form | since | change |\n\
                    | --- | --- | --- | --- | --- | --- |\n";

fn rows() -> impl Iterator<Item = (&'static str, &'static Facts)> {
    fields::sections().iter().flat_map(Section::rows)
}

fn settings(file: &File) -> Settings {
    Settings::of(&loaded(&file.text()).config)
}

/// The value that a field has if it is left out.
fn default(field: &str, facts: &Facts) -> Option<String> {
    match facts.unset {
        Unset::Shown => {
            let shown = settings(&File::of(field)).shown(&chosen(field));
            Some(facts.form.written(&shown.unwrap_or_else(|| panic!("{field} is not shown"))))
        }
        Unset::Value(value) => Some(value.to_owned()),
        Unset::Required | Unset::RequiredOr(_) | Unset::Words(_) | Unset::Nothing => None,
    }
}

fn table(section: &Section) -> String {
    let rows = section.rows().map(|(field, facts)| {
        let Facts { meaning, unset, form, since, change } = facts;
        let value = default(field, facts).map(|value| format!("`{value}`"));
        let unset = value.unwrap_or_else(|| match unset {
            Unset::RequiredOr(other) => format!("required, or `{other}`"),
            Unset::Words(words) => (*words).to_owned(),
            Unset::Nothing => "none".to_owned(),
            Unset::Required | Unset::Shown | Unset::Value(_) => "required".to_owned(),
        });
        let (form, change) = (form.cell(), change.cell());
        format!("| `{field}` | {meaning} | {unset} | {form} | {since} | {change} |\n")
    });
    [HEAD.to_owned()].into_iter().chain(rows).collect()
}

/// The document with the table of this section.
fn replaced(document: &str, section: &Section) -> String {
    let heading = format!("\n## {}\n", section.title);
    let (before, after) = document.split_once(&heading).unwrap_or_else(|| panic!("no {heading}"));
    let is_row = |line: &&str| line.starts_with('|');
    let lines = || after.split_inclusive('\n');
    let prose: String = lines().take_while(|line| !is_row(line)).collect();
    assert!(!prose.contains("\n## "), "no table: {heading}");
    let rest: String = lines().skip_while(|line| !is_row(line)).skip_while(is_row).collect();
    format!("{before}{heading}{prose}{}{rest}", table(section))
}

#[test]
fn the_tables_of_the_document_are_those_of_the_code() {
    let found = fs::read_to_string(DOCUMENT).unwrap();
    let expected =
        fields::sections().iter().fold(found.clone(), |text, section| replaced(&text, section));
    let tables = expected.matches(HEAD).count();
    assert_eq!(tables, fields::sections().len(), "a table that the code does not have");
    if std::env::var_os("KES_RECORD").is_some() {
        fs::write(DOCUMENT, &expected).unwrap();
        return;
    }
    let differ = |(found, expected): &(&str, &str)| found != expected;
    let first = found.lines().zip(expected.lines()).find(differ);
    assert!(
        found == expected,
        "docs/config.md differs from the code; if the change is meant: \
         KES_RECORD=1 cargo test -p kes-config reference\n{first:#?}"
    );
}

#[test]
fn every_version_that_brought_a_field_is_in_the_changelog() {
    let changelog = fs::read_to_string(CHANGELOG).unwrap();
    for (field, facts) in rows() {
        let heading = format!("## {}", facts.since);
        assert!(changelog.lines().any(|line| line == heading), "{field}: {}", facts.since);
    }
}

/// A file that says the default is one that says nothing; one without a required field is refused.
#[test]
fn defaults_are_those_of_the_code() {
    let (mut defaults, mut required) = (0, 0);
    for (field, facts) in rows() {
        let without = File::usual(field);
        if let Some(value) = default(field, facts) {
            defaults += 1;
            let with = File::with(field, &value);
            assert_ne!(with.text(), without.text(), "{field} is in the file");
            let changes = settings(&with).changes_since(&settings(&File::of(field)));
            assert_eq!(changes, [], "{field}: {value} is not the default");
            continue;
        }
        let has_it = without.has(&chosen(field));
        let (Unset::Required | Unset::RequiredOr(_)) = facts.unset else {
            assert!(!has_it, "{field} is in the file");
            loaded(&without.text());
            continue;
        };
        required += 1;
        assert!(has_it, "{field} is not in the file");
        let mut file = without;
        file.remove(field);
        let told = refused(&file.text());
        assert!(told.contains(&field.replace(".*", "[0]")), "{field}: {told}");
        if let Unset::RequiredOr(other) = facts.unset {
            let other = format!("{}.{other}", field.rsplit_once('.').unwrap().0);
            let (_, facts) = rows().find(|(field, _)| *field == other).unwrap();
            file.set(&other, &forms::right(&facts.form)[0]);
            loaded(&file.text());
        }
    }
    assert!(defaults > 20 && required > 12, "{defaults} defaults, {required} required fields");
}
