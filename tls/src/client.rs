//! Whether a client's certificate is vouched for by a trusted CA.

use std::path::Path;
use std::time::{Duration, SystemTime};

use rustls::{CertificateError, DistinguishedName, OtherError};
use rustls_pki_types::{CertificateDer, SignatureVerificationAlgorithm, TrustAnchor, UnixTime};
use webpki::{EndEntityCert, KeyUsage, VerifiedPath};

use crate::authority::Rules;
use crate::error::Error;
use crate::roots::{self, Roots};
use crate::version1::{Version1, WithVersion1};

/// The CAs that client certificates have to come from: those of a file or folder, and the
/// system's.
///
/// The chain is built and checked by webpki: signatures, dates, CA flags, path lengths, extended
/// key usage and name constraints. Two things are added. A client certificate may be one of X.509
/// version 1, which has no extensions and which guides make with `openssl x509 -req`. And a trusted
/// certificate vouches for others only if it is a CA's that may sign certificates; webpki
/// takes every trusted certificate for a CA, and looks at no key usage.
#[derive(Debug)]
pub struct ClientChains {
    /// As webpki wants them; each belongs to the authority at the same place.
    anchors: Vec<TrustAnchor<'static>>,
    authorities: Vec<Authority>,
    subjects: Vec<DistinguishedName>,
}

/// A trusted certificate.
#[derive(Debug)]
struct Authority {
    der: CertificateDer<'static>,
    /// What it says of itself as a CA.
    rules: Rules,
}

impl ClientChains {
    /// Reads the CAs of a PEM file or of a folder, and the system's.
    ///
    /// # Errors
    /// Those of [`crate::load_roots`].
    pub fn load(ca: Option<&Path>) -> Result<Self, Error> {
        let trusted = roots::certificates(ca, Roots::AndSystem)?;
        let mut chains =
            Self { anchors: Vec::new(), authorities: Vec::new(), subjects: Vec::new() };
        for der in trusted {
            // Certificates that cannot serve as a CA are skipped; that one can was checked.
            let Ok(anchor) = webpki::anchor_from_trusted_cert(&der) else { continue };
            let Ok(rules) = Rules::of(&der) else { continue };
            let anchor = anchor.to_owned();
            chains.subjects.push(DistinguishedName::in_sequence(&anchor.subject));
            chains.anchors.push(anchor);
            chains.authorities.push(Authority { der, rules });
        }
        Ok(chains)
    }

    /// The names of the CAs, for the client to choose a certificate by.
    pub fn subjects(&self) -> &[DistinguishedName] {
        &self.subjects
    }

    /// Checks a client's certificate, with what the client sent beside it.
    ///
    /// # Errors
    /// Why it is refused.
    pub fn verify(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), CertificateError> {
        let algorithms = crate::provider().signature_verification_algorithms.all;
        match Version1::of(leaf) {
            None => self.verify_with(leaf, leaf, algorithms, intermediates, now),
            Some(version1) => {
                let algorithms: Vec<_> =
                    algorithms.iter().map(|inner| WithVersion1::new(*inner, &version1)).collect();
                let algorithms: Vec<&dyn SignatureVerificationAlgorithm> =
                    algorithms.iter().map(|algorithm| algorithm as _).collect();
                self.verify_with(leaf, version1.as_version3(), &algorithms, intermediates, now)
            }
        }
    }

    /// `leaf` is the certificate that the client sent, `shown` the form that webpki reads.
    fn verify_with(
        &self,
        leaf: &CertificateDer<'_>,
        shown: &CertificateDer<'_>,
        algorithms: &[&dyn SignatureVerificationAlgorithm],
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), CertificateError> {
        let vouched = |path: &VerifiedPath<'_>| self.is_vouched_for(path, leaf, now);
        EndEntityCert::try_from(shown)
            .and_then(|shown| {
                let usage = KeyUsage::client_auth();
                shown
                    .verify_for_usage(
                        algorithms,
                        &self.anchors,
                        intermediates,
                        now,
                        usage,
                        None,
                        Some(&vouched),
                    )
                    .map(drop)
            })
            .map_err(reason)
    }

    /// What webpki leaves out of a chain that it has verified.
    fn is_vouched_for(
        &self,
        path: &VerifiedPath<'_>,
        leaf: &CertificateDer<'_>,
        now: UnixTime,
    ) -> Result<(), webpki::Error> {
        let mut below = 0;
        for intermediate in path.intermediate_certificates() {
            let rules = Rules::of(&intermediate.der()).map_err(|_| webpki::Error::BadDer)?;
            if !rules.may_sign_certificates() {
                return Err(webpki::Error::UnknownIssuer);
            }
            below += 1;
        }
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(now.as_secs());
        let anchor = path.anchor();
        // The same name and key may stand in several certificates, of which one suffices.
        let known = self.anchors.iter().zip(&self.authorities).filter(|(candidate, _)| {
            candidate.subject == anchor.subject
                && candidate.subject_public_key_info == anchor.subject_public_key_info
        });
        let mut refusal = webpki::Error::UnknownIssuer;
        for (_, authority) in known {
            // A certificate that is trusted by itself needs nobody to vouch for it.
            if authority.der == *leaf {
                return Ok(());
            }
            match authority.rules.allow(below, now) {
                Ok(()) => return Ok(()),
                Err(error) => refusal = error,
            }
        }
        Err(refusal)
    }
}

/// The reason as TLS has it, so that the client gets the alert that fits.
fn reason(error: webpki::Error) -> CertificateError {
    use webpki::Error as E;
    match error {
        E::BadDer | E::BadDerTime | E::TrailingData(_) => CertificateError::BadEncoding,
        E::CertNotValidYet { time, not_before } => {
            CertificateError::NotValidYetContext { time, not_before }
        }
        E::CertExpired { time, not_after } => CertificateError::ExpiredContext { time, not_after },
        E::InvalidCertValidity => CertificateError::Expired,
        E::UnknownIssuer => CertificateError::UnknownIssuer,
        E::InvalidSignatureForPublicKey => CertificateError::BadSignature,
        other => CertificateError::Other(OtherError(std::sync::Arc::new(other))),
    }
}
