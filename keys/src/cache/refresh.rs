//! Refresh and eviction: what happens to keys in the cache as time passes.
//!
//! While the key store can be reached, an entry is evicted `any` after it was read and `unused`
//! after it was last used. An entry that is in use is refreshed, which is read again, shortly
//! before its `any` ends, so that no request waits for the key store.
//!
//! While the key store cannot be reached and `offline` is set, nothing is evicted until the key
//! store has been unreachable for `offline`; then everything is.

use std::collections::HashSet;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use kes_api::KeyName;
use kes_keystore::{KeyStore, State};
use tokio::sync::{Semaphore, watch};

use super::{Cache, Expiry};
use crate::single_flight::Role;
use crate::{Clock, Observer};

/// How many keys are refreshed at the same time. The requests for keys that are not in memory
/// matter more, and should not find a key store that is busy with refreshes.
const MAX_REFRESHES: usize = 8;

/// Starts the task that evicts and refreshes entries until the cache is dropped.
pub(crate) fn start<S: KeyStore + 'static, O: Observer, C: Clock>(cache: &Arc<Cache<S, O, C>>) {
    tokio::spawn(run(Arc::downgrade(cache), cache.expiry.subscribe()));
}

/// The time between two rounds. An entry may outlive its time by one interval, which is an eighth
/// of the shortest time. It is no less than 20 ms, so that the rounds over a million entries stay
/// cheap next to the requests.
fn interval(expiry: &Expiry) -> Duration {
    let shortest = [expiry.any, expiry.unused, expiry.offline]
        .into_iter()
        .filter(|time| !time.is_zero())
        .min()
        .unwrap_or(Duration::from_secs(8));
    (shortest / 8).clamp(Duration::from_millis(20), Duration::from_secs(5))
}

/// How long before its end an entry is refreshed: long enough that a slow key store answers in
/// time, and that two rounds fall into it.
fn lead(expiry: &Expiry) -> Duration {
    (expiry.any / 8).max(2 * interval(expiry))
}

async fn run<S: KeyStore + 'static, O: Observer, C: Clock>(
    cache: Weak<Cache<S, O, C>>,
    mut expiry: watch::Receiver<Expiry>,
) {
    let mut refresher = Refresher::new();
    loop {
        let times = *expiry.borrow_and_update();
        match tokio::time::timeout(interval(&times), expiry.changed()).await {
            // Other times apply from now on.
            Ok(Ok(())) => {}
            // The cache was dropped.
            Ok(Err(_)) => return,
            Err(_elapsed) => {
                let Some(cache) = cache.upgrade() else { return };
                refresher.round(&cache);
            }
        }
    }
}

/// What is remembered from one round to the next.
pub(crate) struct Refresher {
    /// One permit for each refresh that runs.
    slots: Arc<Semaphore>,
}

impl Refresher {
    pub(crate) fn new() -> Self {
        Self { slots: Arc::new(Semaphore::new(MAX_REFRESHES)) }
    }

    /// Evicts what has to go, and starts the refresh of entries in use whose time is nearly over.
    pub(crate) fn round<S, O, C>(&mut self, cache: &Arc<Cache<S, O, C>>)
    where
        S: KeyStore + 'static,
        O: Observer,
        C: Clock,
    {
        let now = cache.clock.now();
        let is_unreachable = cache.records.store().state() == State::Unreachable;
        let unreachable_since = {
            let mut since = cache.unreachable_since.lock();
            *since = is_unreachable.then(|| since.unwrap_or(now));
            *since
        };
        cache.negative.evict(now);
        for name in cache.evict(now, unreachable_since) {
            // An entry that finds no free slot is found again by the next round.
            let Ok(slot) = Arc::clone(&self.slots).try_acquire_owned() else { break };
            if let Role::Leader(leader, _) = cache.reads.join(name) {
                let cache = Arc::clone(cache);
                tokio::spawn(async move {
                    let refresh = cache.perform(leader, &None).await;
                    cache.observer.refreshed(refresh);
                    drop(slot);
                });
            }
        }
    }
}

impl<S: KeyStore + 'static, O: Observer, C: Clock> Cache<S, O, C> {
    /// Evicts the entries whose time is over. Returns the names of those that are in use and whose
    /// `any` is nearly over.
    fn evict(&self, now: Instant, unreachable_since: Option<Instant>) -> Vec<KeyName> {
        let expiry = *self.expiry.borrow();
        let refresh_at = expiry.any.saturating_sub(lead(&expiry));
        let offline_since = unreachable_since.filter(|_| !expiry.offline.is_zero());
        // The refresh of a key may be the first call to notice that the key store is unreachable.
        // With `offline` set, an entry whose refresh has not ended is therefore kept. (The names
        // are taken before the shards are locked: the end of a read locks in the other order.)
        let being_read = if expiry.offline.is_zero() { HashSet::new() } else { self.reads.names() };
        let mut to_refresh = Vec::new();
        for shard in &self.shards {
            shard.write().retain(|name, entry| {
                let was_used = entry.used.swap(false, Ordering::Relaxed);
                let mut last_used = entry.last_used.lock();
                if was_used {
                    *last_used = now;
                }
                if let Some(since) = offline_since {
                    return now.saturating_duration_since(since) < expiry.offline;
                }
                let age = now.saturating_duration_since(entry.read_at);
                let is_fresh = age < expiry.any || being_read.contains(name);
                let idle = now.saturating_duration_since(*last_used);
                let stays = is_fresh && idle < expiry.unused;
                if stays && age >= refresh_at {
                    to_refresh.push(*name);
                }
                stays
            });
        }
        to_refresh
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expiry(any: u64, unused: u64, offline: u64) -> Expiry {
        let [any, unused, offline] = [any, unused, offline].map(Duration::from_millis);
        Expiry { any, unused, offline }
    }

    #[test]
    fn rounds_are_as_frequent_as_the_shortest_time_needs() {
        for (times, milliseconds) in [
            (expiry(8_000, 30_000, 0), 1_000),
            (expiry(30_000, 8_000, 0), 1_000),
            (expiry(30_000, 30_000, 8_000), 1_000),
            (expiry(300_000, 30_000, 0), 3_750),
            (expiry(1, 30_000, 0), 20),
            (expiry(3_600_000, 3_600_000, 0), 5_000),
            (expiry(0, 0, 0), 1_000),
        ] {
            assert_eq!(interval(&times).as_millis(), milliseconds, "{times:?}");
        }
    }

    #[test]
    fn a_refresh_begins_two_rounds_before_the_end_at_the_latest() {
        for (times, milliseconds) in [
            (expiry(300_000, 30_000, 0), 37_500),
            (expiry(80_000, 80_000, 0), 10_000),
            (expiry(16_000, 80_000, 0), 4_000),
            (expiry(100, 80_000, 0), 40),
        ] {
            assert_eq!(lead(&times).as_millis(), milliseconds, "{times:?}");
            assert!(lead(&times) >= 2 * interval(&times));
        }
    }
}
