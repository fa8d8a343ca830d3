use std::future::Future;
use std::time::Duration;

use kes_api::{KeyName, ListPattern};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::config::Config;
use crate::fs::FsStore;
use crate::memory::MemoryStore;
use crate::vault::VaultStore;
use crate::{Error, Kind, Limit, OpenError, Page};

/// The text that stands in a key store for one key: standard base64 of a protobuf message, or
/// the JSON of older versions. It holds key material: it is wiped when dropped, and has neither
/// `Debug` nor `Clone`.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct Value(String);

impl Value {
    /// The longest text that a store hands out, in bytes. A stored key has less than 1 KiB even
    /// where a transit engine wraps it; what is longer is none, and is not taken into memory.
    pub const MAX_LEN: usize = 64 * 1024;

    /// Takes a text over.
    pub const fn new(text: String) -> Self {
        Self(text)
    }

    /// The text.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// A second value with the same text. Spelled out, so that no copy is made by accident.
    pub(crate) fn copy(&self) -> Self {
        Self(self.0.clone())
    }
}

/// What is known of a key store's health. Asking costs nothing: a store that lives elsewhere is
/// watched in the background.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It answers; the last check took this long.
    Reachable {
        /// Time of the last check.
        latency: Duration,
    },
    /// It answers with errors.
    Unavailable,
    /// No connection, sealed, or not initialised.
    Unreachable,
}

/// What every backend owes its caller.
///
/// - `create` never overwrites and is durable when it returns: of any number of creators of one
///   name exactly one succeeds.
/// - No call takes longer than the deadline of a route (15 s); most fail sooner.
/// - Dropping a returned future abandons the call; the store stays sound.
pub trait KeyStore: Send + Sync {
    /// Stores a value under a name that is free.
    ///
    /// # Errors
    /// [`Error::Exists`] if the name is taken.
    fn create(
        &self,
        name: &KeyName,
        value: &Value,
    ) -> impl Future<Output = Result<(), Error>> + Send;

    /// The value under a name.
    ///
    /// # Errors
    /// [`Error::NotFound`] if there is none.
    fn read(&self, name: &KeyName) -> impl Future<Output = Result<Value, Error>> + Send;

    /// Removes a name, with all that stands under it.
    ///
    /// # Errors
    /// [`Error::NotFound`] if there is nothing, from a store that knows it: Vault deletes what is
    /// not there without a word.
    fn delete(&self, name: &KeyName) -> impl Future<Output = Result<(), Error>> + Send;

    /// The names that match, sorted by bytes, as many as a page may hold.
    ///
    /// # Errors
    /// The store's own.
    fn list(
        &self,
        pattern: &ListPattern<'_>,
        limit: Limit,
    ) -> impl Future<Output = Result<Page, Error>> + Send;

    /// What is known of the store's health.
    fn state(&self) -> State;

    /// The kind of store, which errors begin with.
    fn kind(&self) -> Kind;
}

/// How a store that wants logins was logged in to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Logins {
    /// Logins that worked.
    pub succeeded: u64,
    /// Logins that were refused or had no answer.
    pub failed: u64,
    /// How long the token is still good: zero if there is none, [`Duration::MAX`] for ever.
    pub token_life: Duration,
}

/// The key store of a server. An enum, not a trait object: the set of backends is closed.
pub enum Store {
    /// Keys in memory.
    Memory(MemoryStore),
    /// One file a key.
    Fs(FsStore),
    /// Vault or OpenBao.
    Vault(VaultStore),
}

impl Store {
    /// Opens the key store of a configuration. Must be called within a tokio runtime: stores
    /// that can fail are watched by a task of their own.
    ///
    /// # Errors
    /// [`OpenError`] if the store cannot be used as configured.
    pub async fn open(config: Config) -> Result<Self, OpenError> {
        Ok(match config {
            Config::Fs(fs) => Self::Fs(FsStore::open(fs.path).await?),
            Config::Vault(vault) => Self::Vault(VaultStore::open(*vault).await?),
        })
    }

    /// Kind and place of the store, as the start-up message prints it; no secret.
    pub fn description(&self) -> String {
        match self {
            Self::Memory(_) => "memory".to_owned(),
            Self::Fs(store) => format!("filesystem: {}", store.path().display()),
            Self::Vault(store) => format!("vault: {}", store.endpoint()),
        }
    }

    /// Why the store is not [`State::Reachable`], as far as that is known, for the log: with the
    /// kind of store, and without a secret.
    pub fn trouble(&self) -> Option<String> {
        let cause = match self {
            Self::Memory(_) => None,
            Self::Fs(store) => store.trouble(),
            Self::Vault(store) => store.trouble(),
        }?;
        Some(format!("key store: {}: {cause}", self.kind()))
    }

    /// How the store was logged in to; `None` for one that wants no login.
    pub fn logins(&self) -> Option<Logins> {
        match self {
            Self::Memory(_) | Self::Fs(_) => None,
            Self::Vault(store) => Some(store.logins()),
        }
    }
}

impl KeyStore for Store {
    async fn create(&self, name: &KeyName, value: &Value) -> Result<(), Error> {
        let result = match self {
            Self::Memory(store) => store.create(name, value).await,
            Self::Fs(store) => store.create(name, value).await,
            Self::Vault(store) => store.create(name, value).await,
        };
        result.map_err(|error| error.of_store(self.kind()))
    }

    async fn read(&self, name: &KeyName) -> Result<Value, Error> {
        let result = match self {
            Self::Memory(store) => store.read(name).await,
            Self::Fs(store) => store.read(name).await,
            Self::Vault(store) => store.read(name).await,
        };
        result.map_err(|error| error.of_store(self.kind()))
    }

    async fn delete(&self, name: &KeyName) -> Result<(), Error> {
        let result = match self {
            Self::Memory(store) => store.delete(name).await,
            Self::Fs(store) => store.delete(name).await,
            Self::Vault(store) => store.delete(name).await,
        };
        result.map_err(|error| error.of_store(self.kind()))
    }

    async fn list(&self, pattern: &ListPattern<'_>, limit: Limit) -> Result<Page, Error> {
        let result = match self {
            Self::Memory(store) => store.list(pattern, limit).await,
            Self::Fs(store) => store.list(pattern, limit).await,
            Self::Vault(store) => store.list(pattern, limit).await,
        };
        result.map_err(|error| error.of_store(self.kind()))
    }

    fn state(&self) -> State {
        match self {
            Self::Memory(store) => store.state(),
            Self::Fs(store) => store.state(),
            Self::Vault(store) => store.state(),
        }
    }

    fn kind(&self) -> Kind {
        match self {
            Self::Memory(store) => store.kind(),
            Self::Fs(store) => store.kind(),
            Self::Vault(store) => store.kind(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_store_is_opened_by_its_configuration_and_says_what_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        let fs = Config::Fs(crate::config::Fs { path: (&path).into() });
        let store = Store::open(fs).await.unwrap();
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
