use std::fmt::Write as _;

use kes_testkit::SelfSigned;
use kes_testkit::certs::Pair;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

/// Who sends a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    /// The admin.
    Admin,
    /// Has the policy `minio` of the contract's recorded runs, if the configuration has it.
    Minio,
    /// Has a certificate that no policy knows.
    Other,
    /// Has no certificate.
    Nobody,
}

/// A private key and a self-signed certificate.
#[derive(Debug)]
pub(crate) struct Credentials {
    pub(crate) certificate: CertificateDer<'static>,
    pub(crate) key: PrivatePkcs8KeyDer<'static>,
    pub(crate) certificate_pem: String,
    pub(crate) key_pem: String,
    pub(crate) identity: String,
}

impl Credentials {
    /// Fresh ones, ECDSA P-256.
    pub(crate) fn new(names: &[&str]) -> Self {
        Self::of(SelfSigned::new(names))
    }

    /// Those that somebody has made.
    pub(crate) fn of(made: SelfSigned) -> Self {
        let SelfSigned { key, key_pem, certificate, certificate_pem } = made;
        let identity = kes_api::Identity::of_certificate(&certificate).unwrap().to_string();
        let (certificate, key) = (certificate.into(), key.into());
        Self { certificate, key, certificate_pem, key_pem, identity }
    }

    /// Those that a CA has issued.
    pub(crate) fn issued(pair: &Pair) -> Self {
        let certificate = CertificateDer::from_pem_file(&pair.certificate).unwrap();
        let identity = kes_api::Identity::of_certificate(&certificate).unwrap().to_string();
        Self {
            key: PrivatePkcs8KeyDer::from_pem_file(&pair.key).unwrap(),
            certificate_pem: std::fs::read_to_string(&pair.certificate).unwrap(),
            key_pem: std::fs::read_to_string(&pair.key).unwrap(),
            certificate,
            identity,
        }
    }

    /// The certificate as a proxy forwards it: URL-escaped PEM.
    pub(crate) fn escaped_certificate(&self) -> String {
        self.certificate_pem.bytes().fold(String::new(), |mut text, byte| {
            if byte.is_ascii_alphanumeric() {
                text.push(char::from(byte));
            } else {
                write!(text, "%{byte:02X}").unwrap();
            }
            text
        })
    }

    pub(crate) fn private_key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(self.key.clone_key())
    }
}
