//! What happens to keys in memory as time goes by.
//!
//! While the key store can be reached, a key goes `any` after it was read and `unused` after it
//! was last used. One that is in use is read anew shortly before it would go, so that no request
//! waits for the key store.
//!
//! While the key store cannot be reached, and `offline` is set, all stay; what is still there
//! when it has been away for `offline` goes then.

use std::collections::HashSet;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use kes_api::KeyName;
use kes_keystore::{KeyStore, State};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::{Boarding, Cache, Settings};
use crate::Observer;

/// Keys that are read anew at the same time. Requests for keys that are not in memory come
/// first, and should find the key store at leisure.
const MAX_REFRESHES: usize = 8;

/// Keeps a cache until it is dropped.
pub(crate) fn start<S: KeyStore + 'static, O: Observer>(cache: &Arc<Cache<S, O>>) {
    tokio::spawn(run(Arc::downgrade(cache), interval(&cache.settings)));
}

/// An entry may outlive its time by one interval: an eighth of the shortest time. No more often
/// than every 20 ms, so that a sweep of a million entries stays small next to the requests.
fn interval(settings: &Settings) -> Duration {
    let shortest = [settings.any, settings.unused, settings.offline]
        .into_iter()
        .filter(|time| !time.is_zero())
        .min()
        .unwrap_or(Duration::from_secs(8));
    (shortest / 8).clamp(Duration::from_millis(20), Duration::from_secs(5))
}

/// How long before its end a key is read anew: long enough that a slow key store answers in
/// time, and that two sweeps fall into it.
fn ahead(settings: &Settings) -> Duration {
    (settings.any / 8).max(2 * interval(settings))
}

async fn run<S: KeyStore + 'static, O: Observer>(cache: Weak<Cache<S, O>>, interval: Duration) {
    let refreshes = Arc::new(Semaphore::new(MAX_REFRESHES));
    let mut away_since = None;
    loop {
        tokio::time::sleep(interval).await;
        let Some(cache) = cache.upgrade() else { return };
        let away = cache.store.state() == State::Unreachable;
        away_since = away.then(|| away_since.unwrap_or_else(Instant::now));
        cache.missing.sweep();
        for name in cache.sweep(away_since) {
            // Those that find no room are found again by the next sweep.
            let Ok(room) = Arc::clone(&refreshes).try_acquire_owned() else { break };
            if let Boarding::Pilot(pilot, _) = cache.flights.board(name) {
                let cache = Arc::clone(&cache);
                tokio::spawn(async move {
                    cache.land(pilot, cache.fetch(name).await);
                    drop(room);
                });
            }
        }
    }
}

impl<S: KeyStore + 'static, O: Observer> Cache<S, O> {
    /// Drops what has had its time. Returns the keys that are in use and soon will have.
    fn sweep(&self, away_since: Option<Instant>) -> Vec<KeyName> {
        let now = Instant::now();
        let settings = &self.settings;
        let refresh_at = settings.any.saturating_sub(ahead(settings));
        let offline = away_since.filter(|_| !settings.offline.is_zero());
        // A key whose re-read hangs may be the first to find out that the key store is away: it
        // stays until that is decided. (Taken before the shards are locked: a read that lands
        // locks in the other order.)
        let undecided =
            if settings.offline.is_zero() { HashSet::new() } else { self.flights.names() };
        let mut ending = Vec::new();
        for shard in &self.shards {
            shard.write().retain(|name, entry| {
                let used = entry.used.swap(false, Ordering::Relaxed);
                let mut last_used = entry.last_used.lock();
                if used {
                    *last_used = now;
                }
                if let Some(since) = offline {
                    return now.duration_since(since) < settings.offline;
                }
                let age = now.duration_since(entry.read_at);
                let fresh = age < settings.any || undecided.contains(name);
                let stays = fresh && now.duration_since(*last_used) < settings.unused;
                if stays && age >= refresh_at {
                    ending.push(*name);
                }
                stays
            });
        }
        ending
    }
}

#[cfg(test)]
mod tests {
    use kes_crypto::Key;
    use kes_keystore::Record;
    use kes_keystore::memory::MemoryStore;

    use super::*;
    use crate::StoreOperation;

    /// Counts nothing.
    struct Nobody;

    impl Observer for Nobody {
        fn cache_hit(&self) {}
        fn cache_miss(&self) {}
        fn store_call(&self, _: StoreOperation, _: Duration, _: Option<&kes_keystore::Error>) {}
    }

    fn cache(any: u64, unused: u64) -> Arc<Cache<MemoryStore, Nobody>> {
        let settings = Settings {
            any: Duration::from_millis(any),
            unused: Duration::from_millis(unused),
            offline: Duration::ZERO,
        };
        let store = Arc::new(MemoryStore::new());
        Cache::new(store, settings, Arc::new(Nobody))
    }

    fn record() -> Record {
        let created_at = kes_api::Timestamp::now();
        Record { key: Key::generate(), created_at, created_by: String::new() }
    }

    /// Time passes only here, so that no busy machine lets a key grow old between two looks.
    async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
        let start = Instant::now();
        while !condition() {
            assert!(start.elapsed() < Duration::from_secs(20), "{what}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_in_use_is_read_anew_before_it_goes() {
        let cache = cache(400, 60_000);
        let name = KeyName::parse("k").unwrap();
        cache.store.create(&name, &record().encode()).await.unwrap();
        let first = cache.read(name).await.unwrap();
        start(&cache);
        // A request never misses while its key takes the place of the one before.
        let newer = || {
            let entry = cache.get(&name).expect("the key stays in memory");
            !Arc::ptr_eq(&entry, &first)
        };
        eventually("the key is read anew", newer).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_that_was_deleted_elsewhere_goes_when_it_is_read_anew() {
        let cache = cache(400, 60_000);
        let name = KeyName::parse("k").unwrap();
        cache.insert(name, record()); // does not stand in the store
        start(&cache);
        eventually("the key goes", || cache.get(&name).is_none()).await;
    }

    #[tokio::test(start_paused = true)]
    async fn an_unused_key_goes_however_often_it_was_read_anew() {
        let cache = cache(100, 500);
        let name = KeyName::parse("k").unwrap();
        cache.store.create(&name, &record().encode()).await.unwrap();
        cache.read(name).await.unwrap();
        start(&cache);
        eventually("the key goes", || cache.len() == 0).await;
    }
}
