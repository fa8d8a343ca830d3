//! The TCP socket of a connection: its options, its share of the thread, cheap writes.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustix::net::sockopt;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::fairness::Budget;

/// The system ends a connection whose client receives nothing of what is sent for this long, in
/// milliseconds: twice the time that it has for an answer, which is as long as an answer may take
/// at most. It also ends connections of clients that are gone.
const SEND_TIMEOUT: u32 = 30_000;

/// The socket under TLS.
///
/// rustls writes TLS records with a vectored write; a single record, which nearly all answers are, is
/// written as a plain buffer, which takes the kernel less time. Reads are not gathered: reading
/// ahead of rustls, which asks for 4 KiB at a time, made large bodies neither cheaper nor faster.
///
/// The runtime would let a connection move megabytes before it ran another: each connection has a
/// fairness [`Budget`] and yields when it is used up.
pub(crate) struct Socket {
    stream: TcpStream,
    budget: Budget,
}

impl Socket {
    /// Switches Nagle's algorithm off: answers are written whole, so that waiting for more data
    /// gains nothing. Limits how long the client may refuse to receive.
    pub(crate) fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        sockopt::set_tcp_user_timeout(&stream, SEND_TIMEOUT)?;
        Ok(Self { stream, budget: Budget::default() })
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.budget.poll(cx));
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        self.budget.charge(read.is_ready(), buffer.filled().len() - before);
        read
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[io::IoSlice::new(bytes)])
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.budget.poll(cx));
        let written = match parts {
            [part] => Pin::new(&mut self.stream).poll_write(cx, part),
            parts => Pin::new(&mut self.stream).poll_write_vectored(cx, parts),
        };
        let len = if let Poll::Ready(Ok(len)) = written { len } else { 0 };
        self.budget.charge(written.is_ready(), len);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
