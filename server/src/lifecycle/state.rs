//! What the server is made of: what stays for its lifetime, and what a reload replaces.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use kes_api::{Identity, Operation, Timestamp};
use kes_keystore::Store;
use kes_policy::Policies;

use crate::observe::logging::Logs;
use crate::observe::logging::repeats::Repeats;
use crate::observe::metrics::Metrics;
use crate::transport::listener::Listening;
use crate::transport::tls;
use crate::transport::tls::expiry::Expiry;

/// The keys of the server.
pub(crate) type Keys = kes_keys::Keys<Store, Metrics>;

/// What stays while the server runs.
pub(crate) struct Shared {
    /// Replaced whole by a reload; a request takes it once.
    pub(crate) state: ArcSwap<State>,
    /// Where it listens.
    pub(crate) listening: Listening,
    /// The TLS configuration for the next connection.
    pub(crate) tls: tls::Current,
    /// Held by whoever replaces one of these, from reading files to storing.
    pub(crate) replacing: tokio::sync::Mutex<()>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) logs: Arc<Logs>,
    /// Of what clients can cause as often as they like, the log has few lines.
    pub(crate) repeats: Repeats,
    /// What was told of the server's certificates.
    pub(crate) expiry: Expiry,
    pub(crate) started: Instant,
    pub(crate) started_at: Timestamp,
    pub(crate) build: BuildInfo,
}

/// What the binary was built from.
#[derive(Clone, Copy, Debug)]
pub struct BuildInfo {
    /// The version, such as `0.1.0`.
    pub version: &'static str,
    /// The commit's hash, or `unknown`.
    pub commit: &'static str,
}

/// What a reload replaces.
pub(crate) struct State {
    pub(crate) policies: Policies,
    /// Shared with the state before, if its keys live in the same place.
    pub(crate) keys: Arc<Keys>,
    /// By [`Operation::index`].
    pub(crate) apis: [Api; Operation::COUNT],
    pub(crate) tls: tls::Settings,
    /// Where the keys live (see [`kes_keystore::Config::location`]).
    pub(crate) location: String,
}

/// What the configuration says of one API.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Api {
    /// `None` for a stream.
    pub(crate) timeout: Option<Duration>,
}

impl State {
    /// Who wrote the policies, as far as the contract knows: the admin; empty for none.
    pub(crate) fn author(&self) -> String {
        self.policies.admin().map(Identity::to_string).unwrap_or_default()
    }
}
