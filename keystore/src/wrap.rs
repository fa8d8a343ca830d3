//! Stores around stores: each does one thing for any backend, and is a store itself.

/// A time limit for every call.
mod deadline;

/// Health by regular checks.
pub(crate) mod health;

pub use deadline::Deadline;
pub use health::{Check, Health};
