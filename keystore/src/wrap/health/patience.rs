//! Waiting for a store that is away for a moment.
//!
//! A restart, a change of the leader of a cluster, a full table of connections or a rate limit is
//! over within seconds, and clients such as MinIO do not repeat a request that was answered 502.
//! So a call that fails for such a reason waits until the store is back, and is then sent again.
//! If the store has been away for longer already, the call fails at once.
//!
//! While the checks of the store's health find it away, one of the waiting calls at a time tries.
//! As soon as that call or a check succeeds, all others are sent too, spread over a moment. If the
//! store is healthy and refuses calls, each call makes pauses that grow.

use std::time::Duration;

use tokio::sync::SemaphorePermit;
use tokio::time::{self, Instant};

use super::monitor::Monitor;
use super::outage::Outage;
use crate::jitter::jitter;

/// How long a call waits for the store's return, counted from its first try. A cluster of OpenBao
/// has a new leader within 4 s, and the Vault client of the reference server gives up after 3 to
/// 4.5 s. A request that has to make a second call after this one is still answered within 12 s,
/// the limit of an operation as a whole.
const PATIENCE: Duration = Duration::from_millis(4500);

/// Pause between two tries of one call while the store is healthy: doubled each time, from the
/// first value up to the second.
const PAUSES: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(1)];

/// Pause between two tries of all waiting calls together while the store is away.
const PROBE_PAUSE: Duration = Duration::from_millis(250);

/// How long one call still waits for its store, counted from its first try.
pub(crate) struct Patience<'a> {
    monitor: &'a Monitor,
    end: Instant,
    pause: Duration,
    room: Option<SemaphorePermit<'a>>,
    probe: Option<SemaphorePermit<'a>>,
}

impl<'a> Patience<'a> {
    /// For a call that is tried now for the first time.
    pub(crate) fn new(monitor: &'a Monitor) -> Self {
        let end = Instant::now() + PATIENCE;
        Self { monitor, end, pause: PAUSES[0], room: None, probe: None }
    }

    /// Waits after a try that failed, for a reason that may pass or not. Returns whether to try
    /// again.
    pub(crate) async fn outlasts(&mut self, may_pass: bool) -> bool {
        self.probe = None;
        if !may_pass || Instant::now() >= self.end {
            return false;
        }
        let outage = &self.monitor.outage;
        if self.room.is_none() {
            if outage.is_long() {
                return false;
            }
            let Ok(room) = outage.room.try_acquire() else { return false };
            self.room = Some(room);
        }
        let pause = self.pause;
        self.pause = (pause * 2).min(PAUSES[1]);
        if self.monitor.is_reachable() {
            time::sleep_until(self.end.min(Instant::now() + jitter(pause))).await;
            return true;
        }
        tokio::select! {
            () = self.monitor.reachable() => {
                // Not all at the same moment.
                time::sleep_until(self.end.min(Instant::now() + spread(pause * 2))).await;
                true
            }
            probe = turn_to_probe(outage) => {
                self.probe = probe;
                true
            }
            () = time::sleep_until(self.end) => false,
        }
    }
}

/// Waits until this call may try while the store is away.
async fn turn_to_probe(outage: &Outage) -> Option<SemaphorePermit<'_>> {
    let turn = outage.probe.acquire().await.ok();
    time::sleep(jitter(PROBE_PAUSE)).await;
    turn
}

/// Any time up to this one.
fn spread(time: Duration) -> Duration {
    (jitter(time) - time * 3 / 4) * 4
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::super::outage::{AWAY, MAX_WAITING};
    use super::*;
    use crate::{Kind, State};

    const WELL: State = State::Reachable { latency: Duration::ZERO };

    /// How a call fails.
    #[derive(Clone, Copy, Debug)]
    enum Failure {
        NoConnection,
        Overloaded,
        Refused,
    }

    impl Failure {
        /// Records it as a backend does. Returns whether it may pass.
        fn note(self, monitor: &Monitor) -> bool {
            match self {
                Self::NoConnection => {
                    monitor.note_setback();
                    monitor.note_unreachable();
                }
                Self::Overloaded => {
                    monitor.note_setback();
                    monitor.note_doubt();
                }
                Self::Refused => monitor.note_refusal(),
            }
            !matches!(self, Self::Refused)
        }
    }

    fn monitor() -> Monitor {
        Monitor::new(Kind::new(&"test"))
    }

    /// Tries a call until it succeeds or is given up. Returns how many tries it had, and whether it
    /// succeeded.
    async fn call(
        monitor: &Monitor,
        mut attempt: impl FnMut() -> Result<(), Failure>,
    ) -> (u32, bool) {
        let mut patience = Patience::new(monitor);
        let mut tries = 0;
        loop {
            tries += 1;
            match attempt() {
                Ok(()) => return (tries, true),
                Err(failure) => {
                    let may_pass = failure.note(monitor);
                    if !patience.outlasts(may_pass).await {
                        return (tries, false);
                    }
                }
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_waits_for_the_end_of_a_short_outage() {
        for (failure, is_healthy) in [(Failure::NoConnection, false), (Failure::Overloaded, true)] {
            for (away, works) in [(2000, true), (3900, true), (60_000, false)] {
                let monitor = Arc::new(monitor());
                monitor.set_for_test(WELL);
                let back = Instant::now() + Duration::from_millis(away);
                let watch = Arc::clone(&monitor);
                tokio::spawn(async move {
                    time::sleep_until(back).await;
                    watch.set_for_test(WELL);
                });
                let start = Instant::now();
                let attempt = || if Instant::now() < back { Err(failure) } else { Ok(()) };
                let (tries, worked) = call(&monitor, attempt).await;
                assert_eq!(worked, works, "{failure:?} for {away} ms");
                assert!(start.elapsed() <= PATIENCE, "{failure:?}: {:?}", start.elapsed());
                assert!(tries <= if is_healthy { 10 } else { 30 }, "{failure:?}: {tries} tries");
                if !worked {
                    assert!(start.elapsed() >= AWAY, "{failure:?}: {:?}", start.elapsed());
                    // The store is known to be away now.
                    let again = Instant::now();
                    assert_eq!(call(&monitor, || Err(failure)).await, (1, false));
                    assert_eq!(again.elapsed(), Duration::ZERO);
                }
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_is_not_waited_for() {
        let monitor = monitor();
        let start = Instant::now();
        assert_eq!(call(&monitor, || Err(Failure::Refused)).await, (1, false));
        assert_eq!(start.elapsed(), Duration::ZERO);
    }

    /// While the store is away, one call at a time tries, however many wait. When it is back, they
    /// are sent one after the other.
    #[tokio::test(start_paused = true)]
    async fn calls_that_wait_do_not_load_the_store() {
        const CALLERS: usize = 500;
        let monitor = Arc::new(monitor());
        let start = Instant::now();
        let back = start + Duration::from_secs(2);
        let (early, at_return) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let mut callers = tokio::task::JoinSet::new();
        for _ in 0..CALLERS {
            let monitor = Arc::clone(&monitor);
            let (early, at_return) = (Arc::clone(&early), Arc::clone(&at_return));
            callers.spawn(async move {
                let attempt = || {
                    let now = Instant::now();
                    if now < back {
                        early.fetch_add(1, Ordering::Relaxed);
                        return Err(Failure::NoConnection);
                    }
                    if now < back + Duration::from_millis(20) {
                        at_return.fetch_add(1, Ordering::Relaxed);
                    }
                    monitor.set_for_test(WELL);
                    Ok(())
                };
                call(&monitor, attempt).await.1
            });
        }
        assert!(callers.join_all().await.into_iter().all(|worked| worked));
        let early = early.load(Ordering::Relaxed);
        assert!(early <= CALLERS + 12, "{early} tries while it was away");
        let at_return = at_return.load(Ordering::Relaxed);
        assert!(at_return <= CALLERS / 4, "{at_return} at once");
        assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_bounded_number_of_calls_waits() {
        let monitor = monitor();
        let all = u32::try_from(MAX_WAITING).unwrap();
        let _room = monitor.outage.room.try_acquire_many(all).unwrap();
        let start = Instant::now();
        assert_eq!(call(&monitor, || Err(Failure::NoConnection)).await, (1, false));
        assert_eq!(start.elapsed(), Duration::ZERO);
    }
}
