use std::borrow::Cow;

use zeroize::Zeroizing;

/// How many characters of one text are shown: enough for all texts that a store itself writes.
const MAX_TEXT: usize = 300;

/// A secret of at least this many bytes is hidden wherever it occurs. A shorter one, as tests and
/// small set-ups have, is hidden only as a word of its own, because it may be a part of many other
/// words. The secrets that a store creates are longer.
const MIN_PART: usize = 8;

/// The answer of a server without what it repeats of the request: each run of at least [`MIN_PART`]
/// bytes that a value of the request's JSON has as well. Values of the fields `shown` are no
/// secrets. Answers are redacted before anything is cut, so no part of a value is left.
pub(super) fn without_values<'a>(
    answer: &'a [u8],
    request: &[u8],
    shown: &[&str],
) -> Cow<'a, [u8]> {
    let mut parts: Zeroizing<Vec<[u8; MIN_PART]>> = Zeroizing::default();
    let values =
        || values(request).filter(|(field, _)| !shown.iter().any(|name| *field == name.as_bytes()));
    // At full size: a vector that grows leaves copies.
    parts.reserve_exact(values().map(|(_, value)| value.len()).sum());
    for (_, value) in values() {
        parts.extend(value.array_windows());
    }
    parts.sort_unstable();
    let mut redacted = Vec::new();
    // Where the bytes begin that are not decided yet.
    let mut rest = 0;
    for (at, part) in answer.array_windows::<MIN_PART>().enumerate() {
        if parts.binary_search(part).is_err() {
            continue;
        }
        if at > rest || rest == 0 {
            redacted.extend_from_slice(&answer[rest..at]);
            redacted.extend_from_slice(b"[secret]");
        }
        rest = at + MIN_PART;
    }
    if rest == 0 {
        return Cow::Borrowed(answer);
    }
    redacted.extend_from_slice(&answer[rest..]);
    Cow::Owned(redacted)
}

/// The strings in the JSON of a request, each with the last field name before it.
fn values(json: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let (mut rest, mut field) = (json, &json[..0]);
    std::iter::from_fn(move || {
        loop {
            let start = rest.iter().position(|byte| *byte == b'"')? + 1;
            let mut len = 0;
            while *rest.get(start + len)? != b'"' {
                len += if rest[start + len] == b'\\' { 2 } else { 1 };
            }
            let text = &rest[start..start + len];
            rest = &rest[start + len + 1..];
            match rest.first() {
                Some(b':') => field = text,
                _ => return Some((field, text)),
            }
        }
    })
}

/// A text of a server without a secret.
fn hide<'a>(text: &'a str, secret: Option<&str>) -> Cow<'a, str> {
    let Some(secret) = secret.filter(|secret| !secret.is_empty() && text.contains(secret)) else {
        return Cow::Borrowed(text);
    };
    // Whether the end of one text and the start of the next are parts of one word.
    let joins = |one: &str, next: &str| {
        one.ends_with(char::is_alphanumeric) && next.starts_with(char::is_alphanumeric)
    };
    let mut shown = String::with_capacity(text.len());
    let mut rest = 0;
    for (at, _) in text.match_indices(secret) {
        let end = at + secret.len();
        let is_word = !joins(&text[..at], secret) && !joins(secret, &text[end..]);
        if secret.len() >= MIN_PART || is_word {
            shown.push_str(&text[rest..at]);
            shown.push_str("[secret]");
            rest = end;
        }
    }
    shown.push_str(&text[rest..]);
    Cow::Owned(shown)
}

/// A text of a server as one line of bounded length, without a secret.
pub(crate) fn one_line(text: &str, secret: Option<&str>) -> String {
    let shown = hide(text, secret);
    let words: Vec<&str> = shown.split(|c: char| c.is_whitespace() || c.is_control()).collect();
    let mut line = String::new();
    for word in words.into_iter().filter(|word| !word.is_empty()) {
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    // The words of a secret of several may have been on several lines.
    if secret.is_some_and(|secret| secret.contains(char::is_whitespace)) {
        line = hide(&line, secret).into_owned();
    }
    if let Some((cut, _)) = line.char_indices().nth(MAX_TEXT) {
        line.truncate(cut);
        line.push_str("...");
    }
    line
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_secret_does_not_show() {
        for (secret, text, shown) in [
            (
                "b",
                "role b: unavailable, 'b' (b)",
                "role [secret]: unavailable, '[secret]' ([secret])",
            ),
            ("é", "é éa aé", "[secret] éa aé"),
            ("-b", "a-b -b", "a[secret] [secret]"),
            ("1234567", "a1234567 1234567", "a1234567 [secret]"),
            ("12345678", "a12345678b 12345678", "a[secret]b [secret]"),
            ("", "a b", "a b"),
            ("correct horse", "is correct\n horse right", "is [secret] right"),
        ] {
            assert_eq!(one_line(text, Some(secret)), shown);
        }
    }

    #[test]
    fn what_a_server_repeats_of_a_request_does_not_show() {
        let request =
            br#"{"options":{"cas":0},"data":{"a-long-name":"c2VjcmV0c2VjcmV0Cg==","b":"x\"y\\"}}"#;
        for (answer, shown) in [
            ("was: c2VjcmV0c2VjcmV0Cg== not", "was: [secret] not"),
            ("was: VjcmV0c2 VjcmV0c2 and jcmV0c2", "was: [secret] [secret] and jcmV0c2"),
            ("c2VjcmV0c2VjcmV0Cg==c2VjcmV0c2VjcmV0Cg==", "[secret]"),
            ("xc2VjcmV0c", "x[secret]"),
            ("a-long-name options", "a-long-name options"),
            ("", ""),
        ] {
            assert_eq!(without_values(answer.as_bytes(), request, &[]), shown.as_bytes());
        }
        let login = br#"{"role":"kes-server","jwt":"0123456789"}"#;
        let answer = b"no role kes-server for 123456789";
        assert_eq!(&*without_values(answer, login, &["role"]), b"no role kes-server for [secret]");
        for broken in [&b"{\"a\":\""[..], b"\"\\", b"\"a\\"] {
            assert_eq!(without_values(b"abcdefgh", broken, &[]), b"abcdefgh".as_slice());
        }
    }

    proptest! {
        #[test]
        fn any_text_becomes_one_line(text in any::<String>()) {
            let line = one_line(&text, Some("se"));
            prop_assert!(!line.chars().any(char::is_control));
            prop_assert!(line.chars().count() <= MAX_TEXT + 3);
        }
    }
}
