//! The stored key of the oldest servers: one JSON object.
//!
//! `{"bytes": base64 of 32 bytes, "algorithm": a cipher's name or "" for AES256, "created_at":
//! RFC 3339, "created_by": identity}`. There is no HMAC key.
//!
//! The parser accepts what Go's JSON parser accepts, as far as that is safe: it ignores the case of
//! field names, skips unknown fields, takes the last value of a field that occurs twice, and treats
//! `null` as a missing field.

use std::fmt;

use kes_api::Timestamp;
use kes_crypto::{Cipher, Key, Secret};
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use zeroize::Zeroizing;

use super::{InvalidRecord, Record, decode_base64};

pub(super) fn decode(text: &str) -> Result<Record, InvalidRecord> {
    // The parser's own message may contain a part of the text.
    let fields: Fields = serde_json::from_str(text)
        .map_err(|error| InvalidRecord::Json { line: error.line(), column: error.column() })?;
    let bytes = decode_base64(&fields.bytes.0).ok_or(InvalidRecord::KeyNotBase64)?;
    let secret = Secret::from_slice(&bytes).ok_or(InvalidRecord::KeyLength { len: bytes.len() })?;
    let cipher = match fields.algorithm.0.as_str() {
        "" => Cipher::Aes256,
        name if Cipher::is_unapproved(name) => return Err(InvalidRecord::UnapprovedCipher),
        name => Cipher::parse(name).ok_or(InvalidRecord::UnknownCipher)?,
    };
    let created_at = match fields.created_at.0.as_str() {
        "" => Timestamp::from_unix(NO_TIME, 0),
        text => Timestamp::parse(text),
    };
    Ok(Record {
        key: Key::from_parts(cipher, secret, None),
        created_at: created_at.map_err(|_| InvalidRecord::CreatedAt)?,
        created_by: fields.created_by.0.as_str().to_owned(),
    })
}

/// 0001-01-01T00:00:00Z, which the reference uses if the time is missing.
const NO_TIME: i64 = -62_135_596_800;

#[derive(Default)]
struct Fields {
    bytes: Text,
    algorithm: Text,
    created_at: Text,
    created_by: Text,
}

/// A text that is wiped when dropped. All fields have this type, because someone may have put the
/// key into the wrong field.
#[derive(Default)]
struct Text(Zeroizing<String>);

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = Fields;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a stored key")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
                let mut fields = Fields::default();
                while let Some(mut name) = map.next_key::<Text>()? {
                    name.0.make_ascii_lowercase();
                    let field = match name.0.as_str() {
                        "bytes" => &mut fields.bytes,
                        "algorithm" => &mut fields.algorithm,
                        "created_at" => &mut fields.created_at,
                        "created_by" => &mut fields.created_by,
                        _ => {
                            map.next_value::<IgnoredAny>()?;
                            continue;
                        }
                    };
                    if let Some(text) = map.next_value::<Option<Text>>()? {
                        *field = text;
                    }
                }
                Ok(fields)
            }
        }

        deserializer.deserialize_map(Object)
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Characters;

        impl Visitor<'_> for Characters {
            type Value = Text;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Text, E> {
                Ok(Text(Zeroizing::new(text.to_owned())))
            }
        }

        deserializer.deserialize_str(Characters)
    }
}
