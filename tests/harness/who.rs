use rcgen::{CertificateParams, KeyPair};
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
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
        let identity = kes_api::Identity::of_certificate(certificate.der()).unwrap().to_string();
        Self {
            certificate: certificate.der().clone(),
            key: PrivatePkcs8KeyDer::from(key.serialize_der()),
            certificate_pem: certificate.pem(),
            key_pem: key.serialize_pem(),
            identity,
        }
    }

    pub(crate) fn private_key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(self.key.clone_key())
    }
}
