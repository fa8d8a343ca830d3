use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use aws_lc_rs::hkdf::{HKDF_SHA256, Salt};
use aws_lc_rs::hmac as mac;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use zeroize::Zeroizing;

/// The fewest bytes of a key.
const MIN: usize = 32;

/// The most bytes of a key, so that a wrong file is not taken for one.
const MAX: usize = 4096;

/// The key of a chain. All that it is used for has a key of its own, derived by HKDF-SHA-256
/// (RFC 5869).
pub struct AuditKey {
    chain: mac::Key,
    names: mac::Key,
    signer: Ed25519KeyPair,
    id: String,
}

/// Why bytes are no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read.
    #[error("{0}")]
    Read(#[from] std::io::Error),
    /// Too short.
    #[error(
        "it has {0} bytes, and a key has at least {MIN}; make one with `openssl rand -base64 48`"
    )]
    Short(usize),
    /// Too long.
    #[error("it has more than {MAX} bytes; is it another file?")]
    Long,
}

impl AuditKey {
    /// From the contents of a file: at least 32 bytes, at most 4,096. A line end after them does not
    /// count.
    ///
    /// # Errors
    /// [`KeyError`] for another length.
    #[expect(clippy::expect_used, reason = "HKDF gives up to 8,160 bytes, and any 32 are a seed")]
    pub fn of_bytes(bytes: &[u8]) -> Result<Self, KeyError> {
        let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
        let bytes = bytes.strip_suffix(b"\r").unwrap_or(bytes);
        if bytes.len() < MIN {
            return Err(KeyError::Short(bytes.len()));
        }
        if bytes.len() > MAX {
            return Err(KeyError::Long);
        }
        let extracted = Salt::new(HKDF_SHA256, b"kes audit v1").extract(bytes);
        let derive = |purpose: &[u8]| {
            let mut key = Zeroizing::new([0; 32]);
            let info = [purpose];
            let derived = extracted.expand(&info, HKDF_SHA256).expect("32 bytes");
            derived.fill(&mut *key).expect("32 bytes");
            key
        };
        let mac_key = |purpose| mac::Key::new(mac::HMAC_SHA256, &*derive(purpose));
        let id = hex(derive(b"id").first_chunk::<8>().expect("8 of 32 bytes"));
        let signer = Ed25519KeyPair::from_seed_unchecked(&*derive(b"checkpoint"));
        Ok(Self {
            chain: mac_key(b"chain"),
            names: mac_key(b"context"),
            signer: signer.expect("a seed"),
            id,
        })
    }

    /// From a file.
    ///
    /// # Errors
    /// [`KeyError`] if it cannot be read or holds no key.
    pub fn of_file(path: &Path) -> Result<Self, KeyError> {
        Self::of_open_file(File::open(path)?)
    }

    /// The same of a file that is open.
    ///
    /// # Errors
    /// As [`Self::of_file`].
    pub fn of_open_file(file: File) -> Result<Self, KeyError> {
        // Allocated at full size: a buffer that grows leaves a copy behind.
        let mut bytes = Zeroizing::new(Vec::with_capacity(MAX + 4));
        let limit = u64::try_from(MAX + 3).unwrap_or(u64::MAX);
        file.take(limit).read_to_end(&mut bytes)?;
        Self::of_bytes(&bytes)
    }

    /// A name of the key: 16 hex digits, which tell nothing else about it.
    pub fn id(&self) -> &str {
        &self.id
    }

    pub(crate) const fn chain(&self) -> &mac::Key {
        &self.chain
    }

    /// What stands for a name in a record that does not tell it: 32 hex digits.
    pub fn hash_name(&self, name: &[u8]) -> String {
        let tag = mac::sign(&self.names, name);
        hex(tag.as_ref().get(..16).unwrap_or_default())
    }

    pub(crate) fn sign(&self, text: &[u8]) -> Vec<u8> {
        self.signer.sign(text).as_ref().to_vec()
    }

    /// The Ed25519 key that checks what this one has signed.
    pub(crate) fn public(&self) -> &[u8] {
        self.signer.public_key().as_ref()
    }
}

/// Shows the ID alone.
impl fmt::Debug for AuditKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AuditKey({})", self.id)
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    use fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_at_least_32_bytes_and_its_line_end_does_not_count() {
        for (bytes, told) in [
            (vec![], "it has 0 bytes, and a key has at least 32"),
            (b"0123456789012345678901234567890\n".to_vec(), "it has 31 bytes"),
            (vec![b'x'; 4097], "it has more than 4096 bytes"),
        ] {
            let error = AuditKey::of_bytes(&bytes).unwrap_err().to_string();
            assert!(error.starts_with(told), "{error}");
        }
        let key = AuditKey::of_bytes(&[7; 32]).unwrap();
        for end in ["\n", "\r\n"] {
            let same = AuditKey::of_bytes(&[&[7; 32], end.as_bytes()].concat()).unwrap();
            assert_eq!(same.id(), key.id());
        }
        assert_ne!(AuditKey::of_bytes(&[8; 32]).unwrap().id(), key.id());
        assert_eq!(format!("{key:?}"), format!("AuditKey({})", key.id()));
    }

    /// What each derived key is must never change: nobody could check older files.
    #[test]
    fn what_is_derived_stays_the_same() {
        let key = AuditKey::of_bytes(&[7; 32]).unwrap();
        assert_eq!(key.id().len(), 16);
        assert_eq!(key.hash_name(b"bucket").len(), 32);
        let told = format!("{} {} {}", key.id(), key.hash_name(b"bucket"), hex(key.public()));
        assert_eq!(
            told,
            "2e9e6e17483dabc8 d573731cdb2c4f4181ab7ff956fd2ad5 \
             fe264a0700c95fa83edb93af82c5bb4548fe1df0e6288144cc28a829331f33e2"
        );
    }
}
