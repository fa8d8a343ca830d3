//! The encryption of PEM sections by RFC 1423, as in openssl's traditional format:
//! `Proc-Type: 4,ENCRYPTED` and `DEK-Info: <cipher>,<IV in hex>`.
//!
//! key = MD5(password ‖ salt) ‖ MD5(that ‖ password ‖ salt) ‖ …, as long as the cipher needs,
//! salt = the first 8 bytes of the IV; the content is in CBC mode with PKCS#7 padding. It is not
//! authenticated: a wrong password makes the padding invalid, or the decrypted bytes are not a key.

use aes::cipher::block_padding::Pkcs7;
use aes::cipher::{BlockModeDecrypt, KeyIvInit};
use md5::{Digest, Md5};
use zeroize::{Zeroize, Zeroizing};

use crate::error::Fault;
use crate::pem::Section;

/// Whether the section's headers say that it is encrypted.
pub(crate) fn is_encrypted(section: &Section<'_>) -> bool {
    section
        .header(b"Proc-Type")
        .is_some_and(|value| value.to_ascii_uppercase().ends_with(b"ENCRYPTED"))
}

/// Decrypts the content of a section.
pub(crate) fn decrypt(section: &Section<'_>, password: &str) -> Result<Zeroizing<Vec<u8>>, Fault> {
    let info = section
        .header(b"DEK-Info")
        .ok_or(Fault::InvalidEncryption { what: "the header DEK-Info is missing" })?;
    let (cipher, iv) = parse_info(info)?;
    if iv.len() != cipher.block_len() {
        return Err(Fault::InvalidEncryption { what: "the initialization vector is too short" });
    }
    let mut bytes = section.decode()?;
    let salt = iv.get(..SALT_LEN);
    let salt =
        salt.ok_or(Fault::InvalidEncryption { what: "the initialization vector is too short" })?;
    let key = derive_key(password.as_bytes(), salt, cipher.key_len());
    let len = cipher.decrypt(&key, &iv, &mut bytes).ok_or(Fault::WrongPassword)?;
    bytes.truncate(len);
    Ok(bytes)
}

const SALT_LEN: usize = 8;
const MD5_LEN: usize = 16;

#[derive(Clone, Copy)]
enum Cipher {
    Des,
    TripleDes,
    Aes128,
    Aes192,
    Aes256,
}

fn parse_info(info: &[u8]) -> Result<(Cipher, Vec<u8>), Fault> {
    let malformed = || Fault::InvalidEncryption { what: "the header DEK-Info is malformed" };
    let info = std::str::from_utf8(info).map_err(|_| malformed())?;
    let (name, iv) = info.split_once(',').ok_or_else(malformed)?;
    let name = name.trim();
    // An unknown name is printed in the error.
    if name.len() > 32 || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
        return Err(malformed());
    }
    let cipher = match name.to_ascii_uppercase().as_str() {
        "DES-CBC" => Cipher::Des,
        "DES-EDE3-CBC" => Cipher::TripleDes,
        "AES-128-CBC" => Cipher::Aes128,
        "AES-192-CBC" => Cipher::Aes192,
        "AES-256-CBC" => Cipher::Aes256,
        _ => return Err(Fault::UnsupportedCipher { cipher: name.to_owned() }),
    };
    let (pairs, odd) = iv.trim().as_bytes().as_chunks::<2>();
    let iv = pairs.iter().map(|pair| hex_byte(*pair)).collect::<Option<Vec<_>>>();
    match iv {
        Some(iv) if odd.is_empty() => Ok((cipher, iv)),
        _ => Err(malformed()),
    }
}

fn hex_byte(pair: [u8; 2]) -> Option<u8> {
    let digit = |byte| char::from(byte).to_digit(16);
    u8::try_from(digit(pair[0])? << 4 | digit(pair[1])?).ok()
}

fn derive_key(password: &[u8], salt: &[u8], len: usize) -> Zeroizing<Vec<u8>> {
    let mut key = Zeroizing::new(Vec::with_capacity(len + MD5_LEN));
    while key.len() < len {
        let mut hash = Md5::new();
        if let Some(last) = key.last_chunk::<MD5_LEN>() {
            hash.update(last);
        }
        hash.update(password);
        hash.update(salt);
        let mut digest: [u8; MD5_LEN] = hash.finalize().into();
        key.extend_from_slice(&digest);
        digest.zeroize();
    }
    key.truncate(len);
    key
}

impl Cipher {
    fn key_len(self) -> usize {
        match self {
            Self::Des => 8,
            Self::TripleDes | Self::Aes192 => 24,
            Self::Aes128 => 16,
            Self::Aes256 => 32,
        }
    }

    fn block_len(self) -> usize {
        match self {
            Self::Des | Self::TripleDes => 8,
            Self::Aes128 | Self::Aes192 | Self::Aes256 => 16,
        }
    }

    /// Decrypts in place and returns the length without the padding, if that is right.
    fn decrypt(self, key: &[u8], iv: &[u8], bytes: &mut [u8]) -> Option<usize> {
        macro_rules! cbc {
            ($cipher:ty) => {{
                let cbc = cbc::Decryptor::<$cipher>::new_from_slices(key, iv).ok()?;
                cbc.decrypt_padded::<Pkcs7>(bytes).ok()?.len()
            }};
        }
        Some(match self {
            Self::Des => cbc!(des::Des),
            Self::TripleDes => cbc!(des::TdesEde3),
            Self::Aes128 => cbc!(aes::Aes128),
            Self::Aes192 => cbc!(aes::Aes192),
            Self::Aes256 => cbc!(aes::Aes256),
        })
    }
}
