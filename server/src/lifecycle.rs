//! From a configuration to a running server: a file and signals come in; a server that serves,
//! takes over a changed configuration, and stops goes out.
//!
//! `setup` makes the `state` that a reload can change from a configuration, `reload` replaces it
//! whole, and `server` starts, waits for `signals`, and stops.

/// This process.
pub(crate) mod process;

/// What the server is made of.
pub(crate) mod state;

/// Configuration to state.
pub(crate) mod setup;

/// State to new state.
mod reload;

/// Signals.
mod signals;

/// Start and stop.
pub(crate) mod server;
