//! Waiting for a Vault that is away for a moment.
//!
//! A restart, a change of the leader, a full table of connections or a rate limit is over within
//! seconds, and clients such as MinIO do not repeat a request that was answered 502. So a call
//! that meets one of these waits until Vault is back and is sent again. Where Vault has been away
//! for longer, its return is not worth waiting for: the call fails at once.
//!
//! Callers that wait leave Vault in peace. While the watch of its health says that it is away,
//! one of them at a time tries, and all go on when the watch or that one finds Vault back, spread
//! over a moment. Where Vault is well otherwise and refuses calls, each has growing pauses.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{self, Instant};

use super::super::fault::Fault;
use super::super::jitter;
use super::Health;

/// How long a call waits for Vault's return, from its first try on. A cluster of OpenBao has a
/// new leader within 4 s, the Vault client of the reference server gives up after 3 to 4.5 s, and
/// a request that waits for a second call after this one is still answered in time
/// ([`CALL_LIMIT`](super::super::CALL_LIMIT)).
const PATIENCE: Duration = Duration::from_millis(4500);

/// A call does not wait where Vault had been away for longer than this when the call met it. Less
/// than [`PATIENCE`]: what is left to do after a call that has waited in vain does not wait again.
const AWAY: Duration = Duration::from_secs(4);

/// Failures that are further apart than this are of two outages: the watch takes up to 5 s to
/// find out that Vault hangs.
const APART: Duration = Duration::from_secs(10);

/// Pause between two tries of one call while Vault is well otherwise: doubled each time, from the
/// first to the second.
const PAUSES: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(1)];

/// Pause between two tries of all callers together while Vault is away.
const SCOUT: Duration = Duration::from_millis(250);

/// Calls that wait at one time, of different keys; beyond that they fail at once. Each takes some
/// 10 KB.
const MAX_WAITING: usize = 1024;

/// What the calls to one Vault share of their waiting.
pub(in crate::vault) struct Waiting {
    room: Semaphore,
    scout: Semaphore,
    /// Since when Vault does not do as asked, and when that was seen last.
    outage: Mutex<Option<(Instant, Instant)>>,
}

impl Waiting {
    pub(in crate::vault) fn new() -> Self {
        Self {
            room: Semaphore::new(MAX_WAITING),
            scout: Semaphore::new(1),
            outage: Mutex::default(),
        }
    }

    /// Notes that Vault did not do as asked, in a way that may pass.
    pub(in crate::vault) fn failed(&self) {
        let now = Instant::now();
        let mut outage = self.outage.lock();
        *outage = match *outage {
            Some((since, last)) if now - last <= APART => Some((since, now)),
            _ => Some((now, now)),
        };
    }

    /// Notes that Vault does as asked.
    pub(in crate::vault) fn ended(&self) {
        *self.outage.lock() = None;
    }

    /// Whether Vault has been away for so long that nobody waits for it.
    fn is_in_vain(&self) -> bool {
        let outage = *self.outage.lock();
        outage.is_some_and(|(since, last)| last.elapsed() <= APART && since.elapsed() > AWAY)
    }
}

/// The patience of one call, from its first try on.
pub(in crate::vault) struct Patience<'a> {
    health: &'a Health,
    end: Instant,
    pause: Duration,
    room: Option<SemaphorePermit<'a>>,
    scout: Option<SemaphorePermit<'a>>,
}

impl<'a> Patience<'a> {
    /// Begins with the first try.
    pub(in crate::vault) fn new(health: &'a Health) -> Self {
        let end = Instant::now() + PATIENCE;
        Self { health, end, pause: PAUSES[0], room: None, scout: None }
    }

    /// Waits after a try that failed; whether another one is worth it.
    pub(in crate::vault) async fn outlasts(&mut self, fault: &Fault) -> bool {
        self.scout = None;
        if !fault.may_pass() || Instant::now() >= self.end {
            return false;
        }
        let waiting = &self.health.waiting;
        if self.room.is_none() {
            if waiting.is_in_vain() {
                return false;
            }
            let Ok(room) = waiting.room.try_acquire() else { return false };
            self.room = Some(room);
        }
        let pause = self.pause;
        self.pause = (pause * 2).min(PAUSES[1]);
        if self.health.is_reachable() {
            time::sleep_until(self.end.min(Instant::now() + jitter(pause))).await;
            return true;
        }
        tokio::select! {
            () = self.health.reachable() => {
                // Not all at the same moment.
                time::sleep_until(self.end.min(Instant::now() + spread(pause * 2))).await;
                true
            }
            scout = scout(waiting) => {
                self.scout = scout;
                true
            }
            () = time::sleep_until(self.end) => false,
        }
    }
}

/// Waits for one's turn to try while Vault is away.
async fn scout(waiting: &Waiting) -> Option<SemaphorePermit<'_>> {
    let turn = waiting.scout.acquire().await.ok();
    time::sleep(jitter(SCOUT)).await;
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

    use http::StatusCode;

    use super::super::super::fault::Refusal;
    use super::*;
    use crate::State;

    const WELL: State = State::Reachable { latency: Duration::ZERO };

    fn refused(status: u16) -> Fault {
        Fault::Refused {
            endpoint: "http://vault".to_owned(),
            status: StatusCode::from_u16(status).unwrap(),
            refusal: Refusal::default(),
        }
    }

    fn no_connection() -> Fault {
        Fault::NoConnection { endpoint: "http://vault".to_owned(), reason: "refused".to_owned() }
    }

    /// Calls until it works or is given up: the tries, and the time that it took.
    async fn call(health: &Health, mut attempt: impl FnMut() -> Result<(), Fault>) -> (u32, bool) {
        let mut patience = Patience::new(health);
        let mut tries = 0;
        loop {
            tries += 1;
            match attempt() {
                Ok(()) => return (tries, true),
                Err(fault) => {
                    health.note_fault(&fault);
                    if !patience.outlasts(&fault).await {
                        return (tries, false);
                    }
                }
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_passes_within_the_time_is_outlasted_and_what_does_not_is_not() {
        for (fault, well) in [(no_connection(), false), (refused(503), false), (refused(500), true)]
        {
            for (away, works) in [(2000, true), (3900, true), (60_000, false)] {
                let health = Arc::new(Health::new());
                health.set_for_test(WELL);
                let back = Instant::now() + Duration::from_millis(away);
                let watch = Arc::clone(&health);
                tokio::spawn(async move {
                    time::sleep_until(back).await;
                    watch.set_for_test(WELL);
                });
                let start = Instant::now();
                let attempt = || if Instant::now() < back { Err(fault.clone()) } else { Ok(()) };
                let (tries, worked) = call(&health, attempt).await;
                assert_eq!(worked, works, "{fault} for {away} ms");
                assert!(start.elapsed() <= PATIENCE, "{fault}: {:?}", start.elapsed());
                assert!(tries <= if well { 10 } else { 30 }, "{fault}: {tries} tries");
                if !worked {
                    assert!(start.elapsed() >= AWAY, "{fault}: {:?}", start.elapsed());
                    // Known to be away by now.
                    let again = Instant::now();
                    assert_eq!(call(&health, || Err(fault.clone())).await, (1, false));
                    assert_eq!(again.elapsed(), Duration::ZERO);
                }
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_does_not_pass_is_not_waited_for() {
        for status in [400, 403, 404, 405, 413] {
            let health = Health::new();
            let start = Instant::now();
            assert_eq!(call(&health, || Err(refused(status))).await, (1, false));
            assert_eq!(start.elapsed(), Duration::ZERO, "{status}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_outage_ends_with_an_answer_and_is_forgotten_in_time() {
        let waiting = Waiting::new();
        waiting.failed();
        time::advance(AWAY).await;
        waiting.failed();
        assert!(!waiting.is_in_vain());
        time::advance(Duration::from_millis(1)).await;
        assert!(waiting.is_in_vain());
        waiting.ended();
        assert!(!waiting.is_in_vain());

        // Two failures with nothing known in between are of two outages.
        waiting.failed();
        time::advance(APART + Duration::from_millis(1)).await;
        assert!(!waiting.is_in_vain());
        waiting.failed();
        assert!(!waiting.is_in_vain());
    }

    /// While Vault is away one call at a time tries, however many wait; and they come back one
    /// after the other.
    #[tokio::test(start_paused = true)]
    async fn those_who_wait_leave_vault_in_peace() {
        const CALLERS: usize = 500;
        let health = Arc::new(Health::new());
        let start = Instant::now();
        let back = start + Duration::from_secs(2);
        let (early, at_return) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let mut callers = tokio::task::JoinSet::new();
        for _ in 0..CALLERS {
            let health = Arc::clone(&health);
            let (early, at_return) = (Arc::clone(&early), Arc::clone(&at_return));
            callers.spawn(async move {
                let attempt = || {
                    let now = Instant::now();
                    if now < back {
                        early.fetch_add(1, Ordering::Relaxed);
                        return Err(no_connection());
                    }
                    if now < back + Duration::from_millis(20) {
                        at_return.fetch_add(1, Ordering::Relaxed);
                    }
                    health.set_for_test(WELL);
                    Ok(())
                };
                call(&health, attempt).await.1
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
    async fn beyond_a_number_nobody_waits() {
        let health = Health::new();
        let all = u32::try_from(MAX_WAITING).unwrap();
        let _room = health.waiting.room.try_acquire_many(all).unwrap();
        let start = Instant::now();
        assert_eq!(call(&health, || Err(no_connection())).await, (1, false));
        assert_eq!(start.elapsed(), Duration::ZERO);
    }
}
