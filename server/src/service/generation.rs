use std::sync::Arc;
use std::time::Duration;

use kes_api::{Identity, Operation};
use kes_config::Settings;
use kes_keystore::Stores;
use kes_keystore::config::Location;
use kes_keystore::fs::KnownFolders;
use kes_keystore::wrap::Metered;
use kes_policy::Policies;

use super::limits::Limiters;
use super::proxies::Proxies;
use crate::observe::metrics::{InUse, Metrics};
use crate::observe::traces::Tracer;
use crate::transport::{Class, Peer};

/// The keys of the server.
pub(crate) type Keys = kes_keys::Keys<KeyStore, Metrics>;

/// The key store of the server, whose calls are counted.
pub(crate) type KeyStore = Metered<Stores, Metrics>;

/// What one configuration makes of the API. A reload replaces it whole; a request that has begun
/// keeps its own.
pub(crate) struct Generation {
    pub(crate) policies: Policies,
    pub(crate) proxies: Proxies,
    /// Of the identities that the policies limit.
    pub(crate) limiters: Limiters,
    /// Shared with the generation before, if its keys live in the same place.
    pub(crate) keys: Arc<Keys>,
    /// By [`Operation::index`].
    pub(crate) apis: [ApiSettings; Operation::COUNT],
    /// Where the keys live (see [`kes_keystore::Config::location`]).
    pub(crate) location: Location,
    /// What the file says, to tell in what another one differs.
    pub(crate) settings: Settings,
    /// The key folders that the server has opened since its start. All generations share them.
    pub(crate) folders: Arc<KnownFolders>,
    /// Makes the spans of its requests; `None` if they are not traced.
    pub(crate) traces: Option<Tracer>,
    /// Counts it.
    pub(crate) _in_use: InUse,
}

/// The configuration of one API.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ApiSettings {
    /// `None` for a stream.
    pub(crate) timeout: Option<Duration>,
}

impl Generation {
    /// Whether an identity is the admin, has a policy, or is that of a TLS proxy.
    pub(crate) fn knows(&self, identity: &Identity) -> bool {
        self.policies.is_admin(identity)
            || self.policies.policy_of(identity).is_some()
            || self.proxies.contain(identity)
    }

    /// The class of a client.
    pub(crate) fn class(&self, peer: &Peer) -> Class {
        match &peer.identity {
            Ok(identity) if self.policies.is_admin(identity) => Class::Admin,
            Ok(identity) if self.policies.policy_of(identity).is_some() => Class::Known,
            // It sends nothing for itself, but its connection is that of its clients.
            Ok(identity) if !peer.is_forwarded() && self.proxies.contain(identity) => Class::Known,
            _ => Class::Stranger,
        }
    }

    /// The creator of policies and identities, as the contract reports it: the admin; empty if
    /// there is none.
    pub(crate) fn author(&self) -> String {
        self.policies.admin().map(Identity::to_string).unwrap_or_default()
    }
}
