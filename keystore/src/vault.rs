//! Vault and OpenBao: one secret a key, in a KV engine of version 1 or 2 (contract `vault.md`).
//!
//! | part | job |
//! | --- | --- |
//! | `Creator` (`create`), with `CreateLock` (`lock`) | creates a key that does not exist |
//! | `Listing` (`listing`), with `Prefetch` | lists keys in pages |
//! | `Transit` (`transit`) | encrypts stored keys |
//! | `Engine` (`engine`, `paths`) | the requests of KV version 1 and 2, and their answers |
//! | `Session` (`session`, `login`) | sends requests with a token, and keeps the token valid |
//! | `Client` (`client`, `tls`) | what Vault adds to plain HTTP, above the client of all remote stores |
//!
//! Each part uses those below it. When Vault is down, sealed or restarted, the store recovers by
//! itself: one background task checks its health (`health`), and another keeps a token valid.

/// The request that was refused, for texts.
mod asked;

/// Proof that Vault can be used as it is configured.
pub(crate) mod check;

/// A call, and the right that it needs.
mod call;

/// Requests to Vault.
mod client;

/// Creating keys.
mod create;

/// The create lock of a key on KV v1.
mod lock;

/// The KV engine.
mod engine;

/// What can go wrong with a call.
mod fault;

/// Parsers for the fuzz targets.
#[cfg(feature = "fuzzing")]
pub mod fuzzing;

/// What Vault says of its health.
mod health;

/// Consistent reads.
mod consistency;

/// Listing keys.
mod listing;

/// The requests that get and keep a token.
mod login;

/// Paths in Vault.
mod paths;

/// Calls with a token, and the life of the token.
mod session;

/// TLS: trusted CAs and the client certificate.
mod tls;

/// Encryption by the transit engine.
mod transit;

use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use kes_api::{KeyName, ListPattern};
use parking_lot::Mutex;
use tokio::task::JoinSet;
use tokio::time;
use url::Url;
use zeroize::Zeroizing;

use self::client::Client;
use self::create::Creator;
use self::engine::Engine;
use self::fault::Fault;
use self::listing::Listing;
use self::listing::prefetch::Prefetch;
use self::paths::Paths;
use self::session::Session;
use self::transit::{Transit, is_wrapped};
use crate::config::{self, Login};
use crate::inventory::{ForeignNames, Inventory, NameRules};
use crate::remote::Sends;
use crate::traced::{traceparent, within};
use crate::wrap::{Budgets, Check, ConcurrencyLimit, Deadline, Health, Monitor, Slot};
use crate::{CertificateEnds, Error, KeyStore, Kind, Limit, Logins, OpenError, Page, State, Value};

/// The time limit of an operation as a whole: less than the 15 s of its route, so that the client
/// gets an answer.
const CALL_LIMIT: Duration = Duration::from_secs(12);

/// How many operations run at one time. What Vault is sent is bounded by the session. These bound
/// what waits: reads, creates and deletes that wait for Vault's return, as many of each as may do
/// so. A listing has Vault look at all names, which keeps it busy: a few are as fast as many.
const BUDGETS: Budgets = Budgets { reads: 1024, changes: 1024, listings: 8 };

/// How long opening waits for the first answer of Vault, so that the state is true from the start.
const OPEN_LIMIT: Duration = Duration::from_secs(1);

/// The kind of this store.
const KIND: Kind = Kind::new(&"vault");

/// What the store is called in errors.
const PRODUCT: &str = "Vault";

/// Keys in Vault or OpenBao, with regular checks, a limit of calls at one time, and a time limit
/// for every call.
pub type VaultStore = Deadline<ConcurrencyLimit<Health<VaultBackend>>>;

/// Keys in Vault or OpenBao.
pub struct VaultBackend {
    session: Arc<Session>,
    engine: Arc<Engine>,
    transit: Option<Arc<Transit>>,
    creator: Arc<Creator>,
    listing: Listing,
    prefetch: Arc<Prefetch>,
    endpoints: Vec<Url>,
    certificates: CertificateEnds,
    /// What the last healthy answer said.
    version: Mutex<Option<String>>,
    /// Namespace and path of the keys.
    place: String,
    /// How often Vault is asked for its health, as it is configured.
    ping: Duration,
    /// Ends with the store.
    _keeper: JoinSet<()>,
}

impl Deadline<ConcurrencyLimit<Health<VaultBackend>>> {
    /// Opens a key store. Vault need not be available: the store connects and logs in as soon as it
    /// is. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`OpenError::Remote`] if the configuration cannot be used: a certificate or private key
    /// that is missing or damaged, or a namespace that no HTTP header can hold.
    pub async fn open(config: config::Vault) -> Result<Self, OpenError> {
        let unusable = |reason: String| OpenError::Remote { product: PRODUCT, reason };
        if config.endpoints.is_empty() {
            return Err(unusable("there is no endpoint".to_owned()));
        }
        let endpoints = config.endpoints.clone();
        // In a thread for blocking calls: a file on a network mount may hang.
        let loading = tokio::task::spawn_blocking(move || (tls::load(&config.tls), config));
        let (tls, config) = loading.await.map_err(|ended| unusable(ended.to_string()))?;
        let (tls, certificates) = tls?;
        let namespace = namespace(&config.namespace)?;
        let (Login::AppRole { namespace: own, .. } | Login::Kubernetes { namespace: own, .. }) =
            &config.login;
        let login_namespace = match own {
            Some(own) => self::namespace(own)?,
            None => namespace.clone(),
        };
        let paths = Paths::new(&config);
        let place = paths.place(&config.namespace);
        let client = Client::new(config.endpoints, tls, &config.proxies)
            .map_err(|error| unusable(format!("no HTTP client: {error}")))?;
        let health = Arc::new(Monitor::new(KIND));
        let session =
            Session::new(client, Arc::clone(&health), config.login, namespace, login_namespace);
        let session = Arc::new(session);
        let mut keeper = JoinSet::new();
        keeper.spawn({
            let (session, health) = (Arc::clone(&session), Arc::clone(&health));
            async move {
                // A login to a Vault that is away only costs time.
                let _ = time::timeout(OPEN_LIMIT, health.checked()).await;
                session.keep_token().await;
            }
        });

        let engine = Arc::new(Engine::new(Arc::clone(&session), config.version, paths));
        let transit =
            config.transit.map(|transit| Arc::new(Transit::new(Arc::clone(&session), &transit)));
        let prefetch = Arc::new(Prefetch::default());
        let creator = Creator::new(Arc::clone(&engine), transit.clone(), Arc::clone(&prefetch));
        let backend = VaultBackend {
            creator: Arc::new(creator),
            listing: Listing::new(Arc::clone(&engine), Arc::clone(&prefetch)),
            session,
            engine,
            transit,
            prefetch,
            endpoints,
            certificates,
            version: Mutex::default(),
            place,
            ping: config.ping,
            _keeper: keeper,
        };
        let store = Health::new(backend, Arc::clone(&health));
        // Without an answer by then Vault is not there yet.
        let _ = time::timeout(OPEN_LIMIT, health.checked()).await;
        let store = ConcurrencyLimit::new(store, BUDGETS);
        Ok(Self::new(store, CALL_LIMIT, "Vault did not complete it"))
    }

    /// Whether another store has its keys at the same place of the same Vault. Vaults at other
    /// addresses are the same if they say that they are of one cluster.
    pub(crate) async fn is_same(&self, other: &Self) -> bool {
        let (this, other) = (self.backend(), other.backend());
        if this.place != other.place {
            return false;
        }
        if this.endpoints.iter().any(|endpoint| other.endpoints.contains(endpoint)) {
            return true;
        }
        let clusters = [&this.session.client, &other.session.client].map(health::cluster);
        let [ours, theirs] = clusters;
        match (ours.await, theirs.await) {
            (Some(ours), Some(theirs)) => ours == theirs,
            _ => false,
        }
    }

    /// The store within all wrappers.
    fn backend(&self) -> &VaultBackend {
        self.inner().inner().inner()
    }
}

impl Check for VaultBackend {
    /// None: each request of a check has a time limit, and a check of several endpoints sends many.
    const DEADLINE: Duration = Duration::MAX;

    async fn check(&self) -> (State, Option<String>) {
        health::ping(&self.session.client, &self.version).await
    }

    fn interval(&self, is_reachable: bool) -> Duration {
        health::interval(self.ping, is_reachable)
    }
}

impl KeyStore for VaultBackend {
    async fn create(&self, name: &KeyName, value: &Value) -> Result<(), Error> {
        // In a task of its own: a client that disconnects must not leave the create lock behind.
        let (creator, name, value) = (Arc::clone(&self.creator), *name, value.copy());
        let (slot, sends) = (Slot::current(), Sends::new());
        let task = tokio::spawn(within(traceparent(), async move {
            let created = creator.create(&name, &value, &sends).await;
            if created.is_ok() {
                // The call may have been given up.
                sends.carried_out();
            }
            drop((sends, slot));
            created
        }));
        task.await.unwrap_or_else(|_| {
            Err(Error::Unavailable { reason: "creating the key was cut short".to_owned() })
        })
    }

    async fn read(&self, name: &KeyName) -> Result<Value, Error> {
        let found = match self.engine.stored(name).await {
            Err(fault) if fault.is_not_found() => return Err(Error::NotFound { name: *name }),
            Err(fault) => return Err(self.engine.failed(fault).await),
            Ok(found) => found,
        };
        let Some(text) = found else {
            if self.engine.is_misread().await {
                return Err(self.engine.is_versioned());
            }
            return Err(Error::Foreign {
                store: KIND,
                name: *name,
                reason: "its entry in Vault has no text in a field of that name",
            });
        };
        let text = match &self.transit {
            _ if !is_wrapped(&text) => text,
            Some(transit) => transit.unwrap(&text).await.map_err(Fault::into_error)?,
            None => {
                return Err(unusable(format!(
                    "key '{name}' is encrypted by Vault's transit engine; set \
                     keystore.vault.transit"
                )));
            }
        };
        if text.len() > Value::MAX_LEN {
            return Err(damaged(name, &format!("it is longer than {} bytes", Value::MAX_LEN)));
        }
        Ok(Value::new(into_inner(text)))
    }

    async fn delete(&self, name: &KeyName) -> Result<(), Error> {
        // In a task of its own: nobody else may change the key before its requests have ended.
        let (engine, prefetch) = (Arc::clone(&self.engine), Arc::clone(&self.prefetch));
        let (name, slot, sends) = (*name, Slot::current(), Sends::new());
        let task = tokio::spawn(within(traceparent(), async move {
            let _change = prefetch.change();
            let deleted = engine.delete(&name, &sends).await;
            if deleted.is_ok() {
                sends.carried_out();
            }
            drop((sends, slot));
            deleted
        }));
        task.await.unwrap_or_else(|_| {
            Err(Error::Unavailable { reason: "deleting the key was cut short".to_owned() })
        })
    }

    async fn list(&self, pattern: &ListPattern<'_>, limit: Limit) -> Result<Page, Error> {
        self.listing.page(pattern, limit).await
    }

    fn state(&self) -> State {
        self.session.health.state()
    }

    fn kind(&self) -> Kind {
        KIND
    }

    /// With the first endpoint of the configuration.
    fn description(&self) -> String {
        match self.endpoints.first() {
            Some(endpoint) => format!("vault: {endpoint}"),
            None => KIND.to_string(),
        }
    }

    fn logins(&self) -> Option<Logins> {
        Some(self.session.logins())
    }

    fn certificates(&self) -> CertificateEnds {
        self.certificates
    }

    fn version(&self) -> Option<String> {
        self.version.lock().clone()
    }
}

impl Inventory for VaultBackend {
    async fn foreign(&self, names: ForeignNames) -> Result<ForeignNames, Error> {
        self.listing.foreign(names).await
    }

    async fn name_rules(&self) -> Result<NameRules, Error> {
        Ok(NameRules::ANY)
    }
}

fn unusable(reason: String) -> Error {
    Error::Unusable { store: KIND, reason }
}

fn damaged(name: &KeyName, reason: &str) -> Error {
    Error::Corrupt { store: KIND, name: *name, reason: reason.into() }
}

fn namespace(path: &str) -> Result<Option<HeaderValue>, OpenError> {
    if path.is_empty() {
        return Ok(None);
    }
    HeaderValue::from_str(path).map(Some).map_err(|_| OpenError::Remote {
        product: PRODUCT,
        reason: format!("namespace {path:?} has characters that no HTTP header can hold"),
    })
}

/// Takes a text out of its wrapper. The caller has to wipe it.
fn into_inner(mut text: Zeroizing<String>) -> String {
    std::mem::take(&mut *text)
}
