//! Operations on keys by name, between the server and its key store.
//!
//! [`Keys`] finds the key of a name in the cache (`cache`), or reads it from the key store once for
//! all requests that wait for it (`flight`). Nothing here knows HTTP or the form of a request: an
//! operation takes a [`Permit`](kes_policy::Permit) and plain values, and fails with an [`Error`],
//! which the server turns into an answer.

/// Keys in memory between requests.
mod cache;

/// Why an operation failed.
mod error;

/// Reads that many callers wait for.
mod flight;

/// The operations.
mod keys;

/// What is counted.
mod observer;

pub use cache::{Entry, Settings};
pub use error::{Error, StoreOperation};
pub use keys::{DataKey, Keys};
pub use observer::Observer;
