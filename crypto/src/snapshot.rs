//! Secrets at rest in one file, which only the holder of a key can read or change.
//!
//! ```text
//! root    = HKDF-SHA-256(salt = LABEL, the key as the operator gave it, info = "root")
//! key ID  = HKDF-SHA-256(salt = LABEL, the key as the operator gave it, info = "id"), 8 bytes
//! key     = HKDF-SHA-256(salt = 32 random bytes, root, info = LABEL)     one for each file
//! head    = MAGIC ‖ key ID ‖ salt
//! file    = head ‖ nonce ‖ AES-256-GCM(key, nonce, plaintext, head)
//! ```
//!
//! Each file has a key of its own, so that the number of files under one key has no bound. The key ID
//! tells nothing of the key; it tells a file of another key from a damaged one.

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Salt};
use zeroize::Zeroizing;

use crate::ciphertext::TAG_LEN;
use crate::{Secret, random};

/// The first bytes of a file. The digit is the version of its format.
const MAGIC: &[u8; 8] = b"KESSNAP1";

/// What the keys are derived for.
const LABEL: &[u8] = b"kes snapshot v1";

const ID_LEN: usize = 8;
const SALT_LEN: usize = 32;
const HEAD_LEN: usize = MAGIC.len() + ID_LEN + SALT_LEN;

/// How much longer a file is than its plaintext.
pub const OVERHEAD: usize = HEAD_LEN + NONCE_LEN + TAG_LEN;

/// The fewest bytes of a key.
const MIN: usize = 32;

/// The most bytes of a key, so that a wrong file is not taken for one.
pub const MAX_KEY: usize = 4096;

/// The key of files.
pub struct SnapshotKey {
    root: Secret,
    id: [u8; ID_LEN],
}

/// Why bytes are no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKey {
    /// Too short.
    #[error(
        "it has {0} bytes, and a key has at least {MIN}; make one with `openssl rand -base64 48`"
    )]
    Short(usize),
    /// Too long.
    #[error("it has more than {MAX_KEY} bytes; is it another file?")]
    Long,
}

/// Why a file cannot be opened. It says nothing of what is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotOpened {
    /// It does not begin as files of this version do.
    #[error("it is no snapshot of this version of kes")]
    Format,
    /// Another key has sealed it.
    #[error("it is sealed with another key")]
    OtherKey,
    /// It is not what the key has sealed.
    #[error("it is damaged, or somebody has changed it")]
    Damaged,
}

/// The length of an output of HKDF.
struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

impl SnapshotKey {
    /// From what the operator gave: at least 32 bytes, at most 4,096. A line end after them does not
    /// count.
    ///
    /// # Errors
    /// [`InvalidKey`] for another length.
    #[expect(clippy::expect_used, reason = "a secret has 32 bytes")]
    pub fn of_bytes(bytes: &[u8]) -> Result<Self, InvalidKey> {
        let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
        let bytes = bytes.strip_suffix(b"\r").unwrap_or(bytes);
        if bytes.len() < MIN {
            return Err(InvalidKey::Short(bytes.len()));
        }
        if bytes.len() > MAX_KEY {
            return Err(InvalidKey::Long);
        }
        let mut id = [0; ID_LEN];
        derive(LABEL, bytes, b"id", &mut id);
        let mut root = Zeroizing::new([0; Secret::LEN]);
        derive(LABEL, bytes, b"root", &mut *root);
        Ok(Self { root: Secret::from_slice(&*root).expect("32 bytes"), id })
    }

    /// Whether it is the same key as another one.
    pub fn is(&self, other: &Self) -> bool {
        self.id == other.id
    }

    /// Seals a plaintext, which is overwritten by its ciphertext. Returns the file.
    #[expect(clippy::expect_used, reason = "a key of 32 bytes, and less than 64 GiB of plaintext")]
    pub fn seal(&self, mut plaintext: Zeroizing<Vec<u8>>) -> Vec<u8> {
        let mut head = Vec::with_capacity(HEAD_LEN);
        head.extend_from_slice(MAGIC);
        head.extend_from_slice(&self.id);
        let mut salt = [0; SALT_LEN];
        random::fill(&mut salt);
        head.extend_from_slice(&salt);
        let key = self.file_key(&salt);
        let sealed = key.seal_in_place_separate_tag(Aad::from(&head), &mut plaintext);
        let (nonce, tag) = sealed.expect("a message of a size that AES-GCM takes");
        [head.as_slice(), nonce.as_ref(), plaintext.as_slice(), tag.as_ref()].concat()
    }

    /// Opens a file.
    ///
    /// # Errors
    /// [`NotOpened`] if it is not a file that this key has sealed.
    pub fn open(&self, file: Vec<u8>) -> Result<Zeroizing<Vec<u8>>, NotOpened> {
        let mut file = Zeroizing::new(file);
        if !file.starts_with(MAGIC) {
            return Err(NotOpened::Format);
        }
        let (head, rest) = file.split_at_mut_checked(HEAD_LEN).ok_or(NotOpened::Damaged)?;
        let (id, salt) = head.split_at(HEAD_LEN - SALT_LEN);
        if !id.ends_with(&self.id) {
            return Err(NotOpened::OtherKey);
        }
        let key = self.file_key(salt);
        let (nonce, body) = rest.split_at_mut_checked(NONCE_LEN).ok_or(NotOpened::Damaged)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| NotOpened::Damaged)?;
        let opened = key.open_in_place(nonce, Aad::from(&*head), body);
        Ok(Zeroizing::new(opened.map_err(|_| NotOpened::Damaged)?.to_vec()))
    }

    #[expect(clippy::expect_used, reason = "a key of AES-256 has 32 bytes")]
    fn file_key(&self, salt: &[u8]) -> RandomizedNonceKey {
        let mut key = Zeroizing::new([0; Secret::LEN]);
        derive(salt, self.root.expose(), LABEL, &mut *key);
        RandomizedNonceKey::new(&AES_256_GCM, &*key).expect("32 bytes")
    }
}

#[expect(clippy::expect_used, reason = "HKDF gives up to 8,160 bytes")]
fn derive(salt: &[u8], from: &[u8], purpose: &[u8], into: &mut [u8]) {
    let extracted = Salt::new(HKDF_SHA256, salt).extract(from);
    let purpose = [purpose];
    let derived = extracted.expand(&purpose, Length(into.len())).expect("a few bytes");
    derived.fill(into).expect("as many as were asked for");
}

/// Shows nothing.
impl std::fmt::Debug for SnapshotKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SnapshotKey")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> SnapshotKey {
        SnapshotKey::of_bytes(&[byte; 32]).unwrap()
    }

    fn plain(bytes: &[u8]) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(bytes.to_vec())
    }

    #[test]
    fn what_was_sealed_is_opened_with_the_same_key_alone() {
        for text in [&b"a secret of some length"[..], b"", &[7; 100_000]] {
            let file = key(1).seal(plain(text));
            assert_eq!(file.len(), text.len() + OVERHEAD);
            if text.len() > 16 {
                assert!(!file.windows(16).any(|part| part == &text[..16]));
            }
            assert_eq!(**key(1).open(file.clone()).unwrap(), *text);
            assert_eq!(key(2).open(file).err(), Some(NotOpened::OtherKey));
        }
        // The same text never looks the same.
        assert_ne!(key(1).seal(plain(b"text"))[16..], key(1).seal(plain(b"text"))[16..]);
    }

    #[test]
    fn a_file_with_any_bit_changed_or_any_byte_cut_off_is_refused() {
        let file = key(1).seal(plain(b"some secrets"));
        for at in 0..file.len() {
            for bit in 0..8 {
                let mut changed = file.clone();
                changed[at] ^= 1 << bit;
                let refused = key(1).open(changed).err().unwrap();
                let expected = match at {
                    0..8 => NotOpened::Format,
                    8..16 => NotOpened::OtherKey,
                    _ => NotOpened::Damaged,
                };
                assert_eq!(refused, expected, "{at}");
            }
        }
        for len in 0..file.len() {
            assert!(key(1).open(file[..len].to_vec()).is_err(), "{len}");
        }
        assert!(key(1).open([&file[..], b"x"].concat()).is_err());
    }

    #[test]
    fn a_key_has_at_least_32_bytes_and_its_line_end_does_not_count() {
        assert_eq!(SnapshotKey::of_bytes(&[7; 31]).unwrap_err(), InvalidKey::Short(31));
        assert_eq!(SnapshotKey::of_bytes(b"").unwrap_err(), InvalidKey::Short(0));
        assert_eq!(SnapshotKey::of_bytes(&[7; 4097]).unwrap_err(), InvalidKey::Long);
        let file = key(7).seal(plain(b"text"));
        for end in ["\n", "\r\n"] {
            let same = SnapshotKey::of_bytes(&[&[7; 32], end.as_bytes()].concat()).unwrap();
            assert!(same.is(&key(7)) && same.open(file.clone()).is_ok());
        }
        assert!(!key(8).is(&key(7)));
        assert_eq!(format!("{:?}", key(7)), "SnapshotKey");
    }

    /// A file that this version has written is read by all later ones.
    #[test]
    fn what_is_derived_stays_the_same() {
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let key = key(7);
        assert_eq!(hex(&key.id).len(), 16);
        let mut of_file = [0; 32];
        derive(&[9; SALT_LEN], key.root.expose(), LABEL, &mut of_file);
        assert_eq!(format!("{} {}", hex(&key.id), hex(&of_file)), RECORDED);
    }

    const RECORDED: &str =
        "4526a516789f6d4b fade0bc238290f4d0ec76e8313225ed218995a3fdb474d4ca4301ca4f4cd773e";
}
