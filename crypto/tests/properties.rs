//! Properties of `seal` and `open`, and of `open` on foreign bytes.

use std::collections::HashSet;

use base64_simd::STANDARD;
use kes_crypto::{Cipher, NotAuthentic, OVERHEAD};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::{key, open};

fn cipher() -> impl Strategy<Value = Cipher> {
    prop_oneof![Just(Cipher::Aes256), Just(Cipher::ChaCha20)]
}

fn bytes(max: usize) -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..=max)
}

/// What a key sealed, taken apart.
struct Parts<'a> {
    sealed: &'a [u8],
    iv: &'a [u8],
    nonce: &'a [u8],
}

impl<'a> Parts<'a> {
    fn of(ciphertext: &'a [u8]) -> Self {
        let (sealed, random) = ciphertext.split_at(ciphertext.len() - 28);
        let (iv, nonce) = random.split_at(16);
        Self { sealed, iv, nonce }
    }

    /// `wide` is how many bytes of length each item takes more than it needs, from 0 to 2 steps.
    fn message_pack(&self, algorithm: &str, id: &str, wide: usize) -> Vec<u8> {
        let mut out = vec![0x95];
        for text in [algorithm, id] {
            item(&mut out, [0xd9, 0xda, 0xdb], text.as_bytes(), wide);
        }
        for bin in [self.iv, self.nonce, self.sealed] {
            item(&mut out, [0xc4, 0xc5, 0xc6], bin, wide);
        }
        out
    }

    fn json(&self, aead: &str, id: &str) -> Vec<u8> {
        serde_json::to_vec(&serde_json::json!({
            "aead": aead,
            "id": id,
            "iv": STANDARD.encode_to_string(self.iv),
            "nonce": STANDARD.encode_to_string(self.nonce),
            "bytes": STANDARD.encode_to_string(self.sealed),
        }))
        .unwrap()
    }
}

fn item(out: &mut Vec<u8>, heads: [u8; 3], bytes: &[u8], wide: usize) {
    let len = u32::try_from(bytes.len()).unwrap();
    let needs = match len {
        0..=0xff => 0,
        0x100..=0xffff => 1,
        _ => 2,
    };
    let step = (needs + wide).min(2);
    if heads[0] == 0xd9 && len < 32 && wide == 0 {
        out.push(0xa0 | u8::try_from(len).unwrap());
    } else {
        out.push(heads[step]);
        out.extend(&len.to_be_bytes()[4 - (1 << step)..]);
    }
    out.extend(bytes);
}

fn spellings(cipher: Cipher) -> [&'static str; 2] {
    match cipher {
        Cipher::Aes256 => ["AES256", "AES256-GCM_SHA256"],
        Cipher::ChaCha20 => ["ChaCha20", "XCHACHA20-POLY1305"],
    }
}

fn json_name(cipher: Cipher) -> &'static str {
    match cipher {
        Cipher::Aes256 => "AES-256-GCM-HMAC-SHA-256",
        Cipher::ChaCha20 => "ChaCha20Poly1305",
    }
}

/// Whether a change of one byte leaves a value in base64 as it was: the byte is the last digit before
/// the padding, and only its unused bits differ, which are ignored as in Go.
fn is_same_base64(old: &[u8], changed: &[u8], at: usize) -> bool {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let padding = old[at + 1..].iter().take_while(|byte| **byte == b'=').count();
    let used = |byte: u8| {
        let digit = DIGITS.iter().position(|digit| *digit == byte)?;
        Some(digit >> (2 * padding))
    };
    matches!(padding, 1 | 2) && used(old[at]).is_some_and(|bits| used(changed[at]) == Some(bits))
}

fn other(cipher: Cipher) -> Cipher {
    match cipher {
        Cipher::Aes256 => Cipher::ChaCha20,
        Cipher::ChaCha20 => Cipher::Aes256,
    }
}

proptest! {
    #[test]
    fn what_is_sealed_opens(
        cipher in cipher(),
        secret in any::<[u8; 32]>(),
        plaintext in bytes(5000),
        context in bytes(300),
    ) {
        let key = key(cipher, secret);
        let ciphertext = key.seal(&plaintext, &context);
        prop_assert_eq!(ciphertext.len(), plaintext.len() + OVERHEAD);
        prop_assert_eq!(open(&key, &ciphertext, &context), Some(plaintext));
    }

    #[test]
    fn sealing_in_place_needs_no_room(
        cipher in cipher(),
        plaintext in bytes(200),
        room in 0..100_usize,
    ) {
        let key = key(cipher, [3; 32]);
        let mut body = Vec::with_capacity(plaintext.len() + room);
        body.extend_from_slice(&plaintext);
        key.seal_in_place(&mut body, b"context");
        prop_assert_eq!(body.len(), plaintext.len() + OVERHEAD);
        prop_assert_eq!(open(&key, &body, b"context"), Some(plaintext));
    }

    #[test]
    fn any_changed_bit_is_noticed(
        cipher in cipher(),
        plaintext in bytes(200),
        context in vec(any::<u8>(), 1..50),
        at in any::<prop::sample::Index>(),
        bit in 0..8,
    ) {
        let key = key(cipher, [5; 32]);
        let ciphertext = key.seal(&plaintext, &context);
        let mut changed = ciphertext.clone();
        changed[at.index(ciphertext.len())] ^= 1_u8 << bit;
        prop_assert_eq!(open(&key, &changed, &context), None);

        let mut changed = context.clone();
        changed[at.index(context.len())] ^= 1_u8 << bit;
        prop_assert_eq!(open(&key, &ciphertext, &changed), None);
    }

    #[test]
    fn the_older_formats_open(
        cipher in cipher(),
        plaintext in prop_oneof![
            20 => bytes(300),
            1 => (65_500..65_600_usize).prop_map(|len| vec![7; len]), // around 16 bits of length
        ],
        context in bytes(50),
        id in prop_oneof!["[0-9a-f]{32}", ".{0,40}", "[a-z]{250,300}"],
        wide in 0_usize..3,
    ) {
        let key = key(cipher, [7; 32]);
        let ciphertext = key.seal(&plaintext, &context);
        let parts = Parts::of(&ciphertext);
        for name in spellings(cipher) {
            let old = parts.message_pack(name, &id, wide);
            prop_assert_eq!(open(&key, &old, &context), Some(plaintext.clone()));
        }
        let old = parts.json(json_name(cipher), &id);
        prop_assert_eq!(open(&key, &old, &context), Some(plaintext));
    }

    /// The key decides about the cipher; an old format that names the other one is refused, even
    /// if all else is authentic.
    #[test]
    fn an_old_format_that_names_another_cipher_does_not_open(
        cipher in cipher(),
        plaintext in bytes(300),
        unknown in "[ -~]{0,20}",
    ) {
        let key = key(cipher, [7; 32]);
        let ciphertext = key.seal(&plaintext, b"");
        let parts = Parts::of(&ciphertext);
        for name in spellings(other(cipher)).into_iter().chain([&*unknown]) {
            prop_assume!(!spellings(cipher).contains(&name));
            prop_assert_eq!(open(&key, &parts.message_pack(name, "id", 0), b""), None);
        }
        for name in [json_name(other(cipher)), &unknown] {
            prop_assume!(name != json_name(cipher));
            prop_assert_eq!(open(&key, &parts.json(name, "id"), b""), None);
        }
    }

    #[test]
    fn a_damaged_old_format_does_not_open(
        cipher in cipher(),
        plaintext in bytes(100),
        at in any::<prop::sample::Index>(),
        cut in any::<prop::sample::Index>(),
        bit in 0..8,
    ) {
        let key = key(cipher, [7; 32]);
        let ciphertext = key.seal(&plaintext, b"");
        let parts = Parts::of(&ciphertext);
        let id = "0123456789abcdef0123456789abcdef";
        for old in [
            parts.message_pack(spellings(cipher)[0], id, 0),
            parts.json(json_name(cipher), id),
        ] {
            prop_assert_eq!(open(&key, &old[..cut.index(old.len())], b""), None);
            let mut changed = old.clone();
            changed[at.index(old.len())] ^= 1_u8 << bit;
            // The key id is not authenticated: it alone may change.
            let opened = open(&key, &changed, b"");
            prop_assert!(opened.is_none() || opened.as_deref() == Some(&plaintext[..]));
            let id_at = old.windows(32).position(|window| window == id.as_bytes()).unwrap();
            let at = at.index(old.len());
            if !(id_at - 6..id_at + 34).contains(&at) && !is_same_base64(&old, &changed, at) {
                prop_assert_eq!(opened, None);
            }
        }
    }

    #[test]
    fn foreign_bytes_do_no_harm(
        cipher in cipher(),
        first in prop_oneof![Just(vec![]), Just(vec![0x95]), Just(vec![b'{'])],
        rest in bytes(300),
    ) {
        let key = key(cipher, [1; 32]);
        let bytes = [first, rest].concat();
        prop_assert_eq!(key.open(&bytes, b"context").err(), Some(NotAuthentic));
    }

    /// Closer to the formats than random bytes come: their markers with lengths at random.
    #[test]
    fn foreign_message_pack_does_no_harm(
        cipher in cipher(),
        items in vec(
            (
                prop::sample::select(vec![
                    &b"\xa6AES256"[..], b"\xd9", b"\xda", b"\xdb", b"\xc4\x10", b"\xc4\x0c",
                    b"\xc4", b"\xc5", b"\xc6", b"\xc6\xff\xff\xff\xff", b"\xdb\xff\xff\xff\xff",
                ]),
                bytes(20),
            ),
            0..8,
        ),
    ) {
        let key = key(cipher, [1; 32]);
        let items = items.into_iter().map(|(head, rest)| [head, &rest].concat());
        let bytes = [vec![0x95], items.collect::<Vec<_>>().concat()].concat();
        prop_assert_eq!(key.open(&bytes, b"").err(), Some(NotAuthentic));
    }

    #[test]
    fn foreign_json_does_no_harm(
        cipher in cipher(),
        members in vec(
            (
                prop::sample::select(vec!["aead", "id", "iv", "nonce", "bytes", "other"]),
                prop_oneof![
                    "\"(AES-256-GCM-HMAC-SHA-256|ChaCha20Poly1305)\"",
                    "\"[A-Za-z0-9+/]{21}A==\"",
                    "\"[A-Za-z0-9+/]{16}\"",
                    "\".{0,10}\"",
                    "null|-?[0-9]{1,20}|\\{\\}|\\[{0,200}",
                ],
            ),
            0..7,
        ),
    ) {
        let key = key(cipher, [1; 32]);
        let members: Vec<_> =
            members.into_iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
        let text = format!("{{{}}}", members.join(","));
        prop_assert_eq!(key.open(text.as_bytes(), b"").err(), Some(NotAuthentic));
    }
}

/// A new iv and a new nonce each time. The iv alone keeps the keys of messages apart; the nonce is
/// random as well (contract `crypto-and-storage.md`, Encrypting), which no opening shows.
#[test]
fn iv_and_nonce_of_each_ciphertext_are_random() {
    for cipher in [Cipher::Aes256, Cipher::ChaCha20] {
        let key = key(cipher, [2; 32]);
        let sealed = |_| key.seal(b"plaintext", b"");
        let data_key = |_| key.data_key(b"").1;
        let sealed: Vec<_> = (0..1000).map(sealed).collect();
        let data_keys: Vec<_> = (0..1000).map(data_key).collect();
        for ciphertexts in [sealed, data_keys] {
            let parts: Vec<_> = ciphertexts.iter().map(|bytes| Parts::of(bytes)).collect();
            assert_random(cipher, parts.iter().map(|parts| parts.iv));
            assert_random(cipher, parts.iter().map(|parts| parts.nonce));
            // One is no part of the other.
            let is_shared = |parts: &Parts<'_>| {
                parts.iv.windows(8).any(|iv| parts.nonce.windows(8).any(|nonce| nonce == iv))
            };
            assert!(!parts.iter().any(is_shared), "{cipher:?}");
        }
    }
}

/// Asserts that no value comes twice, and that each byte of them takes most of its 256 values: of
/// 1,000 random ones, a byte misses 5 on average, and 56 practically never.
fn assert_random<'a>(cipher: Cipher, values: impl Iterator<Item = &'a [u8]>) {
    let values: Vec<_> = values.collect();
    let distinct: HashSet<_> = values.iter().collect();
    assert_eq!(distinct.len(), values.len(), "{cipher:?}");
    for at in 0..values[0].len() {
        let bytes: HashSet<_> = values.iter().map(|value| value[at]).collect();
        assert!(bytes.len() > 200, "{cipher:?}, byte {at}: {} values", bytes.len());
    }
}

/// One ciphertext in 128 starts like an older format by chance.
#[test]
fn a_ciphertext_may_start_with_any_byte() {
    let key = key(Cipher::ChaCha20, [2; 32]);
    let mut seen = [false; 256];
    while seen.contains(&false) {
        let ciphertext = key.seal(b"plaintext", b"context");
        assert_eq!(open(&key, &ciphertext, b"context").unwrap(), b"plaintext");
        seen[usize::from(ciphertext[0])] = true;
    }
}

#[test]
fn the_error_says_what_the_contract_says() {
    assert_eq!(NotAuthentic.to_string(), "ciphertext is not authentic");
}
