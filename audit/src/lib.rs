//! The audit file: one JSON line for each request, chained so that a change of what was written is
//! found (`docs/audit.md`).
//!
//! The file that is written is one segment of a log. When it is large or old enough it is closed,
//! renamed, and compressed; the next segment begins with the head of the one before. Every line
//! carries its number and a hash over the line before and itself, keyed if there is a key. A line
//! that was edited, dropped or moved, and a file that was cut, replaced or left out, do not fit
//! into this chain. Only lines cut from the end of the newest file leave no trace in what remains:
//! heads of the chain that are kept elsewhere show them ([`note`]).
//!
//! [`mod@file`] writes segments, [`mod@verify`] checks them, and [`mod@search`] finds lines in them.

#![warn(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice,
    clippy::unreachable,
    reason = "the server writes what clients send; what cannot fail says why at its place"
)]

/// The hash chain over lines.
mod chain;

/// The key of a chain, and what is derived from it.
mod key;

/// Which object a request is about.
mod context;

/// Texts in JSON.
mod json;

/// What is recorded.
pub mod record;

/// Lines as they are read back.
pub mod entry;

/// What is left of a line that was not written whole.
mod torn;

/// Names of segments and their first lines.
mod segment;

/// Signed heads of a chain.
pub mod note;

/// Writes segments.
pub mod file;

/// Reads segments, compressed or not.
mod reader;

/// Checks segments.
pub mod verify;

/// Finds lines.
pub mod search;

pub use chain::{Head, InvalidHead};
pub use context::ContextMode;
pub use key::{AuditKey, KeyError};
pub use reader::{Input, open};

/// The longest line in bytes, its end included. The longest record, of a bulk decryption of a
/// thousand objects, is cut to stay below.
pub const MAX_LINE: usize = 4 * 1024 * 1024;
