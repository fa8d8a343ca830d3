//! Stored keys and ciphertexts, read and written a second time from the specification alone
//! (contract `crypto-and-storage.md`): with other code than the program's.

use aes_gcm::aead::{Aead as _, Payload};
use aes_gcm::{Aes256Gcm, KeyInit as _, Nonce};
use base64_simd::STANDARD as BASE64;
use hmac::{Hmac, Mac as _};
use sha2::Sha256;

/// AES-256 as the type of a stored key.
pub(super) const AES256: u64 = 1;

/// What stands in a key store for a key.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct StoredKey {
    pub(super) key: [u8; 32],
    pub(super) cipher: u64,
    pub(super) hmac_key: [u8; 32],
    pub(super) hash: u64,
    pub(super) seconds: u64,
    pub(super) nanos: u64,
    pub(super) created_by: String,
}

impl StoredKey {
    /// Reads base64 of a protobuf message that has every field, in order, and nothing else.
    pub(super) fn decode(text: &str) -> Self {
        let bytes = BASE64.decode_to_vec(text).unwrap();
        let [(1, Field::Bytes(key)), (2, Field::Bytes(hmac)), (3, Field::Bytes(time)), (4, by)] =
            &fields(&bytes)[..]
        else {
            panic!("not the fields of a stored key")
        };
        let (key, cipher) = secret(key);
        let (hmac_key, hash) = secret(hmac);
        // A field of zero is left out.
        let (mut seconds, mut nanos) = (0, 0);
        for field in fields(time) {
            match field {
                (1, Field::Number(number)) => seconds = number,
                (2, Field::Number(number)) => nanos = number,
                (number, _) => panic!("a time has no field {number}"),
            }
        }
        let created_by = std::str::from_utf8(by.bytes()).unwrap().to_owned();
        Self { key, cipher, hmac_key, hash, seconds, nanos, created_by }
    }

    /// The text that [`StoredKey::decode`] reads.
    pub(super) fn encode(&self) -> String {
        let secret = |key: &[u8], kind| [bytes(1, key), number(2, kind)].concat();
        let time = [number(1, self.seconds), number(2, self.nanos)].concat();
        BASE64.encode_to_string(
            [
                bytes(1, &secret(&self.key, self.cipher)),
                bytes(2, &secret(&self.hmac_key, self.hash)),
                bytes(3, &time),
                bytes(4, self.created_by.as_bytes()),
            ]
            .concat(),
        )
    }

    /// Opens a ciphertext of today's format under an AES key.
    pub(super) fn open(&self, ciphertext: &[u8], context: &[u8]) -> Option<Vec<u8>> {
        let (sealed, random) = ciphertext.split_at(ciphertext.len().checked_sub(28)?);
        let (iv, nonce) = random.split_at(16);
        let payload = Payload { msg: sealed, aad: context };
        self.cipher(iv).decrypt(&nonce_of(nonce), payload).ok()
    }

    /// Makes a ciphertext of today's format under an AES key, with 28 bytes of randomness.
    pub(super) fn seal(&self, plaintext: &[u8], context: &[u8], random: [u8; 28]) -> Vec<u8> {
        let (iv, nonce) = random.split_at(16);
        let payload = Payload { msg: plaintext, aad: context };
        let mut ciphertext = self.cipher(iv).encrypt(&nonce_of(nonce), payload).unwrap();
        ciphertext.extend_from_slice(&random);
        ciphertext
    }

    /// HMAC-SHA256 with the key's HMAC key.
    pub(super) fn hmac(&self, message: &[u8]) -> Vec<u8> {
        mac(&self.hmac_key, message).to_vec()
    }

    fn cipher(&self, iv: &[u8]) -> Aes256Gcm {
        assert_eq!(self.cipher, AES256);
        Aes256Gcm::new_from_slice(&mac(&self.key, iv)).unwrap()
    }
}

fn nonce_of(bytes: &[u8]) -> Nonce<aes_gcm::aead::consts::U12> {
    Nonce::try_from(bytes).unwrap()
}

fn mac(key: &[u8], message: &[u8]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(message);
    mac.finalize().into_bytes().into()
}

/// A field of a protobuf message.
#[derive(Debug)]
enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

impl<'a> Field<'a> {
    fn bytes(&self) -> &'a [u8] {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Number(number) => panic!("{number} is no byte string"),
        }
    }
}

fn fields(mut message: &[u8]) -> Vec<(u64, Field<'_>)> {
    let mut fields = Vec::new();
    while !message.is_empty() {
        let tag = take_number(&mut message);
        let field = match tag & 7 {
            0 => Field::Number(take_number(&mut message)),
            2 => {
                let length = usize::try_from(take_number(&mut message)).unwrap();
                let (bytes, rest) = message.split_at(length);
                message = rest;
                Field::Bytes(bytes)
            }
            kind => panic!("a stored key has no field of type {kind}"),
        };
        fields.push((tag >> 3, field));
    }
    fields
}

fn take_number(message: &mut &[u8]) -> u64 {
    let mut number = 0;
    for shift in (0..).step_by(7) {
        let (byte, rest) = message.split_first().unwrap();
        *message = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            break;
        }
    }
    number
}

fn secret(message: &[u8]) -> ([u8; 32], u64) {
    match fields(message)[..] {
        [(1, Field::Bytes(key)), (2, Field::Number(kind))] => (key.try_into().unwrap(), kind),
        _ => panic!("not the fields of a secret"),
    }
}

fn number(field: u64, number: u64) -> Vec<u8> {
    if number == 0 { Vec::new() } else { [varint(field << 3), varint(number)].concat() }
}

fn bytes(field: u64, bytes: &[u8]) -> Vec<u8> {
    let length = u64::try_from(bytes.len()).unwrap();
    [varint(field << 3 | 2), varint(length), bytes.to_vec()].concat()
}

fn varint(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = u8::try_from(number & 0x7f).unwrap();
        number >>= 7;
        if number == 0 {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}
