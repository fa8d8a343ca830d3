use aes_gcm::aead::{Aead, Payload};
use aes_gcm::{Aes256Gcm, KeyInit as _};
use aws_lc_rs::hmac;
use base64_simd::STANDARD;
use chacha20::{R20, hchacha};
use chacha20poly1305::ChaCha20Poly1305;
use kes_api::SecretBytes;
use kes_crypto::{Cipher, Key, OVERHEAD, Secret, inspect};
use serde_json::Value;

const SECRET: [u8; 32] = [7; 32];
const CONTEXT: &[u8] = b"context";

// Names of ciphers.
const AES: &str = "AES256";
const CHACHA: &str = "ChaCha20";

/// A ciphertext of any format. No input is authentic, so its tag is replaced by the right one, made
/// by other implementations of the ciphers, for the parts that another parser finds in it. It must
/// then open to the plaintext of those parts, with a key of the cipher that it names and no other.
pub(crate) fn ciphertext(data: &[u8]) {
    let ciphers = Cipher::ALL.iter().copied();
    for cipher in ciphers.clone() {
        assert!(key(cipher).open(data, CONTEXT).is_err(), "a forgery");
    }
    assert_eq!(inspect(data).is_none(), data.len() < OVERHEAD);
    let Some(parts) = Parts::of(data) else { return };
    // A build may lack the one that is named.
    let is_meant = |cipher: &Cipher| parts.cipher.is_none_or(|name| name == cipher.name());
    for cipher in ciphers.clone().filter(is_meant) {
        let (plaintext, tag) = seal(cipher, &parts);
        let sealed = parts.with_tag(data, &tag);
        // The new tag may have changed what the bytes look like.
        if Parts::of(&sealed).is_none_or(|again| !again.is_like(&parts)) {
            continue;
        }
        let told = inspect(&sealed).expect("it is long enough");
        assert_eq!(told.plaintext_len, plaintext.len());
        assert_eq!(told.cipher.map(|cipher| cipher.name()), parts.cipher);
        let opened = key(cipher).open(&sealed, CONTEXT).expect("the tag is right");
        assert_eq!(opened.expose(), plaintext);
        assert!(key(cipher).open(&sealed, b"").is_err(), "another context");
        for other in ciphers.clone().filter(|other| *other != cipher) {
            assert!(key(other).open(&sealed, CONTEXT).is_err(), "another cipher");
        }
    }
}

fn key(cipher: Cipher) -> Key {
    Key::from_parts(cipher, Secret::from_slice(&SECRET).expect("32 bytes"), None)
}

/// The plaintext of an encrypted body, and the tag that belongs to it.
fn seal(cipher: Cipher, parts: &Parts) -> (Vec<u8>, [u8; 16]) {
    let encrypt = |msg: &[u8]| {
        let payload = Payload { msg, aad: CONTEXT };
        let nonce = parts.nonce.into();
        match cipher.name() {
            AES => {
                let mac = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &SECRET), &parts.iv);
                let key: [u8; 32] = mac.as_ref().try_into().expect("32 bytes");
                Aes256Gcm::new(&key.into()).encrypt(&nonce, payload)
            }
            _ => {
                let key = hchacha::<R20>(&SECRET.into(), &parts.iv.into());
                ChaCha20Poly1305::new(&key).encrypt(&nonce, payload)
            }
        }
        .expect("short messages are encrypted")
    };
    // Both are stream ciphers: what they make of zeros is the key stream.
    let stream = encrypt(&vec![0; parts.body.len()]);
    let plaintext: Vec<u8> = parts.body.iter().zip(stream).map(|(a, b)| a ^ b).collect();
    let sealed = encrypt(&plaintext);
    assert_eq!(sealed[..parts.body.len()], parts.body);
    (plaintext, *sealed.last_chunk().expect("the tag"))
}

/// The parts of a ciphertext, and how to write them with another tag.
struct Parts {
    /// The cipher that is named, by its name of today.
    cipher: Option<&'static str>,
    iv: [u8; 16],
    nonce: [u8; 12],
    body: Vec<u8>,
    form: Form,
}

#[derive(PartialEq)]
enum Form {
    /// The position of the tag.
    Binary(usize),
    /// The object; its `bytes` are to be replaced.
    Json(Value),
}

impl Parts {
    fn of(data: &[u8]) -> Option<Self> {
        message_pack(data).or_else(|| json(data)).or_else(|| current(data))
    }

    fn with_tag(&self, data: &[u8], tag: &[u8; 16]) -> Vec<u8> {
        match &self.form {
            Form::Binary(at) => {
                let mut sealed = data.to_vec();
                sealed[*at..at + 16].copy_from_slice(tag);
                sealed
            }
            Form::Json(object) => {
                let mut object = object.clone();
                object["bytes"] = STANDARD.encode_to_string([&self.body, &tag[..]].concat()).into();
                object.to_string().into_bytes()
            }
        }
    }

    fn is_like(&self, other: &Self) -> bool {
        let is_same_form = match (&self.form, &other.form) {
            (Form::Binary(one), Form::Binary(two)) => one == two,
            (Form::Json(_), Form::Json(_)) => true,
            (Form::Binary(_), Form::Json(_)) | (Form::Json(_), Form::Binary(_)) => false,
        };
        is_same_form && self.cipher == other.cipher && self.body == other.body
    }
}

fn current(data: &[u8]) -> Option<Parts> {
    let at = data.len().checked_sub(16 + 16 + 12)?;
    Some(Parts {
        cipher: None,
        iv: data[at + 16..at + 32].try_into().ok()?,
        nonce: data[at + 32..].try_into().ok()?,
        body: data[..at].to_vec(),
        form: Form::Binary(at),
    })
}

/// An array of five: two texts and three byte strings.
fn message_pack(data: &[u8]) -> Option<Parts> {
    if *data.first()? != 0x95 {
        return None;
    }
    let mut at = 1;
    let mut items: Vec<&[u8]> = Vec::new();
    for position in 0..5 {
        let head = *data.get(at)?;
        let (digits, short) = match (head, position < 2) {
            (0xa0..=0xbf, true) => (0, usize::from(head - 0xa0)),
            (0xd9, true) | (0xc4, false) => (1, 0),
            (0xda, true) | (0xc5, false) => (2, 0),
            (0xdb, true) | (0xc6, false) => (4, 0),
            _ => return None,
        };
        let mut len = short;
        for digit in data.get(at + 1..at + 1 + digits)? {
            len = len * 256 + usize::from(*digit);
        }
        at += 1 + digits;
        items.push(data.get(at..at + len)?);
        at += len;
    }
    let cipher = match items[0] {
        b"AES256" | b"AES256-GCM_SHA256" => AES,
        b"ChaCha20" | b"XCHACHA20-POLY1305" => CHACHA,
        _ => return None,
    };
    let body_len = items[4].len().checked_sub(16)?;
    if at != data.len() {
        return None;
    }
    Some(Parts {
        cipher: Some(cipher),
        iv: items[2].try_into().ok()?,
        nonce: items[3].try_into().ok()?,
        body: items[4][..body_len].to_vec(),
        form: Form::Binary(data.len() - 16),
    })
}

fn json(data: &[u8]) -> Option<Parts> {
    if *data.first()? != b'{' {
        return None;
    }
    let object: Value = serde_json::from_slice(data).ok()?;
    let cipher = match object["aead"].as_str()? {
        "AES-256-GCM-HMAC-SHA-256" => AES,
        "ChaCha20Poly1305" => CHACHA,
        _ => return None,
    };
    let bytes = |name: &str| {
        let decoded = SecretBytes::from_base64(object[name].as_str()?.as_bytes());
        Some(decoded.ok()?.into_inner())
    };
    let sealed = bytes("bytes")?;
    let body_len = sealed.len().checked_sub(16)?;
    Some(Parts {
        cipher: Some(cipher),
        iv: bytes("iv")?.try_into().ok()?,
        nonce: bytes("nonce")?.try_into().ok()?,
        body: sealed[..body_len].to_vec(),
        form: Form::Json(object),
    })
}
