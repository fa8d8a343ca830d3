//! Parsers of the server for the fuzz targets, which are another crate.

use std::net::SocketAddr;

pub use super::paths::{Routed, route};
use super::router;
use crate::observe::traceparent::Parent;
use crate::transport::proxy_header::parse;

/// The most bytes of a decoded path that are kept.
pub const MAX_PATH: usize = router::MAX_PATH;

/// The most bytes of a path and its query that a redirect repeats.
pub const MAX_LOCATION: usize = router::MAX_LOCATION;

/// Reads the keys in a message of a server that hands over, and writes them again; `None` if the
/// message is refused.
pub fn handed_over(message: &[u8]) -> Option<Vec<u8>> {
    kes_keys::rewritten(message)
}

/// Reads what a snapshot has once it is opened, and writes it again; `None` if it is refused.
pub fn snapshot(content: &[u8]) -> Option<Vec<u8>> {
    kes_keys::rewritten_snapshot(content)
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

/// Reads the value of the header `traceparent`: the IDs of the trace and of the client's span, and whether
/// the client records it. `None` if it is not valid.
pub fn traceparent(value: &[u8]) -> Option<(u128, u64, bool)> {
    let Parent { trace, span, is_sampled } = Parent::parse(value)?;
    Some((trace, span, is_sampled))
}
