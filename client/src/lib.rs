//! The HTTP client of a key server: for the command line, the tests and the benches. The server
//! itself does not use it.
//!
//! A call goes from an [`Endpoints`] list through a [`Client`] that holds one TLS configuration
//! ([`tls::config`]); who calls is told by an [`ApiKey`] or by files. Bodies are those of
//! `kes_api`; what may be secret in them is wiped, here as well.

/// One method an API.
mod client;

/// One call, on one endpoint after the other.
mod transport;

/// Connections to servers.
mod connect;

/// Which server is asked, and which one next.
mod endpoints;

/// Bodies that are sent and received.
mod body;

/// A stream of log lines.
mod stream;

/// Trust, and who the client is.
pub mod tls;

/// `kes:v1:…`
mod api_key;

/// Self-signed certificates.
mod certificate;

/// Why a call failed.
mod error;

pub use api_key::{ApiKey, InvalidApiKey};
pub use certificate::{CertificateError, SelfSigned, Usage, certificate_to_pem, dev_server};
pub use client::Client;
pub use endpoints::{Endpoint, Endpoints, InvalidEndpoint};
pub use error::Error;
pub use stream::LogStream;
