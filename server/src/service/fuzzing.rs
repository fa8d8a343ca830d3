//! Parsers of the server for the fuzz targets, which are another crate.

use std::net::SocketAddr;

use kes_api::Operation;

use super::router;
use crate::transport::proxy_header::parse;

/// Where a path leads, as the server finds it.
#[derive(Debug)]
pub enum Routed {
    /// To an operation.
    Found {
        /// The operation.
        operation: Operation,
        /// The decoded path.
        path: String,
        /// The name or pattern in it.
        resource: String,
    },
    /// To its clean form.
    Redirect(String),
    /// Nowhere.
    NotFound,
    /// Nowhere, since it cannot be decoded.
    BadEscape,
}

/// Finds the route of a path in its encoded form.
pub fn route(path: &str, query: Option<&str>) -> Routed {
    match router::route(path, query) {
        router::Routed::Found(target) => Routed::Found {
            operation: target.route.operation,
            path: target.path.to_string(),
            resource: target.resource().to_owned(),
        },
        router::Routed::Redirect(location) => Routed::Redirect(location),
        router::Routed::NotFound => Routed::NotFound,
        router::Routed::BadEscape => Routed::BadEscape,
    }
}

/// Reads the keys in a message of a server that hands over, and writes them again; `None` if the
/// message is refused.
pub fn handed_over(message: &[u8]) -> Option<Vec<u8>> {
    kes_keys::rewritten(message)
}

/// Reads the header of the PROXY protocol that bytes begin with: its client and its length. `None` if
/// more bytes are needed.
///
/// # Errors
/// Why the bytes do not begin with one.
pub fn proxy_header(bytes: &[u8]) -> Result<Option<(Option<SocketAddr>, usize)>, String> {
    let header = parse(bytes).map_err(|fault| fault.to_string())?;
    Ok(header.map(|header| (header.client, header.len)))
}
