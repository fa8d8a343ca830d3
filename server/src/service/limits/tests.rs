use futures_util::FutureExt as _;
use kes_policy::{Limit, LimitSettings, Policy};
use proptest::prelude::*;

use super::*;

fn number(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).unwrap()
}

fn who(byte: u8) -> Identity {
    Identity::of_public_key(&[byte])
}

/// The limits of one identity, and the count of all that wait.
struct World {
    limiter: Limiter,
    waiting: AtomicUsize,
}

impl World {
    fn new(per_second: u32, at_once: u32, store_calls: u32) -> Self {
        let limits = Limits {
            requests_per_second: NonZeroU32::new(per_second),
            requests_at_once: NonZeroU32::new(at_once),
            store_calls_per_second: NonZeroU32::new(store_calls),
        };
        Self { limiter: Limiter::new(&limits, None), waiting: AtomicUsize::new(0) }
    }

    fn patience(&self) -> Patience<'_> {
        Patience { end: Instant::now() + WAIT, waiting: &self.waiting }
    }

    async fn enter(&self) -> Result<Option<OwnedSemaphorePermit>, Limited> {
        self.limiter.enter(self.patience()).await
    }

    /// How many requests get through at once; 10,000 if there is no limit.
    fn at_once(&self) -> usize {
        std::iter::from_fn(|| self.enter().now_or_never()?.ok()).take(10_000).count()
    }

    fn assert_nobody_waits(&self) {
        assert_eq!(self.waiting.load(Ordering::Relaxed), 0);
        let rates = [&self.limiter.requests, &self.limiter.store_calls];
        for rate in rates.into_iter().flatten() {
            assert_eq!(rate.waiting.load(Ordering::Relaxed), 0);
        }
    }
}

async fn sleep(milliseconds: u64) {
    tokio::time::sleep(Duration::from_millis(milliseconds)).await;
}

#[tokio::test(start_paused = true)]
async fn a_second_has_so_many_requests_and_not_more() {
    let world = World::new(50, 0, 0);
    assert_eq!(world.at_once(), 50);
    sleep(1_001).await;
    assert_eq!(world.at_once(), 50);
    // What was not used in a long pause is not saved up.
    sleep(60_000).await;
    assert_eq!(world.at_once(), 50);
}

#[tokio::test(start_paused = true)]
async fn a_burst_waits_in_the_order_of_arrival() {
    let world = World::new(10, 0, 0);
    assert_eq!(world.at_once(), 10);
    let start = Instant::now();
    let order = parking_lot::Mutex::new(Vec::new());
    let request = |number: usize| {
        let (world, order) = (&world, &order);
        async move {
            world.enter().await.unwrap();
            order.lock().push(number);
            assert!(start.elapsed() >= Duration::from_millis(100 * number as u64));
        }
    };
    futures_util::future::join_all((0..9).map(request)).await;
    assert_eq!(*order.lock(), (0..9).collect::<Vec<_>>());
    assert!(start.elapsed() <= WAIT);
    world.assert_nobody_waits();
}

#[tokio::test(start_paused = true)]
async fn only_a_few_wait_and_the_others_are_told_when_to_come_again() {
    let world = World::new(3, 0, 0);
    assert_eq!(world.at_once(), 3);
    let start = Instant::now();
    let results = futures_util::future::join_all((0..10).map(|_| async {
        let result = world.enter().await;
        (result.err(), start.elapsed())
    }))
    .await;
    let (waited, refused): (Vec<_>, Vec<_>) =
        results.into_iter().partition(|(error, _)| error.is_none());
    assert_eq!((waited.len(), refused.len()), (2, 8));
    let kind = LimitKind::RequestsPerSecond;
    let limited = Limited { kind, retry_after: Duration::from_secs(1) };
    assert!(refused.iter().all(|told| *told == (Some(limited), Duration::ZERO)), "{refused:?}");
    world.assert_nobody_waits();
}

#[tokio::test(start_paused = true)]
async fn who_leaves_the_queue_gives_its_turn_to_the_next() {
    let world = World::new(10, 0, 0);
    assert_eq!(world.at_once(), 10);
    let start = Instant::now();
    let mut first = Box::pin(world.enter());
    assert!((&mut first).now_or_never().is_none());
    let second = world.enter();
    drop(first);
    second.await.unwrap();
    assert!(start.elapsed() <= Duration::from_millis(110), "{:?}", start.elapsed());
    world.assert_nobody_waits();
}

#[tokio::test(start_paused = true)]
async fn requests_at_once_wait_for_each_other_and_not_for_long() {
    let world = World::new(0, 2, 0);
    let (first, _second) = (world.enter().await.unwrap(), world.enter().await.unwrap());
    let start = Instant::now();
    let free = async {
        sleep(500).await;
        drop(first);
    };
    let (third, ()) = tokio::join!(world.enter(), free);
    assert!(third.is_ok());
    assert_eq!(start.elapsed(), Duration::from_millis(500));
    let refused = world.enter().await.unwrap_err();
    let retry_after = Duration::from_secs(1);
    assert_eq!(refused, Limited { kind: LimitKind::RequestsAtOnce, retry_after });
    assert_eq!(start.elapsed(), Duration::from_millis(500) + WAIT);
    world.assert_nobody_waits();
}

#[test]
fn a_request_keeps_its_places_until_it_ends() {
    let places = Arc::new(Semaphore::new(3));
    let place = || Arc::clone(&places).try_acquire_owned().ok();
    assert!(Turn::of([None, None]).is_none());
    let turns = [Turn::of([place(), None]), Turn::of([place(), place()])];
    assert!(place().is_none());
    drop(turns);
    assert_eq!(places.available_permits(), 3);
}

#[tokio::test(start_paused = true)]
async fn the_queue_of_requests_at_once_is_short() {
    let world = World::new(0, 1, 0);
    let _turn = world.enter().await.unwrap();
    let start = Instant::now();
    let results = futures_util::future::join_all((0..WAITING_OF_IDENTITY + 10).map(|_| async {
        assert!(world.enter().await.is_err());
        start.elapsed()
    }))
    .await;
    let waited = results.iter().filter(|waited| **waited == WAIT).count();
    let at_once = results.iter().filter(|waited| waited.is_zero()).count();
    assert_eq!((waited, at_once), (WAITING_OF_IDENTITY, 10));
}

#[tokio::test(start_paused = true)]
async fn all_identities_together_have_one_queue_of_bounded_length() {
    let waiting = AtomicUsize::new(0);
    let worlds: Vec<_> = (0..10).map(|_| World::new(0, 1, 0)).collect();
    let mut turns = Vec::new();
    for world in &worlds {
        turns.push(world.enter().await.unwrap());
    }
    let start = Instant::now();
    let enter = |world: &World| {
        let limiter = world.limiter.clone();
        let waiting = &waiting;
        async move {
            let patience = Patience { end: Instant::now() + WAIT, waiting };
            assert!(limiter.enter(patience).await.is_err());
            !start.elapsed().is_zero()
        }
    };
    let requests = worlds.iter().flat_map(|world| (0..WAITING_OF_IDENTITY).map(move |_| world));
    let waited = futures_util::future::join_all(requests.map(enter)).await;
    assert_eq!(waited.into_iter().filter(|waited| *waited).count(), WAITING);
    assert_eq!(waiting.load(Ordering::Relaxed), 0);
}

#[tokio::test(start_paused = true)]
async fn calls_to_the_key_store_have_a_limit_of_their_own() {
    let world = World::new(0, 0, 2);
    let call = async || world.limiter.call_store(world.patience()).await;
    assert!(world.enter().await.unwrap().is_none());
    assert!(call().await.is_ok() && call().await.is_ok());
    let start = Instant::now();
    let calls = futures_util::future::join_all((0..2).map(|_| call())).await;
    let kind = LimitKind::StoreCallsPerSecond;
    let limited = Err(Limited { kind, retry_after: Duration::from_secs(1) });
    assert_eq!(calls, [Ok(()), limited]);
    assert!(start.elapsed() >= Duration::from_millis(500) && start.elapsed() < WAIT);
    // Requests have none.
    assert!((0..1000).all(|_| matches!(world.enter().now_or_never(), Some(Ok(None)))));
}

/// Policies in which the identity 1 has limits.
fn policies(per_second: u32, at_once: u32) -> Policies {
    let limit = |most| Some(Limit::AtMost(number(most)));
    let settings = LimitSettings {
        requests_per_second: limit(per_second),
        requests_at_once: limit(at_once),
        ..LimitSettings::default()
    };
    let limited = Policy::new("limited", [], []).limiting(settings);
    let free = Policy::new("free", [], []);
    Policies::new(Some(who(0)), vec![(limited, vec![who(1)]), (free, vec![who(2)])]).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_reload_keeps_what_is_used_of_limits_that_stay() {
    let waiting = AtomicUsize::new(0);
    let enter = |limiters: &Limiters| {
        let patience = Patience { end: Instant::now() + WAIT, waiting: &waiting };
        limiters.of(&who(1)).unwrap().enter(patience).now_or_never()
    };
    let first = Limiters::new(&policies(1000, 1), None);
    assert!(first.of(&who(0)).is_none() && first.of(&who(2)).is_none());
    let _turn = enter(&first).unwrap().unwrap();
    let same = Limiters::new(&policies(1000, 1), Some(&first));
    assert!(enter(&same).is_none(), "it has to wait for the request that goes on");
    // One limit is another, the other one stays.
    let other = Limiters::new(&policies(2000, 1), Some(&same));
    assert!(enter(&other).is_none());
    let more = Limiters::new(&policies(2000, 2), Some(&other));
    assert!(enter(&more).is_some());
    let bucket = |limiters: &Limiters| {
        limiters.of(&who(1)).unwrap().requests.as_ref().unwrap().bucket.balance()
    };
    // Of 2,000, two requests have begun since the rate is that; the waiting one too.
    assert_eq!(bucket(&more), 1998);
    // Without the policy there is nothing left.
    let none = Limiters::new(&Policies::default(), Some(&more));
    assert!(none.of(&who(1)).is_none());
}

#[test]
fn a_route_with_a_short_time_limit_leaves_time_for_its_operation() {
    let millis = Duration::from_millis;
    for (left, expected) in [(15_000, 1_000), (2_000, 1_000), (500, 250), (0, 0)] {
        assert_eq!(wait(Some(millis(left))), millis(expected));
    }
    assert_eq!(wait(None), WAIT);
}

proptest! {
    #[test]
    fn a_rate_is_kept_nearly_and_never_exceeded(
        per_second in prop_oneof![1_u32..=2_000, 1_u32..=1_000_000],
    ) {
        let (tokens, interval) = refill(number(per_second));
        let per_interval = f64::from(per_second) * interval.as_secs_f64();
        let tokens = tokens as f64;
        prop_assert!(tokens <= per_interval + 1e-6, "{tokens} in {interval:?}");
        prop_assert!(tokens >= per_interval * 0.99, "{tokens} in {interval:?}");
        let shortest = Duration::from_millis(SHORTEST_INTERVAL.into());
        prop_assert!(interval >= shortest);
        // Whoever waits for its turn does not wait for the turns of many others.
        let one_event = Duration::from_secs(1) / per_second;
        let longest = (Duration::from_millis(101) + one_event).min(Duration::from_secs(1));
        prop_assert!(interval <= longest, "{tokens} in {interval:?}");
    }
}
