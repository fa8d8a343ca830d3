use std::fs;
use std::path::Path;

use kes_keystore::Error;
use kes_keystore::wrap::Order;
use tempfile::TempDir;

use super::super::refresh::Refresher;
use super::super::{Expiry, ReadResult};
use super::disk::fingerprint;
use super::*;
use crate::testing::{FakeStore, ManualClock, Notes, name, record, seconds, unreachable};

const PLACE: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// Servers, one after the other, of one key store, with a snapshot of up to an hour in one folder.
struct World {
    folder: TempDir,
    store: FakeStore,
    clock: ManualClock,
    identity: Identity,
    key: u8,
    place: &'static str,
    cache: Arc<Cache<FakeStore, Notes, ManualClock>>,
}

impl World {
    /// With the key `k` in the store.
    async fn new() -> Self {
        let (store, clock) = (FakeStore::with(&name("k")).await, ManualClock::new());
        let cache = cache(&store, &clock);
        let identity = Identity::of_public_key(b"server");
        let folder = tempfile::tempdir().unwrap();
        let world = Self { folder, store, clock, identity, key: 1, place: PLACE, cache };
        world.configure(true).await;
        world
    }

    /// The same, of which `k` was read and is in the snapshot.
    async fn with_snapshot() -> Self {
        let world = Self::new().await;
        world.read("k").await.unwrap();
        world.round().await;
        assert_eq!(world.status().keys, 1);
        world
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("snapshot")
    }

    fn settings(&self) -> Settings {
        Settings {
            path: self.path(),
            shown: "snapshot".to_owned(),
            key: Arc::new(SnapshotKey::of_bytes(&[self.key; 32]).unwrap()),
            max_age: seconds(3600),
        }
    }

    async fn configure(&self, is_on: bool) {
        let settings = is_on.then(|| self.settings());
        self.cache.configure_snapshot(settings, self.place.to_owned(), self.identity).await;
    }

    /// Another server begins. What the one before has in memory is lost.
    async fn restart(&mut self) {
        self.cache = cache(&self.store, &self.clock);
        self.configure(true).await;
    }

    fn away(&self) {
        self.store.fail(Some(unreachable()));
        self.store.set_state(StoreState::Unreachable);
    }

    fn back(&self) {
        self.store.fail(None);
        self.store.set_state(StoreState::Reachable { latency: Duration::ZERO });
    }

    async fn read(&self, key: &str) -> ReadResult {
        let key = name(key);
        match self.cache.kept(&key) {
            Some(entry) => Ok(entry),
            None => self.cache.read(key, None, None).await,
        }
    }

    async fn round(&self) {
        self.cache.snapshot_round(self.identity).await;
    }

    /// Time passes, and what is due is done.
    async fn after(&self, time: u64) {
        self.clock.advance(seconds(time));
        Refresher::new().round(&self.cache);
        self.round().await;
    }

    fn status(&self) -> SnapshotStatus {
        self.cache.snapshot_status().unwrap()
    }

    fn notes(&self) -> &Notes {
        &self.cache.observer
    }

    fn fault(&self) -> String {
        self.status().fault.unwrap_or_default()
    }

    /// The names in the file, if the key opens it.
    fn names(&self) -> Vec<String> {
        names_in(&self.path(), self.key)
    }
}

fn cache(store: &FakeStore, clock: &ManualClock) -> Arc<Cache<FakeStore, Notes, ManualClock>> {
    let expiry = Expiry { any: seconds(300), unused: seconds(30), offline: Duration::ZERO };
    let notes = Arc::new(Notes::default());
    Cache::new(store.clone(), Order::default(), expiry, notes, clock.clone())
}

fn names_in(path: &Path, key: u8) -> Vec<String> {
    let Ok(Some((bytes, _))) = file::read(path) else { return Vec::new() };
    let plaintext = SnapshotKey::of_bytes(&[key; 32]).unwrap().open(bytes).unwrap();
    let (_, entries) = contents::read(&plaintext).unwrap();
    let mut names: Vec<_> = entries.iter().map(|entry| entry.name.to_string()).collect();
    names.sort();
    names
}

fn count_of(count: &std::sync::atomic::AtomicUsize) -> usize {
    count.load(Ordering::Relaxed)
}

#[tokio::test]
async fn a_key_that_was_in_use_survives_a_restart_while_the_key_store_is_away() {
    let mut world = World::with_snapshot().await;
    let before = fingerprint(world.read("k").await.unwrap().record());
    world.away();
    world.restart().await;
    for _ in 0..3 {
        let entry = world.read("k").await.ok().unwrap();
        assert_eq!(fingerprint(entry.record()), before);
    }
    assert!(world.read("other").await.is_err());
    assert!(world.status().is_used);
    assert_eq!(world.cache.len(), 0, "it is not kept as one of the key store");
    assert_eq!(count_of(&world.notes().snapshot_hits), 3);
    // Once the key store is known to be away, it is not asked.
    let asked = world.store.reads();
    world.read("k").await.ok().unwrap();
    assert_eq!(world.store.reads(), asked);
}

#[tokio::test]
async fn the_key_store_wins_as_soon_as_it_answers() {
    let mut world = World::with_snapshot().await;
    world.away();
    world.restart().await;
    let old = fingerprint(world.read("k").await.unwrap().record());
    world.store.take(&name("k")).await;
    world.back();
    assert!(matches!(world.read("k").await, Err(Error::NotFound { .. })));
    assert!(!world.names().is_empty());
    world.after(10).await;
    assert!(world.names().is_empty() && !world.path().exists());
    assert!(!world.status().is_used);

    // Another key of this name.
    world.store.put(&name("k"), &record()).await;
    world.clock.advance(seconds(10));
    let new = fingerprint(world.read("k").await.unwrap().record());
    assert_ne!(old, new);
    world.after(10).await;
    world.away();
    world.restart().await;
    assert_eq!(fingerprint(world.read("k").await.unwrap().record()), new);
}

#[tokio::test]
async fn a_key_store_that_answers_with_a_refusal_is_not_stood_in_for() {
    let mut world = World::with_snapshot().await;
    world.away();
    world.restart().await;
    world.store.fail(Some(Error::Unavailable { reason: "permission denied".to_owned() }));
    assert!(matches!(world.read("k").await, Err(Error::Unavailable { .. })));
    // Nor is it if it only failed once, and is known to be there.
    world.back();
    world.round().await;
    world.store.fail(Some(unreachable()));
    assert!(matches!(world.read("k").await, Err(Error::Unreachable { .. })));
    assert_eq!(count_of(&world.notes().snapshot_hits), 0);
}

#[tokio::test]
async fn an_outage_without_a_restart_is_no_worse_than_one_with_it() {
    let world = World::with_snapshot().await;
    world.after(0).await;
    world.after(31).await;
    assert_eq!(world.cache.len(), 0, "it was not used");
    assert_eq!(world.names(), ["k"], "it was in use less than an hour ago");
    world.away();
    assert!(world.read("k").await.is_err());
    world.round().await;
    assert!(world.read("k").await.is_ok());
}

/// Of two key stores the first one is away, and the second one gives the key before it is away too.
#[tokio::test]
async fn a_key_that_came_during_an_outage_can_still_be_used_later_in_it() {
    let mut world = World::with_snapshot().await;
    world.away();
    world.restart().await;
    world.store.fail(None);
    let came = fingerprint(world.read("k").await.unwrap().record());
    world.away();
    world.after(0).await;
    world.after(31).await;
    assert_eq!(world.cache.len(), 0, "it was not used");
    assert_eq!(fingerprint(world.read("k").await.ok().unwrap().record()), came);
    // If another key came, the one of the file is not used any more.
    world.restart().await;
    world.store.fail(None);
    world.store.take(&name("k")).await;
    world.store.put(&name("k"), &record()).await;
    assert_ne!(fingerprint(world.read("k").await.unwrap().record()), came);
    world.away();
    world.after(0).await;
    world.after(31).await;
    assert!(world.read("k").await.is_err());
}

#[tokio::test]
async fn a_key_is_used_for_max_age_after_the_key_store_was_known_to_have_it() {
    let mut world = World::with_snapshot().await;
    world.away();
    world.clock.advance(seconds(1800));
    world.restart().await;
    world.read("k").await.ok().unwrap();
    // Neither the restart nor the use makes it younger, and a last snapshot does not either.
    world.cache.save_snapshot(world.identity).await;
    assert_eq!(world.names(), ["k"]);
    world.clock.advance(seconds(1799));
    world.read("k").await.ok().unwrap();
    world.clock.advance(seconds(2));
    assert!(world.read("k").await.is_err());
    world.restart().await;
    assert!(world.read("k").await.is_err());
    world.cache.save_snapshot(world.identity).await;
    assert!(!world.path().exists(), "no key is young enough");
}

#[tokio::test]
async fn an_old_snapshot_and_one_of_the_future_are_refused() {
    let mut world = World::with_snapshot().await;
    world.away();
    world.clock.advance(seconds(3600));
    world.restart().await;
    assert!(world.fault().contains("longer ago than cache.snapshot.max_age"), "{}", world.fault());
    assert!(world.read("k").await.is_err());

    // The clock is set back by less than a minute, and by more.
    for (passed, is_refused) in [(0, true), (180, false)] {
        let mut world = World::with_snapshot().await;
        world.after(230).await;
        world.away();
        world.clock = ManualClock::new();
        world.clock.advance(seconds(passed));
        world.restart().await;
        let fault = world.fault();
        assert_eq!(fault.contains("which has not come yet"), is_refused, "{passed}: {fault}");
        assert_eq!(count_of(&world.notes().snapshots_refused), usize::from(is_refused));
    }
}

#[tokio::test]
async fn what_is_another_servers_or_of_another_key_or_place_is_refused() {
    type Change = fn(&mut World);
    let changes: [(Change, &str); 3] = [
        (|world| world.key = 2, "it is sealed with another key"),
        (
            |world| world.identity = Identity::of_public_key(b"another"),
            "it is that of a server with another TLS private key",
        ),
        (
            |world| {
                world.place = "f123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
            },
            "it has the keys of another key store",
        ),
    ];
    for (change, told) in changes {
        let mut world = World::with_snapshot().await;
        world.away();
        change(&mut world);
        world.restart().await;
        assert!(world.fault().contains(told), "{told}: {}", world.fault());
        assert!(world.read("k").await.is_err(), "{told}");
        // The next one replaces it.
        world.back();
        world.read("k").await.unwrap();
        world.round().await;
        assert_eq!((world.names(), world.status().fault), (vec!["k".to_owned()], None), "{told}");
    }
}

/// The monotonic clock stands meanwhile.
#[tokio::test]
async fn a_key_grows_older_while_the_machine_sleeps() {
    // In memory, before a snapshot is written with it.
    let mut world = World::with_snapshot().await;
    world.clock.sleep(seconds(3500));
    world.store.put(&name("l"), &record()).await;
    world.read("l").await.unwrap();
    world.clock.advance(seconds(10));
    world.round().await;
    assert_eq!(world.names(), ["k", "l"]);
    world.away();
    world.restart().await;
    world.read("k").await.unwrap();
    world.clock.advance(seconds(92));
    assert!(world.read("k").await.is_err(), "it was read 3602 s ago");
    world.read("l").await.unwrap();

    // In the file, and while it is used.
    world.clock.sleep(seconds(3400));
    world.read("l").await.unwrap();
    world.clock.sleep(seconds(100));
    assert!(world.read("l").await.is_err());

    // Too old for the next one.
    let world = World::with_snapshot().await;
    world.clock.sleep(seconds(3602));
    world.clock.advance(seconds(10));
    world.cache.save_snapshot(world.identity).await;
    assert!(world.names().is_empty());
}

#[tokio::test]
async fn a_damaged_snapshot_is_refused_wherever_it_is_changed_or_cut() {
    let mut world = World::with_snapshot().await;
    world.away();
    let whole = fs::read(world.path()).unwrap();
    for at in (0..whole.len()).step_by(7) {
        let mut changed = whole.clone();
        changed[at] ^= 1;
        for bytes in [&changed[..], &whole[..at]] {
            fs::write(world.path(), bytes).unwrap();
            world.restart().await;
            assert!(world.fault().starts_with("not used: it is "), "{at}: {}", world.fault());
            assert!(world.read("k").await.is_err());
        }
    }
    // In place, with the same contents: it is the file that was written.
    fs::write(world.path(), &whole).unwrap();
    world.restart().await;
    assert_eq!(world.status().fault, None);
    assert!(world.read("k").await.is_ok());
}

#[tokio::test]
async fn an_older_snapshot_that_is_put_back_is_refused() {
    let mut world = World::with_snapshot().await;
    let kept = world.folder.path().join("kept");
    fs::copy(world.path(), &kept).unwrap();
    world.cache.purge(&name("k")).await.unwrap();
    fs::copy(&kept, world.path()).unwrap();
    world.away();
    world.restart().await;
    assert!(world.fault().contains("it is a copy"), "{}", world.fault());
    assert!(world.read("k").await.is_err());

    // Over the contents of the newer one.
    let mut world = World::with_snapshot().await;
    let old = fs::read(world.path()).unwrap();
    world.after(3600).await;
    world.read("k").await.unwrap();
    world.after(60).await;
    fs::write(world.path(), old).unwrap();
    world.away();
    world.restart().await;
    assert!(world.fault().starts_with("not used: it "), "{}", world.fault());

    // While the server runs, one that it has not written is no part of what it writes next.
    let world = World::with_snapshot().await;
    let kept = world.folder.path().join("kept");
    fs::hard_link(world.path(), &kept).unwrap();
    world.store.put(&name("l"), &record()).await;
    world.read("l").await.unwrap();
    world.cache.purge(&name("k")).await.unwrap();
    world.after(0).await;
    world.after(31).await;
    fs::rename(&kept, world.path()).unwrap();
    world.cache.save_snapshot(world.identity).await;
    assert!(world.names().is_empty(), "{:?}", world.names());
    assert_eq!(count_of(&world.notes().snapshots_refused), 1);
}

#[tokio::test]
async fn a_deleted_key_is_gone_from_the_file_before_the_key_store_is_asked() {
    let world = World::with_snapshot().await;
    world.store.put(&name("l"), &record()).await;
    world.read("l").await.unwrap();
    world.after(10).await;
    assert_eq!(world.names(), ["k", "l"]);
    let written = count_of(&world.notes().snapshots_written);

    let key = name("k");
    let turn = world.cache.order().turn(&key, kes_keystore::wrap::Change::Delete).await.unwrap();
    world.cache.purge(&key).await.unwrap();
    assert_eq!(world.names(), ["l"]);
    // Until the delete has ended, nothing puts it back.
    world.cache.save_snapshot(world.identity).await;
    assert_eq!(world.names(), ["l"]);
    drop(turn);
    // One that is not in the file costs nothing.
    let before = fs::metadata(world.path()).unwrap();
    world.cache.purge(&name("k")).await.unwrap();
    world.cache.purge(&name("none")).await.unwrap();
    let after = fs::metadata(world.path()).unwrap();
    assert_eq!(before.modified().unwrap(), after.modified().unwrap());
    assert_eq!(count_of(&world.notes().snapshots_written), written + 2);
}

#[tokio::test]
async fn a_file_that_cannot_be_written_is_removed_for_a_delete_and_else_the_delete_is_refused() {
    let world = World::with_snapshot().await;
    world.store.put(&name("l"), &record()).await;
    world.read("l").await.unwrap();
    world.after(10).await;
    // A folder in the place of the file that is to become the snapshot.
    fs::create_dir(world.folder.path().join(".snapshot.new")).unwrap();
    world.cache.purge(&name("k")).await.unwrap();
    assert!(!world.path().exists());
    assert_eq!(count_of(&world.notes().snapshots_failed), 1);
    assert!(world.fault().starts_with("cannot be written: "), "{}", world.fault());

    let world = World::with_snapshot().await;
    let away = world.folder.path().with_extension("away");
    fs::rename(world.folder.path(), &away).unwrap();
    let refused = world.cache.purge(&name("k")).await.unwrap_err().to_string();
    assert!(refused.contains("key 'k' is not deleted: the snapshot 'snapshot' may"), "{refused}");
    fs::rename(&away, world.folder.path()).unwrap();
    world.cache.purge(&name("k")).await.unwrap();
    assert!(!world.path().exists());
}

#[tokio::test]
async fn a_delete_removes_a_file_that_is_not_understood() {
    let mut world = World::with_snapshot().await;
    world.key = 2;
    world.restart().await;
    assert!(world.path().exists());
    world.cache.purge(&name("k")).await.unwrap();
    assert!(!world.path().exists());
}

#[tokio::test]
async fn it_is_written_seldom() {
    let world = World::with_snapshot().await;
    let written = || count_of(&world.notes().snapshots_written);
    assert_eq!(written(), 1);
    for _ in 0..20 {
        world.after(1).await;
        world.read("k").await.unwrap();
    }
    assert_eq!(written(), 1, "nothing has changed");
    world.store.put(&name("l"), &record()).await;
    world.read("l").await.unwrap();
    world.round().await;
    assert_eq!((written(), world.names().len()), (2, 2));
    world.store.put(&name("m"), &record()).await;
    world.read("m").await.unwrap();
    world.after(9).await;
    assert_eq!(written(), 2, "it was written 9 s ago");
    world.after(1).await;
    assert_eq!((written(), world.names().len()), (3, 3));
    world.after(224).await;
    assert_eq!(written(), 3);
    world.after(1).await;
    assert_eq!(written(), 4, "a sixteenth of an hour has passed");
    world.away();
    world.after(3000).await;
    assert_eq!(written(), 4, "nothing new comes from a key store that is away");
}

#[tokio::test]
async fn what_is_no_longer_configured_is_removed() {
    let mut world = World::with_snapshot().await;
    world.configure(false).await;
    assert!(!world.path().exists() && world.cache.snapshot_status().is_none());
    world.configure(true).await;
    world.round().await;
    assert_eq!(world.names(), ["k"]);
    let old = world.path();
    let other = tempfile::tempdir().unwrap();
    let first = std::mem::replace(&mut world.folder, other);
    world.configure(true).await;
    assert!(!old.exists());
    world.round().await;
    assert_eq!(world.names(), ["k"]);
    drop(first);
    // The same once more changes nothing.
    let written = world.status();
    world.configure(true).await;
    assert_eq!(world.status(), written);
}

#[tokio::test]
async fn after_a_hand_over_the_other_process_writes() {
    let world = World::with_snapshot().await;
    world.cache.release_snapshot(true).await;
    world.store.put(&name("l"), &record()).await;
    world.read("l").await.unwrap();
    world.after(10).await;
    world.cache.save_snapshot(world.identity).await;
    world.cache.purge(&name("k")).await.unwrap();
    assert_eq!(world.names(), ["k"]);
    // It did not serve.
    world.cache.release_snapshot(false).await;
    world.round().await;
    assert_eq!(world.names(), ["k", "l"]);
}

#[tokio::test]
async fn another_certificate_makes_another_snapshot() {
    let mut world = World::with_snapshot().await;
    world.identity = Identity::of_public_key(b"another");
    world.after(10).await;
    world.away();
    world.restart().await;
    assert_eq!(world.status().fault, None);
    assert!(world.read("k").await.is_ok());
}
