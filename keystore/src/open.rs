//! The choice of backends. This is the one place that knows all of them.

use std::path::Path;

use kes_api::{KeyName, ListPattern};

use crate::check::{Finding, Report};
use crate::config::{Config, Location};
use crate::fs::{FsStore, KnownFolders, Opening};
use crate::inventory::{ForeignNames, Inventory, KeyFile, NameRules};
use crate::memory::MemoryStore;
use crate::vault::VaultStore;
use crate::{CertificateEnds, Error, KeyStore, Kind, Limit, Logins, OpenError, Page, State, Value};

/// The key store of a server: one of the backends. An enum, not a trait object: the set of
/// backends is closed.
pub enum Store {
    /// Keys in memory.
    Memory(MemoryStore),
    /// One file a key.
    Fs(FsStore),
    /// Vault or OpenBao.
    Vault(VaultStore),
}

/// A key store to which keys are copied.
pub struct Target {
    /// The store.
    pub store: Store,
    /// Whether it is a folder that does not exist yet.
    pub is_missing: bool,
}

/// What a key store is opened for to which keys are copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetUse {
    /// To say what would be copied.
    Look,
    /// To copy keys while nobody else uses it.
    Write,
    /// To copy keys beside servers that use it. A folder has to exist, and has the lock of its server.
    WriteBeside,
}

/// Why a key store was not opened to copy keys to it. The texts hold no secret.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// It cannot be used.
    #[error(transparent)]
    Open(#[from] OpenError),

    /// A folder of keys within a folder of keys.
    #[error(
        "the folder of the {inner} is within that of the {outer}: what is in a key folder are keys; \
         use a folder beside it"
    )]
    Nested {
        /// Which of the two is within the other: `source` or `target`.
        inner: &'static str,
        /// The other one.
        outer: &'static str,
    },

    /// It is the store from which keys are copied.
    #[error("source and target are the same key store ({place})")]
    Same {
        /// What both are.
        place: String,
    },
}

impl Target {
    /// Opens the key store of a configuration to put keys into it. Unless something `writes` to it, nothing is
    /// changed, and a folder that does not exist is an empty store in memory. Must be called within a tokio
    /// runtime.
    ///
    /// # Errors
    /// [`OpenError`] if it cannot be used as configured.
    pub async fn open(config: Config, writes: bool) -> Result<Self, OpenError> {
        let fs = match config {
            Config::Fs(fs) => fs,
            Config::Vault(vault) => {
                let store = Store::Vault(VaultStore::open(*vault).await?);
                return Ok(Self { store, is_missing: false });
            }
        };
        if writes {
            let store = FsStore::open(fs, &KnownFolders::default(), Opening::Start).await?;
            return Ok(Self { store: Store::Fs(store), is_missing: false });
        }
        let may_be_made = fs.id.is_none();
        match FsStore::open_to_read(fs).await {
            Err(error) if may_be_made && error.is_missing() => {
                Ok(Self { store: Store::Memory(MemoryStore::new()), is_missing: true })
            }
            opened => Ok(Self { store: Store::Fs(opened?), is_missing: false }),
        }
    }
}

/// Evaluates an expression for the backend that a [`Store`] holds.
macro_rules! with_backend {
    ($store:expr, $backend:ident => $call:expr) => {
        match $store {
            Store::Memory($backend) => $call,
            Store::Fs($backend) => $call,
            Store::Vault($backend) => $call,
        }
    };
}

impl Store {
    /// Opens the key store of a configuration. Must be called within a tokio runtime: a store
    /// that can fail is watched by a task of its own. `known` has the folders that the process has
    /// opened before; it is told of this one.
    ///
    /// # Errors
    /// [`OpenError`] if the store cannot be used as configured.
    pub async fn open(
        config: Config,
        known: &KnownFolders,
        opening: Opening,
    ) -> Result<Self, OpenError> {
        Ok(match config {
            Config::Fs(fs) => Self::Fs(FsStore::open(fs, known, opening).await?),
            Config::Vault(vault) => Self::Vault(VaultStore::open(*vault).await?),
        })
    }

    /// The location of the configuration, and which folder was found there: a copy of it that
    /// stands in its place later has another location.
    pub fn located(&self, location: Location) -> Location {
        match self {
            Self::Fs(store) => store.located(location),
            Self::Vault(_) | Self::Memory(_) => location,
        }
    }

    /// Opens the key store of a configuration to read its keys: nothing is written, and a folder must
    /// exist. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`OpenError`] if the store cannot be used as configured.
    pub async fn open_source(config: Config) -> Result<Self, OpenError> {
        Ok(match config {
            Config::Fs(fs) => Self::Fs(FsStore::open_to_read(fs).await?),
            Config::Vault(vault) => Self::Vault(VaultStore::open(*vault).await?),
        })
    }

    /// Opens the key store of another configuration, to which keys of this store are to be copied.
    /// Unless something is written to it, nothing is changed, and a folder that does not exist is an
    /// empty store in memory. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`TargetError`] if it cannot be used as configured, or has its keys where this store has them.
    pub async fn open_target(
        &self,
        config: Config,
        target_use: TargetUse,
    ) -> Result<Target, TargetError> {
        self.refuse_folder(&config).await?;
        let target = match (config, target_use) {
            (Config::Fs(fs), TargetUse::WriteBeside) => {
                Target { store: Self::Fs(FsStore::open_to_read(fs).await?), is_missing: false }
            }
            (config @ Config::Fs(_), TargetUse::Write | TargetUse::Look) => {
                Target::open(config, matches!(target_use, TargetUse::Write)).await?
            }
            (Config::Vault(vault), _) => {
                let store = Self::Vault(VaultStore::open(*vault).await?);
                Target { store, is_missing: false }
            }
        };
        self.refuse_same(&target.store).await?;
        Ok(target)
    }

    /// Refuses a folder that is that of this store, or is within it or around it. To be called before it
    /// is opened, which writes the marker of the folder.
    pub(crate) async fn refuse_folder(&self, other: &Config) -> Result<(), TargetError> {
        let (Self::Fs(store), Config::Fs(fs)) = (self, other) else { return Ok(()) };
        if store.is_at(&fs.path).await {
            return Err(TargetError::Same { place: self.description() });
        }
        let (from, to) = (store.path().to_owned(), fs.path.to_path_buf());
        let nested = tokio::task::spawn_blocking(move || nested(&from, &to)).await;
        nested.ok().flatten().map_or(Ok(()), Err)
    }

    /// Refuses a store that is this one by another address.
    pub(crate) async fn refuse_same(&self, other: &Self) -> Result<(), TargetError> {
        match (self, other) {
            (Self::Vault(store), Self::Vault(other)) if store.is_same(other).await => {
                Err(TargetError::Same { place: self.description() })
            }
            _ => Ok(()),
        }
    }

    /// Checks the key store of a configuration, and reports each finding as it is made. It ends
    /// within 30 s, and soon after `stop` does; it leaves nothing in the key store. A server may
    /// run on the same configuration. Must be called within a tokio runtime, whose threads may
    /// stay blocked by a key store that hangs.
    pub async fn check(
        config: Config,
        stop: impl Future<Output = ()>,
        sink: &mut (dyn FnMut(Finding) + Send),
    ) {
        let mut report = Report::new(sink);
        match config {
            Config::Fs(fs) => crate::fs::check::check(&fs, stop, &mut report).await,
            Config::Vault(vault) => crate::vault::check::check(*vault, stop, &mut report).await,
        }
    }
}

/// Whether one of two folders is within the other, by any path. The target may not exist yet.
fn nested(source: &Path, target: &Path) -> Option<TargetError> {
    let target_is = std::path::absolute(target).ok()?;
    let existing = target_is.ancestors().find_map(|path| path.canonicalize().ok())?;
    let source_is = source.canonicalize().ok()?;
    let is_whole = target_is.try_exists().unwrap_or(false);
    if existing.starts_with(&source_is) {
        return Some(TargetError::Nested { inner: "target", outer: "source" });
    }
    (is_whole && source_is.starts_with(&existing))
        .then_some(TargetError::Nested { inner: "source", outer: "target" })
}

/// Adds the kind of store to errors of the store itself, and to what is known of its trouble.
impl KeyStore for Store {
    async fn create(&self, name: &KeyName, value: &Value) -> Result<(), Error> {
        let result = with_backend!(self, store => store.create(name, value).await);
        result.map_err(|error| error.of_store(self.kind()))
    }

    async fn read(&self, name: &KeyName) -> Result<Value, Error> {
        let result = with_backend!(self, store => store.read(name).await);
        result.map_err(|error| error.of_store(self.kind()))
    }

    async fn delete(&self, name: &KeyName) -> Result<(), Error> {
        let result = with_backend!(self, store => store.delete(name).await);
        result.map_err(|error| error.of_store(self.kind()))
    }

    async fn list(&self, pattern: &ListPattern<'_>, limit: Limit) -> Result<Page, Error> {
        let result = with_backend!(self, store => store.list(pattern, limit).await);
        result.map_err(|error| error.of_store(self.kind()))
    }

    fn state(&self) -> State {
        with_backend!(self, store => store.state())
    }

    fn kind(&self) -> Kind {
        with_backend!(self, store => store.kind())
    }

    fn description(&self) -> String {
        with_backend!(self, store => store.description())
    }

    fn trouble(&self) -> Option<String> {
        let cause = with_backend!(self, store => store.trouble())?;
        Some(format!("key store: {}: {cause}", self.kind()))
    }

    fn logins(&self) -> Option<Logins> {
        with_backend!(self, store => store.logins())
    }

    fn certificates(&self) -> CertificateEnds {
        with_backend!(self, store => store.certificates())
    }

    fn version(&self) -> Option<String> {
        with_backend!(self, store => store.version())
    }
}

impl Inventory for Store {
    async fn foreign(&self, names: ForeignNames) -> Result<ForeignNames, Error> {
        let result = with_backend!(self, store => store.foreign(names).await);
        result.map_err(|error| error.of_store(self.kind()))
    }

    async fn name_rules(&self) -> Result<NameRules, Error> {
        let result = with_backend!(self, store => store.name_rules().await);
        result.map_err(|error| error.of_store(self.kind()))
    }

    async fn file(&self, name: &KeyName) -> Result<Option<KeyFile>, Error> {
        let result = with_backend!(self, store => store.file(name).await);
        result.map_err(|error| error.of_store(self.kind()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_store_is_opened_by_its_configuration_and_says_what_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        let fs = Config::Fs(crate::config::Fs { path: (&path).into(), id: None });
        let store = Store::open(fs, &KnownFolders::default(), Opening::Start).await.unwrap();
        assert_eq!(store.description(), format!("filesystem: {}", path.display()));
        let (name, value) = (KeyName::parse("key").unwrap(), Value::new("value".to_owned()));
        store.create(&name, &value).await.unwrap();
        let page = store.list(&ListPattern::ALL, Limit::names(1)).await.unwrap();
        assert_eq!(page.names, [name].into_iter().collect());
        assert_eq!(store.read(&name).await.ok().unwrap().expose(), "value");
        assert!(matches!(store.state(), State::Reachable { .. }));
        store.delete(&name).await.unwrap();
        assert_eq!(Store::Memory(MemoryStore::new()).description(), "memory");
    }

    #[tokio::test]
    async fn a_target_is_another_store_and_made_only_to_be_written() {
        let folder = tempfile::tempdir().unwrap();
        let config = |name: &str| {
            let path = folder.path().join(name);
            Config::Fs(crate::config::Fs { path: path.as_path().into(), id: None })
        };
        std::fs::create_dir(folder.path().join("a")).unwrap();
        let source = Store::open_source(config("a")).await.unwrap();
        for writes in [TargetUse::Look, TargetUse::Write, TargetUse::WriteBeside] {
            let same = source.open_target(config("a/../a"), writes).await.err().unwrap();
            assert!(matches!(same, TargetError::Same { .. }), "{same}");
        }
        for (from, to) in [("a", "a/b"), ("a", "a/b/c"), ("a", "x/../a/b"), ("a/in", "a")] {
            std::fs::create_dir_all(folder.path().join("x")).unwrap();
            std::fs::create_dir_all(folder.path().join(from)).unwrap();
            let source = Store::open_source(config(from)).await.unwrap();
            let nested = source.open_target(config(to), TargetUse::Write).await.err().unwrap();
            assert!(matches!(nested, TargetError::Nested { .. }), "{from} {to}: {nested}");
        }
        assert!(!folder.path().join("a/b").exists());
        std::fs::remove_dir(folder.path().join("a/in")).unwrap();
        let target = source.open_target(config("b"), TargetUse::Look).await.unwrap();
        assert!(target.is_missing && !folder.path().join("b").exists());
        let target = source.open_target(config("b"), TargetUse::Write).await.unwrap();
        assert!(!target.is_missing && folder.path().join("b").exists());
        let target = source.open_target(config("b"), TargetUse::Look).await.unwrap();
        assert!(!target.is_missing && matches!(target.store, Store::Fs(_)));
        assert_eq!(std::fs::read_dir(folder.path().join("a")).unwrap().count(), 0);
    }
}
