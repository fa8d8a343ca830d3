//! The server, in four rooms. Each uses only those that follow it in this list:
//!
//! - `lifecycle` starts, reloads and stops a server: configuration → running server.
//! - `service` answers requests: request → permit → operation → answer.
//! - `transport` serves connections: bytes ↔ requests, each with the peer that sent it. It is
//!   generic over the service.
//! - `observe` writes to logs and metrics what happens, and sends traces of it.
//!
//! A request passes `transport::listener` (accept), `transport::handshake` (TLS), `transport::peer`
//! (the client's identity), `transport::connection` (HTTP), then `service` with `router` (its
//! route), `admit` (the checks of the contract) and `handlers` (its operation). Operations on keys
//! are those of the crate `kes-keys`. An error becomes the contract's answer in one place
//! (`service::error`).

#![warn(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice,
    clippy::unreachable,
    reason = "requests come here; what cannot fail says why at its place"
)]

/// Connections to requests.
mod transport;

/// Requests to answers.
mod service;

/// Logs, metrics and traces.
mod observe;

/// Start, reload and stop.
mod lifecycle;

pub use lifecycle::error::{Error, SetupError};
pub use lifecycle::front::{Front, FrontAnswer, FrontBody, FrontClient, Responder};
pub use lifecycle::handover::taker::Predecessor;
pub use lifecycle::operations::Unbound;
pub use lifecycle::passed::PassedSockets;
pub use lifecycle::pending::check_pins;
pub use lifecycle::process::{check_files, forbid_dumps, harden};
pub use lifecycle::server::{Info, Options, Server, Source};
pub use lifecycle::setup::{check_audit_file, check_traces};
pub use lifecycle::snapshot::check_snapshot;
pub use service::BuildInfo;
pub use service::paths::{Routed, route};
pub use transport::tls::{Error as TlsError, check as check_tls};

#[cfg(feature = "fuzzing")]
pub use service::fuzzing;
