use rustls::{CertificateError, ExtendedKeyPurpose};
use webpki::Error as Rule;

/// What a certificate is to be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usage {
    /// It names a server.
    Server,
    /// It names a client.
    Client,
}

/// What is wrong with a certificate, as a text that follows "the certificate" or "it". The
/// library's own texts are the names of its types and fields.
pub fn certificate_fault(error: &CertificateError, usage: Usage) -> String {
    use CertificateError as E;
    let text = match error {
        E::BadEncoding => "is malformed",
        E::Expired | E::ExpiredContext { .. } => "has expired",
        E::NotValidYet | E::NotValidYetContext { .. } => "is not valid yet",
        E::Revoked => "is revoked",
        E::UnhandledCriticalExtension => "has a critical extension that is not supported",
        E::UnknownIssuer => "is not signed by a trusted CA",
        E::UnknownRevocationStatus
        | E::ExpiredRevocationList
        | E::ExpiredRevocationListContext { .. }
        | E::InvalidOcspResponse => "cannot be checked for a revocation",
        // The algorithm is supported, and is not one of the issuer's key.
        E::BadSignature | E::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => OTHER_KEY,
        E::UnsupportedSignatureAlgorithmContext { .. } => UNSUPPORTED_SIGNATURE,
        E::NotValidForName | E::NotValidForNameContext { .. } => "is for another host",
        E::InvalidPurpose => purpose(usage, false),
        E::InvalidPurposeContext { presented, .. } => {
            let other = match usage {
                Usage::Server => ExtendedKeyPurpose::ClientAuth,
                Usage::Client => ExtendedKeyPurpose::ServerAuth,
            };
            purpose(usage, *presented == [other])
        }
        E::ApplicationVerificationFailure => "is refused",
        E::Other(other) => match other.0.downcast_ref::<Rule>() {
            Some(broken) => rule(broken, usage),
            None => return format!("is refused: {other}"),
        },
        // Variants that a new version of the library adds.
        _ => BROKEN_RULE,
    };
    text.to_owned()
}

const UNSUPPORTED_SIGNATURE: &str = "is signed with an algorithm that is not supported; RSA with 2048 to 8192 bits, ECDSA and \
     Ed25519 are, with SHA-256, SHA-384 or SHA-512";

/// Such as a CA that was made anew under its old name.
const OTHER_KEY: &str =
    "is not signed by a trusted CA: its issuer has the name of a trusted CA, but another key";

const BROKEN_RULE: &str = "breaks a rule for X.509 certificates (RFC 5280)";

const fn purpose(usage: Usage, is_the_other: bool) -> &'static str {
    match (usage, is_the_other) {
        (Usage::Client, true) => {
            "is for server authentication only; its extended key usage needs clientAuth"
        }
        (Usage::Client, false) => {
            "is not for client authentication; its extended key usage needs clientAuth"
        }
        (Usage::Server, true) => {
            "is for client authentication only; its extended key usage needs serverAuth"
        }
        (Usage::Server, false) => {
            "is not for server authentication; its extended key usage needs serverAuth"
        }
    }
}

/// The text for webpki's errors that have no variant of their own in [`CertificateError`].
fn rule(broken: &Rule, usage: Usage) -> &'static str {
    match broken {
        Rule::CaUsedAsEndEntity => "is the certificate of a CA",
        Rule::EndEntityUsedAsCa => {
            "is signed by a certificate that is no CA; issue the CA with basicConstraints CA:TRUE"
        }
        Rule::UnsupportedCertVersion => {
            "has an X.509 v1 certificate in its chain; issue the CA with basicConstraints CA:TRUE"
        }
        Rule::PathLenConstraintViolated => {
            "has more CAs above it than the basicConstraints pathlen of one of them allows"
        }
        Rule::NameConstraintViolation => "has a name that the name constraints of a CA exclude",
        Rule::MalformedNameConstraint | Rule::InvalidNetworkMaskConstraint => {
            "has a CA with malformed name constraints"
        }
        Rule::MaximumPathDepthExceeded
        | Rule::MaximumPathBuildCallsExceeded
        | Rule::MaximumSignatureChecksExceeded
        | Rule::MaximumNameConstraintComparisonsExceeded => {
            "has a chain that is too long or too complex to check"
        }
        Rule::EmptyEkuExtension => "or its CA has an extended key usage that is empty",
        Rule::RequiredEkuNotFoundContext(context) => {
            // The object identifiers of RFC 5280, 4.2.1.12.
            let other: &[usize] = match usage {
                Usage::Server => &[1, 3, 6, 1, 5, 5, 7, 3, 2],
                Usage::Client => &[1, 3, 6, 1, 5, 5, 7, 3, 1],
            };
            purpose(usage, matches!(&*context.present, [only] if only == other))
        }
        Rule::UnsupportedCriticalExtension => "has a critical extension that is not supported",
        Rule::MalformedExtensions | Rule::ExtensionValueInvalid => "has malformed extensions",
        Rule::InvalidSerialNumber => "has an invalid serial number",
        Rule::MalformedDnsIdentifier | Rule::UnsupportedNameType => {
            "has a subject alternative name that is malformed or not supported"
        }
        Rule::SignatureAlgorithmMismatch => "names two different algorithms for its signature",
        Rule::UnsupportedSignatureAlgorithmContext(_) => UNSUPPORTED_SIGNATURE,
        Rule::UnsupportedSignatureAlgorithmForPublicKeyContext(_) => OTHER_KEY,
        Rule::CertRevoked => "is revoked",
        _ => BROKEN_RULE,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rustls::OtherError;

    use super::*;

    #[test]
    fn a_broken_rule_is_told_in_words() {
        let other = |error: Rule| CertificateError::Other(OtherError(Arc::new(error)));
        for (error, words) in [
            (other(Rule::UnsupportedCertVersion), "basicConstraints CA:TRUE"),
            (other(Rule::CaUsedAsEndEntity), "is the certificate of a CA"),
            (other(Rule::PathLenConstraintViolated), "pathlen"),
            (other(Rule::SignatureAlgorithmMismatch), "two different algorithms"),
            (
                CertificateError::InvalidPurposeContext {
                    required: ExtendedKeyPurpose::ClientAuth,
                    presented: vec![ExtendedKeyPurpose::ServerAuth],
                },
                "is for server authentication only; its extended key usage needs clientAuth",
            ),
            (CertificateError::InvalidPurpose, "is not for client authentication"),
            (
                CertificateError::UnsupportedSignatureAlgorithmContext {
                    signature_algorithm_id: vec![6, 8],
                    supported_algorithms: Vec::new(),
                },
                "an algorithm that is not supported",
            ),
            (
                CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext {
                    signature_algorithm_id: vec![6, 8],
                    public_key_algorithm_id: vec![6, 9],
                },
                "its issuer has the name of a trusted CA, but another key",
            ),
            (CertificateError::BadSignature, "but another key"),
        ] {
            let text = certificate_fault(&error, Usage::Client);
            assert!(text.contains(words), "{text}");
        }
    }
}
