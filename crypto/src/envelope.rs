//! `seal` and `open`, the hot path. The formulas are in the [crate's head](crate).
//!
//! # Why every failure takes the same way
//!
//! What the caller sent tells it nothing new: length, format and the cipher that an old format
//! names are the caller's own bytes, and the work that depends on them alone (parsing) may differ
//! in time. Work that depends on the key must not tell more than "not authentic". So each value,
//! even one too short to be a ciphertext or one that names the other cipher, goes through one key
//! derivation and one pass of the key's own AEAD, and the verdict is made of both findings at the
//! end. Tags are compared in constant time, before anything is decrypted.
//!
//! One case is slower, and harmless: an old ciphertext that is authentic but for the cipher it
//! names is decrypted (and wiped) before it is refused. The name is not authenticated, so its
//! sender could as well have left it alone and been given the plaintext.

use aes_gcm::aead::consts::{U12, U16, U32};
use aes_gcm::aead::inout::InOutBuf;
use aes_gcm::{AeadInOut, Aes256Gcm, KeyInit, KeySizeUser};
use chacha20::variants::Ietf;
use chacha20::{ChaChaCore, R20, hchacha};
use chacha20poly1305::ChaCha20Poly1305;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::ciphertext::{Ciphertext, IV_LEN, NONCE_LEN, TAG_LEN};
use crate::mac::Mac;
use crate::{Cipher, Secret, random, stack};

/// How many bytes longer than its plaintext a ciphertext is: tag, iv and nonce.
pub const OVERHEAD: usize = TAG_LEN + RANDOM_LEN;

/// Fresh random bytes in each ciphertext: iv, then nonce.
const RANDOM_LEN: usize = IV_LEN + NONCE_LEN;

/// A ciphertext that this key did not seal, or not for this context; or no ciphertext at all.
///
/// One error for every reason: which one it was would help who forges.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("ciphertext is not authentic")]
pub struct NotAuthentic;

/// What was encrypted, wiped when dropped.
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
        self.0.zeroize();
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
    HChaCha20,
}

impl Envelope {
    pub(crate) fn new(cipher: Cipher, secret: Secret) -> Self {
        let kdf = match cipher {
            Cipher::Aes256 => Kdf::HmacSha256(Mac::new(&secret)),
            Cipher::ChaCha20 => Kdf::HChaCha20,
        };
        Self { secret, kdf }
    }

    pub(crate) fn cipher(&self) -> Cipher {
        match self.kdf {
            Kdf::HmacSha256(_) => Cipher::Aes256,
            Kdf::HChaCha20 => Cipher::ChaCha20,
        }
    }

    pub(crate) fn secret(&self) -> &Secret {
        &self.secret
    }

    pub(crate) fn seal_into(&self, plaintext: &[u8], context: &[u8], out: &mut Vec<u8>) {
        let mut random = [0; RANDOM_LEN];
        random::fill(&mut random);
        self.seal_with(&random, plaintext, context, out);
    }

    /// A fresh secret and its ciphertext. The system's generator is asked once for both, because
    /// a system call is a good part of what a small message costs.
    pub(crate) fn seal_fresh(&self, context: &[u8]) -> (Secret, Vec<u8>) {
        let mut random = Zeroizing::new([0; Secret::LEN + RANDOM_LEN]);
        random::fill(random.as_mut_slice());
        let (plaintext, random) = random.split_first_chunk().expect("the lengths add up");
        let random = random.first_chunk().expect("the lengths add up");
        let plaintext: &[u8; Secret::LEN] = plaintext;
        let mut ciphertext = Vec::with_capacity(Secret::LEN + OVERHEAD);
        self.seal_with(random, plaintext, context, &mut ciphertext);
        (Secret::from_slice(plaintext).expect("a secret has this length"), ciphertext)
    }

    /// `random` is fresh: bytes that were used before give both plaintexts away.
    fn seal_with(
        &self,
        random: &[u8; RANDOM_LEN],
        plaintext: &[u8],
        context: &[u8],
        out: &mut Vec<u8>,
    ) {
        let mut iv = [0; IV_LEN];
        let mut nonce = [0; NONCE_LEN];
        iv.copy_from_slice(&random[..IV_LEN]);
        nonce.copy_from_slice(&random[IV_LEN..]);

        let start = out.len();
        out.reserve(plaintext.len() + OVERHEAD);
        out.resize(start + plaintext.len(), 0);
        let body = InOutBuf::new(plaintext, &mut out[start..])
            .expect("`out` was made as long as the plaintext");
        let tag = stack::wiped(|| self.encrypt(&iv, &nonce, context, body));
        out.extend_from_slice(&tag);
        out.extend_from_slice(random);
    }

    pub(crate) fn open(&self, bytes: &[u8], context: &[u8]) -> Result<Plaintext, NotAuthentic> {
        let ciphertext = Ciphertext::parse(bytes);
        let mut plaintext = Plaintext(vec![0; ciphertext.body.len()]);
        let authentic = stack::wiped(|| self.decrypt(&ciphertext, context, &mut plaintext.0));
        if authentic & ciphertext.claim.admits(self.cipher()) {
            Ok(plaintext)
        } else {
            Err(NotAuthentic)
        }
    }

    fn encrypt(
        &self,
        iv: &[u8; IV_LEN],
        nonce: &[u8; NONCE_LEN],
        context: &[u8],
        body: InOutBuf<'_, '_, u8>,
    ) -> [u8; TAG_LEN] {
        let key = self.message_key(iv);
        match self.kdf {
            Kdf::HmacSha256(_) => encrypt::<Aes256Gcm>(&key, nonce, context, body),
            Kdf::HChaCha20 => encrypt::<ChaCha20Poly1305>(&key, nonce, context, body),
        }
    }

    fn decrypt(&self, ciphertext: &Ciphertext<'_>, context: &[u8], out: &mut [u8]) -> bool {
        let key = self.message_key(&ciphertext.iv);
        match self.kdf {
            Kdf::HmacSha256(_) => decrypt::<Aes256Gcm>(&key, ciphertext, context, out),
            Kdf::HChaCha20 => decrypt::<ChaCha20Poly1305>(&key, ciphertext, context, out),
        }
    }

    fn message_key(&self, iv: &[u8; IV_LEN]) -> MessageKey {
        let mut key = MessageKey([0; Secret::LEN]);
        match &self.kdf {
            Kdf::HmacSha256(mac) => mac.tag_into(iv, &mut key.0),
            Kdf::HChaCha20 => {
                let mut derived = hchacha::<R20>(self.secret.expose().into(), iv.into());
                key.0.copy_from_slice(&derived);
                derived.as_mut_slice().zeroize();
            }
        }
        key
    }
}

/// The key of one message.
struct MessageKey([u8; Secret::LEN]);

impl Drop for MessageKey {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// Both AEADs of the envelope.
trait Aead: AeadInOut<NonceSize = U12, TagSize = U16> + KeyInit + KeySizeUser<KeySize = U32> {}

impl Aead for Aes256Gcm {}

impl Aead for ChaCha20Poly1305 {}

fn encrypt<A: Aead>(
    key: &MessageKey,
    nonce: &[u8; NONCE_LEN],
    context: &[u8],
    body: InOutBuf<'_, '_, u8>,
) -> [u8; TAG_LEN] {
    A::new((&key.0).into())
        .encrypt_inout_detached(nonce.into(), context, body)
        .expect("a plaintext has less than 64 GiB")
        .into()
}

/// Writes to `out`, which is as long as the body, only if the ciphertext is authentic.
fn decrypt<A: Aead>(
    key: &MessageKey,
    ciphertext: &Ciphertext<'_>,
    context: &[u8],
    out: &mut [u8],
) -> bool {
    let Ciphertext { nonce, body, tag, .. } = ciphertext;
    let body = InOutBuf::new(body, out).expect("the buffer was made as long as the body");
    A::new((&key.0).into()).decrypt_inout_detached(nonce.into(), context, body, tag.into()).is_ok()
}

/// A build in which a feature went missing that makes the ciphers wipe their state does not
/// compile. `Hmac` and the stream cipher's buffer have no marker of their own: they are made of
/// the core and the block buffer that the one of `Sha256` vouches for. Poly1305 has none at all.
const _: () = {
    const fn wiped_on_drop<T: ZeroizeOnDrop>() {}
    wiped_on_drop::<Aes256Gcm>();
    wiped_on_drop::<ChaCha20Poly1305>();
    wiped_on_drop::<ChaChaCore<R20, Ietf>>();
    wiped_on_drop::<sha2::Sha256>();
};

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    fn unhex(text: &str) -> Vec<u8> {
        let byte = |at| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
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

    #[test]
    fn nothing_is_written_unless_authentic() {
        for cipher in [Cipher::Aes256, Cipher::ChaCha20] {
            let envelope = envelope(cipher, &[8; 32]);
            let mut sealed = Vec::new();
            envelope.seal_into(&[0xaa; 1000], b"context", &mut sealed);
            for (at, context) in [(500, &b"context"[..]), (1010, b"context"), (1043, b"")] {
                let mut changed = sealed.clone();
                changed[at] ^= 1;
                let mut out = [0; 1000];
                assert!(!envelope.decrypt(&Ciphertext::parse(&changed), context, &mut out));
                assert_eq!(out, [0; 1000]);
            }
        }
    }

    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Case {
        tc_id: u32,
        key: String,
        iv: String,
        aad: String,
        msg: String,
        ct: String,
        tag: String,
        result: String,
    }

    fn wycheproof<A: Aead>(cases: &str) {
        let cases: Vec<Case> = serde_json::from_str(cases).unwrap();
        assert!(cases.len() > 50);
        for case in cases {
            let (key, nonce) = (MessageKey(array(&case.key)), array(&case.iv));
            let (context, message) = (unhex(&case.aad), unhex(&case.msg));
            let valid = case.result == "valid";
            let ciphertext = Ciphertext {
                claim: crate::ciphertext::Claim::Any,
                iv: [0; IV_LEN],
                nonce,
                body: unhex(&case.ct).into(),
                tag: array(&case.tag),
            };
            let mut out = vec![0; ciphertext.body.len()];
            let opened = decrypt::<A>(&key, &ciphertext, &context, &mut out);
            assert_eq!(opened, valid, "case {}", case.tc_id);
            if valid {
                assert_eq!(out, message, "case {}", case.tc_id);
                let body = InOutBuf::new(&message, &mut out).unwrap();
                let tag = encrypt::<A>(&key, &nonce, &context, body);
                assert_eq!((&out[..], tag), (&*ciphertext.body, ciphertext.tag));
            }
        }
    }

    #[test]
    fn wycheproof_aes_256_gcm() {
        wycheproof::<Aes256Gcm>(include_str!("../testdata/wycheproof-aes-256-gcm.json"));
    }

    #[test]
    fn wycheproof_chacha20_poly1305() {
        let cases = include_str!("../testdata/wycheproof-chacha20-poly1305.json");
        wycheproof::<ChaCha20Poly1305>(cases);
    }
}
