//! The three formats of a ciphertext (contract `crypto-and-storage.md`, Decrypting), parsed into
//! one type. Nothing here uses a key.
//!
//! ```text
//! 1. current      sealed ‖ iv(16) ‖ nonce(12)
//! 2. MessagePack  [algorithm: str, key id: str, iv: bin(16), nonce: bin(12), sealed: bin]
//! 3. JSON         {"aead", "id", "iv", "nonce", "bytes"}, the last three in base64
//!
//! sealed = encrypted plaintext ‖ tag(16)
//! ```
//!
//! Old releases of the reference wrote formats 2 and 3. 2 starts with 0x95, 3 with `{`; one of 128
//! ciphertexts of format 1 does so too, by chance. So bytes that do not parse completely as 2 or 3,
//! with a known cipher, are taken as format 1. The key id is a hash that no key store has, so it is
//! skipped.

use std::borrow::Cow;

use base64_simd::STANDARD;
use serde::Deserialize;

use crate::Cipher;

pub(crate) const IV_LEN: usize = 16;
pub(crate) const NONCE_LEN: usize = 12;
pub(crate) const TAG_LEN: usize = 16;

/// The parts of a ciphertext. None of it is authentic yet.
#[derive(Debug, PartialEq)]
pub(crate) struct Ciphertext<'a> {
    pub(crate) claim: Claim,
    pub(crate) iv: [u8; IV_LEN],
    pub(crate) nonce: [u8; NONCE_LEN],
    /// As long as the plaintext.
    pub(crate) body: Cow<'a, [u8]>,
    pub(crate) tag: [u8; TAG_LEN],
}

/// Which keys a ciphertext claims to be for.
#[derive(Debug, PartialEq)]
pub(crate) enum Claim {
    /// For the key at hand: format 1 names no cipher.
    Any,
    /// For a key of this cipher: formats 2 and 3.
    Cipher(Cipher),
    /// For no key: too short to be a ciphertext. This is a value rather than an error, so that the
    /// same keyed work is done on it as on any other.
    None,
}

impl Claim {
    pub(crate) fn admits(&self, cipher: Cipher) -> bool {
        match self {
            Self::Any => true,
            Self::Cipher(named) => *named == cipher,
            Self::None => false,
        }
    }
}

impl<'a> Ciphertext<'a> {
    /// Accepts any bytes; see [`Claim::None`].
    pub(crate) fn parse(bytes: &'a [u8]) -> Self {
        let old = match bytes.first() {
            Some(0x95) => message_pack(bytes),
            Some(b'{') => json(bytes),
            _ => None,
        };
        old.or_else(|| current(bytes)).unwrap_or(Self {
            claim: Claim::None,
            iv: [0; IV_LEN],
            nonce: [0; NONCE_LEN],
            body: Cow::Borrowed(bytes),
            tag: [0; TAG_LEN],
        })
    }
}

fn current(bytes: &[u8]) -> Option<Ciphertext<'_>> {
    let (bytes, nonce) = bytes.split_last_chunk()?;
    let (bytes, iv) = bytes.split_last_chunk()?;
    let (body, tag) = bytes.split_last_chunk()?;
    let body = Cow::Borrowed(body);
    Some(Ciphertext { claim: Claim::Any, iv: *iv, nonce: *nonce, body, tag: *tag })
}

fn message_pack(bytes: &[u8]) -> Option<Ciphertext<'_>> {
    let rest = bytes.strip_prefix(&[0x95])?; // array of 5
    let (algorithm, rest) = string(rest)?;
    let (_key_id, rest) = string(rest)?;
    let (iv, rest) = binary(rest)?;
    let (nonce, rest) = binary(rest)?;
    let (sealed, rest) = binary(rest)?;
    if !rest.is_empty() {
        return None;
    }
    let cipher = Cipher::parse(str::from_utf8(algorithm).ok()?)?;
    let (body, tag) = sealed.split_last_chunk()?;
    Some(Ciphertext {
        claim: Claim::Cipher(cipher),
        iv: iv.try_into().ok()?,
        nonce: nonce.try_into().ok()?,
        body: Cow::Borrowed(body),
        tag: *tag,
    })
}

/// What formats 2 and 3 call their key. The bytes have been parsed as one of them.
pub(crate) fn key_id(bytes: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Shape {
        id: String,
    }

    if let Some(rest) = bytes.strip_prefix(&[0x95]) {
        let (_algorithm, rest) = string(rest)?;
        let (id, _) = string(rest)?;
        return Some(String::from_utf8_lossy(id).into_owned());
    }
    serde_json::from_slice::<Shape>(bytes).ok().map(|shape| shape.id)
}

/// A MessagePack `str`, and what follows it. The length may be encoded in more bytes than it needs.
fn string(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (head, rest) = bytes.split_first()?;
    match head {
        0xa0..=0xbf => rest.split_at_checked(usize::from(head & 0x1f)), // fixstr
        0xd9 => counted::<1>(rest),
        0xda => counted::<2>(rest),
        0xdb => counted::<4>(rest),
        _ => None,
    }
}

/// A MessagePack `bin`, and what follows it.
fn binary(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (head, rest) = bytes.split_first()?;
    match head {
        0xc4 => counted::<1>(rest),
        0xc5 => counted::<2>(rest),
        0xc6 => counted::<4>(rest),
        _ => None,
    }
}

/// Bytes after their count, a big-endian number of `N` bytes.
fn counted<const N: usize>(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (count, rest) = bytes.split_first_chunk::<N>()?;
    let mut number = [0; size_of::<u64>()];
    *number.last_chunk_mut()? = *count;
    rest.split_at_checked(usize::try_from(u64::from_be_bytes(number)).ok()?)
}

fn json(bytes: &[u8]) -> Option<Ciphertext<'_>> {
    /// The fields are `Cow`, because the encoder may have escaped some characters of the base64.
    #[derive(Deserialize)]
    struct Shape<'a> {
        #[serde(borrow)]
        aead: Cow<'a, str>,
        #[serde(borrow)]
        iv: Cow<'a, str>,
        #[serde(borrow)]
        nonce: Cow<'a, str>,
        #[serde(borrow)]
        bytes: Cow<'a, str>,
    }

    let shape: Shape<'_> = serde_json::from_slice(bytes).ok()?;
    let cipher = match &*shape.aead {
        "AES-256-GCM-HMAC-SHA-256" => Cipher::Aes256,
        #[cfg(not(feature = "fips"))]
        "ChaCha20Poly1305" => Cipher::ChaCha20,
        _ => return None,
    };
    let mut body = base64(&shape.bytes)?;
    let (_, tag) = body.split_last_chunk()?;
    let tag = *tag;
    body.truncate(body.len() - TAG_LEN);
    Some(Ciphertext {
        claim: Claim::Cipher(cipher),
        iv: base64(&shape.iv)?.try_into().ok()?,
        nonce: base64(&shape.nonce)?.try_into().ok()?,
        body: Cow::Owned(body),
        tag,
    })
}

/// Standard base64 with padding, as Go reads it: line breaks are skipped, and the unused bits of the
/// last digit need not be zero. A ciphertext is not secret, so that the faster decoder can be used,
/// which is not constant-time.
fn base64(text: &str) -> Option<Vec<u8>> {
    if let Ok(bytes) = STANDARD.decode_to_vec(text) {
        return Some(bytes); // what encoders write
    }
    let mut digits: Vec<u8> = text.bytes().filter(|byte| !matches!(byte, b'\r' | b'\n')).collect();
    let padding = digits.iter().rev().take(2).take_while(|digit| **digit == b'=').count();
    // With digits in place of the padding, the unused bits become a byte that is cut off.
    digits.iter_mut().rev().take(padding).for_each(|digit| *digit = b'A');
    let mut bytes = STANDARD.decode_to_vec(&digits).ok()?;
    bytes.truncate(bytes.len().checked_sub(padding)?);
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(bytes: &[u8]) -> Claim {
        Ciphertext::parse(bytes).claim
    }

    fn packed(algorithm: &[u8], iv: usize, nonce: usize, sealed: usize) -> Vec<u8> {
        let mut out = vec![0x95, 0xa0 | u8::try_from(algorithm.len()).unwrap()];
        out.extend(algorithm);
        out.extend(b"\xa2id");
        for len in [iv, nonce, sealed] {
            out.extend([0xc4, u8::try_from(len).unwrap()]);
            out.extend(vec![1; len]);
        }
        out
    }

    fn text(aead: &str, iv: usize, nonce: usize, sealed: usize) -> String {
        let base64 = |len| STANDARD.encode_to_string(vec![1; len]);
        format!(
            r#"{{"aead":"{aead}","id":"id","iv":"{}","nonce":"{}","bytes":"{}"}}"#,
            base64(iv),
            base64(nonce),
            base64(sealed)
        )
    }

    #[test]
    fn the_current_format_is_cut_from_its_end() {
        let bytes: Vec<u8> = (0..46).collect();
        let parsed = Ciphertext::parse(&bytes);
        assert_eq!(parsed.claim, Claim::Any);
        assert_eq!(*parsed.body, bytes[..2]);
        assert_eq!(parsed.tag[..], bytes[2..18]);
        assert_eq!(parsed.iv[..], bytes[18..34]);
        assert_eq!(parsed.nonce[..], bytes[34..]);
    }

    #[test]
    fn less_than_the_overhead_is_no_ciphertext() {
        for len in 0..44 {
            assert_eq!(claim(&vec![9; len]), Claim::None, "{len} bytes");
        }
        assert_eq!(claim(&[9; 44]), Claim::Any);
    }

    #[test]
    fn message_pack_is_taken_as_such_only_if_all_of_it_fits() {
        let taken = [&b"AES256"[..], b"AES256-GCM_SHA256"];
        for algorithm in taken {
            assert_eq!(claim(&packed(algorithm, 16, 12, 40)), Claim::Cipher(Cipher::Aes256));
        }
        #[cfg(not(feature = "fips"))]
        for algorithm in [&b"ChaCha20"[..], b"XCHACHA20-POLY1305"] {
            assert_eq!(claim(&packed(algorithm, 16, 12, 16)), Claim::Cipher(Cipher::ChaCha20));
        }
        let mut longer = packed(b"AES256", 16, 12, 40);
        longer.push(0);
        for current in [
            packed(b"AES255", 16, 12, 40),
            packed(b"", 16, 12, 40),
            packed(b"\xff", 16, 12, 40),
            packed(b"AES256", 15, 12, 40),
            packed(b"AES256", 17, 12, 40),
            packed(b"AES256", 16, 11, 40),
            packed(b"AES256", 16, 13, 40),
            packed(b"AES256", 16, 12, 15),
            longer,
        ] {
            assert_eq!(claim(&current), Claim::Any, "{current:?}");
        }
    }

    #[test]
    fn json_is_taken_as_such_only_if_all_of_it_fits() {
        let aes = "AES-256-GCM-HMAC-SHA-256";
        #[cfg(not(feature = "fips"))]
        let chacha = "ChaCha20Poly1305";
        for (text, cipher) in [
            (text(aes, 16, 12, 40), Cipher::Aes256),
            #[cfg(not(feature = "fips"))]
            (text(chacha, 16, 12, 16), Cipher::ChaCha20),
            #[cfg(not(feature = "fips"))]
            (text(chacha, 16, 12, 40) + "\n ", Cipher::ChaCha20),
            (text(aes, 16, 12, 40).replace("\"id\":", "\"other\":[],\"ID\":"), Cipher::Aes256),
            (text(aes, 16, 12, 40).replace("AES", "\\u0041ES"), Cipher::Aes256),
        ] {
            assert_eq!(claim(text.as_bytes()), Claim::Cipher(cipher), "{text}");
        }
        for current in [
            text("AES256", 16, 12, 40),
            text("", 16, 12, 40),
            text(aes, 15, 12, 40),
            text(aes, 17, 12, 40),
            text(aes, 16, 11, 40),
            text(aes, 16, 13, 40),
            text(aes, 16, 12, 15),
            text(aes, 16, 12, 40) + "}",
            text(aes, 16, 12, 40).replace("\"iv\"", "\"vi\""),
            text(aes, 16, 12, 40).replace("==", ""),
            "{".repeat(100_000),
            "{\"other\":".repeat(100_000),
        ] {
            assert_eq!(claim(current.as_bytes()), Claim::Any);
        }
    }

    #[test]
    fn base64_is_read_as_go_reads_it() {
        for (text, bytes) in [
            ("", &b""[..]),
            ("aGVsbG8=", b"hello"),
            ("aGVsbG9=", b"hello"),
            ("aGk=", b"hi"),
            ("aGl=", b"hi"),
            ("aA==", b"h"),
            ("aP==", b"h"),
            ("aG\r\nl=\n", b"hi"),
            ("aP=\n=", b"h"),
        ] {
            assert_eq!(base64(text).as_deref(), Some(bytes), "{text:?}");
        }
        for bad in
            ["=", "==", "====", "a===", "aGk", "aGk==", "aG=k", "aG k", "aGk=aGk=", "a", "-_8="]
        {
            assert_eq!(base64(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_claim_admits_its_own_cipher_only() {
        for cipher in Cipher::ALL.iter().copied() {
            assert!(Claim::Any.admits(cipher));
            assert!(!Claim::None.admits(cipher));
            assert!(Claim::Cipher(cipher).admits(cipher));
        }
        #[cfg(not(feature = "fips"))]
        {
            assert!(!Claim::Cipher(Cipher::Aes256).admits(Cipher::ChaCha20));
            assert!(!Claim::Cipher(Cipher::ChaCha20).admits(Cipher::Aes256));
        }
    }
}
