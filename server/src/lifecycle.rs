//! From a configuration to a running server: a file and signals come in; a server that serves,
//! takes over a changed configuration, and stops goes out.
//!
//! `setup` makes what a server runs with from a configuration, `reload` replaces it whole in the
//! running server (`state`), and `server` starts, waits for `signals`, and shuts down.

/// Why a server does not start, or does not take a configuration.
pub(crate) mod error;

/// Limits and protection of the process.
pub(crate) mod process;

/// The running server.
mod state;

/// From a configuration to what a server runs with.
pub(crate) mod setup;

/// The snapshot of the keys in use.
pub(crate) mod snapshot;

/// The keys that a configuration lists.
pub(crate) mod pending;

/// Reads of files that may hang.
mod reads;

/// What a reload has changed.
mod changes;

/// Takes over a changed configuration or certificate.
mod reload;

/// Changes of the certificate files.
mod watch;

/// Signals.
mod signals;

/// Work that may block.
mod blocking;

/// Work beside the requests.
mod background;

/// Health and metrics without a certificate.
pub(crate) mod operations;

/// The state of the server for the page of the operations listener.
mod shown;

/// The state of the server in one line.
mod status;

/// Notifications for the service manager.
mod systemd;

/// Sockets that the service manager has opened.
pub(crate) mod passed;

/// A new process takes over.
pub(crate) mod handover;

/// A listener for a service of another crate.
pub(crate) mod front;

/// Start and stop.
pub(crate) mod server;
