//! The requests of one HTTP/2 connection, run inside the connection's own task.
//!
//! A task for each request looks natural and costs the most of all that a request costs: the
//! runtime runs the connection as soon as the first of them has its answer, and so each answer
//! becomes a TLS record and a system call of its own. Here requests that arrived together run one
//! after the other, and their answers leave together: not all of many, so that the client has
//! something to do meanwhile.
//!
//! A connection therefore keeps one core busy at most. What takes long does not run here: key
//! stores are waited for, and a large body is worked on in turns (see `turn`).

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::stream::{FuturesUnordered, Stream as _};
use hyper::rt::Executor;
use parking_lot::Mutex;

/// How many answers leave together: enough that a system call is little to each of them.
const TOGETHER: usize = 32;

type Request = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Where hyper puts the requests that have just arrived.
#[derive(Clone, Default)]
pub(crate) struct Arrivals(Arc<Mutex<Vec<Request>>>);

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Arrivals {
    fn execute(&self, request: F) {
        self.0.lock().push(Box::pin(request));
    }
}

/// A connection and its requests, as one future.
pub(crate) struct WithRequests<C> {
    connection: C,
    arrivals: Arrivals,
    /// Taken from `arrivals`, in their order.
    arrived: VecDeque<Request>,
    /// Requests that wait: for their body, or for the key store.
    waiting: FuturesUnordered<Request>,
}

impl<C> WithRequests<C> {
    /// `connection` has `arrivals` for its executor.
    pub(crate) fn new(connection: C, arrivals: Arrivals) -> Self {
        Self { connection, arrivals, arrived: VecDeque::new(), waiting: FuturesUnordered::new() }
    }

    /// The connection itself.
    pub(crate) fn connection(&mut self) -> &mut C {
        &mut self.connection
    }

    /// Runs some of what can run; tells whether that was anything.
    fn run_requests(&mut self, cx: &mut Context<'_>) -> bool {
        let some = self.arrived.len().min(TOGETHER);
        let mut ran = some > 0;
        for mut request in self.arrived.drain(..some) {
            // Most have their answer at once. One that waits is polled again in its new place,
            // where it gets a waker of its own.
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
            let Self { arrivals, arrived, .. } = &mut *self;
            arrived.extend(arrivals.0.lock().drain(..));
        }
        while self.run_requests(cx) {
            // Their answers leave now.
            if let Poll::Ready(ended) = Pin::new(&mut self.connection).poll(cx) {
                return Poll::Ready(ended);
            }
            if self.arrived.is_empty() {
                break;
            }
        }
        // What arrived meanwhile gives way to other connections first.
        if !self.arrivals.0.lock().is_empty() {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }
}
