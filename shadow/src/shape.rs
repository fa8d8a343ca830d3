//! JSON of two servers side by side: which fields there are and of what type, and for some of them
//! what they say. Clients ignore fields that they do not know, so the new server may have more.

use serde_json::{Map, Value};

/// The field in which two answers differ; empty if it is the answer as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mismatch(pub(crate) String);

/// Reads both texts; one that is no JSON is a mismatch, unless neither is.
pub(crate) fn parse(old: &[u8], new: &[u8]) -> Result<(Value, Value), Mismatch> {
    let parse = |text: &[u8]| serde_json::from_slice(text).map_err(|_| Mismatch(String::new()));
    Ok((parse(old)?, parse(new)?))
}

/// Whether the new value has all that the old one has, with the same types.
pub(crate) fn fits(old: &Value, new: &Value) -> Result<(), Mismatch> {
    fits_at("", old, new)
}

fn fits_at(field: &str, old: &Value, new: &Value) -> Result<(), Mismatch> {
    let mismatch = || Err(Mismatch(field.to_owned()));
    match (old, new) {
        (Value::Object(old), Value::Object(new)) => {
            old.iter().try_for_each(|(name, value)| match new.get(name) {
                Some(other) => fits_at(name, value, other),
                None => Err(Mismatch(name.clone())),
            })
        }
        (Value::Array(old), Value::Array(new)) => match (old.first(), new.first()) {
            (Some(old), Some(new)) => fits_at(field, old, new),
            _ => Ok(()),
        },
        (Value::String(_), Value::String(_))
        | (Value::Number(_), Value::Number(_))
        | (Value::Bool(_), Value::Bool(_))
        | (Value::Null, Value::Null) => Ok(()),
        _ => mismatch(),
    }
}

/// Whether these fields say the same. A field that is missing, null or empty says nothing.
pub(crate) fn say_the_same(old: &Value, new: &Value, fields: &[&str]) -> Result<(), Mismatch> {
    let differs = |field: &&&str| says(old, field) != says(new, field);
    fields.iter().find(differs).map_or(Ok(()), |field| Err(Mismatch((*field).to_owned())))
}

fn says<'a>(value: &'a Value, field: &str) -> Option<&'a Value> {
    value.get(field).filter(|value| match value {
        Value::Null => false,
        Value::Bool(is_set) => *is_set,
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
        Value::Number(_) => true,
    })
}

/// Whether two pages list the same names. Servers make pages of different lengths: a page that goes
/// on is compared as far as it goes.
pub(crate) fn list_the_same(old: &Value, new: &Value, field: &str) -> Result<(), Mismatch> {
    let mismatch = || Mismatch(field.to_owned());
    let page = |value: &Value| -> Result<(Vec<Value>, bool), Mismatch> {
        let names = value.get(field).and_then(Value::as_array).ok_or_else(mismatch)?;
        Ok((names.clone(), says(value, "continue_at").is_some()))
    };
    let ((old, old_goes_on), (new, new_goes_on)) = (page(old)?, page(new)?);
    let same = old.iter().zip(&new).all(|(old, new)| old == new)
        && (old.len() >= new.len() || old_goes_on)
        && (new.len() >= old.len() || new_goes_on);
    if same { Ok(()) } else { Err(mismatch()) }
}

/// Whether the new server has each API of the old one.
pub(crate) fn have_the_same_apis(old: &Value, new: &Value) -> Result<(), Mismatch> {
    let whole = || Mismatch(String::new());
    let (old, new) = (old.as_array().ok_or_else(whole)?, new.as_array().ok_or_else(whole)?);
    let is_of = |api: &Value, other: &Value| {
        ["method", "path", "max_body"].iter().all(|field| api.get(field) == other.get(field))
    };
    let missing = old.iter().find(|api| !new.iter().any(|other| is_of(api, other)));
    if missing.is_none() { Ok(()) } else { Err(Mismatch("path".to_owned())) }
}

/// The text of an error; the whole body if it has another form.
pub(crate) fn message(body: &[u8]) -> String {
    let object: Option<Map<String, Value>> = serde_json::from_slice(body).ok();
    match object.as_ref().and_then(|object| object.get("message")?.as_str()) {
        Some(message) => message.to_owned(),
        None => String::from_utf8_lossy(body).trim().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_new_server_may_say_more_and_not_less() {
        let old = json!({ "name": "k", "created_at": "x" });
        let more = json!({ "name": "k", "created_at": "y", "fingerprint": "z" });
        assert_eq!(fits(&old, &more), Ok(()));
        assert_eq!(fits(&more, &old), Err(Mismatch("fingerprint".to_owned())));
        let other = json!({ "name": 7, "created_at": "x" });
        assert_eq!(fits(&old, &other), Err(Mismatch("name".to_owned())));
        let nested = json!({ "a": [{ "b": null }] });
        assert_eq!(fits(&nested, &json!({ "a": [{ "b": 1 }] })), Err(Mismatch("b".to_owned())));
        assert_eq!(fits(&nested, &json!({ "a": [] })), Ok(()));
        assert_eq!(fits(&nested, &json!({ "a": {} })), Err(Mismatch("a".to_owned())));
    }

    #[test]
    fn what_is_missing_says_as_little_as_what_is_empty() {
        let (old, new) = (json!({ "deny": {}, "admin": false }), json!({ "deny": null }));
        assert_eq!(say_the_same(&old, &new, &["deny", "admin"]), Ok(()));
        let new = json!({ "deny": { "/v1/key/*": {} } });
        assert_eq!(say_the_same(&old, &new, &["deny"]), Err(Mismatch("deny".to_owned())));
        assert_eq!(say_the_same(&new, &new, &["deny"]), Ok(()));
    }

    #[test]
    fn pages_are_compared_as_far_as_both_go() {
        let page = |names: &[&str], next: &str| json!({ "names": names, "continue_at": next });
        let wrong = Err(Mismatch("names".to_owned()));
        for (old, new, expected) in [
            (page(&["a", "b"], ""), page(&["a", "b"], ""), Ok(())),
            (page(&["a"], "b"), page(&["a", "b"], ""), Ok(())),
            (page(&["a", "b"], ""), page(&["a"], "*b"), Ok(())),
            (page(&["a"], ""), page(&["a", "b"], ""), wrong.clone()),
            (page(&["a", "b"], ""), page(&["a"], ""), wrong.clone()),
            (page(&["a", "c"], "d"), page(&["a", "b"], "c"), wrong.clone()),
            (page(&[], ""), json!({ "names": null }), wrong),
        ] {
            assert_eq!(list_the_same(&old, &new, "names"), expected, "{old} {new}");
        }
    }

    #[test]
    fn an_error_without_json_is_compared_as_a_whole() {
        assert_eq!(message(br#"{"message":"key does not exist"}"#), "key does not exist");
        assert_eq!(message(b"404 page not found\n"), "404 page not found");
        assert_eq!(message(br#"{"error":1}"#), r#"{"error":1}"#);
    }
}
