//! From a configuration to the state of a server: the same at the start and at a reload.

use std::path::Path;
use std::sync::{Arc, Weak};
use std::time::Duration;

use kes_api::{Identity, Operation};
use kes_config::{ClientAuth, Config, ConfiguredAddress};
use kes_keys::{Expiry, SystemClock};
use kes_keystore::Store;
use kes_keystore::memory::MemoryStore;
use kes_policy::{Policies, StartupPermit};
use rustls::sign::CertifiedKey;

use crate::lifecycle::server::cannot_listen;
use crate::lifecycle::state::{Api, Keys, Shared, State};
use crate::observe::logging;
use crate::observe::metrics::Metrics;
use crate::transport::tls;

/// A configuration that was checked, and nothing opened yet.
pub(crate) struct Setup {
    pub(crate) address: ConfiguredAddress,
    pub(crate) tls: tls::Settings,
    pub(crate) log: logging::Settings,
    policies: Policies,
    expiry: Expiry,
    apis: [Api; Operation::COUNT],
    keys: Vec<StartupPermit>,
    store: StoreSetup,
}

enum StoreSetup {
    Configured(kes_keystore::Config),
    Memory,
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The file, with all its mistakes.
    #[error(transparent)]
    Config(kes_config::Errors),
    /// A private key or certificate.
    #[error(transparent)]
    Tls(tls::Error),
    /// The key store.
    #[error(transparent)]
    Store(kes_keystore::OpenError),
    /// The address that a reload asks for.
    #[error("{}", cannot_listen(address, reason))]
    Listen {
        /// Where the server was to listen.
        address: ConfiguredAddress,
        /// What the system says.
        reason: std::io::Error,
    },
}

impl Setup {
    /// Reads a file, and logs what in it is odd.
    pub(crate) fn of_file(path: &Path) -> Result<Self, SetupError> {
        let loaded =
            kes_config::load(path, &kes_config::ProcessEnvironment).map_err(SetupError::Config)?;
        for warning in &loaded.warnings {
            tracing::warn!("{}", warning.in_file(path));
        }
        Ok(Self::of_config(loaded.config))
    }

    fn of_config(config: Config) -> Self {
        let apis = kes_api::route::ROUTES.map(|route| {
            let changed = config.api.of(route.operation);
            // A stream has no end, whatever the file says.
            let timeout = route.timeout.map(|usual| changed.timeout.unwrap_or(usual));
            Api { timeout }
        });
        Self {
            address: config.address,
            tls: tls::Settings::of_config(config.tls, config.api.any_skips_auth()),
            log: logging::Settings {
                error: config.log.error,
                audit: config.log.audit,
                format: config.log.format,
            },
            policies: config.policies,
            expiry: Expiry {
                any: config.cache.any,
                unused: config.cache.unused,
                offline: config.cache.offline,
            },
            apis,
            keys: config.keys,
            store: StoreSetup::Configured(config.keystore),
        }
    }

    /// Of a dev server: everything as by default, and the admin alone.
    pub(crate) fn dev(admin: Identity, certificate: Arc<CertifiedKey>) -> Self {
        let cache = kes_config::Cache::default();
        let log = kes_config::Log::default();
        Self {
            address: ConfiguredAddress::default(),
            tls: tls::Settings {
                identity: tls::ServerIdentity::Memory(certificate),
                auth: ClientAuth::Any,
                ca: None,
                optional: false,
            },
            log: logging::Settings { error: log.error, audit: log.audit, format: log.format },
            policies: Policies::of_admin(admin),
            expiry: Expiry { any: cache.any, unused: cache.unused, offline: cache.offline },
            apis: kes_api::route::ROUTES.map(|route| Api { timeout: route.timeout }),
            keys: Vec::new(),
            store: StoreSetup::Memory,
        }
    }

    /// Opens the key store. If its keys live in the same place as those of `old`, the new state goes
    /// on with the keys of `old` and their cache, and [`Prepared::reopened`] is what they are to be
    /// reconfigured with.
    pub(crate) async fn open(
        self,
        metrics: &Arc<Metrics>,
        old: Option<&State>,
    ) -> Result<Prepared, SetupError> {
        let (location, store) = match self.store {
            StoreSetup::Memory => ("memory".to_owned(), Store::Memory(MemoryStore::new())),
            StoreSetup::Configured(config) => {
                let location = config.location();
                (location, Store::open(config).await.map_err(SetupError::Store)?)
            }
        };
        let (keys, reopened) = match old.filter(|old| old.location == location) {
            Some(old) => (Arc::clone(&old.keys), Some((store, self.expiry))),
            None => {
                let keys = Keys::new(store, self.expiry, Arc::clone(metrics), SystemClock);
                (Arc::new(keys), None)
            }
        };
        let state =
            State { keys, policies: self.policies, apis: self.apis, tls: self.tls, location };
        Ok(Prepared { state, reopened, pending: PendingKeys(self.keys) })
    }
}

/// A configuration that can be put into use: nothing of that fails.
pub(crate) struct Prepared {
    pub(crate) state: State,
    /// The key store and the times of expiry to go on with, if the keys are those of the state
    /// before.
    pub(crate) reopened: Option<(Store, Expiry)>,
    pub(crate) pending: PendingKeys,
}

/// The keys that a configuration wants to exist.
pub(crate) struct PendingKeys(Vec<StartupPermit>);

impl PendingKeys {
    /// How often a key store that fails is tried again.
    const PAUSE: Duration = Duration::from_secs(2);

    /// Creates those that are missing, in the background: a Vault that is away does not keep the
    /// server from starting. Ends when another configuration takes over.
    pub(crate) fn create(self, shared: &Arc<Shared>) {
        if self.0.is_empty() {
            return;
        }
        let state = Arc::downgrade(&shared.state.load_full());
        tokio::spawn(async move {
            for permit in self.0 {
                create_until_done(&state, &permit).await;
            }
        });
    }
}

async fn create_until_done(state: &Weak<State>, permit: &StartupPermit) {
    let name = permit.name();
    let mut complained = false;
    while let Some(state) = state.upgrade() {
        use kes_keys::Error;
        use kes_keystore::Error as Store;
        match state.keys.create_at_startup(permit).await {
            Ok(()) => return tracing::info!("secret key '{name}' created"),
            Err(Error::Store { source: Store::Exists { .. }, .. }) => return,
            Err(error) if !complained => {
                let error = crate::service::error::Error::from(error);
                let cause = error.cause().map(|cause| format!(": {cause}")).unwrap_or_default();
                tracing::error!(
                    "failed to create key '{name}' of the configuration{cause}; \
                     the server keeps trying"
                );
                complained = true;
            }
            Err(_) => {}
        }
        drop(state);
        tokio::time::sleep(PendingKeys::PAUSE).await;
    }
}
