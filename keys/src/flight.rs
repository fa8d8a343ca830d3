//! Reads that many callers wait for (contract `config.md`, Cache: one read for many requests).

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use kes_api::KeyName;
use kes_keystore::Error;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::cache::Entry;

/// What a read came to.
pub(crate) type Outcome = Result<Arc<Entry>, Error>;

/// The reads under way, by name.
#[derive(Default)]
pub(crate) struct Flights {
    under_way: Mutex<HashMap<KeyName, Flight>>,
    next_id: AtomicU64,
}

struct Flight {
    id: u64,
    outcome: watch::Receiver<Option<Outcome>>,
}

/// A caller's part in a read.
pub(crate) enum Boarding {
    /// Another caller started it: wait for what it comes to.
    Passenger(Waiting),
    /// Nobody did: perform it, and land it.
    Pilot(Pilot, Waiting),
}

/// The duty to perform a read. If it is dropped without landing, the waiting callers see it.
pub(crate) struct Pilot {
    name: KeyName,
    id: u64,
    outcome: watch::Sender<Option<Outcome>>,
}

/// What the callers of a read hold.
pub(crate) struct Waiting(watch::Receiver<Option<Outcome>>);

impl Flights {
    /// Joins the read of a key, or starts one.
    pub(crate) fn board(&self, name: KeyName) -> Boarding {
        let mut under_way = self.under_way.lock();
        if let Some(flight) = under_way.get(&name) {
            // A read whose task died is no read.
            if flight.outcome.has_changed().is_ok() {
                return Boarding::Passenger(Waiting(flight.outcome.clone()));
            }
        }
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let (sender, outcome) = watch::channel(None);
        under_way.insert(name, Flight { id, outcome: outcome.clone() });
        Boarding::Pilot(Pilot { name, id, outcome: sender }, Waiting(outcome))
    }

    /// Ends a read. `keep` is run with what it came to if the read still counts, that is if the
    /// key was not forgotten meanwhile, and under the lock that [`Flights::cancel`] takes: a
    /// deleted key cannot come back.
    #[expect(clippy::needless_pass_by_value, reason = "a pilot lands once")]
    pub(crate) fn land(&self, pilot: Pilot, outcome: Outcome, keep: impl FnOnce(&Outcome)) {
        {
            let mut under_way = self.under_way.lock();
            if under_way.get(&pilot.name).is_some_and(|flight| flight.id == pilot.id) {
                keep(&outcome);
                under_way.remove(&pilot.name);
            }
        }
        pilot.outcome.send_replace(Some(outcome));
    }

    /// The keys that are being read.
    pub(crate) fn names(&self) -> HashSet<KeyName> {
        self.under_way.lock().keys().copied().collect()
    }

    /// What is being read of this key no longer counts; `also` is run under the lock.
    pub(crate) fn cancel(&self, name: &KeyName, also: impl FnOnce()) {
        let mut under_way = self.under_way.lock();
        under_way.remove(name);
        also();
    }
}

impl Pilot {
    /// The key that is read.
    pub(crate) fn name(&self) -> KeyName {
        self.name
    }
}

impl Waiting {
    /// Waits for the end of the read; `None` if it was abandoned.
    pub(crate) async fn outcome(mut self) -> Option<Outcome> {
        let outcome = self.0.wait_for(Option::is_some).await.ok()?;
        outcome.clone()
    }
}
