//! What the page is told of the server beside its counters. Where names of keys, identities, policies,
//! files or hosts may stand, the server leaves them out unless the configuration allows them: what
//! is not here cannot be shown.

use std::time::{Duration, SystemTime};

use kes_api::Timestamp;
use kes_keystore::State;

/// The state of the server.
pub(crate) struct Facts {
    pub(crate) version: &'static str,
    pub(crate) commit: &'static str,
    pub(crate) is_fips: bool,
    pub(crate) uptime: Duration,
    pub(crate) state: State,
    /// Why the key store is not available; only with details.
    pub(crate) trouble: Option<String>,
    /// Kind and place of the key store; without details its kind.
    pub(crate) place: Option<String>,
    /// The version that the key store tells.
    pub(crate) store_version: Option<String>,
    pub(crate) cached_keys: usize,
    pub(crate) pin_faults: usize,
    /// What failed, when, and why; the reason only with details.
    pub(crate) failed_reloads: Vec<(&'static str, Timestamp, Option<String>)>,
    pub(crate) policies: usize,
    pub(crate) identities: usize,
    /// Of the server and of its key store; names of files only with details.
    pub(crate) certificates: Vec<Certificate>,
    /// Of known clients, by their identities, the first that ends first; only with details.
    pub(crate) clients: Option<Vec<Certificate>>,
    /// How many certificates of known clients end within 30 days, or have ended.
    pub(crate) expiring_clients: usize,
    /// The last one first.
    pub(crate) refusals: Vec<Refusal>,
}

/// A certificate and its end.
pub(crate) struct Certificate {
    pub(crate) name: String,
    pub(crate) until: SystemTime,
}

/// What policies refuse: one request, or without details all that are alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) last: Timestamp,
    pub(crate) count: u64,
    pub(crate) path: String,
    /// The identity, or how many.
    pub(crate) who: String,
    pub(crate) reason: String,
    /// What in the configuration would allow it.
    pub(crate) line: String,
}
