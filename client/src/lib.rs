//! The HTTP client of a key server: for the command line, the tests and the benches. The server
//! itself does not use it.
//!
//! A [`Client`] calls the servers of an [`Endpoints`] list with one TLS configuration
//! ([`tls::config`]). It authenticates with an [`ApiKey`] or with files. Bodies are those of
//! `kes_api`; buffers that may contain secrets are wiped.

/// A method for each API.
mod client;

/// One call, sent to one endpoint after the other.
mod transport;

/// Requests that are passed on.
mod relay;

/// Connections to servers.
mod connect;

/// The servers of a deployment.
mod endpoints;

/// Request and response bodies.
mod body;

/// A stream of log lines.
mod stream;

/// Trusted servers, and the client's identity.
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
pub use relay::{Passed, Relay, Relayed};
pub use stream::LogStream;
