//! Private keys in all their PEM forms: PKCS#8, PKCS#1 and SEC1, each plain or encrypted.

use std::path::Path;

use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs1KeyDer, PrivatePkcs8KeyDer, PrivateSec1KeyDer};
use zeroize::{Zeroize, Zeroizing};

use crate::error::{Error, Fault};
use crate::pem::{Section, sections};
use crate::{file, pkcs8, rfc1423};

/// Private keys are encrypted by code outside of the FIPS module, with scrypt, PBKDF2 or MD5.
const REFUSES_PASSWORDS: bool = cfg!(feature = "fips");

/// A private key that the provider can sign with. It is wiped when dropped and has neither
/// `Debug` nor `Clone`.
pub struct PrivateKey(PrivateKeyDer<'static>);

/// Reads the first private key of a PEM file. Other sections, such as certificates and
/// `EC PARAMETERS`, are skipped. An empty password counts as none.
///
/// # Errors
/// [`Error::File`] if the file cannot be read or is larger than [`crate::MAX_FILE_LEN`], if it has
/// no private key, and if the key is damaged, of a kind that TLS cannot use, encrypted in an
/// unknown way, encrypted with another password, or encrypted at all in a FIPS build.
pub fn load_private_key(path: &Path, password: Option<&str>) -> Result<PrivateKey, Error> {
    file::read(path)
        .and_then(|pem| parse_private_key(&pem, password))
        .map_err(|fault| fault.at(path))
}

/// Reads the first private key of a PEM text, as [`load_private_key`] does.
///
/// # Errors
/// As there.
pub fn parse_private_key(pem: &[u8], password: Option<&str>) -> Result<PrivateKey, Fault> {
    let section = find(pem)?.ok_or(Fault::NoPrivateKey)?;
    let password = password.filter(|password| !password.is_empty());

    let (kind, bytes) = match Kind::of(&section) {
        Kind::Other => return Err(Fault::UnsupportedKey { label: section.label.to_owned() }),
        kind if REFUSES_PASSWORDS
            && (matches!(kind, Kind::EncryptedPkcs8) || rfc1423::is_encrypted(&section)) =>
        {
            return Err(Fault::UnapprovedEncryption);
        }
        Kind::EncryptedPkcs8 => {
            let password = password.ok_or(Fault::MissingPassword)?;
            (Kind::Pkcs8, pkcs8::decrypt(&section.decode()?, password)?)
        }
        kind if rfc1423::is_encrypted(&section) => {
            let password = password.ok_or(Fault::MissingPassword)?;
            let bytes = rfc1423::decrypt(&section, password)?;
            // With a wrong password the padding is valid in one of 256 cases.
            if !is_one_der_sequence(&bytes) {
                return Err(Fault::WrongPassword);
            }
            (kind, bytes)
        }
        kind => (kind, section.decode()?),
    };
    PrivateKey::new(kind.der(bytes))
}

/// Whether the first private key of a PEM text is encrypted, so that a password is needed. False if
/// there is no private key, or one of a form that no password helps to read.
pub fn is_encrypted(pem: &[u8]) -> bool {
    find(pem).ok().flatten().is_some_and(|section| match Kind::of(&section) {
        Kind::EncryptedPkcs8 => true,
        Kind::Pkcs8 | Kind::Pkcs1 | Kind::Sec1 => rfc1423::is_encrypted(&section),
        Kind::Other => false,
    })
}

impl PrivateKey {
    /// Takes ownership of a key.
    ///
    /// # Errors
    /// [`Fault::InvalidKey`] if the provider cannot sign with it. The key is wiped in this case
    /// too.
    pub fn new(der: PrivateKeyDer<'static>) -> Result<Self, Fault> {
        let key = Self(der);
        any_supported_type(&key.0).map_err(|_| Fault::InvalidKey)?;
        Ok(key)
    }

    /// The key.
    pub fn expose(&self) -> &PrivateKeyDer<'static> {
        &self.0
    }

    /// The seed of an Ed25519 key in PKCS#8 (RFC 8410, 7); `None` for any other key.
    pub fn ed25519_seed(&self) -> Option<Zeroizing<[u8; 32]>> {
        let PrivateKeyDer::Pkcs8(key) = &self.0 else { return None };
        pkcs8::ed25519_seed(key.secret_pkcs8_der())
    }

    /// The key as PEM text, encrypted if there is a password (PKCS#8, AES-256-CBC, scrypt).
    ///
    /// # Errors
    /// [`Fault::UnsupportedKey`] if a key to be encrypted is not in PKCS#8 form,
    /// [`Fault::UnapprovedEncryption`] in a FIPS build, [`Fault::Random`] if the system has no random numbers.
    pub fn to_pem(&self, password: Option<&str>) -> Result<Zeroizing<String>, Fault> {
        match (password, &self.0) {
            (None, key) => Ok(pem(label_of(key), key.secret_der())),
            (Some(_), _) if REFUSES_PASSWORDS => Err(Fault::UnapprovedEncryption),
            (Some(password), PrivateKeyDer::Pkcs8(key)) => {
                pkcs8::encrypt(key.secret_pkcs8_der(), password)
            }
            (Some(_), key) => Err(Fault::UnsupportedKey { label: label_of(key).to_owned() }),
        }
    }
}

impl Drop for PrivateKey {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// The forms that a section may have.
enum Kind {
    Pkcs8,
    Pkcs1,
    Sec1,
    EncryptedPkcs8,
    Other,
}

impl Kind {
    fn of(section: &Section<'_>) -> Self {
        match section.label {
            "PRIVATE KEY" => Self::Pkcs8,
            "RSA PRIVATE KEY" => Self::Pkcs1,
            "EC PRIVATE KEY" => Self::Sec1,
            pkcs8::LABEL => Self::EncryptedPkcs8,
            _ => Self::Other,
        }
    }

    fn der(&self, mut bytes: Zeroizing<Vec<u8>>) -> PrivateKeyDer<'static> {
        let bytes = std::mem::take(&mut *bytes);
        match self {
            Self::Pkcs1 => PrivatePkcs1KeyDer::from(bytes).into(),
            Self::Sec1 => PrivateSec1KeyDer::from(bytes).into(),
            Self::Pkcs8 | Self::EncryptedPkcs8 | Self::Other => {
                PrivatePkcs8KeyDer::from(bytes).into()
            }
        }
    }
}

/// The first section with a private key of any form.
fn find(pem: &[u8]) -> Result<Option<Section<'_>>, Fault> {
    sections(pem)
        .find(|section| {
            section.as_ref().map_or(true, |section| section.label.ends_with("PRIVATE KEY"))
        })
        .transpose()
}

/// Whether the bytes are exactly one DER SEQUENCE (X.690, 8.1). Keys have lengths of up to two
/// bytes in the long form, or are EC keys of up to 127 bytes.
fn is_one_der_sequence(bytes: &[u8]) -> bool {
    match bytes {
        [0x30, len @ 0..=0x7f, rest @ ..] => rest.len() == usize::from(*len),
        [0x30, 0x81, len, rest @ ..] => rest.len() == usize::from(*len),
        [0x30, 0x82, high, low, rest @ ..] => {
            rest.len() == usize::from(u16::from_be_bytes([*high, *low]))
        }
        _ => false,
    }
}

fn label_of(key: &PrivateKeyDer<'_>) -> &'static str {
    match key {
        PrivateKeyDer::Pkcs1(_) => "RSA PRIVATE KEY",
        PrivateKeyDer::Sec1(_) => "EC PRIVATE KEY",
        _ => "PRIVATE KEY",
    }
}

/// PEM text in one buffer, allocated at full size.
pub fn pem(label: &str, der: &[u8]) -> Zeroizing<String> {
    use base64ct::{Base64, Encoding};

    let digits = Zeroizing::new(Base64::encode_string(der));
    let mut text = Zeroizing::new(String::with_capacity(
        digits.len() + digits.len() / 64 + 2 * label.len() + 64,
    ));
    text.push_str("-----BEGIN ");
    text.push_str(label);
    text.push_str("-----\n");
    let mut rest = digits.as_str();
    while !rest.is_empty() {
        let (line, next) = rest.split_at(rest.len().min(64));
        text.push_str(line);
        text.push('\n');
        rest = next;
    }
    text.push_str("-----END ");
    text.push_str(label);
    text.push_str("-----\n");
    text
}
