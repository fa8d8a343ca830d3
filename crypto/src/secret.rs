//! Secret keys of 32 bytes.

use zeroize::ZeroizeOnDrop;

use crate::{random, wipe};

/// A secret key of 32 bytes, wiped when dropped.
///
/// It has no `Debug`, `Clone`, `Serialize` or `PartialEq`, so it cannot be printed, copied,
/// serialized or compared in variable time by accident. Only [`Secret::expose`] gives access to the
/// bytes.
///
/// The bytes are on the heap: a move of the `Secret` leaves no copy of them behind.
pub struct Secret(Box<[u8; Self::LEN]>);

impl Secret {
    /// Length in bytes, of every secret of both ciphers and of HMAC.
    pub const LEN: usize = 32;

    /// A new secret from the system's generator.
    #[must_use]
    pub fn generate() -> Self {
        let mut secret = Self::zero();
        random::fill(secret.0.as_mut_slice());
        secret
    }

    /// The secret with these bytes; `None` unless they are exactly [`Secret::LEN`].
    ///
    /// The caller keeps its copy, and has to wipe it.
    #[must_use]
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        if bytes.len() != Self::LEN {
            return None;
        }
        let mut secret = Self::zero();
        secret.0.copy_from_slice(bytes);
        Some(secret)
    }

    /// The bytes themselves. Do not print, log, compare with `==` or copy without wiping.
    #[must_use]
    pub fn expose(&self) -> &[u8; Self::LEN] {
        &self.0
    }

    // Filled in place, so that the bytes are never on the stack.
    fn zero() -> Self {
        Self(Box::new([0; Self::LEN]))
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        wipe::bytes(self.0.as_mut_slice());
    }
}

impl ZeroizeOnDrop for Secret {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_made_of_exactly_32_bytes() {
        for len in (0..=100).filter(|len| *len != 32) {
            assert!(Secret::from_slice(&vec![7; len]).is_none(), "{len} bytes");
        }
        let bytes: Vec<u8> = (0..32).collect();
        let secret = Secret::from_slice(&bytes).unwrap();
        assert!(secret.expose()[..] == bytes);
    }

    #[test]
    fn is_new_every_time() {
        assert!(Secret::generate().expose() != Secret::generate().expose());
        assert!(Secret::generate().expose() != &[0; 32]);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn is_wiped_when_it_is_dropped() {
        use crate::wipe::tests::{PATTERN, assert_no_pattern};

        let secret = Secret::from_slice(&PATTERN).unwrap();
        let at = secret.expose().as_ptr().addr();
        drop(secret);
        assert_no_pattern(at, Secret::LEN);
    }
}
