//! A connection: the TLS handshake, then HTTP/1.1 or HTTP/2 as negotiated, until one side ends it.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, SystemTime};

use futures_util::FutureExt as _;
use futures_util::future::{Either, TryFutureExt as _, ready};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncBufRead as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::server::TlsStream;

use super::admission::Admission;
use super::class::{self, Class};
use super::clock;
use super::ending::Ending;
use super::endpoint::{Endpoint, Service};
use super::gathered::Gathered;
use super::h2::{RequestQueue, WithRequests};
use super::handshake::{self, LINGER};
use super::idle::{IdleTracker, TrackedIo};
use super::slots::Slot;
use super::socket::Socket;
use super::termination::{Signals, Termination, Terminations};
use super::untaken::UntakenAnswers;

/// The largest request head in bytes. A proxy forwards a client's certificate in a header: one
/// of RSA-8192 has about 5 KiB there.
const MAX_HEAD: u32 = 64 * 1024;

/// What a client may send of the body of one request before the server asks for more: the default
/// of HTTP/2. At 1 ms for a round trip this allows 64 MB/s.
const STREAM_WINDOW: u32 = 64 * 1024;

/// The same for all requests of a connection together. What the server does not read, because no
/// memory is left for it, stays here.
const CONNECTION_WINDOW: u32 = 1024 * 1024;

/// The same for a TLS proxy: what all requests that wait for memory may have sent (`service::budget`),
/// so that those of one client do not stop the bodies of the others.
const PROXY_CONNECTION_WINDOW: u32 = 16 * 1024 * 1024;

/// Reset streams that the server has not processed yet: a client that causes more is abusive
/// (CVE-2023-44487), and its connection is closed.
const MAX_RESETS: usize = 64;

/// Serves a connection until it ends. `shutdown` tells when the server shuts down or hands over.
pub(super) async fn serve<S: Service>(
    endpoint: Arc<Endpoint<S>>,
    socket: TcpStream,
    mut slot: Slot,
    shutdown: watch::Receiver<Ending>,
) {
    let displaced = slot.displaced();
    // From before the handshake, so that a replacement during it is not missed.
    let replacements = endpoint.tls.replacements();
    let Some((mut tls, peer)) = (tokio::select! {
        biased;
        () = displaced.notified() => None,
        // Boxed, as each later phase of a connection: otherwise the task would have the size of
        // the largest phase until it ends.
        connected = Box::pin(handshake::handshake(&endpoint, socket, &mut slot, shutdown.clone())) => connected,
    }) else {
        return;
    };
    endpoint.metrics.connections.inc();
    let is_h2 = tls.get_ref().1.alpn_protocol() == Some(b"h2");
    let class = endpoint.service.class(&peer);
    if !class.is_stranger()
        && let (Ok(identity), Some(validity)) = (&peer.identity, peer.validity)
    {
        endpoint.metrics.client_certificates.note(*identity, validity, SystemTime::now());
    }
    let tracker = IdleTracker::new(!is_h2, class);
    slot.set_class(class, peer.identity.as_ref().ok().copied(), &tracker);
    let signals = Signals { shutdown: Some(shutdown), displaced, replacements };
    let mut terminations = Terminations::of(&tracker, signals);
    let admission = Arc::new(Admission::new(Arc::clone(&endpoint), peer));
    let mut caller = Caller { admission, tracker, slot };
    if wait_for_first_bytes(&mut tls, &mut caller, &mut terminations).await {
        if is_h2 {
            http2(tls, caller, terminations).await;
        } else {
            http1(tls, caller, terminations).await;
        }
    }
    endpoint.metrics.connections.dec();
}

/// The client of a connection, with all that depends on who it is.
struct Caller<S> {
    admission: Arc<Admission<S>>,
    tracker: Arc<IdleTracker>,
    slot: Slot,
}

impl<S: Service> Caller<S> {
    /// The class that the client has now.
    fn class(&self) -> Class {
        self.admission.service().class(self.admission.peer())
    }

    /// Whether it is a TLS proxy, whose connection several clients share.
    fn is_proxy(&self) -> bool {
        self.admission.service().forwards_in(self.admission.peer()).is_some()
    }

    /// Gives the client the class that it has now: a reload may have given or taken a policy.
    fn update_class(&mut self) {
        let class = self.class();
        self.tracker.set_class(class);
        let identity = self.admission.peer().identity.as_ref().ok().copied();
        self.slot.set_class(class, identity, &self.tracker);
    }

    /// Whether a deadline has passed for a client of the class that it has now.
    fn is_over(&mut self) -> bool {
        self.update_class();
        self.tracker.deadline().is_some_and(|deadline| deadline <= clock::now())
    }
}

/// Waits until the client sends something; `false` if it sent nothing in time and the connection
/// was closed. HTTP's buffers, which are most of a connection's memory, are allocated only then.
async fn wait_for_first_bytes<S: Service>(
    tls: &mut TlsStream<Socket>,
    caller: &mut Caller<S>,
    terminations: &mut Terminations,
) -> bool {
    loop {
        let termination = poll_fn(|cx| match Pin::new(&mut *tls).poll_fill_buf(cx) {
            // The HTTP connection will find an end or an error again.
            Poll::Ready(_) => Poll::Ready(None),
            Poll::Pending => terminations.poll(cx).map(Some),
        });
        match termination.await {
            None => return true,
            Some(Termination::Shutdown(ending)) => caller.tracker.begin_ending(ending),
            Some(Termination::TlsReplaced) if caller.admission.holds() => caller.update_class(),
            // The first request may be on its way already, and is told.
            Some(Termination::TlsReplaced) => caller.tracker.begin_shutdown(),
            // The first request of a known client may be on its way already.
            Some(Termination::Displaced) if !caller.class().is_stranger() => {
                caller.tracker.begin_shutdown();
            }
            Some(Termination::Displaced) => {
                let _ = tls.shutdown().now_or_never();
                return false;
            }
            Some(Termination::DeadlinePassed) if caller.is_over() => {
                let _ = tokio::time::timeout(LINGER, tls.shutdown()).await;
                return false;
            }
            Some(Termination::DeadlinePassed) => {}
        }
    }
}

async fn http1<S: Service>(tls: TlsStream<Socket>, caller: Caller<S>, terminations: Terminations) {
    let io = TokioIo::new(TrackedIo::new(tls, &caller.tracker));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(None) // `idle` has it
        .max_header_size(MAX_HEAD as usize)
        .keep_alive(!caller.tracker.is_shutting_down())
        .serve_connection(io, hyper_service(&caller, None));
    let shut_down = http1::Connection::graceful_shutdown;
    drive(Box::pin(connection), shut_down, caller, terminations).await;
}

async fn http2<S: Service>(tls: TlsStream<Socket>, caller: Caller<S>, terminations: Terminations) {
    let queue = RequestQueue::default();
    // A connection keeps what it began with.
    let (max_streams, window, streams) = if caller.is_proxy() {
        (class::PROXY_MAX_STREAMS, PROXY_CONNECTION_WINDOW, Streams::Shared(queue.clone()))
    } else {
        (caller.class().max_streams(), CONNECTION_WINDOW, Streams::Own)
    };
    let connection = http2::Builder::new(queue.clone())
        .timer(TokioTimer::new())
        .max_concurrent_streams(max_streams)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(window)
        .max_pending_accept_reset_streams(MAX_RESETS)
        .max_local_error_reset_streams(MAX_RESETS)
        .max_header_list_size(MAX_HEAD)
        // Finds connections whose client is gone without closing them.
        .keep_alive_interval(Duration::from_secs(60))
        .keep_alive_timeout(Duration::from_secs(20))
        .serve_connection(TokioIo::new(Gathered::new(tls)), hyper_service(&caller, Some(streams)));
    let connection = Box::pin(WithRequests::new(connection, queue));
    let shut_down = |connection: Pin<&mut WithRequests<http2::Connection<_, _, _>>>| {
        Pin::new(connection.get_mut().connection()).graceful_shutdown();
    };
    drive(connection, shut_down, caller, terminations).await;
}

/// Whose the requests of an HTTP/2 connection are.
enum Streams {
    /// Those of one client.
    Own,
    /// Those of several clients, behind a TLS proxy: each request has to end by itself.
    Shared(RequestQueue),
}

/// The hyper service of one connection, whose peer stays the same. `streams` are those of HTTP/2.
///
/// Once the client is no longer accepted, a stream of HTTP/2 is refused without being processed: the
/// client knows that it may repeat the request on another connection (RFC 9113, 8.7). HTTP/1.1
/// cannot say that, and the service answers. With the answer it says that the connection ends, if it
/// is to.
fn hyper_service<S: Service>(
    caller: &Caller<S>,
    streams: Option<Streams>,
) -> impl hyper::service::Service<
    http::Request<hyper::body::Incoming>,
    Response = http::Response<S::Content>,
    Error = h2::Error,
    Future: Send + 'static,
> + Send
+ use<S> {
    let (admission, tracker) = (Arc::clone(&caller.admission), Arc::clone(&caller.tracker));
    service_fn(move |request| {
        let active_request = tracker.begin_request();
        if !admission.holds() && streams.is_some() {
            return Either::Left(ready(Err(h2::Reason::REFUSED_STREAM.into())));
        }
        let service = Arc::clone(admission.service());
        let peer = admission.client_of(request.headers());
        let active_request = match &streams {
            Some(Streams::Shared(queue)) => {
                let answers = UntakenAnswers::new(service.class(&peer));
                queue.limit_next(Arc::clone(&answers));
                active_request.with_answers(answers)
            }
            _ => active_request,
        };
        let ends = tracker.is_http1() && tracker.is_shutting_down();
        let answer = service.call(peer, request, active_request).map_err(|never| match never {});
        Either::Right(if ends {
            // Boxed: it is rare.
            Either::Left(Box::pin(answer.map_ok(|mut answer: http::Response<S::Content>| {
                let close = http::HeaderValue::from_static("close");
                answer.headers_mut().insert(http::header::CONNECTION, close);
                answer
            })))
        } else {
            Either::Right(answer)
        })
    })
}

/// Runs a connection until it ends, its deadline passes, its client is no longer accepted, or the
/// server shuts down. `shut_down` makes it end after the requests that it has.
async fn drive<C: Future, S: Service>(
    mut connection: Pin<Box<C>>,
    shut_down: impl FnOnce(Pin<&mut C>),
    mut caller: Caller<S>,
    mut terminations: Terminations,
) {
    let mut shut_down = Some(shut_down);
    // An HTTP/2 client whose first request may be under way would not send it once it is told of the
    // end. It is told with that request, or after a while.
    let mut is_postponed = !caller.tracker.is_http1() && caller.tracker.is_shutting_down();
    loop {
        let termination = poll_fn(|cx| match connection.as_mut().poll(cx) {
            Poll::Ready(_) => Poll::Ready(None),
            Poll::Pending if is_postponed && caller.tracker.was_used() => {
                Poll::Ready(Some(Termination::Shutdown(Ending::Stop)))
            }
            Poll::Pending => terminations.poll(cx).map(Some),
        });
        match termination.await {
            None => return,
            Some(Termination::Shutdown(ending))
                if !caller.tracker.is_http1() && !caller.tracker.was_used() =>
            {
                caller.tracker.begin_ending(ending);
                is_postponed = true;
            }
            Some(Termination::TlsReplaced) if caller.admission.holds_after_replacement() => {
                caller.update_class();
            }
            // HTTP/1.1 cannot tell an idle client that the connection ends: it ends with the answer
            // to the next request (`hyper_service`), or after a while.
            Some(Termination::Shutdown(ending @ Ending::HandOver(_)))
                if caller.tracker.is_http1() && caller.tracker.is_idle() =>
            {
                caller.tracker.begin_ending(ending);
            }
            Some(Termination::Shutdown(ending)) => {
                is_postponed = false;
                caller.tracker.begin_ending(ending);
                if let Some(shut_down) = shut_down.take() {
                    shut_down(connection.as_mut());
                }
                // Requests go on until the server's own time limit, heads until their deadline.
            }
            Some(Termination::TlsReplaced) => {
                caller.tracker.begin_shutdown();
                if let Some(shut_down) = shut_down.take() {
                    shut_down(connection.as_mut());
                }
            }
            // Its requests get their answers, if they take no longer than a graceful shutdown.
            Some(Termination::Displaced) if !caller.class().is_stranger() => {
                let is_idle = caller.tracker.is_idle();
                if let Some(shut_down) = shut_down.take() {
                    shut_down(connection.as_mut());
                }
                let limit = if is_idle { LINGER } else { caller.class().graceful_shutdown() };
                let _ = tokio::time::timeout(limit, connection).await;
                return;
            }
            Some(Termination::Displaced) => {
                // Tells the client, if that is possible at once.
                if let Some(shut_down) = shut_down.take() {
                    shut_down(connection.as_mut());
                }
                let _ = connection.as_mut().now_or_never();
                return;
            }
            Some(Termination::DeadlinePassed) if caller.is_over() => break,
            Some(Termination::DeadlinePassed) => {}
        }
    }
    // A request whose head did not arrive in time is not answered.
    if let Some(shut_down) = shut_down.take()
        && !caller.tracker.is_receiving_head()
    {
        shut_down(connection.as_mut());
        let limit = caller.class().graceful_shutdown();
        let _ = tokio::time::timeout(limit, connection).await;
    }
}
