//! Verifies that a trusted CA issued a client's certificate.

use std::path::Path;
use std::time::{Duration, SystemTime};

use rustls::{CertificateError, DistinguishedName, OtherError};
use rustls_pki_types::{CertificateDer, SignatureVerificationAlgorithm, TrustAnchor, UnixTime};
use webpki::{EndEntityCert, KeyUsage, VerifiedPath};

use crate::authority::Rules;
use crate::error::Error;
use crate::roots::{self, Roots};
use crate::version1;

/// The CAs that may issue client certificates: those of a file or folder, and the system's.
///
/// The chain is built and checked by webpki: signatures, dates, CA flags, path lengths, extended
/// key usage and name constraints. This type adds two rules. A client certificate may be one of
/// X.509 version 1, which has no extensions; guides make such certificates with `openssl x509
/// -req`. And a trusted certificate can issue others only if it is a CA's and its key usage allows
/// to sign certificates; webpki treats every trusted certificate as a CA and ignores key usage.
#[derive(Debug)]
pub struct ClientChains {
    /// For webpki; each belongs to the authority at the same index.
    anchors: Vec<TrustAnchor<'static>>,
    authorities: Vec<Authority>,
    subjects: Vec<DistinguishedName>,
}

/// A trusted certificate.
#[derive(Debug)]
struct Authority {
    der: CertificateDer<'static>,
    /// What it may sign.
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
            // Skips what cannot serve as a CA. `roots::certificates` found at least one that can.
            let Ok(anchor) = webpki::anchor_from_trusted_cert(&der) else { continue };
            let Ok(rules) = Rules::of(&der) else { continue };
            let anchor = anchor.to_owned();
            chains.subjects.push(DistinguishedName::in_sequence(&anchor.subject));
            chains.anchors.push(anchor);
            chains.authorities.push(Authority { der, rules });
        }
        Ok(chains)
    }

    /// The certificates of the CAs.
    pub fn certificates(&self) -> impl Iterator<Item = &CertificateDer<'static>> {
        self.authorities.iter().map(|authority| &authority.der)
    }

    /// The names of the CAs, for the client to choose a certificate by.
    pub fn subjects(&self) -> &[DistinguishedName] {
        &self.subjects
    }

    /// Checks a client's certificate, with the other certificates that the client sent.
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
        match version1::as_version3(leaf) {
            None => self.verify_with(leaf, leaf, algorithms, intermediates, now),
            Some(version3) => {
                let algorithms = version3.algorithms(algorithms);
                let algorithms: Vec<&dyn SignatureVerificationAlgorithm> =
                    algorithms.iter().map(|algorithm| algorithm as _).collect();
                self.verify_with(leaf, version3.certificate(), &algorithms, intermediates, now)
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

    /// Checks of a verified chain that webpki does not make.
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
        // Several certificates may have the same name and key; it is enough if one of them may
        // sign.
        let known = self.anchors.iter().zip(&self.authorities).filter(|(candidate, _)| {
            candidate.subject == anchor.subject
                && candidate.subject_public_key_info == anchor.subject_public_key_info
        });
        let mut refusal = webpki::Error::UnknownIssuer;
        for (_, authority) in known {
            // A certificate that is itself trusted needs no issuer.
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

/// The reason as a TLS error, so that the client gets the right alert.
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
