//! Copies keys from one key store to another (contract `migrate.md`).
//!
//! A [`Migration`] goes through the source three times, page by page, so that the memory it takes
//! does not grow with the number of keys:
//!
//! 1. `plan` counts the keys, finds the entries that are no keys, and the names that the target
//!    cannot hold. Nothing is written before that.
//! 2. `entry` copies each key: some at a time, told in the order of the names. A value is read from
//!    the source, created in the target, which never overwrites, and read back. A key whose value
//!    the target has already is left alone. So a run that was interrupted at any point is completed
//!    by another one.
//! 3. `control` compares the numbers with new listings of both stores.
//!
//! A [`Reading`] goes through a store in the same way, for a backup or a rehearsal, and writes nothing.
//!
//! A value is in memory alone, and wiped ([`Value`](kes_keystore::Value)). No text of this crate has
//! a byte of one.

#![warn(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice,
    clippy::unreachable,
    reason = "a migration that ends in the middle of a change may lose a key"
)]

/// The whole run.
mod migration;

/// Before the first write.
mod plan;

/// One key.
mod entry;

/// One key in place of another.
mod replace;

/// Beside servers.
mod online;

/// How fast keys are copied.
mod pace;

/// After the last write.
mod control;

/// The keys of a store, without a target.
mod reading;

/// The names of a store, page by page.
mod listing;

/// The target, whose changes of one key are made one after the other.
mod target;

/// Which keys are copied.
mod pattern;

/// What became of the keys.
mod outcome;

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use migration::{Existing, Migration, Options};
pub use outcome::{Alone, End, Outcome, Report, Side, Tally, Trouble};
pub use pattern::{InvalidPattern, Pattern};
pub use reading::{Entry, Reading, ReadingEnd};
