//! The protobuf message of a stored key. This code is our own so that no copy of a key remains in
//! memory: the parser borrows from its input, and the encoder writes into one buffer that is wiped.
//!
//! ```text
//! KeyVersion   1 SecretKey   2 HMACKey   3 Timestamp   4 string created_by
//! SecretKey    1 bytes key   2 uint32 type: 1 AES256, 2 ChaCha20
//! HMACKey      1 bytes key   2 uint32 hash: 1 SHA-256
//! Timestamp    1 int64 seconds   2 int32 nanos
//! ```
//!
//! The rules are those of proto3. Fields may come in any order. A field with its default value is
//! left out. If a field occurs twice, the last value counts; if a message occurs twice, the two are
//! merged. Unknown fields are skipped. Groups, which proto3 does not have, are refused.

use kes_crypto::{Cipher, Secret};
use zeroize::Zeroizing;

use crate::Record;

pub(super) const AES256: u32 = 1;
pub(super) const CHACHA20: u32 = 2;
pub(super) const SHA256: u32 = 1;

/// The fields of the message. A missing field has its default value.
#[derive(Default)]
pub(super) struct Fields<'a> {
    pub(super) key: &'a [u8],
    pub(super) cipher: u32,
    pub(super) hmac: Option<Hmac<'a>>,
    pub(super) seconds: i64,
    pub(super) nanos: i32,
    pub(super) created_by: &'a str,
}

#[derive(Default)]
pub(super) struct Hmac<'a> {
    pub(super) key: &'a [u8],
    pub(super) hash: u32,
}

/// Why bytes are not a protobuf message of the known fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Damage {
    /// The message ends within a field.
    #[error("it ends too early")]
    Truncated,

    /// A number has more than 64 bits.
    #[error("a number is too big")]
    Varint,

    /// The number of a field is 0, or greater than 2^29 - 1.
    #[error("a field's number is not valid")]
    FieldNumber,

    /// A field is a group, or has one of the two types that do not exist.
    #[error("a field's type is not valid")]
    WireType,

    /// A known field has another type than it should.
    #[error("field {field} has a wrong type")]
    FieldType {
        /// Its number in its message.
        field: u32,
    },

    /// A text is not UTF-8.
    #[error("a text is not UTF-8")]
    Utf8,
}

impl<'a> Fields<'a> {
    pub(super) fn decode(message: &'a [u8]) -> Result<Self, Damage> {
        let mut fields = Self::default();
        let mut rest = Reader(message);
        while let Some((number, content)) = rest.field()? {
            match number {
                1 => fields.merge_key(content.bytes(number)?)?,
                2 => fields.hmac.get_or_insert_default().merge(content.bytes(number)?)?,
                3 => fields.merge_created_at(content.bytes(number)?)?,
                4 => {
                    let text = std::str::from_utf8(content.bytes(number)?);
                    fields.created_by = text.map_err(|_| Damage::Utf8)?;
                }
                _ => {}
            }
        }
        Ok(fields)
    }

    fn merge_key(&mut self, message: &'a [u8]) -> Result<(), Damage> {
        let mut rest = Reader(message);
        while let Some((number, content)) = rest.field()? {
            match number {
                1 => self.key = content.bytes(number)?,
                2 => self.cipher = low_32_bits(content.varint(number)?),
                _ => {}
            }
        }
        Ok(())
    }

    fn merge_created_at(&mut self, message: &'a [u8]) -> Result<(), Damage> {
        let mut rest = Reader(message);
        while let Some((number, content)) = rest.field()? {
            match number {
                1 => self.seconds = content.varint(number)?.cast_signed(),
                2 => self.nanos = low_32_bits(content.varint(number)?).cast_signed(),
                _ => {}
            }
        }
        Ok(())
    }
}

impl<'a> Hmac<'a> {
    fn merge(&mut self, message: &'a [u8]) -> Result<(), Damage> {
        let mut rest = Reader(message);
        while let Some((number, content)) = rest.field()? {
            match number {
                1 => self.key = content.bytes(number)?,
                2 => self.hash = low_32_bits(content.varint(number)?),
                _ => {}
            }
        }
        Ok(())
    }
}

/// The part of a message that was not parsed yet.
struct Reader<'a>(&'a [u8]);

/// The content of a field.
enum Content<'a> {
    Varint(u64),
    Bytes(&'a [u8]),
    /// 4 or 8 bytes; no known field has this type.
    Fixed,
}

impl<'a> Reader<'a> {
    /// The number and content of the next field; `None` at the end.
    fn field(&mut self) -> Result<Option<(u32, Content<'a>)>, Damage> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let tag = u32::try_from(self.varint()?).map_err(|_| Damage::FieldNumber)?;
        let number = tag >> 3;
        if number == 0 {
            return Err(Damage::FieldNumber);
        }
        let content = match tag & 7 {
            0 => Content::Varint(self.varint()?),
            1 => self.take(8).map(|_| Content::Fixed)?,
            2 => {
                let len = usize::try_from(self.varint()?).map_err(|_| Damage::Truncated)?;
                Content::Bytes(self.take(len)?)
            }
            5 => self.take(4).map(|_| Content::Fixed)?,
            _ => return Err(Damage::WireType),
        };
        Ok(Some((number, content)))
    }

    fn byte(&mut self) -> Result<u8, Damage> {
        let (byte, rest) = self.0.split_first().ok_or(Damage::Truncated)?;
        self.0 = rest;
        Ok(*byte)
    }

    /// A number: seven bits in each byte, the lowest first. The highest bit of a byte is set if
    /// another byte follows.
    fn varint(&mut self) -> Result<u64, Damage> {
        let mut value = 0;
        for shift in (0..u64::BITS).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            // The tenth byte has room for one bit.
            if (bits << shift) >> shift != bits {
                return Err(Damage::Varint);
            }
            value |= bits << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Damage::Varint)
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], Damage> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(Damage::Truncated)?;
        self.0 = rest;
        Ok(taken)
    }
}

impl<'a> Content<'a> {
    fn bytes(self, field: u32) -> Result<&'a [u8], Damage> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            Self::Varint(_) | Self::Fixed => Err(Damage::FieldType { field }),
        }
    }

    fn varint(self, field: u32) -> Result<u64, Damage> {
        match self {
            Self::Varint(value) => Ok(value),
            Self::Bytes(_) | Self::Fixed => Err(Damage::FieldType { field }),
        }
    }
}

/// The lower 32 bits: protobuf drops the others of a number that is too big for its field.
#[expect(clippy::expect_used, reason = "it has no higher bits")]
fn low_32_bits(value: u64) -> u32 {
    u32::try_from(value & u64::from(u32::MAX)).expect("it has no higher bits")
}

/// The message of a record. Like the reference, it has the fields in the order of their numbers and
/// always has the time of creation.
pub(super) fn encode(record: &Record) -> Zeroizing<Vec<u8>> {
    let cipher = match record.key.cipher() {
        Cipher::Aes256 => AES256,
        #[cfg(not(feature = "fips"))]
        Cipher::ChaCha20 => CHACHA20,
    };
    let nanos = record.created_at.subsecond_nanos();
    let mut created_at = Writer::with_capacity(2 * MAX_FIELD);
    created_at.number(1, record.created_at.unix_seconds().cast_unsigned());
    created_at.number(2, u64::from(nanos));

    let mut message = Writer::with_capacity(
        2 * (MAX_SECRET + MAX_FIELD) + 4 * MAX_FIELD + record.created_by.len(),
    );
    let full = message.0.capacity();
    message.bytes(1, &secret(record.key.secret(), cipher));
    if let Some(hmac) = record.key.hmac_secret() {
        message.bytes(2, &secret(hmac, SHA256));
    }
    message.bytes(3, &created_at.0);
    if !record.created_by.is_empty() {
        message.bytes(4, record.created_by.as_bytes());
    }
    debug_assert_eq!(message.0.capacity(), full, "a buffer that grows leaves a copy behind");
    message.0
}

/// A `SecretKey` or an `HMACKey`, which have the same form.
fn secret(secret: &Secret, kind: u32) -> Zeroizing<Vec<u8>> {
    let mut message = Writer::with_capacity(MAX_SECRET);
    message.bytes(1, secret.expose());
    message.number(2, u64::from(kind));
    message.0
}

/// The most bytes of a number field, or of the tag and length of any other field: 1 byte of tag and
/// 10 bytes of a 64-bit number.
const MAX_FIELD: usize = 11;

/// The most bytes of a message with a secret and a number.
const MAX_SECRET: usize = 2 * MAX_FIELD + Secret::LEN;

/// Writes a message. Its buffer must have the full capacity from the start: a buffer that grows
/// leaves a copy behind that is not wiped.
struct Writer(Zeroizing<Vec<u8>>);

impl Writer {
    fn with_capacity(capacity: usize) -> Self {
        Self(Zeroizing::new(Vec::with_capacity(capacity)))
    }

    fn number(&mut self, field: u8, value: u64) {
        if value != 0 {
            self.0.push(field << 3);
            self.varint(value);
        }
    }

    #[expect(clippy::expect_used, reason = "a length has at most 64 bits")]
    fn bytes(&mut self, field: u8, bytes: &[u8]) {
        self.0.push(field << 3 | 2);
        self.varint(u64::try_from(bytes.len()).expect("a length has at most 64 bits"));
        self.0.extend_from_slice(bytes);
    }

    fn varint(&mut self, mut value: u64) {
        loop {
            let bits = value.to_le_bytes()[0] & 0x7f;
            value >>= 7;
            if value == 0 {
                return self.0.push(bits);
            }
            self.0.push(bits | 0x80);
        }
    }
}
