//! A key of the key store, in memory.

use crate::envelope::{Envelope, NotAuthentic, OVERHEAD, Plaintext};
use crate::mac::Mac;
use crate::{Cipher, Secret, stack};

/// A key: a cipher with its secret, and a secret for HMAC, which old keys lack.
///
/// Both are prepared once, when the key is made, so each operation only does the work that depends
/// on the message. Everything is wiped on drop; there is no `Debug`, `Clone` or `PartialEq`.
pub struct Key {
    envelope: Envelope,
    /// Made once: each description of the key has it.
    fingerprint: [u8; 16],
    hmac: Option<Authenticator>,
}

struct Authenticator {
    secret: Secret,
    mac: Mac,
}

impl Key {
    /// A new key with both secrets from the system's generator, for [`Cipher::preferred`].
    #[must_use]
    pub fn generate() -> Self {
        Self::import(Cipher::preferred(), Secret::generate())
    }

    /// A new key with the encryption secret of the user, and an HMAC secret from the generator.
    #[must_use]
    pub fn import(cipher: Cipher, secret: Secret) -> Self {
        Self::from_parts(cipher, secret, Some(Secret::generate()))
    }

    /// The key that was stored. The oldest keys have no HMAC secret.
    #[must_use]
    pub fn from_parts(cipher: Cipher, secret: Secret, hmac: Option<Secret>) -> Self {
        let envelope = Envelope::new(cipher, secret);
        Self {
            fingerprint: envelope.fingerprint(),
            envelope,
            hmac: hmac.map(|secret| Authenticator { mac: Mac::new(&secret), secret }),
        }
    }

    /// The cipher that this key is for.
    #[must_use]
    pub fn cipher(&self) -> Cipher {
        self.envelope.cipher()
    }

    /// The encryption secret, only for writing it to a key store.
    #[must_use]
    pub fn secret(&self) -> &Secret {
        self.envelope.secret()
    }

    /// What tells this key from others: 16 bytes of an HMAC under the encryption secret (contract
    /// `crypto-and-storage.md`, Fingerprint). It is not secret. The HMAC secret is no part of it: an
    /// import of the same key has the same fingerprint.
    #[must_use]
    pub fn fingerprint(&self) -> [u8; 16] {
        self.fingerprint
    }

    /// The HMAC secret, only for writing it to a key store; `None` for an old key without one.
    #[must_use]
    pub fn hmac_secret(&self) -> Option<&Secret> {
        self.hmac.as_ref().map(|hmac| &hmac.secret)
    }

    /// Encrypts a copy of `plaintext`; see [`Key::seal_in_place`].
    ///
    /// # Panics
    ///
    /// As [`Key::seal_in_place`].
    #[must_use]
    pub fn seal(&self, plaintext: &[u8], context: &[u8]) -> Vec<u8> {
        let mut body = Vec::with_capacity(plaintext.len() + OVERHEAD);
        body.extend_from_slice(plaintext);
        self.seal_in_place(&mut body, context);
        body
    }

    /// Encrypts `body` in place and binds it to `context`: decryption needs the same context. The
    /// body becomes the ciphertext, [`OVERHEAD`] bytes longer. If its capacity is too small, it
    /// moves, and the old memory is wiped.
    ///
    /// # Panics
    ///
    /// If the plaintext has 64 GiB or more, which one message of AES-GCM cannot hold (NIST SP
    /// 800-38D); if the system's generator fails, see [`random::fill`](crate::random::fill).
    pub fn seal_in_place(&self, body: &mut Vec<u8>, context: &[u8]) {
        self.envelope.seal_in_place(body, context);
    }

    /// Makes a data key: a secret from the system's generator, and the same sealed by
    /// [`Key::seal`].
    ///
    /// # Panics
    ///
    /// As [`Key::seal_in_place`].
    #[must_use]
    pub fn data_key(&self, context: &[u8]) -> (Secret, Vec<u8>) {
        self.envelope.seal_fresh(context)
    }

    /// Decrypts a ciphertext of [`Key::seal`], or of one of the older formats.
    ///
    /// # Errors
    ///
    /// [`NotAuthentic`] unless this key sealed exactly this ciphertext for exactly this context.
    /// Every reason gives the same error after the same keyed work.
    pub fn open(&self, ciphertext: &[u8], context: &[u8]) -> Result<Plaintext, NotAuthentic> {
        self.envelope.open(ciphertext, context)
    }

    /// HMAC-SHA256 of `message` under the key's HMAC secret; `None` if the key has none.
    #[must_use]
    pub fn hmac(&self, message: &[u8]) -> Option<[u8; 32]> {
        let hmac = self.hmac.as_ref()?;
        let mut tag = [0; 32];
        stack::wiped(|| hmac.mac.tag_into(message, &mut tag));
        Some(tag)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assert_shared<T: Send + Sync>() {}

    #[test]
    fn a_data_key_opens_to_itself_and_to_nothing_else() {
        for cipher in Cipher::ALL.iter().copied() {
            let key = Key::import(cipher, Secret::generate());
            let (first, ciphertext) = key.data_key(b"context");
            let opened = key.open(&ciphertext, b"context").unwrap();
            assert_eq!(opened.expose(), first.expose());
            assert!(key.open(&ciphertext, b"").is_err());
            let (second, other) = key.data_key(b"context");
            assert_ne!(first.expose(), second.expose());
            // Neither iv nor nonce is part of the data key or used again.
            assert_ne!(ciphertext[ciphertext.len() - 28..], other[other.len() - 28..]);
            assert_ne!(ciphertext[ciphertext.len() - 28..], first.expose()[..28]);
        }
    }

    #[test]
    fn a_ciphertext_takes_no_more_memory_than_it_has_bytes() {
        let key = Key::generate();
        let (_, of_data_key) = key.data_key(b"context");
        for ciphertext in [of_data_key, key.seal(b"", b""), key.seal(&[7; 1000], b"context")] {
            assert_eq!(ciphertext.capacity(), ciphertext.len());
        }
    }

    /// By Python's hmac module, as the contract says.
    #[test]
    fn a_fingerprint_is_that_of_the_contract() {
        let secret: Vec<u8> = (0..32).collect();
        for (cipher, fingerprint) in [
            (Cipher::Aes256, "c2e66e682022d59236df5b7f2493cd12"),
            #[cfg(not(feature = "fips"))]
            (Cipher::ChaCha20, "70f65189e3e272dddc0eddd0fd5bf449"),
        ] {
            let key = || Key::import(cipher, Secret::from_slice(&secret).unwrap());
            let hex: String =
                key().fingerprint().iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(hex, fingerprint);
            // Whatever its HMAC secret is.
            assert_eq!(key().fingerprint(), key().fingerprint());
        }
    }

    #[test]
    fn is_shared_between_threads() {
        assert_shared::<Key>();
        assert_shared::<Plaintext>();
    }

    #[test]
    fn a_new_key_has_two_different_secrets_and_the_preferred_cipher() {
        let (one, two) = (Key::generate(), Key::generate());
        assert_eq!(one.cipher(), Cipher::preferred());
        assert!(one.secret().expose() != two.secret().expose());
        assert!(one.secret().expose() != one.hmac_secret().unwrap().expose());
        assert!(one.hmac_secret().unwrap().expose() != two.hmac_secret().unwrap().expose());
    }

    #[test]
    fn an_imported_key_keeps_its_secret_and_gets_a_fresh_hmac_secret() {
        for cipher in Cipher::ALL.iter().copied() {
            let key = Key::import(cipher, Secret::from_slice(&[9; 32]).unwrap());
            let other = Key::import(cipher, Secret::from_slice(&[9; 32]).unwrap());
            assert_eq!(key.cipher(), cipher);
            assert!(key.secret().expose() == &[9; 32]);
            assert!(key.hmac(b"message") != other.hmac(b"message"));
        }
    }

    #[test]
    fn an_old_key_has_no_hmac() {
        let key = Key::from_parts(Cipher::Aes256, Secret::generate(), None);
        assert!(key.hmac_secret().is_none());
        assert_eq!(key.hmac(b"message"), None);
    }
}
