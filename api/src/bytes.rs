//! Byte strings that may be secret: base64 in JSON, wiped when dropped.

use base64::alphabet;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use base64::{DecodeError, Engine as _};
use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::{Zeroize, ZeroizeOnDrop, optimization_barrier};

/// Standard base64 with padding (RFC 4648, section 4). Like the reference's decoder it ignores the
/// unused bits before the padding.
pub const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true),
);

/// Bytes that may be key material or plaintext. They are wiped when dropped and have neither
/// `Debug` nor `Clone`; [`SecretBytes::expose`] gives access to them.
#[derive(Default)]
pub struct SecretBytes(Vec<u8>);

/// Spare capacity of decoded byte strings, in bytes. An encryption adds 44 bytes to a plaintext, so
/// a large plaintext can be encrypted in place.
const HEADROOM: usize = 64;

impl SecretBytes {
    /// Takes ownership of bytes; nothing is copied.
    pub const fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// The bytes.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// The bytes. The caller has to wipe them.
    pub fn into_inner(mut self) -> Vec<u8> {
        std::mem::take(&mut self.0)
    }

    /// Decodes base64 (contract `api.md`, Bodies): line breaks are skipped.
    ///
    /// # Errors
    /// [`DecodeError`] for any other text that is not standard base64 with padding. The error
    /// contains a byte of the text: do not print it if the text is secret.
    pub fn from_base64(text: &[u8]) -> Result<Self, DecodeError> {
        // Allocated at full size: a vector that grows leaves an unwiped copy behind.
        let mut bytes = Self(Vec::with_capacity(text.len() / 4 * 3 + 3 + HEADROOM));
        // Try without removing line breaks first: hardly any text has them.
        let Err(error) = decode(text, &mut bytes.0) else { return Ok(bytes) };
        if memchr::memchr2(b'\r', b'\n', text).is_none() {
            return Err(error);
        }
        let mut joined = Self(Vec::with_capacity(text.len()));
        joined.0.extend(text.iter().filter(|byte| !matches!(byte, b'\r' | b'\n')));
        bytes.zeroize();
        decode(&joined.0, &mut bytes.0)?;
        Ok(bytes)
    }
}

/// Decodes a text without line breaks and appends the bytes. Only the last four characters can have
/// padding; if there are many others, vector instructions decode them.
fn decode(text: &[u8], out: &mut Vec<u8>) -> Result<(), DecodeError> {
    let whole = if text.len() < LARGE { 0 } else { (text.len() - 1) / 4 * 4 };
    let (head, tail) = text.split_at(whole);
    let is_read = base64_simd::STANDARD_NO_PAD.decode_append(head, out).is_ok()
        && BASE64.decode_vec(tail, out).is_ok();
    // On failure the plain decoder runs, whose error has the position.
    if is_read { Ok(()) } else { BASE64.decode_vec(text, out) }
}

/// Appends the base64 text of bytes.
pub(crate) fn encode(bytes: &[u8], out: &mut Vec<u8>) {
    if bytes.len() < LARGE {
        let start = out.len();
        out.resize(start + bytes.len().div_ceil(3) * 4, 0);
        BASE64.encode_slice(bytes, &mut out[start..]).expect("the length was computed");
    } else {
        base64_simd::STANDARD.encode_append(bytes, out);
    }
}

/// From this many bytes on, vector instructions are faster, detecting them included.
const LARGE: usize = 256;

impl Zeroize for SecretBytes {
    /// Overwrites the whole capacity and sets the length to 0.
    fn zeroize(&mut self) {
        // `Vec::zeroize` writes byte by byte, which is slow for bodies of up to a megabyte.
        self.0.clear();
        let capacity = self.0.capacity();
        self.0.resize(capacity, 0);
        optimization_barrier(self.0.as_slice());
        self.0.clear();
    }
}

impl Drop for SecretBytes {
    fn drop(&mut self) {
        self.zeroize();
    }
}

impl ZeroizeOnDrop for SecretBytes {}

impl From<Vec<u8>> for SecretBytes {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

/// Lets a response own its buffer, which is wiped when all of it has been sent.
impl AsRef<[u8]> for SecretBytes {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Serialize for SecretBytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut text = BASE64.encode(&self.0);
        let result = serializer.serialize_str(&text);
        text.zeroize();
        result
    }
}

impl<'de> Deserialize<'de> for SecretBytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Base64Text;

        impl Visitor<'_> for Base64Text {
            type Value = SecretBytes;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a byte string in standard base64")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<SecretBytes, E> {
                // The decoder's own error contains a byte of the text.
                SecretBytes::from_base64(text.as_bytes())
                    .map_err(|_| E::custom("a byte string is not standard base64"))
            }

            fn visit_unit<E: de::Error>(self) -> Result<SecretBytes, E> {
                Ok(SecretBytes::default())
            }
        }

        deserializer.deserialize_any(Base64Text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn base64_of_the_contract() {
        for (text, bytes) in [
            ("", b"".as_slice()),
            ("aGVsbG8=", b"hello"),
            ("aGVs\r\nbG8=\n", b"hello"),
            ("aGVsbG8\n=", b"hello"),
            ("aGVsbG9=", b"hello"), // unused bits before the padding
        ] {
            assert_eq!(
                SecretBytes::from_base64(text.as_bytes()).unwrap().expose(),
                bytes,
                "{text}"
            );
        }
        for bad in ["***", "aGVsbG8", "aGVsbG8 =", "aGVsbG8==", "a", "=", "-_8=", "aGVs bG8="] {
            assert!(SecretBytes::from_base64(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn padding_ends_a_large_text() {
        let mut text = BASE64.encode([7; 3 * LARGE]);
        text.push_str("aGk=");
        assert_eq!(
            SecretBytes::from_base64(text.as_bytes()).unwrap().expose().len(),
            3 * LARGE + 2
        );
        text.push_str("aGk=");
        assert!(SecretBytes::from_base64(text.as_bytes()).is_err());
    }

    #[test]
    fn a_decoded_plaintext_has_room_for_what_encryption_adds() {
        let text = BASE64.encode([7; 1000]);
        let bytes = SecretBytes::from_base64(text.as_bytes()).unwrap().into_inner();
        assert!(bytes.capacity() >= bytes.len() + 44);
    }

    proptest! {
        #[test]
        fn encoding_and_decoding_are_inverse(bytes: Vec<u8>) {
            let text = BASE64.encode(&bytes);
            let decoded = SecretBytes::from_base64(text.as_bytes()).unwrap();
            prop_assert_eq!(decoded.expose(), bytes);
        }

        /// Vector instructions and the plain decoder accept and reject the same texts.
        #[test]
        fn large_texts_are_read_as_small_ones(
            bytes in prop::collection::vec(any::<u8>(), LARGE / 2..3 * LARGE),
            at: prop::sample::Index,
            damage: u8,
        ) {
            let mut text = Vec::new();
            encode(&bytes, &mut text);
            prop_assert_eq!(text.clone(), BASE64.encode(&bytes).into_bytes());
            prop_assert_eq!(SecretBytes::from_base64(&text).unwrap().into_inner(), bytes);

            let at = at.index(text.len());
            text[at] = damage;
            prop_assume!(!matches!(damage, b'\r' | b'\n'));
            let read = SecretBytes::from_base64(&text).map(SecretBytes::into_inner);
            prop_assert_eq!(read, BASE64.decode(&text));
        }

        #[test]
        fn any_text_is_decoded_or_refused(text: Vec<u8>) {
            let _ = SecretBytes::from_base64(&text);
        }
    }
}
