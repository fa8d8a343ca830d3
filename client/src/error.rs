//! Why a call failed.

use std::error::Error as StdError;
use std::io;
use std::time::{Duration, SystemTime};

use kes_api::Timestamp;
use kes_api::body::ErrorBody;
use kes_tls::{Usage, certificate_fault};
use rustls::{AlertDescription, CertificateError};
use rustls_pki_types::UnixTime;

use crate::connect::{CONNECT_TIMEOUT, Slow};
use crate::endpoints::Endpoint;

/// Why a call failed. The text is complete without its sources.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The server answered with an error.
    #[error("{message}")]
    Status {
        /// The HTTP status.
        status: u16,
        /// The server's message.
        message: String,
    },
    /// No connection, or one that broke.
    #[error("cannot reach {endpoint}: {reason}")]
    Connect {
        /// `host:port`
        endpoint: String,
        /// Why.
        reason: String,
    },
    /// The TLS handshake failed: one side does not trust the other, or they have no parameters in
    /// common.
    #[error("{reason}")]
    Tls {
        /// `host:port`
        endpoint: String,
        /// Why, naming the endpoint.
        reason: String,
        /// Whether the server refused the client's certificate.
        is_client_refused: bool,
    },
    /// No answer in time.
    #[error("{endpoint} did not answer within {} seconds", limit.as_secs())]
    Timeout {
        /// `host:port`
        endpoint: String,
        /// How long the client waited.
        limit: Duration,
    },
    /// An answer that a key server does not give.
    #[error("{endpoint} does not answer like a key server: {reason}")]
    Protocol {
        /// `host:port`
        endpoint: String,
        /// What is wrong.
        reason: String,
    },
    /// The client could not be made.
    #[error("{reason}")]
    Setup {
        /// Why.
        reason: String,
    },
}

impl Error {
    pub(crate) fn setup(error: &impl ToString) -> Self {
        Self::Setup { reason: error.to_string() }
    }

    pub(crate) fn protocol(endpoint: &Endpoint, reason: impl Into<String>) -> Self {
        Self::Protocol { endpoint: endpoint.to_string(), reason: reason.into() }
    }

    /// Makes an error from the status and body of an answer. The body may come from a proxy and be
    /// long or not be JSON or text, or it may be cut off.
    pub(crate) fn status(status: http::StatusCode, body: &[u8]) -> Self {
        let message = match serde_json::from_slice::<ErrorBody>(body) {
            Ok(body) => body.message,
            Err(_) if matches!(body.first(), Some(b'<' | b'{')) => String::new(),
            Err(_) => String::from_utf8_lossy(body).into_owned(),
        };
        // The text is printed on a terminal, so it must be short and have no control characters.
        let message: String =
            message.trim().chars().flat_map(printable).take(MAX_MESSAGE_CHARS).collect();
        let message =
            if message.is_empty() { format!("the server answered {status}") } else { message };
        Self::Status { status: status.as_u16(), message }
    }

    /// The same for an endpoint, whose path the server may not know.
    pub(crate) fn status_of(endpoint: &Endpoint, status: http::StatusCode, body: &[u8]) -> Self {
        match (Self::status(status, body), endpoint.path()) {
            (Self::Status { status: 404, message }, Some(path)) if message.contains(NO_PAGE) => {
                let message = format!(
                    "{message}; the address of the server has the path '{path}': a key server has \
                     none, unless a proxy gives it one"
                );
                Self::Status { status: 404, message }
            }
            (error, _) => error,
        }
    }

    /// Makes the error of a timeout.
    pub(crate) fn timeout(endpoint: &Endpoint, limit: Duration) -> Self {
        Self::Timeout { endpoint: endpoint.to_string(), limit }
    }

    /// Makes an error from a failed connection to the endpoint.
    pub(crate) fn connect(endpoint: &Endpoint, error: &(dyn StdError + 'static)) -> Self {
        match (Self::transport(endpoint, error), endpoint.port_hint()) {
            (Self::Connect { endpoint, reason }, Some(hint)) => {
                Self::Connect { endpoint, reason: format!("{reason}; {hint}") }
            }
            (error, _) => error,
        }
    }

    /// Makes an error from a failed request to the endpoint, or from its answer.
    pub(crate) fn transport(endpoint: &Endpoint, error: &(dyn StdError + 'static)) -> Self {
        let causes = Causes::of(error);
        if causes.is_slow {
            return Self::timeout(endpoint, CONNECT_TIMEOUT);
        }
        let endpoint = endpoint.to_string();
        if let Some(tls) = causes.tls {
            let is_client_refused =
                matches!(&tls, rustls::Error::AlertReceived(alert) if refuses_client(*alert));
            return Self::Tls { reason: explain(&endpoint, &tls), endpoint, is_client_refused };
        }
        Self::Connect { endpoint, reason: causes.innermost }
    }
}

/// The longest message in characters; longer ones are cut. The server's own are shorter.
const MAX_MESSAGE_CHARS: usize = 500;

/// What a server says of a path that it does not have.
const NO_PAGE: &str = "page not found";

/// A character as a terminal may get it.
fn printable(character: char) -> impl Iterator<Item = char> {
    let (plain, escaped) = match character.is_control() {
        true => (None, Some(character.escape_default())),
        false => (Some(character), None),
    };
    plain.into_iter().chain(escaped.into_iter().flatten())
}

/// The cause of an error.
struct Causes {
    tls: Option<rustls::Error>,
    /// Connecting took too long.
    is_slow: bool,
    innermost: String,
}

impl Causes {
    fn of(error: &(dyn StdError + 'static)) -> Self {
        let mut causes = Self { tls: None, is_slow: false, innermost: error.to_string() };
        let mut next = Some(error);
        while let Some(cause) = next {
            causes.innermost = cause.to_string();
            causes.is_slow |= cause.is::<Slow>();
            // An I/O error contains the TLS error, but does not return it as its source.
            let inner = cause
                .downcast_ref::<io::Error>()
                .and_then(io::Error::get_ref)
                .map(|inner| inner as &(dyn StdError + 'static));
            for candidate in [Some(cause), inner].into_iter().flatten() {
                let tls = candidate.downcast_ref::<rustls::Error>().cloned();
                causes.tls = tls.or(causes.tls);
            }
            next = inner.or_else(|| cause.source());
        }
        // The library of HTTP/2 keeps the text of an I/O error alone.
        causes.tls = causes.tls.or_else(|| alert_in(&causes.innermost));
        if causes.innermost.contains("close_notify") {
            causes.innermost = "it closed the connection without an answer".to_owned();
        }
        causes
    }
}

/// The alert about the client's certificate in the text of an error. A server that speaks TLS 1.3
/// sends it only when the client has begun to speak HTTP.
fn alert_in(text: &str) -> Option<rustls::Error> {
    use AlertDescription as A;
    CLIENT_REFUSED
        .iter()
        .chain(&[A::CertificateRequired])
        .map(|alert| rustls::Error::AlertReceived(*alert))
        .find(|error| text.contains(&error.to_string()))
}

/// What the user can do about a server that is not trusted.
pub(crate) const HINT: &str =
    "set KES_CAPATH to the file of its CA certificate, or use -k to trust any server";

/// The text for a failed handshake, and what to do.
fn explain(endpoint: &str, error: &rustls::Error) -> String {
    use rustls::Error as Tls;
    match error {
        Tls::InvalidCertificate(error) => {
            format!("the certificate of {endpoint} is not trusted: {}", distrust(error))
        }
        Tls::AlertReceived(alert) => refused(endpoint, *alert),
        Tls::InvalidMessage(_) => format!("{endpoint} does not speak TLS"),
        other => format!("the TLS connection to {endpoint} failed: {other}"),
    }
}

fn distrust(error: &CertificateError) -> String {
    use CertificateError as E;
    match error {
        E::UnknownIssuer => format!("it is not signed by a trusted CA; {HINT}"),
        E::ExpiredContext { not_after, .. } => format!("it expired on {} UTC", date(*not_after)),
        E::Expired => "it has expired".to_owned(),
        E::NotValidYetContext { not_before, .. } => format!(
            "it is not valid before {} UTC; compare the clocks of both machines",
            date(*not_before)
        ),
        E::NotValidYet => "it is not valid yet; compare the clocks of both machines".to_owned(),
        E::NotValidForName => "it is for another host; use -k to trust any server".to_owned(),
        E::NotValidForNameContext { expected, presented } => {
            let names: Vec<&str> = presented.iter().map(|name| bare(name)).collect();
            let names = match names.is_empty() {
                true => "no host: its subject alternative name is missing".to_owned(),
                false => format!("{}, not for {}", names.join(", "), expected.to_str()),
            };
            format!("it is for {names}; use -k to trust any server")
        }
        E::BadSignature | E::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
            format!("its issuer has the name of a trusted CA, but another key; {HINT}")
        }
        // The server may be all right, and only its CA is not trusted here.
        E::Other(_) => format!("it {}; {HINT}", certificate_fault(error, Usage::Server)),
        other => format!("it {}", certificate_fault(other, Usage::Server)),
    }
}

fn date(time: UnixTime) -> String {
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(time.as_secs());
    Timestamp::from(time).to_table()
}

/// A name without the library's type name: `a.example` for `DnsName("a.example")`.
fn bare(name: &str) -> &str {
    match name.split_once('(') {
        Some((_, rest)) => rest.trim_end_matches(')').trim_matches('"'),
        None => name,
    }
}

fn refused(endpoint: &str, alert: AlertDescription) -> String {
    use AlertDescription as A;
    match alert {
        A::CertificateRequired => {
            format!(
                "{endpoint} requires a client certificate: an API key, or files of a key and a certificate"
            )
        }
        alert if refuses_client(alert) => {
            format!("{endpoint} refuses the client certificate ({alert:?})")
        }
        other => format!("{endpoint} refuses the TLS connection ({other:?})"),
    }
}

/// Whether an alert says that the client's certificate is refused, rather than missing.
fn refuses_client(alert: AlertDescription) -> bool {
    CLIENT_REFUSED.contains(&alert)
}

const CLIENT_REFUSED: [AlertDescription; 8] = [
    AlertDescription::BadCertificate,
    AlertDescription::UnsupportedCertificate,
    AlertDescription::CertificateRevoked,
    AlertDescription::CertificateExpired,
    AlertDescription::CertificateUnknown,
    AlertDescription::UnknownCA,
    AlertDescription::AccessDenied,
    AlertDescription::DecryptError,
];

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::pki_types::ServerName;

    /// As the library of HTTP/2 passes on what went wrong below it.
    #[test]
    fn an_alert_is_found_in_the_text_of_an_error() {
        let endpoint: Endpoint = "kes.example:7373".parse().unwrap();
        let told = |text: String| Error::transport(&endpoint, &io::Error::other(text));
        for alert in CLIENT_REFUSED {
            let error = told(rustls::Error::AlertReceived(alert).to_string());
            assert!(matches!(error, Error::Tls { is_client_refused: true, .. }), "{error:?}");
            let expected = "kes.example:7373 refuses the client certificate";
            assert!(error.to_string().starts_with(expected), "{error}");
        }
        let required = rustls::Error::AlertReceived(AlertDescription::CertificateRequired);
        let error = told(required.to_string()).to_string();
        assert!(error.contains("requires a client certificate"), "{error}");
        let error =
            told("peer closed connection without sending TLS close_notify: https://a".into());
        let expected = "cannot reach kes.example:7373: it closed the connection without an answer";
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn control_characters_of_a_message_are_escaped_and_a_path_is_pointed_at() {
        let status = http::StatusCode::NOT_FOUND;
        let error = Error::status(status, br#"{"message":"no 'a\n\u001bb'"}"#);
        assert_eq!(error.to_string(), "no 'a\\n\\u{1b}b'");
        let [bare, path] = ["kes.example:7373", "kes.example:7373/foo/"].map(|text| {
            let endpoint: Endpoint = text.parse().unwrap();
            Error::status_of(&endpoint, status, b"404 page not found\n").to_string()
        });
        assert_eq!(bare, "404 page not found");
        let told = "404 page not found; the address of the server has the path '/foo': a key server \
                    has none, unless a proxy gives it one";
        assert_eq!(path, told);
    }

    #[test]
    fn what_is_wrong_with_a_certificate_is_told_in_words() {
        use CertificateError as E;
        let day = UnixTime::since_unix_epoch(Duration::from_hours(24));
        let named = |presented: &[&str]| E::NotValidForNameContext {
            expected: ServerName::try_from("10.0.0.1").unwrap(),
            presented: presented.iter().map(|name| (*name).to_owned()).collect(),
        };
        for (error, expected) in [
            (E::UnknownIssuer, "it is not signed by a trusted CA; set KES_CAPATH to"),
            (
                E::ExpiredContext { time: day, not_after: day },
                "it expired on 1970-01-02 00:00:00 UTC",
            ),
            (
                E::NotValidYetContext { time: day, not_before: day },
                "it is not valid before 1970-01-02",
            ),
            (
                named(&["DnsName(\"a.example\")", "IpAddress(127.0.0.1)"]),
                "it is for a.example, 127.0.0.1, not for 10.0.0.1; use -k",
            ),
            (named(&[]), "it is for no host: its subject alternative name is missing; use -k"),
            (
                E::UnsupportedSignatureAlgorithmForPublicKeyContext {
                    signature_algorithm_id: vec![6, 8],
                    public_key_algorithm_id: vec![6, 9],
                },
                "its issuer has the name of a trusted CA, but another key",
            ),
            (
                E::InvalidPurpose,
                "it is not for server authentication; its extended key usage needs serverAuth",
            ),
        ] {
            let text = distrust(&error);
            assert!(text.starts_with(expected), "{text}");
        }
    }
}
