//! What the unit tests of this crate use: a key store that does as it is told, a clock that is
//! set, and an observer that notes what it is told. No test here waits for time to pass.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use kes_api::{KeyName, ListPattern, Timestamp};
use kes_crypto::Key;
use kes_keystore::memory::MemoryStore;
use kes_keystore::wrap::{Meter, Unsettled};
use kes_keystore::{
    Error, KeyStore, Kind, Limit, Logins, Page, Record, State, StoreOperation, Value,
};
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::{Clock, Observer, Refresh};

pub(crate) fn name(text: &str) -> KeyName {
    KeyName::parse(text).unwrap()
}

pub(crate) const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

pub(crate) fn record() -> Record {
    let created_at = Timestamp::from_unix(1_000_000_000, 0).unwrap();
    Record { key: Key::generate(), created_at, created_by: String::new() }
}

pub(crate) fn unreachable() -> Error {
    Error::Unreachable { reason: "test".to_owned() }
}

/// Lets other tasks run until a condition holds.
pub(crate) async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    for _ in 0..10_000 {
        if condition() {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("never: {what}");
}

/// Lets other tasks run until they have nothing to do.
pub(crate) async fn settle() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

/// A key store in memory that can hold its answers back, fail or panic. Clones are one store.
#[derive(Clone)]
pub(crate) struct FakeStore(Arc<Fake>);

struct Fake {
    values: Arc<MemoryStore>,
    calls: AtomicUsize,
    reads: AtomicUsize,
    is_held: watch::Sender<bool>,
    failure: Mutex<Option<Error>>,
    panics: AtomicBool,
    /// Parts of changes that may be carried out later, once this is wanted.
    parts: Mutex<Option<Vec<Unsettled>>>,
    state: Mutex<State>,
}

impl FakeStore {
    pub(crate) fn new() -> Self {
        Self::of(Arc::new(MemoryStore::new()))
    }

    /// A store with the same keys, as after another login, whose faults are its own.
    pub(crate) fn another_login(&self) -> Self {
        Self::of(Arc::clone(&self.0.values))
    }

    fn of(values: Arc<MemoryStore>) -> Self {
        Self(Arc::new(Fake {
            values,
            calls: AtomicUsize::new(0),
            reads: AtomicUsize::new(0),
            is_held: watch::Sender::new(false),
            failure: Mutex::new(None),
            panics: AtomicBool::new(false),
            parts: Mutex::new(None),
            state: Mutex::new(State::Reachable { latency: Duration::ZERO }),
        }))
    }

    /// A store with a key.
    pub(crate) async fn with(name: &KeyName) -> Self {
        let store = Self::new();
        store.put(name, &record()).await;
        store
    }

    /// Stores a record behind the back of who is tested.
    pub(crate) async fn put(&self, name: &KeyName, record: &Record) {
        self.put_text(name, record.encode().expose()).await;
    }

    /// Stores any text.
    pub(crate) async fn put_text(&self, name: &KeyName, text: &str) {
        self.0.values.create(name, &Value::new(text.to_owned())).await.unwrap();
    }

    /// Removes a record behind the back of who is tested.
    pub(crate) async fn take(&self, name: &KeyName) {
        self.0.values.delete(name).await.unwrap();
    }

    pub(crate) async fn has(&self, name: &KeyName) -> bool {
        self.0.values.read(name).await.is_ok()
    }

    /// Holds the answers of calls back until this is called with `false`.
    pub(crate) fn hold(&self, is_held: bool) {
        self.0.is_held.send_replace(is_held);
    }

    /// Fails the calls that begin from now on.
    pub(crate) fn fail(&self, failure: Option<Error>) {
        *self.0.failure.lock() = failure;
    }

    /// Lets the calls that begin from now on panic.
    pub(crate) fn panic(&self, panics: bool) {
        self.0.panics.store(panics, Ordering::Relaxed);
    }

    /// Fails the changes that begin from now on, which may still be carried out. Until this is called
    /// with `false`: their parts are returned.
    pub(crate) fn leave_unsure(&self, is_unsure: bool) -> Vec<Unsettled> {
        self.fail(is_unsure.then(unreachable));
        let parts = is_unsure.then(Vec::new);
        std::mem::replace(&mut *self.0.parts.lock(), parts).unwrap_or_default()
    }

    pub(crate) fn set_state(&self, state: State) {
        *self.0.state.lock() = state;
    }

    /// How many reads have begun.
    pub(crate) fn reads(&self) -> usize {
        self.0.reads.load(Ordering::Relaxed)
    }

    /// How many calls have begun.
    pub(crate) fn calls(&self) -> usize {
        self.0.calls.load(Ordering::Relaxed)
    }

    /// A call does its work when it begins, and answers when it is not held back.
    async fn call<T>(&self, work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        self.0.calls.fetch_add(1, Ordering::Relaxed);
        assert!(!self.0.panics.load(Ordering::Relaxed), "the store panics, as the test wants");
        if let (Some(parts), Some(part)) = (&mut *self.0.parts.lock(), Unsettled::current()) {
            parts.push(part);
        }
        let failure = self.0.failure.lock().clone();
        let result = match failure {
            Some(failure) => Err(failure),
            None => work.await,
        };
        let mut is_held = self.0.is_held.subscribe();
        let _ = is_held.wait_for(|is_held| !*is_held).await;
        result
    }
}

impl KeyStore for FakeStore {
    async fn create(&self, name: &KeyName, value: &Value) -> Result<(), Error> {
        self.call(self.0.values.create(name, value)).await
    }

    async fn read(&self, name: &KeyName) -> Result<Value, Error> {
        self.0.reads.fetch_add(1, Ordering::Relaxed);
        self.call(self.0.values.read(name)).await
    }

    async fn delete(&self, name: &KeyName) -> Result<(), Error> {
        self.call(self.0.values.delete(name)).await
    }

    async fn list(&self, pattern: &ListPattern<'_>, limit: Limit) -> Result<Page, Error> {
        self.call(self.0.values.list(pattern, limit)).await
    }

    fn state(&self) -> State {
        *self.0.state.lock()
    }

    fn kind(&self) -> Kind {
        kes_keystore::memory::KIND
    }

    fn description(&self) -> String {
        "the store of a test".to_owned()
    }

    fn trouble(&self) -> Option<String> {
        self.0.failure.lock().as_ref().map(ToString::to_string)
    }

    fn logins(&self) -> Option<Logins> {
        Some(Logins { succeeded: 3, failed: 2, token_life: Duration::MAX })
    }
}

/// A clock that stands until it is set. Clones are one clock.
#[derive(Clone)]
pub(crate) struct ManualClock(Arc<(Instant, Mutex<Passed>)>);

/// What has passed: of it the machine was awake for a part.
#[derive(Clone, Copy, Default)]
struct Passed {
    all: Duration,
    awake: Duration,
}

impl ManualClock {
    pub(crate) fn new() -> Self {
        Self(Arc::new((Instant::now(), Mutex::default())))
    }

    pub(crate) fn advance(&self, by: Duration) {
        self.0.1.lock().awake += by;
        self.sleep(by);
    }

    /// Time passes while the machine sleeps.
    pub(crate) fn sleep(&self, by: Duration) {
        self.0.1.lock().all += by;
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Instant {
        self.0.0 + self.0.1.lock().awake
    }

    /// Begins with 2001-09-09T01:46:40Z.
    fn date(&self) -> Timestamp {
        let passed = i64::try_from(self.0.1.lock().all.as_secs()).unwrap();
        Timestamp::from_unix(1_000_000_000 + passed, 0).unwrap()
    }
}

/// The clock of a runtime whose time is paused: it passes when no task has anything else to do.
#[derive(Clone)]
pub(crate) struct PausedClock;

impl Clock for PausedClock {
    fn now(&self) -> Instant {
        tokio::time::Instant::now().into_std()
    }

    fn date(&self) -> Timestamp {
        Timestamp::now()
    }
}

/// Notes what it is told.
#[derive(Default)]
pub(crate) struct Notes {
    pub(crate) hits: AtomicUsize,
    pub(crate) misses: AtomicUsize,
    pub(crate) invalid_records: AtomicUsize,
    pub(crate) negative_hits: AtomicUsize,
    pub(crate) refreshes: Mutex<Vec<Refresh>>,
    pub(crate) snapshot_hits: AtomicUsize,
    pub(crate) snapshots_written: AtomicUsize,
    pub(crate) snapshots_failed: AtomicUsize,
    pub(crate) snapshots_refused: AtomicUsize,
    /// Calls to the key store, and whether they failed.
    pub(crate) calls: Mutex<Vec<(StoreOperation, Duration, bool)>>,
}

impl Observer for Notes {
    fn cache_hit(&self) {
        self.hits.fetch_add(1, Ordering::Relaxed);
    }

    fn cache_miss(&self) {
        self.misses.fetch_add(1, Ordering::Relaxed);
    }

    fn invalid_record(&self) {
        self.invalid_records.fetch_add(1, Ordering::Relaxed);
    }

    fn negative_hit(&self) {
        self.negative_hits.fetch_add(1, Ordering::Relaxed);
    }

    fn refreshed(&self, refresh: Refresh) {
        self.refreshes.lock().push(refresh);
    }

    fn snapshot_hit(&self) {
        self.snapshot_hits.fetch_add(1, Ordering::Relaxed);
    }

    fn snapshot_written(&self) {
        self.snapshots_written.fetch_add(1, Ordering::Relaxed);
    }

    fn snapshot_failed(&self) {
        self.snapshots_failed.fetch_add(1, Ordering::Relaxed);
    }

    fn snapshot_refused(&self) {
        self.snapshots_refused.fetch_add(1, Ordering::Relaxed);
    }
}

impl Meter for Notes {
    fn store_call(&self, operation: StoreOperation, took: Duration, failure: Option<&Error>) {
        self.calls.lock().push((operation, took, failure.is_some()));
    }
}
