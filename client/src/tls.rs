//! Which servers a client trusts, and its own identity.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use kes_tls::{Roots, match_key, provider, server_verifier};
use rustls::ClientConfig;
use rustls::client::danger::ServerCertVerifier;
use rustls::sign::{CertifiedKey, SingleCertAndKey};

use crate::api_key::ApiKey;
use crate::error::{Error, HINT};

/// Which servers are trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trust {
    /// Those with a certificate that one of the system's CAs signed.
    System,
    /// Those with a certificate that one of the system's CAs signed, or a CA in this file or
    /// folder.
    SystemAnd(PathBuf),
    /// Those with a certificate that a CA in this file or folder signed.
    Only(PathBuf),
    /// All servers, unverified: the data may be sent to an attacker.
    DangerAny,
}

/// The TLS configuration of a client.
///
/// # Errors
/// [`Error::Setup`] if the CAs cannot be read.
pub fn config(trust: &Trust, identity: Option<Arc<CertifiedKey>>) -> Result<ClientConfig, Error> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::setup(&error))?
        .dangerous()
        .with_custom_certificate_verifier(verifier(trust)?);
    let mut config = match identity {
        Some(identity) => {
            builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(identity)))
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// The identity of an API key, with a fresh certificate.
///
/// # Errors
/// [`Error::Setup`] if the system has no random numbers.
pub fn identity_of(key: &ApiKey) -> Result<Arc<CertifiedKey>, Error> {
    let (certificate, private) = key.certificate().map_err(|error| Error::setup(&error))?;
    match_key(&[certificate], &private).map_err(|error| Error::setup(&error))
}

/// The identity of a certificate and a private key in PEM files.
///
/// # Errors
/// [`Error::Setup`] with the file and what is wrong with it; also for an encrypted private key
/// without a password.
pub fn identity_from_files(
    certificate: &Path,
    key: &Path,
    password: Option<&str>,
) -> Result<Arc<CertifiedKey>, Error> {
    kes_tls::load_certified_key(certificate, key, password).map_err(|error| Error::setup(&error))
}

fn verifier(trust: &Trust) -> Result<Arc<dyn ServerCertVerifier>, Error> {
    match trust {
        Trust::System => server_verifier(None, Roots::AndSystem)
            .map_err(|error| Error::Setup { reason: format!("{error}; {HINT}") }),
        Trust::SystemAnd(path) => {
            server_verifier(Some(path), Roots::AndSystem).map_err(|error| Error::setup(&error))
        }
        Trust::Only(path) => {
            server_verifier(Some(path), Roots::Only).map_err(|error| Error::setup(&error))
        }
        Trust::DangerAny => Ok(Arc::new(danger::AnyServer(provider()))),
    }
}

mod danger {
    use std::sync::Arc;

    use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
    use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
    use rustls::{DigitallySignedStruct, Error, SignatureScheme};
    use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

    /// Accepts any certificate. The server still proves that it has the private key.
    #[derive(Debug)]
    pub(super) struct AnyServer(pub(super) Arc<CryptoProvider>);

    impl ServerCertVerifier for AnyServer {
        fn verify_server_cert(
            &self,
            _leaf: &CertificateDer<'_>,
            _intermediates: &[CertificateDer<'_>],
            _name: &ServerName<'_>,
            _ocsp: &[u8],
            _now: UnixTime,
        ) -> Result<ServerCertVerified, Error> {
            Ok(ServerCertVerified::assertion())
        }

        fn verify_tls12_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signature: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            let algorithms = &self.0.signature_verification_algorithms;
            verify_tls12_signature(message, certificate, signature, algorithms)
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signature: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            let algorithms = &self.0.signature_verification_algorithms;
            verify_tls13_signature(message, certificate, signature, algorithms)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            self.0.signature_verification_algorithms.supported_schemes()
        }
    }
}
