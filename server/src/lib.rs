//! The server, in the order in which a request meets it.
//!
//! A socket is accepted (`listener`), shakes hands (`handshake`, `tls`), and shows who is at its
//! other end (`peer`), once. Each request of the connection (`connection`) goes through one function
//! (`service`): its path finds a route (`router`), the checks of the contract turn client and
//! route into a permit or a refusal (`admit`), and the operation of the route (`handlers`) parses
//! name and body and acts on keys (`keys`), which stand in memory or are read from the key store
//! once for all who wait. What went wrong becomes the contract's answer in one place (`error`);
//! what happened is told in another (`logging`, `metrics`).
//!
//! What a reload can change hangs on one pointer (`state`), is made from a configuration
//! (`setup`), and replaced whole (`reload`).

/// The accept loop.
mod listener;

/// TLS, replaceable while it serves.
mod tls;

/// The transport under it.
mod socket;

/// Large bodies beside small requests.
mod turn;

/// The TLS handshake, and what is told of one that fails.
mod handshake;

/// Who is at the other end.
mod peer;

/// A connection from handshake to end.
mod connection;

/// The requests of an HTTP/2 connection.
mod streams;

/// Idle connections and slow heads.
mod activity;

/// What ends a connection from outside.
mod interrupt;

/// One request from arrival to answer.
mod service;

/// Path to route.
mod router;

/// The checks before an operation.
mod admit;

/// What the APIs answer.
mod handlers;

/// What is sent of it.
mod answer;

/// Request bodies.
mod body;

/// Operations on keys.
mod keys;

/// Why a request was not served.
mod error;

/// Error log, audit log, streams.
mod logging;

/// Counters.
mod metrics;

/// This process.
mod process;

/// What the server is made of.
mod state;

/// Configuration to state.
mod setup;

/// State to new state.
mod reload;

/// Signals.
mod signals;

/// Start and stop.
mod server;

pub use process::{check_files, harden};
pub use server::{Error, Info, Options, Server, Source};
pub use setup::SetupError;
pub use state::BuildInfo;
pub use tls::{Error as TlsError, check as check_tls};
