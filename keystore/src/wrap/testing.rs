//! A store whose calls begin with something that a test determines.

use kes_api::{KeyName, ListPattern};

use crate::memory::MemoryStore;
use crate::{Error, KeyStore, Kind, Limit, Logins, Page, State, StoreOperation, Value};

/// What happens before a call.
pub(super) trait Before: Send + Sync {
    fn before(&self, operation: StoreOperation) -> impl Future<Output = ()> + Send;
}

/// Keys in memory. What it says of itself is not what a store in memory says.
pub(super) struct Preceded<B> {
    store: MemoryStore,
    pub(super) by: B,
}

impl<B: Before> Preceded<B> {
    pub(super) fn new(by: B) -> Self {
        Self { store: MemoryStore::new(), by }
    }
}

impl<B: Before> KeyStore for Preceded<B> {
    async fn create(&self, name: &KeyName, value: &Value) -> Result<(), Error> {
        self.by.before(StoreOperation::Create).await;
        self.store.create(name, value).await
    }

    async fn read(&self, name: &KeyName) -> Result<Value, Error> {
        self.by.before(StoreOperation::Read).await;
        self.store.read(name).await
    }

    async fn delete(&self, name: &KeyName) -> Result<(), Error> {
        self.by.before(StoreOperation::Delete).await;
        self.store.delete(name).await
    }

    async fn list(&self, pattern: &ListPattern<'_>, limit: Limit) -> Result<Page, Error> {
        self.by.before(StoreOperation::List).await;
        self.store.list(pattern, limit).await
    }

    fn state(&self) -> State {
        State::Unavailable
    }

    fn kind(&self) -> Kind {
        Kind::new(&"shelf")
    }

    fn description(&self) -> String {
        "shelf: here".to_owned()
    }

    fn trouble(&self) -> Option<String> {
        Some("it is full".to_owned())
    }

    fn logins(&self) -> Option<Logins> {
        Some(Logins { succeeded: 3, ..Logins::default() })
    }
}

/// Asserts that a wrapper passes on what the store within says of itself.
pub(super) fn says_what_is_within(wrapper: &impl KeyStore) {
    assert_eq!(wrapper.state(), State::Unavailable);
    assert_eq!(wrapper.kind(), Kind::new(&"shelf"));
    assert_eq!(wrapper.description(), "shelf: here");
    assert_eq!(wrapper.trouble().as_deref(), Some("it is full"));
    assert_eq!(wrapper.logins().map(|logins| logins.succeeded), Some(3));
}
