/// A server certificate with another name than the endpoint's.
mod named;

use std::error::Error;
use std::io;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kes_api::Timestamp;
use kes_tls::{Usage, certificate_fault};
use rustls::{AlertDescription, CertificateError, InvalidMessage, PeerIncompatible};

pub(crate) use self::named::Named;

/// What an operator can do about a failed handshake; `None` for an error that is not one, or whose
/// own text is clear.
pub(super) fn explain(error: &(dyn Error + 'static)) -> Option<String> {
    Some(match of_handshake(error)? {
        rustls::Error::InvalidCertificate(fault) => explain_certificate(fault),
        rustls::Error::AlertReceived(
            AlertDescription::CertificateRequired | AlertDescription::HandshakeFailure,
        ) => "it refuses the TLS handshake; it may want a client certificate: set `tls.key` and \
              `tls.cert` of the key store"
            .to_owned(),
        rustls::Error::AlertReceived(
            AlertDescription::UnknownCA
            | AlertDescription::BadCertificate
            | AlertDescription::CertificateUnknown
            | AlertDescription::CertificateExpired
            | AlertDescription::UnsupportedCertificate,
        ) => "it refuses the client certificate in `tls.cert` of the key store".to_owned(),
        rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
            "it does not speak TLS: if it speaks plain HTTP, write http://".to_owned()
        }
        rustls::Error::AlertReceived(AlertDescription::ProtocolVersion)
        | rustls::Error::PeerIncompatible(PeerIncompatible::ServerDoesNotSupportTls12Or13) => {
            "it speaks neither TLS 1.2 nor TLS 1.3".to_owned()
        }
        _ => return None,
    })
}

/// Whether a handshake failed because of a certificate, the server's or ours.
pub(super) fn is_of_certificate(error: &(dyn Error + 'static)) -> bool {
    matches!(
        of_handshake(error),
        Some(
            rustls::Error::InvalidCertificate(_)
                | rustls::Error::AlertReceived(
                    AlertDescription::CertificateRequired
                        | AlertDescription::UnknownCA
                        | AlertDescription::BadCertificate
                        | AlertDescription::CertificateUnknown
                        | AlertDescription::CertificateExpired
                        | AlertDescription::CertificateRevoked
                        | AlertDescription::UnsupportedCertificate,
                )
        )
    )
}

/// The error of TLS that an error is or contains.
fn of_handshake<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e rustls::Error> {
    let mut error = error;
    // The error within an I/O error is not its source.
    while let Some(within) = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        error = within;
    }
    error.downcast_ref()
}

fn explain_certificate(fault: &CertificateError) -> String {
    let day = |since: u64| Timestamp::from(UNIX_EPOCH + Duration::from_secs(since)).to_table();
    let clock = || Timestamp::from(SystemTime::now()).to_table();
    match fault {
        CertificateError::UnknownIssuer => {
            "its certificate is not signed by a trusted CA: set `tls.ca` of the key store"
                .to_owned()
        }
        CertificateError::NotValidForName => {
            "its certificate is for another host name: use a name of the certificate in `endpoint`"
                .to_owned()
        }
        // The names that it has are a text of the server, which may repeat a secret.
        CertificateError::NotValidForNameContext { expected, presented } => format!(
            "its certificate is for {} and not for '{}': use a name of the certificate in \
             `endpoint`, or a certificate for this name (`openssl s_client -connect HOST:PORT \
             </dev/null | openssl x509 -noout -ext subjectAltName` shows its names)",
            if presented.is_empty() { "no name" } else { "other names" },
            expected.to_str()
        ),
        CertificateError::Expired => "its certificate has expired".to_owned(),
        CertificateError::ExpiredContext { not_after, .. } => format!(
            "its certificate has expired, at {} UTC; the clock here says {}",
            day(not_after.as_secs()),
            clock()
        ),
        CertificateError::NotValidYet => "its certificate is not valid yet".to_owned(),
        CertificateError::NotValidYetContext { not_before, .. } => format!(
            "its certificate is not valid before {} UTC; the clock here says {}",
            day(not_before.as_secs()),
            clock()
        ),
        other => format!("its certificate {}", certificate_fault(other, Usage::Server)),
    }
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::{ServerName, UnixTime};

    use super::*;

    #[test]
    fn what_is_wrong_with_a_certificate_is_a_sentence_with_names_and_times() {
        let at = |seconds| UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        for (fault, start) in [
            (
                CertificateError::ExpiredContext { time: at(200_000), not_after: at(86_400) },
                "its certificate has expired, at 1970-01-02 00:00:00 UTC; the clock here says 2",
            ),
            (
                CertificateError::NotValidYetContext { time: at(0), not_before: at(86_400) },
                "its certificate is not valid before 1970-01-02 00:00:00 UTC; the clock here says 2",
            ),
            (
                CertificateError::NotValidForNameContext {
                    expected: ServerName::try_from("vault").unwrap(),
                    presented: vec!["DnsName(\"a\")".to_owned(), "IpAddress(::1)".to_owned()],
                },
                "its certificate is for other names and not for 'vault': use",
            ),
            (
                CertificateError::NotValidForNameContext {
                    expected: ServerName::try_from("vault").unwrap(),
                    presented: Vec::new(),
                },
                "its certificate is for no name and not for 'vault': use",
            ),
            (CertificateError::UnknownIssuer, "its certificate is not signed by a trusted CA"),
        ] {
            let error = rustls::Error::InvalidCertificate(fault);
            // Wrapped in the errors of the callers, as reqwest returns it.
            let within = io::Error::other(io::Error::other(error.clone()));
            for error in [&error as &(dyn Error + 'static), &within] {
                let text = explain(error).unwrap();
                assert!(text.starts_with(start), "{text}");
                assert!(is_of_certificate(error), "{text}");
            }
        }
        assert_eq!(explain(&io::Error::other("something else")), None);
        for other in [
            rustls::Error::AlertReceived(AlertDescription::InternalError),
            rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType),
        ] {
            assert!(!is_of_certificate(&other), "{other}");
        }
    }
}
