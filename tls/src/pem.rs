//! Sections of PEM text (RFC 7468), with the headers of old private keys (RFC 1421, 4.4).
//!
//! Text around and between sections is skipped, lines may end in CR, LF or both and have blanks
//! at either end. The content of a section is decoded only on request, so a fault in a section that
//! is not needed does not matter.

use base64ct::{Base64, Encoding};
use zeroize::Zeroizing;

use crate::error::Fault;

/// The longest label of a section, in bytes. Real ones have at most 21.
const MAX_LABEL_LEN: usize = 40;

/// One section.
pub(crate) struct Section<'a> {
    pub(crate) label: &'a str,
    headers: Vec<(&'a [u8], &'a [u8])>,
    body: &'a [u8],
}

/// The sections of a text, in order. A section without an end is an error and the last item.
pub(crate) fn sections(text: &[u8]) -> impl Iterator<Item = Result<Section<'_>, Fault>> {
    let mut rest = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    std::iter::from_fn(move || {
        let label = loop {
            if let Some(label) = boundary(next_line(&mut rest)?, b"-----BEGIN ") {
                break label;
            }
        };
        let section = section(label, &mut rest);
        if section.is_err() {
            rest = &[];
        }
        Some(section)
    })
}

impl<'a> Section<'a> {
    /// The value of a header line.
    pub(crate) fn header(&self, name: &[u8]) -> Option<&'a [u8]> {
        let (_, value) = self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name))?;
        Some(value)
    }

    /// Decodes the content. The time does not depend on the values of the bytes, since it may be a
    /// private key.
    pub(crate) fn decode(&self) -> Result<Zeroizing<Vec<u8>>, Fault> {
        // Both buffers are allocated at full size and are wiped.
        let mut digits = Zeroizing::new(Vec::with_capacity(self.body.len()));
        digits.extend(self.body.iter().filter(|byte| !byte.is_ascii_whitespace()));
        let mut bytes = Zeroizing::new(vec![0; digits.len() / 4 * 3 + 3]);
        let len = Base64::decode(digits.as_slice(), &mut bytes)
            .map_err(|_| Fault::NotBase64 { label: self.label.to_owned() })?
            .len();
        bytes.truncate(len);
        Ok(bytes)
    }
}

/// Reads from the line after the section's start to the line of its end.
fn section<'a>(label: &'a str, rest: &mut &'a [u8]) -> Result<Section<'a>, Fault> {
    let no_end = || Fault::NoEnd { label: label.to_owned() };
    let mut headers = Vec::new();
    let mut body = *rest;
    loop {
        let start = *rest;
        let line = next_line(rest).ok_or_else(no_end)?;
        if let Some(end) = boundary(line, b"-----END ") {
            if end != label {
                return Err(no_end());
            }
            let len = body.len().saturating_sub(start.len());
            let body = body.get(..len).unwrap_or_default();
            return Ok(Section { label, headers, body });
        }
        if boundary(line, b"-----BEGIN ").is_some() {
            return Err(no_end());
        }
        // A header has a colon, base64 has none.
        let colon = line.iter().position(|byte| *byte == b':');
        if let Some((name, [_, value @ ..])) = colon.and_then(|colon| line.split_at_checked(colon))
        {
            headers.push((name.trim_ascii(), value.trim_ascii()));
            body = *rest;
        }
    }
}

fn next_line<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    if rest.is_empty() {
        return None;
    }
    let end = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
    let all = *rest;
    let (line, next) = match end.and_then(|end| all.split_at_checked(end)) {
        Some((line, [_, next @ ..])) => (line, next),
        _ => (all, &[][..]),
    };
    *rest = next;
    Some(line.trim_ascii())
}

/// The label of a line such as `-----BEGIN CERTIFICATE-----`. Labels are printed in errors, so only
/// text that looks like a label is accepted.
fn boundary<'a>(line: &'a [u8], start: &[u8]) -> Option<&'a str> {
    let label = line.strip_prefix(start)?.strip_suffix(b"-----")?;
    let is_label = label.len() <= MAX_LABEL_LEN
        && label
            .iter()
            .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || *byte == b' ');
    if is_label { std::str::from_utf8(label).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str) -> Vec<(String, Vec<u8>)> {
        sections(text.as_bytes())
            .map(|section| {
                let section = section.unwrap();
                (section.label.to_owned(), section.decode().unwrap().to_vec())
            })
            .collect()
    }

    #[test]
    fn sections_in_the_forms_of_the_field() {
        let expected = vec![("A B".to_owned(), b"hello".to_vec()), ("C".to_owned(), vec![])];
        for text in [
            "-----BEGIN A B-----\naGVsbG8=\n-----END A B-----\n-----BEGIN C-----\n-----END C-----\n",
            "\u{feff}-----BEGIN A B-----\r\naGVs\r\nbG8=\r\n-----END A B-----\r\n-----BEGIN C-----\r\n-----END C-----",
            "Bag Attributes\n  x: y\n-----BEGIN A B-----  \n  aGVsbG8=  \n-----END A B-----\ntext: é\n\n  -----BEGIN C-----\n\n-----END C-----",
            "-----BEGIN A B-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: x\n\naGVsbG8=\n-----END A B-----\n-----BEGIN C-----\n-----END C-----",
        ] {
            assert_eq!(read(text), expected, "{text}");
        }
    }

    #[test]
    fn headers_are_read() {
        let text = "-----BEGIN A-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: DES-CBC,00\n\naGk=\n-----END A-----";
        let section = sections(text.as_bytes()).next().unwrap().unwrap();
        assert_eq!(section.header(b"proc-type").unwrap(), b"4,ENCRYPTED");
        assert_eq!(section.header(b"DEK-Info").unwrap(), b"DES-CBC,00");
        assert!(section.header(b"DEK").is_none());
    }

    #[test]
    fn a_section_without_its_end_is_an_error() {
        for text in [
            "-----BEGIN A-----\naGk=\n",
            "-----BEGIN A-----\naGk=\n-----END B-----\n",
            "-----BEGIN A-----\naGk=\n-----BEGIN B-----\naGk=\n-----END B-----\n",
            "-----BEGIN A-----",
        ] {
            let items: Vec<_> = sections(text.as_bytes()).collect();
            assert!(matches!(items.as_slice(), [Err(Fault::NoEnd { label })] if label == "A"));
        }
    }

    #[test]
    fn content_that_is_no_base64_is_an_error() {
        for body in ["aGk", "***", "aG=k", "aGk=aGk=", "a", "-_8="] {
            let text = format!("-----BEGIN A-----\n{body}\n-----END A-----\n");
            let section = sections(text.as_bytes()).next().unwrap().unwrap();
            assert!(matches!(section.decode(), Err(Fault::NotBase64 { .. })), "{body}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in r"(-----(BEGIN|END) A-----|[a-zA-Z0-9+/=]{0,8}|[:, \r\n-]|\PC){0,30}") {
            for section in sections(text.as_bytes()).flatten() {
                let _ = section.decode();
            }
        }

        #[test]
        fn what_base64_encodes_is_read(bytes: Vec<u8>, width in 1_usize..80) {
            let digits = Base64::encode_string(&bytes);
            let lines: Vec<_> = digits.as_bytes().chunks(width).map(|line| std::str::from_utf8(line).unwrap()).collect();
            let text = format!("-----BEGIN A-----\n{}\n-----END A-----\n", lines.join("\n"));
            prop_assert_eq!(read(&text), vec![("A".to_owned(), bytes)]);
        }
    }
}
