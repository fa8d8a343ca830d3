//! The requests of one change that may still be carried out.
//!
//! A store may carry a request out long after its sender has given it up: it was paused, or its
//! disk was. As long as the connection is open the answer tells the outcome, so a request of a
//! change goes on after its time limit. One that has lost its connection may be carried out until
//! the store itself gives it up.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::StatusCode;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, oneshot, watch};
use tokio::time::{self, Instant};

use crate::wrap::{MAX_DURATION, Unsettled};

/// How many requests of one client go on after their time limit. There are no more of Vault at work
/// at one time. One more is given up, and counts as one that has lost its connection.
pub(super) const MAX_LINGERING: usize = 128;

/// The requests of one change. The change stays in the line of its key until this is dropped: each
/// request that may still be carried out keeps it.
pub(crate) struct Sends {
    unsettled: Option<Unsettled>,
    counts: Mutex<Counts>,
    /// Whether a request is known to have been carried out, such as by an answer after its time
    /// limit.
    is_done: AtomicBool,
    /// A permit for each request that was found carried out though it had no answer.
    found: Semaphore,
    /// Closed when all is settled.
    settled: watch::Sender<()>,
}

#[derive(Default)]
struct Counts {
    open: usize,
    lost: usize,
}

/// A request that was sent. If it is dropped without an answer, it counts as lost.
pub(crate) struct Sent {
    sends: Arc<Sends>,
    at: Instant,
    is_answered: bool,
}

impl Sends {
    /// The requests of the change that is being performed.
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            unsettled: Unsettled::current(),
            counts: Mutex::default(),
            is_done: AtomicBool::new(false),
            found: Semaphore::new(0),
            settled: watch::Sender::new(()),
        })
    }

    /// Declares that no request overwrites a key.
    pub(crate) fn overwrite_nothing(&self) {
        if let Some(unsettled) = &self.unsettled {
            unsettled.overwrites_nothing();
        }
    }

    /// Whether the outcome of each request is known.
    pub(crate) fn are_settled(&self) -> bool {
        let counts = self.counts.lock();
        counts.open == 0 && counts.lost == 0
    }

    /// Declares that a request was carried out.
    pub(crate) fn carried_out(&self) {
        self.is_done.store(true, Ordering::Relaxed);
        if let Some(unsettled) = &self.unsettled {
            unsettled.carried_out();
        }
    }

    /// Whether a request is known to have been carried out, such as by its answer after it had been
    /// given up.
    pub(crate) fn are_done(&self) -> bool {
        self.is_done.load(Ordering::Relaxed)
    }

    /// Waits until no request can be carried out any more. The caller must not keep this.
    pub(crate) fn settled(&self) -> impl Future<Output = ()> + use<> {
        let mut settled = self.settled.subscribe();
        async move { while settled.changed().await.is_ok() {} }
    }

    /// Notes that one of the requests without an answer was carried out: its value was found, and
    /// no other request has stored it.
    pub(crate) fn found_one(&self) {
        let mut counts = self.counts.lock();
        // Which one it was is not known while another may be answered.
        if counts.open == 0 && counts.lost > 0 {
            counts.lost -= 1;
            self.found.add_permits(1);
        }
    }

    fn begin(self: &Arc<Self>) -> Sent {
        self.counts.lock().open += 1;
        Sent { sends: Arc::clone(self), at: Instant::now(), is_answered: false }
    }

    /// Keeps this until a lost request can no longer be carried out.
    async fn outlast(self: Arc<Self>, sent_at: Instant) {
        if let Ok(Ok(found)) = time::timeout_at(sent_at + MAX_DURATION, self.found.acquire()).await
        {
            found.forget();
            return;
        }
        let mut counts = self.counts.lock();
        match self.found.try_acquire() {
            Ok(found) => found.forget(),
            Err(_) => counts.lost -= 1,
        }
    }
}

impl Sent {
    /// The request was carried out, or never will be.
    pub(super) fn answered(mut self) {
        self.is_answered = true;
    }
}

impl Drop for Sent {
    fn drop(&mut self) {
        let mut counts = self.sends.counts.lock();
        counts.open -= 1;
        if self.is_answered {
            return;
        }
        counts.lost += 1;
        drop(counts);
        // Without a runtime the process ends.
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(Arc::clone(&self.sends).outlast(self.at));
        }
    }
}

/// Sends a request of a change, and waits for its answer for a time. `None` if none came; the
/// request then goes on, so that its outcome becomes known.
pub(super) async fn send(
    request: reqwest::RequestBuilder,
    sends: &Arc<Sends>,
    limit: Duration,
    lingering: &Arc<Semaphore>,
) -> Option<(reqwest::Result<reqwest::Response>, Sent)> {
    let sent = sends.begin();
    let (caller, answer) = oneshot::channel();
    let task = tokio::spawn(async move {
        let result = request.timeout(MAX_DURATION).send().await;
        // Whoever waits judges the answer.
        if let Err((result, sent)) = caller.send((result, sent))
            && is_known(&result)
        {
            if result.is_ok_and(|response| response.status().is_success()) {
                sent.sends.carried_out();
            }
            sent.answered();
        }
    });
    if let Ok(answer) = time::timeout(limit, answer).await {
        return answer.ok();
    }
    match Arc::clone(lingering).try_acquire_owned() {
        Ok(place) => {
            tokio::spawn(async move {
                let _ = task.await;
                drop(place);
            });
        }
        Err(_) => task.abort(),
    }
    None
}

/// Whether an answer that nobody waits for tells the outcome of its request.
fn is_known(result: &reqwest::Result<reqwest::Response>) -> bool {
    match result {
        Ok(response) => {
            let status = response.status();
            !status.is_server_error()
                || matches!(status, StatusCode::NOT_IMPLEMENTED | StatusCode::SERVICE_UNAVAILABLE)
        }
        Err(error) => error.is_connect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The time until all is settled.
    async fn time_to_settle(sends: Arc<Sends>) -> Duration {
        let start = Instant::now();
        let settled = sends.settled();
        drop(sends);
        settled.await;
        start.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_settles_a_request() {
        let sends = Sends::new();
        assert!(sends.are_settled());
        let sent = sends.begin();
        assert!(!sends.are_settled());
        sent.answered();
        assert!(sends.are_settled());
        assert_eq!(time_to_settle(sends).await, Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_without_an_answer_is_settled_when_the_store_has_given_it_up() {
        let sends = Sends::new();
        let sent = sends.begin();
        time::sleep(Duration::from_secs(20)).await;
        drop((sends.begin(), sent));
        assert!(!sends.are_settled());
        let took = time_to_settle(sends).await;
        assert!(took >= MAX_DURATION && took < MAX_DURATION + Duration::from_secs(1), "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_was_found_carried_out_is_settled() {
        let sends = Sends::new();
        drop(sends.begin());
        let open = sends.begin();
        sends.found_one();
        assert!(!sends.are_settled(), "it may be the one that is open");
        open.answered();
        sends.found_one();
        assert!(sends.are_settled());
        assert_eq!(time_to_settle(sends).await, Duration::ZERO);

        let sends = Sends::new();
        drop((sends.begin(), sends.begin()));
        sends.found_one();
        assert!(!sends.are_settled());
        assert!(time_to_settle(sends).await >= MAX_DURATION);
    }
}
