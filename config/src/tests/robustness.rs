use super::*;

#[test]
fn a_thousand_policies_with_ten_thousand_identities() {
    let mut lines: Vec<_> = (0..1_000_u32)
        .map(|policy| {
            let identities: Vec<_> = (0..10_u32)
                .map(|n| Identity::of_public_key(&(policy * 10 + n).to_be_bytes()).to_string())
                .collect();
            format!(
                "  p{policy}: {{allow: [/v1/key/describe/{policy}-*], identities: [{}]}}\n",
                identities.join(", ")
            )
        })
        .collect();
    // Any order will do.
    lines.sort_by_key(|line| {
        line.bytes()
            .map(u64::from)
            .fold(7, |hash: u64, byte| hash.wrapping_mul(1_099_511_628_211) ^ byte)
    });
    let config = with(&format!("policy:\n{}", lines.concat())).config;
    assert_eq!(config.policies.policies().len(), 1_000);
    assert_eq!(config.policies.identities().len(), 10_001);
    let last = Identity::of_public_key(&9_999_u32.to_be_bytes());
    assert_eq!(config.policies.policy_of(&last).unwrap().name(), "p999");
    assert!(allows(&config.policies, &last, "/v1/key/describe/999-k"));
    assert!(!allows(&config.policies, &last, "/v1/key/describe/99-k"));
}

/// Neither memory nor the log is filled by a file whose every item is wrong.
#[test]
fn so_many_mistakes_and_warnings_are_told_and_no_more() {
    let items = "- x\n".repeat(500);
    let odd = with(&format!("policy:\n  a:\n    identities:\n{}", items.replace('-', "    -")));
    let told = warnings(&odd);
    assert_eq!(told.len(), 201);
    assert_eq!(told[200], "line 207: 300 more warnings are not shown");
    let wrong = refused_with(&format!("keys:\n{items}"));
    assert_eq!(wrong.lines().count(), 201);
    assert!(wrong.ends_with("\nline 205: 300 more mistakes are not shown"), "{wrong}");
}

#[test]
fn text_in_another_encoding_is_told() {
    let utf16: Vec<u8> = "\u{feff}a: 1\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let told = decode(&utf16).unwrap_err().text;
    assert_eq!(told, "the text is UTF-16; save the file as UTF-8");
}

proptest! {
    #[test]
    fn any_bytes_are_loaded_or_refused(bytes: Vec<u8>) {
        if let Ok(text) = decode(&bytes) {
            let _ = parse(text, &env);
        }
    }

    /// Each field with each kind of value.
    #[test]
    fn any_fields_are_loaded_or_refused(
        fields in proptest::collection::vec(
            (
                proptest::sample::select(fields::all()),
                proptest::sample::select(vec![
                    "", "~", "x", "''", "[]", "{}", "[x]", "{x: y}", "[[]]", "${ONES}", "${EMPTY}",
                    "${NOPE}", "a${b}", "v1", "on", "5s", "-5s", "https://v", "*a", "&a x", "!!x y",
                    "\"\\n\"", "'*'", "/v1/*/x", "kes:v1:x", "$X",
                ]),
            ),
            0..12,
        ),
    ) {
        let line = |(field, value): (&str, &str)| {
            let parts: Vec<_> = field.split('.').collect();
            let open: String = parts.iter().map(|part| format!("{{{}: ", part.replace('*', "p"))).collect();
            let text = format!("{open}{value}{}", "}".repeat(parts.len()));
            // The outermost braces are the file's.
            text.get(1..text.len() - 1).unwrap().to_owned() + "\n"
        };
        let text: String = fields.into_iter().map(line).collect();
        if let Err(errors) = parse(&text, &env) {
            prop_assert!(!errors.to_string().is_empty());
        }
    }

    #[test]
    fn any_text_is_loaded_or_refused(text: String) {
        let _ = parse(&text, &env);
    }

    /// Files of the contract with pieces cut out, doubled or put elsewhere.
    #[test]
    fn damaged_files_are_loaded_or_refused(
        file in 0_usize..13,
        cuts in proptest::collection::vec((any::<prop::sample::Index>(), 0_usize..30, "\\PC{0,3}"), 1..4),
    ) {
        let mut text = fs::read_to_string(&testdata("accept")[file]).unwrap();
        for (index, length, new) in cuts {
            let start = text.floor_char_boundary(index.index(text.len() + 1));
            let end = text.ceil_char_boundary((start + length).min(text.len()));
            text.replace_range(start..end, &new);
        }
        match parse(&text, &env) {
            Ok(_) => {}
            Err(errors) => prop_assert!(!errors.mistakes().is_empty()),
        }
    }
}
