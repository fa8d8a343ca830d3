//! The negative cache: names that clients keep asking for and that do not exist.
//!
//! Another server may create a key at any moment, so a missing name is looked up again by each
//! request (contract `config.md`, Cache). Only a name that was missing `THRESHOLD` times within
//! `WINDOW` is answered from here for the rest of that window, so that a client in a loop does
//! not overload the key store.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use kes_api::KeyName;
use parking_lot::Mutex;

/// How long misses of a name are counted, and how long the answer is known at most: short enough
/// that nobody notices the delay of a key that another server creates.
pub(crate) const WINDOW: Duration = Duration::from_secs(1);

/// After this many misses within [`WINDOW`], the key store is not asked any more. A client that
/// retries a request has fewer; one in a loop has it within milliseconds.
pub(crate) const THRESHOLD: u32 = 16;

/// How many names are remembered at most, about 150 KB, so that a client that invents names does
/// not fill the memory.
pub(crate) const MAX_NAMES: usize = 1024;

/// Recent misses, by name.
#[derive(Default)]
pub(crate) struct NegativeCache {
    names: Mutex<HashMap<KeyName, Misses>>,
    /// The number of `names`, so that a lookup takes no lock while there are none.
    count: AtomicUsize,
}

struct Misses {
    since: Instant,
    count: u32,
}

impl NegativeCache {
    /// Whether a name was missing so often just now that it counts as missing.
    pub(crate) fn contains(&self, name: &KeyName, now: Instant) -> bool {
        if self.count.load(Ordering::Relaxed) == 0 {
            return false;
        }
        let names = self.names.lock();
        names.get(name).is_some_and(|misses| misses.count >= THRESHOLD && misses.is_recent(now))
    }

    /// How many names are remembered.
    pub(crate) fn names(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Counts a miss: the key store has no key of this name.
    pub(crate) fn record(&self, name: KeyName, now: Instant) {
        let mut names = self.names.lock();
        if names.len() >= MAX_NAMES {
            names.retain(|_, misses| misses.is_recent(now));
        }
        if names.len() >= MAX_NAMES {
            names.clear();
        }
        let misses = names.entry(name).or_insert(Misses { since: now, count: 0 });
        if !misses.is_recent(now) {
            *misses = Misses { since: now, count: 0 };
        }
        misses.count += 1;
        self.count.store(names.len(), Ordering::Relaxed);
    }

    /// Forgets the misses of a name: it exists now.
    pub(crate) fn remove(&self, name: &KeyName) {
        let mut names = self.names.lock();
        names.remove(name);
        self.count.store(names.len(), Ordering::Relaxed);
    }

    /// Forgets all misses.
    pub(crate) fn clear(&self) {
        let mut names = self.names.lock();
        names.clear();
        self.count.store(0, Ordering::Relaxed);
    }

    /// Drops the misses that are no longer recent.
    pub(crate) fn evict(&self, now: Instant) {
        let mut names = self.names.lock();
        names.retain(|_, misses| misses.is_recent(now));
        self.count.store(names.len(), Ordering::Relaxed);
    }
}

#[cfg(test)]
impl NegativeCache {
    /// How many names are remembered.
    pub(crate) fn len(&self) -> usize {
        let names = self.names.lock().len();
        assert_eq!(self.count.load(Ordering::Relaxed), names);
        names
    }
}

impl Misses {
    fn is_recent(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.since) < WINDOW
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> KeyName {
        KeyName::parse(text).unwrap()
    }

    #[test]
    fn only_a_name_that_is_missing_again_and_again_is_answered_from_memory() {
        let (cache, start) = (NegativeCache::default(), Instant::now());
        for _ in 1..THRESHOLD {
            cache.record(name("k"), start);
            assert!(!cache.contains(&name("k"), start));
        }
        cache.record(name("k"), start);
        assert!(cache.contains(&name("k"), start));
        assert!(!cache.contains(&name("other"), start));
        cache.remove(&name("k"));
        assert!(!cache.contains(&name("k"), start));
    }

    #[test]
    fn the_answer_is_known_for_the_rest_of_the_window() {
        let (cache, start) = (NegativeCache::default(), Instant::now());
        let late = start + WINDOW - Duration::from_millis(1);
        for _ in 0..THRESHOLD {
            cache.record(name("k"), start);
        }
        // A further miss does not begin another window.
        cache.record(name("k"), late);
        assert!(cache.contains(&name("k"), late));
        assert!(!cache.contains(&name("k"), start + WINDOW));
        // The count starts anew with the next window.
        cache.record(name("k"), start + WINDOW);
        assert!(!cache.contains(&name("k"), start + WINDOW));
        cache.evict(start + 2 * WINDOW);
        assert_eq!(cache.len(), 0);
    }

    #[test]
    fn invented_names_take_bounded_memory() {
        let (cache, start) = (NegativeCache::default(), Instant::now());
        for n in 0..10_000 {
            cache.record(name(&format!("k{n}")), start);
            assert!(cache.len() <= MAX_NAMES);
        }
    }

    #[test]
    fn old_names_make_room_for_new_ones() {
        let (cache, start) = (NegativeCache::default(), Instant::now());
        for n in 2..MAX_NAMES {
            cache.record(name(&format!("k{n}")), start);
        }
        // The last two that there is room for come before the others are old.
        let late = start + WINDOW - Duration::from_millis(1);
        for _ in 0..THRESHOLD {
            cache.record(name("k"), late);
        }
        cache.record(name("last"), late);
        assert_eq!(cache.len(), MAX_NAMES);
        let now = start + WINDOW;
        cache.record(name("new"), now);
        assert_eq!(cache.len(), 3);
        assert!(cache.contains(&name("k"), now));
    }

    #[test]
    fn one_name_or_all_are_forgotten() {
        let (cache, start) = (NegativeCache::default(), Instant::now());
        for name in ["a", "b", "c"].map(name) {
            for _ in 0..THRESHOLD {
                cache.record(name, start);
            }
        }
        cache.remove(&name("a"));
        assert_eq!(
            ["a", "b", "c"].map(|text| cache.contains(&name(text), start)),
            [false, true, true]
        );
        assert_eq!(cache.len(), 2);
        cache.clear();
        assert_eq!(cache.len(), 0);
        // Nothing of before counts.
        cache.record(name("b"), start);
        assert!(!cache.contains(&name("b"), start));
        cache.evict(start);
        assert_eq!(cache.len(), 1, "it is recent");
    }
}
