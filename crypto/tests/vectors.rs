//! Keys and ciphertexts that the reference server made.

use std::collections::HashMap;

use base64_simd::STANDARD;
use kes_crypto::{Cipher, Key, Secret};
use serde::Deserialize;

use crate::open;

#[derive(Deserialize)]
struct Vectors {
    stored_keys: Vec<StoredKey>,
    ciphertexts: Vec<Sealed>,
}

#[derive(Deserialize)]
struct StoredKey {
    name: String,
    algorithm: String,
    key: String,
    hmac_key: Option<String>,
    hmac: Option<Tag>,
}

#[derive(Deserialize)]
struct Tag {
    message: String,
    tag: String,
}

#[derive(Deserialize)]
struct Sealed {
    key: String,
    form: String,
    plaintext: String,
    context: String,
    ciphertext: String,
}

/// Those of the ciphers of this build.
fn vectors() -> Vectors {
    let text = include_str!("../testdata/keys-and-ciphertexts.json");
    let mut vectors: Vectors = serde_json::from_str(text).unwrap();
    vectors.stored_keys.retain(|key| !Cipher::is_unapproved(&key.algorithm));
    let is_kept = |name: &str| vectors.stored_keys.iter().any(|key| key.name == name);
    vectors.ciphertexts.retain(|sealed| is_kept(&sealed.key));
    vectors
}

fn decode(text: &str) -> Vec<u8> {
    STANDARD.decode_to_vec(text).unwrap()
}

fn key(stored: &StoredKey) -> Key {
    let secret = |text: &str| Secret::from_slice(&decode(text)).unwrap();
    let cipher = Cipher::parse(&stored.algorithm).unwrap();
    Key::from_parts(cipher, secret(&stored.key), stored.hmac_key.as_deref().map(secret))
}

struct Case {
    form: String,
    key: Key,
    ciphertext: Vec<u8>,
    context: Vec<u8>,
    plaintext: Vec<u8>,
}

fn cases() -> Vec<Case> {
    let Vectors { stored_keys, ciphertexts } = vectors();
    let stored: HashMap<_, _> = stored_keys.iter().map(|key| (key.name.as_str(), key)).collect();
    ciphertexts
        .iter()
        .map(|sealed| Case {
            form: format!("{}, {}", sealed.key, sealed.form),
            key: key(stored[&*sealed.key]),
            ciphertext: decode(&sealed.ciphertext),
            context: decode(&sealed.context),
            plaintext: decode(&sealed.plaintext),
        })
        .collect()
}

#[test]
fn every_format_is_there() {
    let forms = vectors().ciphertexts;
    for cipher in [
        "vec-aes256",
        #[cfg(not(feature = "fips"))]
        "vec-chacha20",
    ] {
        for form in [
            "current",
            "current, first byte 0x95",
            "current, first byte 0x7b",
            "messagepack",
            "messagepack, older spelling",
            "json",
        ] {
            assert!(forms.iter().any(|v| v.key == cipher && v.form == form), "{cipher}, {form}");
        }
    }
}

#[test]
fn hmacs_are_those_of_the_reference() {
    let mut tags = 0;
    for stored in vectors().stored_keys {
        let Some(Tag { message, tag }) = &stored.hmac else {
            assert_eq!(key(&stored).hmac(b"message"), None, "{}", stored.name);
            continue;
        };
        assert_eq!(key(&stored).hmac(&decode(message)).unwrap()[..], decode(tag));
        tags += 1;
    }
    assert_eq!(tags, Cipher::ALL.len());
}

#[test]
fn ciphertexts_of_the_reference_open() {
    for Case { form, key, ciphertext, context, plaintext } in cases() {
        assert_eq!(open(&key, &ciphertext, &context), Some(plaintext), "{form}");
    }
}

#[test]
fn a_flipped_last_byte_does_not_open() {
    for Case { form, key, mut ciphertext, context, .. } in cases() {
        *ciphertext.last_mut().unwrap() ^= 0xff;
        assert_eq!(open(&key, &ciphertext, &context), None, "{form}");
    }
}

#[test]
fn a_truncated_ciphertext_does_not_open() {
    for Case { form, key, ciphertext, context, .. } in cases() {
        for len in 0..ciphertext.len() {
            assert_eq!(open(&key, &ciphertext[..len], &context), None, "{form}, {len} bytes");
            assert_eq!(open(&key, &ciphertext[len + 1..], &context), None, "{form}, from {len}");
        }
    }
}

#[test]
fn an_extended_ciphertext_does_not_open() {
    for Case { form, key, mut ciphertext, context, plaintext } in cases() {
        ciphertext.push(b' ');
        // JSON may end in white space, for the reference as well.
        let opened = form.ends_with(", json").then_some(plaintext);
        assert_eq!(open(&key, &ciphertext, &context), opened, "{form}");
        ciphertext.push(0);
        assert_eq!(open(&key, &ciphertext, &context), None, "{form}");
    }
}

#[test]
fn another_context_does_not_open() {
    for Case { form, key, ciphertext, context, .. } in cases() {
        let longer = [&context[..], b"\0"].concat();
        assert_eq!(open(&key, &ciphertext, &longer), None, "{form}");
        if let Some((_, shorter)) = context.split_last() {
            assert_eq!(open(&key, &ciphertext, shorter), None, "{form}");
        }
    }
}

#[test]
fn another_key_does_not_open() {
    for Case { form, key, ciphertext, context, .. } in cases() {
        // The same secret under the other cipher, and one bit of the secret under the same.
        let secret = *key.secret().expose();
        let mut flipped = secret;
        flipped[31] ^= 1;
        for other in Cipher::ALL.iter().filter(|other| **other != key.cipher()) {
            assert_eq!(open(&crate::key(*other, secret), &ciphertext, &context), None, "{form}");
        }
        assert_eq!(open(&crate::key(key.cipher(), flipped), &ciphertext, &context), None, "{form}");
    }
}
