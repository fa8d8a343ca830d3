//! Idle tracking: which connections have no request, which take too long to send a request's head or
//! to take an answer, and when a connection is to be closed for it.
//!
//! hyper's own time limit for heads also ends kept-alive connections that wait for their next
//! request, so it cannot be 5 s while the idle timeout is 90 s. This module tells the two apart: a
//! connection is idle until bytes arrive, and from the first of them the time for a head runs.

use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};
use zeroize::Zeroizing;

use super::class::Class;

/// A head has to be complete this long after its first byte (contract `api.md`, Transport).
const HEAD_TIMEOUT: Millis = 5_000;

/// When the server shuts down, a connection that has not had a request yet has this long to send
/// one, which may already be on its way. hyper would wait for the first bytes of HTTP/2 without a
/// limit.
const FIRST_REQUEST_TIMEOUT: Millis = 1_000;

/// How long the server reads from a connection that it closes (lingering close). If a client still
/// sends the body of a refused request, the system resets a connection that is closed with unread
/// data, and the client may lose the answer.
const LINGER: Duration = Duration::from_millis(500);

/// Milliseconds since [`epoch`]; 0 is never a time.
pub(super) type Millis = u64;

/// What one connection is doing, as far as its idle timeout depends on it.
#[derive(Debug, Default)]
pub(super) struct IdleTracker {
    /// Requests without an answer, and streams that are still open.
    requests: AtomicUsize,
    idle_since: AtomicU64,
    /// The class of the client, as [`Class::index`].
    class: AtomicUsize,
    /// How long the connection may be idle: its class decides.
    idle_timeout: AtomicU64,
    /// Answers that the client has not taken, by the period in which they were made: the current
    /// one, and the one before it. A period ends when no answer of the one before it is left, so
    /// that the clock is read only for answers that are not taken at once.
    untaken: [AtomicUsize; 2],
    /// The position of the current period in `untaken`.
    period: AtomicUsize,
    /// When the current period began.
    period_since: AtomicU64,
    /// How long the answers of the period before may stay untaken.
    answer_timeout: AtomicU64,
    /// Whether bytes have arrived that may be the start of a head.
    head_may_begin: AtomicBool,
    /// When the first byte of an incomplete head arrived; 0 if there is none.
    head_since: AtomicU64,
    /// Whether the connection has had a request.
    was_used: AtomicBool,
    /// When the server began to shut down; 0 before that.
    shutdown_since: AtomicU64,
    /// Whether bytes that arrive outside of a request start a head. In HTTP/2 they may be anything.
    tracks_heads: bool,
}

impl IdleTracker {
    pub(super) fn new(tracks_heads: bool, class: Class) -> Arc<Self> {
        let idle_since = AtomicU64::new(now());
        let idle_timeout = AtomicU64::new(millis(class.idle_timeout()));
        let answer_timeout = AtomicU64::new(millis(class.answer_timeout()));
        let class = AtomicUsize::new(class.index());
        let tracker = Self { idle_since, class, idle_timeout, answer_timeout, ..Self::default() };
        Arc::new(Self { tracks_heads, ..tracker })
    }

    /// Notes that the client's class has changed.
    pub(super) fn set_class(&self, class: Class) {
        self.class.store(class.index(), Ordering::Relaxed);
        self.idle_timeout.store(millis(class.idle_timeout()), Ordering::Relaxed);
        self.answer_timeout.store(millis(class.answer_timeout()), Ordering::Relaxed);
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
        ActiveRequest(Arc::clone(self))
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

    /// Notes that the server shuts down.
    pub(super) fn begin_shutdown(&self) {
        self.shutdown_since.store(now(), Ordering::Relaxed);
    }

    /// Whether the server shuts down.
    pub(super) fn is_shutting_down(&self) -> bool {
        self.shutdown_since.load(Ordering::Relaxed) != 0
    }

    /// Whether a head has begun to arrive and is not complete.
    pub(super) fn is_receiving_head(&self) -> bool {
        self.head_since.load(Ordering::Relaxed) != 0
    }

    /// When the connection is to be closed unless something changes; `None` while it has a request
    /// and no answer that its client does not take.
    pub(super) fn deadline(&self) -> Option<Millis> {
        match (self.idle_deadline(), self.answer_deadline()) {
            (Some(idle), Some(answer)) => Some(idle.min(answer)),
            (idle, answer) => idle.or(answer),
        }
    }

    /// When the answers of the period before have to be taken. An answer gets at least the timeout,
    /// and at most twice as much.
    #[expect(clippy::indexing_slicing, reason = "a period is 0 or 1")]
    fn answer_deadline(&self) -> Option<Millis> {
        let current = self.period.load(Ordering::Relaxed);
        let before = current ^ 1;
        if self.untaken[before].load(Ordering::Relaxed) == 0 {
            if self.untaken[current].load(Ordering::Relaxed) == 0 {
                return None;
            }
            self.period.store(before, Ordering::Relaxed);
            self.period_since.store(now(), Ordering::Relaxed);
        }
        let timeout = self.answer_timeout.load(Ordering::Relaxed);
        Some(self.period_since.load(Ordering::Relaxed) + timeout)
    }

    fn idle_deadline(&self) -> Option<Millis> {
        if self.requests.load(Ordering::Relaxed) > 0 {
            return None;
        }
        let head_since = self.head_since.load(Ordering::Relaxed);
        let shutdown_since = self.shutdown_since.load(Ordering::Relaxed);
        if head_since != 0 {
            Some(head_since + HEAD_TIMEOUT)
        } else if shutdown_since != 0 && !self.was_used.load(Ordering::Relaxed) {
            Some(shutdown_since + FIRST_REQUEST_TIMEOUT)
        } else {
            let timeout = self.idle_timeout.load(Ordering::Relaxed);
            Some(self.idle_since.load(Ordering::Relaxed) + timeout)
        }
    }

    /// When to ask for the deadline again while there is none: before any new one can pass.
    pub(super) fn next_check() -> Millis {
        now() + HEAD_TIMEOUT
    }
}

/// A request that is being answered, or the stream that is its answer. The connection is not idle
/// while this exists.
pub(crate) struct ActiveRequest(Arc<IdleTracker>);

impl ActiveRequest {
    /// The class of the client, as [`Class::index`], for metrics: it costs no look at the policies.
    pub(crate) fn class_index(&self) -> usize {
        self.0.class.load(Ordering::Relaxed)
    }

    /// Another one for the same connection, for work that goes on after the answer.
    pub(crate) fn another(&self) -> Self {
        self.0.begin_request()
    }
}

impl ActiveRequest {
    /// Notes of an answer that comes in pieces that the next piece waits: what it returns is called
    /// for each of them.
    pub(crate) fn pieces(&self) -> impl Fn() -> UntakenAnswer + Send + use<> {
        let tracker = Arc::clone(&self.0);
        move || UntakenAnswer::new(&tracker)
    }

    /// Notes that the request has an answer, or a piece of one.
    pub(crate) fn begin_answer(&self) -> UntakenAnswer {
        UntakenAnswer::new(&self.0)
    }
}

/// An answer, or a piece of one, that has to be taken in time. To be dropped with the bytes.
pub(crate) struct UntakenAnswer {
    tracker: Arc<IdleTracker>,
    period: usize,
}

impl UntakenAnswer {
    #[expect(clippy::indexing_slicing, reason = "a period is 0 or 1")]
    fn new(tracker: &Arc<IdleTracker>) -> Self {
        let period = tracker.period.load(Ordering::Relaxed);
        tracker.untaken[period].fetch_add(1, Ordering::Relaxed);
        Self { tracker: Arc::clone(tracker), period }
    }

    /// The next piece of the same answer, whose time begins now.
    pub(crate) fn next_piece(&self) -> Self {
        Self::new(&self.tracker)
    }
}

impl Drop for UntakenAnswer {
    #[expect(clippy::indexing_slicing, reason = "a period is 0 or 1")]
    fn drop(&mut self) {
        self.tracker.untaken[self.period].fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for ActiveRequest {
    fn drop(&mut self) {
        self.0.idle_since.store(now(), Ordering::Relaxed);
        self.0.requests.fetch_sub(1, Ordering::Relaxed);
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

fn epoch() -> Instant {
    // One millisecond in the past, so that `now` is never 0.
    static EPOCH: LazyLock<Instant> = LazyLock::new(|| Instant::now() - Duration::from_millis(1));
    *EPOCH
}

/// A time in the form that the runtime's timers take.
pub(super) fn instant(at: Millis) -> Instant {
    epoch() + Duration::from_millis(at)
}

pub(super) fn now() -> Millis {
    millis(epoch().elapsed())
}

fn millis(duration: Duration) -> Millis {
    Millis::try_from(duration.as_millis()).unwrap_or(Millis::MAX)
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
    fn each_answer_has_to_be_taken_in_time() {
        let tracker = IdleTracker::new(false, Class::Known);
        let request = tracker.begin_request();
        assert_eq!(tracker.deadline(), None);
        drop(request.begin_answer());
        assert_eq!(tracker.deadline(), None, "it was taken at once");

        let start = now();
        let first = request.begin_answer();
        let deadline = tracker.deadline().unwrap();
        assert!(deadline >= start + 15_000);
        // Others that come and go do not change that.
        for _ in 0..3 {
            let _other = request.begin_answer();
            assert_eq!(tracker.deadline(), Some(deadline));
        }
        let second = request.begin_answer();
        drop(first);
        // The time of the second begins at the latest now.
        assert!(tracker.deadline().unwrap() <= now() + 15_000);
        let third = second.next_piece();
        drop(second);
        assert!(tracker.deadline().is_some());
        drop(third);
        assert_eq!(tracker.deadline(), None);
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
