use std::fmt;

use zeroize::Zeroizing;

use super::known::KNOWN;
use crate::remote::known_words;

/// Why a node serves no request, as it says itself.
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

/// What Vault says of an error, in texts for the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Detail {
    /// The known words of each text that has some.
    pub(super) texts: Vec<String>,
    /// The length of all texts without known words.
    unknown: usize,
    /// Whether the namespace of the request does not exist.
    lacks_namespace: bool,
    /// Whether there are data beside the texts.
    pub(super) has_data: bool,
    /// Whether there is neither of them: Vault always has one in an answer that is 404.
    pub(super) is_foreign: bool,
    pub(super) condition: Option<Condition>,
}

/// How many texts of one answer are shown.
const MAX_TEXTS: usize = 4;

impl Detail {
    /// Parses the body of an error: its `errors` and `warnings`. Nothing of a text is shown but the
    /// words that Vault is known to use, and `name` in its place: the server may repeat a secret.
    pub(super) fn parse(body: &[u8], name: Option<&str>) -> Self {
        #[derive(Default, serde::Deserialize)]
        struct Texts {
            #[serde(default)]
            errors: Option<Vec<String>>,
            #[serde(default)]
            warnings: Option<Vec<String>>,
            #[serde(default)]
            data: Option<serde::de::IgnoredAny>,
            // In an answer about health.
            #[serde(default)]
            initialized: Option<bool>,
            #[serde(default)]
            sealed: Option<bool>,
        }
        let answer: Texts = serde_json::from_slice(body).unwrap_or_default();
        let is_foreign = answer.errors.is_none() && answer.data.is_none();
        let all = answer.errors.into_iter().chain(answer.warnings).flatten();
        let texts: Zeroizing<Vec<String>> = Zeroizing::new(all.take(MAX_TEXTS).collect());
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
        let mut detail = Self {
            lacks_namespace: says("namespace not found"),
            has_data: answer.data.is_some(),
            is_foreign,
            condition,
            ..Self::default()
        };
        for text in texts.iter() {
            match known_words(text, KNOWN, name) {
                Some(words) => detail.texts.push(words),
                None => detail.unknown += text.len(),
            }
        }
        detail
    }

    pub(super) fn is_empty(&self) -> bool {
        self.texts.is_empty() && self.unknown == 0
    }

    /// Whether the namespace exists, as far as Vault says.
    pub(super) fn has_namespace(&self) -> bool {
        !self.lacks_namespace
    }
}

impl fmt::Display for Detail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, text) in self.texts.iter().enumerate() {
            write!(f, "{}{text}", if at == 0 { ": " } else { "; " })?;
        }
        if self.unknown > 0 {
            let and = if self.texts.is_empty() { ": " } else { "; " };
            write!(f, "{and}an unknown text of {} bytes, which is not shown", self.unknown)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(body: &str) -> String {
        Detail::parse(body.as_bytes(), Some("kes")).to_string()
    }

    #[test]
    fn what_vault_says_is_one_short_line_of_known_words() {
        for (body, expected) in [
            (
                r#"{"errors": ["1 error occurred:\n\t* permission denied\n\n"], "warnings": null}"#,
                ": 1 error occurred: * permission denied",
            ),
            (r#"{"errors": ["invalid role name \"kes\""]}"#, ": invalid role name \"kes\""),
            (
                r#"{"errors": ["source address \"127.0.0.1\" unauthorized by CIDR restrictions on the secret ID: x"]}"#,
                ": ... unauthorized by CIDR restrictions on the secret ID ...",
            ),
            (
                r#"{"errors": ["no handler for route \"kv/a\". route entry not found."]}"#,
                ": no handler for route ... route entry not found.",
            ),
            (
                r#"{"errors": ["permission denied", "s.abc"], "warnings": ["s.abcd"]}"#,
                ": permission denied; an unknown text of 11 bytes, which is not shown",
            ),
            (r#"{"errors": []}"#, ""),
            (r#"{"errors": [""]}"#, ""),
            ("s.abc", ""),
        ] {
            assert_eq!(shown(body), expected);
        }
        let denied = "\"permission denied\",";
        let body = format!(r#"{{"errors": [{}"z"]}}"#, denied.repeat(100));
        assert_eq!(shown(&body), format!(": {}", ["permission denied"; 4].join("; ")));
    }

    /// However a server repeats a secret, not even a part of it is shown.
    #[test]
    fn no_part_of_a_secret_that_is_repeated_shows() {
        let secret = "CANARY-sings";
        let hex: String = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
        let escaped: String =
            secret.bytes().map(|byte| format!("\\u{:04x}", u32::from(byte))).collect();
        let percent: String = secret.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let split = secret.chars().map(String::from).collect::<Vec<_>>().join("\\n");
        for form in [
            secret,
            secret.get(2..9).unwrap(),
            &hex,
            &escaped,
            &percent,
            &split,
            "Q0FOQVJZLXNpbmdz",
        ] {
            for text in ["was: FORM", "permission denied for FORM", "FORM permission denied"] {
                let text = text.replace("FORM", form);
                let shown = shown(&format!(r#"{{"errors": ["{text}"]}}"#));
                let known = [
                    ":",
                    "...",
                    "permission denied",
                    "an unknown text of",
                    "bytes, which is not shown",
                ];
                let rest = known.iter().fold(shown.clone(), |rest, words| rest.replace(words, ""));
                assert!(rest.chars().all(|c| c == ' ' || c.is_ascii_digit()), "{shown}");
            }
        }
        // The condition of a node is recognised all the same.
        let detail = Detail::parse(br#"{"errors": ["CANARY is sealed"]}"#, None);
        assert_eq!(detail.condition, Some(Condition::Sealed));
    }

    proptest! {
        #[test]
        fn any_body_is_described(body in any::<Vec<u8>>()) {
            let _ = Detail::parse(&body, Some("s"));
        }
    }
}
