//! The network side: TCP connections come in, requests with the peer that sent them go out to the
//! service, and the service's answers go back.
//!
//! `listener` accepts connections, `handshake` runs the TLS handshake with the configuration that
//! `tls` makes, `peer` reads the client's identity from it, once, and `connection` speaks HTTP/1.1
//! or HTTP/2 until one side ends it, or until `admission` finds that its client's certificate is no
//! longer accepted.
//!
//! Nothing here knows what the service does: each listener has an `Endpoint` of its own, with a
//! service of any type.

/// What the connections of a listener share.
mod endpoint;

/// Whether and how connections are to end.
mod ending;

/// Classes of callers.
mod class;

/// How many connections may be open, and which of them end for new ones.
mod slots;

/// The accept loop.
pub(crate) mod listener;

/// TLS, replaceable while it serves.
pub(crate) mod tls;

/// The TCP socket under TLS.
mod socket;

/// Fairness between connections.
pub(crate) mod fairness;

/// What a load balancer tells of the client whose connection it passes on.
pub(crate) mod proxy_header;

/// The TLS handshake, and what is told of one that fails.
mod handshake;

/// The client of a connection.
mod peer;

/// The client of a request that a TLS proxy forwards.
mod forwarded;

/// Whether a client is still accepted.
mod admission;

/// A connection from handshake to end.
mod connection;

/// The requests of an HTTP/2 connection.
mod h2;

/// Answers that are written together.
mod gathered;

/// Idle tracking and its deadlines.
mod idle;

/// Times as numbers.
mod clock;

/// Answers that are not taken.
mod untaken;

/// What ends a connection other than its client.
mod termination;

pub(crate) use self::class::Class;
pub(crate) use self::ending::Ending;
pub(crate) use self::endpoint::{Endpoint, Service};
pub(crate) use self::idle::ActiveRequest;
pub(crate) use self::peer::Peer;
pub(crate) use self::untaken::UntakenAnswer;

#[cfg(test)]
mod tests;
