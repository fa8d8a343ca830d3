//! Byte strings that may be secret: base64 in JSON, wiped when dropped and when they grow.

use std::io;

use base64_simd::{STANDARD, forgiving_decode_inplace};
use bytes::Bytes;
use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::{Zeroize, ZeroizeOnDrop, optimization_barrier};

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

    /// An empty buffer with room for so many bytes.
    pub fn with_capacity(capacity: usize) -> Self {
        Self(Vec::with_capacity(capacity))
    }

    /// Appends bytes. If the buffer has to grow, its old memory is wiped. The caller's copy is not.
    pub fn extend_from_slice(&mut self, bytes: &[u8]) {
        let needed = self.0.len() + bytes.len();
        if needed > self.0.capacity() {
            // At least doubled, so that many small pieces are not copied many times.
            let mut grown = Self::with_capacity(needed.max(2 * self.0.len()));
            grown.0.extend_from_slice(&self.0);
            *self = grown;
        }
        self.0.extend_from_slice(bytes);
    }

    /// Appends a piece of a body and wipes the piece, as [`wipe`] does.
    ///
    /// # Errors
    /// [`TooLong`] if there would be more than `limit` bytes. Then nothing is appended.
    pub fn absorb(&mut self, piece: Bytes, limit: usize) -> Result<(), TooLong> {
        let fits = self.0.len() + piece.len() <= limit;
        if fits {
            self.extend_from_slice(&piece);
        }
        wipe(piece);
        if fits { Ok(()) } else { Err(TooLong) }
    }

    /// How many bytes it holds without growing.
    pub const fn capacity(&self) -> usize {
        self.0.capacity()
    }

    /// The bytes.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// The bytes. The caller has to wipe them.
    pub fn into_inner(mut self) -> Vec<u8> {
        std::mem::take(&mut self.0)
    }

    /// Decodes standard base64 with padding (contract `api.md`, Bodies). Line breaks are skipped. As
    /// in Go, the unused bits of the last digit need not be zero.
    ///
    /// # Errors
    /// [`InvalidBase64`] for any other text.
    pub fn from_base64(text: &[u8]) -> Result<Self, InvalidBase64> {
        // At full size: the decoder would let the vector grow by itself, which wipes nothing.
        let mut bytes = Self::with_capacity(text.len() / 4 * 3 + 3 + HEADROOM);
        // Hardly any text has line breaks or unused bits.
        if STANDARD.decode_append(text, &mut bytes.0).is_ok() {
            return Ok(bytes);
        }
        bytes.zeroize();
        let mut digits = Self::with_capacity(text.len());
        digits.0.extend(text.iter().filter(|byte| !matches!(byte, b'\r' | b'\n')));
        // The forgiving decoder would also skip other white space and do without the padding.
        if !digits.0.len().is_multiple_of(4) || digits.0.iter().any(u8::is_ascii_whitespace) {
            return Err(InvalidBase64);
        }
        let decoded = forgiving_decode_inplace(&mut digits.0).map_err(|_| InvalidBase64)?;
        bytes.0.extend_from_slice(decoded);
        Ok(bytes)
    }
}

/// Wipes a piece of a body, unless somebody shares its memory: a connection overwrites its read
/// buffer with what it reads later.
pub fn wipe(piece: Bytes) {
    if let Ok(mut piece) = piece.try_into_mut() {
        piece.fill(0);
        optimization_barrier(piece.as_ref());
    }
}

/// A body is longer than its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the body is too long")]
pub struct TooLong;

/// A text that is not standard base64 with padding. The error does not say where, because the text
/// may be secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a byte string is not standard base64")]
pub struct InvalidBase64;

/// Appends the base64 text of bytes. The caller has made room for it.
pub(crate) fn encode(bytes: &[u8], out: &mut Vec<u8>) {
    STANDARD.encode_append(bytes, out);
}

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

/// Lets a serializer write into it.
impl io::Write for SecretBytes {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
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
        let mut text = STANDARD.encode_to_string(&self.0);
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
                SecretBytes::from_base64(text.as_bytes()).map_err(E::custom)
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

    fn decode(text: impl AsRef<[u8]>) -> Option<Vec<u8>> {
        SecretBytes::from_base64(text.as_ref()).ok().map(SecretBytes::into_inner)
    }

    /// Decodes digit by digit.
    fn decode_slowly(text: &[u8]) -> Option<Vec<u8>> {
        const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let text: Vec<u8> =
            text.iter().copied().filter(|byte| !matches!(byte, b'\r' | b'\n')).collect();
        if !text.len().is_multiple_of(4) {
            return None;
        }
        let padding = text.iter().rev().take(2).take_while(|byte| **byte == b'=').count();
        let mut bits: u32 = 0;
        let mut bytes = Vec::new();
        for (at, digit) in text[..text.len() - padding].iter().enumerate() {
            let value = DIGITS.iter().position(|known| known == digit)?;
            bits = bits << 6 | u32::try_from(value).unwrap();
            // After the second, third and fourth digit of a group, a byte is complete.
            if at % 4 > 0 {
                bytes.push((bits >> (2 * (3 - at % 4)) & 0xff) as u8);
            }
        }
        Some(bytes)
    }

    #[test]
    fn base64_of_the_contract() {
        for (text, bytes) in [
            ("", b"".as_slice()),
            ("\r\n", b""),
            ("aGVsbG8=", b"hello"),
            ("aGVs\r\nbG8=\n", b"hello"),
            ("aGVsbG8\n=", b"hello"),
            ("aGk\r=\r", b"hi"),
            ("a\nG\nk\n=\n", b"hi"),
            ("aA=\n=", b"h"),
            ("aGVsbG9=", b"hello"), // unused bits before the padding
            ("aGl=", b"hi"),
            ("aP==", b"h"),
            ("/+8=", b"\xff\xef"),
        ] {
            assert_eq!(decode(text).as_deref(), Some(bytes), "{text}");
        }
        for bad in [
            "***",
            "aGVsbG8",
            "aGVsbG8 =",
            "aGVsbG8==",
            "a",
            "aa",
            "aaa",
            "=",
            "==",
            "===",
            "====",
            "a===",
            "aaaa=",
            "aaaa====",
            "aG=k",
            "aGk=aGk=",
            "aA==aA==",
            "-_8=",
            "aGVs bG8=",
            " ",
            "    ",
            "aGk\t",
            "aGk\u{c}",
            "aGk\u{b}",
            "aG\0k",
            "aGk=\0",
            "aGk=\n=",
            "a\n===",
            "aGké",
        ] {
            assert_eq!(decode(bad), None, "{bad}");
            assert_eq!(decode_slowly(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn every_damage_of_a_text_of_any_length_is_seen() {
        // Lengths at which the decoder changes from vectors to words to single digits.
        for len in (0..=80).chain([191, 192, 193, 300]) {
            let bytes = vec![0xa7; len];
            let text = STANDARD.encode_to_string(&bytes).into_bytes();
            assert_eq!(decode(&text), Some(bytes));
            for at in 0..text.len() {
                for damage in [b'=', b'-', b' ', b'\n', b'A', b'/', 0, 0xff] {
                    let mut text = text.clone();
                    text[at] = damage;
                    assert_eq!(decode(&text), decode_slowly(&text), "{damage} at {at} of {len}");
                }
            }
        }
    }

    #[test]
    fn a_decoded_plaintext_has_room_for_what_encryption_adds() {
        for text in [STANDARD.encode_to_string([7; 1000]), "aGk=\n".to_owned(), "aGl=".to_owned()] {
            let bytes = SecretBytes::from_base64(text.as_bytes()).unwrap().into_inner();
            assert!(bytes.capacity() >= bytes.len() + 44, "{text}");
        }
    }

    #[test]
    fn a_piece_over_the_limit_is_not_taken() {
        let mut body = SecretBytes::with_capacity(2);
        assert_eq!(body.absorb(Bytes::from_static(b"abc"), 5), Ok(()));
        assert_eq!(body.absorb(Bytes::from_static(b"def"), 5), Err(TooLong));
        assert_eq!(body.absorb(Bytes::from_static(b"de"), 5), Ok(()));
        assert_eq!(body.absorb(Bytes::from_static(b"f"), 5), Err(TooLong));
        assert_eq!(body.absorb(Bytes::new(), 4), Err(TooLong));
        assert_eq!(body.expose(), b"abcde");
    }

    #[test]
    fn the_memory_of_a_piece_is_wiped_unless_it_is_shared() {
        let mut shared = bytes::BytesMut::from(&b"secret and other"[..]);
        let piece = shared.split_to(6).freeze();
        let mut body = SecretBytes::default();
        body.absorb(piece, 100).unwrap();
        assert_eq!((body.expose(), &shared[..]), (&b"secret"[..], &b" and other"[..]));
    }

    proptest! {
        #[test]
        fn a_buffer_keeps_what_it_is_given(
            capacity in 0_usize..40,
            pieces in prop::collection::vec(any::<Vec<u8>>(), 0..9),
        ) {
            let mut buffer = SecretBytes::with_capacity(capacity);
            for piece in &pieces {
                buffer.extend_from_slice(piece);
            }
            prop_assert_eq!(buffer.expose(), pieces.concat());
        }

        #[test]
        fn encoding_and_decoding_are_inverse(bytes: Vec<u8>) {
            let mut text = Vec::new();
            encode(&bytes, &mut text);
            prop_assert_eq!(decode_slowly(&text), Some(bytes.clone()));
            prop_assert_eq!(decode(&text), Some(bytes));
        }

        #[test]
        fn texts_with_breaks_are_read_as_those_without(
            bytes in prop::collection::vec(any::<u8>(), 0..300),
            width in 1_usize..80,
        ) {
            let text = STANDARD.encode_to_string(&bytes);
            let lines: Vec<&[u8]> = text.as_bytes().chunks(width).collect();
            prop_assert_eq!(decode(lines.join(&b"\r\n"[..])), Some(bytes));
        }

        #[test]
        fn text_like_base64_is_decoded_or_refused(text in "[A-Za-z0-9+/]{0,12}[A-Z=\r\n _-]{0,6}") {
            prop_assert_eq!(decode(&text), decode_slowly(text.as_bytes()));
        }

        #[test]
        fn any_text_is_decoded_or_refused(text: Vec<u8>) {
            prop_assert_eq!(decode(&text), decode_slowly(&text));
        }
    }
}
