//! Which connections have nothing to do, and which take too long over a request's head.
//!
//! hyper's own time limit for heads also ends kept-alive connections that wait for their next
//! request, so that it cannot be 5 s while the idle time is 90 s. Here both are told apart: a
//! connection is idle until bytes arrive, and from the first of them a head is due.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};
use zeroize::Zeroizing;

/// A head has to be complete this long after its first byte (contract `api.md`, Transport).
const HEAD: Duration = Duration::from_secs(5);

/// A connection without a request is closed after this long (contract `api.md`, Transport).
const IDLE: Duration = Duration::from_secs(90);

/// A connection without a single request may take this long for one when the server stops: it
/// may be on its way. hyper would wait for the first bytes of HTTP/2 without a limit.
const FIRST: Duration = Duration::from_secs(1);

/// A connection that the server closes is read from for this long. A client that still sends
/// the body of a request that was refused would make the system reset the connection, and the
/// answer could be lost on its way.
const LINGER: Duration = Duration::from_millis(500);

/// What a connection is doing. Times are milliseconds since [`epoch`].
#[derive(Debug, Default)]
pub(crate) struct Activity {
    /// Requests that have no answer yet, and streams that go on.
    requests: AtomicUsize,
    idle_since: AtomicU64,
    /// When the first byte of a head arrived; 0 while none is due.
    head_since: AtomicU64,
    /// Whether there was a request.
    was_used: AtomicBool,
    /// When the server began to stop; 0 while it does not.
    stopping_since: AtomicU64,
    /// Whether bytes outside a request begin a head. In HTTP/2 they may be anything.
    watch_heads: bool,
}

impl Activity {
    pub(crate) fn new(watch_heads: bool) -> Arc<Self> {
        let idle_since = AtomicU64::new(now());
        Arc::new(Self { idle_since, watch_heads, ..Self::default() })
    }

    /// A request's head is complete.
    pub(crate) fn begin(self: &Arc<Self>) -> InRequest {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.was_used.store(true, Ordering::Relaxed);
        self.head_since.store(0, Ordering::Relaxed);
        InRequest(Arc::clone(self))
    }

    fn bytes_arrived(&self) {
        if self.watch_heads
            && self.requests.load(Ordering::Relaxed) == 0
            && self.head_since.load(Ordering::Relaxed) == 0
        {
            self.head_since.store(now(), Ordering::Relaxed);
        }
    }

    /// The server stops.
    pub(crate) fn stop(&self) {
        self.stopping_since.store(now(), Ordering::Relaxed);
    }

    /// Whether a head has begun to arrive and is not complete.
    pub(crate) fn head_is_due(&self) -> bool {
        self.head_since.load(Ordering::Relaxed) != 0
    }

    /// When the connection is to be closed, as things are.
    fn deadline(&self) -> Option<Instant> {
        if self.requests.load(Ordering::Relaxed) > 0 {
            return None;
        }
        let head_since = self.head_since.load(Ordering::Relaxed);
        let stopping_since = self.stopping_since.load(Ordering::Relaxed);
        let (since, limit) = if head_since != 0 {
            (head_since, HEAD)
        } else if stopping_since != 0 && !self.was_used.load(Ordering::Relaxed) {
            (stopping_since, FIRST)
        } else {
            (self.idle_since.load(Ordering::Relaxed), IDLE)
        };
        Some(epoch() + Duration::from_millis(since) + limit)
    }
}

/// A request that is being answered; of a stream, the answer included.
pub(crate) struct InRequest(Arc<Activity>);

impl Drop for InRequest {
    fn drop(&mut self) {
        self.0.idle_since.store(now(), Ordering::Relaxed);
        self.0.requests.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Ends when a connection has been idle, or its head due, for too long.
pub(crate) struct Expiry {
    activity: Arc<Activity>,
    timer: Pin<Box<Sleep>>,
}

impl Expiry {
    pub(crate) fn of(activity: &Arc<Activity>) -> Self {
        let timer = Box::pin(tokio::time::sleep(HEAD));
        Self { activity: Arc::clone(activity), timer }
    }
}

impl Future for Expiry {
    type Output = ();

    /// Polled with the connection, so that it sees what the connection's last poll did. The
    /// timer is moved only to come earlier: a busy connection does not touch it.
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let deadline = self.activity.deadline();
            if let Some(deadline) = deadline
                && deadline < self.timer.deadline()
            {
                self.timer.as_mut().reset(deadline);
            }
            ready!(self.timer.as_mut().poll(cx));
            match deadline {
                Some(deadline) if deadline <= Instant::now() => return Poll::Ready(()),
                Some(deadline) => self.timer.as_mut().reset(deadline),
                None => self.timer.as_mut().reset(Instant::now() + HEAD),
            }
        }
    }
}

/// A transport that tells when bytes arrive, and lingers at its end.
pub(crate) struct Watched<T> {
    inner: T,
    activity: Arc<Activity>,
    /// Set once nothing more is written.
    lingering: Option<Pin<Box<Sleep>>>,
}

impl<T> Watched<T> {
    pub(crate) fn new(inner: T, activity: &Arc<Activity>) -> Self {
        Self { inner, activity: Arc::clone(activity), lingering: None }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Watched<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let result = ready!(Pin::new(&mut self.inner).poll_read(cx, buffer));
        if buffer.filled().len() > before {
            self.activity.bytes_arrived();
        }
        Poll::Ready(result)
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Watched<T> {
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

    /// Ends what is written, then reads and forgets until the client has closed its side too.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { inner, lingering, .. } = &mut *self;
        let enough = match lingering {
            Some(enough) => enough,
            None => {
                ready!(Pin::new(&mut *inner).poll_shutdown(cx))?;
                lingering.insert(Box::pin(tokio::time::sleep(LINGER)))
            }
        };
        // It may be a plaintext that nobody wanted.
        let mut scrap = Zeroizing::new([0; 4096]);
        while enough.as_mut().poll(cx).is_pending() {
            let mut buffer = ReadBuf::new(&mut *scrap);
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

/// The body of an answer. A stream goes on after its handler, and its request with it. Any other
/// answer is only to be sent: a client that does not read it is idle.
pub(crate) struct Answer {
    body: Body,
    _stream: Option<InRequest>,
}

impl Answer {
    pub(crate) fn new(body: Body, request: InRequest) -> Self {
        use hyper::body::Body as _;
        let is_stream = body.size_hint().exact().is_none();
        Self { body, _stream: is_stream.then_some(request) }
    }
}

impl hyper::body::Body for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

fn epoch() -> Instant {
    // A millisecond in the past, so that 0 never is a time.
    static EPOCH: LazyLock<Instant> = LazyLock::new(|| Instant::now() - Duration::from_millis(1));
    *EPOCH
}

fn now() -> u64 {
    u64::try_from(epoch().elapsed().as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_does_not_read_an_answer_is_idle_and_who_follows_a_stream_is_not() {
        let activity = Activity::new(false);
        assert!(activity.deadline().is_some());
        let request = activity.begin();
        assert!(activity.deadline().is_none());
        let answer = Answer::new(Body::from("all of it"), request);
        assert!(activity.deadline().is_some());
        drop(answer);

        let lines = http_body_util::StreamBody::new(futures_util::stream::pending::<
            Result<Frame<Bytes>, std::convert::Infallible>,
        >());
        let stream = Answer::new(Body::new(lines), activity.begin());
        assert!(activity.deadline().is_none());
        drop(stream);
        assert!(activity.deadline().is_some());
    }
}
