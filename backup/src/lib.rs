//! A backup: all keys of a key store in one file, sealed so that those alone open it who hold an identity or
//! a passphrase, and beside it a manifest in the clear (contract `crypto-and-storage.md`, A backup).
//!
//! - [`age`] is the format around it: that of the program `age`, which opens a backup as well.
//! - [`Writer`] and [`Archive`] are what is in it: a line of JSON for each key, in the order of the names, with
//!   a first line that says what it is and a last one that says how much. An [`Archive`] has been checked from
//!   its first byte to its last before any key is taken from it. It is a key store that is only read, so that
//!   keys are copied from it as from any other.
//! - [`manifest`] has names, fingerprints and the hash of the sealed file, and no secret.
//!
//! Memory does not grow with the number of keys, but for one entry of an index per 64 KiB of them.
//!
//! A value is in memory alone, and wiped. No text of this crate has a byte of one.

#![warn(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice,
    clippy::unreachable,
    reason = "a file may hold anything"
)]

/// The format around it.
pub mod age;

/// What is in it.
mod archive;

/// What stands beside it in the clear.
pub mod manifest;

/// The parsers for the fuzz targets.
#[cfg(feature = "fuzzing")]
pub mod fuzzing;

pub use archive::{Archive, Error, Fault, Header, Summary, Writer};
