//! What happened, told once: events of the server and of its requests come in; lines of the error
//! log and the audit log, streams to the clients that follow them, and metrics go out.

/// Error log, audit log, streams.
pub(crate) mod logging;

/// Counters.
pub(crate) mod metrics;

/// Figures of the process.
pub(crate) mod process;
