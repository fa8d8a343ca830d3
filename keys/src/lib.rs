//! Operations on keys by name, between the server and its key store.
//!
//! [`Keys`] takes the key of a name from the cache (`cache`), or reads it from the key store, once
//! for all requests that wait for it (`single_flight`). What is stored and read are records, which
//! one place encodes and decodes (`records`).
//!
//! Nothing here knows HTTP or the form of a request: an operation takes a
//! [`Permit`](kes_policy::Permit) and plain values, and fails with an [`Error`], which the server
//! turns into an answer. The key store, the [`Clock`] and the [`Observer`] that counts are
//! parameters, so that tests bring their own.

#![warn(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice,
    clippy::unreachable,
    reason = "requests come here; what cannot fail says why at its place"
)]

/// Keys in memory between requests.
mod cache;

/// What tells the time.
mod clock;

/// Why an operation failed.
mod error;

/// The operations.
mod keys;

/// What is counted.
mod observer;

/// Keys that have to have certain fingerprints.
pub mod pins;

/// Records in and out of the key store.
mod records;

/// One read for all who wait for it.
mod single_flight;

/// Calls to the key store that are traced.
mod traced;

/// When keys were last used.
mod uses;

/// A key store, a clock and an observer for tests.
#[cfg(test)]
mod testing;

pub use cache::{Copies, Expiry, SnapshotSettings, SnapshotStatus};
#[cfg(feature = "fuzzing")]
pub use cache::{rewritten, rewritten_snapshot};
pub use clock::{Clock, SystemClock};
pub use error::Error;
pub use kes_crypto::{snapshot, transfer};
pub use kes_keystore::wrap::{Late, Order};
pub use keys::{DataKey, Description, Ended, Keys};
pub use observer::{Observer, Refresh};
pub use pins::Pin;
pub use uses::LastUse;
