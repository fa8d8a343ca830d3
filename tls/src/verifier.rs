//! Whether a server is who it says it is.

use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, OtherError, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use crate::error::Error;
use crate::roots::{self, Roots};

/// The verifier for a client: the CAs of [`crate::load_roots`], and one more rule.
///
/// A self-signed certificate as `openssl req -x509` makes it says that it is a CA, and webpki
/// takes no CA for a server. Operators use such certificates for servers and trust them by
/// name of their file, and other TLS libraries go along. So a server that shows, byte for byte,
/// a certificate out of `ca` is taken for what its names say, as long as it has not expired.
///
/// # Errors
/// Those of [`crate::load_roots`].
pub fn server_verifier(
    ca: Option<&Path>,
    mode: Roots,
) -> Result<Arc<dyn ServerCertVerifier>, Error> {
    let trusted = match ca {
        Some(path) => roots::read(path)?,
        None => Vec::new(),
    };
    let store = roots::store(ca, &trusted, mode)?;
    let chains = WebPkiServerVerifier::builder_with_provider(store.into(), crate::provider())
        .build()
        .map_err(|_| Error::NoRoots)?;
    Ok(Arc::new(ServerVerifier { chains, trusted }))
}

#[derive(Debug)]
struct ServerVerifier {
    chains: Arc<WebPkiServerVerifier>,
    trusted: Vec<CertificateDer<'static>>,
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
        match self.chains.verify_server_cert(leaf, intermediates, name, ocsp, now) {
            Err(error) if is_refused_as_ca(&error) && self.trusted.contains(leaf) => {
                // webpki looks at the time first: it has not expired.
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

fn is_refused_as_ca(error: &rustls::Error) -> bool {
    let rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(cause))) = error
    else {
        return false;
    };
    matches!(cause.downcast_ref(), Some(webpki::Error::CaUsedAsEndEntity))
}
