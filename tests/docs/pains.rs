//! `docs/pains.md` has each pain that was gathered, with what shows its verdict.

use super::book::Book;

const DOCUMENT: &str = "docs/pains.md";

/// Of the list that the document answers.
const PAINS: u32 = 33;

#[test]
fn every_pain_has_a_verdict_and_tests() {
    let book = Book::read();
    let text = &book.documents[DOCUMENT];
    let mut numbers = Vec::new();
    for pain in text.split("\n### ").skip(1) {
        let heading = pain.lines().next().unwrap();
        let (number, _) = heading.split_once(". ").unwrap_or_else(|| panic!("{heading}"));
        numbers.push(number.parse::<u32>().unwrap_or_else(|error| panic!("{heading}: {error}")));

        assert!(pain.contains("**Now:**"), "{heading}: what happens now?");
        let verdicts: Vec<&str> =
            pain.lines().filter_map(|line| line.strip_prefix("Verdict: ")).collect();
        let [verdict] = verdicts[..] else { panic!("{heading}: one verdict: {verdicts:?}") };
        let is_known = ["solved", "in part", "out of scope"]
            .iter()
            .filter_map(|known| verdict.strip_prefix(known))
            .any(|rest| rest.starts_with(['.', ',', ':']));
        assert!(is_known, "{heading}: {verdict}");
        // That each of them is there: `claims::every_test_that_is_named_is_there`.
        let tests = pain.lines().filter(|line| line.starts_with("- `") && line.contains(".rs: "));
        assert!(tests.count() > 0, "{heading}: which test shows it?");
    }
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=PAINS).collect::<Vec<_>>());
}
