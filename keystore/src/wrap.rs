//! Stores around stores: each does one thing for any backend, and is a store itself.

/// A time limit for every call.
mod deadline;

pub use deadline::Deadline;
