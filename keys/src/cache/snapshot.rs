//! A sealed snapshot of the keys that were in use, in a file: with it they survive a restart of the
//! server while the key store is away (contract `config.md`, Cache).
//!
//! The file is written in the background, seldom, and only while the key store can be reached. Its
//! keys are used only while the key store cannot be, each for at most `max_age` after the key store
//! was last known to have it. Until then it stays in the file, also once it has left the memory, unless
//! it is deleted, or the key store was found not to have it.
//!
//! A key that is deleted is gone from the file before the key store is asked to delete it. So it does
//! not matter whether the server ends in between. A file that is not as this server wrote it is not
//! used, and the next snapshot replaces it.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use kes_api::{Identity, KeyName, Timestamp};
use kes_crypto::snapshot::SnapshotKey;
use kes_keystore::{KeyStore, Record, State as StoreState};
use parking_lot::{Mutex, RwLock};
use tokio::sync::OwnedMutexGuard;

#[cfg(feature = "fuzzing")]
pub use self::contents::rewritten;

use self::disk::{Disk, Moment, Names, State, fingerprint};
use super::{Cache, Entry};
use crate::{Clock, Observer};

/// The plaintext.
mod contents;

/// What is on the disk.
mod disk;

/// The file.
mod file;

/// The keys of the file while the key store is away.
mod keep;

/// When it is written.
mod save;

#[cfg(test)]
mod tests;

/// The time between two snapshots at least, unless a key is deleted. As long as it takes, keys that
/// just came into use may be lost.
const INTERVAL: Duration = Duration::from_secs(10);

/// The time after which a snapshot is written again although it would have the same keys: their ages
/// are those of the snapshot before. A sixteenth of `max_age`, and at most this.
const MAX_INTERVAL: Duration = Duration::from_secs(60 * 60);

/// Where the snapshot is, what seals it, and how long its keys are used.
#[derive(Clone)]
pub struct SnapshotSettings {
    /// The file.
    pub path: PathBuf,
    /// The same for messages.
    pub shown: String,
    /// Seals it.
    pub key: Arc<SnapshotKey>,
    /// How long a key is used after the key store was last known to have it.
    pub max_age: Duration,
}

use SnapshotSettings as Settings;

impl Settings {
    fn is(&self, other: &Self) -> bool {
        self.path == other.path && self.key.is(&other.key) && self.max_age == other.max_age
    }
}

/// What is known of the snapshot, for people.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SnapshotStatus {
    /// How many keys it has.
    pub keys: usize,
    /// When it was written; `None` if there is none.
    pub written: Option<Timestamp>,
    /// Whether its keys are used now, because the key store cannot be reached.
    pub is_used: bool,
    /// Why it is not used, or could not be written; `None` if all is well.
    pub fault: Option<String>,
}

/// A key of the snapshot while the key store is away.
struct Kept {
    entry: Arc<Entry>,
    /// The end of its time on both clocks: one of them may be set, the other one stands while the
    /// machine sleeps.
    until: Instant,
    until_date: i64,
}

/// The snapshot of a cache, if it is on.
#[derive(Default)]
pub(super) struct Snapshot {
    is_on: AtomicBool,
    /// Whether a read of the key store found that it cannot be reached, and a key was used instead.
    is_used: AtomicBool,
    disk: Arc<tokio::sync::Mutex<Disk>>,
    /// The keys in the file.
    names: RwLock<Names>,
    /// Those of them that the key store no longer has.
    gone: Mutex<HashSet<KeyName>>,
    /// The keys of the file while the key store is away.
    kept: RwLock<Option<HashMap<KeyName, Kept>>>,
    shown: Mutex<Shown>,
}

#[derive(Default)]
struct Shown {
    written: Option<Timestamp>,
    fault: Option<String>,
}

impl Snapshot {
    fn is_on(&self) -> bool {
        self.is_on.load(Ordering::Acquire)
    }

    /// The key store has answered that it does not have a key, or has none that can be used.
    pub(super) fn is_gone(&self, name: &KeyName) {
        if self.is_on() {
            self.drop_kept(name);
            if self.names.read().contains_key(name) {
                self.gone.lock().insert(*name);
            }
        }
    }

    /// A key has come from the key store, or was created. If it is the one of the file, that may still
    /// be needed: of two key stores the second one has given it, and may go away as the first one has.
    pub(super) fn has_come(&self, name: &KeyName, record: &Record) {
        if self.is_on() {
            if self.names.read().get(name) != Some(&fingerprint(record)) {
                self.drop_kept(name);
            }
            self.gone.lock().remove(name);
        }
    }

    fn drop_kept(&self, name: &KeyName) {
        if let Some(kept) = &mut *self.kept.write() {
            kept.remove(name);
        }
    }

    fn wrote(&self, names: Names, date: Timestamp) {
        self.shown.lock().written = (!names.is_empty()).then_some(date);
        *self.names.write() = names;
    }
}

impl<S: KeyStore + 'static, O: Observer, C: Clock> Cache<S, O, C> {
    /// What is known of the snapshot; `None` if it is off.
    pub(crate) fn snapshot_status(&self) -> Option<SnapshotStatus> {
        self.snapshot.is_on().then(|| {
            let shown = self.snapshot.shown.lock();
            SnapshotStatus {
                keys: self.snapshot.names.read().len(),
                written: shown.written,
                is_used: self.snapshot.is_used.load(Ordering::Relaxed),
                fault: shown.fault.clone(),
            }
        })
    }

    /// Keeps a snapshot from now on, or none. One that is no longer kept is removed from the disk. An
    /// earlier one is opened: its keys are those of a key store at `place`, and a server with this
    /// identity has written it.
    pub(crate) async fn configure_snapshot(
        self: &Arc<Self>,
        settings: Option<Settings>,
        place: String,
        identity: Identity,
    ) {
        let is_on = settings.is_some();
        if is_on {
            // From now on whoever deletes a key waits for the disk.
            self.snapshot.is_on.store(true, Ordering::Release);
        }
        self.with_disk(move |cache, disk| {
            let is_same = match (&disk.settings, &settings) {
                (Some(old), Some(new)) => old.is(new) && disk.place == place,
                (None, None) => true,
                _ => false,
            };
            if is_same {
                return;
            }
            if let Some(old) = &disk.settings
                && settings.as_ref().is_none_or(|new| new.path != old.path)
            {
                let shown = old.shown.clone();
                match disk.remove() {
                    Ok(()) => tracing::info!(
                        "snapshot: '{shown}' was removed: the configuration does not name it any more, \
                         or names another key store"
                    ),
                    Err(error) => tracing::warn!(
                        "snapshot: '{shown}' cannot be removed: {error}; remove it: it holds keys"
                    ),
                }
            }
            *disk = Disk::new(settings, place);
            cache.forget_snapshot();
            cache.snapshot.is_on.store(is_on, Ordering::Release);
            cache.open_snapshot(disk, identity);
        })
        .await;
    }

    /// Does what is due, once a second: writes a snapshot, or has its keys ready while the key store
    /// cannot be reached.
    pub(crate) async fn snapshot_round(self: &Arc<Self>, identity: Identity) {
        if !self.snapshot.is_on() {
            return;
        }
        match self.records.store().state() {
            StoreState::Reachable { .. } => {
                if self.snapshot.is_used.swap(false, Ordering::Relaxed) {
                    tracing::info!(
                        "snapshot: the key store is back; no key of the snapshot is used"
                    );
                }
                if self.snapshot.kept.read().is_some() {
                    *self.snapshot.kept.write() = None;
                }
                let disk = Arc::clone(&self.snapshot.disk).lock_owned().await;
                if self.is_snapshot_due(&disk, identity) {
                    self.with(disk, move |cache, disk| {
                        let _ = cache.write_snapshot(disk, identity, None);
                    })
                    .await;
                }
            }
            StoreState::Unreachable if self.snapshot.kept.read().is_none() => {
                self.with_disk(move |cache, disk| {
                    if matches!(disk.state, State::Known(_)) {
                        cache.open_snapshot(disk, identity);
                    }
                })
                .await;
            }
            StoreState::Unreachable | StoreState::Unavailable => {}
        }
    }

    /// Writes the last snapshot of this process.
    pub(crate) async fn save_snapshot(self: &Arc<Self>, identity: Identity) {
        if self.snapshot.is_on() {
            self.with_disk(move |cache, disk| {
                let _ = cache.write_snapshot(disk, identity, None);
            })
            .await;
        }
    }

    /// Leaves the snapshot to another process, or takes it back from one that did not serve. All changes
    /// of keys have to ask that one already.
    pub(crate) async fn release_snapshot(self: &Arc<Self>, is_released: bool) {
        if self.snapshot.is_on() {
            self.with_disk(move |_, disk| disk.is_released = is_released).await;
        }
    }

    /// Works with the disk, in a thread for that, one after the other; `None` if that panics.
    async fn with_disk<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self, &mut Disk) -> T + Send + 'static,
    ) -> Option<T> {
        let disk = Arc::clone(&self.snapshot.disk).lock_owned().await;
        self.with(disk, work).await
    }

    async fn with<T: Send + 'static>(
        self: &Arc<Self>,
        mut disk: OwnedMutexGuard<Disk>,
        work: impl FnOnce(&Self, &mut Disk) -> T + Send + 'static,
    ) -> Option<T> {
        let cache = Arc::clone(self);
        let working = tokio::task::spawn_blocking(move || work(&cache, &mut disk));
        working.await.ok()
    }

    fn moment(&self) -> Moment {
        Moment { now: self.clock.now(), date: self.clock.date() }
    }

    fn forget_snapshot(&self) {
        self.snapshot.names.write().clear();
        self.snapshot.gone.lock().clear();
        *self.snapshot.kept.write() = None;
        self.snapshot.is_used.store(false, Ordering::Relaxed);
        *self.snapshot.shown.lock() = Shown::default();
    }
}

fn count(keys: usize) -> String {
    format!("{keys} key{}", if keys == 1 { "" } else { "s" })
}
