use std::borrow::Cow;

/// How many characters of one text are shown: enough for all texts that a store itself writes.
const MAX_TEXT: usize = 300;

/// A secret of at least this many bytes is hidden wherever it occurs. A shorter one, as tests and
/// small set-ups have, is hidden only as a word of its own, because it may be a part of many other
/// words. The secrets that a store creates are longer.
const MIN_PART: usize = 8;

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

    proptest! {
        #[test]
        fn any_text_becomes_one_line(text in any::<String>()) {
            let line = one_line(&text, Some("se"));
            prop_assert!(!line.chars().any(char::is_control));
            prop_assert!(line.chars().count() <= MAX_TEXT + 3);
        }
    }
}
