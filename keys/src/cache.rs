//! Keys in memory between requests (contract `config.md`, Cache).
//!
//! A hit locks one of some shards for reading, clones an `Arc` and counts the hit. It allocates
//! nothing and waits for nobody but a writer of the same shard. It does write memory that other
//! cores use: the lock's count of readers, the count of references of the entry, the counter of
//! hits. Shards keep requests for different keys off each other's locks; requests for one key
//! share its cache lines.
//!
//! Entries that are too old or not used are evicted in the background (see `refresh`). An entry
//! that left the cache is wiped as soon as the last request that uses it ends; nothing defers that.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use kes_api::{Fingerprint, KeyName};
use kes_crypto::Key;
use kes_keystore::wrap::{Memory, Order};
use kes_keystore::{Error, KeyStore, Record, StoreOperation};
use kes_policy::StorePlace;
use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;

#[cfg(feature = "fuzzing")]
pub use self::snapshot::rewritten as rewritten_snapshot;
pub use self::snapshot::{SnapshotSettings, SnapshotStatus};
pub use self::transfer::Copies;
#[cfg(feature = "fuzzing")]
pub use self::transfer::rewritten;

use self::negative::NegativeCache;
use self::snapshot::Snapshot;
use crate::records::Records;
use crate::single_flight::{Follower, Leader, Role, SingleFlight};
use crate::traced::{Trace, traced, waited};
use crate::uses::{Ledger, Uses};
use crate::{Clock, Observer, Pin, Refresh};

/// Names that do not exist.
pub(crate) mod negative;

/// Refresh and eviction.
pub(crate) mod refresh;

/// Keys in a file, for a restart while the key store is away.
mod snapshot;

/// Keys that go from the memory of one process to that of another.
mod transfer;

#[cfg(test)]
mod tests;

/// Enough that requests on some ten cores seldom meet in one shard, few enough that a round of the
/// refresher is quick.
const SHARDS: usize = 32;

/// How long keys stay in memory (contract `config.md`, Cache).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expiry {
    /// At most this long after a key was read.
    pub any: Duration,
    /// At most this long after a key was last used.
    pub unused: Duration,
    /// Instead of both, while the key store is unreachable; zero for not.
    pub offline: Duration,
}

/// A key in memory.
pub(crate) struct Entry {
    record: Record,
    read_at: Instant,
    /// The same in seconds since 1970: the monotonic clock stands while the machine sleeps.
    read_second: i64,
    /// Set by requests, cleared by the refresher.
    used: AtomicBool,
    /// When the refresher last found the entry used; only the refresher looks.
    last_used: Mutex<Instant>,
    /// Of data keys, ciphertexts and HMACs. A description is no such use.
    uses: Arc<Uses>,
}

/// What a read of a key returns to all who wait for it.
type ReadResult = Result<Arc<Entry>, Error>;

type Shard = RwLock<HashMap<KeyName, Arc<Entry>>>;

/// The keys in memory, in front of a key store.
pub(crate) struct Cache<S, O, C> {
    shards: Box<[Shard]>,
    hasher: RandomState,
    reads: SingleFlight<ReadResult>,
    negative: NegativeCache,
    /// Replaced by a reload of the configuration; the refresher waits for that.
    expiry: watch::Sender<Expiry>,
    /// Since when the key store has not been reachable. Written by the refresher.
    unreachable_since: Mutex<Option<Instant>>,
    records: Records<S, O>,
    order: Order,
    ledger: Ledger,
    snapshot: Arc<Snapshot>,
    observer: Arc<O>,
    clock: C,
}

impl Entry {
    fn new(record: Record, now: Instant, second: i64, uses: Arc<Uses>) -> Self {
        let (used, last_used) = (AtomicBool::new(true), Mutex::new(now));
        Self { record, read_at: now, read_second: second, used, last_used, uses }
    }

    /// The key itself.
    pub(crate) fn key(&self) -> &Key {
        &self.record.key
    }

    /// The key with what is known of it.
    pub(crate) fn record(&self) -> &Record {
        &self.record
    }

    /// Where uses of the key are noted.
    pub(crate) fn uses(&self) -> &Arc<Uses> {
        &self.uses
    }

    /// Takes over when an older entry of the same key was last used. A refresh does not count as a
    /// use, or an unused key would never expire.
    fn inherit_use(&self, old: &Self) {
        self.used.store(old.used.load(Ordering::Relaxed), Ordering::Relaxed);
        *self.last_used.lock() = *old.last_used.lock();
    }

    fn mark_used(&self) {
        // Written only when it changes: every core reads a hot entry.
        if !self.used.load(Ordering::Relaxed) {
            self.used.store(true, Ordering::Relaxed);
        }
    }
}

impl<S: KeyStore + 'static, O: Observer, C: Clock> Cache<S, O, C> {
    pub(crate) fn new(
        store: S,
        order: Order,
        expiry: Expiry,
        observer: Arc<O>,
        clock: C,
    ) -> Arc<Self> {
        let cache = Arc::new(Self {
            shards: (0..SHARDS).map(|_| RwLock::default()).collect(),
            hasher: RandomState::new(),
            reads: SingleFlight::default(),
            negative: NegativeCache::default(),
            expiry: watch::Sender::new(expiry),
            unreachable_since: Mutex::new(None),
            records: Records::new(store, Arc::clone(&observer)),
            order,
            ledger: Ledger::new(clock.date()),
            snapshot: Arc::default(),
            observer,
            clock,
        });
        let memory: Weak<Self> = Arc::downgrade(&cache);
        cache.order.attach(memory);
        cache
    }

    /// The key store behind the cache.
    pub(crate) fn records(&self) -> &Records<S, O> {
        &self.records
    }

    /// The order of all changes, which has this cache forget keys.
    pub(crate) const fn order(&self) -> &Order {
        &self.order
    }

    /// A key that is in memory. The request counts as a hit or a miss.
    pub(crate) fn lookup(&self, name: &KeyName) -> Option<Arc<Entry>> {
        let entry = self.get(name);
        match &entry {
            Some(entry) => {
                entry.mark_used();
                self.observer.cache_hit();
            }
            None => self.observer.cache_miss(),
        }
        entry
    }

    /// A key that is in memory.
    pub(crate) fn get(&self, name: &KeyName) -> Option<Arc<Entry>> {
        self.shard(name).read().get(name).map(Arc::clone)
    }

    /// Whether reading a key calls the key store now: the name is not known to be missing, and
    /// nobody else is reading it.
    pub(crate) fn would_call_store(&self, name: &KeyName) -> bool {
        !self.negative.contains(name, self.clock.now()) && !self.reads.is_in_flight(name)
    }

    /// Reads a key from the key store into memory. Callers of the same key share one read, which
    /// goes on when the caller that started it goes away, and keeps the `place` of that caller. Its
    /// `trace` is told of the read, and those of the others of the wait for it.
    pub(crate) async fn read(
        self: &Arc<Self>,
        name: KeyName,
        place: Option<StorePlace>,
        trace: Trace,
    ) -> ReadResult {
        if self.negative.contains(&name, self.clock.now()) {
            self.observer.negative_hit();
            return Err(Error::NotFound { name });
        }
        match self.reads.join(name) {
            Role::Follower(follower) => {
                waited(&trace, StoreOperation::Read, result_of(follower)).await
            }
            Role::Leader(leader, follower) => {
                let cache = Arc::clone(self);
                tokio::spawn(async move {
                    let _place = place;
                    cache.perform(leader, &trace).await;
                });
                result_of(follower).await
            }
        }
    }

    /// Puts a key that was just created into memory.
    pub(crate) fn insert(&self, name: KeyName, record: Record) {
        self.snapshot.has_come(&name, &record);
        let entry = Arc::new(self.entry(name, record, self.clock.now()));
        self.reads.cancel(&name, || {
            self.negative.remove(&name);
            self.shard(&name).write().insert(name, entry);
        });
    }

    /// Replaces the key store by another that has the same keys, such as the same Vault with another
    /// login, and the times of expiry. The keys stay in memory: a delete, a create or a read that
    /// is under way acts on the same cache before and after.
    pub(crate) fn reconfigure(&self, store: S, expiry: Expiry) {
        self.records.replace_store(store);
        // Who asks from now on gets an answer of the new store: the old one may fail or hang.
        self.reads.cancel_all();
        self.negative.clear();
        self.expiry.send_replace(expiry);
    }

    /// Pins these keys, and no others. One that is in memory with another fingerprint is forgotten.
    pub(crate) fn pin(&self, pins: &[Pin]) {
        self.records.pins().set(pins);
        // What was read before was compared with other pins.
        self.reads.cancel_all();
        for Pin { name, .. } in pins {
            let mut shard = self.shard(name).write();
            if shard.get(name).is_some_and(|entry| !self.records.pins().admit(name, &entry.record))
            {
                shard.remove(name);
            }
        }
    }

    /// What is known of the uses of keys.
    pub(crate) const fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// How many keys are in memory.
    pub(crate) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.read().len()).sum()
    }

    /// How many names are remembered that were missing just now.
    pub(crate) fn missing(&self) -> usize {
        self.negative.names()
    }

    /// How long ago the oldest of them was read.
    pub(crate) fn oldest(&self) -> Duration {
        let oldest = |shard: &Shard| shard.read().values().map(|entry| entry.read_at).min();
        let oldest = self.shards.iter().filter_map(oldest).min();
        oldest.map_or(Duration::ZERO, |oldest| self.clock.now().saturating_duration_since(oldest))
    }

    /// An entry, with the uses of the key that were noted before it came into memory.
    fn entry(&self, name: KeyName, record: Record, read_at: Instant) -> Entry {
        let uses = self.ledger.of(name, Fingerprint::new(record.key.fingerprint()));
        let ago = self.clock.now().saturating_duration_since(read_at).as_secs();
        let second = self.clock.second().saturating_sub_unsigned(ago);
        Entry::new(record, read_at, second, uses)
    }

    /// Performs a read as its leader. The result is kept unless the key was forgotten meanwhile, or
    /// a change of it may still be carried out.
    async fn perform(&self, leader: Leader<ReadResult>, trace: &Trace) -> Refresh {
        let name = leader.name();
        // A change that comes to be unsure after this has the cache forget the key.
        let is_unsure = self.order.is_unsure(&name);
        let read = traced(trace, StoreOperation::Read, self.records.read(&name));
        let (result, outcome) = match read.await {
            Ok(record) => {
                self.snapshot.has_come(&name, &record);
                (Ok(Arc::new(self.entry(name, record, self.clock.now()))), Refresh::Success)
            }
            Err(error) => self.unread(&name, error),
        };
        self.reads.complete(leader, result, |result| match result {
            // One of the snapshot stays there.
            Ok(_) if is_unsure || outcome == Refresh::Error => {}
            Ok(entry) => {
                let mut shard = self.shard(&name).write();
                if let Some(old) = shard.insert(name, Arc::clone(entry)) {
                    entry.inherit_use(&old);
                }
            }
            Err(Error::NotFound { .. }) => {
                if !is_unsure {
                    self.negative.record(name, self.clock.now());
                }
                self.shard(&name).write().remove(&name);
            }
            // A failed read is not remembered, and the key stays in memory if it is there.
            Err(_) => {}
        });
        outcome
    }

    /// What a read that failed returns: the key of the snapshot, if the key store cannot be reached and
    /// there is one.
    fn unread(&self, name: &KeyName, error: Error) -> (ReadResult, Refresh) {
        match &error {
            Error::NotFound { .. } => {
                self.snapshot.is_gone(name);
                return (Err(error), Refresh::Missing);
            }
            Error::Unreachable { .. } => {
                if let Some(entry) = self.stand_in(name) {
                    return (Ok(entry), Refresh::Error);
                }
            }
            // What the key store has is not the key that it had.
            Error::Corrupt { .. } | Error::Foreign { .. } => self.snapshot.is_gone(name),
            Error::Exists { .. }
            | Error::Unusable { .. }
            | Error::Locked { .. }
            | Error::Unavailable { .. } => {}
        }
        (Err(error), Refresh::Error)
    }

    #[expect(clippy::indexing_slicing, reason = "a remainder is less than the number of shards")]
    fn shard(&self, name: &KeyName) -> &Shard {
        let hash = self.hasher.hash_one(name.as_str());
        // The upper bits: the lower ones choose the place within the shard's map.
        let shard = usize::try_from(hash >> 32).unwrap_or_default() % SHARDS;
        &self.shards[shard]
    }
}

/// Waits for the result of a read.
async fn result_of(read: Follower<ReadResult>) -> ReadResult {
    read.result().await.unwrap_or_else(|| {
        let reason = "the read of the key was abandoned".to_owned();
        Err(Error::Unavailable { reason })
    })
}

impl<S: KeyStore + 'static, O: Observer, C: Clock> Memory for Cache<S, O, C> {
    /// Forgets a key, also one that is being read, and that it does not exist.
    fn forget(&self, name: &KeyName) {
        self.reads.cancel(name, || {
            self.negative.remove(name);
            self.shard(name).write().remove(name);
        });
        if self.order.has_delete(name) {
            self.snapshot.is_gone(name);
        }
    }
}
