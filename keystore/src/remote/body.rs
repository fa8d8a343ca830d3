//! Bodies of requests and answers. They contain keys and tokens, so every buffer is wiped. The copies
//! that the HTTP and TLS libraries make are not.

use std::fmt;
use std::marker::PhantomData;

use bytes::Bytes;
use kes_api::SecretBytes;
use serde::Serialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use zeroize::Zeroizing;

/// What is wrong with an answer. The text quotes nothing of it, because it may contain a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadBody {
    #[error("not the expected JSON (line {line}, column {column})")]
    Json { line: usize, column: usize },
    #[error("JSON that is cut off")]
    Truncated,
    #[error("JSON without a list of names")]
    NoNames,
    #[error("a text in it is longer than {max_len} bytes")]
    LongText { max_len: usize },
}

/// A request body that is wiped when the last user drops it.
#[expect(clippy::expect_used, reason = "texts and numbers are JSON")]
pub(crate) fn to_json(value: &impl Serialize) -> Bytes {
    let mut body = SecretBytes::with_capacity(1024); // large enough for every stored key
    serde_json::to_writer(&mut body, value).expect("texts and numbers are JSON");
    Bytes::from_owner(body)
}

/// Bytes that are wiped when the last user drops them.
pub(crate) fn wiped_bytes(bytes: Vec<u8>) -> Bytes {
    Bytes::from_owner(SecretBytes::new(bytes))
}

/// A JSON object of one field.
pub(crate) struct Field<'a, T>(pub(crate) &'a str, pub(crate) T);

impl<T: Serialize> Serialize for Field<'_, T> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap;
        let mut map = serializer.serialize_map(Some(1))?;
        map.serialize_entry(self.0, &self.1)?;
        map.end()
    }
}

/// The text at a path of field names in a JSON object, copied once; `None` if there is no such
/// field. All other fields are skipped.
pub(crate) fn text_at(body: &[u8], path: &[&str]) -> Result<Option<Zeroizing<String>>, BadBody> {
    let mut json = serde_json::Deserializer::from_slice(body);
    let text = TextAt { path, life: PhantomData }.deserialize(&mut json).map_err(describe)?;
    json.end().map_err(describe)?;
    Ok(text)
}

/// Decodes JSON.
pub(crate) fn from_json<T: serde::de::DeserializeOwned>(body: &[u8]) -> Result<T, BadBody> {
    serde_json::from_slice(body).map_err(describe)
}

/// The place of the fault without the JSON there, which the library's own text quotes.
#[expect(clippy::needless_pass_by_value, reason = "the shape that map_err wants")]
fn describe(error: serde_json::Error) -> BadBody {
    if error.is_eof() {
        BadBody::Truncated
    } else {
        BadBody::Json { line: error.line(), column: error.column() }
    }
}

struct TextAt<'a, 'de> {
    path: &'a [&'a str],
    life: PhantomData<&'de ()>,
}

impl<'de> DeserializeSeed<'de> for TextAt<'_, 'de> {
    type Value = Option<Zeroizing<String>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for TextAt<'_, 'de> {
    type Value = Option<Zeroizing<String>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.path.is_empty() { "a text" } else { "an object" })
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
        if self.path.is_empty() {
            Ok(Some(Zeroizing::new(text.to_owned())))
        } else {
            Err(E::custom("a text where an object should stand"))
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let Some((first, rest)) = self.path.split_first() else {
            return Err(serde::de::Error::custom("an object where a text should stand"));
        };
        let mut found = None;
        while let Some(field) = map.next_key::<FieldName>()? {
            if field.0 == *first {
                found = map.next_value_seed(TextAt { path: rest, life: PhantomData })?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }
}

/// The name of a field; never secret.
#[derive(serde::Deserialize)]
struct FieldName(String);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn at(body: &str, path: &[&str]) -> Result<Option<String>, BadBody> {
        text_at(body.as_bytes(), path).map(|text| text.map(|text| text.as_str().to_owned()))
    }

    #[test]
    fn finds_a_text_by_its_path() {
        let body = r#"{"a": [1, {}], "data": {"x": null, "data": {"k": "v\u0041\"", "o": 1}}}"#;
        assert_eq!(at(body, &["data", "data", "k"]), Ok(Some("vA\"".to_owned())));
        assert_eq!(at(body, &["data", "data", "none"]), Ok(None));
        assert_eq!(at(body, &["data", "x", "k"]), Ok(None));
        for path in [
            &["data", "data"][..],
            &["data", "data", "k", "k"],
            &["a", "k"],
            &["data", "data", "o"],
        ] {
            assert!(at(body, path).is_err(), "{path:?}");
        }
    }

    #[test]
    fn an_error_quotes_nothing() {
        for body in [r#"{"data": {"k": 123456}}"#, r#"{"data": "123456"}"#, "123456", "{\"123456"] {
            let error = at(body, &["data", "k"]).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("123"), "{error}");
        }
        assert_eq!(at("{\"data\": {\"k\": \"v", &["data", "k"]), Err(BadBody::Truncated));
    }

    #[test]
    fn a_body_is_one_object() {
        let body = to_json(&Field("data", Field("k", "v\"")));
        assert_eq!(body, r#"{"data":{"k":"v\""}}"#);
    }

    proptest! {
        #[test]
        fn any_bytes_are_decoded_or_refused(body in any::<Vec<u8>>()) {
            let _ = text_at(&body, &["data", "k"]);
        }

        #[test]
        fn any_text_is_found(name in any::<String>(), text in any::<String>()) {
            let body = json!({ "data": { &name: &text, "~": { "x": [1.5, null] } } }).to_string();
            prop_assume!(name != "~");
            prop_assert_eq!(at(&body, &["data", &name]), Ok(Some(text)));
        }
    }
}
