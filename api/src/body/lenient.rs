//! Reads objects by the rules of contract `api.md`, Bodies: field names match in any letter case,
//! the last of two fields with one name counts, unknown fields are skipped, `null` is the empty
//! value, and anything after the first JSON value of a body is ignored.

use std::fmt;

use serde::Deserializer as _;
use serde::de::{self, DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::SecretBytes;

/// A body that is not valid JSON for the operation. The error does not say where, because the body
/// may contain plaintext.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid request body")]
pub struct InvalidBody;

/// A request body: an object whose fields are byte strings and texts.
pub(super) trait Object: Default {
    /// Where to store the value of a field; `None` for an unknown one. `name` is in lower case.
    fn field(&mut self, name: &str) -> Option<Slot<'_>>;
}

/// Where to store a value.
pub(super) enum Slot<'a> {
    Bytes(&'a mut SecretBytes),
    Text(&'a mut String),
}

/// Reads the object that a body starts with.
pub(super) fn object<T: Object>(body: &[u8]) -> Result<T, InvalidBody> {
    let mut json = serde_json::Deserializer::from_slice(body);
    json.deserialize_any(ObjectVisitor(T::default())).map_err(|_| InvalidBody)
}

/// Reads the array of at most `max` objects that a body starts with.
pub(super) fn array<T: Object>(body: &[u8], max: usize) -> Result<Vec<T>, InvalidBody> {
    let mut json = serde_json::Deserializer::from_slice(body);
    json.deserialize_any(ArrayVisitor { items: Vec::new(), max }).map_err(|_| InvalidBody)
}

struct ObjectVisitor<T>(T);

impl<'de, T: Object> DeserializeSeed<'de> for ObjectVisitor<T> {
    type Value = T;

    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<T, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, T: Object> Visitor<'de> for ObjectVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_unit<E: de::Error>(self) -> Result<T, E> {
        Ok(self.0)
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<T, A::Error> {
        while let Some(name) = map.next_key_seed(FieldName::default())? {
            match self.0.field(name.as_str()) {
                Some(slot) => map.next_value_seed(slot)?,
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(self.0)
    }
}

struct ArrayVisitor<T> {
    items: Vec<T>,
    max: usize,
}

impl<'de, T: Object> Visitor<'de> for ArrayVisitor<T> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an array of at most {} objects", self.max)
    }

    fn visit_unit<E: de::Error>(self) -> Result<Vec<T>, E> {
        Ok(self.items)
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut seq: A) -> Result<Vec<T>, A::Error> {
        while let Some(item) = seq.next_element_seed(ObjectVisitor(T::default()))? {
            if self.items.len() == self.max {
                return Err(de::Error::invalid_length(self.max + 1, &self));
            }
            self.items.push(item);
        }
        Ok(self.items)
    }
}

/// A field's name in lower case, stored inline. A name that is longer than all known ones becomes
/// the empty name, so a long name needs no memory.
#[derive(Default)]
struct FieldName {
    bytes: [u8; Self::MAX_LEN],
    len: usize,
}

impl FieldName {
    const MAX_LEN: usize = 32;

    fn as_str(&self) -> &str {
        std::str::from_utf8(self.bytes.get(..self.len).unwrap_or_default()).unwrap_or_default()
    }
}

impl<'de> DeserializeSeed<'de> for FieldName {
    type Value = Self;

    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<Self, D::Error> {
        // As bytes: the name of an unknown field need not be UTF-8.
        deserializer.deserialize_bytes(self)
    }
}

impl Visitor<'_> for FieldName {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a field name")
    }

    fn visit_str<E: de::Error>(self, name: &str) -> Result<Self, E> {
        self.visit_bytes(name.as_bytes())
    }

    fn visit_bytes<E: de::Error>(mut self, name: &[u8]) -> Result<Self, E> {
        if let Some(bytes) = self.bytes.get_mut(..name.len()) {
            bytes.copy_from_slice(name);
            bytes.make_ascii_lowercase();
            self.len = name.len();
        }
        Ok(self)
    }
}

impl<'de> DeserializeSeed<'de> for Slot<'_> {
    type Value = ();

    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        match self {
            // As bytes: the base64 decoder rejects what is not ASCII.
            Self::Bytes(_) => deserializer.deserialize_option(self),
            Self::Text(_) => deserializer.deserialize_any(self),
        }
    }
}

impl<'de> Visitor<'de> for Slot<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_none<E: de::Error>(self) -> Result<(), E> {
        self.visit_unit()
    }

    fn visit_some<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_bytes(self)
    }

    fn visit_unit<E: de::Error>(self) -> Result<(), E> {
        match self {
            Self::Bytes(bytes) => *bytes = SecretBytes::default(),
            Self::Text(text) => text.clear(),
        }
        Ok(())
    }

    fn visit_bytes<E: de::Error>(self, value: &[u8]) -> Result<(), E> {
        match self {
            Self::Bytes(bytes) => {
                *bytes = SecretBytes::from_base64(value).map_err(E::custom)?;
                Ok(())
            }
            text @ Self::Text(_) => Err(E::invalid_type(de::Unexpected::Bytes(value), &text)),
        }
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<(), E> {
        match self {
            Self::Text(text) => {
                value.clone_into(text);
                Ok(())
            }
            bytes @ Self::Bytes(_) => bytes.visit_bytes(value.as_bytes()),
        }
    }
}
