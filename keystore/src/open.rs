//! The choice of backends. This is the one place that knows all of them.

use kes_api::{KeyName, ListPattern};

use crate::check::{Finding, Report};
use crate::config::Config;
use crate::fs::{FsStore, KnownFolders};
use crate::memory::MemoryStore;
use crate::vault::VaultStore;
use crate::{Error, KeyStore, Kind, Limit, Logins, OpenError, Page, State, Value};

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
    pub async fn open(config: Config, known: &KnownFolders) -> Result<Self, OpenError> {
        Ok(match config {
            Config::Fs(fs) => Self::Fs(FsStore::open(fs, known).await?),
            Config::Vault(vault) => Self::Vault(VaultStore::open(*vault).await?),
        })
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_store_is_opened_by_its_configuration_and_says_what_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        let fs = Config::Fs(crate::config::Fs { path: (&path).into(), id: None });
        let store = Store::open(fs, &KnownFolders::default()).await.unwrap();
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
}
