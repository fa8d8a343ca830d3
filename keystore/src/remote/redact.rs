//! What is shown of texts of a server.
//!
//! Whatever stands at the address of a store, such as a gateway before it, may repeat the request in
//! its answer: a stored key, a secret ID, a token, the whole of it or a part, in any encoding,
//! and also later, in the answer to another request. So nothing that a server sends is shown but words
//! that the store is known to use.

use url::Url;

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

/// Where a redirect leads, in words that were known before it came: an endpoint, or how the target
/// differs from one. `from` is the endpoint that redirects. Nothing of another host is shown, nor a
/// port or a scheme: each of them may be a secret, or a part of one, in any encoding.
pub(super) fn redirect_target(target: Option<&Url>, from: &Url, endpoints: &[Url]) -> String {
    let Some(target) = target else { return "something that is no URL".to_owned() };
    if let Some(same) = endpoints.iter().find(|endpoint| endpoint.origin() == target.origin()) {
        return same.origin().ascii_serialization();
    }
    let is_on_host = |endpoint: &&Url| endpoint.host() == target.host();
    match Some(from).filter(is_on_host).or_else(|| endpoints.iter().find(is_on_host)) {
        Some(endpoint) => {
            let what = if endpoint.scheme() == target.scheme() { "port" } else { "scheme" };
            let endpoint = endpoint.origin().ascii_serialization();
            format!("the host of {endpoint} with another {what}")
        }
        None => "another host".to_owned(),
    }
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
    fn of_a_redirect_nothing_is_shown_but_what_was_known_before() {
        let url = |text: &str| -> Url { text.parse().unwrap() };
        let endpoints = ["https://vault-1:8200/base", "https://vault-2:8200"].map(url);
        for (target, shown) in [
            ("https://vault-2:8200/a?s.Abc", "https://vault-2:8200"),
            ("https://s.Abc@vault-1:8200", "https://vault-1:8200"),
            ("https://vault-1:4321", "the host of https://vault-1:8200 with another port"),
            ("http://vault-1:8200", "the host of https://vault-1:8200 with another scheme"),
            ("https://vault-2", "the host of https://vault-2:8200 with another port"),
            ("https://s-abc.example.com:8200", "another host"),
            ("https://vault-1.s-abc:8200", "another host"),
            ("https://[::1]:8200", "another host"),
            ("s.abc://vault-3", "another host"),
            ("s.abc:x", "another host"),
        ] {
            let target = url(target);
            assert_eq!(redirect_target(Some(&target), &endpoints[0], &endpoints), shown);
        }
        let shown = redirect_target(None, &endpoints[0], &endpoints);
        assert_eq!(shown, "something that is no URL");
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
