//! The limits of tenants (contract `config.md`, Limits): requests a second, requests at one time,
//! and calls to the key store a second of each identity that has such limits.
//!
//! A request over a limit waits for a moment in a short queue, in the order of arrival, and is
//! refused with 429 if its turn does not come. An identity without limits has no state here, so
//! that nobody but the configuration decides how much there is of it, and its requests only pay for
//! the question whether it has limits.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use kes_api::Identity;
use kes_policy::{Limits, Policies};
use leaky_bucket::RateLimiter;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use super::budget::Waiting;
use crate::observe::metrics::LimitKind;

/// How long a request waits for its turn at most. It evens out the bursts of a sound client, and
/// leaves most of the time that its caller waits for an answer, 15 s for most routes.
const WAIT: Duration = Duration::from_secs(1);

/// How many requests of one identity wait for one of its limits. What their clients send meanwhile
/// stays in the HTTP/2 windows of their connections: 64 KiB for each of them, 4 MiB in all.
const WAITING_OF_IDENTITY: usize = 64;

/// How many requests wait for limits in all: 16 MiB in the windows of their connections.
const WAITING: usize = 256;

/// The shortest time between two refills of a rate: the timer of the runtime counts milliseconds,
/// and waking up waiting requests more often than this would gain nothing.
const SHORTEST_INTERVAL: u32 = 10;

/// The limits of all identities that have any.
#[derive(Default)]
pub(crate) struct Limiters(HashMap<Identity, Limiter>);

/// The limits of one identity.
#[derive(Clone)]
pub(super) struct Limiter {
    requests: Option<Arc<Rate>>,
    at_once: Option<Arc<AtOnce>>,
    store_calls: Option<Arc<Rate>>,
}

/// So many events a second; after a pause as many at once.
struct Rate {
    per_second: NonZeroU32,
    bucket: RateLimiter,
    waiting: AtomicUsize,
}

/// So many events at one time.
struct AtOnce {
    most: NonZeroU32,
    free: Arc<Semaphore>,
    waiting: AtomicUsize,
}

/// The places of a request among those that its identity may have at one time: by its limits, and
/// through TLS proxies.
#[derive(Debug)]
pub(crate) struct Turn {
    _places: [Option<OwnedSemaphorePermit>; 2],
}

impl Turn {
    /// Nothing if there are no places.
    pub(super) fn of(places: [Option<OwnedSemaphorePermit>; 2]) -> Option<Self> {
        places.iter().any(Option::is_some).then_some(Self { _places: places })
    }
}

/// A limit is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limited {
    pub(crate) kind: LimitKind,
    /// When the next request has a chance: whole seconds, at least one.
    pub(crate) retry_after: Duration,
}

/// How long a request may wait, and beside how many others.
#[derive(Clone, Copy)]
pub(super) struct Patience<'a> {
    pub(super) end: Instant,
    /// How many requests of all identities wait.
    pub(super) waiting: &'a AtomicUsize,
}

/// How long a request waits if so much of its route's time is left: also a route with a short time
/// limit leaves most of it to the operation.
pub(super) fn wait(left: Option<Duration>) -> Duration {
    left.map_or(WAIT, |left| WAIT.min(left / 2))
}

impl Limiters {
    /// Makes the limits of a configuration. Each that is the same as before a reload goes on as it
    /// is: a reload gives nobody a new second's worth of requests.
    pub(crate) fn new(policies: &Policies, old: Option<&Self>) -> Self {
        let limiter = |(identity, limits): (&Identity, &Limits)| {
            let old = old.and_then(|old| old.0.get(identity));
            (*identity, Limiter::new(limits, old))
        };
        Self(policies.limited().map(limiter).collect())
    }

    /// The limits of an identity, if it has any.
    pub(super) fn of(&self, identity: &Identity) -> Option<&Limiter> {
        self.0.get(identity)
    }
}

impl Limiter {
    fn new(limits: &Limits, old: Option<&Self>) -> Self {
        let rate = |per_second, of: fn(&Self) -> &Option<Arc<Rate>>| {
            let old = old.and_then(|old| of(old).as_ref());
            let same = old.filter(|rate| Some(rate.per_second) == per_second).map(Arc::clone);
            same.or_else(|| per_second.map(|per_second| Arc::new(Rate::new(per_second))))
        };
        let old_at_once = old.and_then(|old| old.at_once.as_ref());
        let same = old_at_once.filter(|at_once| Some(at_once.most) == limits.requests_at_once);
        let at_once = same.map(Arc::clone);
        let new = || limits.requests_at_once.map(|most| Arc::new(AtOnce::new(most)));
        Self {
            requests: rate(limits.requests_per_second, |old| &old.requests),
            at_once: at_once.or_else(new),
            store_calls: rate(limits.store_calls_per_second, |old| &old.store_calls),
        }
    }

    /// Waits until the identity may have one more request.
    pub(super) async fn enter(
        &self,
        patience: Patience<'_>,
    ) -> Result<Option<OwnedSemaphorePermit>, Limited> {
        if let Some(rate) = &self.requests {
            let kind = LimitKind::RequestsPerSecond;
            rate.pass(patience).await.map_err(|retry_after| Limited { kind, retry_after })?;
        }
        match &self.at_once {
            None => Ok(None),
            Some(at_once) => at_once.enter(patience).await.map(Some),
        }
    }

    /// Waits until the identity may have one more call to the key store.
    pub(super) async fn call_store(&self, patience: Patience<'_>) -> Result<(), Limited> {
        let kind = LimitKind::StoreCallsPerSecond;
        match &self.store_calls {
            None => Ok(()),
            Some(rate) => {
                rate.pass(patience).await.map_err(|retry_after| Limited { kind, retry_after })
            }
        }
    }
}

impl Rate {
    fn new(per_second: NonZeroU32) -> Self {
        let (tokens, interval) = refill(per_second);
        let most = usize::try_from(per_second.get()).unwrap_or(usize::MAX);
        // Its queue is in the order of arrival, and a request that leaves it gives its turn back.
        let bucket = RateLimiter::builder()
            .max(most)
            .initial(most)
            .refill(tokens)
            .interval(interval)
            .fair(true)
            .build();
        Self { per_second, bucket, waiting: AtomicUsize::new(0) }
    }

    async fn pass(&self, patience: Patience<'_>) -> Result<(), Duration> {
        if self.bucket.try_acquire(1) {
            return Ok(());
        }
        // More of them could not all have their turn in time.
        let room = WAITING_OF_IDENTITY.min((self.bucket.max() * 9 / 10).max(1));
        let Some(_waiting) = patience.queue(&self.waiting, room) else {
            return Err(self.retry_after());
        };
        let passed = timeout_at(patience.end, self.bucket.acquire_one()).await;
        passed.map_err(|_| self.retry_after())
    }

    /// When the requests that wait will have passed, and there is a turn for another one.
    fn retry_after(&self) -> Duration {
        let before = self.waiting.load(Ordering::Relaxed).min(WAITING_OF_IDENTITY) as u64;
        Duration::from_secs((before + 1).div_ceil(u64::from(self.per_second.get())))
    }
}

/// How many tokens a bucket gets, and how often, for a rate: never more than the rate, and at least
/// 99 % of it.
fn refill(per_second: NonZeroU32) -> (usize, Duration) {
    let per_second = u64::from(per_second.get());
    let least = (per_second * u64::from(SHORTEST_INTERVAL)).div_ceil(1000);
    let millis = |tokens: u64| (tokens * 1000).div_ceil(per_second);
    let is_near = |tokens: &u64| millis(*tokens) * per_second <= tokens * 1010;
    // A second's worth of tokens is exact.
    let tokens = (least..per_second).find(is_near).unwrap_or(per_second);
    let interval = Duration::from_millis(millis(tokens));
    (usize::try_from(tokens).unwrap_or(usize::MAX), interval)
}

impl AtOnce {
    fn new(most: NonZeroU32) -> Self {
        let permits = usize::try_from(most.get()).unwrap_or(usize::MAX);
        let free = Arc::new(Semaphore::new(permits.min(Semaphore::MAX_PERMITS)));
        Self { most, free, waiting: AtomicUsize::new(0) }
    }

    async fn enter(&self, patience: Patience<'_>) -> Result<OwnedSemaphorePermit, Limited> {
        if let Ok(turn) = Arc::clone(&self.free).try_acquire_owned() {
            return Ok(turn);
        }
        let kind = LimitKind::RequestsAtOnce;
        let limited = Limited { kind, retry_after: Duration::from_secs(1) };
        let waiting = patience.queue(&self.waiting, WAITING_OF_IDENTITY);
        let _waiting = waiting.ok_or(limited)?;
        let turn = timeout_at(patience.end, Arc::clone(&self.free).acquire_owned()).await;
        // The semaphore is never closed.
        turn.ok().and_then(Result::ok).ok_or(limited)
    }
}

impl<'a> Patience<'a> {
    /// Lets a request wait, if not too many do.
    fn queue(self, of_limit: &'a AtomicUsize, room: usize) -> Option<[Waiting<'a>; 2]> {
        let of_limit = Waiting::new(of_limit, room)?;
        Some([of_limit, Waiting::new(self.waiting, WAITING)?])
    }
}

#[cfg(test)]
mod tests;
