use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{HeaderMap, Method, Request, Uri};
use http_body_util::{BodyExt as _, Either, Full};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::Credentials;

/// What a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    H1,
    H2,
}

/// One connection. Paths go out as they are given: nothing is made clean or escaped.
pub(crate) struct Client {
    sender: Sender,
    authority: String,
}

enum Sender {
    H1(http1::SendRequest<Body>),
    H2(http2::SendRequest<Body>),
}

/// A body with a length, or one that comes in pieces and has none.
type Body = Either<Full<Bytes>, Pieces>;

struct Pieces(VecDeque<Bytes>);

/// An answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Client {
    /// Connects and shakes hands.
    pub(crate) async fn connect(
        address: &str,
        trusted: &CertificateDer<'static>,
        credentials: Option<&Credentials>,
        protocol: Protocol,
    ) -> Result<Self, String> {
        let config = tls_config(trusted, credentials, protocol);
        let tls = tls_connect(address, config).await.map_err(|error| error.to_string())?;
        Self::over(tls, protocol, address).await
    }

    /// Begins to speak a protocol on a connection to an address.
    pub(crate) async fn over(
        tls: TlsStream<TcpStream>,
        protocol: Protocol,
        address: &str,
    ) -> Result<Self, String> {
        let io = TokioIo::new(tls);
        let sender = match protocol {
            Protocol::H1 => {
                let (sender, connection) =
                    http1::handshake(io).await.map_err(|error| error.to_string())?;
                tokio::spawn(connection);
                Sender::H1(sender)
            }
            Protocol::H2 => {
                let (sender, connection) = http2::handshake(TokioExecutor::new(), io)
                    .await
                    .map_err(|error| error.to_string())?;
                tokio::spawn(connection);
                Sender::H2(sender)
            }
        };
        Ok(Self { sender, authority: address.to_owned() })
    }

    /// Begins to speak HTTP/2 on a connection to an address, with a window of so many bytes for each
    /// answer.
    pub(crate) async fn with_window(tls: TlsStream<TcpStream>, address: &str, window: u32) -> Self {
        let builder =
            http2::Builder::new(TokioExecutor::new()).initial_stream_window_size(window).to_owned();
        let (sender, connection) = builder.handshake(TokioIo::new(tls)).await.unwrap();
        tokio::spawn(connection);
        Self { sender: Sender::H2(sender), authority: address.to_owned() }
    }

    /// Sends a request and reads the whole answer.
    pub(crate) async fn send(&mut self, method: &str, path: &str, body: &str) -> Reply {
        self.try_send(method, path, &[], body.to_owned().into()).await.unwrap()
    }

    /// The same with headers and a body of bytes; an error is what the connection says.
    pub(crate) async fn try_send(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> Result<Reply, String> {
        read(self.open(method, path, headers, body).await?).await
    }

    /// Sends a request whose body has no length and comes in pieces, as the Go SDK does.
    pub(crate) async fn send_pieces(
        &mut self,
        method: &str,
        path: &str,
        pieces: impl IntoIterator<Item = Bytes>,
    ) -> Reply {
        let body = Either::Right(Pieces(pieces.into_iter().collect()));
        read(self.request(method, path, &[], body).await.unwrap()).await.unwrap()
    }

    /// Sends a request and hands the body of the answer over as it comes.
    pub(crate) async fn open(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> Result<http::Response<Incoming>, String> {
        self.request(method, path, headers, Either::Left(Full::new(body))).await
    }

    async fn request(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Body,
    ) -> Result<http::Response<Incoming>, String> {
        let builder = Request::builder().method(Method::from_bytes(method.as_bytes()).unwrap());
        let mut builder = match &self.sender {
            Sender::H1(_) => builder.uri(path).header("host", &self.authority),
            Sender::H2(_) => builder.uri(
                Uri::builder()
                    .scheme("https")
                    .authority(self.authority.as_str())
                    .path_and_query(path)
                    .build()
                    .unwrap(),
            ),
        };
        for (name, value) in headers {
            builder = builder.header(*name, *value);
        }
        let request = builder.body(body).unwrap();
        let response = match &mut self.sender {
            Sender::H1(sender) => {
                sender.ready().await.map_err(|error| error.to_string())?;
                sender.send_request(request).await
            }
            Sender::H2(sender) => {
                sender.ready().await.map_err(|error| error.to_string())?;
                sender.send_request(request).await
            }
        };
        response.map_err(|error| match std::error::Error::source(&error) {
            Some(source) => format!("{error}: {source}"),
            None => error.to_string(),
        })
    }

    /// Another handle of the same HTTP/2 connection, for requests at the same time.
    pub(crate) fn share(&self) -> Self {
        match &self.sender {
            Sender::H1(_) => panic!("HTTP/1.1 has one request at a time"),
            Sender::H2(sender) => {
                Self { sender: Sender::H2(sender.clone()), authority: self.authority.clone() }
            }
        }
    }
}

/// Whether an error says that a request was not sent, because the server had said before that the
/// connection ends: a client sends it on another one.
pub(crate) fn was_not_sent(error: &str) -> bool {
    const GO_AWAY: &str = "http2 error: connection error received: not a result of an error";
    let closed = ["channel closed", "connection closed", GO_AWAY];
    closed.contains(&error) || error.starts_with("operation was canceled")
}

async fn read(response: http::Response<Incoming>) -> Result<Reply, String> {
    let (head, body) = response.into_parts();
    let body = body.collect().await.map_err(|error| error.to_string())?.to_bytes();
    Ok(Reply { status: head.status.as_u16(), headers: head.headers, body })
}

impl hyper::body::Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.pop_front().map(|piece| Ok(Frame::data(piece))))
    }
}

impl Reply {
    /// The body as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&self.body)))
    }

    /// The message of an error.
    pub(crate) fn message(&self) -> String {
        self.json()["message"].as_str().unwrap_or_default().to_owned()
    }

    /// A header's value, or nothing.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Status and message, to compare both at once.
    pub(crate) fn error(&self) -> (u16, String) {
        (self.status, self.message())
    }
}

/// Trusts one certificate, shows that of `credentials`, and offers one protocol.
pub(crate) fn tls_config(
    trusted: &CertificateDer<'static>,
    credentials: Option<&Credentials>,
    protocol: Protocol,
) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let builder = ClientConfig::builder_with_provider(kes_tls::provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let mut config = match credentials {
        Some(credentials) => builder
            .with_client_auth_cert(vec![credentials.certificate.clone()], credentials.private_key())
            .unwrap(),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = match protocol {
        Protocol::H1 => vec![b"http/1.1".to_vec()],
        Protocol::H2 => vec![b"h2".to_vec()],
    };
    config
}

/// A TLS connection to `127.0.0.1:<port>`.
pub(crate) async fn tls_connect(
    address: &str,
    config: ClientConfig,
) -> std::io::Result<TlsStream<TcpStream>> {
    tls_over(TcpStream::connect(address).await?, config).await
}

/// TLS on a connection to 127.0.0.1.
pub(crate) async fn tls_over(
    socket: TcpStream,
    config: ClientConfig,
) -> std::io::Result<TlsStream<TcpStream>> {
    socket.set_nodelay(true)?;
    let name = ServerName::try_from("127.0.0.1").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, socket).await
}
