//! How much may be under way at a time, in requests and in bytes.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep_until};

/// Requests that are passed on at a time; more of them wait. MinIO has some hundred.
const REQUESTS: usize = 512;

/// Of those, the ones with a large body or a large answer: each holds up to 5 MB, most of it an
/// answer that no key server gives.
const LARGE: usize = 32;

/// The largest body of a request that is not large.
pub(crate) const SMALL_BODY: usize = 16 * 1024;

/// What all comparisons may hold, in KiB. 256 small ones fit: as many as a server that hangs can
/// have within the time for an answer before the next ones are not compared.
const COMPARISONS_KIB: usize = 64 * 1024;

/// What a comparison is counted with at least, in KiB.
const COMPARISON_KIB: usize = 256;

/// What a comparison of large answers is counted with, in KiB.
const LARGE_COMPARISON_KIB: usize = 8 * 1024;

/// Requests of the shadow's own that wait for their turn: cross-decryptions, and repetitions after a
/// difference. Later ones are left out: they are a sample.
const OWN: usize = 64;

/// The time between two of them, each of which goes to both servers: 20 a second.
const OWN_PACE: Duration = Duration::from_millis(50);

/// What is under way.
pub(crate) struct Room {
    requests: Arc<Semaphore>,
    large: Arc<Semaphore>,
    comparisons: Arc<Semaphore>,
    own: Arc<Semaphore>,
    next_own: Mutex<Instant>,
}

/// The place of a request until it is answered.
pub(crate) struct Place {
    large: Option<OwnedSemaphorePermit>,
    all_large: Arc<Semaphore>,
    _request: Option<OwnedSemaphorePermit>,
}

impl Room {
    pub(crate) fn new() -> Self {
        Self {
            requests: Arc::new(Semaphore::new(REQUESTS)),
            large: Arc::new(Semaphore::new(LARGE)),
            comparisons: Arc::new(Semaphore::new(COMPARISONS_KIB)),
            own: Arc::new(Semaphore::new(OWN)),
            next_own: Mutex::new(Instant::now()),
        }
    }

    /// Waits for the place of a request.
    pub(crate) async fn enter(&self) -> Place {
        // The semaphores are never closed.
        let request = Arc::clone(&self.requests).acquire_owned().await.ok();
        Place { large: None, all_large: Arc::clone(&self.large), _request: request }
    }

    /// The place of a comparison; `None` if there is none left. `body` is the length of the request's
    /// body.
    pub(crate) fn compare(&self, body: usize, is_large: bool) -> Option<OwnedSemaphorePermit> {
        // The body, both answers, and what is made of them.
        let own = COMPARISON_KIB + 4 * body.div_ceil(1024);
        let kib = if is_large { own.max(LARGE_COMPARISON_KIB) } else { own };
        let kib = u32::try_from(kib).unwrap_or(u32::MAX);
        Arc::clone(&self.comparisons).try_acquire_many_owned(kib).ok()
    }

    /// Waits until no comparison is under way.
    pub(crate) async fn all_compared(&self) {
        let all = u32::try_from(COMPARISONS_KIB).unwrap_or(u32::MAX);
        let _ = self.comparisons.acquire_many(all).await;
    }

    /// The turn of a request of the shadow's own, after those that wait; `None` if too many do.
    pub(crate) async fn own_request(&self) -> Option<OwnedSemaphorePermit> {
        let permit = Arc::clone(&self.own).try_acquire_owned().ok()?;
        let turn = {
            let mut next = self.next_own.lock();
            let turn = (*next).max(Instant::now());
            *next = turn + OWN_PACE;
            turn
        };
        sleep_until(turn).await;
        Some(permit)
    }
}

impl Place {
    /// Waits until there is room for something large, which each request asks for once: who has it
    /// needs nothing more to go on.
    pub(crate) async fn enlarge(&mut self) {
        if self.large.is_none() {
            self.large = Arc::clone(&self.all_large).acquire_owned().await.ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comparisons_are_bounded_in_number_and_bytes() {
        let room = Room::new();
        let mut held: Vec<_> = std::iter::from_fn(|| room.compare(0, false)).collect();
        assert_eq!(held.len(), 256);
        held.pop();
        assert!(room.compare(100, false).is_none(), "a body counts");
        assert!(room.compare(0, false).is_some());
        drop(held);
        let large: Vec<_> = std::iter::from_fn(|| room.compare(1_000_000, false)).collect();
        assert_eq!(large.len(), 15);
        drop(large);
        let lists: Vec<_> = std::iter::from_fn(|| room.compare(0, true)).collect();
        assert_eq!(lists.len(), 8);
    }

    #[tokio::test(start_paused = true)]
    async fn own_requests_have_a_pace_and_no_long_queue() {
        let room = Arc::new(Room::new());
        let begin = Instant::now();
        let all: Vec<_> = (0..100)
            .map(|_| {
                let room = Arc::clone(&room);
                tokio::spawn(async move { room.own_request().await })
            })
            .collect();
        // All are held, so that none makes room for another one.
        let mut taken = Vec::new();
        for one in all {
            taken.extend(one.await.unwrap());
        }
        assert_eq!(taken.len(), OWN);
        assert!(begin.elapsed() >= OWN_PACE * 63);
    }
}
