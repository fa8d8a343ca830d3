use aws_lc_rs::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Salt};
use zeroize::Zeroizing;

use super::Error;

/// The bytes that ChaCha20-Poly1305 adds.
pub(super) const TAG: usize = 16;

/// A key that was derived, or one of X25519.
pub(super) type Key = Zeroizing<[u8; 32]>;

/// The key of a file.
pub(super) type FileKey = Zeroizing<[u8; 16]>;

/// The length of a derived key, for HKDF.
struct Len;

impl KeyType for Len {
    fn len(&self) -> usize {
        32
    }
}

/// HKDF-SHA-256.
pub(super) fn derive(salt: &[u8], secret: &[u8], label: &str) -> Result<Key, Error> {
    let mut key = Zeroizing::new([0; 32]);
    let secret = Salt::new(HKDF_SHA256, salt).extract(secret);
    let info = [label.as_bytes()];
    let filled = secret.expand(&info, Len).and_then(|derived| derived.fill(key.as_mut_slice()));
    filled.map(|()| key).map_err(|_| Error::Library)
}

/// The key for ChaCha20-Poly1305.
pub(super) fn cipher(key: &Key) -> Result<LessSafeKey, Error> {
    let key = UnboundKey::new(&CHACHA20_POLY1305, key.as_slice()).map_err(|_| Error::Library)?;
    Ok(LessSafeKey::new(key))
}

/// Encrypts in place and appends the tag.
pub(super) fn seal(
    key: &LessSafeKey,
    nonce: [u8; NONCE_LEN],
    text: &mut Vec<u8>,
) -> Result<(), Error> {
    let nonce = Nonce::assume_unique_for_key(nonce);
    key.seal_in_place_append_tag(nonce, Aad::empty(), text).map_err(|_| Error::Library)
}

/// Decrypts in place; the length of the plaintext. `None` if it is not authentic.
pub(super) fn open(key: &LessSafeKey, nonce: [u8; NONCE_LEN], text: &mut [u8]) -> Option<usize> {
    let nonce = Nonce::assume_unique_for_key(nonce);
    key.open_in_place(nonce, Aad::empty(), text).ok().map(|opened| opened.len())
}
