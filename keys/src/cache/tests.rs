use kes_api::Timestamp;
use kes_keystore::memory::MemoryStore;

use super::*;
use crate::StoreOperation;

/// Counts nothing.
struct Nobody;

impl Observer for Nobody {
    fn cache_hit(&self) {}
    fn cache_miss(&self) {}
    fn store_call(&self, _: StoreOperation, _: Duration, _: Option<&Error>) {}
}

/// The clock of a runtime whose time is paused: it goes on when nothing else is to do.
#[derive(Clone)]
struct PausedClock;

impl Clock for PausedClock {
    fn now(&self) -> Instant {
        tokio::time::Instant::now().into_std()
    }

    fn date(&self) -> Timestamp {
        Timestamp::now()
    }
}

fn cache(any: u64, unused: u64) -> Arc<Cache<MemoryStore, Nobody, PausedClock>> {
    let expiry = Expiry {
        any: Duration::from_millis(any),
        unused: Duration::from_millis(unused),
        offline: Duration::ZERO,
    };
    Cache::new(MemoryStore::new(), expiry, Arc::new(Nobody), PausedClock)
}

fn record() -> Record {
    let created_at = Timestamp::now();
    Record { key: Key::generate(), created_at, created_by: String::new() }
}

/// Time passes only here, so that no busy machine lets a key grow old between two looks.
async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let start = PausedClock.now();
    while !condition() {
        assert!(PausedClock.now() - start < Duration::from_secs(20), "{what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_in_use_is_read_anew_before_it_goes() {
    let cache = cache(400, 60_000);
    let name = KeyName::parse("k").unwrap();
    cache.records().create(&name, &record()).await.unwrap();
    let first = cache.read(name).await.unwrap();
    refresh::start(&cache);
    // A request never misses while its key takes the place of the one before.
    let newer = || {
        let entry = cache.lookup(&name).expect("the key stays in memory");
        !Arc::ptr_eq(&entry, &first)
    };
    eventually("the key is read anew", newer).await;
}

#[tokio::test(start_paused = true)]
async fn a_key_that_was_deleted_elsewhere_goes_when_it_is_read_anew() {
    let cache = cache(400, 60_000);
    let name = KeyName::parse("k").unwrap();
    cache.insert(name, record()); // is not in the store
    refresh::start(&cache);
    eventually("the key goes", || cache.lookup(&name).is_none()).await;
}

#[tokio::test(start_paused = true)]
async fn an_unused_key_goes_however_often_it_was_read_anew() {
    let cache = cache(100, 500);
    let name = KeyName::parse("k").unwrap();
    cache.records().create(&name, &record()).await.unwrap();
    cache.read(name).await.unwrap();
    refresh::start(&cache);
    eventually("the key goes", || cache.len() == 0).await;
}
