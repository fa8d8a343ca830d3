//! Byte strings that may be secret: base64 in JSON, wiped when dropped.

use base64::alphabet;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use base64::{DecodeError, Engine as _};
use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Standard base64 with padding (RFC 4648, section 4). As the reference's decoder it does not
/// look at the bits that padding leaves over.
pub const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true),
);

/// Bytes that may be key material or plaintext. They are wiped when dropped and have neither
/// `Debug` nor `Clone`; [`SecretBytes::expose`] is the way to them.
#[derive(Default, Zeroize, ZeroizeOnDrop)]
pub struct SecretBytes(Vec<u8>);

impl SecretBytes {
    /// Takes bytes over; nothing is copied.
    pub const fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// The bytes.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// Decodes base64 as the contract has it (`api.md`, Bodies): line breaks are skipped.
    ///
    /// # Errors
    /// [`DecodeError`] for any other text that is not standard base64 with padding. Its text
    /// tells a position and a byte of the base64 text: do not print it where that is secret.
    pub fn from_base64(text: &[u8]) -> Result<Self, DecodeError> {
        // Reserved whole at first: a vector that grows leaves an unwiped copy behind.
        let mut bytes = Self(Vec::with_capacity(text.len() / 4 * 3 + 3));
        if memchr::memchr2(b'\r', b'\n', text).is_some() {
            let mut joined = Self(Vec::with_capacity(text.len()));
            joined.0.extend(text.iter().filter(|byte| !matches!(byte, b'\r' | b'\n')));
            BASE64.decode_vec(&joined.0, &mut bytes.0)?;
        } else {
            BASE64.decode_vec(text, &mut bytes.0)?;
        }
        Ok(bytes)
    }
}

impl From<Vec<u8>> for SecretBytes {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

/// So that a buffer of a response is wiped when the last of it has been sent.
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
                // The decoder's own words hold a byte of the text.
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
            ("aGVsbG9=", b"hello"), // bits left over by padding
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

    proptest! {
        #[test]
        fn encoding_and_decoding_are_inverse(bytes: Vec<u8>) {
            let text = BASE64.encode(&bytes);
            let decoded = SecretBytes::from_base64(text.as_bytes()).unwrap();
            prop_assert_eq!(decoded.expose(), bytes);
        }

        #[test]
        fn any_text_is_decoded_or_refused(text: Vec<u8>) {
            let _ = SecretBytes::from_base64(&text);
        }
    }
}
