//! Which connections have nothing to do, and which take too long over a request's head.
//!
//! hyper's own time limit for heads also ends kept-alive connections that wait for their next
//! request, so that it cannot be 5 s while the idle time is 90 s. Here both are told apart: a
//! connection is idle until bytes arrive, and from the first of them a head is due.

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

/// A head has to be complete this long after its first byte (contract `api.md`, Transport).
const HEAD: Millis = 5_000;

/// A connection without a request is closed after this long (contract `api.md`, Transport).
const IDLE: Millis = 90_000;

/// A connection without a single request may take this long for one when the server stops: it
/// may be on its way. hyper would wait for the first bytes of HTTP/2 without a limit.
const FIRST: Millis = 1_000;

/// A connection that the server closes is read from for this long. A client that still sends
/// the body of a request that was refused would make the system reset the connection, and the
/// answer could be lost on its way.
const LINGER: Duration = Duration::from_millis(500);

/// Milliseconds since [`epoch`]; 0 never is a time.
pub(crate) type Millis = u64;

/// What a connection is doing.
#[derive(Debug, Default)]
pub(crate) struct Activity {
    /// Requests that have no answer yet, and streams that go on.
    requests: AtomicUsize,
    idle_since: AtomicU64,
    /// Whether bytes arrived that may begin a head.
    is_fresh: AtomicBool,
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
        self.is_fresh.store(false, Ordering::Relaxed);
        self.head_since.store(0, Ordering::Relaxed);
        InRequest(Arc::clone(self))
    }

    fn bytes_arrived(&self) {
        if self.watch_heads && self.requests.load(Ordering::Relaxed) == 0 {
            self.is_fresh.store(true, Ordering::Relaxed);
        }
    }

    /// The connection has done what it could. Bytes that did not come to a request begin a head;
    /// the clock is read for them alone.
    pub(crate) fn settle(&self) {
        if self.is_fresh.load(Ordering::Relaxed) {
            self.is_fresh.store(false, Ordering::Relaxed);
            if self.head_since.load(Ordering::Relaxed) == 0 {
                self.head_since.store(now(), Ordering::Relaxed);
            }
        }
    }

    /// The server stops.
    pub(crate) fn stop(&self) {
        self.stopping_since.store(now(), Ordering::Relaxed);
    }

    /// Whether it does.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping_since.load(Ordering::Relaxed) != 0
    }

    /// Whether a head has begun to arrive and is not complete.
    pub(crate) fn head_is_due(&self) -> bool {
        self.head_since.load(Ordering::Relaxed) != 0
    }

    /// When the connection is to be closed, as things are.
    pub(crate) fn deadline(&self) -> Option<Millis> {
        if self.requests.load(Ordering::Relaxed) > 0 {
            return None;
        }
        let head_since = self.head_since.load(Ordering::Relaxed);
        let stopping_since = self.stopping_since.load(Ordering::Relaxed);
        if head_since != 0 {
            Some(head_since + HEAD)
        } else if stopping_since != 0 && !self.was_used.load(Ordering::Relaxed) {
            Some(stopping_since + FIRST)
        } else {
            Some(self.idle_since.load(Ordering::Relaxed) + IDLE)
        }
    }

    /// When to look at the deadline again while there is none.
    pub(crate) fn look_again_at(&self) -> Millis {
        now() + HEAD
    }
}

/// A request that is being answered; of a stream, the answer included.
pub(crate) struct InRequest(Arc<Activity>);

impl InRequest {
    /// The same for something of the request that ends by itself.
    pub(crate) fn again(&self) -> Self {
        self.0.begin()
    }
}

impl Drop for InRequest {
    fn drop(&mut self) {
        self.0.idle_since.store(now(), Ordering::Relaxed);
        self.0.requests.fetch_sub(1, Ordering::Relaxed);
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

fn epoch() -> Instant {
    // A millisecond in the past, so that 0 never is a time.
    static EPOCH: LazyLock<Instant> = LazyLock::new(|| Instant::now() - Duration::from_millis(1));
    *EPOCH
}

/// A time as the runtime's timers want it.
pub(crate) fn instant(at: Millis) -> Instant {
    epoch() + Duration::from_millis(at)
}

pub(crate) fn now() -> Millis {
    Millis::try_from(epoch().elapsed().as_millis()).unwrap_or(Millis::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_idle_unless_it_has_a_request() {
        let activity = Activity::new(false);
        assert!(activity.deadline().is_some());
        let request = activity.begin();
        assert!(activity.deadline().is_none());
        drop(request);
        assert!(activity.deadline().is_some());
    }

    #[test]
    fn a_head_is_due_from_its_first_byte_until_it_is_complete() {
        let activity = Activity::new(true);
        let idle = activity.deadline().unwrap();
        activity.bytes_arrived();
        assert_eq!(activity.deadline(), Some(idle));
        activity.settle();
        assert!(activity.head_is_due());
        assert!(activity.deadline().unwrap() < idle);

        let request = activity.begin();
        assert!(!activity.head_is_due());
        // The body of a request is no head.
        activity.bytes_arrived();
        drop(request);
        activity.settle();
        assert!(!activity.head_is_due());
    }
}
