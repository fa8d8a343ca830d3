use std::collections::BTreeSet;
use std::future::Future;
use std::time::Duration;

use kes_api::{KeyName, ListPattern};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::config::Config;
use crate::fs::FsStore;
use crate::memory::MemoryStore;
use crate::vault::VaultStore;
use crate::{Error, Kind, OpenError};

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

/// A page of a listing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Names in the order of their bytes.
    pub names: Vec<KeyName>,
    /// The first name of the next page; `None` after the last.
    pub next: Option<KeyName>,
}

/// Makes a page of names that come in any order, and more than once. It holds no more names than
/// the page and one, however many there are.
pub(crate) struct PageBuilder {
    limit: usize,
    names: BTreeSet<KeyName>,
}

impl PageBuilder {
    pub(crate) const fn new(limit: usize) -> Self {
        Self { limit, names: BTreeSet::new() }
    }

    /// Whether a name would be part of the page, for who has to pay to find out if it is a key.
    pub(crate) fn wants(&self, name: &KeyName) -> bool {
        self.names.len() <= self.limit || self.names.last().is_some_and(|last| name < last)
    }

    pub(crate) fn add(&mut self, name: KeyName) {
        if self.wants(&name)
            && self.names.insert(name)
            && self.names.len() > self.limit.saturating_add(1)
        {
            self.names.pop_last();
        }
    }

    /// How many names there are, with the one after the page.
    pub(crate) fn len(&self) -> usize {
        self.names.len()
    }

    pub(crate) fn finish(mut self) -> Page {
        let next = if self.names.len() > self.limit { self.names.pop_last() } else { None };
        Page { names: self.names.into_iter().collect(), next }
    }

    /// As [`PageBuilder::finish`], where more names may follow the greatest so far: that one is
    /// left for the next page.
    pub(crate) fn finish_early(mut self) -> Page {
        let next = self.names.pop_last();
        Page { names: self.names.into_iter().collect(), next }
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

    /// The names that match, sorted by bytes, at most `limit` of them.
    ///
    /// # Errors
    /// The store's own.
    fn list(
        &self,
        pattern: &ListPattern<'_>,
        limit: usize,
    ) -> impl Future<Output = Result<Page, Error>> + Send;

    /// What is known of the store's health.
    fn state(&self) -> State;
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

    /// How the store was logged in to; `None` for one that wants no login.
    pub fn logins(&self) -> Option<Logins> {
        match self {
            Self::Memory(_) | Self::Fs(_) => None,
            Self::Vault(store) => Some(store.logins()),
        }
    }

    /// The kind of store, which errors begin with.
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Memory(_) => Kind::Memory,
            Self::Fs(_) => Kind::Fs,
            Self::Vault(_) => Kind::Vault,
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

    async fn list(&self, pattern: &ListPattern<'_>, limit: usize) -> Result<Page, Error> {
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
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_page_has_the_smallest_names(
            texts in prop::collection::vec("[a-c]{1,3}", 0..60),
            limit in 0_usize..20,
        ) {
            let names: Vec<_> = texts.iter().map(|text| KeyName::parse(text).unwrap()).collect();
            let mut page = PageBuilder::new(limit);
            for name in &names {
                page.add(*name);
                prop_assert!(page.names.len() <= limit + 1);
            }
            let mut sorted: Vec<_> = BTreeSet::from_iter(names).into_iter().collect();
            let next = sorted.get(limit).copied();
            sorted.truncate(limit);
            prop_assert_eq!(page.finish(), Page { names: sorted, next });
        }
    }

    #[tokio::test]
    async fn a_store_is_opened_by_its_configuration_and_says_what_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        let fs = Config::Fs(crate::config::Fs { path: (&path).into() });
        let store = Store::open(fs).await.unwrap();
        assert_eq!(store.description(), format!("filesystem: {}", path.display()));
        let (name, value) = (KeyName::parse("key").unwrap(), Value::new("value".to_owned()));
        store.create(&name, &value).await.unwrap();
        assert_eq!(store.list(&ListPattern::ALL, 1).await.unwrap().names, [name]);
        assert_eq!(store.read(&name).await.ok().unwrap().expose(), "value");
        assert!(matches!(store.state(), State::Reachable { .. }));
        store.delete(&name).await.unwrap();
        assert_eq!(Store::Memory(MemoryStore::new()).description(), "memory");
    }
}
