//! Why a call failed, in sentences for people.

use std::error::Error as StdError;
use std::io;
use std::time::Duration;

use kes_api::body::ErrorBody;
use rustls::{AlertDescription, CertificateError};

use crate::endpoints::Endpoint;
use crate::transport::{CONNECT_TIMEOUT, TIMEOUT};

/// Why a call failed. The text stands for itself.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The server answered with something else than success.
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
    /// One side does not trust the other, or they do not understand each other.
    #[error("{reason}")]
    Tls {
        /// `host:port`
        endpoint: String,
        /// Why, naming the endpoint.
        reason: String,
    },
    /// No answer in time.
    #[error("{endpoint} did not answer within {} seconds", limit.as_secs())]
    Timeout {
        /// `host:port`
        endpoint: String,
        /// How long was waited.
        limit: Duration,
    },
    /// An answer that no key server gives.
    #[error("{endpoint} does not answer as a key server does: {reason}")]
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

    /// From the body of an answer that is no success. One that a proxy gave may be no JSON, or
    /// long, or no text.
    pub(crate) fn status(status: reqwest::StatusCode, body: &[u8]) -> Self {
        let message = match serde_json::from_slice::<ErrorBody>(body) {
            Ok(body) => body.message,
            Err(_) if body.first() == Some(&b'<') => String::new(),
            Err(_) => String::from_utf8_lossy(body).into_owned(),
        };
        // The text is for a terminal: no control characters, and no pages of it.
        let message: String =
            message.trim().chars().filter(|c| !c.is_control()).take(MAX_MESSAGE_CHARS).collect();
        let message =
            if message.is_empty() { format!("the server answered {status}") } else { message };
        Self::Status { status: status.as_u16(), message }
    }

    /// From an error of a request to the endpoint, or of its answer.
    pub(crate) fn transport(endpoint: &Endpoint, error: &reqwest::Error) -> Self {
        let causes = Causes::of(error);
        let endpoint = endpoint.to_string();
        if let Some(tls) = causes.tls {
            return Self::Tls { reason: explain(&endpoint, &tls), endpoint };
        }
        if error.is_timeout() {
            let limit = if error.is_connect() { CONNECT_TIMEOUT } else { TIMEOUT };
            return Self::Timeout { endpoint, limit };
        }
        Self::Connect { endpoint, reason: causes.innermost }
    }
}

/// Longer messages than any of the contract's are cut.
const MAX_MESSAGE_CHARS: usize = 500;

/// What stands behind an error.
struct Causes {
    tls: Option<rustls::Error>,
    innermost: String,
}

impl Causes {
    fn of(error: &reqwest::Error) -> Self {
        let mut tls = None;
        let mut innermost = String::new();
        let mut next: Option<&(dyn StdError + 'static)> = error.source();
        while let Some(cause) = next {
            innermost = cause.to_string();
            // An error of TLS comes inside one of input and output, which does not show it as
            // its source.
            let inner = cause
                .downcast_ref::<io::Error>()
                .and_then(io::Error::get_ref)
                .map(|inner| inner as &(dyn StdError + 'static));
            for candidate in [Some(cause), inner].into_iter().flatten() {
                tls = candidate.downcast_ref::<rustls::Error>().cloned().or(tls);
            }
            next = inner.or_else(|| cause.source());
        }
        if innermost.is_empty() {
            innermost = "the request could not be sent".to_owned();
        }
        Self { tls, innermost }
    }
}

/// What a person can do about a server that is not trusted.
pub(crate) const HINT: &str =
    "set KES_CAPATH to the certificate of its CA, or use -k to trust any server";

/// One sentence about a failed handshake, and what to do.
fn explain(endpoint: &str, error: &rustls::Error) -> String {
    use rustls::Error as Tls;
    match error {
        Tls::InvalidCertificate(error) => {
            format!("the certificate of {endpoint} is not trusted: {}", distrust(error))
        }
        Tls::AlertReceived(alert) => refused(endpoint, *alert),
        Tls::InvalidMessage(_) => format!("{endpoint} does not speak TLS"),
        other => format!("no TLS connection to {endpoint}: {other}"),
    }
}

fn distrust(error: &CertificateError) -> String {
    use CertificateError as E;
    match error {
        E::UnknownIssuer => format!("it is signed by an unknown authority; {HINT}"),
        E::Expired | E::ExpiredContext { .. } => "it has expired".to_owned(),
        E::NotValidYet | E::NotValidYetContext { .. } => {
            "it is not valid yet; compare the clocks of both machines".to_owned()
        }
        E::NotValidForName => "it is for another host; use -k to trust any server".to_owned(),
        E::NotValidForNameContext { expected, presented } => {
            let names =
                if presented.is_empty() { "no host".to_owned() } else { presented.join(", ") };
            format!("it is for {names}, not for {}; use -k to trust any server", expected.to_str())
        }
        E::BadSignature => {
            format!("its issuer has the name of a trusted CA, but not its key; {HINT}")
        }
        other => format!("{other}; {HINT}"),
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
        A::BadCertificate
        | A::UnsupportedCertificate
        | A::CertificateRevoked
        | A::CertificateExpired
        | A::CertificateUnknown
        | A::UnknownCA
        | A::AccessDenied
        | A::DecryptError => {
            format!("{endpoint} refuses the client certificate ({alert:?})")
        }
        other => format!("{endpoint} refuses the TLS connection ({other:?})"),
    }
}
