//! Writes JSON without building it first. What a terminal interprets is escaped, so that a file can
//! be looked at.

use std::io::Write as _;

use kes_api::hidden::is_hidden;

/// The most bytes of a name that a client chooses: the longest name of an object in S3.
pub(crate) const MAX_NAME: usize = 1024;

/// Writes `,"name":"value"`.
pub(crate) fn text(out: &mut Vec<u8>, name: &str, value: &str) {
    field(out, name);
    quote(out, value);
}

/// The same for a value that a client chooses: at most so many bytes of it, and the mark `…` if there
/// are more.
pub(crate) fn text_within(out: &mut Vec<u8>, name: &str, value: &str, most: usize) {
    field(out, name);
    quote_within(out, value, most);
}

/// Writes `,"name":number`.
pub(crate) fn number(out: &mut Vec<u8>, name: &str, value: u64) {
    field(out, name);
    // A Vec takes all.
    let _ = write!(out, "{value}");
}

fn field(out: &mut Vec<u8>, name: &str) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
}

pub(crate) fn quote_within(out: &mut Vec<u8>, value: &str, most: usize) {
    if value.len() <= most {
        return quote(out, value);
    }
    quote(out, value.get(..value.floor_char_boundary(most)).unwrap_or_default());
    if out.pop_if(|last| *last == b'"').is_some() {
        out.extend_from_slice("…\"".as_bytes());
    }
}

pub(crate) fn quote(out: &mut Vec<u8>, value: &str) {
    out.push(b'"');
    if value.bytes().all(|byte| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\')) {
        out.extend_from_slice(value.as_bytes());
    } else {
        for c in value.chars() {
            match c {
                '"' => out.extend_from_slice(b"\\\""),
                '\\' => out.extend_from_slice(b"\\\\"),
                '\n' => out.extend_from_slice(b"\\n"),
                c if is_hidden(c) => {
                    for unit in c.encode_utf16(&mut [0; 2]) {
                        let _ = write!(out, "\\u{unit:04x}");
                    }
                }
                c => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn quoted(value: &str) -> String {
        let mut out = Vec::new();
        quote(&mut out, value);
        String::from_utf8(out).unwrap()
    }

    proptest! {
        #[test]
        fn what_is_quoted_can_be_read_back(text in any::<String>()) {
            let quoted = quoted(&text);
            prop_assert!(!quoted.contains(char::is_control));
            prop_assert_eq!(serde_json::from_str::<String>(&quoted).unwrap(), text);
        }
    }

    #[test]
    fn what_is_too_long_is_cut_and_says_so() {
        for (value, expected) in [
            ("abc", "\"abc\""),
            ("abcd", "\"abc…\""),
            ("aéé", "\"aé…\""),
            ("\"\"\"\"", "\"\\\"\\\"\\\"…\""),
        ] {
            let mut out = Vec::new();
            quote_within(&mut out, value, 3);
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
        assert_eq!(quoted("a\u{202e}\u{e0041}\u{1b}"), r#""a\u202e\udb40\udc41\u001b""#);
    }
}
