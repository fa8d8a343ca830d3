//! Objects read as the reference reads them: field names in any letter case, the last of two
//! fields with one name wins, unknown fields are passed over, `null` is the empty value, and
//! what follows the first JSON value of a body is not looked at.

use std::fmt;

use serde::Deserializer as _;
use serde::de::{self, DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::InvalidBody;
use crate::SecretBytes;

/// A request body: an object whose fields are byte strings and texts.
pub(super) trait Object: Default {
    /// Where the value of a field belongs; `name` is in lower case.
    fn field(&mut self, name: &str) -> Option<Slot<'_>>;
}

/// Where a value belongs.
pub(super) enum Slot<'a> {
    Bytes(&'a mut SecretBytes),
    Text(&'a mut String),
}

/// The object that a body starts with.
pub(super) fn object<T: Object>(body: &[u8]) -> Result<T, InvalidBody> {
    let mut json = serde_json::Deserializer::from_slice(body);
    json.deserialize_any(ObjectVisitor(T::default())).map_err(|_| InvalidBody)
}

/// The array of at most `max` objects that a body starts with.
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
        while let Some(name) = map.next_key_seed(FieldName)? {
            match self.0.field(&name) {
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

/// A field's name in lower case. Names that are longer than any of ours come out empty, so that
/// a long name costs nothing.
struct FieldName;

const MAX_FIELD_NAME_LEN: usize = 32;

impl<'de> DeserializeSeed<'de> for FieldName {
    type Value = String;

    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        // As bytes: an unknown field may have a name that is no text.
        deserializer.deserialize_bytes(self)
    }
}

impl Visitor<'_> for FieldName {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a field name")
    }

    fn visit_str<E: de::Error>(self, name: &str) -> Result<String, E> {
        self.visit_bytes(name.as_bytes())
    }

    fn visit_bytes<E: de::Error>(self, name: &[u8]) -> Result<String, E> {
        if name.len() > MAX_FIELD_NAME_LEN {
            return Ok(String::new());
        }
        let Ok(name) = std::str::from_utf8(name) else { return Ok(String::new()) };
        Ok(name.to_ascii_lowercase())
    }
}

impl<'de> DeserializeSeed<'de> for Slot<'_> {
    type Value = ();

    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Visitor<'_> for Slot<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_unit<E: de::Error>(self) -> Result<(), E> {
        match self {
            Self::Bytes(bytes) => *bytes = SecretBytes::default(),
            Self::Text(text) => text.clear(),
        }
        Ok(())
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<(), E> {
        match self {
            Self::Bytes(bytes) => {
                *bytes = SecretBytes::from_base64(value.as_bytes())
                    .map_err(|_| E::custom("a byte string is not standard base64"))?;
            }
            Self::Text(text) => value.clone_into(text),
        }
        Ok(())
    }
}
