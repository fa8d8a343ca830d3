//! Budgets of bytes: how much memory the requests of a caller, and those of all callers together,
//! may hold at one time for bodies and answers.
//!
//! A body that arrives whole and has at most `SMALL` bytes needs no reservation: it is gone when
//! the connection serves its next event. Any other request reserves what its body may need before
//! the server keeps more of it, and waits for a moment if the budget is used up. Memory itself is
//! only allocated for bytes that have arrived.
//!
//! Small reservations have a budget of their own, so that large bodies that arrive slowly do not
//! hold up small ones. The admin has budgets of its own, all strangers have one together, and each
//! known identity has a part of what the server has for all of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use kes_api::Identity;
use prometheus::IntGauge;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use super::by_caller::ByCaller;
use crate::observe::metrics::Metrics;
use crate::transport::Class;

/// The largest body that is kept without a reservation, and the smallest reservation. The bodies of
/// MinIO have a few hundred bytes.
pub(super) const SMALL: usize = 4 * 1024;

/// What one identity may have reserved for large bodies: 50 of the largest at one time. MinIO's own
/// large bodies, lists of ciphertexts, have at most some hundred kilobytes.
const LARGE_BODIES: usize = 48 << 20;

/// What one identity may have reserved for small bodies that have begun to arrive: 2,048.
const SMALL_BODIES: usize = 8 << 20;

/// The budgets of the server are this many times those of an identity: one cannot use up what the
/// others need. Together with the admin's they are 168 MiB.
const SERVER: usize = 2;

/// How long a request waits for its reservation: many large bodies of a sound client need no more
/// time than that, and the bodies that are being received go on meanwhile.
const WAIT: Duration = Duration::from_secs(5);

/// How many requests of one connection may wait. What their clients send meanwhile stays in the
/// connection's HTTP/2 window: 64 KiB for each of them, of the 1 MiB for all. More of them would
/// stop the bodies that have a reservation. Clients behind TLS proxies, whose connections have larger
/// windows, may have as many each, and strangers together.
const WAITING_OF_CALLER: usize = 12;

/// How many requests may wait in all: 16 MiB in the windows of their connections.
const WAITING: usize = 256;

/// Semaphores count 32 bits: the unit of a reservation, in bytes.
const UNIT: usize = 1024;

/// All budgets.
pub(crate) struct Budgets {
    server: Budget,
    callers: ByCaller<Budget>,
    /// How many requests that TLS proxies have forwarded wait, of each of their clients.
    forwarded_waiting: ByCaller<Arc<AtomicUsize>>,
    waiting: AtomicUsize,
    /// [`WAIT`], except in tests.
    wait: Duration,
    metrics: Arc<Metrics>,
}

/// The budget of one caller or of the server.
#[derive(Clone)]
struct Budget {
    small: Arc<Semaphore>,
    large: Arc<Semaphore>,
}

/// Bytes that a request may hold; they are free again when this is dropped.
pub(crate) struct Reservation {
    bytes: usize,
    held: IntGauge,
    _own: OwnedSemaphorePermit,
    _server: Option<OwnedSemaphorePermit>,
}

/// Whose budget is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exhausted {
    Caller,
    Server,
}

/// Who reserves.
#[derive(Clone, Copy)]
pub(super) struct Caller<'a> {
    pub(super) class: Class,
    pub(super) identity: Option<Identity>,
    /// How many requests of its connection wait; `None` if it shares the connection of a TLS proxy.
    pub(super) waiting: Option<&'a AtomicUsize>,
}

impl Budgets {
    pub(crate) fn new(metrics: Arc<Metrics>) -> Self {
        let limit = (SERVER + 1) * (LARGE_BODIES + SMALL_BODIES);
        metrics.reserved_bytes_limit.set(i64::try_from(limit).unwrap_or(i64::MAX));
        Self {
            server: Budget::times(SERVER),
            callers: ByCaller::new(Budget::times(1), Budget::times(1)),
            forwarded_waiting: ByCaller::new(Arc::default(), Arc::default()),
            waiting: AtomicUsize::new(0),
            wait: WAIT,
            metrics,
        }
    }

    /// Reserves bytes for a request.
    pub(super) async fn reserve(
        &self,
        caller: Caller<'_>,
        bytes: usize,
    ) -> Result<Reservation, Exhausted> {
        let (own, server) = self.of(caller);
        let units = u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX);
        let is_large = bytes > SMALL;
        let (own, server) = (own.part(is_large), server.map(|server| server.part(is_large)));
        let permits = match try_take(&own, server.clone(), units) {
            Ok(permits) => Ok(permits),
            // Boxed: it is rare, and the future of each request would have its size.
            Err(exhausted) => Box::pin(self.wait(caller, (&own, server), units, exhausted)).await,
        };
        let (of_class, class) = (&self.metrics.classes, caller.class.index());
        let (own, server) = permits.inspect_err(|_| {
            self.metrics.reservations_refused.inc();
            of_class.reservations_refused.of(class).inc();
        })?;
        let held = of_class.reserved_bytes.of(class).clone();
        held.add(i64::try_from(bytes).unwrap_or(i64::MAX));
        Ok(Reservation { bytes, held, _own: own, _server: server })
    }

    /// The budget of a caller, and that of the server if the caller takes part in it.
    fn of(&self, caller: Caller<'_>) -> (Budget, Option<&Budget>) {
        let own = self.callers.of(caller.class, caller.identity, || Budget::times(1));
        (own, (caller.class != Class::Admin).then_some(&self.server))
    }

    /// Waits for what is used up, if not too many requests wait.
    async fn wait(
        &self,
        caller: Caller<'_>,
        (own, server): (&Arc<Semaphore>, Option<Arc<Semaphore>>),
        units: u32,
        exhausted: Exhausted,
    ) -> Result<Permits, Exhausted> {
        let forwarded;
        let of_caller = match caller.waiting {
            Some(of_connection) => of_connection,
            None => {
                forwarded = self.forwarded_waiting.of(caller.class, caller.identity, Arc::default);
                &*forwarded
            }
        };
        let of_caller = Waiting::new(of_caller, WAITING_OF_CALLER);
        let of_all = of_caller.as_ref().and_then(|_| Waiting::new(&self.waiting, WAITING));
        match of_all {
            Some(_waiting) => take(own, server, units, Instant::now() + self.wait).await,
            None => Err(exhausted),
        }
    }
}

impl Budget {
    fn times(factor: usize) -> Self {
        let semaphore = |bytes: usize| Arc::new(Semaphore::new(factor * bytes / UNIT));
        Self { small: semaphore(SMALL_BODIES), large: semaphore(LARGE_BODIES) }
    }

    fn part(&self, is_large: bool) -> Arc<Semaphore> {
        Arc::clone(if is_large { &self.large } else { &self.small })
    }
}

type Permits = (OwnedSemaphorePermit, Option<OwnedSemaphorePermit>);

fn try_take(
    own: &Arc<Semaphore>,
    server: Option<Arc<Semaphore>>,
    units: u32,
) -> Result<Permits, Exhausted> {
    let take = |semaphore: Arc<Semaphore>, exhausted| {
        semaphore.try_acquire_many_owned(units).map_err(|_| exhausted)
    };
    let own = take(Arc::clone(own), Exhausted::Caller)?;
    let server = server.map(|server| take(server, Exhausted::Server)).transpose()?;
    Ok((own, server))
}

/// Waits: for the caller's own budget first, so that it holds nothing of the server's meanwhile.
async fn take(
    own: &Arc<Semaphore>,
    server: Option<Arc<Semaphore>>,
    units: u32,
    end: Instant,
) -> Result<Permits, Exhausted> {
    let take = async |semaphore: Arc<Semaphore>, exhausted| {
        let permit = timeout_at(end, semaphore.acquire_many_owned(units)).await;
        // The semaphores are never closed.
        permit.ok().and_then(Result::ok).ok_or(exhausted)
    };
    let own = take(Arc::clone(own), Exhausted::Caller).await?;
    let server = match server {
        Some(server) => Some(take(server, Exhausted::Server).await?),
        None => None,
    };
    Ok((own, server))
}

/// A request that waits, counted among others until this is dropped.
pub(super) struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    /// Counts one more; `None` if as many as the limit wait already.
    pub(super) fn new(count: &'a AtomicUsize, limit: usize) -> Option<Self> {
        let waiting = Self(count);
        (count.fetch_add(1, Ordering::Relaxed) < limit).then_some(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Reservation {
    /// Whether it is enough for so many bytes.
    pub(super) fn covers(&self, bytes: usize) -> bool {
        bytes <= self.bytes
    }

    pub(super) fn is_large(&self) -> bool {
        self.bytes > SMALL
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.held.sub(i64::try_from(self.bytes).unwrap_or(i64::MAX));
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    const BODY: usize = 1_000_000;

    struct Connection {
        class: Class,
        identity: Option<Identity>,
        waiting: AtomicUsize,
    }

    impl Connection {
        fn of(class: Class, byte: u8) -> Self {
            let identity = Some(Identity::of_public_key(&[byte]));
            Self { class, identity, waiting: AtomicUsize::new(0) }
        }

        fn known(byte: u8) -> Self {
            Self::of(Class::Known, byte)
        }

        fn caller(&self) -> Caller<'_> {
            Caller { class: self.class, identity: self.identity, waiting: Some(&self.waiting) }
        }
    }

    fn budgets() -> Budgets {
        let wait = Duration::from_millis(50);
        Budgets { wait, ..Budgets::new(Arc::new(Metrics::new())) }
    }

    /// Reserves bodies of a size until one would have to wait.
    fn fill(budgets: &Budgets, connection: &Connection, bytes: usize) -> Vec<Reservation> {
        let reserve = || budgets.reserve(connection.caller(), bytes).now_or_never();
        std::iter::from_fn(|| reserve().map(Result::unwrap)).collect()
    }

    #[tokio::test]
    async fn one_identity_cannot_use_up_what_others_need() {
        let budgets = budgets();
        let hog = Connection::known(1);
        let held = fill(&budgets, &hog, BODY);
        assert_eq!(held.len(), 50);
        // From each of its connections.
        let refused = budgets.reserve(Connection::known(1).caller(), BODY).await;
        assert_eq!(refused.err(), Some(Exhausted::Caller));
        assert_eq!(budgets.metrics.reservations_refused.get(), 1);
        // Its small bodies go on, and so do others.
        assert!(budgets.reserve(hog.caller(), SMALL).now_or_never().is_some());
        for class in [Class::Known, Class::Stranger, Class::Admin] {
            let other = Connection::of(class, 2);
            assert!(budgets.reserve(other.caller(), BODY).now_or_never().is_some(), "{class:?}");
        }
        assert_eq!(budgets.metrics.classes.reserved_bytes.sum(), 50_000_000);
        drop(held);
        assert_eq!(budgets.metrics.classes.reserved_bytes.sum(), 0);
        assert_eq!(fill(&budgets, &hog, BODY).len(), 50);
    }

    #[tokio::test]
    async fn all_together_have_the_budget_of_the_server_and_the_admin_its_own() {
        let budgets = budgets();
        let connections = [1, 2, 3].map(Connection::known);
        let held = connections.each_ref().map(|connection| fill(&budgets, connection, BODY));
        assert_eq!(held.each_ref().map(Vec::len), [50, 50, 0]);
        for class in [Class::Known, Class::Stranger] {
            let refused = budgets.reserve(Connection::of(class, 9).caller(), BODY).await;
            assert_eq!(refused.err(), Some(Exhausted::Server), "{class:?}");
        }
        assert_eq!(fill(&budgets, &Connection::of(Class::Admin, 0), BODY).len(), 50);
    }

    #[tokio::test]
    async fn strangers_share_one_budget() {
        let budgets = budgets();
        let held = fill(&budgets, &Connection::of(Class::Stranger, 1), BODY);
        let another = budgets.reserve(Connection::of(Class::Stranger, 2).caller(), BODY).await;
        assert_eq!((held.len(), another.err()), (50, Some(Exhausted::Caller)));
    }

    #[tokio::test]
    async fn a_request_waits_for_those_before_it() {
        let budgets = Budgets::new(Arc::new(Metrics::new()));
        let connection = Connection::known(1);
        let mut held = fill(&budgets, &connection, BODY);
        let waiting = budgets.reserve(connection.caller(), BODY);
        let free = async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            held.pop();
        };
        let (reserved, ()) = tokio::join!(waiting, free);
        assert!(reserved.is_ok());
        assert_eq!(connection.waiting.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn only_some_requests_of_a_connection_wait() {
        let budgets = budgets();
        let connection = Connection::known(1);
        let _held = fill(&budgets, &connection, BODY);
        let start = Instant::now();
        let reserve = |_| async {
            assert!(budgets.reserve(connection.caller(), BODY).await.is_err());
            start.elapsed() >= budgets.wait
        };
        let waited = futures_util::future::join_all((0..100).map(reserve)).await;
        assert_eq!(waited.into_iter().filter(|waited| *waited).count(), WAITING_OF_CALLER);
        assert_eq!(budgets.waiting.load(Ordering::Relaxed), 0);
    }

    /// They share the connection of a proxy, and nothing else; strangers share all.
    #[tokio::test]
    async fn only_some_requests_of_a_client_behind_a_proxy_wait() {
        let budgets = budgets();
        let hogs = [1, 2].map(Connection::known);
        let _held = hogs.each_ref().map(|hog| fill(&budgets, hog, BODY));
        let start = Instant::now();
        let count = async |class, bytes: &[u8]| {
            let reserve = |byte: &u8| {
                let identity = Some(Identity::of_public_key(&[*byte]));
                let caller = Caller { class, identity, waiting: None };
                let reserved = budgets.reserve(caller, BODY);
                async move {
                    assert!(reserved.await.is_err());
                    start.elapsed() >= budgets.wait
                }
            };
            let waited = futures_util::future::join_all(bytes.iter().map(reserve)).await;
            waited.into_iter().filter(|waited| *waited).count()
        };
        let bytes = [[1; 50], [2; 50], [3; 50], [4; 50], [5; 50]].concat();
        let (known, strangers) = tokio::join!(
            count(Class::Known, &bytes[..150]),
            count(Class::Stranger, &bytes[150..]),
        );
        assert_eq!((known, strangers), (3 * WAITING_OF_CALLER, WAITING_OF_CALLER));
    }
}
