//! A connection: a handshake, then HTTP/1.1 or HTTP/2 as the client chose, until one side ends
//! it.

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncBufRead as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::server::TlsStream;

use crate::lifecycle::state::Shared;
use crate::service;
use crate::service::answer::Content;
use crate::transport::activity::{Activity, Watched};
use crate::transport::handshake::{self, LAST_WORDS};
use crate::transport::interrupt::{Interrupt, Interrupts};
use crate::transport::peer::Peer;
use crate::transport::socket::Socket;
use crate::transport::streams::{Arrivals, WithRequests};

/// What a connection that is told to end may still take.
const FAREWELL: Duration = Duration::from_secs(5);

/// The largest request head in bytes. A proxy forwards a client's certificate in a header: one
/// of RSA-8192 has about 5 KiB there.
const MAX_HEAD: u32 = 64 * 1024;

/// Requests that one HTTP/2 connection may have open at once.
const MAX_STREAMS: u32 = 256;

/// Streams that a client reset and that are not yet dealt with: beyond that many the client is
/// abusive (CVE-2023-44487) and its connection is closed.
const MAX_RESETS: usize = 64;

/// Serves a connection until it ends. `stopping` turns true when the server stops.
pub(crate) async fn serve(
    shared: Arc<Shared>,
    socket: TcpStream,
    mut stopping: watch::Receiver<bool>,
) {
    // Who has not finished its handshake when the server stops comes too late.
    let Some((mut tls, peer)) = (tokio::select! {
        biased;
        _ = stopping.wait_for(|stopping| *stopping) => None,
        // In a box, as everything that a connection is in turn: the task would have room for the
        // largest of them until it ends.
        connected = Box::pin(handshake::shake_hands(&shared, socket)) => connected,
    }) else {
        return;
    };
    shared.metrics.connections.inc();
    let is_h2 = tls.get_ref().1.alpn_protocol() == Some(b"h2");
    let activity = Activity::new(!is_h2);
    let mut interrupts = Interrupts::of(&activity, stopping);
    if first_bytes(&mut tls, &activity, &mut interrupts).await {
        if is_h2 {
            http2(Arc::clone(&shared), tls, peer, &activity, interrupts).await;
        } else {
            http1(Arc::clone(&shared), tls, peer, &activity, interrupts).await;
        }
    }
    shared.metrics.connections.dec();
}

/// Waits until the client says something; `false` if the connection was ended for not doing so.
/// Until then there are none of HTTP's buffers, which are most of what a connection takes.
async fn first_bytes(
    tls: &mut TlsStream<Socket>,
    activity: &Activity,
    interrupts: &mut Interrupts,
) -> bool {
    loop {
        let interrupt = poll_fn(|cx| match Pin::new(&mut *tls).poll_fill_buf(cx) {
            // An end or an error is found again by who reads.
            Poll::Ready(_) => Poll::Ready(None),
            Poll::Pending => interrupts.poll(cx).map(Some),
        });
        match interrupt.await {
            None => return true,
            Some(Interrupt::Stopping) => activity.stop(),
            Some(Interrupt::Expired) => {
                let _ = tokio::time::timeout(LAST_WORDS, tls.shutdown()).await;
                return false;
            }
        }
    }
}

async fn http1(
    shared: Arc<Shared>,
    tls: TlsStream<Socket>,
    peer: Arc<Peer>,
    activity: &Arc<Activity>,
    interrupts: Interrupts,
) {
    let io = TokioIo::new(Watched::new(tls, activity));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(None) // see `activity`
        .max_header_size(MAX_HEAD as usize)
        .keep_alive(!activity.is_stopping())
        .serve_connection(io, service(shared, peer, activity));
    let farewell = http1::Connection::graceful_shutdown;
    drive(Box::pin(connection), farewell, activity, interrupts).await;
}

async fn http2(
    shared: Arc<Shared>,
    tls: TlsStream<Socket>,
    peer: Arc<Peer>,
    activity: &Arc<Activity>,
    interrupts: Interrupts,
) {
    let arrivals = Arrivals::default();
    let connection = http2::Builder::new(arrivals.clone())
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_pending_accept_reset_streams(MAX_RESETS)
        .max_local_error_reset_streams(MAX_RESETS)
        .max_header_list_size(MAX_HEAD)
        // A client that is gone without a word is found out.
        .keep_alive_interval(Duration::from_secs(60))
        .keep_alive_timeout(Duration::from_secs(20))
        .serve_connection(TokioIo::new(tls), service(shared, peer, activity));
    let mut connection = Box::pin(WithRequests::new(connection, arrivals));
    let farewell = |connection: Pin<&mut WithRequests<http2::Connection<_, _, _>>>| {
        Pin::new(connection.get_mut().connection()).graceful_shutdown();
    };
    if activity.is_stopping() {
        farewell(connection.as_mut());
    }
    drive(connection, farewell, activity, interrupts).await;
}

/// The service of one connection: the other end is known once, and does not change.
fn service(
    shared: Arc<Shared>,
    peer: Arc<Peer>,
    activity: &Arc<Activity>,
) -> impl hyper::service::Service<
    http::Request<hyper::body::Incoming>,
    Response = http::Response<Content>,
    Error = Infallible,
    Future: Send + 'static,
> + Send
+ use<> {
    let activity = Arc::clone(activity);
    service_fn(move |request| {
        service::serve(Arc::clone(&shared), Arc::clone(&peer), request, activity.begin())
    })
}

/// Runs a connection until it ends, expires, or the server stops; `farewell` makes it end after
/// the requests that it has.
async fn drive<C: Future>(
    mut connection: Pin<Box<C>>,
    farewell: impl FnOnce(Pin<&mut C>),
    activity: &Activity,
    mut interrupts: Interrupts,
) {
    let mut farewell = Some(farewell);
    loop {
        let interrupt = poll_fn(|cx| match connection.as_mut().poll(cx) {
            Poll::Ready(_) => Poll::Ready(None),
            Poll::Pending => interrupts.poll(cx).map(Some),
        });
        match interrupt.await {
            None => return,
            Some(Interrupt::Stopping) => {
                activity.stop();
                if let Some(farewell) = farewell.take() {
                    farewell(connection.as_mut());
                }
                // The server's own deadline ends this, if the client does not owe something.
            }
            Some(Interrupt::Expired) => break,
        }
    }
    // Of a request whose head did not come in time nothing is answered.
    if let Some(farewell) = farewell.take()
        && !activity.head_is_due()
    {
        farewell(connection.as_mut());
        let _ = tokio::time::timeout(FAREWELL, connection).await;
    }
}
