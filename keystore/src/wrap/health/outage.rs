use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::time::Instant;

/// A call does not wait if the store had been away for longer than this when the call failed. It is
/// less than the time that a call waits (`patience`), so that what follows a call that has waited
/// in vain does not wait again.
pub(super) const AWAY: Duration = Duration::from_secs(4);

/// Failures that are further apart than this belong to two outages: the checks take up to 5 s to
/// find out that a store hangs.
const APART: Duration = Duration::from_secs(10);

/// Calls that may wait at one time; further ones fail at once. Each takes some 10 KB.
pub(super) const MAX_WAITING: usize = 1024;

/// The outage of a store, and the calls that wait for its end.
pub(super) struct Outage {
    /// One permit for each call that may wait.
    pub(super) room: Semaphore,
    /// Held by the call that tries while the store is away.
    pub(super) probe: Semaphore,
    /// When the first call of the outage failed, and when the last one did.
    failures: Mutex<Option<(Instant, Instant)>>,
}

impl Outage {
    pub(super) fn new() -> Self {
        Self {
            room: Semaphore::new(MAX_WAITING),
            probe: Semaphore::new(1),
            failures: Mutex::default(),
        }
    }

    /// Records that a call failed for a reason that may pass.
    pub(super) fn failed(&self) {
        let now = Instant::now();
        let mut failures = self.failures.lock();
        *failures = match *failures {
            Some((first, last)) if now - last <= APART => Some((first, now)),
            _ => Some((now, now)),
        };
    }

    /// Records that the store does its work.
    pub(super) fn ended(&self) {
        *self.failures.lock() = None;
    }

    /// Whether the store has been away for so long that no call waits for it.
    pub(super) fn is_long(&self) -> bool {
        let failures = *self.failures.lock();
        failures.is_some_and(|(first, last)| last.elapsed() <= APART && first.elapsed() > AWAY)
    }
}

#[cfg(test)]
mod tests {
    use tokio::time;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_outage_ends_with_an_answer_and_is_forgotten_in_time() {
        let outage = Outage::new();
        outage.failed();
        time::advance(AWAY).await;
        outage.failed();
        assert!(!outage.is_long());
        time::advance(Duration::from_millis(1)).await;
        assert!(outage.is_long());
        outage.ended();
        assert!(!outage.is_long());

        // Two failures that are far apart belong to two outages.
        outage.failed();
        time::advance(APART + Duration::from_millis(1)).await;
        assert!(!outage.is_long());
        outage.failed();
        assert!(!outage.is_long());
    }
}
