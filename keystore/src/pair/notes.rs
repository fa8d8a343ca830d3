use std::any::Any;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use kes_api::KeyName;
use parking_lot::Mutex;

use super::Two;
use crate::wrap::Change;

/// How many keys with different values, or with changes that are not whole, are named.
const MOST_NAMED: usize = 10;

/// What is counted of pairs. One server has one, for all of its pairs one after the other.
#[derive(Default)]
pub struct Notes {
    differences: AtomicU64,
    differing: Mutex<BTreeSet<KeyName>>,
    pub(super) from_second: AtomicU64,
    pub(super) unfinished: Mutex<Vec<(KeyName, Change)>>,
    /// The pairs of the server, with the places of their stores: one, and for a while those that it has
    /// replaced.
    pairs: Mutex<Vec<(String, Weak<dyn Any + Send + Sync>)>>,
}

impl Notes {
    /// Reads that found different values.
    pub fn differences(&self) -> u64 {
        self.differences.load(Ordering::Relaxed)
    }

    /// The first keys that had them.
    pub(super) fn differing(&self) -> Vec<KeyName> {
        self.differing.lock().iter().copied().collect()
    }

    pub(super) fn note_difference(&self, name: &KeyName) {
        self.differences.fetch_add(1, Ordering::Relaxed);
        let mut differing = self.differing.lock();
        if differing.len() < MOST_NAMED {
            differing.insert(*name);
        }
    }

    /// Reads that were answered by the store that is asked second.
    pub fn from_second(&self) -> u64 {
        self.from_second.load(Ordering::Relaxed)
    }

    /// Changes that are made in one store and are still to be made in the other one.
    pub fn unfinished(&self) -> usize {
        self.unfinished.lock().len()
    }

    /// Which these are, for the log of a process that ends; `None` if there are none.
    pub fn left_unfinished(&self) -> Option<String> {
        let unfinished = self.unfinished.lock();
        let named: Vec<_> = unfinished
            .iter()
            .take(MOST_NAMED)
            .map(|(name, change)| match change {
                Change::Create => format!("create of '{name}'"),
                Change::Delete => format!("delete of '{name}'"),
            })
            .collect();
        let more = unfinished.len() - named.len();
        let more = if more > 0 { format!(", and {more} more") } else { String::new() };
        (!named.is_empty()).then(|| named.join(", ") + &more)
    }
}

impl<A: 'static, B: 'static> Two<A, B>
where
    Self: Send + Sync,
{
    /// Has those that it replaces find it.
    pub(super) fn register(self: &Arc<Self>) {
        let pair: Arc<dyn Any + Send + Sync> = Arc::<Self>::clone(self);
        let mut pairs = self.notes.pairs.lock();
        pairs.retain(|(_, pair)| pair.strong_count() > 0);
        pairs.push((self.place.clone(), Arc::downgrade(&pair)));
    }

    /// A pair of the same stores that has replaced this one.
    pub(super) fn successor(&self) -> Option<Arc<Self>> {
        let pairs = self.notes.pairs.lock();
        let of_the_same = pairs.iter().filter(|(place, _)| *place == self.place);
        of_the_same
            .filter_map(|(_, pair)| pair.upgrade()?.downcast::<Self>().ok())
            .find(|pair| pair.in_use.load(Ordering::Relaxed))
    }
}
