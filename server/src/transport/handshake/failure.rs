//! Why a handshake failed, as the log tells it.

use std::io;
use std::time::Duration;

use kes_api::Timestamp;
use kes_tls::{Usage, certificate_fault};
use rustls::{AlertDescription, CertificateError, Error, InvalidMessage, PeerIncompatible};

use crate::transport::tls::refused::Refused;

/// The handshake took too long.
pub(super) fn too_slow(limit: Duration) -> String {
    format!("it was not finished within {} s", limit.as_secs())
}

/// The reason; `None` if the client only closed the connection. `certificate` is the client's
/// certificate if the server refused it.
pub(super) fn reason(error: &io::Error, certificate: Option<&Refused>) -> Option<String> {
    let Some(error) = error.get_ref().and_then(|cause| cause.downcast_ref::<Error>()) else {
        return match error.kind() {
            io::ErrorKind::UnexpectedEof
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::NotConnected
            | io::ErrorKind::TimedOut => None,
            _ => Some(error.to_string()),
        };
    };
    Some(match error {
        Error::AlertReceived(AlertDescription::CloseNotify | AlertDescription::UserCanceled) => {
            return None;
        }
        Error::AlertReceived(alert) => alerted(*alert),
        Error::NoCertificatesPresented => {
            "the client sent no certificate, and every client needs one (or an API key)".to_owned()
        }
        Error::InvalidCertificate(reason) => refused(reason, certificate),
        Error::NoApplicationProtocol => {
            "the client offers neither HTTP/2 nor HTTP/1.1 (ALPN h2, http/1.1)".to_owned()
        }
        Error::PeerIncompatible(
            PeerIncompatible::Tls12NotOffered
            | PeerIncompatible::Tls12NotOfferedOrEnabled
            | PeerIncompatible::SupportedVersionsExtensionRequired
            // An extension of TLS 1.2.
            | PeerIncompatible::SignatureAlgorithmsExtensionRequired,
        ) => "the client offers neither TLS 1.2 nor TLS 1.3".to_owned(),
        Error::PeerIncompatible(PeerIncompatible::NoCipherSuitesInCommon) => {
            if cfg!(feature = "fips") {
                "the client offers no cipher suite that a FIPS build serves; those with ECDHE and \
                 AES-GCM are, those with ChaCha20-Poly1305, CBC or RSA key exchange are not"
            } else {
                "the client offers no cipher suite that is served; those with ECDHE and AES-GCM or \
                 ChaCha20-Poly1305 are, those with CBC or RSA key exchange are not"
            }
            .to_owned()
        }
        Error::PeerIncompatible(PeerIncompatible::NoKxGroupsInCommon) => {
            if cfg!(feature = "fips") {
                "the client offers no key exchange that a FIPS build serves; P-256, P-384 and \
                 X25519MLKEM768 are, X25519 is not"
            } else {
                "the client offers no key exchange that is served; X25519MLKEM768, X25519, P-256 \
                 and P-384 are"
            }
            .to_owned()
        }
        // Without the feature `fips` it is not required.
        Error::PeerIncompatible(PeerIncompatible::ExtendedMasterSecretExtensionRequired) => {
            "the client's TLS 1.2 has no extended master secret (RFC 7627), which a FIPS build \
             requires"
                .to_owned()
        }
        Error::InvalidMessage(
            InvalidMessage::InvalidContentType
            | InvalidMessage::UnknownProtocolVersion
            | InvalidMessage::InvalidEmptyPayload
            | InvalidMessage::MessageTooLarge
            | InvalidMessage::MessageTooShort,
        )
        | Error::InappropriateMessage { .. } => "what the client sent is not TLS".to_owned(),
        other => other.to_string(),
    })
}

/// The client ended the handshake with an alert.
fn alerted(alert: AlertDescription) -> String {
    use AlertDescription as A;
    match alert {
        A::UnknownCA
        | A::BadCertificate
        | A::CertificateUnknown
        | A::CertificateExpired
        | A::CertificateRevoked
        | A::UnsupportedCertificate => format!(
            "the client does not accept the server's certificate (alert {alert:?}); it has to \
             trust it, the name or address that it connects to has to stand in it, and it must \
             not have expired"
        ),
        alert => format!("the client ended it with the alert {alert:?}"),
    }
}

/// The server refused the client's certificate.
fn refused(reason: &CertificateError, certificate: Option<&Refused>) -> String {
    let validity = certificate.and_then(|certificate| certificate.validity);
    let day = |time: Option<std::time::SystemTime>| {
        let time = time.map(|time| Timestamp::from(time).to_table());
        let day = time.as_ref().and_then(|time| time.get(..10));
        day.map(|day| format!(" on {day}")).unwrap_or_default()
    };
    let reason = match reason {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            format!("expired{}", day(validity.map(|validity| validity.until)))
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            format!("is valid only from later{}", day(validity.map(|validity| validity.from)))
        }
        CertificateError::UnknownIssuer => "is not signed by a trusted CA; `tls.ca` names the CAs \
             that are trusted in addition to the system's, and the client has to send all \
             intermediate CA certificates"
            .to_owned(),
        // The certificate itself was accepted; the client's signature with its key was not.
        CertificateError::BadSignature if certificate.is_none() => {
            "belongs to a private key that the client does not \
             hold, or to one of a kind that is not supported (RSA keys need 2048 to 8192 bits)"
                .to_owned()
        }
        other => certificate_fault(other, Usage::Client),
    };
    format!("the client's certificate {reason}")
}
