//! Verifies that a client holds the private key of the certificate that it sends. Only with
//! `tls.auth: on` does it matter who signed that certificate and when it expires (contract
//! `config.md`, TLS).

use std::sync::Arc;

use kes_api::certificate::Certificate;
use kes_tls::ClientChains;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use rustls::pki_types::{
    CertificateDer, SignatureVerificationAlgorithm, SubjectPublicKeyInfoDer, UnixTime,
};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, PeerMisbehaved,
    SignatureScheme,
};
use webpki::RawPublicKeyEntity;

use super::refused;

/// The largest chain of certificates that a client may send, in bytes. It is kept as long as the
/// connection is open, and in the session. A certificate of RSA-8192 has about 3 KiB, and the usual
/// chain of a company, a leaf and two intermediate CAs of RSA-4096, about 5.
const MAX_CHAIN: usize = 16 * 1024;

/// A client's chain is over the limit.
#[derive(Debug, thiserror::Error)]
#[error(
    "the chain that the client sent has {length} bytes, and at most {} are accepted",
    MAX_CHAIN
)]
struct ChainTooLarge {
    length: usize,
}

/// Accepts certificates whose private key the client holds: all of them, or those that a trusted CA
/// has signed.
///
/// The handshake's signature is verified with the public key alone: webpki's certificate parser
/// refuses X.509 v1 and unknown critical extensions, which the contract accepts.
#[derive(Debug)]
pub(super) struct ClientCertificates {
    algorithms: WebPkiSupportedAlgorithms,
    mandatory: bool,
    trusted: Option<ClientChains>,
}

impl ClientCertificates {
    /// With `trusted`, a client's certificate has to be signed by one of these CAs.
    pub(super) fn new(
        provider: &CryptoProvider,
        mandatory: bool,
        trusted: Option<ClientChains>,
    ) -> Self {
        Self { algorithms: provider.signature_verification_algorithms, mandatory, trusted }
    }

    /// The CAs that have to sign a client's certificate, if any have to.
    pub(super) fn trusted(&self) -> Option<Vec<&CertificateDer<'static>>> {
        self.trusted.as_ref().map(|chains| chains.certificates().collect())
    }

    fn algorithms(
        &self,
        scheme: SignatureScheme,
    ) -> Result<&'static [&'static dyn SignatureVerificationAlgorithm], Error> {
        self.algorithms
            .mapping
            .iter()
            .find(|(candidate, _)| *candidate == scheme)
            .map(|(_, algorithms)| *algorithms)
            .ok_or_else(|| PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme.into())
    }
}

impl ClientCertVerifier for ClientCertificates {
    fn offer_client_auth(&self) -> bool {
        true
    }

    fn client_auth_mandatory(&self) -> bool {
        self.mandatory
    }

    /// Empty without trusted CAs: a client then sends whatever certificate it has.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.trusted.as_ref().map_or(&[], ClientChains::subjects)
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let length = end_entity.len() + intermediates.iter().map(|der| der.len()).sum::<usize>();
        if length > MAX_CHAIN {
            let fault = OtherError(Arc::new(ChainTooLarge { length }));
            return Err(CertificateError::Other(fault).into());
        }
        public_key(end_entity)?;
        if let Some(trusted) = &self.trusted {
            trusted
                .verify(end_entity, intermediates, now)
                .inspect_err(|_| refused::keep(end_entity))?;
        }
        Ok(ClientCertVerified::assertion())
    }

    /// In TLS 1.2 a scheme names the hash and the kind of key, not the curve: all curves are tried.
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify(self.algorithms(signed.scheme)?, message, cert, signed)
    }

    /// In TLS 1.3 a scheme names the curve as well, and PKCS#1 v1.5 is not allowed (RFC 8446,
    /// 4.2.3).
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        use SignatureScheme as S;
        if matches!(signed.scheme, S::RSA_PKCS1_SHA256 | S::RSA_PKCS1_SHA384 | S::RSA_PKCS1_SHA512)
        {
            return Err(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme.into());
        }
        let algorithms = self.algorithms(signed.scheme)?;
        verify(algorithms.get(..1).unwrap_or_default(), message, cert, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

fn verify(
    algorithms: &[&'static dyn SignatureVerificationAlgorithm],
    message: &[u8],
    cert: &CertificateDer<'_>,
    signed: &DigitallySignedStruct,
) -> Result<HandshakeSignatureValid, Error> {
    let key = public_key(cert)?;
    let key = RawPublicKeyEntity::try_from(&key).map_err(|_| CertificateError::BadEncoding)?;
    for algorithm in algorithms {
        match key.verify_signature(*algorithm, message, signed.signature()) {
            Ok(()) => return Ok(HandshakeSignatureValid::assertion()),
            // The algorithm is for another kind of key: try the next one.
            Err(webpki::Error::UnsupportedSignatureAlgorithmForPublicKeyContext(_)) => {}
            Err(_) => return Err(CertificateError::BadSignature.into()),
        }
    }
    Err(CertificateError::BadSignature.into())
}

fn public_key<'a>(cert: &'a CertificateDer<'_>) -> Result<SubjectPublicKeyInfoDer<'a>, Error> {
    let certificate = Certificate::parse(cert).map_err(|_| CertificateError::BadEncoding)?;
    Ok(SubjectPublicKeyInfoDer::from(certificate.public_key()))
}

#[cfg(test)]
mod tests;
