//! The key store as a store of records. This is the one place where a key becomes a stored value
//! and a stored value becomes a key, and where calls to the key store are timed and reported.

use std::sync::Arc;

use arc_swap::ArcSwap;
use kes_api::{KeyName, ListPattern};
use kes_keystore::{Error, KeyStore, Limit, Page, Record};

use crate::{Clock, Observer, StoreOperation};

/// A key store that takes and returns records.
pub(crate) struct Records<S, O, C> {
    /// Replaced by a reload of the configuration.
    store: ArcSwap<S>,
    observer: Arc<O>,
    clock: C,
}

impl<S: KeyStore, O: Observer, C: Clock> Records<S, O, C> {
    pub(crate) fn new(store: S, observer: Arc<O>, clock: C) -> Self {
        Self { store: ArcSwap::from_pointee(store), observer, clock }
    }

    /// The key store itself. A call goes on with the store that it began with.
    pub(crate) fn store(&self) -> Arc<S> {
        self.store.load_full()
    }

    /// Makes the calls from now on to another store, which has the same records.
    pub(crate) fn replace_store(&self, store: S) {
        self.store.store(Arc::new(store));
    }

    /// Stores a record under a name that is free.
    pub(crate) async fn create(&self, name: &KeyName, record: &Record) -> Result<(), Error> {
        let value = record.encode();
        self.observed(StoreOperation::Create, self.store().create(name, &value)).await
    }

    /// The record of a name. A value that is not a stored key counts as a failure of the key store.
    pub(crate) async fn read(&self, name: &KeyName) -> Result<Record, Error> {
        let store = self.store();
        let read = async {
            let value = store.read(name).await?;
            Record::decode(&value).map_err(|invalid| Error::Corrupt {
                store: store.kind(),
                name: *name,
                reason: invalid.to_string(),
            })
        };
        self.observed(StoreOperation::Read, read).await
    }

    /// Removes the record of a name.
    pub(crate) async fn delete(&self, name: &KeyName) -> Result<(), Error> {
        self.observed(StoreOperation::Delete, self.store().delete(name)).await
    }

    /// A page of the names that match.
    pub(crate) async fn list(
        &self,
        pattern: &ListPattern<'_>,
        limit: Limit,
    ) -> Result<Page, Error> {
        self.observed(StoreOperation::List, self.store().list(pattern, limit)).await
    }

    async fn observed<T>(
        &self,
        operation: StoreOperation,
        call: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let start = self.clock.now();
        let result = call.await;
        let took = self.clock.now().saturating_duration_since(start);
        self.observer.store_call(operation, took, result.as_ref().err());
        result
    }
}
