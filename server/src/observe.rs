//! What happened, told once: events of the server and of its requests come in; lines of the error
//! log and the audit log, streams to the clients that follow them, metrics, and spans of traces go out.

/// Error log, audit log, streams.
pub(crate) mod logging;

/// Counters.
pub(crate) mod metrics;

/// Figures of the process.
pub(crate) mod process;

/// The trace that a request belongs to.
pub(crate) mod traceparent;

/// Spans of requests, and the task that sends them.
pub(crate) mod traces;
