//! The envelope of a FIPS build, which leaves the choice of the nonce to its module, against second
//! implementations outside of the module. What other builds sealed is in `vectors.rs`.

use std::collections::HashSet;

use aes_gcm::Aes256Gcm;
use aes_gcm::aead::{Aead as _, Payload};
use hmac::{Hmac, KeyInit as _, Mac as _};
use kes_crypto::{Cipher, OVERHEAD};
use proptest::collection::vec;
use proptest::prelude::*;
use sha2::Sha256;

use crate::{key, open};

/// The key of one message, and its nonce.
fn message(secret: &[u8; 32], random: &[u8]) -> (Aes256Gcm, [u8; 12]) {
    let (iv, nonce) = random.split_at(16);
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).unwrap();
    mac.update(iv);
    (Aes256Gcm::new(&mac.finalize().into_bytes()), nonce.try_into().unwrap())
}

proptest! {
    #[test]
    fn the_other_opens_what_the_module_seals(
        secret in any::<[u8; 32]>(),
        plaintext in prop_oneof![vec(any::<u8>(), 0..=260), vec(any::<u8>(), 4000..4200)],
        context in vec(any::<u8>(), 0..100),
    ) {
        let ciphertext = key(Cipher::Aes256, secret).seal(&plaintext, &context);
        prop_assert_eq!(ciphertext.len(), plaintext.len() + OVERHEAD);
        let (sealed, random) = ciphertext.split_at(ciphertext.len() - 28);
        let (aead, nonce) = message(&secret, random);
        let payload = Payload { msg: sealed, aad: &context };
        prop_assert_eq!(aead.decrypt(&nonce.into(), payload).ok(), Some(plaintext));
    }

    #[test]
    fn the_module_opens_what_the_other_seals_unless_a_bit_changed(
        secret in any::<[u8; 32]>(),
        random in any::<[u8; 28]>(),
        plaintext in vec(any::<u8>(), 0..=260),
        context in vec(any::<u8>(), 0..100),
        at in any::<prop::sample::Index>(),
        bit in 0..8,
    ) {
        let (aead, nonce) = message(&secret, &random);
        let payload = Payload { msg: &plaintext, aad: &context };
        let mut ciphertext = aead.encrypt(&nonce.into(), payload).unwrap();
        ciphertext.extend(random);
        let key = key(Cipher::Aes256, secret);
        prop_assert_eq!(open(&key, &ciphertext, &context), Some(plaintext));
        let at = at.index(ciphertext.len());
        ciphertext[at] ^= 1_u8 << bit;
        prop_assert_eq!(open(&key, &ciphertext, &context), None);
    }
}

/// The iv is of the module's generator, and the nonce is chosen by its AES-GCM.
#[test]
fn iv_and_nonce_of_each_ciphertext_are_fresh() {
    let key = key(Cipher::Aes256, [2; 32]);
    let (mut ivs, mut nonces) = (HashSet::new(), HashSet::new());
    for at in 0..1000 {
        let ciphertext =
            if at % 2 == 0 { key.seal(b"plaintext", b"") } else { key.data_key(b"").1 };
        let (_, random) = ciphertext.split_at(ciphertext.len() - 28);
        let (iv, nonce) = random.split_at(16);
        assert!(ivs.insert(iv.to_vec()) && nonces.insert(nonce.to_vec()));
    }
}
