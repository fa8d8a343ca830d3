//! What a caller of the crate relies on: data of the reference server opens, foreign bytes do no
//! harm, and a second implementation of the ciphers agrees.

#![expect(clippy::unwrap_used, reason = "helpers of tests, outside of #[test]")]

#[cfg(feature = "fips")]
mod fips;

#[cfg(not(feature = "fips"))]
mod independent;

#[cfg(not(feature = "fips"))]
mod properties;

mod secrecy;

mod vectors;

use kes_crypto::{Cipher, Key, Secret};

fn key(cipher: Cipher, secret: [u8; 32]) -> Key {
    Key::from_parts(cipher, Secret::from_slice(&secret).unwrap(), None)
}

/// `None` if the ciphertext is not authentic.
fn open(key: &Key, ciphertext: &[u8], context: &[u8]) -> Option<Vec<u8>> {
    key.open(ciphertext, context).ok().map(|plaintext| plaintext.expose().to_vec())
}
