//! Runs the requests of one HTTP/2 connection inside the connection's own task.
//!
//! A task for each request costs more than all other work for a request: the runtime polls the
//! connection as soon as the first request has its answer, so that each answer becomes a TLS record
//! and a system call of its own. Here, requests that arrived together run one after the other, and
//! their answers are written together: in batches, so that the client can already work on the first
//! of many answers.
//!
//! On the connection of a TLS proxy, which several clients share, a request ends whose client does not
//! take its answer. Its stream is reset, and the others go on.
//!
//! A connection therefore uses one core at most. Long work does not run here: calls to key stores
//! are awaited, and work on a large body yields between its steps (see `fairness`).

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_util::stream::{FuturesUnordered, Stream as _};
use hyper::rt::Executor;
use parking_lot::Mutex;
use tokio::time::Sleep;

use super::clock;
use super::idle::IdleTracker;
use super::untaken::UntakenAnswers;

/// How many answers are written together: enough to make the cost of a system call small for each.
const BATCH: usize = 32;

type Request = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The executor of a connection: hyper puts the requests that have just arrived here.
#[derive(Clone, Default)]
pub(super) struct RequestQueue(Arc<Mutex<Queue>>);

#[derive(Default)]
struct Queue {
    requests: Vec<Request>,
    /// Those of the request that comes next.
    next_answers: Option<Arc<UntakenAnswers>>,
}

impl RequestQueue {
    /// Has the request that hyper puts here next end if its client does not take these answers in
    /// time. hyper calls the service for a request, and puts the request here as soon as that has
    /// returned.
    pub(super) fn limit_next(&self, answers: Arc<UntakenAnswers>) {
        self.0.lock().next_answers = Some(answers);
    }
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for RequestQueue {
    fn execute(&self, request: F) {
        let mut queue = self.0.lock();
        let answers = queue.next_answers.take();
        queue.requests.push(match answers {
            None => Box::pin(request),
            Some(answers) => Box::pin(InTime { request: Box::pin(request), answers, timer: None }),
        });
    }
}

/// A request until its client has taken the answer, or has not taken it in time: then hyper's own
/// future is dropped, and the stream is reset with what waits in it.
struct InTime {
    request: Request,
    answers: Arc<UntakenAnswers>,
    /// When to look again. Most requests have their answer at once, and need none.
    timer: Option<Pin<Box<Sleep>>>,
}

impl Future for InTime {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Self { request, answers, timer } = &mut *self;
        if request.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        loop {
            let deadline = answers.deadline();
            if deadline.is_some_and(|deadline| deadline <= clock::now()) {
                return Poll::Ready(());
            }
            // Without an answer there is no deadline: one may wait by then.
            let at = clock::instant(deadline.unwrap_or_else(IdleTracker::next_check));
            let timer = timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(at)));
            if deadline.is_some_and(|_| at < timer.deadline()) || timer.is_elapsed() {
                timer.as_mut().reset(at);
            }
            ready!(timer.as_mut().poll(cx));
        }
    }
}

/// A connection and its requests, as one future.
pub(super) struct WithRequests<C> {
    connection: C,
    queue: RequestQueue,
    /// Requests taken from `queue` and not polled yet, in order of arrival.
    ready: VecDeque<Request>,
    /// Requests that wait for their body or for the key store.
    waiting: FuturesUnordered<Request>,
}

impl<C> WithRequests<C> {
    /// `queue` has to be the executor of `connection`.
    pub(super) fn new(connection: C, queue: RequestQueue) -> Self {
        Self { connection, queue, ready: VecDeque::new(), waiting: FuturesUnordered::new() }
    }

    /// The connection itself.
    pub(super) fn connection(&mut self) -> &mut C {
        &mut self.connection
    }

    /// Polls one batch of new requests and all waiting ones that were woken; `false` if there was
    /// none.
    fn run_requests(&mut self, cx: &mut Context<'_>) -> bool {
        let batch = self.ready.len().min(BATCH);
        let mut ran = batch > 0;
        for mut request in self.ready.drain(..batch) {
            // Most requests have their answer at once. One that waits is polled again in
            // `waiting`, which gives it a waker of its own.
            if request.as_mut().poll(cx).is_pending() {
                self.waiting.push(request);
            }
        }
        if !self.waiting.is_empty() {
            while let Poll::Ready(Some(())) = Pin::new(&mut self.waiting).poll_next(cx) {
                ran = true;
            }
        }
        ran
    }
}

impl<C: Future + Unpin> Future for WithRequests<C> {
    type Output = C::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<C::Output> {
        if let Poll::Ready(ended) = Pin::new(&mut self.connection).poll(cx) {
            return Poll::Ready(ended);
        }
        {
            let Self { queue, ready, .. } = &mut *self;
            ready.extend(queue.0.lock().requests.drain(..));
        }
        while self.run_requests(cx) {
            // Writes the answers of the batch.
            if let Poll::Ready(ended) = Pin::new(&mut self.connection).poll(cx) {
                return Poll::Ready(ended);
            }
            if self.ready.is_empty() {
                break;
            }
        }
        // Requests that arrived meanwhile wait until other connections have run.
        if !self.queue.0.lock().requests.is_empty() {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::transport::Class;

    fn request(answers: &Arc<UntakenAnswers>) -> InTime {
        let request = Box::pin(std::future::pending());
        InTime { request, answers: Arc::clone(answers), timer: None }
    }

    /// Whether a request ends within a time.
    async fn ends(request: &mut InTime, seconds: u64) -> bool {
        tokio::time::timeout(Duration::from_secs(seconds), request).await.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_ends_if_its_answer_is_not_taken() {
        for (class, limit) in [(Class::Stranger, 5), (Class::Known, 15)] {
            let answers = UntakenAnswers::new(class);
            let mut waits = request(&answers);
            assert!(!ends(&mut waits, 600).await, "a request without an answer may wait");
            // An answer that comes while nobody looks.
            let answer = answers.begin();
            assert!(!ends(&mut waits, limit - 1).await);
            assert!(ends(&mut waits, limit + 10).await);
            drop(answer);
            // One that takes piece after piece goes on.
            let mut goes_on = request(&answers);
            for _ in 0..20 {
                let piece = answers.begin();
                assert!(!ends(&mut goes_on, limit - 1).await);
                drop(piece);
                assert!(!ends(&mut goes_on, limit + 1).await);
            }
        }
    }
}
