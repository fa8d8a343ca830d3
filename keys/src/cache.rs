//! Keys in memory between requests (contract `config.md`, Cache).
//!
//! A hit takes a shared lock on one of some shards and clones an `Arc`: nothing is written that
//! another core reads. What is old or unused goes in the background (see `upkeep`). An entry
//! that is dropped is wiped as soon as the last request that uses it ends; nothing defers it.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use kes_api::KeyName;
use kes_crypto::Key;
use kes_keystore::{Error, KeyStore, Record};
use parking_lot::{Mutex, RwLock};
use tokio::time::Instant;

use self::missing::Missing;
use crate::flight::{Boarding, Flights, Outcome, Pilot};
use crate::keys::observed;
use crate::{Observer, StoreOperation};

/// Names that were just asked for and do not exist.
mod missing;

/// Expiry, and what happens while the key store is away.
pub(crate) mod upkeep;

/// Enough that two cores hardly meet, few enough that a sweep is quick.
const SHARDS: usize = 32;

/// How long keys stay (contract `config.md`, Cache).
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// At most this long after it was read.
    pub any: Duration,
    /// At most this long after it was last used.
    pub unused: Duration,
    /// Instead of both, while the key store is unreachable; zero for not.
    pub offline: Duration,
}

/// A key in memory.
pub struct Entry {
    record: Record,
    read_at: Instant,
    /// Set by requests, cleared by the upkeep.
    used: AtomicBool,
    /// When the upkeep last saw it used; nobody else looks.
    last_used: Mutex<Instant>,
}

type Shard = RwLock<HashMap<KeyName, Arc<Entry>>>;

/// The keys in memory, and the reads that fetch more of them.
pub(crate) struct Cache<S, O> {
    shards: Box<[Shard]>,
    hasher: RandomState,
    flights: Flights,
    missing: Missing,
    settings: Settings,
    store: Arc<S>,
    observer: Arc<O>,
}

impl Entry {
    fn new(record: Record) -> Self {
        let now = Instant::now();
        let used = AtomicBool::new(true);
        Self { record, read_at: now, used, last_used: Mutex::new(now) }
    }

    /// The key itself.
    pub(crate) fn key(&self) -> &Key {
        &self.record.key
    }

    /// The key with what is known of it.
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// Takes the place of an entry of the same key. Being read anew is no use.
    fn succeed(&self, old: &Self) {
        self.used.store(old.used.load(Ordering::Relaxed), Ordering::Relaxed);
        *self.last_used.lock() = *old.last_used.lock();
    }

    fn mark_used(&self) {
        // Written only where it changes: a hot entry is read by every core.
        if !self.used.load(Ordering::Relaxed) {
            self.used.store(true, Ordering::Relaxed);
        }
    }
}

impl<S: KeyStore + 'static, O: Observer> Cache<S, O> {
    pub(crate) fn new(store: Arc<S>, settings: Settings, observer: Arc<O>) -> Arc<Self> {
        Arc::new(Self {
            shards: (0..SHARDS).map(|_| RwLock::default()).collect(),
            hasher: RandomState::new(),
            flights: Flights::default(),
            missing: Missing::default(),
            settings,
            store,
            observer,
        })
    }

    /// A key that is in memory.
    pub(crate) fn get(&self, name: &KeyName) -> Option<Arc<Entry>> {
        let entry = self.shard(name).read().get(name).map(Arc::clone);
        match &entry {
            Some(entry) => {
                entry.mark_used();
                self.observer.cache_hit();
            }
            None => self.observer.cache_miss(),
        }
        entry
    }

    /// Reads a key from the key store into memory. Callers of the same key share one read, which
    /// goes on when the caller that started it goes away.
    pub(crate) async fn read(self: &Arc<Self>, name: KeyName) -> Result<Arc<Entry>, Error> {
        if self.missing.is_stormed(&name) {
            return Err(Error::NotFound { name });
        }
        let waiting = match self.flights.board(name) {
            Boarding::Passenger(waiting) => waiting,
            Boarding::Pilot(pilot, waiting) => {
                let cache = Arc::clone(self);
                tokio::spawn(async move { cache.land(pilot, cache.fetch(name).await) });
                waiting
            }
        };
        waiting.outcome().await.unwrap_or_else(|| {
            let reason = "the read of the key was abandoned".to_owned();
            Err(Error::Unavailable { reason })
        })
    }

    /// Keeps a key that was just created.
    pub(crate) fn insert(&self, name: KeyName, record: Record) {
        let entry = Arc::new(Entry::new(record));
        self.flights.cancel(&name, || {
            self.missing.forget(&name);
            self.put(name, &entry);
        });
    }

    /// Drops a key, also one that is being read.
    pub(crate) fn forget(&self, name: &KeyName) {
        self.flights.cancel(name, || {
            self.shard(name).write().remove(name);
        });
    }

    /// Takes the keys of another cache over.
    pub(crate) fn take_over(&self, other: &Self) {
        for shard in &other.shards {
            for (name, entry) in shard.read().iter() {
                self.put(*name, entry);
            }
        }
    }

    /// How many keys there are.
    pub(crate) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.read().len()).sum()
    }

    /// How long ago the oldest of them was read.
    pub(crate) fn oldest(&self) -> Duration {
        let oldest = |shard: &Shard| shard.read().values().map(|entry| entry.read_at).min();
        let oldest = self.shards.iter().filter_map(oldest).min();
        oldest.map_or(Duration::ZERO, |oldest| oldest.elapsed())
    }

    /// Ends a read, and keeps what it came to if the key was not forgotten meanwhile.
    fn land(&self, pilot: Pilot, outcome: Outcome) {
        let name = pilot.name();
        self.flights.land(pilot, outcome, |outcome| match outcome {
            Ok(entry) => {
                let mut shard = self.shard(&name).write();
                if let Some(old) = shard.insert(name, Arc::clone(entry)) {
                    entry.succeed(&old);
                }
            }
            Err(Error::NotFound { .. }) => {
                self.missing.remember(name);
                self.shard(&name).write().remove(&name);
            }
            // A failed read is not remembered, and takes no key away.
            Err(_) => {}
        });
    }

    async fn fetch(&self, name: KeyName) -> Outcome {
        // A value that is no stored key is as much a failure of the key store as no value.
        let read = async {
            let value = self.store.read(&name).await?;
            Record::decode(&value).map_err(|invalid| Error::Corrupt {
                store: self.store.kind(),
                name,
                reason: invalid.to_string(),
            })
        };
        let read = observed(&*self.observer, StoreOperation::Read, read).await;
        Ok(Arc::new(Entry::new(read?)))
    }

    fn put(&self, name: KeyName, entry: &Arc<Entry>) {
        self.shard(&name).write().insert(name, Arc::clone(entry));
    }

    fn shard(&self, name: &KeyName) -> &Shard {
        let hash = self.hasher.hash_one(name.as_str());
        // The upper bits: the lower ones choose the place within the shard's map.
        let shard = usize::try_from(hash >> 32).unwrap_or_default() % SHARDS;
        &self.shards[shard]
    }
}
