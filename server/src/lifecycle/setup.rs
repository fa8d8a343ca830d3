//! From a configuration to what a server runs with: the same at the start and at a reload.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kes_api::{Identity, Operation};
use kes_config::{Change, ClientAuth, Config, ConfiguredAddress, Network, PinnedKey, Settings};
use kes_keys::{Expiry, Pin, SnapshotSettings, SystemClock};
use kes_keystore::config::{Location, Migration};
use kes_keystore::fs::Opening;
use kes_keystore::memory::MemoryStore;
use kes_keystore::{KeyStore as _, Kind, Store, Stores};
use kes_policy::{Policies, StartupPermit};
use rustls::sign::CertifiedKey;

use super::blocking::{Yielding, blocking};
use super::changes::contents;
use super::error::SetupError;
use super::pending::{PendingKeys, Pins};
use super::snapshot;
use crate::observe::logging;
use crate::observe::logging::file::Target;
use crate::observe::metrics::Metrics;
use crate::observe::traces::{Collector, Tracer};
use crate::service::generation::{ApiSettings, Generation, KeyStore, Keys};
use crate::service::limits::Limiters;
use crate::service::proxies::Proxies;
use crate::transport::tls;

/// A checked configuration, of which nothing is opened yet.
pub(crate) struct Setup {
    pub(crate) address: ConfiguredAddress,
    pub(crate) balancers: Vec<Network>,
    pub(crate) operations: Option<kes_config::Operations>,
    pub(crate) tls: tls::Settings,
    pub(crate) log: logging::Settings,
    audit_file: Option<kes_config::AuditFile>,
    traces: Option<kes_config::Traces>,
    policies: Policies,
    proxies: Proxies,
    expiry: Expiry,
    snapshot: Option<kes_config::Snapshot>,
    apis: [ApiSettings; Operation::COUNT],
    keys: Vec<StartupPermit>,
    pins: Vec<PinnedKey>,
    settings: Settings,
    store: StoreSetup,
}

enum StoreSetup {
    Configured(Box<(kes_keystore::Config, Option<Migration>)>),
    Memory,
}

impl Setup {
    /// Reads a file, and logs its warnings. It may be a pipe, such as a shell makes of the output of
    /// a command.
    pub(crate) async fn of_file(path: PathBuf) -> Result<Self, SetupError> {
        Self::read(path, |_| Ok(())).await
    }

    /// Reads a file again, which has to be a regular one: a pipe was read to its end.
    pub(crate) async fn of_file_again(path: PathBuf) -> Result<Self, SetupError> {
        Self::read(path, |path| kes_tls::open_file(path).map(drop)).await
    }

    async fn read(
        path: PathBuf,
        check: impl FnOnce(&Path) -> io::Result<()> + Send + 'static,
    ) -> Result<Self, SetupError> {
        blocking(move || {
            check(&path).map_err(|reason| {
                SetupError::Config(kes_config::Errors::Open { path: path.clone(), reason })
            })?;
            // A reload reads a file of a thousand policies in milliseconds, while requests are
            // served: on few cores the scheduler would let them wait for a whole time slice.
            let env = kes_config::ProcessEnvironment;
            let yielding = Yielding::new();
            let loaded = kes_config::load_in_steps(&path, &env, &|| yielding.after_a_step())
                .map_err(SetupError::Config)?;
            for warning in &loaded.warnings {
                tracing::warn!(detail = %warning.in_file(&path));
            }
            Ok(Self::of_config(loaded.config))
        })
        .await
    }

    fn of_config(config: Config) -> Self {
        let apis = kes_api::route::ROUTES.map(|route| {
            let changed = config.api.of(route.operation);
            // A stream has no time limit, even if the file sets one.
            let timeout = route.timeout.map(|usual| changed.timeout.unwrap_or(usual));
            ApiSettings { timeout }
        });
        Self {
            settings: Settings::of(&config),
            address: config.address,
            balancers: config.proxy_protocol,
            operations: config.operations,
            proxies: Proxies::of_config(&config.tls.proxy),
            tls: tls::Settings::of_config(config.tls, config.api.any_skips_auth()),
            log: log_settings(&config.log),
            audit_file: config.log.audit_file,
            traces: config.traces,
            policies: config.policies,
            expiry: expiry(config.cache),
            snapshot: config.snapshot,
            apis,
            keys: config.keys,
            pins: config.pins,
            store: StoreSetup::Configured(Box::new((config.keystore, config.migration))),
        }
    }

    /// A dev server's: all defaults, and an admin.
    pub(crate) fn dev(admin: Identity, certificate: Arc<CertifiedKey>) -> Self {
        Self {
            address: ConfiguredAddress::default(),
            balancers: Vec::new(),
            operations: None,
            tls: tls::Settings {
                identity: tls::ServerIdentity::Memory(certificate),
                auth: ClientAuth::Any,
                ca: None,
                optional: false,
            },
            log: log_settings(&kes_config::Log::default()),
            audit_file: None,
            traces: None,
            policies: Policies::of_admin(admin),
            proxies: Proxies::none(),
            expiry: expiry(kes_config::Cache::default()),
            snapshot: None,
            apis: kes_api::route::ROUTES.map(|route| ApiSettings { timeout: route.timeout }),
            keys: Vec::new(),
            pins: Vec::new(),
            settings: Settings::default(),
            store: StoreSetup::Memory,
        }
    }

    /// Opens the key store. If its keys live in the same place as those of `old`, the new state goes
    /// on with the keys of `old` and their cache, and [`Prepared::reopened`] is what they are to
    /// go on with. Otherwise no key in memory is used any more; the order of changes goes on.
    /// `inherited` are the locks of key folders of the process that this one takes over from.
    pub(crate) async fn open(
        self,
        metrics: &Arc<Metrics>,
        old: Option<&Generation>,
        inherited: Vec<OwnedFd>,
    ) -> Result<Prepared, SetupError> {
        let audit_file = blocking(move || audit_file(self.audit_file)).await?;
        let snapshot = blocking(move || snapshot::settings(self.snapshot)).await?;
        let folders = old.map(|old| Arc::clone(&old.folders)).unwrap_or_default();
        folders.inherit(inherited);
        let (store, location) = match self.store {
            StoreSetup::Memory => {
                (Stores::One(Store::Memory(MemoryStore::new())), Location::new("memory"))
            }
            StoreSetup::Configured(configured) => {
                let (config, migration) = *configured;
                let notes = Arc::clone(&metrics.migration.notes);
                Stores::open(config, migration, &folders, opening(old), notes)
                    .await
                    .map_err(SetupError::Store)?
            }
        };
        folders.end_inheritance();
        let kind = store.kind();
        let store = KeyStore::new(store, Arc::clone(metrics));
        let pins = Box::pin(Pins::check(&self.pins, &store)).await?;
        let before = old.filter(|old| old.location == location);
        let (keys, reopened) = match before {
            Some(old) => {
                let reopened = Reopened { store, expiry: self.expiry, pins: pins.all };
                (Arc::clone(&old.keys), Some(reopened))
            }
            None => {
                // The key store may be the same one in spite of its other location, and may still
                // carry out earlier changes.
                let order = old.map(|old| old.keys.order()).unwrap_or_default();
                let keys = Keys::new(store, order, self.expiry, Arc::clone(metrics), SystemClock);
                keys.pin(&pins.all);
                (Arc::new(keys), None)
            }
        };
        let limiters = Limiters::new(&self.policies, old.map(|old| &old.limiters));
        let (policies, proxies, apis) = (self.policies, self.proxies, self.apis);
        let mut settings = self.settings;
        let settings = blocking(move || {
            settings.note_contents(contents);
            settings
        });
        let settings = settings.await;
        let traces = match self.traces {
            Some(configured) => Some(traces(configured, kind, &settings, old, metrics).await?),
            None => None,
        };
        let in_use = metrics.reloads.begin_generation();
        let generation = Generation {
            policies,
            proxies,
            limiters,
            keys,
            apis,
            location,
            settings,
            folders,
            traces,
            _in_use: in_use,
        };
        let pending = PendingKeys { missing: self.keys, unread: pins.unread };
        Ok(Prepared { generation, reopened, audit_file, snapshot, pending })
    }
}

const fn opening(old: Option<&Generation>) -> Opening {
    match old {
        Some(_) => Opening::Reload,
        None => Opening::Start,
    }
}

const fn log_settings(log: &kes_config::Log) -> logging::Settings {
    logging::Settings {
        error: log.error,
        audit: log.audit,
        format: log.format,
        audit_required: log.audit_required,
        has_file: log.audit_file.is_some(),
    }
}

/// What makes the spans of a configuration. If that says nothing else of traces than the one before,
/// they go on where they are sent.
async fn traces(
    configured: kes_config::Traces,
    store: Kind,
    settings: &Settings,
    old: Option<&Generation>,
    metrics: &Arc<Metrics>,
) -> Result<Tracer, SetupError> {
    if let Some(old) = old
        && let Some(before) = &old.traces
        && !settings.changes_since(&old.settings).iter().any(Change::is_of_traces)
    {
        return Ok(before.going_on(store));
    }
    let sample = configured.sample;
    let collector = blocking(move || Collector::new(&configured)).await;
    let collector = collector.map_err(|reason| SetupError::Traces { reason })?;
    Ok(Tracer::start(collector, sample, store, metrics))
}

/// Reads the key of the audit file, and checks that the file can be written.
fn audit_file(configured: Option<kes_config::AuditFile>) -> Result<Option<Target>, SetupError> {
    let Some(configured) = configured else { return Ok(None) };
    match check_audit_file(&configured) {
        Ok(settings) => Ok(Some(Target { settings, path: configured.path })),
        Err(reason) => Err(SetupError::AuditFile { reason }),
    }
}

/// The settings of an audit file that can be written. Nothing is written.
///
/// # Errors
/// Why it cannot, with the field that names it.
pub fn check_audit_file(
    configured: &kes_config::AuditFile,
) -> Result<kes_audit::file::Settings, String> {
    let kes_config::AuditFile { path, key, max_size, max_age, keep, keep_for, context } =
        configured;
    let read = |path: &kes_config::ConfiguredPath| {
        kes_tls::open_file(path)
            .map_err(kes_audit::KeyError::from)
            .and_then(kes_audit::AuditKey::of_open_file)
            .map(Arc::new)
            .map_err(|error| path.blame(format_args!("{}: {error}", path.display())))
    };
    let settings = kes_audit::file::Settings {
        path: path.to_path_buf(),
        key: key.as_ref().map(read).transpose()?,
        max_size: *max_size,
        max_age: *max_age,
        keep: *keep,
        keep_for: *keep_for,
        context: match context {
            kes_config::AuditContext::On => kes_audit::ContextMode::On,
            kes_config::AuditContext::Hash => kes_audit::ContextMode::Hash,
            kes_config::AuditContext::Off => kes_audit::ContextMode::Off,
        },
        version: env!("CARGO_PKG_VERSION"),
    };
    match kes_audit::file::AuditFile::check(&settings) {
        Ok(()) => Ok(settings),
        Err(error) => Err(path.blame(error)),
    }
}

/// Whether what a configuration says of traces can be used, and whether the collector answers: where it
/// is, and why it does not. Must be called within a tokio runtime.
///
/// # Errors
/// What cannot be used, with the field that names it.
pub async fn check_traces(
    configured: &kes_config::Traces,
) -> Result<(String, Result<(), String>), String> {
    let collector = Collector::new(configured)?;
    let answered = collector.ask().await;
    Ok((collector.origin().to_owned(), answered))
}

const fn expiry(cache: kes_config::Cache) -> Expiry {
    Expiry { any: cache.any, unused: cache.unused, offline: cache.offline }
}

/// What the keys of one generation after another are used with.
pub(crate) struct Reopened {
    store: KeyStore,
    expiry: Expiry,
    pins: Vec<Pin>,
}

impl Reopened {
    /// Has the keys go on with it.
    pub(crate) fn apply(self, keys: &Keys) {
        // First, so that no wrong key of the other store is used.
        keys.pin(&self.pins);
        keys.reconfigure(self.store, self.expiry);
    }
}

/// An opened configuration. Putting it into use cannot fail.
pub(crate) struct Prepared {
    pub(crate) generation: Generation,
    /// What the keys continue with, if they are those of the generation before.
    pub(crate) reopened: Option<Reopened>,
    /// What requests are recorded in.
    pub(crate) audit_file: Option<Target>,
    /// Where the keys in use are kept for a restart.
    pub(crate) snapshot: Option<SnapshotSettings>,
    pub(crate) pending: PendingKeys,
}

#[cfg(test)]
mod tests;
