//! What a ciphertext tells of itself, without a key. None of it is authentic.

use crate::Cipher;
use crate::ciphertext::{Ciphertext, Claim, key_id};

/// The form of a ciphertext (contract `crypto-and-storage.md`, Decrypting).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// The one that is written today.
    Current,
    /// Of old releases of the reference.
    MessagePack,
    /// Of the oldest releases of the reference.
    Json,
}

/// What was found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Inspected {
    /// Its form. Any bytes that are long enough and of no older form may be of the current one.
    pub format: Format,
    /// What it says that it is encrypted with; the current form does not.
    pub cipher: Option<Cipher>,
    /// What the older forms call their key: a hash, which no key store has.
    pub key_id: Option<String>,
    /// How many bytes the plaintext has.
    pub plaintext_len: usize,
}

/// Inspects a ciphertext; `None` if it is too short to be one.
#[must_use]
pub fn inspect(bytes: &[u8]) -> Option<Inspected> {
    let ciphertext = Ciphertext::parse(bytes);
    let (format, cipher) = match ciphertext.claim {
        Claim::None => return None,
        Claim::Any => (Format::Current, None),
        Claim::Cipher(cipher) if bytes.starts_with(b"{") => (Format::Json, Some(cipher)),
        Claim::Cipher(cipher) => (Format::MessagePack, Some(cipher)),
    };
    let key_id = if format == Format::Current { None } else { key_id(bytes) };
    Some(Inspected { format, cipher, key_id, plaintext_len: ciphertext.body.len() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Key;

    #[test]
    fn what_is_written_today_tells_its_length_alone() {
        let sealed = Key::generate().seal(b"hello", b"context");
        let current = Format::Current;
        let told = Inspected { format: current, cipher: None, key_id: None, plaintext_len: 5 };
        // One of 128 begins like an older form, and is none.
        assert_eq!(inspect(&sealed), Some(told));
        assert_eq!(inspect(&sealed[..43]), None);
        assert_eq!(inspect(b""), None);
    }

    #[test]
    fn the_older_forms_name_algorithm_and_key() {
        let mut packed = vec![0x95, 0xa6];
        packed.extend_from_slice(b"AES256");
        packed.extend_from_slice(&[0xa2, b'i', b'd', 0xc4, 16]);
        packed.extend_from_slice(&[1; 16]);
        packed.extend_from_slice(&[0xc4, 12]);
        packed.extend_from_slice(&[2; 12]);
        packed.extend_from_slice(&[0xc4, 20]);
        packed.extend_from_slice(&[3; 20]);
        let told = |format, plaintext_len| {
            let (cipher, key_id) = (Some(Cipher::Aes256), Some("id".to_owned()));
            Some(Inspected { format, cipher, key_id, plaintext_len })
        };
        assert_eq!(inspect(&packed), told(Format::MessagePack, 4));
        // Of 16, 12 and 17 bytes.
        let json = br#"{"aead":"AES-256-GCM-HMAC-SHA-256","id":"id","iv":"AQEBAQEBAQEBAQEBAQEBAQ==","nonce":"AgICAgICAgICAgIC","bytes":"AwMDAwMDAwMDAwMDAwMDAwM="}"#;
        assert_eq!(inspect(json), told(Format::Json, 1));
    }
}
