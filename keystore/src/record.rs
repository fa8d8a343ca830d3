//! The stored key (contract `crypto-and-storage.md`, A stored key): a protobuf message in base64,
//! or JSON as the oldest servers wrote it. Both are read, the first is written.
//!
//! All that is made of a stored key on the way holds key material and is wiped when dropped. One
//! copy is out of reach: that which the JSON parser makes of a key with a `\` in its text, which
//! no server writes.

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

/// A key as it stands in a key store.
pub struct Record {
    /// Cipher and secrets.
    pub key: Key,
    /// When it was created, by the clock of the server that did.
    pub created_at: Timestamp,
    /// The identity that created it; empty if it is not known.
    pub created_by: String,
}

/// What is wrong with a text that is no stored key. It holds no byte of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidRecord {
    /// Nothing, or white space alone.
    #[error("it is empty")]
    Empty,

    /// Longer than [`Value::MAX_LEN`].
    #[error("it is too long for a stored key")]
    TooLong,

    /// It does not start as JSON does, and is not base64.
    #[error("it is neither base64 nor JSON")]
    NeitherForm,

    /// It starts as JSON does.
    #[error("its JSON is damaged at line {line}, column {column}")]
    Json {
        /// Counted from 1.
        line: usize,
        /// In bytes.
        column: usize,
    },

    /// It is base64, but not of a protobuf message of the known fields.
    #[error("its protobuf message is damaged: {0}")]
    Protobuf(Damage),

    /// The encryption key has not 32 bytes.
    #[error("its encryption key has {len} bytes instead of 32")]
    KeyLength {
        /// The length; 0 also where there is no key at all.
        len: usize,
    },

    /// The HMAC key has not 32 bytes.
    #[error("its HMAC key has {len} bytes instead of 32")]
    HmacKeyLength {
        /// The length.
        len: usize,
    },

    /// The JSON's key is not base64.
    #[error("its encryption key is not base64")]
    KeyNotBase64,

    /// Neither AES256 nor ChaCha20.
    #[error("its cipher is not known")]
    UnknownCipher,

    /// Not SHA-256.
    #[error("the hash of its HMAC key is not known")]
    UnknownHash,

    /// Not a point in time between the years 1 and 9999.
    #[error("its time of creation is not valid")]
    CreatedAt,
}

impl Record {
    /// Reads a stored key. White space around it and line breaks in its base64 are skipped, as
    /// editors and `base64` leave them.
    ///
    /// # Errors
    /// [`InvalidRecord`] if the text is none.
    pub fn decode(value: &Value) -> Result<Self, InvalidRecord> {
        let text = value.expose().trim_ascii();
        if text.is_empty() {
            return Err(InvalidRecord::Empty);
        }
        // Bounds the work on what a stranger put into the key store.
        if text.len() > Value::MAX_LEN {
            return Err(InvalidRecord::TooLong);
        }
        if text.starts_with('{') {
            return legacy::decode(text);
        }
        let bytes = decode_base64(text).ok_or(InvalidRecord::NeitherForm)?;
        protobuf::Fields::decode(&bytes).map_err(InvalidRecord::Protobuf)?.try_into()
    }

    /// Writes a stored key: byte for byte what the reference writes for the same fields.
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
            protobuf::CHACHA20 => Cipher::ChaCha20,
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

/// Standard base64 with padding, in constant time; line breaks are skipped.
fn decode_base64(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    let mut joined = Zeroizing::new(Vec::with_capacity(text.len()));
    joined.extend(text.bytes().filter(|byte| !matches!(byte, b'\r' | b'\n')));
    let mut bytes = Zeroizing::new(vec![0; joined.len() / 4 * 3]);
    let len = Base64::decode(joined.as_slice(), &mut bytes).ok()?.len();
    bytes.truncate(len);
    Some(bytes)
}

#[cfg(test)]
mod tests;
