use std::fmt;

use crate::remote::one_line;

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
    pub(super) texts: Vec<String>,
    /// Whether there are data beside the texts.
    pub(super) has_data: bool,
    pub(super) condition: Option<Condition>,
}

/// How many texts of one answer are shown.
const MAX_TEXTS: usize = 4;

impl Detail {
    /// Parses the body of an error: its `errors` and `warnings`. No text shows `secret`, should the
    /// server repeat it.
    pub(super) fn parse(body: &[u8], secret: Option<&str>) -> Self {
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
        let texts = texts.iter().map(|text| one_line(text, secret)).collect();
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
        // The condition of a node is recognised although the text is redacted.
        let detail = Detail::parse(br#"{"errors": ["Vault is sealed"]}"#, Some("sealed"));
        assert_eq!(detail.condition, Some(Condition::Sealed));
    }

    proptest! {
        #[test]
        fn any_body_is_described(body in any::<Vec<u8>>()) {
            let _ = Detail::parse(&body, Some("s"));
        }
    }
}
