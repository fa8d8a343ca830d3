//! Which object a request is about. `MinIO` binds the key of an object to a context such as
//! `{"bucket":"bucket/path/of/the/object"}`.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};

use crate::json::{self, MAX_NAME};
use crate::key::AuditKey;

/// The most bytes that are told of what names no object in a context.
const MAX_OTHER: usize = 512;

/// The most objects of one context that are told. What `MinIO` takes of a client, in a header of 8
/// KiB, has fewer entries.
const MAX_NAMED: usize = 1000;

/// The most bytes that the objects of a record take, so that a line stays below
/// [`crate::MAX_LINE`].
const MAX_OBJECTS: usize = 3 * 1024 * 1024;

/// What a record tells of the context of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ContextMode {
    /// Bucket and object.
    #[default]
    On,
    /// A keyed hash of either, so that only who has the key can look for a name.
    Hash,
    /// Nothing.
    Off,
}

impl ContextMode {
    /// The word in the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::On => "on",
            Self::Hash => "hash",
            Self::Off => "off",
        }
    }
}

impl FromStr for ContextMode {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text.to_ascii_lowercase().as_str() {
            "on" | "true" | "yes" => Ok(Self::On),
            "hash" => Ok(Self::Hash),
            "off" | "false" | "no" => Ok(Self::Off),
            _ => Err(()),
        }
    }
}

/// The contexts of a request, each with its length before it, so that they can be passed on as one
/// piece. Contexts that are empty are left out.
#[derive(Clone, Debug, Default)]
pub struct Contexts(Vec<u8>);

impl Contexts {
    /// Of these.
    pub fn of<'a>(contexts: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut packed = Vec::new();
        for context in contexts.into_iter().filter(|context| !context.is_empty()) {
            if let Ok(length) = u32::try_from(context.len()) {
                packed.extend_from_slice(&length.to_le_bytes());
                packed.extend_from_slice(context);
            }
        }
        Self(packed)
    }

    /// As one piece.
    pub fn packed(&self) -> &[u8] {
        &self.0
    }
}

fn unpack(mut packed: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (length, rest) = packed.split_first_chunk()?;
        let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
        let (context, rest) = rest.split_at_checked(length)?;
        packed = rest;
        Some(context)
    })
}

/// What a context names: an object for each entry that `MinIO` can have made. It adds its own to those
/// that a client chooses, in the order of their names; a client can choose such an entry as well, so
/// that all of them are told.
#[derive(Default)]
struct Named<'a> {
    objects: Vec<Object<'a>>,
    /// Of the objects.
    left_out: u64,
    /// The other entries as JSON, or their start; empty for none.
    other: Vec<u8>,
}

struct Object<'a> {
    bucket: Cow<'a, str>,
    /// As the context has it: with the bucket, and `/` between.
    path: Cow<'a, str>,
}

impl<'a> Named<'a> {
    fn of(context: &'a [u8]) -> Self {
        match serde_json::from_slice(context) {
            Ok(Self { objects, .. }) if objects.is_empty() => Self::other(context),
            Ok(mut named) => {
                if !named.other.is_empty() {
                    named.other.push(b'}');
                }
                named
            }
            Err(_) => Self::other(context),
        }
    }

    fn other(context: &[u8]) -> Self {
        let start = context.get(..MAX_OTHER + 1).unwrap_or(context);
        Self { other: start.to_vec(), ..Self::default() }
    }

    fn add(&mut self, name: Cow<'a, str>, value: Cow<'a, str>) {
        let is_object = !name.is_empty()
            && value
                .strip_prefix(&*name)
                .is_some_and(|rest| matches!(rest.as_bytes(), [] | [b'/', ..]));
        if !is_object {
            // More than is told, so that it says that it was cut.
            if self.other.len() <= MAX_OTHER {
                self.other.push(if self.other.is_empty() { b'{' } else { b',' });
                json::quote_within(&mut self.other, &name, MAX_OTHER);
                self.other.push(b':');
                json::quote_within(&mut self.other, &value, MAX_OTHER);
            }
        } else if self.objects.len() < MAX_NAMED {
            self.objects.push(Object { bucket: name, path: value });
        } else {
            self.left_out += 1;
        }
    }

    /// How many objects a record has for it.
    fn count(&self) -> usize {
        self.objects.len().max(1)
    }

    /// Writes the fields of one of them, each with a comma before. The first one has the other entries.
    fn write(&self, number: usize, context: &[u8], out: &mut Vec<u8>, key: Option<&AuditKey>) {
        match (self.objects.get(number), key) {
            (Some(Object { bucket, path }), None) => {
                json::text_within(out, "bucket", bucket, MAX_NAME);
                if let Some(object) = path.get(bucket.len() + 1..).filter(|name| !name.is_empty()) {
                    json::text_within(out, "object", object, MAX_NAME);
                }
            }
            (Some(Object { bucket, path }), Some(key)) => {
                json::text(out, "bucket_hash", &key.hash_name(bucket.as_bytes()));
                json::text(out, "object_hash", &key.hash_name(path.as_bytes()));
            }
            (None, _) => {}
        }
        if number > 0 || self.other.is_empty() {
            return;
        }
        match key {
            None => {
                json::text_within(out, "context", &String::from_utf8_lossy(&self.other), MAX_OTHER);
            }
            Some(key) => json::text(out, "context_hash", &key.hash_name(context)),
        }
    }
}

/// Writes what the contexts of a request name: the fields of one object, or a list. With a key each
/// name is hashed.
pub(crate) fn write(out: &mut Vec<u8>, packed: &[u8], key: Option<&AuditKey>) {
    let mut contexts = unpack(packed);
    let (Some(first), second) = (contexts.next(), contexts.next()) else { return };
    let named = Named::of(first);
    if second.is_none() && named.count() == 1 {
        return named.write(0, first, out, key);
    }
    drop(named);
    out.extend_from_slice(b",\"objects\":[");
    let (start, mut left_out) = (out.len(), 0);
    for context in std::iter::once(first).chain(second).chain(contexts) {
        let named = Named::of(context);
        left_out += named.left_out;
        for number in 0..named.count() {
            if out.len() - start > MAX_OBJECTS {
                left_out += 1;
                continue;
            }
            let item = out.len();
            named.write(number, context, out, key);
            // In place of the comma before its first field.
            if let Some(comma) = out.get_mut(item) {
                *comma = b'{';
            }
            out.extend_from_slice(b"},");
        }
    }
    out.pop_if(|last| *last == b',');
    out.push(b']');
    if left_out > 0 {
        json::number(out, "objects_left_out", left_out);
    }
}

#[derive(Deserialize)]
#[serde(transparent)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// A JSON object of texts.
impl<'de> Deserialize<'de> for Named<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;

        impl<'de> Visitor<'de> for Entries {
            type Value = Named<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of texts")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Named<'de>, A::Error> {
                let mut named = Named::default();
                while let Some((Text(name), Text(value))) = map.next_entry()? {
                    named.add(name, value);
                }
                Ok(named)
            }
        }

        deserializer.deserialize_map(Entries)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(contexts: &[&str], key: Option<&AuditKey>) -> String {
        let mut out = Vec::new();
        let contexts = Contexts::of(contexts.iter().map(|context| context.as_bytes()));
        write(&mut out, contexts.packed(), key);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn an_object_is_told_by_bucket_and_name() {
        for (context, expected) in [
            ("", ""),
            (r#"{"b":"b/o"}"#, r#","bucket":"b","object":"o""#),
            (r#"{"b":"b/a/b c/ü"}"#, r#","bucket":"b","object":"a/b c/ü""#),
            (r#"{ "b" : "b\/o\n" }"#, r#","bucket":"b","object":"o\n""#),
            (r#"{"b":"b"}"#, r#","bucket":"b""#),
            (r#"{"b":"b/"}"#, r#","bucket":"b""#),
            (r#"{"b":"bc/o"}"#, r#","context":"{\"b\":\"bc/o\"}""#),
            (r#"{"b":"b/o","c":"d"}"#, r#","bucket":"b","object":"o","context":"{\"c\":\"d\"}""#),
            (
                r#"{"a":"1","b":"b/o","c":"2"}"#,
                r#","bucket":"b","object":"o","context":"{\"a\":\"1\",\"c\":\"2\"}""#,
            ),
            (r#"{"b":"b/o","c":1}"#, r#","context":"{\"b\":\"b/o\",\"c\":1}""#),
            (r#"{"b":1}"#, r#","context":"{\"b\":1}""#),
            ("{}", r#","context":"{}""#),
            ("a context", r#","context":"a context""#),
        ] {
            assert_eq!(written(&[context], None), expected, "{context}");
        }
        let long = format!(r#"{{"b":"b/{}"}}"#, "x".repeat(MAX_NAME + 1));
        assert!(written(&[&long], None).ends_with("x…\""));
        let invalid = Contexts::of([&[0xff; 600][..]]);
        let mut out = Vec::new();
        write(&mut out, invalid.packed(), None);
        assert!(out.len() < 2000 && String::from_utf8(out).unwrap().contains('…'));
    }

    #[test]
    fn several_are_a_list() {
        assert_eq!(
            written(&[r#"{"b":"b/o"}"#, "", "other"], None),
            r#","objects":[{"bucket":"b","object":"o"},{"context":"other"}]"#
        );
        // As many as a body can hold.
        let long = format!(r#"{{"b":"b/{}"}}"#, "\\u0001".repeat(10_000));
        let written = written(&vec![&*long; 1000], None);
        assert!(written.len() < crate::MAX_LINE - 64 * 1024, "{}", written.len());
    }

    #[test]
    fn a_hash_tells_no_name_and_is_the_same_for_the_same_name() {
        let key = AuditKey::of_bytes(&[7; 32]).unwrap();
        let text = written(&[r#"{"bucket":"bucket/name"}"#], Some(&key));
        let (bucket, object) = (key.hash_name(b"bucket"), key.hash_name(b"bucket/name"));
        assert_eq!(text, format!(r#","bucket_hash":"{bucket}","object_hash":"{object}""#));
        let text = written(&["other"], Some(&key));
        assert_eq!(text, format!(r#","context_hash":"{}""#, key.hash_name(b"other")));
    }
}
