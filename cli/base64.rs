//! Base64 of the command line.

use kes_api::SecretBytes;

/// Decodes an argument.
///
/// # Errors
/// Go's message, which scripts know: `illegal base64 data at input byte 0`. The text is not quoted,
/// since it may be a secret.
pub(crate) fn decode(text: impl AsRef<[u8]>) -> Result<SecretBytes, String> {
    let text = text.as_ref();
    SecretBytes::from_base64(text)
        .map_err(|_| format!("illegal base64 data at input byte {}", fault(text)))
}

/// The position that Go's decoder reports: the first invalid byte; the start of a group of four
/// that is incomplete at the end; or, if a second `=` is missing, the byte before the one in its
/// place. Line breaks are skipped, but count.
fn fault(text: &[u8]) -> usize {
    let is_break = |byte: u8| matches!(byte, b'\r' | b'\n');
    let mut digits = 0;
    for (at, &byte) in text.iter().enumerate() {
        match byte {
            b'\r' | b'\n' => {}
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'+' | b'/' => digits += 1,
            b'=' if digits % 4 >= 2 => {
                let mut rest =
                    (at + 1..text.len()).filter(|&after| !is_break(text[after])).peekable();
                if digits % 4 == 2 {
                    match rest.next() {
                        None => return text.len(),
                        Some(after) if text[after] != b'=' => return after - 1,
                        Some(_) => {}
                    }
                }
                return rest.next().unwrap_or(text.len());
            }
            _ => return at,
        }
    }
    text.len() - digits % 4
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_text_is_decoded_or_its_fault_lies_within(text in "[A-Za-z0-9+/=\r\n!é]{0,12}") {
            if decode(&text).is_err() {
                prop_assert!(fault(text.as_bytes()) <= text.len());
            }
        }
    }

    #[test]
    fn faults_are_told_as_scripts_know_them() {
        for (text, at) in [
            ("xx", 0),
            ("AAAAxx", 4),
            ("AAAAx", 4),
            ("a!bc", 1),
            ("=", 0),
            ("A===", 1),
            ("AA=", 3),
            ("AA=A", 2),
            ("AA==A", 4),
            ("AAA=A", 4),
            ("AAAA\nx-", 6),
            ("AA\n=\nA=", 4),
        ] {
            let error = decode(text).err().expect(text);
            assert_eq!(error, format!("illegal base64 data at input byte {at}"), "{text}");
        }
    }

    #[test]
    fn good_text_is_decoded() {
        let Ok(bytes) = decode("aGVs\nbG8=") else { panic!() };
        assert_eq!(bytes.expose(), b"hello");
    }
}
