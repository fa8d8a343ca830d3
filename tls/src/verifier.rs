//! Verifies servers for a client.

use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{
    WebPkiServerVerifier, verify_server_cert_signed_by_trust_anchor, verify_server_name,
};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, OtherError, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, SignatureVerificationAlgorithm, UnixTime};

use crate::ca_leaf;
use crate::error::{Error, Fault};
use crate::roots::{self, Roots};

/// The verifier for a client: the CAs of [`crate::load_roots`], and two more rules.
///
/// A server's certificate may be marked as a CA's. Its chain is verified like any other.
///
/// A server may send a certificate that is itself trusted: one that is in `ca` or the system's
/// store, byte for byte. It needs no issuer, so it is accepted if its names, dates and purpose are
/// right, whoever signed it. Operators use self-signed certificates in this way, and other TLS
/// libraries accept them. webpki alone refuses those whose issuer is not trusted.
///
/// # Errors
/// Those of [`crate::load_roots`].
pub fn server_verifier(
    ca: Option<&Path>,
    mode: Roots,
) -> Result<Arc<dyn ServerCertVerifier>, Error> {
    let given = ca.map_or_else(|| Ok(Vec::new()), roots::read)?;
    let (store, trusted) = roots::load(ca, given, mode)?;
    verifier(store, trusted).ok_or(Error::NoRoots)
}

/// The same with only the CAs of a PEM text.
///
/// # Errors
/// [`Fault`] if the text is damaged or has no usable certificate.
pub fn server_verifier_of_pem(pem: &[u8]) -> Result<Arc<dyn ServerCertVerifier>, Fault> {
    let trusted = crate::parse_certificates(pem)?;
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(trusted.iter().cloned());
    verifier(store, trusted).ok_or(Fault::NoUsableRoot)
}

fn verifier(
    store: RootCertStore,
    trusted: Vec<CertificateDer<'static>>,
) -> Option<Arc<dyn ServerCertVerifier>> {
    let roots = Arc::new(store);
    let chains = WebPkiServerVerifier::builder_with_provider(Arc::clone(&roots), crate::provider());
    Some(Arc::new(ServerVerifier { chains: chains.build().ok()?, roots, trusted }))
}

#[derive(Debug)]
struct ServerVerifier {
    chains: Arc<WebPkiServerVerifier>,
    roots: Arc<RootCertStore>,
    trusted: Vec<CertificateDer<'static>>,
}

impl ServerVerifier {
    /// Verifies the chain and the name of a certificate that is marked as a CA's.
    fn verify_ca(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let plain = ca_leaf::without_basic_constraints(leaf)
            .ok_or(rustls::Error::InvalidCertificate(CertificateError::BadEncoding))?;
        let algorithms = plain.algorithms(crate::provider().signature_verification_algorithms.all);
        let algorithms: Vec<&dyn SignatureVerificationAlgorithm> =
            algorithms.iter().map(|algorithm| algorithm as _).collect();
        let shown = ParsedCertificate::try_from(plain.certificate())?;
        verify_server_cert_signed_by_trust_anchor(
            &shown,
            &self.roots,
            intermediates,
            now,
            &algorithms,
        )?;
        verify_server_name(&ParsedCertificate::try_from(leaf)?, name)?;
        Ok(ServerCertVerified::assertion())
    }
}

impl ServerCertVerifier for ServerVerifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let result = match self.chains.verify_server_cert(leaf, intermediates, name, ocsp, now) {
            Err(error) if is_about_ca_flag(&error) => {
                self.verify_ca(leaf, intermediates, name, now)
            }
            result => result,
        };
        match result {
            Err(error) if is_about_issuer(&error) && self.trusted.contains(leaf) => {
                // webpki checks dates and purpose first, so both are right.
                verify_server_name(&ParsedCertificate::try_from(leaf)?, name)?;
                Ok(ServerCertVerified::assertion())
            }
            result => result,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.chains.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.chains.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chains.supported_verify_schemes()
    }
}

/// Whether a certificate was refused because it is marked as a CA's.
fn is_about_ca_flag(error: &rustls::Error) -> bool {
    let rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(cause))) = error
    else {
        return false;
    };
    matches!(cause.downcast_ref(), Some(webpki::Error::CaUsedAsEndEntity))
}

/// Whether a certificate was refused because of its issuer. webpki checks dates and purpose before
/// that.
fn is_about_issuer(error: &rustls::Error) -> bool {
    let rustls::Error::InvalidCertificate(error) = error else { return false };
    matches!(
        error,
        CertificateError::UnknownIssuer
            | CertificateError::BadSignature
            | CertificateError::UnsupportedSignatureAlgorithmContext { .. }
            | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. }
    )
}
