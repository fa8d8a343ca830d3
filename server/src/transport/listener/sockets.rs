//! The sockets that a listener accepts connections from: one that it has bound, or those that the
//! service manager passed.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};

use tokio::net::{TcpListener, TcpStream};

use super::bind;

/// At least one listening socket.
pub(crate) struct Sockets {
    first: TcpListener,
    others: Box<[TcpListener]>,
    /// The socket that is asked first, so that none of them waits for the others.
    turn: AtomicUsize,
    /// Whether another process accepts from them when this one has closed them.
    stay_open: AtomicBool,
}

impl Sockets {
    pub(super) fn one(socket: TcpListener) -> Self {
        Self {
            first: socket,
            others: Box::default(),
            turn: AtomicUsize::new(0),
            stay_open: AtomicBool::new(false),
        }
    }

    /// `None` if there is no socket.
    pub(super) fn of(passed: Vec<std::net::TcpListener>) -> io::Result<Option<Self>> {
        let mut sockets = passed.into_iter().map(TcpListener::from_std);
        let Some(first) = sockets.next() else { return Ok(None) };
        let others = sockets.collect::<io::Result<_>>()?;
        Ok(Some(Self { others, ..Self::one(first?) }))
    }

    /// The sockets as files, to pass them on.
    pub(crate) fn files(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.all().map(TcpListener::as_fd)
    }

    /// Notes that another process accepts from them when this one has closed them.
    pub(super) fn keep_open(&self) {
        self.stay_open.store(true, Ordering::Relaxed);
    }

    /// Whether clients that wait to be accepted find another process when this one closes.
    pub(super) fn stay_open(&self) -> bool {
        self.stay_open.load(Ordering::Relaxed)
    }

    fn all(&self) -> impl Iterator<Item = &TcpListener> {
        std::iter::once(&self.first).chain(&*self.others)
    }

    /// The only one, if it was bound.
    pub(super) const fn first(&self) -> &TcpListener {
        &self.first
    }

    /// The bound addresses.
    pub(super) fn addresses(&self) -> io::Result<Vec<SocketAddr>> {
        self.all().map(TcpListener::local_addr).collect()
    }

    /// Waits for the next connection of any socket.
    pub(super) async fn accept(&self) -> io::Result<TcpStream> {
        std::future::poll_fn(|cx| self.poll_accept(cx)).await
    }

    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<TcpStream>> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % (1 + self.others.len());
        for socket in self.all().skip(turn).chain(self.all().take(turn)) {
            if let Poll::Ready(accepted) = socket.poll_accept(cx) {
                return Poll::Ready(accepted.map(|(stream, _)| stream));
            }
        }
        Poll::Pending
    }

    /// The next connection that waits to be accepted, without waiting for one.
    pub(super) fn queued(&self) -> Option<TcpStream> {
        self.all().find_map(bind::queued)
    }

    /// Whether a connection waits to be accepted.
    pub(super) fn has_queued(&self) -> bool {
        self.all().any(bind::has_queued)
    }
}
