//! What is shown of texts of a server.
//!
//! Whatever stands at the address of a store, such as a gateway before it, may repeat the request in
//! its answer: a stored key, a secret ID, a token, the whole of it or a part, in any encoding. So
//! nothing of a text of a server is shown but words that the store is known to use.

use url::Url;

/// The longest run of characters that a shown host may have in common with a secret, and one more.
const RUN: usize = 8;

/// The known words in a text, in their order; `...` stands for the rest. `None` if there are none.
/// After words that end in `name` the text may have that name in quotes, if it is `name`: a name in
/// our request that is no secret.
#[expect(clippy::string_slice, reason = "`find` gives the bounds of what it found")]
pub(crate) fn known_words(text: &str, known: &[&str], name: Option<&str>) -> Option<String> {
    let text = text.split(|c: char| c.is_whitespace() || c.is_control());
    let text: Vec<&str> = text.filter(|word| !word.is_empty()).collect();
    let text = text.join(" ");
    let mut spans: Vec<_> = known
        .iter()
        .filter_map(|words| text.find(words).map(|start| (start, start + words.len())))
        .collect();
    // Of two that overlap, the one that begins first, and of those the longest.
    spans.sort_unstable_by_key(|&(start, end)| (start, usize::MAX - end));
    let mut shown = String::new();
    let mut rest = 0;
    for (start, end) in spans {
        if start < rest {
            continue;
        }
        // A blank between two known words is no rest.
        if !text[rest..start].trim().is_empty() {
            add(&mut shown, "...");
        }
        let words = &text[start..end];
        add(&mut shown, words);
        rest = end;
        let quoted = name.map(|name| format!(" \"{name}\"")).unwrap_or_default();
        if words.ends_with("name") && !quoted.is_empty() && text[end..].starts_with(&quoted) {
            shown.push_str(&quoted);
            rest += quoted.len();
        }
    }
    if shown.is_empty() {
        return None;
    }
    if rest < text.len() {
        add(&mut shown, "...");
    }
    Some(shown)
}

fn add(shown: &mut String, words: &str) {
    if !shown.is_empty() {
        shown.push(' ');
    }
    shown.push_str(words);
}

/// Scheme, host and port of a URL that a server sent, unless a part of a secret may be in it.
pub(super) fn origin(url: &Url, secrets: &[&[u8]]) -> String {
    let origin = url.origin().ascii_serialization();
    let letters = letters(url.host_str().unwrap_or_default().as_bytes());
    let shares = |secret: &[u8]| {
        letters.windows(RUN).any(|run| secret.windows(RUN).any(|other| run == other))
    };
    let is_shown = secrets.iter().all(|secret| {
        let digits: Vec<u8> =
            secret.iter().flat_map(|byte| format!("{byte:02x}").into_bytes()).collect();
        !shares(&self::letters(secret)) && !shares(&digits)
    });
    if is_shown { origin } else { "a host that is not shown".to_owned() }
}

/// Letters and digits. A host has no capital letters.
fn letters(text: &[u8]) -> Vec<u8> {
    text.iter().filter(|byte| byte.is_ascii_alphanumeric()).map(u8::to_ascii_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KNOWN: &[&str] = &["permission denied", "denied by", "invalid role name", "1 error: *"];

    #[test]
    fn nothing_but_known_words_is_shown() {
        for (text, shown) in [
            ("permission denied", Some("permission denied")),
            ("permission\n\t denied\n", Some("permission denied")),
            ("1 error:\n\t* permission denied\n\n", Some("1 error: * permission denied")),
            ("permission denied by s.abc", Some("permission denied ...")),
            ("s.abc: permission denied", Some("... permission denied")),
            ("permission denied s.abc 1 error: *", Some("permission denied ... 1 error: *")),
            ("invalid role name \"kes\"", Some("invalid role name \"kes\"")),
            ("invalid role name \"kes\" \"kes\"", Some("invalid role name \"kes\" ...")),
            ("invalid role name \"other\"", Some("invalid role name ...")),
            ("s.abc", None),
            ("permission  s.abc denied", None),
            ("", None),
        ] {
            assert_eq!(known_words(text, KNOWN, Some("kes")).as_deref(), shown, "{text}");
        }
        let shown = known_words("invalid role name \"\"", KNOWN, None);
        assert_eq!(shown.as_deref(), Some("invalid role name ..."));
    }

    #[test]
    fn an_origin_shows_no_part_of_a_secret() {
        let secrets: &[&[u8]] = &[b"s.Abcdefghijkl", b"{\"k\":\"CANARY-sings\"}"];
        for (url, is_shown) in [
            ("https://vault.example.com:8200/a?s.Abcdefghijkl", true),
            ("http://127.0.0.1:8200/", true),
            ("https://abcdefg.example.com", true),
            ("https://abcdefgh.example.com", false),
            ("https://a.bcd.efg-hijkl.example.com", false),
            ("https://canary-sings.example.com", false),
            ("https://43414e4152592d73.example.com", false),
        ] {
            let origin = origin(&url.parse().unwrap(), secrets);
            assert_eq!(origin != "a host that is not shown", is_shown, "{origin}");
            assert!(!origin.contains("ijkl"), "{origin}");
        }
    }

    proptest! {
        #[test]
        fn any_text_becomes_one_line_of_known_words(text in any::<String>()) {
            if let Some(line) = known_words(&text, &["a", "b c", " "], Some("x")) {
                prop_assert!(line.chars().all(|c| "ab c.".contains(c)), "{}", line);
            }
        }
    }
}
