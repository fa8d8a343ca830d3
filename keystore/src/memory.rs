//! Keys in memory, for the dev server: they are lost when the process ends.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::time::Duration;

use kes_api::{KeyName, ListPattern};
use parking_lot::RwLock;

use crate::inventory::{ForeignNames, Inventory, NameRules};
use crate::{Error, KeyStore, Kind, Limit, Page, State, Value};

/// The kind of this store.
pub const KIND: Kind = Kind::new(&"memory");

/// A store that forgets everything when it is dropped.
#[derive(Default)]
pub struct MemoryStore {
    // Sorted, so that a page is read from its first name to its last.
    values: RwLock<BTreeMap<KeyName, Value>>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }
}

impl KeyStore for MemoryStore {
    async fn create(&self, name: &KeyName, value: &Value) -> Result<(), Error> {
        let mut values = self.values.write();
        if values.contains_key(name) {
            return Err(Error::Exists { name: *name });
        }
        values.insert(*name, value.copy());
        Ok(())
    }

    async fn read(&self, name: &KeyName) -> Result<Value, Error> {
        let values = self.values.read();
        values.get(name).map(Value::copy).ok_or(Error::NotFound { name: *name })
    }

    async fn delete(&self, name: &KeyName) -> Result<(), Error> {
        let removed = self.values.write().remove(name);
        removed.map(drop).ok_or(Error::NotFound { name: *name })
    }

    async fn list(&self, pattern: &ListPattern<'_>, limit: Limit) -> Result<Page, Error> {
        let first = pattern.prefix().max(pattern.from());
        let values = self.values.read();
        let names = values
            .range::<str, _>((Bound::Included(first), Bound::Unbounded))
            .map(|(name, _)| *name)
            .take_while(|name| name.as_str().starts_with(pattern.prefix()));
        Ok(Page::first(names, limit))
    }

    fn state(&self) -> State {
        State::Reachable { latency: Duration::ZERO }
    }

    fn kind(&self) -> Kind {
        KIND
    }
}

impl Inventory for MemoryStore {
    async fn foreign(&self, names: ForeignNames) -> Result<ForeignNames, Error> {
        Ok(names)
    }

    async fn name_rules(&self) -> Result<NameRules, Error> {
        Ok(NameRules::ANY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::battery::{self, MissingDelete};

    #[tokio::test(flavor = "multi_thread")]
    async fn does_what_every_store_does() {
        battery::run(MissingDelete::Fails, async || MemoryStore::new()).await;
    }
}
