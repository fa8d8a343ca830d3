//! A listener with the transport of the API, and its limits, for a service of another crate: `kes
//! shadow` stands in front of two servers with it. It has no configuration file, no keys and no
//! policies.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use kes_api::Identity;
use kes_api::identity::NoIdentity;
use kes_config::{Address, ClientAuth, ConfiguredAddress};
use rustls::pki_types::CertificateDer;
use rustls::sign::CertifiedKey;
use tokio::sync::{mpsc, watch};

use super::error::{Error, SetupError};
use super::process::max_connections;
use crate::observe::logging::Logs;
use crate::observe::logging::repeats::{self, Repeats};
use crate::observe::metrics::Metrics;
use crate::service::answer::{Content, until_taken};
use crate::transport::listener::{Listener, Listening};
use crate::transport::tls::current::CurrentTls;
use crate::transport::tls::{ServerIdentity, Settings};
use crate::transport::{ActiveRequest, Class, Ending, Endpoint, Peer, Service, UntakenAnswer};

/// How long running requests may go on when it stops.
const DRAIN: Duration = Duration::from_secs(10);

/// Files that its service opens for itself: connections to the servers behind it.
const FILES_OF_SERVICE: usize = 64;

/// Answers the requests of a [`Front`].
pub trait Responder: Send + Sync + 'static {
    /// Whether a client of this identity is one of those that it serves: the connections of others
    /// end early, and make room.
    fn knows(&self, identity: &Identity) -> bool;

    /// Answers a request.
    fn respond(
        self: Arc<Self>,
        client: FrontClient,
        request: Request<Incoming>,
    ) -> impl Future<Output = FrontAnswer> + Send + 'static;
}

/// Who sends a request: the certificates are those of the handshake, in which the client has proved
/// that it has the private key of the first one.
#[derive(Clone, Debug)]
pub struct FrontClient(Arc<Peer>);

/// An answer.
pub struct FrontAnswer {
    /// Its status.
    pub status: StatusCode,
    /// Its header fields, without those of the connection and of the length.
    pub headers: HeaderMap,
    /// Its body.
    pub body: FrontBody,
}

/// The body of an answer.
pub enum FrontBody {
    /// Whole.
    Whole(Bytes),
    /// Passed on as it comes. It ends if the other side breaks off.
    Stream(Incoming),
}

/// A listener that does not answer yet.
pub struct Front<R> {
    listening: Listening,
    listener: Listener,
    endpoint: Arc<Endpoint<Adapter<R>>>,
    logs: Arc<Logs>,
}

impl FrontClient {
    /// Its address.
    pub fn ip(&self) -> IpAddr {
        self.0.address.ip()
    }

    /// Its identity, or why it has none.
    pub fn identity(&self) -> Result<Identity, NoIdentity> {
        self.0.identity
    }

    /// The certificates that it sent.
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        self.0.chain()
    }
}

impl<R: Responder> Front<R> {
    /// Binds the address that the flag `--addr` names. Clients may connect with any certificate, or
    /// without one. What happens at the connections is logged on standard error. Must be called
    /// within a tokio runtime.
    ///
    /// # Errors
    /// [`Error`] if the address cannot be bound.
    pub async fn start(
        address: &Address,
        certified: Arc<CertifiedKey>,
        responder: Arc<R>,
    ) -> Result<Self, Error> {
        let metrics = Arc::new(Metrics::new());
        let logs = Logs::start(Arc::clone(&metrics));
        let tls = settings(certified).load().map_err(SetupError::Tls)?;
        let listen = |reason| Error::Listen {
            address: ConfiguredAddress::of_flag(address.clone(), "--addr"),
            reason,
        };
        let listening = Listening::start(address, true).await.map_err(listen)?;
        let listener = listening.listener(max_connections(FILES_OF_SERVICE), Arc::clone(&metrics));
        let endpoint = Arc::new(Endpoint {
            service: Arc::new(Adapter(responder)),
            tls: CurrentTls::new(tls),
            balancers: ArcSwap::default(),
            metrics,
            repeats: Arc::new(Repeats::default()),
        });
        Ok(Self { listening, listener, endpoint, logs })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// [`Error`] if the system does not tell.
    pub fn addresses(&self) -> Result<Vec<SocketAddr>, Error> {
        self.listening.addresses().map_err(|reason| Error::System { reason })
    }

    /// Answers requests until `stop` is over; then running requests have up to 10 s. A certificate
    /// that comes through `certificates` is that of new connections.
    pub async fn run(
        self,
        mut certificates: mpsc::Receiver<Arc<CertifiedKey>>,
        stop: impl Future<Output = ()>,
    ) {
        let Self { listening, listener, endpoint, logs } = self;
        let (shutdown, is_set) = watch::channel(Ending::None);
        let accepting = tokio::spawn(listener.serve(Arc::clone(&endpoint), is_set));
        let mut ticks = tokio::time::interval(repeats::CHECK_INTERVAL);
        let mut stop = std::pin::pin!(stop);
        loop {
            tokio::select! {
                () = &mut stop => break,
                Some(certified) = certificates.recv() => match settings(certified).load() {
                    Ok(tls) => endpoint.tls.replace(tls),
                    Err(error) => tracing::error!("{error}"),
                },
                _ = ticks.tick() => endpoint.repeats.log_due(),
            }
        }
        shutdown.send_replace(Ending::Stop);
        listening.close();
        let drained = async {
            if let Ok(drain) = accepting.await {
                drain.ended().await;
            }
        };
        // What is still open is cut off: the stream of a log never ends.
        let _ = tokio::time::timeout(DRAIN, drained).await;
        endpoint.repeats.log_all();
        logs.flush();
    }
}

/// What a certificate is served with.
fn settings(certified: Arc<CertifiedKey>) -> Settings {
    let identity = ServerIdentity::Memory(certified);
    Settings { identity, auth: ClientAuth::Any, ca: None, optional: true }
}

/// The responder as a service of the transport.
struct Adapter<R>(Arc<R>);

impl<R: Responder> Service for Adapter<R> {
    type Content = FrontContent;

    fn class(&self, peer: &Peer) -> Class {
        match &peer.identity {
            Ok(identity) if self.0.knows(identity) => Class::Known,
            _ => Class::Stranger,
        }
    }

    async fn call(
        self: Arc<Self>,
        peer: Arc<Peer>,
        request: Request<Incoming>,
        active_request: ActiveRequest,
    ) -> Result<Response<FrontContent>, Infallible> {
        let is_head = request.method() == Method::HEAD;
        let responder = Arc::clone(&self.0);
        let FrontAnswer { status, headers, body } =
            responder.respond(FrontClient(peer), request).await;
        let content = match body {
            _ if is_head => FrontContent::Whole(Content::Whole(Bytes::new())),
            FrontBody::Whole(bytes) if bytes.is_empty() => {
                FrontContent::Whole(Content::Whole(bytes))
            }
            FrontBody::Whole(bytes) => {
                FrontContent::Whole(Content::passed_on(bytes, &active_request))
            }
            FrontBody::Stream(incoming) => FrontContent::Stream {
                incoming,
                pieces: Box::new(active_request.pieces()),
                _request: active_request,
            },
        };
        let mut response = Response::new(content);
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        Ok(response)
    }
}

/// The content of an answer, as it is sent.
enum FrontContent {
    Whole(Content),
    /// The client has to take each piece in time.
    Stream {
        incoming: Incoming,
        pieces: Box<dyn Fn() -> UntakenAnswer + Send>,
        _request: ActiveRequest,
    },
}

impl Body for FrontContent {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match &mut *self {
            Self::Whole(content) => Pin::new(content).poll_frame(cx),
            Self::Stream { incoming, pieces, .. } => loop {
                match ready!(Pin::new(&mut *incoming).poll_frame(cx)) {
                    Some(Ok(frame)) => {
                        // What is no data are trailers, which key servers do not send.
                        let Ok(bytes) = frame.into_data() else { continue };
                        let piece = until_taken(bytes, pieces());
                        return Poll::Ready(Some(Ok(Frame::data(piece))));
                    }
                    Some(Err(_)) | None => return Poll::Ready(None),
                }
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(content) if content.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(content) => content.size_hint(),
            Self::Stream { .. } => SizeHint::default(),
        }
    }
}
