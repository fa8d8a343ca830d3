//! `docs/assurance.md` is what `python3 .ci/assure` printed, with what each check does.

use std::process::Command;

use super::book::{Book, root};

#[test]
fn the_document_has_the_checks_of_the_command() {
    let output = Command::new("python3")
        .arg(root().join(".ci/assure"))
        .arg("--list")
        .current_dir("/")
        .output()
        .expect("python3 is there");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let listed = String::from_utf8(output.stdout).unwrap();
    let listed: Vec<&str> = listed.lines().collect();
    assert_eq!(listed.len(), 20, "{listed:#?}");

    let book = Book::read();
    let text = &book.documents["docs/assurance.md"];
    let rows: Vec<&str> = text
        .lines()
        .filter(|line| line.starts_with("| ") && cell(line, 0).parse::<u32>().is_ok())
        .collect();
    // The table that the command printed, and what each check does.
    assert_eq!(rows.len(), 2 * listed.len(), "{rows:#?}");
    let (printed, explained) = rows.split_at(listed.len());
    for ((check, row), explanation) in listed.iter().zip(printed).zip(explained) {
        assert!(row.starts_with(check), "the command has {check}\nand the document {row}");
        let verdict = cell(row, 5);
        let is_verdict =
            verdict == "met" || verdict == "missed" || verdict.starts_with("not run: ");
        assert!(is_verdict, "{row}");
        assert_eq!(cell(explanation, 0), cell(check, 0), "{explanation}");
    }
    let met = printed.iter().filter(|row| cell(row, 5) == "met").count();
    let told = format!("{met} of {} met", listed.len());
    assert!(text.contains(&told), "the document does not say '{told}'");
}

/// A cell of a row, from 0.
fn cell(row: &str, number: usize) -> &str {
    row.split(" | ").nth(number).unwrap_or_default().trim_matches(['|', ' '])
}
