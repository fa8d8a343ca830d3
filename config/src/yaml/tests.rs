//! Tests of [`super`].

use super::*;
use proptest::prelude::*;

fn parse(text: &str) -> Result<Document, Mistake> {
    super::parse(text, &|| ())
}

/// The tree in one line: `{a@1: 'x'@1, l@2: [~@3]@3}`.
fn shown(node: &Node) -> String {
    let kind = match &node.kind {
        Kind::Null => "~".to_owned(),
        Kind::Scalar(text) => format!("'{}'", text.as_str()),
        Kind::List(items) => {
            let items: Vec<_> = items.iter().map(|item| shown(item)).collect();
            format!("[{}]", items.join(", "))
        }
        Kind::Map(entries) => {
            let field =
                |entry: &Entry| format!("{}@{}: {}", entry.key, entry.line, shown(&entry.value));
            let fields: Vec<_> = entries.iter().map(field).collect();
            return format!("{{{}}}", fields.join(", "));
        }
    };
    format!("{kind}@{}", node.line)
}

fn tree(text: &str) -> String {
    parse(text).map_or_else(|mistake| mistake.text, |document| shown(&document.root))
}

#[test]
fn scalars_keep_their_text() {
    assert_eq!(
        tree("a: 0x1F\nb: 1e3\nc: yes\nd: '~'\ne: ~\nf:\ng: !!str null\n"),
        "{a@1: '0x1F'@1, b@2: '1e3'@2, c@3: 'yes'@3, d@4: '~'@4, e@5: ~@5, f@6: ~@6, \
         g@7: 'null'@7}"
    );
    assert_eq!(tree("a: |\n  x\n  y\n"), "{a@1: 'x\ny\n'@2}");
}

#[test]
fn the_first_document_alone() {
    assert_eq!(tree("\u{feff}---\na: 1\n---\nb: 2\n--- }}}\n"), "{a@2: '1'@2}");
    assert_eq!(tree("%YAML 1.2\n---\na: 1\n...\n"), "{a@3: '1'@3}");
    for text in ["", "\u{feff}", "\n# nothing\n", "---\n", "~"] {
        assert_eq!(tree(text), "the file is empty", "{text:?}");
    }
    assert!(tree("--- # x\n---\na: 1\n").starts_with("the first document of the file is empty"));
    let next = |text| parse(text).unwrap().next;
    assert_eq!(
        [next("a: 1\n---\nb: 2\n"), next("a: 1\n...\n"), next("a: 1")],
        [Some(2), None, None]
    );
    assert!(tree("{a: 1} junk").starts_with("not YAML: "));
    for text in ["a: { b: ${X} }", "a: { b: [${X}] }", "a: {\n  b: ${X},\n  c: 1 }", "a: [${X}]"] {
        assert!(tree(text).ends_with("needs quotes, as in \"${NAME}\""), "{}", tree(text));
    }
}

#[test]
fn aliases_and_merges() {
    assert_eq!(tree("a: &x [1]\nb: *x\n"), "{a@1: ['1'@1]@1, b@2: ['1'@1]@1}");
    assert_eq!(
        tree("x: &x {a: 1, b: 1}\ny: &y {b: 2, c: 2}\nz:\n  b: 3\n  <<: [*y, *x]\n"),
        "{x@1: {a@1: '1'@1, b@1: '1'@1}, y@2: {b@2: '2'@2, c@2: '2'@2}, \
         z@3: {b@4: '3'@4, c@2: '2'@2, a@1: '1'@1}}"
    );
    assert_eq!(
        tree("x: &x {a: 1}\ny: {<<: *x, '<<': 2}"),
        "{x@1: {a@1: '1'@1}, y@2: {<<@2: '2'@2, a@1: '1'@1}}"
    );
    // A name used again stands for its last value.
    assert_eq!(tree("[&a 1, *a, &a 2, *a]"), "['1'@1, '1'@1, '2'@1, '2'@1]@1");
    for text in ["<<: 1", "<<: []", "<<: [1]", "<<:"] {
        assert!(tree(text).starts_with("`<<` merges a map"), "{text}");
    }
    assert!(tree("a: *x").contains("anchor"));
    assert_eq!(tree("a: &x [*x]"), "an alias inside its own anchor");
    assert_eq!(
        tree("? [a]\n: 1"),
        "line 1 holds a map or a list where the name of a field is expected; '{{ … }}' of a \
         template is not replaced here"
    );
}

#[test]
fn bombs_are_refused() {
    // Not by `tree`, which would write out what is not refused.
    let refusal = |text: &str| parse(text).err().map(|mistake| mistake.text).unwrap_or_default();
    let mut bomb = "x0: &x0 [1,1,1,1,1,1,1,1,1,1]\n".to_owned();
    for level in 1..10 {
        let aliases = vec![format!("*x{}", level - 1); 10].join(",");
        bomb += &format!("x{level}: &x{level} [{aliases}]\n");
    }
    assert!(refusal(&bomb).contains("aliases"), "{}", refusal(&bomb));

    let mut merges = "x0: &x0 {a: 1}\n".to_owned();
    for level in 1..30 {
        let before = level - 1;
        merges += &format!("x{level}: &x{level} {{b: *x{before}, c: *x{before}}}\n");
    }
    assert!(refusal(&merges).contains("aliases"));

    // Each alias adds 40 levels to what the tree's walk has to go down.
    let mut ladder = "x0: &x0 1\n".to_owned();
    for level in 1..100 {
        let (open, close) = ("[".repeat(40), "]".repeat(40));
        ladder += &format!("x{level}: &x{level} {open}*x{}{close}\n", level - 1);
    }
    assert!(refusal(&ladder).contains("nested deeper"));
    for text in ["[".repeat(100_000), "- ".repeat(100_000), "{a: ".repeat(100_000)] {
        assert!(refusal(&text).starts_with("not YAML: "));
    }
}

#[test]
fn a_file_of_too_many_values_is_refused() {
    let text = format!("a: [{}]", "1,".repeat(MAX_NODES));
    let refusal = parse(&text).err().map(|mistake| mistake.text).unwrap_or_default();
    assert_eq!(refusal, "the file has more than a million values up to here");
}

#[test]
fn many_aliases_of_a_real_file_pass() {
    let mut text = "base: &base [a, b, c, d, e, f, g, h]\npolicy:\n".to_owned();
    for policy in 0..5_000 {
        text += &format!("  p{policy}: {{allow: *base, deny: *base}}\n");
    }
    assert!(parse(&text).is_ok());
}

proptest! {
    #[test]
    fn any_text_is_parsed_or_refused(text: String) {
        let _ = parse(&text);
    }

    #[test]
    fn texts_of_the_alphabet_are_parsed_or_refused(
        parts in proptest::collection::vec(
            proptest::sample::select(vec![
                "a", "b: ", ": ", "- ", "\n", "  ", "[", "]", "{", "}", ",", "&a ", "*a", "<<: ",
                "'", "\"", "|", ">", "? ", "!!str ", "---\n", "# c", "~", "\t", "\\", "%",
            ]),
            0..40,
        ),
    ) {
        let _ = parse(&parts.concat());
    }
}
