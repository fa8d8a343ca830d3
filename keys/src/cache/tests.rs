use kes_keystore::State;
use kes_keystore::memory::MemoryStore;
use tokio::task::JoinHandle;

use super::negative::{THRESHOLD, WINDOW};
use super::refresh::Refresher;
use super::*;
use crate::testing::{
    FakeStore, ManualClock, Notes, eventually, name, record, seconds, settle, unreachable,
};

type FakeCache = Cache<FakeStore, Notes, ManualClock>;

/// A cache whose time is set, and whose rounds of the refresher are run by hand.
struct World {
    store: FakeStore,
    clock: ManualClock,
    cache: Arc<FakeCache>,
    refresher: Refresher,
}

impl World {
    /// With one key, `k`, in the store. The times are in seconds.
    async fn new(any: u64, unused: u64, offline: u64) -> Self {
        let (store, clock) = (FakeStore::with(&name("k")).await, ManualClock::new());
        let expiry = expiry(any, unused, offline);
        let cache = Cache::new(
            store.clone(),
            Order::default(),
            expiry,
            Arc::new(Notes::default()),
            clock.clone(),
        );
        Self { store, clock, cache, refresher: Refresher::new() }
    }

    /// Reads `k` into memory, and lets the refresher see that it was used.
    async fn with_key_in_memory(any: u64, unused: u64, offline: u64) -> Self {
        let mut world = Self::new(any, unused, offline).await;
        world.read().await.unwrap();
        world.after(0).await;
        world
    }

    fn notes(&self) -> &Notes {
        &self.cache.observer
    }

    async fn read(&self) -> ReadResult {
        self.cache.read(name("k"), None, None).await
    }

    /// Starts a read of `k` in a task of its own, and lets it come as far as it can.
    async fn start_read(&self) -> JoinHandle<ReadResult> {
        let cache = Arc::clone(&self.cache);
        let read = tokio::spawn(async move { cache.read(name("k"), None, None).await });
        settle().await;
        read
    }

    /// Uses `k` if it is in memory; tells whether it is.
    fn uses(&self) -> bool {
        self.cache.lookup(&name("k")).is_some()
    }

    /// Whether `k` is in memory. This is no use of it.
    fn has(&self) -> bool {
        self.cache.len() == 1
    }

    /// Runs a round some seconds later, with the refreshes that can end.
    async fn after(&mut self, passed: u64) {
        self.clock.advance(seconds(passed));
        self.refresher.round(&self.cache);
        settle().await;
    }
}

fn expiry(any: u64, unused: u64, offline: u64) -> Expiry {
    Expiry { any: seconds(any), unused: seconds(unused), offline: seconds(offline) }
}

#[tokio::test]
async fn a_key_goes_when_its_time_is_over_even_if_it_is_used_all_the_time() {
    let mut world = World::with_key_in_memory(80, 1000, 0).await;
    // Or a refresh would begin its time anew.
    world.store.fail(Some(unreachable()));
    for _ in 0..79 {
        world.after(1).await;
        assert!(world.uses());
    }
    assert!(world.store.reads() > 1, "it was to be refreshed");
    world.after(1).await;
    assert!(!world.has());
}

#[tokio::test]
async fn an_unused_key_goes_and_a_use_begins_its_time_anew() {
    let mut world = World::with_key_in_memory(1000, 10, 0).await;
    world.after(9).await;
    assert!(world.uses());
    world.after(0).await;
    world.after(9).await;
    assert!(world.has());
    world.after(1).await;
    assert!(!world.has());
    assert_eq!(world.store.reads(), 1);
}

#[tokio::test]
async fn a_key_in_use_is_refreshed_before_its_time_is_over() {
    let mut world = World::with_key_in_memory(80, 1000, 0).await;
    let first = world.cache.lookup(&name("k")).unwrap();
    world.after(69).await;
    assert_eq!(world.store.reads(), 1);
    world.after(1).await;
    assert_eq!(world.store.reads(), 2);
    let second = world.cache.lookup(&name("k")).unwrap();
    assert!(!Arc::ptr_eq(&first, &second));
    // Its age is that of the new read.
    world.after(60).await;
    assert!(world.has());
    assert_eq!(world.cache.oldest(), seconds(60));
}

#[tokio::test]
async fn a_refresh_is_no_use() {
    let mut world = World::with_key_in_memory(8, 20, 0).await;
    for _ in 0..19 {
        world.after(1).await;
        assert!(world.has());
    }
    assert!(world.store.reads() > 2, "it was refreshed");
    world.after(1).await;
    assert!(!world.has());
}

#[tokio::test]
async fn a_use_during_a_refresh_counts() {
    let mut world = World::with_key_in_memory(80, 75, 0).await;
    world.store.hold(true);
    world.after(70).await;
    assert!(world.uses(), "requests have the old key while the new one is read");
    world.store.hold(false);
    settle().await;
    world.after(0).await;
    world.after(74).await;
    assert!(world.has());
}

#[tokio::test]
async fn a_key_that_was_deleted_elsewhere_goes_with_its_refresh() {
    let mut world = World::with_key_in_memory(80, 1000, 0).await;
    world.store.take(&name("k")).await;
    world.after(69).await;
    assert!(world.uses());
    world.after(1).await;
    assert!(!world.has());
}

#[tokio::test]
async fn how_each_refresh_ends_is_told() {
    let mut world = World::with_key_in_memory(80, 1000, 0).await;
    assert_eq!(*world.notes().refreshes.lock(), [], "a read for a request is none");
    world.after(70).await;
    assert!(world.uses());
    world.store.fail(Some(unreachable()));
    world.after(70).await;
    assert!(world.uses());
    world.store.fail(None);
    world.store.take(&name("k")).await;
    world.after(1).await;
    let refreshes = world.notes().refreshes.lock().clone();
    assert_eq!(refreshes, [Refresh::Success, Refresh::Error, Refresh::Missing]);
}

#[tokio::test]
async fn refreshes_leave_room_for_requests() {
    let mut world = World::with_key_in_memory(80, 1000, 0).await;
    for n in 0..20 {
        let name = name(&format!("k{n}"));
        world.store.put(&name, &record()).await;
        world.cache.read(name, None, None).await.unwrap();
    }
    let before = world.store.reads();
    world.store.hold(true);
    world.after(70).await;
    assert_eq!(world.store.reads() - before, 8);
    // A round does not refresh what is being refreshed.
    world.after(1).await;
    assert_eq!(world.store.reads() - before, 8);
    world.store.hold(false);
    settle().await;
    world.after(1).await;
    world.after(1).await;
    assert_eq!(world.store.reads() - before, 21);
}

#[tokio::test]
async fn without_the_key_store_all_keys_stay_for_the_offline_time() {
    let mut world = World::with_key_in_memory(10, 10, 100).await;
    world.store.set_state(State::Unreachable);
    world.after(5).await;
    world.after(99).await;
    assert!(world.has());
    world.after(1).await;
    assert!(!world.has());
}

#[tokio::test]
async fn with_the_key_store_back_the_usual_times_apply() {
    let mut world = World::with_key_in_memory(10, 10, 100).await;
    world.store.set_state(State::Unreachable);
    world.after(5).await;
    world.after(50).await;
    assert!(world.has());
    world.store.set_state(State::Reachable { latency: Duration::ZERO });
    world.after(0).await;
    assert!(!world.has());
    // The next time away has its own beginning.
    world.read().await.unwrap();
    world.store.set_state(State::Unreachable);
    world.after(1).await;
    world.after(99).await;
    assert!(world.has());
}

#[tokio::test]
async fn without_an_offline_time_a_key_store_that_is_away_changes_nothing() {
    let mut world = World::with_key_in_memory(10, 10, 0).await;
    world.store.set_state(State::Unreachable);
    world.after(9).await;
    assert!(world.has());
    world.after(1).await;
    assert!(!world.has());
}

#[tokio::test]
async fn a_key_whose_refresh_hangs_stays_until_it_is_known_why() {
    for (offline, stays) in [(100, true), (0, false)] {
        let mut world = World::with_key_in_memory(80, 1000, offline).await;
        world.store.hold(true);
        world.after(70).await;
        world.after(30).await;
        assert_eq!(world.has(), stays, "offline: {offline}");
        world.store.set_state(State::Unreachable);
        world.after(50).await;
        assert_eq!(world.has(), stays, "offline: {offline}");
    }
}

#[tokio::test]
async fn a_missing_name_is_looked_up_again_by_each_request_until_there_are_too_many() {
    let world = World::new(80, 80, 0).await;
    let read = async || world.cache.read(name("missing"), None, None).await.map(drop);
    let threshold = usize::try_from(THRESHOLD).unwrap();
    for count in 1..=threshold {
        assert!(matches!(read().await, Err(Error::NotFound { .. })));
        assert_eq!(world.store.reads(), count);
    }
    for _ in 0..100 {
        assert!(matches!(read().await, Err(Error::NotFound { .. })));
    }
    assert_eq!(world.store.reads(), threshold);
    assert_eq!(world.notes().negative_hits.load(Ordering::Relaxed), 100);
    assert_eq!(world.cache.missing(), 1);
    // Another server creates the key: it is seen when the window ends.
    world.store.put(&name("missing"), &record()).await;
    assert!(read().await.is_err());
    world.clock.advance(WINDOW);
    assert!(read().await.is_ok());
}

#[tokio::test]
async fn a_key_that_is_created_here_is_no_longer_missing() {
    let world = World::new(80, 80, 0).await;
    for _ in 0..THRESHOLD {
        assert!(world.cache.read(name("missing"), None, None).await.is_err());
    }
    world.store.put(&name("missing"), &record()).await;
    world.cache.insert(name("missing"), record());
    assert!(world.cache.lookup(&name("missing")).is_some());
    // The key expires.
    world.cache.shard(&name("missing")).write().clear();
    assert!(world.cache.read(name("missing"), None, None).await.is_ok());
}

#[tokio::test]
async fn many_callers_cause_one_read() {
    let world = World::new(80, 80, 0).await;
    world.store.hold(true);
    let mut reads = Vec::new();
    for _ in 0..10 {
        reads.push(world.start_read().await);
    }
    world.store.hold(false);
    let mut entries = Vec::new();
    for read in reads {
        entries.push(read.await.unwrap().unwrap());
    }
    assert!(entries.iter().all(|entry| Arc::ptr_eq(entry, &entries[0])));
    assert_eq!(world.store.reads(), 1);
}

#[tokio::test]
async fn a_read_that_fails_fails_for_all_and_is_not_remembered() {
    let world = World::new(80, 80, 0).await;
    world.store.hold(true);
    world.store.fail(Some(unreachable()));
    let reads = [world.start_read().await, world.start_read().await];
    world.store.fail(None);
    world.store.hold(false);
    for read in reads {
        assert!(matches!(read.await.unwrap(), Err(Error::Unreachable { .. })));
    }
    assert_eq!(world.store.reads(), 1);
    assert!(world.read().await.is_ok());
}

#[tokio::test]
async fn a_failed_read_takes_no_key_out_of_memory() {
    let world = World::with_key_in_memory(80, 80, 0).await;
    world.store.fail(Some(unreachable()));
    assert!(world.read().await.is_err());
    assert!(world.uses());
}

#[tokio::test]
async fn a_read_goes_on_when_the_caller_that_started_it_goes_away() {
    let world = World::new(80, 80, 0).await;
    world.store.hold(true);
    let first = world.start_read().await;
    let second = world.start_read().await;
    first.abort();
    assert!(first.await.is_err());
    world.store.hold(false);
    assert!(second.await.unwrap().is_ok());
    assert_eq!(world.store.reads(), 1);

    // Also when nobody waits any more.
    world.cache.forget(&name("k"));
    world.store.hold(true);
    world.start_read().await.abort();
    world.store.hold(false);
    eventually("the key is in memory", || world.uses()).await;
}

#[tokio::test]
async fn a_read_that_panics_fails_for_all_and_the_next_one_works() {
    let world = World::new(80, 80, 0).await;
    world.store.panic(true);
    assert!(matches!(world.read().await, Err(Error::Unavailable { .. })));
    world.store.panic(false);
    assert!(world.read().await.is_ok());
}

#[tokio::test]
async fn a_read_that_began_before_a_delete_does_not_bring_the_key_back() {
    let world = World::new(80, 80, 0).await;
    world.store.hold(true);
    let before = world.start_read().await;
    world.cache.forget(&name("k"));
    // Who comes after the delete does not get the result of that read.
    world.store.take(&name("k")).await;
    let after = world.start_read().await;
    assert_eq!(world.store.reads(), 2);
    world.store.hold(false);
    assert!(before.await.unwrap().is_ok(), "it was there when this caller asked");
    assert!(after.await.unwrap().is_err());
    assert!(!world.uses());
}

#[tokio::test]
async fn a_read_that_began_before_a_create_does_not_replace_the_new_key() {
    let world = World::new(80, 80, 0).await;
    world.store.take(&name("k")).await;
    world.store.hold(true);
    let before = world.start_read().await;
    world.cache.insert(name("k"), record());
    let created = world.cache.lookup(&name("k")).unwrap();
    world.store.hold(false);
    assert!(before.await.unwrap().is_err());
    assert!(Arc::ptr_eq(&created, &world.cache.lookup(&name("k")).unwrap()));
}

#[tokio::test]
async fn another_login_to_the_same_key_store_leaves_the_keys_in_memory() {
    let mut world = World::with_key_in_memory(80, 1000, 0).await;
    world.store.hold(true);
    let before = world.cache.lookup(&name("k")).unwrap();
    let hangs = Arc::clone(&world.cache);
    let hangs = tokio::spawn(async move { hangs.read(name("l"), None, None).await });
    settle().await;

    let other = FakeStore::with(&name("l")).await;
    world.cache.reconfigure(other.clone(), expiry(20, 1000, 0));
    assert!(Arc::ptr_eq(&before, &world.cache.lookup(&name("k")).unwrap()));
    // The answer of the old store is not waited for, and not kept.
    let read = tokio::time::timeout(seconds(20), world.cache.read(name("l"), None, None)).await;
    let read = read.expect("the read of the old store was joined").unwrap();
    world.store.hold(false);
    assert!(hangs.await.unwrap().is_err());
    assert!(Arc::ptr_eq(&read, &world.cache.lookup(&name("l")).unwrap()));
    assert_eq!((world.store.reads(), other.reads()), (2, 1));

    // The new times apply, from when the keys were read.
    other.fail(Some(unreachable()));
    world.after(20).await;
    assert_eq!(world.cache.len(), 0);
}

#[tokio::test]
async fn how_long_the_key_store_has_been_away_is_counted_over_a_reload() {
    let mut world = World::with_key_in_memory(10, 10, 100).await;
    world.store.set_state(State::Unreachable);
    world.after(5).await;
    world.after(60).await;
    let other = FakeStore::new();
    other.set_state(State::Unreachable);
    world.cache.reconfigure(other, expiry(10, 10, 100));
    world.after(39).await;
    assert!(world.has());
    world.after(1).await;
    assert!(!world.has());
}

#[tokio::test]
async fn another_login_is_asked_for_names_that_the_one_before_did_not_have() {
    let world = World::new(80, 80, 0).await;
    for _ in 0..THRESHOLD {
        assert!(world.cache.read(name("l"), None, None).await.is_err());
    }
    let other = FakeStore::with(&name("l")).await;
    world.cache.reconfigure(other, expiry(80, 80, 0));
    assert!(world.cache.read(name("l"), None, None).await.is_ok());
}

#[tokio::test]
async fn a_delete_takes_one_key_out_of_memory_and_its_read_out_of_flight() {
    let world = World::with_key_in_memory(80, 80, 0).await;
    world.cache.insert(name("l"), record());
    world.cache.forget(&name("k"));
    assert!(!world.uses());
    assert!(world.cache.lookup(&name("l")).is_some());

    world.store.hold(true);
    let before = world.start_read().await;
    assert_eq!(world.cache.reads.names(), [name("k")].into());
    world.cache.forget(&name("k"));
    assert!(world.cache.reads.names().is_empty());
    world.store.hold(false);
    before.await.unwrap().unwrap();
    assert!(!world.uses());
}

#[tokio::test]
async fn the_oldest_key_is_the_one_that_was_read_first() {
    let mut world = World::with_key_in_memory(1000, 1000, 0).await;
    world.after(10).await;
    world.cache.insert(name("l"), record());
    world.after(5).await;
    assert_eq!((world.cache.oldest(), world.cache.len()), (seconds(15), 2));
    world.cache.forget(&name("k"));
    assert_eq!((world.cache.oldest(), world.cache.len()), (seconds(5), 1));
    world.cache.forget(&name("l"));
    assert_eq!((world.cache.oldest(), world.cache.len()), (seconds(0), 0));
}

#[tokio::test]
async fn a_round_frees_the_memory_of_names_that_nobody_asks_for_any_more() {
    let mut world = World::new(80, 80, 0).await;
    assert!(world.cache.read(name("missing"), None, None).await.is_err());
    world.after(0).await;
    assert_eq!(world.cache.negative.len(), 1);
    world.after(1).await;
    assert_eq!(world.cache.negative.len(), 0);
}

#[tokio::test]
async fn requests_for_different_keys_seldom_wait_for_one_lock() {
    let world = World::new(80, 80, 0).await;
    for n in 0..1000 {
        world.cache.insert(name(&format!("k{n}")), record());
    }
    // That one of 32 shards has none of 1,000 keys happens once in 10^12 runs.
    assert!(world.cache.shards.iter().all(|shard| !shard.read().is_empty()));
}

/// The task that runs the rounds, in the time of a runtime that is paused: it passes when nothing
/// else is to do.
mod task {
    use super::*;
    use crate::testing::PausedClock;

    fn cache(any: u64, unused: u64) -> Arc<Cache<MemoryStore, Notes, PausedClock>> {
        let expiry = Expiry {
            any: Duration::from_millis(any),
            unused: Duration::from_millis(unused),
            offline: Duration::ZERO,
        };
        Cache::new(
            MemoryStore::new(),
            Order::default(),
            expiry,
            Arc::new(Notes::default()),
            PausedClock,
        )
    }

    async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
        let start = PausedClock.now();
        while !condition() {
            assert!(PausedClock.now() - start < seconds(20), "{what}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_in_use_is_read_anew_before_it_goes() {
        let cache = cache(400, 60_000);
        cache.records().create(&name("k"), &record()).await.unwrap();
        let first = cache.read(name("k"), None, None).await.unwrap();
        refresh::start(&cache);
        // A request never misses while its key takes the place of the one before.
        let newer = || {
            let entry = cache.lookup(&name("k")).expect("the key stays in memory");
            !Arc::ptr_eq(&entry, &first)
        };
        eventually("the key is read anew", newer).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_that_was_deleted_elsewhere_goes_when_it_is_read_anew() {
        let cache = cache(400, 60_000);
        cache.insert(name("k"), record()); // is not in the store
        refresh::start(&cache);
        eventually("the key goes", || cache.lookup(&name("k")).is_none()).await;
    }

    #[tokio::test(start_paused = true)]
    async fn an_unused_key_goes_however_often_it_was_read_anew() {
        let cache = cache(100, 500);
        cache.records().create(&name("k"), &record()).await.unwrap();
        cache.read(name("k"), None, None).await.unwrap();
        refresh::start(&cache);
        eventually("the key goes", || cache.len() == 0).await;
    }

    #[tokio::test(start_paused = true)]
    async fn shorter_times_apply_at_once() {
        let cache = cache(3_600_000, 3_600_000);
        cache.records().create(&name("k"), &record()).await.unwrap();
        cache.read(name("k"), None, None).await.unwrap();
        refresh::start(&cache);
        settle().await;
        let soon = Duration::from_millis(160);
        let short = Expiry { any: soon, unused: soon, offline: Duration::ZERO };
        cache.reconfigure(MemoryStore::new(), short);
        let start = PausedClock.now();
        eventually("the key goes", || cache.len() == 0).await;
        // With the interval of the old times it would have taken 5 s.
        assert!(PausedClock.now() - start < seconds(1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_cache_that_is_dropped_ends_its_task() {
        let cache = cache(400, 400);
        refresh::start(&cache);
        settle().await;
        let weak = Arc::downgrade(&cache);
        drop(cache);
        settle().await;
        assert_eq!(weak.strong_count(), 0);
        let tasks = tokio::runtime::Handle::current().metrics().num_alive_tasks();
        assert_eq!(tasks, 0);
    }
}
