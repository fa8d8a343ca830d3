//! `seal` and `open`, the hot path. The formulas are in the [crate's head](crate).
//!
//! # Every failure does the same work
//!
//! Parsing may take a different time for each format: length, format and named cipher are the
//! caller's own bytes and tell it nothing new. Work that depends on the key must not reveal more
//! than "not authentic". So every value, even one that is too short or that names the other cipher,
//! goes through one key derivation and one pass of the key's own AEAD, and the result combines both
//! checks at the end. The AEAD decrypts while it authenticates, compares the tags in constant time
//! and overwrites the plaintext if they differ. So a failure does the work of a success, whatever
//! its reason.

#[cfg(not(feature = "fips"))]
use chacha20::{R20, hchacha};
use zeroize::{ZeroizeOnDrop, Zeroizing};

use crate::aead::{self, DRAWN_LEN, MessageKey};
use crate::ciphertext::{Ciphertext, IV_LEN, NONCE_LEN, TAG_LEN};
use crate::mac::Mac;
use crate::{Cipher, Secret, random, stack, wipe};

/// How many bytes longer than its plaintext a ciphertext is: tag, iv and nonce.
pub const OVERHEAD: usize = TAG_LEN + IV_LEN + NONCE_LEN;

/// Fresh random bytes for each ciphertext: iv, then what the AEAD needs.
const RANDOM_LEN: usize = IV_LEN + DRAWN_LEN;

/// A ciphertext that this key did not seal, or not for this context, or not a ciphertext at all.
///
/// There is one error for every reason, because the reason would help a forger.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("ciphertext is not authentic")]
pub struct NotAuthentic;

/// A decrypted message, wiped when dropped.
///
/// It has no `Debug`, `Clone`, `Serialize` or `PartialEq`; see [`Secret`].
pub struct Plaintext(Vec<u8>);

impl Plaintext {
    /// The bytes themselves. Do not print, log, compare with `==` or copy without wiping.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Plaintext {
    fn drop(&mut self) {
        wipe::bytes(&mut self.0);
    }
}

impl ZeroizeOnDrop for Plaintext {}

/// An encryption secret, ready to seal and to open.
pub(crate) struct Envelope {
    secret: Secret,
    kdf: Kdf,
}

/// How the key of one message is derived, and with it the cipher.
enum Kdf {
    HmacSha256(Mac),
    #[cfg(not(feature = "fips"))]
    HChaCha20,
}

impl Envelope {
    pub(crate) fn new(cipher: Cipher, secret: Secret) -> Self {
        let kdf = match cipher {
            Cipher::Aes256 => Kdf::HmacSha256(Mac::new(&secret)),
            #[cfg(not(feature = "fips"))]
            Cipher::ChaCha20 => Kdf::HChaCha20,
        };
        Self { secret, kdf }
    }

    pub(crate) fn cipher(&self) -> Cipher {
        match self.kdf {
            Kdf::HmacSha256(_) => Cipher::Aes256,
            #[cfg(not(feature = "fips"))]
            Kdf::HChaCha20 => Cipher::ChaCha20,
        }
    }

    pub(crate) fn secret(&self) -> &Secret {
        &self.secret
    }

    /// An HMAC of a constant for each cipher. None of them is as long as an `iv`, so that none of
    /// these HMACs is the key of a message.
    #[expect(clippy::expect_used, reason = "an HMAC has 32 bytes")]
    pub(crate) fn fingerprint(&self) -> [u8; 16] {
        let mut tag = Zeroizing::new([0; 32]);
        stack::wiped(|| match &self.kdf {
            Kdf::HmacSha256(mac) => mac.tag_into(b"kes key fingerprint v1 AES256 256", &mut tag),
            #[cfg(not(feature = "fips"))]
            Kdf::HChaCha20 => {
                Mac::new(&self.secret).tag_into(b"kes key fingerprint v1 ChaCha20 256", &mut tag)
            }
        });
        *tag.first_chunk().expect("an HMAC has 32 bytes")
    }

    pub(crate) fn seal_in_place(&self, body: &mut Vec<u8>, context: &[u8]) {
        let mut random = [0; RANDOM_LEN];
        random::fill(&mut random);
        self.seal_with(&random, body, context);
    }

    /// A fresh secret and its ciphertext. One call of the system's generator gives the random bytes
    /// for both, because a system call is a considerable part of the cost of a small message.
    #[expect(clippy::expect_used, reason = "the lengths are constants that add up")]
    pub(crate) fn seal_fresh(&self, context: &[u8]) -> (Secret, Vec<u8>) {
        let mut random = Zeroizing::new([0; Secret::LEN + RANDOM_LEN]);
        random::fill(random.as_mut_slice());
        let (plaintext, random) = random.split_first_chunk().expect("the lengths add up");
        let random = random.try_into().expect("the lengths add up");
        let plaintext: &[u8; Secret::LEN] = plaintext;
        let mut body = Vec::with_capacity(Secret::LEN + OVERHEAD);
        body.extend_from_slice(plaintext);
        self.seal_with(random, &mut body, context);
        (Secret::from_slice(plaintext).expect("a secret has this length"), body)
    }

    /// `random` must be fresh: bytes that were used before reveal both plaintexts.
    #[expect(clippy::expect_used, reason = "the lengths are constants that add up")]
    fn seal_with(&self, random: &[u8; RANDOM_LEN], body: &mut Vec<u8>, context: &[u8]) {
        let (iv, drawn) = random.split_first_chunk().expect("the lengths add up");
        let drawn = drawn.try_into().expect("the lengths add up");

        let len = body.len();
        make_room(body);
        body.resize(len + OVERHEAD, 0);
        let (body, rest) = body.split_at_mut(len);
        let (tag, rest) = rest.split_first_chunk_mut().expect("the overhead");
        let nonce = stack::wiped_after(self.cipher(), || {
            aead::seal(self.cipher(), &self.message_key(iv), drawn, context, body, tag)
        });
        let (iv_place, nonce_place) = rest.split_at_mut(IV_LEN);
        iv_place.copy_from_slice(iv);
        nonce_place.copy_from_slice(&nonce);
    }

    pub(crate) fn open(&self, bytes: &[u8], context: &[u8]) -> Result<Plaintext, NotAuthentic> {
        let Ciphertext { claim, iv, nonce, body, tag } = Ciphertext::parse(bytes);
        let mut plaintext = Plaintext(vec![0; body.len()]);
        let authentic = stack::wiped_after(self.cipher(), || {
            let key = self.message_key(&iv);
            aead::open(self.cipher(), &key, &nonce, context, &body, &tag, &mut plaintext.0)
        });
        if authentic & claim.admits(self.cipher()) { Ok(plaintext) } else { Err(NotAuthentic) }
    }

    fn message_key(&self, iv: &[u8; IV_LEN]) -> MessageKey {
        let mut key = MessageKey([0; Secret::LEN]);
        match &self.kdf {
            Kdf::HmacSha256(mac) => mac.tag_into(iv, &mut key.0),
            #[cfg(not(feature = "fips"))]
            Kdf::HChaCha20 => {
                let mut derived = hchacha::<R20>(self.secret.expose().into(), iv.into());
                key.0.copy_from_slice(&derived);
                wipe::bytes(&mut derived);
            }
        }
        key
    }
}

/// Makes room for the overhead. A vector that grows by itself leaves an unwiped copy behind.
fn make_room(plaintext: &mut Vec<u8>) {
    if plaintext.capacity() - plaintext.len() < OVERHEAD {
        let mut roomy = Vec::with_capacity(plaintext.len() + OVERHEAD);
        roomy.extend_from_slice(plaintext);
        wipe::bytes(plaintext);
        *plaintext = roomy;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unhex(text: &str) -> Vec<u8> {
        let byte = |at| u8::from_str_radix(text.get(at..at + 2).unwrap(), 16).unwrap();
        (0..text.len()).step_by(2).map(byte).collect()
    }

    fn array<const N: usize>(text: &str) -> [u8; N] {
        unhex(text).try_into().unwrap()
    }

    fn envelope(cipher: Cipher, secret: &[u8]) -> Envelope {
        Envelope::new(cipher, Secret::from_slice(secret).unwrap())
    }

    /// draft-irtf-cfrg-xchacha-03, section 2.2.1.
    #[test]
    #[cfg(not(feature = "fips"))]
    fn message_key_of_chacha20_is_hchacha20() {
        let secret: Vec<u8> = (0..32).collect();
        let key = envelope(Cipher::ChaCha20, &secret)
            .message_key(&array("000000090000004a0000000031415927"));
        let expected = "82413b4227b27bfed30e42508a877d73a0f9e4d58a74a853c12ec41326d3ecdc";
        assert_eq!(key.0, array(expected));
    }

    /// By Python's hmac module, for the secret and iv of the test above.
    #[test]
    fn message_key_of_aes_is_hmac_sha256() {
        let secret: Vec<u8> = (0..32).collect();
        let key = envelope(Cipher::Aes256, &secret)
            .message_key(&array("000000090000004a0000000031415927"));
        let expected = "3cdd8c71c524193cecf1661d94df3915fa9e3c7ce0ad84bf15b1d0efd7b4be69";
        assert_eq!(key.0, array(expected));
    }

    /// At the sizes at which AWS-LC changes its way, and twice: what is made at the first call is
    /// made on a deeper stack.
    #[test]
    #[cfg(target_os = "linux")]
    fn what_is_wiped_of_the_stack_is_all_that_was_used() {
        for cipher in Cipher::ALL.iter().copied() {
            let wiped = match cipher {
                Cipher::Aes256 => stack::DEPTH_OF_AES,
                #[cfg(not(feature = "fips"))]
                Cipher::ChaCha20 => stack::DEPTH,
            };
            let envelope = envelope(cipher, &[8; 32]);
            let (iv, drawn) = ([1; IV_LEN], [2; DRAWN_LEN]);
            let (mut nonce, mut tag) = ([0; NONCE_LEN], [0; TAG_LEN]);
            for size in [0, 1, 32, 100, 200, 400, 1000, 10_000, 1 << 20].repeat(2) {
                let (mut sealed, mut out) = (vec![3; size], vec![0; size]);
                let seal = stack::tests::depth(|| {
                    let key = envelope.message_key(&iv);
                    nonce = aead::seal(cipher, &key, &drawn, b"context", &mut sealed, &mut tag);
                });
                let mut open = |context| {
                    stack::tests::depth(|| {
                        let key = envelope.message_key(&iv);
                        let _ = aead::open(cipher, &key, &nonce, context, &sealed, &tag, &mut out);
                    })
                };
                for depth in [seal, open(b"context"), open(b"another")] {
                    assert!(depth <= wiped, "{depth} for {size} bytes of {cipher:?}");
                }
                assert!(out.iter().all(|byte| *byte == 0));
            }
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_plaintext_that_moves_to_get_room_leaves_no_copy() {
        use crate::wipe::tests::{PATTERN, assert_no_pattern};

        let plaintext = PATTERN.repeat(4);
        let len = plaintext.len();
        for spare in [0, 1, OVERHEAD - 1, OVERHEAD] {
            let mut body = Vec::with_capacity(len + spare);
            body.extend_from_slice(&plaintext);
            assert_eq!(body.capacity(), len + spare);
            let old = body.as_ptr().addr();
            make_room(&mut body);
            // Room for the overhead, and no more.
            assert_eq!(body.capacity(), len + OVERHEAD, "{spare} spare bytes");
            assert_eq!(body, plaintext);
            let has_moved = body.as_ptr().addr() != old;
            assert_eq!(has_moved, spare < OVERHEAD, "{spare} spare bytes");
            if has_moved {
                assert_no_pattern(old, len);
            }
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_plaintext_is_wiped_when_it_is_dropped() {
        use crate::wipe::tests::{PATTERN, assert_no_pattern};

        let plaintext = Plaintext(PATTERN.to_vec());
        let at = plaintext.expose().as_ptr().addr();
        drop(plaintext);
        assert_no_pattern(at, PATTERN.len());
    }
}
