//! Names that were just asked for and do not exist.
//!
//! Another server may create a key at any moment, so a miss is not cached (contract `config.md`,
//! Cache): each request asks the key store. Only when a name is asked for again and again within
//! one second is the rest of that second answered from here, so that a client in a loop does not
//! storm the key store.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use kes_api::KeyName;
use parking_lot::Mutex;

/// How long a miss is remembered.
const MEMORY: Duration = Duration::from_secs(1);

/// So many misses of one name within [`MEMORY`] are a storm.
const STORM: u32 = 16;

/// At most so many names are remembered; a client that invents names does not fill the memory.
const MAX_NAMES: usize = 1024;

/// Recent misses.
#[derive(Default)]
pub(super) struct Missing {
    names: Mutex<HashMap<KeyName, Misses>>,
    /// As many as there are names, so that the usual case takes no lock.
    count: AtomicUsize,
}

struct Misses {
    since: Instant,
    times: u32,
}

impl Missing {
    /// Whether a name was missing so often just now that it counts as missing.
    pub(super) fn is_stormed(&self, name: &KeyName) -> bool {
        if self.count.load(Ordering::Relaxed) == 0 {
            return false;
        }
        let names = self.names.lock();
        names.get(name).is_some_and(|misses| misses.times >= STORM && misses.is_recent())
    }

    /// A name was missing in the key store.
    pub(super) fn remember(&self, name: KeyName) {
        let mut names = self.names.lock();
        if names.len() >= MAX_NAMES {
            names.retain(|_, misses| misses.is_recent());
        }
        if names.len() >= MAX_NAMES {
            names.clear();
        }
        let misses = names.entry(name).or_insert_with(Misses::none);
        if !misses.is_recent() {
            *misses = Misses::none();
        }
        misses.times += 1;
        self.count.store(names.len(), Ordering::Relaxed);
    }

    /// The name exists now.
    pub(super) fn forget(&self, name: &KeyName) {
        let mut names = self.names.lock();
        names.remove(name);
        self.count.store(names.len(), Ordering::Relaxed);
    }

    /// Drops what is no longer recent.
    pub(super) fn sweep(&self) {
        if self.count.load(Ordering::Relaxed) > 0 {
            let mut names = self.names.lock();
            names.retain(|_, misses| misses.is_recent());
            self.count.store(names.len(), Ordering::Relaxed);
        }
    }
}

impl Misses {
    fn none() -> Self {
        Self { since: Instant::now(), times: 0 }
    }

    fn is_recent(&self) -> bool {
        self.since.elapsed() < MEMORY
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> KeyName {
        KeyName::parse(text).unwrap()
    }

    #[test]
    fn only_a_storm_is_answered_from_memory() {
        let missing = Missing::default();
        for _ in 1..STORM {
            missing.remember(name("k"));
            assert!(!missing.is_stormed(&name("k")));
        }
        missing.remember(name("k"));
        assert!(missing.is_stormed(&name("k")));
        assert!(!missing.is_stormed(&name("other")));
        missing.forget(&name("k"));
        assert!(!missing.is_stormed(&name("k")));
    }

    #[test]
    fn invented_names_take_bounded_memory() {
        let missing = Missing::default();
        for n in 0..10_000 {
            missing.remember(name(&format!("k{n}")));
        }
        assert!(missing.names.lock().len() <= MAX_NAMES);
    }
}
