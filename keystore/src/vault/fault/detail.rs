use std::borrow::Cow;
use std::fmt;

/// Why a node can serve nobody, by its own account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Condition {
    Sealed,
    NotInitialised,
    NoLeader,
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sealed => "is sealed",
            Self::NotInitialised => "is not initialised",
            Self::NoLeader => "has no leader",
        })
    }
}

/// What Vault says of an error, made fit for a log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::vault) struct Detail {
    pub(super) texts: Vec<String>,
    /// Whether there are data beside the texts.
    pub(super) has_data: bool,
    pub(super) condition: Option<Condition>,
}

/// What is shown of one text of Vault: whole for all that it says itself.
const MAX_TEXT: usize = 300;

/// And of how many.
const MAX_TEXTS: usize = 4;

impl Detail {
    /// Reads the body of an error: its `errors` and `warnings`. `secret` does not show, should
    /// whoever answers repeat it.
    pub(in crate::vault) fn parse(body: &[u8], secret: Option<&str>) -> Self {
        #[derive(Default, serde::Deserialize)]
        struct Texts {
            #[serde(default)]
            errors: Option<Vec<String>>,
            #[serde(default)]
            warnings: Option<Vec<String>>,
            #[serde(default)]
            data: Option<serde::de::IgnoredAny>,
            // Of an answer to the question for health.
            #[serde(default)]
            initialized: Option<bool>,
            #[serde(default)]
            sealed: Option<bool>,
        }
        let answer: Texts = serde_json::from_slice(body).unwrap_or_default();
        let all = answer.errors.into_iter().chain(answer.warnings).flatten();
        let texts: Vec<String> = all.take(MAX_TEXTS).collect();
        let says = |words: &str| texts.iter().any(|text| text.contains(words));
        let condition = if answer.initialized == Some(false) || says("not initialized") {
            Some(Condition::NotInitialised)
        } else if answer.sealed == Some(true) || says(" is sealed") {
            Some(Condition::Sealed)
        } else if says("active cluster node not found") {
            Some(Condition::NoLeader)
        } else {
            None
        };
        let texts = texts.iter().map(|text| clean(text, secret)).collect();
        Self { texts, has_data: answer.data.is_some(), condition }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.texts.is_empty()
    }

    /// Whether the namespace exists, as far as Vault says.
    pub(super) fn has_namespace(&self) -> bool {
        !self.texts.iter().any(|text| text.contains("namespace not found"))
    }
}

impl fmt::Display for Detail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, text) in self.texts.iter().enumerate() {
            write!(f, "{}{text}", if at == 0 { ": " } else { "; " })?;
        }
        Ok(())
    }
}

/// A secret of this many bytes is hidden wherever it stands; a shorter one, as tests and small
/// set-ups have, only as a word of its own, since it may be a part of many others. Those that Vault
/// makes are longer.
const MIN_PART: usize = 8;

/// A foreign text without a secret.
fn hide<'a>(text: &'a str, secret: Option<&str>) -> Cow<'a, str> {
    let Some(secret) = secret.filter(|secret| !secret.is_empty() && text.contains(secret)) else {
        return Cow::Borrowed(text);
    };
    // Whether a word goes on from the end of one text to the start of the next.
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

/// A foreign text as one line of bounded length.
pub(in crate::vault) fn clean(text: &str, secret: Option<&str>) -> String {
    let text = hide(text, secret);
    let words: Vec<&str> = text.split(|c: char| c.is_whitespace() || c.is_control()).collect();
    let mut line = String::new();
    for word in words.into_iter().filter(|word| !word.is_empty()) {
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
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
    fn what_vault_says_is_one_short_line() {
        let body =
            br#"{"errors": ["1 error occurred:\n\t* permission denied\n\n"], "warnings": null}"#;
        let detail = Detail::parse(body, None);
        assert_eq!(detail.to_string(), ": 1 error occurred: * permission denied");
        let body = format!(r#"{{"errors": ["a", "{}"]}}"#, "b".repeat(5000));
        assert!(Detail::parse(body.as_bytes(), None).to_string().len() < 320);
        let many = format!(r#"{{"errors": [{}"z"]}}"#, "\"a\",".repeat(100));
        assert_eq!(Detail::parse(many.as_bytes(), None).to_string(), ": a; a; a; a");
    }

    #[test]
    fn a_secret_that_is_repeated_does_not_show() {
        let detail = Detail::parse(br#"{"errors": ["no token s.abc here"]}"#, Some("s.abc"));
        assert_eq!(detail.to_string(), ": no token [secret] here");
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
        ] {
            assert_eq!(clean(text, Some(secret)), shown);
        }
        // What a node says of itself is known all the same.
        let detail = Detail::parse(br#"{"errors": ["Vault is sealed"]}"#, Some("sealed"));
        assert_eq!(detail.condition, Some(Condition::Sealed));
    }

    proptest! {
        #[test]
        fn any_body_is_described(body in any::<Vec<u8>>()) {
            let _ = Detail::parse(&body, Some("s"));
        }

        #[test]
        fn any_text_becomes_one_line(text in any::<String>()) {
            let line = clean(&text, Some("se"));
            prop_assert!(!line.chars().any(char::is_control));
            prop_assert!(line.chars().count() <= MAX_TEXT + 3);
        }
    }
}
