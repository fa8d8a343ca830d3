//! The stored key (contract `crypto-and-storage.md`, A stored key): a protobuf message in base64,
//! or JSON as the oldest servers wrote it. The server reads both and writes the first.
//!
//! Every buffer that holds key material while a stored key is read or written is wiped when it is
//! dropped. There is one exception: the JSON parser makes a copy of its own if the text of the key
//! has a `\`, which no server writes.

/// The protobuf message.
mod protobuf;

/// The JSON of the oldest servers.
mod legacy;

use base64ct::{Base64, Encoding};
use kes_api::Timestamp;
use kes_crypto::{Cipher, Key, Secret};
use zeroize::Zeroizing;

pub use self::protobuf::Damage;

use crate::Value;

/// A stored key in parsed form.
pub struct Record {
    /// Cipher and secrets.
    pub key: Key,
    /// When it was created, by the clock of the server that did.
    pub created_at: Timestamp,
    /// The identity that created it; empty if it is not known.
    pub created_by: String,
}

/// The form of the text of a stored key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A protobuf message in base64.
    Protobuf,
    /// The JSON of the oldest servers.
    Json,
}

impl Form {
    /// The form that a text has if it is a stored key.
    pub fn of(value: &Value) -> Self {
        if value.expose().trim_ascii().starts_with('{') { Self::Json } else { Self::Protobuf }
    }
}

/// Why a text is not a stored key. It contains no byte of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidRecord {
    /// There is nothing but white space.
    #[error("it is empty")]
    Empty,

    /// It is longer than [`Value::MAX_LEN`].
    #[error("it is too long for a stored key")]
    TooLong,

    /// It does not start with `{`, and it is not base64.
    #[error("it is neither base64 nor JSON")]
    NeitherForm,

    /// It starts with `{`, and it is not the JSON of a stored key.
    #[error("its JSON is damaged at line {line}, column {column}")]
    Json {
        /// The line of the error, from 1 on.
        line: usize,
        /// The column of the error, in bytes.
        column: usize,
    },

    /// It is base64, but what it encodes is not the protobuf message of a stored key.
    #[error("its protobuf message is damaged: {0}")]
    Protobuf(Damage),

    /// The encryption key does not have 32 bytes.
    #[error("its encryption key has {len} bytes instead of 32")]
    KeyLength {
        /// The length; 0 also if there is no key at all.
        len: usize,
    },

    /// The HMAC key does not have 32 bytes.
    #[error("its HMAC key has {len} bytes instead of 32")]
    HmacKeyLength {
        /// The length.
        len: usize,
    },

    /// The key in the JSON is not base64.
    #[error("its encryption key is not base64")]
    KeyNotBase64,

    /// The cipher is neither AES256 nor ChaCha20.
    #[error("its cipher is not known")]
    UnknownCipher,

    /// A FIPS build refuses ChaCha20.
    #[error(
        "its cipher is ChaCha20, which is not approved (FIPS 140-3) and this FIPS build refuses"
    )]
    UnapprovedCipher,

    /// The hash of the HMAC key is not SHA-256.
    #[error("the hash of its HMAC key is not known")]
    UnknownHash,

    /// The time of creation is not between the years 1 and 9999.
    #[error("its time of creation is not valid")]
    CreatedAt,
}

impl Record {
    /// Parses a stored key. It skips white space around the text and line breaks within base64,
    /// which editors and the command `base64` add.
    ///
    /// # Errors
    /// [`InvalidRecord`] if the text is not a stored key.
    pub fn decode(value: &Value) -> Result<Self, InvalidRecord> {
        let text = value.expose().trim_ascii();
        if text.is_empty() {
            return Err(InvalidRecord::Empty);
        }
        // Bounds the work for a text that another program put into the key store.
        if text.len() > Value::MAX_LEN {
            return Err(InvalidRecord::TooLong);
        }
        if Form::of(value) == Form::Json {
            return legacy::decode(text);
        }
        let bytes = decode_base64(text).ok_or(InvalidRecord::NeitherForm)?;
        protobuf::Fields::decode(&bytes).map_err(InvalidRecord::Protobuf)?.try_into()
    }

    /// The text of a stored key: byte for byte what the reference writes for the same fields.
    pub fn encode(&self) -> Value {
        Value::new(Base64::encode_string(&protobuf::encode(self)))
    }
}

impl TryFrom<protobuf::Fields<'_>> for Record {
    type Error = InvalidRecord;

    fn try_from(fields: protobuf::Fields<'_>) -> Result<Self, InvalidRecord> {
        let cipher = match fields.cipher {
            _ if fields.key.is_empty() => return Err(InvalidRecord::KeyLength { len: 0 }),
            protobuf::AES256 => Cipher::Aes256,
            #[cfg(not(feature = "fips"))]
            protobuf::CHACHA20 => Cipher::ChaCha20,
            #[cfg(feature = "fips")]
            protobuf::CHACHA20 => return Err(InvalidRecord::UnapprovedCipher),
            _ => return Err(InvalidRecord::UnknownCipher),
        };
        let secret = Secret::from_slice(fields.key)
            .ok_or(InvalidRecord::KeyLength { len: fields.key.len() })?;
        let hmac = match fields.hmac {
            None => None,
            Some(hmac) if hmac.hash != protobuf::SHA256 => return Err(InvalidRecord::UnknownHash),
            Some(hmac) => Some(
                Secret::from_slice(hmac.key)
                    .ok_or(InvalidRecord::HmacKeyLength { len: hmac.key.len() })?,
            ),
        };
        let nanos = u32::try_from(fields.nanos).map_err(|_| InvalidRecord::CreatedAt)?;
        let created_at =
            Timestamp::from_unix(fields.seconds, nanos).map_err(|_| InvalidRecord::CreatedAt)?;
        let key = Key::from_parts(cipher, secret, hmac);
        Ok(Self { key, created_at, created_by: fields.created_by.to_owned() })
    }
}

/// Standard base64 with padding, in constant time, as Go reads it: line breaks are skipped, and the
/// unused bits of the last digit need not be zero.
fn decode_base64(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    let mut joined = Zeroizing::new(Vec::with_capacity(text.len()));
    joined.extend(text.bytes().filter(|byte| !matches!(byte, b'\r' | b'\n')));
    let padding = joined.iter().rev().take(2).take_while(|digit| **digit == b'=').count();
    // With digits in place of the padding, the unused bits become a byte that is cut off.
    joined.iter_mut().rev().take(padding).for_each(|digit| *digit = b'A');
    let mut bytes = Zeroizing::new(vec![0; joined.len() / 4 * 3]);
    let len = Base64::decode(joined.as_slice(), &mut bytes).ok()?.len();
    bytes.truncate(len.checked_sub(padding)?);
    Some(bytes)
}

#[cfg(test)]
mod tests;
