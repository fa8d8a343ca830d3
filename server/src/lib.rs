//! The server: four rooms, and the keys between two of them.
//!
//! `lifecycle` makes a running server of a configuration, and replaces what a reload changes.
//! `transport` turns connections into requests, each with the peer that sent it. `service` turns a
//! request into an answer: route, permit, operation; the operations act on `keys`. `observe` writes
//! what happened to logs and metrics.
//!
//! A request meets them in this order: accept (`transport::listener`), TLS handshake
//! (`transport::handshake`), identity of the client (`transport::peer`), HTTP
//! (`transport::connection`), then `service::serve` with its route (`service::router`), the checks
//! of the contract (`service::admit`), the operation (`service::handlers`) and the key (`keys`).
//! What went wrong becomes the contract's answer in one place (`service::error`).

/// Connections to requests.
mod transport;

/// Requests to answers.
mod service;

/// Logs and metrics.
mod observe;

/// Start, reload and stop.
mod lifecycle;

pub use lifecycle::process::{check_files, harden};
pub use lifecycle::server::{Error, Info, Options, Server, Source};
pub use lifecycle::setup::SetupError;
pub use lifecycle::state::BuildInfo;
pub use transport::tls::{Error as TlsError, check as check_tls};
