//! The key store as a store of records. This is the one place where a key becomes a stored value
//! and a stored value becomes a key.

use std::sync::Arc;

use arc_swap::ArcSwap;
use kes_api::{KeyName, ListPattern};
use kes_keystore::{Error, KeyStore, Limit, Page, Record};

use crate::Observer;
use crate::pins::{self, Pins};

/// A key store that takes and returns records.
pub(crate) struct Records<S, O> {
    /// Replaced by a reload of the configuration.
    store: ArcSwap<S>,
    pins: Pins,
    observer: Arc<O>,
}

impl<S: KeyStore, O: Observer> Records<S, O> {
    pub(crate) fn new(store: S, observer: Arc<O>) -> Self {
        Self { store: ArcSwap::from_pointee(store), pins: Pins::default(), observer }
    }

    /// The key store itself. A call goes on with the store that it began with.
    pub(crate) fn store(&self) -> Arc<S> {
        self.store.load_full()
    }

    /// The keys that have to have certain fingerprints.
    pub(crate) const fn pins(&self) -> &Pins {
        &self.pins
    }

    /// Makes the calls from now on to another store, which has the same records.
    pub(crate) fn replace_store(&self, store: S) {
        self.store.store(Arc::new(store));
    }

    /// Stores a record under a name that is free. If the name is pinned, only the pinned key.
    pub(crate) async fn create(&self, name: &KeyName, record: &Record) -> Result<(), Error> {
        let store = self.store();
        self.pins.check_new(store.kind(), name, record)?;
        let value = record.encode();
        store.create(name, &value).await?;
        self.pins.was_created(name);
        Ok(())
    }

    /// The record of a name. A value that is not a stored key counts as a failure of the key store.
    /// So does another key than the one that is pinned.
    pub(crate) async fn read(&self, name: &KeyName) -> Result<Record, Error> {
        let store = self.store();
        let read = store.read(name).await.and_then(|value| {
            pins::decode(&*store, name, &value).inspect_err(|_| self.observer.invalid_record())
        });
        self.pins.checked(store.kind(), name, read)
    }

    /// Removes the record of a name.
    pub(crate) async fn delete(&self, name: &KeyName) -> Result<(), Error> {
        self.store().delete(name).await
    }

    /// A page of the names that match.
    pub(crate) async fn list(
        &self,
        pattern: &ListPattern<'_>,
        limit: Limit,
    ) -> Result<Page, Error> {
        self.store().list(pattern, limit).await
    }
}
