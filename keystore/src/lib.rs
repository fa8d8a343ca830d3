//! Keys at rest: what a stored key is, and the stores that hold it
//! (contract `crypto-and-storage.md`; contract `vault.md`).
//!
//! A [`Store`] maps a [`KeyName`](kes_api::KeyName) to a [`Value`], the text form of a
//! [`Record`]. It does not cache, does not know policies, and never overwrites: what it returns
//! for a key is what the store holds.

#![warn(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice,
    clippy::unreachable,
    reason = "requests come here; what cannot fail says why at its place"
)]

/// The stored key: its fields, and its text form.
pub mod record;

/// The configuration of a key store, checked.
pub mod config;

/// Why a call of a key store failed.
mod error;

/// Proof that a key store can be used as it is configured.
pub mod check;

/// Random pauses.
mod jitter;

/// What every key store does.
mod store;

/// Which of two stores is used for what.
mod stage;

/// What is in a store, for a migration.
mod inventory;

/// The traces of calls.
mod traced;

/// The HTTP client of remote stores.
mod remote;

/// Stores around stores.
pub mod wrap;

/// The choice of backends.
mod open;

/// Two stores at once.
pub mod pair;

/// The key store of a server: one, or two at once.
mod stores;

/// Pages of a listing.
mod page;

/// Keys in memory, for the dev server.
pub mod memory;

/// Keys as files of one folder.
pub mod fs;

/// Vault and OpenBao.
pub mod vault;

/// The same tests for every backend.
#[cfg(any(test, feature = "battery"))]
pub mod battery;

pub use config::Config;
pub use error::{Error, Kind, OpenError, files_hint};
pub use inventory::{ForeignNames, Inventory, KeyFile, NameRules, Wanted};
pub use open::Store;
pub use open::{Target, TargetError, TargetUse};
pub use page::{Limit, Names, Page};
pub use record::{Form, InvalidRecord, Record};
pub use stage::{Count, Side, Stage, Writes};
pub use store::{
    CertificateEnds, KeyStore, Logins, MemberReport, PairReport, State, StoreOperation, Value,
};
pub use stores::Stores;
pub use traced::traced_call;
