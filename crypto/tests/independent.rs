//! The envelope against second implementations of all that it is made of: the plain ciphers of
//! RustCrypto, HMAC of AWS-LC, and HChaCha20 written out here from the draft and itself checked
//! against AWS-LC.

use aes_gcm::aead::{Aead, Payload};
use aes_gcm::{Aes256Gcm, KeyInit as _};
use aws_lc_rs::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::hmac;
use chacha20poly1305::ChaCha20Poly1305;
use kes_crypto::Cipher;
use proptest::collection::vec;
use proptest::prelude::*;

use crate::{key, open};

struct Other(Cipher);

impl Other {
    fn seal(&self, secret: &[u8; 32], random: &[u8; 28], context: &[u8], plain: &[u8]) -> Vec<u8> {
        let (iv, nonce) = split(random);
        let payload = Payload { msg: plain, aad: context };
        let mut out = match self.0 {
            Cipher::Aes256 => aes(secret, &iv).encrypt(&nonce.into(), payload),
            Cipher::ChaCha20 => chacha(secret, &iv).encrypt(&nonce.into(), payload),
        }
        .unwrap();
        out.extend(random);
        out
    }

    fn open(&self, secret: &[u8; 32], ciphertext: &[u8], context: &[u8]) -> Option<Vec<u8>> {
        let (sealed, random) = ciphertext.split_last_chunk().unwrap();
        let (iv, nonce) = split(random);
        let payload = Payload { msg: sealed, aad: context };
        match self.0 {
            Cipher::Aes256 => aes(secret, &iv).decrypt(&nonce.into(), payload),
            Cipher::ChaCha20 => chacha(secret, &iv).decrypt(&nonce.into(), payload),
        }
        .ok()
    }
}

fn split(random: &[u8; 28]) -> ([u8; 16], [u8; 12]) {
    let (iv, nonce) = random.split_at(16);
    (iv.try_into().unwrap(), nonce.try_into().unwrap())
}

fn aes(secret: &[u8; 32], iv: &[u8; 16]) -> Aes256Gcm {
    Aes256Gcm::new(&hmac_sha256(secret, iv).into())
}

fn chacha(secret: &[u8; 32], iv: &[u8; 16]) -> ChaCha20Poly1305 {
    ChaCha20Poly1305::new(&hchacha20(secret, iv).into())
}

fn hmac_sha256(secret: &[u8; 32], iv: &[u8; 16]) -> [u8; 32] {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), iv);
    tag.as_ref().try_into().unwrap()
}

/// draft-irtf-cfrg-xchacha-03, section 2.2.
fn hchacha20(secret: &[u8; 32], iv: &[u8; 16]) -> [u8; 32] {
    fn quarter(s: &mut [u32; 16], a: usize, b: usize, c: usize, d: usize) {
        for (x, y, z, turn) in [(a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)] {
            s[x] = s[x].wrapping_add(s[y]);
            s[z] = (s[z] ^ s[x]).rotate_left(turn);
        }
    }

    let input = [&b"expand 32-byte k"[..], secret, iv].concat();
    let mut s = [0; 16];
    for (word, bytes) in s.iter_mut().zip(input.chunks(4)) {
        *word = u32::from_le_bytes(bytes.try_into().unwrap());
    }
    for _ in 0..10 {
        for column in 0..4 {
            quarter(&mut s, column, 4 + column, 8 + column, 12 + column);
        }
        for diagonal in 0..4 {
            let turned = |row: usize| 4 * row + (diagonal + row) % 4;
            quarter(&mut s, diagonal, turned(1), turned(2), turned(3));
        }
    }
    let words: Vec<u8> =
        s[..4].iter().chain(&s[12..]).flat_map(|word| word.to_le_bytes()).collect();
    words.try_into().unwrap()
}

/// HChaCha20 from AWS-LC: a block of ChaCha20's key stream is the same permutation with its input
/// added. The AEAD starts its key stream at counter 1, hence for an iv that starts so.
fn hchacha20_of_key_stream(secret: &[u8; 32], nonce: [u8; 12]) -> [u8; 32] {
    let aead = LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, secret).unwrap());
    let mut block = [0; 64];
    let nonce_of_aead = Nonce::assume_unique_for_key(nonce);
    let _ = aead.seal_in_place_separate_tag(nonce_of_aead, Aad::empty(), &mut block).unwrap();
    let input = [&b"expand 32-byte k"[..], secret, &1_u32.to_le_bytes(), &nonce].concat();
    let words = block.chunks(4).zip(input.chunks(4)).flat_map(|(block, input)| {
        let word = |bytes: &[u8]| u32::from_le_bytes(bytes.try_into().unwrap());
        word(block).wrapping_sub(word(input)).to_le_bytes()
    });
    let words: Vec<u8> = words.collect();
    [&words[..16], &words[48..]].concat().try_into().unwrap()
}

fn cipher() -> impl Strategy<Value = Cipher> {
    prop_oneof![Just(Cipher::Aes256), Just(Cipher::ChaCha20)]
}

// Around the sizes at which the implementations change their way: blocks of 16 and 64 bytes,
// and several of them at once.
fn plaintext() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![vec(any::<u8>(), 0..=260), vec(any::<u8>(), 4000..4200)]
}

proptest! {
    #[test]
    fn the_other_opens_what_ours_seals(
        cipher in cipher(),
        secret in any::<[u8; 32]>(),
        plaintext in plaintext(),
        context in vec(any::<u8>(), 0..100),
    ) {
        let ciphertext = key(cipher, secret).seal(&plaintext, &context);
        let opened = Other(cipher).open(&secret, &ciphertext, &context);
        prop_assert_eq!(opened, Some(plaintext));
    }

    #[test]
    fn ours_opens_what_the_other_seals(
        cipher in cipher(),
        secret in any::<[u8; 32]>(),
        random in any::<[u8; 28]>(),
        plaintext in plaintext(),
        context in vec(any::<u8>(), 0..100),
    ) {
        let ciphertext = Other(cipher).seal(&secret, &random, &context, &plaintext);
        prop_assert_eq!(open(&key(cipher, secret), &ciphertext, &context), Some(plaintext));
    }

    #[test]
    fn the_written_out_hchacha20_agrees_with_aws_lc(
        secret in any::<[u8; 32]>(),
        nonce in any::<[u8; 12]>(),
    ) {
        let iv = [&1_u32.to_le_bytes()[..], &nonce].concat().try_into().unwrap();
        prop_assert_eq!(hchacha20(&secret, &iv), hchacha20_of_key_stream(&secret, nonce));
    }

    #[test]
    fn hmacs_agree(secret in any::<[u8; 32]>(), message in vec(any::<u8>(), 0..300)) {
        let hmac_secret = kes_crypto::Secret::from_slice(&secret);
        let key = kes_crypto::Key::from_parts(
            Cipher::Aes256,
            kes_crypto::Secret::generate(),
            hmac_secret,
        );
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &secret), &message);
        prop_assert_eq!(&key.hmac(&message).unwrap()[..], tag.as_ref());
    }
}
