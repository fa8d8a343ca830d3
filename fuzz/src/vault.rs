use kes_keystore::vault::fuzzing::{is_known, names, refusal, text_at};
use serde_json::Value;

use crate::split_line;

/// A secret and, in the next line, an answer of Vault: no message shows the secret, and what is
/// taken from an answer is what another parser finds there.
pub(crate) fn vault(data: &[u8]) {
    let (secret, body) = split_line(data);
    if let Ok(secret) = std::str::from_utf8(secret) {
        let message = refusal(body, None);
        assert!(!message.contains(char::is_control), "{message:?}");
        // A shorter one may be a part of many words, and one of several words of what is put together.
        let is_word = secret.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
        if secret.len() >= 8 && is_word && message.contains(secret) {
            let own_words = refusal(br#"{"errors": ["x"]}"#, None);
            assert!(is_known(secret) || own_words.contains(secret), "{message:?}");
        }
    }

    let piece = 1 + secret.len() % 20;
    let _ = (names(body, piece), text_at(body, &["data", "data", "k"]));
    // Without fields that are given twice, of which either may count.
    let Ok(value) = serde_json::from_slice::<Value>(body) else { return };
    let body = value.to_string();
    let (ours, theirs) = (names(body.as_bytes(), piece), names_in(&value));
    assert_eq!(ours, theirs, "{body}");
    for path in [&["data", "k"][..], &["data", "data", "k"], &["auth", "client_token"]] {
        assert_eq!(text_at(body.as_bytes(), path), text_in(&value, path), "{body}");
    }
}

/// The names of a listing; `None` if it is not one.
fn names_in(value: &Value) -> Option<Vec<String>> {
    match value.get("data")? {
        Value::Null => Some(Vec::new()),
        Value::Object(data) if data.is_empty() => Some(Vec::new()),
        data => serde_json::from_value(data.get("keys")?.clone()).ok(),
    }
}

/// The text at a path: within, `None` if there is none; outside, if another kind of value stands on
/// the way.
fn text_in(value: &Value, path: &[&str]) -> Option<Option<String>> {
    match (value, path) {
        (Value::Null, _) => Some(None),
        (Value::String(text), []) => Some(Some(text.clone())),
        (Value::Object(fields), [first, rest @ ..]) => {
            fields.get(*first).map_or(Some(None), |value| text_in(value, rest))
        }
        _ => None,
    }
}
