//! API keys (contract `cli.md`, API keys): a private key in one line of text.
//!
//! text = `kes:v1:` ‖ base64(0x00 ‖ seed), seed = the 32 bytes of an Ed25519 private key
//! (RFC 8032, 5.1.5). The first byte is the type of the key; no other type is defined.

use std::time::Duration;

use base64ct::{Base64, Encoding};
use kes_api::Identity;
use kes_tls::PrivateKey;
use rcgen::{KeyPair, PKCS_ED25519, PublicKeyData};
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use zeroize::Zeroizing;

use crate::certificate::{self, CertificateError, SelfSigned, Usage};

/// A private key that identifies a client. It is wiped when dropped and has neither `Debug`,
/// `Display` nor `Clone`. [`ApiKey::expose`] returns its text.
pub struct ApiKey {
    seed: Zeroizing<[u8; SEED_LEN]>,
    identity: Identity,
}

/// A text that is not an API key. The error contains nothing of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidApiKey {
    /// A character that is not base64, or a wrong length.
    #[error("malformed API key: expected '{PREFIX}' and {DIGITS} base64 characters")]
    Encoding,
    /// A first byte that is not 0.
    #[error("malformed API key: unknown type of key")]
    Kind,
    /// A prefix that is not `kes:v1:`.
    #[error("malformed API key: unknown version, expected '{PREFIX}'")]
    Version,
    /// A private key that cannot be an API key.
    #[error("only an Ed25519 private key (PKCS#8) has an API key")]
    NotEd25519,
}

const PREFIX: &str = "kes:v1:";
const SEED_LEN: usize = 32;
/// The base64 characters of the kind and the seed.
const DIGITS: usize = (SEED_LEN + 1) / 3 * 4;
/// The type byte of Ed25519 keys, before the seed.
const ED25519: u8 = 0;

/// How long the certificate of an API key is valid (contract `cli.md`, API keys). Each process
/// makes its own.
const VALIDITY: Duration = Duration::from_hours(90 * 24);

impl ApiKey {
    /// Makes a key.
    ///
    /// # Errors
    /// [`CertificateError::Random`] if the random number generator fails.
    pub fn generate() -> Result<Self, CertificateError> {
        let mut seed = Zeroizing::new([0; SEED_LEN]);
        certificate::random(seed.as_mut_slice())?;
        Ok(Self::from_seed(seed))
    }

    /// Parses a key. The prefix may be missing, and blanks at either end are ignored.
    ///
    /// # Errors
    /// [`InvalidApiKey`] if the text is not an API key.
    pub fn parse(text: &str) -> Result<Self, InvalidApiKey> {
        let text = text.trim();
        let digits = text.strip_prefix(PREFIX).unwrap_or(text);
        if digits.contains(':') {
            return Err(InvalidApiKey::Version);
        }
        let mut bytes = Zeroizing::new([0; SEED_LEN + 1]);
        let decoded = Base64::decode(digits, bytes.as_mut_slice());
        if decoded.map_or(0, <[u8]>::len) != SEED_LEN + 1 {
            return Err(InvalidApiKey::Encoding);
        }
        if bytes[0] != ED25519 {
            return Err(InvalidApiKey::Kind);
        }
        let mut seed = Zeroizing::new([0; SEED_LEN]);
        seed.copy_from_slice(&bytes[1..]);
        Ok(Self::from_seed(seed))
    }

    /// The API key of an Ed25519 private key in PKCS#8 (RFC 8410).
    ///
    /// # Errors
    /// [`InvalidApiKey::NotEd25519`] for any other key.
    pub fn from_pkcs8(key: &PrivateKey) -> Result<Self, InvalidApiKey> {
        key.ed25519_seed().map(Self::from_seed).ok_or(InvalidApiKey::NotEd25519)
    }

    /// The text of the key, with the prefix. Whoever has it can act as the client.
    pub fn expose(&self) -> Zeroizing<String> {
        let mut bytes = Zeroizing::new([ED25519; SEED_LEN + 1]);
        bytes[1..].copy_from_slice(self.seed.as_slice());
        let digits = Zeroizing::new(Base64::encode_string(bytes.as_slice()));
        // Allocated at full size: a text that grows leaves an unwiped copy behind.
        let mut text = Zeroizing::new(String::with_capacity(PREFIX.len() + digits.len()));
        text.push_str(PREFIX);
        text.push_str(&digits);
        text
    }

    /// The identity of the key.
    pub fn identity(&self) -> Identity {
        self.identity
    }

    /// Makes a self-signed certificate for the key: the identity as its common name, for client
    /// authentication, valid for 90 days. Returns it with the key in the form that TLS needs.
    ///
    /// # Errors
    /// [`CertificateError`] if the system has no random numbers.
    pub fn certificate(&self) -> Result<(CertificateDer<'static>, PrivateKey), CertificateError> {
        let name = self.identity.to_hex();
        let certificate = SelfSigned {
            subject: name.as_str(),
            dns: &[],
            ips: &[],
            validity: VALIDITY,
            usage: Usage::Client,
        };
        certificate.sign(&key_pair(&self.seed))
    }

    /// Makes a self-signed certificate for the key with other contents, for an identity that is
    /// stored in files. Returns it with the key in the form that TLS needs.
    ///
    /// # Errors
    /// Those of [`SelfSigned::generate`].
    pub fn certificate_with(
        &self,
        certificate: &SelfSigned<'_>,
    ) -> Result<(CertificateDer<'static>, PrivateKey), CertificateError> {
        certificate.sign(&key_pair(&self.seed))
    }

    fn from_seed(seed: Zeroizing<[u8; SEED_LEN]>) -> Self {
        let identity = Identity::of_public_key(&key_pair(&seed).subject_public_key_info());
        Self { seed, identity }
    }
}

/// The key in PKCS#8 (RFC 8410, 7), which the certificate library needs.
fn key_pair(seed: &[u8; SEED_LEN]) -> Zeroizing<KeyPair> {
    /// The bytes before the seed: version 0, algorithm 1.3.101.112, and the headers of two octet
    /// strings.
    const HEADER: [u8; 16] = [
        0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04,
        0x20,
    ];
    let mut der = Zeroizing::new([0; HEADER.len() + SEED_LEN]);
    der[..HEADER.len()].copy_from_slice(&HEADER);
    der[HEADER.len()..].copy_from_slice(seed);
    let der = PrivatePkcs8KeyDer::from(der.as_slice());
    KeyPair::from_pkcs8_der_and_sign_algo(&der, &PKCS_ED25519)
        .map(Zeroizing::new)
        .expect("any 32 bytes are the seed of an Ed25519 key")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// From the reference's recorded runs.
    const TEXT: &str = "kes:v1:ABFH5GCLy7NnPiYT4bJK5RZdCWbTuNHOCGQsZfoBPSqT";
    const IDENTITY: &str = "bd361f98d45e59575eae2080a1044ff2280ae7621f7dfaf3ba68af2ec945f378";

    #[test]
    fn a_known_key_has_its_known_identity() {
        for text in [TEXT, &TEXT[PREFIX.len()..], &format!(" {TEXT}\n")] {
            let key = ApiKey::parse(text).unwrap();
            assert_eq!(key.identity().to_string(), IDENTITY);
            assert_eq!(*key.expose(), TEXT);
        }
        let other = "kes:v1:AK0EMJSWF6MenFj6N2vWnwh1UXJUiYT9zkXjLedN/Pm8";
        let identity = "34661ba76a846790ab7cf6f03d83d490c37d61231685f17651ab223ad6a6952a";
        assert_eq!(ApiKey::parse(other).unwrap().identity().to_string(), identity);
    }

    #[test]
    fn the_certificate_belongs_to_the_key() {
        let key = ApiKey::parse(TEXT).unwrap();
        let (certificate, private) = key.certificate().unwrap();
        assert_eq!(Identity::of_certificate(&certificate).unwrap().to_string(), IDENTITY);
        assert_eq!(Identity::of_peer([certificate.as_ref()]).unwrap().to_string(), IDENTITY);
        kes_tls::match_key(&[certificate], &private).unwrap();
        // The private key leads back to the API key.
        assert_eq!(*ApiKey::from_pkcs8(&private).unwrap().expose(), TEXT);
    }

    #[test]
    fn keys_are_fresh() {
        let (one, other) = (ApiKey::generate().unwrap(), ApiKey::generate().unwrap());
        assert_ne!(one.identity(), other.identity());
        assert_eq!(ApiKey::parse(&one.expose()).unwrap().identity(), one.identity());
    }

    #[test]
    fn other_texts_are_refused() {
        let kind = format!("{PREFIX}AR{}", &TEXT[PREFIX.len() + 2..]);
        let v2 = format!("kes:v2:{}", &TEXT[PREFIX.len()..]);
        let short = &TEXT[..TEXT.len() - 4];
        let long = format!("{TEXT}AAAA");
        let url_safe = TEXT.replace('y', "-");
        for (text, error) in [
            ("", InvalidApiKey::Encoding),
            (PREFIX, InvalidApiKey::Encoding),
            (short, InvalidApiKey::Encoding),
            (&long, InvalidApiKey::Encoding),
            (&url_safe, InvalidApiKey::Encoding),
            (&kind, InvalidApiKey::Kind),
            (&v2, InvalidApiKey::Version),
            (IDENTITY, InvalidApiKey::Encoding),
        ] {
            assert_eq!(ApiKey::parse(text).err(), Some(error), "{text}");
        }
    }

    #[test]
    fn only_an_ed25519_key_is_an_api_key() {
        let key = SelfSigned {
            subject: "x",
            dns: &[],
            ips: &[],
            validity: VALIDITY,
            usage: Usage::ServerAndClient,
        };
        let (_, p256) = key.generate().unwrap();
        assert_eq!(ApiKey::from_pkcs8(&p256).err(), Some(InvalidApiKey::NotEd25519));
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in r"(kes:v1:)?[A-Za-z0-9+/=:\PC]{0,50}") {
            let _ = ApiKey::parse(&text);
        }

        #[test]
        fn text_and_seed_are_inverse(seed: [u8; SEED_LEN]) {
            let key = ApiKey::from_seed(Zeroizing::new(seed));
            let again = ApiKey::parse(&key.expose()).unwrap();
            prop_assert_eq!(*again.seed, seed);
        }
    }
}
