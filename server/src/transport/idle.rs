//! Idle tracking: which connections have no request, which take too long to send a request's head or
//! to take an answer (`untaken`), and when a connection is to be closed for it.
//!
//! hyper's own time limit for heads also ends kept-alive connections that wait for their next
//! request, so it cannot be 5 s while the idle timeout is 90 s. This module tells the two apart: a
//! connection is idle until bytes arrive, and from the first of them the time for a head runs.

use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;
use zeroize::Zeroizing;

use super::class::Class;
use super::clock::{Millis, millis, now};
use super::ending::Ending;
use super::untaken::{UntakenAnswer, UntakenAnswers};

/// A head has to be complete this long after its first byte (contract `api.md`, Transport).
const HEAD_TIMEOUT: Millis = 5_000;

/// When the server shuts down, a connection that has not had a request yet has this long to send
/// one, which may already be on its way. hyper would wait for the first bytes of HTTP/2 without a
/// limit.
pub(super) const FIRST_REQUEST_TIMEOUT: Millis = 1_000;

/// How long the server reads from a connection that it closes (lingering close). If a client still
/// sends the body of a refused request, the system resets a connection that is closed with unread
/// data, and the client may lose the answer.
const LINGER: Duration = Duration::from_millis(500);

/// What one connection is doing, as far as its idle timeout depends on it.
#[derive(Debug)]
pub(super) struct IdleTracker {
    /// Requests without an answer, and streams that are still open.
    requests: AtomicUsize,
    idle_since: AtomicU64,
    /// The class of the client, as [`Class::index`].
    class: AtomicUsize,
    /// How long the connection may be idle: its class decides.
    idle_timeout: AtomicU64,
    answers: Arc<UntakenAnswers>,
    /// Whether bytes have arrived that may be the start of a head.
    head_may_begin: AtomicBool,
    /// When the first byte of an incomplete head arrived; 0 if there is none.
    head_since: AtomicU64,
    /// Whether the connection has had a request.
    was_used: AtomicBool,
    /// When the server began to shut down or handed over; 0 before that.
    shutdown_since: AtomicU64,
    /// How long the connection may be idle after the server has handed over; 0 before that.
    idle_after: AtomicU64,
    /// Whether bytes that arrive outside of a request start a head, as in HTTP/1.1. In HTTP/2 they
    /// may be anything.
    tracks_heads: bool,
}

impl IdleTracker {
    pub(super) fn new(tracks_heads: bool, class: Class) -> Arc<Self> {
        Arc::new(Self {
            requests: AtomicUsize::new(0),
            idle_since: AtomicU64::new(now()),
            class: AtomicUsize::new(class.index()),
            idle_timeout: AtomicU64::new(millis(class.idle_timeout())),
            answers: UntakenAnswers::new(class),
            head_may_begin: AtomicBool::new(false),
            head_since: AtomicU64::new(0),
            was_used: AtomicBool::new(false),
            shutdown_since: AtomicU64::new(0),
            idle_after: AtomicU64::new(0),
            tracks_heads,
        })
    }

    /// Notes that the client's class has changed.
    pub(super) fn set_class(&self, class: Class) {
        self.class.store(class.index(), Ordering::Relaxed);
        self.idle_timeout.store(millis(class.idle_timeout()), Ordering::Relaxed);
        self.answers.set_class(class);
    }

    /// Whether the connection speaks HTTP/1.1.
    pub(super) const fn is_http1(&self) -> bool {
        self.tracks_heads
    }

    /// Whether there is no request.
    pub(super) fn is_idle(&self) -> bool {
        self.requests.load(Ordering::Relaxed) == 0
    }

    /// Notes that a request's head is complete. The connection is not idle until the result is
    /// dropped.
    pub(super) fn begin_request(self: &Arc<Self>) -> ActiveRequest {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.was_used.store(true, Ordering::Relaxed);
        self.head_may_begin.store(false, Ordering::Relaxed);
        self.head_since.store(0, Ordering::Relaxed);
        ActiveRequest { tracker: Arc::clone(self), answers: None }
    }

    fn bytes_arrived(&self) {
        if self.tracks_heads && self.requests.load(Ordering::Relaxed) == 0 {
            self.head_may_begin.store(true, Ordering::Relaxed);
        }
    }

    /// To be called after the connection was polled: bytes that have arrived and did not complete a
    /// request start a head. Only then is the clock read.
    pub(super) fn update(&self) {
        if self.head_may_begin.load(Ordering::Relaxed) {
            self.head_may_begin.store(false, Ordering::Relaxed);
            if self.head_since.load(Ordering::Relaxed) == 0 {
                self.head_since.store(now(), Ordering::Relaxed);
            }
        }
    }

    /// Notes that the connection is to end.
    pub(super) fn begin_shutdown(&self) {
        self.shutdown_since.store(now(), Ordering::Relaxed);
    }

    /// Notes that the connection is to end as all of them, and how long it may be idle if another
    /// process has taken over.
    pub(super) fn begin_ending(&self, ending: Ending) {
        if let Ending::HandOver(idle) = ending {
            self.idle_after.store(millis(idle).max(1), Ordering::Relaxed);
        }
        self.begin_shutdown();
    }

    /// Whether the connection is to end.
    pub(super) fn is_shutting_down(&self) -> bool {
        self.shutdown_since.load(Ordering::Relaxed) != 0
    }

    /// Whether the connection has had a request.
    pub(super) fn was_used(&self) -> bool {
        self.was_used.load(Ordering::Relaxed)
    }

    /// Whether a head has begun to arrive and is not complete.
    pub(super) fn is_receiving_head(&self) -> bool {
        self.head_since.load(Ordering::Relaxed) != 0
    }

    /// When the connection is to be closed unless something changes; `None` while it has a request
    /// and no answer that its client does not take.
    pub(super) fn deadline(&self) -> Option<Millis> {
        match (self.idle_deadline(), self.answers.deadline()) {
            (Some(idle), Some(answer)) => Some(idle.min(answer)),
            (idle, answer) => idle.or(answer),
        }
    }

    fn idle_deadline(&self) -> Option<Millis> {
        if self.requests.load(Ordering::Relaxed) > 0 {
            return None;
        }
        let head_since = self.head_since.load(Ordering::Relaxed);
        let shutdown_since = self.shutdown_since.load(Ordering::Relaxed);
        let idle_after = self.idle_after.load(Ordering::Relaxed);
        let timeout = self.idle_timeout.load(Ordering::Relaxed);
        let idle = self.idle_since.load(Ordering::Relaxed) + timeout;
        if head_since != 0 {
            Some(head_since + HEAD_TIMEOUT)
        } else if shutdown_since != 0 && idle_after != 0 {
            Some(idle.min(shutdown_since + idle_after))
        } else if shutdown_since != 0 && !self.was_used() {
            Some(shutdown_since + FIRST_REQUEST_TIMEOUT)
        } else {
            Some(idle)
        }
    }

    /// When to ask for the deadline again while there is none: before any new one can pass.
    pub(super) fn next_check() -> Millis {
        now() + HEAD_TIMEOUT
    }
}

/// A request that is being answered, or the stream that is its answer. The connection is not idle
/// while this exists.
pub(crate) struct ActiveRequest {
    tracker: Arc<IdleTracker>,
    /// Of a request that shares its connection with requests of other clients: its own.
    answers: Option<Arc<UntakenAnswers>>,
}

impl ActiveRequest {
    /// The same of a request with answers of its own: if the client does not take them, the request
    /// ends, and the connection goes on.
    pub(super) fn with_answers(mut self, answers: Arc<UntakenAnswers>) -> Self {
        self.answers = Some(answers);
        self
    }

    /// Whether other clients have requests on the same connection.
    pub(crate) fn shares_connection(&self) -> bool {
        self.answers.is_some()
    }

    /// The class of the client, as [`Class::index`], for metrics: it costs no look at the policies.
    pub(crate) fn class_index(&self) -> usize {
        self.tracker.class.load(Ordering::Relaxed)
    }

    /// Another one for the same connection, for work that goes on after the answer.
    pub(crate) fn another(&self) -> Self {
        self.tracker.begin_request()
    }

    /// Notes that the request has an answer, which is handed over to the connection as a whole.
    pub(crate) fn begin_answer(&self) -> UntakenAnswer {
        self.tracker.answers.begin()
    }

    /// Notes that the request has an answer that comes in pieces: what it returns is for the first.
    pub(crate) fn begin_piece(&self) -> UntakenAnswer {
        self.answers_in_pieces().begin()
    }

    /// Notes of an answer that comes in pieces that the next piece waits: what it returns is called
    /// for each of them.
    pub(crate) fn pieces(&self) -> impl Fn() -> UntakenAnswer + Send + use<> {
        let answers = Arc::clone(self.answers_in_pieces());
        move || answers.begin()
    }

    fn answers_in_pieces(&self) -> &Arc<UntakenAnswers> {
        self.answers.as_ref().unwrap_or(&self.tracker.answers)
    }
}

impl Drop for ActiveRequest {
    fn drop(&mut self) {
        self.tracker.idle_since.store(now(), Ordering::Relaxed);
        self.tracker.requests.fetch_sub(1, Ordering::Relaxed);
    }
}

/// An I/O object that tells an [`IdleTracker`] when bytes arrive, and that lingers when it is shut
/// down.
pub(super) struct TrackedIo<T> {
    inner: T,
    tracker: Arc<IdleTracker>,
    /// Set once the write side is closed.
    lingering: Option<Pin<Box<Sleep>>>,
}

impl<T> TrackedIo<T> {
    pub(super) fn new(inner: T, tracker: &Arc<IdleTracker>) -> Self {
        Self { inner, tracker: Arc::clone(tracker), lingering: None }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for TrackedIo<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let result = ready!(Pin::new(&mut self.inner).poll_read(cx, buffer));
        if buffer.filled().len() > before {
            self.tracker.bytes_arrived();
        }
        Poll::Ready(result)
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for TrackedIo<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    /// Closes the write side, then reads and discards until the client has closed its side or
    /// [`LINGER`] is over.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { inner, lingering, .. } = &mut *self;
        let time_limit = match lingering {
            Some(time_limit) => time_limit,
            None => {
                ready!(Pin::new(&mut *inner).poll_shutdown(cx))?;
                lingering.insert(Box::pin(tokio::time::sleep(LINGER)))
            }
        };
        // What is discarded may be a plaintext: it is wiped.
        let mut discarded = Zeroizing::new([0; 4096]);
        while time_limit.as_mut().poll(cx).is_pending() {
            let mut buffer = ReadBuf::new(&mut *discarded);
            let read = ready!(Pin::new(&mut *inner).poll_read(cx, &mut buffer));
            if read.is_err() || buffer.filled().is_empty() {
                break;
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_idle_unless_it_has_a_request() {
        let tracker = IdleTracker::new(false, Class::Known);
        assert!(tracker.deadline().is_some());
        let request = tracker.begin_request();
        assert!(tracker.deadline().is_none());
        drop(request);
        assert!(tracker.deadline().is_some());
    }

    #[test]
    fn a_stranger_may_be_idle_as_long_as_a_head_may_take() {
        let tracker = IdleTracker::new(false, Class::Stranger);
        let stranger = tracker.deadline().unwrap();
        tracker.set_class(Class::Known);
        assert_eq!(tracker.deadline(), Some(stranger + 85_000));
        tracker.set_class(Class::Stranger);
        assert_eq!(tracker.deadline(), Some(stranger));
    }

    #[test]
    fn an_idle_connection_has_to_take_its_answers_too() {
        for class in [Class::Stranger, Class::Known] {
            let tracker = IdleTracker::new(false, class);
            let answer = tracker.begin_request().begin_answer();
            assert!(tracker.is_idle());
            assert!(tracker.deadline().unwrap() <= now() + millis(class.answer_timeout()));
            drop(answer);
            assert!(tracker.deadline().unwrap() > now() + 4_000);
        }
    }

    #[test]
    fn a_head_is_due_from_its_first_byte_until_it_is_complete() {
        let tracker = IdleTracker::new(true, Class::Known);
        let idle = tracker.deadline().unwrap();
        tracker.bytes_arrived();
        assert_eq!(tracker.deadline(), Some(idle));
        tracker.update();
        assert!(tracker.is_receiving_head());
        assert!(tracker.deadline().unwrap() < idle);

        let request = tracker.begin_request();
        assert!(!tracker.is_receiving_head());
        // The body of a request is not a head.
        tracker.bytes_arrived();
        drop(request);
        tracker.update();
        assert!(!tracker.is_receiving_head());
    }
}
