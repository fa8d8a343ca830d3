use std::fmt::Debug;

use kes_api::body::{
    DecryptRequest, DescribeIdentity, DescribeKey, DescribePolicy, EncryptRequest, ErrorBody,
    GenerateRequest, HmacRequest, IdentityPage, ImportRequest, InvalidBody, MAX_BULK, NamePage,
    ReadPolicy, SelfDescribe, Status, Version, bulk_decrypt_from_json,
};
use kes_api::event::{AuditEvent, ErrorEvent};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::naive;

/// Request bodies: read leniently, as another reader does.
pub(crate) fn request(data: &[u8]) {
    object(data, GenerateRequest::from_json, |r| vec![r.context.expose().to_vec()], &["context"]);
    object(data, HmacRequest::from_json, |r| vec![r.message.expose().to_vec()], &["message"]);
    object(
        data,
        EncryptRequest::from_json,
        |r| vec![r.plaintext.expose().to_vec(), r.context.expose().to_vec()],
        &["plaintext", "context"],
    );
    object(
        data,
        DecryptRequest::from_json,
        |r| vec![r.ciphertext.expose().to_vec(), r.context.expose().to_vec()],
        &["ciphertext", "context"],
    );
    import(data);
    bulk(data);
}

/// A request whose fields are all byte strings.
fn object<T: Serialize>(
    data: &[u8],
    read: impl Fn(&[u8]) -> Result<T, InvalidBody>,
    fields_of: impl Fn(&T) -> Vec<Vec<u8>>,
    names: &[&str],
) {
    if let Ok(request) = read(data) {
        let written = serde_json::to_vec(&request).expect("byte strings are JSON");
        let again = read(&written).expect("it was written");
        assert_eq!(fields_of(&again), fields_of(&request));
    }
    let Some(value) = first_value(data) else { return };
    let ours = read(value.to_string().as_bytes()).ok().map(|request| fields_of(&request));
    let theirs = match &value {
        Value::Null => Some(vec![Vec::new(); names.len()]),
        Value::Object(fields) => names.iter().map(|name| bytes(fields, name)).collect(),
        _ => None,
    };
    assert_eq!(ours, theirs, "{value}");
}

/// The request with a text beside the byte string.
fn import(data: &[u8]) {
    let fields_of =
        |request: &ImportRequest| (request.key.expose().to_vec(), request.cipher.clone());
    if let Ok(request) = ImportRequest::from_json(data) {
        let written = serde_json::to_vec(&request).expect("texts are JSON");
        let again = ImportRequest::from_json(&written).expect("it was written");
        assert_eq!(fields_of(&again), fields_of(&request));
    }
    let Some(Value::Object(fields)) = first_value(data) else { return };
    let value = Value::Object(fields.clone()).to_string();
    let ours = ImportRequest::from_json(value.as_bytes()).ok().map(|request| fields_of(&request));
    let theirs = bytes(&fields, "key").zip(text(&fields, "cipher"));
    assert_eq!(ours, theirs, "{value}");
}

/// The list of a bulk decryption.
fn bulk(data: &[u8]) {
    let fields_of = |list: &[DecryptRequest]| -> Vec<_> {
        let fields = |item: &DecryptRequest| {
            (item.ciphertext.expose().to_vec(), item.context.expose().to_vec())
        };
        list.iter().map(fields).collect()
    };
    if let Ok(list) = bulk_decrypt_from_json(data) {
        assert!(list.len() <= MAX_BULK);
        let written = serde_json::to_vec(&list).expect("byte strings are JSON");
        let again = bulk_decrypt_from_json(&written).expect("it was written");
        assert_eq!(fields_of(&again), fields_of(&list));
    }
}

/// The JSON that a body starts with; what follows it is ignored.
fn first_value(data: &[u8]) -> Option<Value> {
    serde_json::Deserializer::from_slice(data).into_iter().next()?.ok()
}

/// The byte string of a field: empty if it is missing or null, `None` if it is refused. If several
/// fields have the name in different letter case, all must be good and the last counts.
fn bytes(fields: &Map<String, Value>, name: &str) -> Option<Vec<u8>> {
    named(fields, name).try_fold(Vec::new(), |_, value| match value {
        Value::Null => Some(Vec::new()),
        Value::String(text) => naive::base64(text.as_bytes()),
        _ => None,
    })
}

fn text(fields: &Map<String, Value>, name: &str) -> Option<String> {
    named(fields, name).try_fold(String::new(), |_, value| match value {
        Value::Null => Some(String::new()),
        Value::String(text) => Some(text.clone()),
        _ => None,
    })
}

fn named<'a>(fields: &'a Map<String, Value>, name: &str) -> impl Iterator<Item = &'a Value> {
    fields.iter().filter(move |(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

/// Answers and log lines, as the client reads them: what is read is written and read back to the
/// same.
pub(crate) fn answer(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    both_ways::<Version>(text);
    both_ways::<Status>(text);
    both_ways::<Vec<kes_api::body::Api>>(text);
    both_ways::<DescribeKey>(text);
    both_ways::<NamePage>(text);
    both_ways::<IdentityPage>(text);
    both_ways::<DescribePolicy>(text);
    both_ways::<ReadPolicy>(text);
    both_ways::<DescribeIdentity>(text);
    both_ways::<SelfDescribe>(text);
    both_ways::<ErrorBody>(text);
    if let Ok(event) = serde_json::from_str::<AuditEvent<'_>>(text) {
        let written = written(&event);
        let again: AuditEvent<'_> = serde_json::from_str(&written).expect("it was written");
        assert_eq!(self::written(&again), written);
    }
    if let Ok(event) = serde_json::from_str::<ErrorEvent<'_>>(text) {
        let written = written(&event);
        let again: ErrorEvent<'_> = serde_json::from_str(&written).expect("it was written");
        assert_eq!(again.message, event.message);
    }
}

fn both_ways<T: for<'de> Deserialize<'de> + Serialize + Debug>(text: &str) {
    if let Ok(answer) = serde_json::from_str::<T>(text) {
        let written = written(&answer);
        let again: T = serde_json::from_str(&written)
            .unwrap_or_else(|error| panic!("{error}: {written} of {answer:?}"));
        assert_eq!(self::written(&again), written);
    }
}

fn written(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("an answer is JSON")
}
