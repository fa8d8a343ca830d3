//! A TCP socket that is read from and written to with few and cheap system calls.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustix::net::sockopt;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::fairness::Budget;

/// How many bytes of a large body are read at once: two TLS records.
const READ_AHEAD: usize = 32 * 1024;

/// The system ends a connection whose client receives nothing of what is sent for this long, in
/// milliseconds: twice the time that it has for an answer, which is as long as an answer may take
/// at most. It also ends connections of clients that are gone.
const SEND_TIMEOUT: u32 = 30_000;

/// The socket under TLS.
///
/// rustls reads 4 KiB at a time: one call for a usual request, but 230 for the largest body. When a
/// read fills its whole buffer, more data is waiting, so the socket reads ahead. rustls writes
/// TLS records with a vectored write; a single record, which nearly all answers are, is written as
/// a plain buffer, which takes the kernel less time.
///
/// The runtime would let a connection move megabytes before it ran another: each connection has a
/// fairness [`Budget`] and yields when it is used up.
pub(crate) struct Socket {
    stream: TcpStream,
    budget: Budget,
    /// Allocated only while a large body arrives.
    ahead: Option<Box<ReadAhead>>,
}

/// Bytes that TLS has not asked for yet. They are still encrypted.
struct ReadAhead {
    bytes: [u8; READ_AHEAD],
    start: usize,
    end: usize,
}

impl Socket {
    /// Switches Nagle's algorithm off: answers are written whole, so that waiting for more data
    /// gains nothing. Limits how long the client may refuse to receive.
    pub(crate) fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        sockopt::set_tcp_user_timeout(&stream, SEND_TIMEOUT)?;
        Ok(Self { stream, budget: Budget::default(), ahead: None })
    }
}

impl ReadAhead {
    fn new() -> Box<Self> {
        Box::new(Self { bytes: [0; READ_AHEAD], start: 0, end: 0 })
    }

    /// Copies what was read ahead into `buffer`; `false` if there was nothing.
    fn serve(&mut self, buffer: &mut ReadBuf<'_>) -> bool {
        let len = buffer.remaining().min(self.end - self.start);
        buffer.put_slice(&self.bytes[self.start..self.start + len]);
        self.start += len;
        len > 0
    }

    fn fill(&mut self, stream: Pin<&mut TcpStream>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut buffer = ReadBuf::new(&mut self.bytes);
        ready!(stream.poll_read(cx, &mut buffer))?;
        (self.start, self.end) = (0, buffer.filled().len());
        Poll::Ready(Ok(()))
    }
}

impl Socket {
    fn read_ahead(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { stream, ahead, .. } = self;
        let mut stream = Pin::new(stream);
        if buffer.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        if let Some(more) = ahead {
            if more.serve(buffer) {
                return Poll::Ready(Ok(()));
            }
            let filled = more.fill(stream.as_mut(), cx);
            if let Poll::Ready(Ok(())) = filled {
                more.serve(buffer);
            }
            // All of it was taken, or nothing has arrived: free the memory, as no more may come.
            if more.start == more.end {
                *ahead = None;
            }
            return filled;
        }
        let before = buffer.remaining();
        ready!(stream.poll_read(cx, buffer))?;
        if buffer.remaining() == 0 && before >= WHOLE_READ {
            *ahead = Some(ReadAhead::new());
        }
        Poll::Ready(Ok(()))
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
        let read = self.read_ahead(cx, buffer);
        self.budget.charge(read.is_ready(), buffer.filled().len() - before);
        read
    }
}

/// rustls asks for at least this much unless it needs the rest of a record that it has begun to
/// read; only a full read of this size means that more is waiting.
const WHOLE_READ: usize = 4096;

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

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn large_bodies_are_read_ahead_and_nothing_is_kept_of_them() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let mut socket = Socket::new(listener.accept().await.unwrap().0).unwrap();

        let large: Vec<u8> = (0..1_000_000_u32).map(|n| n.to_le_bytes()[n as usize % 3]).collect();
        for size in [1, 4095, 4096, 4097, 40_000, 1_000_000] {
            let sent = large[..size].to_vec();
            let (read, ()) = tokio::join!(
                async {
                    let mut read = Vec::new();
                    // In steps of one that no size is a multiple of, and of what TLS asks for.
                    for step in [4096, 4096, 777, 5000].into_iter().cycle() {
                        if read.len() == size {
                            break;
                        }
                        let mut piece = vec![0; step];
                        let len = socket.read(&mut piece).await.unwrap();
                        assert_ne!(len, 0);
                        read.extend_from_slice(&piece[..len]);
                    }
                    read
                },
                async { client.write_all(&sent).await.unwrap() },
            );
            assert!(read == sent, "{size} bytes");
            // As TLS does, which then waits for the next request.
            let mut piece = [0; 4096];
            let more = tokio::time::timeout(std::time::Duration::ZERO, socket.read(&mut piece));
            assert!(more.await.is_err());
            assert!(socket.ahead.is_none(), "after {size} bytes");
        }
        drop(client);
        assert_eq!(socket.read(&mut [0; 10]).await.unwrap(), 0);
    }
}
