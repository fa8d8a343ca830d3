//! Runs the requests of one HTTP/2 connection inside the connection's own task.
//!
//! A task for each request costs more than all other work for a request: the runtime polls the
//! connection as soon as the first request has its answer, so that each answer becomes a TLS record
//! and a system call of its own. Here, requests that arrived together run one after the other, and
//! their answers are written together: in batches, so that the client can already work on the first
//! of many answers.
//!
//! A connection therefore uses one core at most. Long work does not run here: calls to key stores
//! are awaited, and work on a large body yields between its steps (see `fairness`).

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::stream::{FuturesUnordered, Stream as _};
use hyper::rt::Executor;
use parking_lot::Mutex;

/// How many answers are written together: enough to make the cost of a system call small for each.
const BATCH: usize = 32;

type Request = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The executor of a connection: hyper puts the requests that have just arrived here.
#[derive(Clone, Default)]
pub(super) struct RequestQueue(Arc<Mutex<Vec<Request>>>);

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for RequestQueue {
    fn execute(&self, request: F) {
        self.0.lock().push(Box::pin(request));
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
            ready.extend(queue.0.lock().drain(..));
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
        if !self.queue.0.lock().is_empty() {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }
}
