//! The load: the same requests, over the same connections, to whichever server.

use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{Request, Uri};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// One row of the table.
pub(crate) struct Work {
    pub(crate) name: &'static str,
    pub(crate) protocol: Protocol,
    pub(crate) connections: usize,
    /// Requests at once on each connection.
    pub(crate) streams: usize,
    pub(crate) request: Kind,
}

/// What is spoken.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    H1,
    H2,
    /// A connection for each request, HTTP/1.1.
    Connect,
}

/// What is asked for.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    Generate,
    Decrypt,
    Encrypt(usize),
    Describe,
}

/// The rows.
pub(crate) fn works() -> Vec<Work> {
    use Kind::{Decrypt, Describe, Encrypt, Generate};
    use Protocol::{Connect, H1, H2};
    let work = |name, protocol, connections, streams, request| Work {
        name,
        protocol,
        connections,
        streams,
        request,
    };
    vec![
        work("generate, h2, 1 x 64", H2, 1, 64, Generate),
        work("decrypt, h2, 1 x 64", H2, 1, 64, Decrypt),
        work("encrypt 32 B, h2, 1 x 64", H2, 1, 64, Encrypt(32)),
        work("describe, h2, 1 x 64", H2, 1, 64, Describe),
        work("generate, h2, 8 x 16", H2, 8, 16, Generate),
        work("generate, h1, 32", H1, 32, 1, Generate),
        work("decrypt, h1, 32", H1, 32, 1, Decrypt),
        work("encrypt 700 kB, h1, 4", H1, 4, 1, Encrypt(700_000)),
        work("new connection each", Connect, 4, 1, Describe),
    ]
}

/// What a server did in a while.
#[derive(Default)]
pub(crate) struct Done {
    pub(crate) requests: u64,
    /// Of each request, in microseconds.
    pub(crate) latencies: Vec<u32>,
}

/// A request that is sent again and again.
#[derive(Clone)]
pub(crate) struct Template {
    method: &'static str,
    path: &'static str,
    body: Bytes,
}

/// The key that all requests use.
const KEY: &str = "bench";

impl Kind {
    /// Makes the request; a decryption needs a ciphertext of the server.
    pub(crate) async fn template(self, address: &str, config: &Arc<ClientConfig>) -> Template {
        let json = |body: String| Bytes::from(body);
        match self {
            Self::Generate => Template {
                method: "PUT",
                path: "/v1/key/generate/bench",
                body: json(r#"{"context":"YnVja2V0L29iamVjdA=="}"#.to_owned()),
            },
            Self::Describe => {
                Template { method: "GET", path: "/v1/key/describe/bench", body: Bytes::new() }
            }
            Self::Encrypt(size) => {
                let plaintext = STANDARD.encode(vec![7; size]);
                let body = format!(r#"{{"plaintext":"{plaintext}","context":"Y3R4"}}"#);
                Template { method: "PUT", path: "/v1/key/encrypt/bench", body: json(body) }
            }
            Self::Decrypt => {
                let plaintext = STANDARD.encode([7; 32]);
                let encrypt = Template {
                    method: "PUT",
                    path: "/v1/key/encrypt/bench",
                    body: json(format!(r#"{{"plaintext":"{plaintext}","context":"Y3R4"}}"#)),
                };
                let answer = once(address, config, &encrypt).await;
                let answer: serde_json::Value = serde_json::from_slice(&answer).unwrap();
                let ciphertext = answer["ciphertext"].as_str().unwrap();
                let body = format!(r#"{{"ciphertext":"{ciphertext}","context":"Y3R4"}}"#);
                Template { method: "PUT", path: "/v1/key/decrypt/bench", body: json(body) }
            }
        }
    }
}

/// Makes the key, if it is not there.
pub(crate) async fn prepare(address: &str, config: &Arc<ClientConfig>) {
    let path = "/v1/key/create/bench";
    assert!(path.ends_with(KEY));
    once(address, config, &Template { method: "PUT", path, body: Bytes::new() }).await;
}

/// Loads a server for a while.
pub(crate) async fn run(
    work: &Work,
    address: &str,
    config: &Arc<ClientConfig>,
    template: &Template,
    time: Duration,
) -> Done {
    let end = Instant::now() + time;
    let mut tasks = Vec::new();
    for _ in 0..work.connections {
        match work.protocol {
            Protocol::H2 => {
                let io = TokioIo::new(connect(address, config).await);
                let (sender, connection) =
                    http2::handshake(TokioExecutor::new(), io).await.unwrap();
                tokio::spawn(connection);
                for _ in 0..work.streams {
                    let mut sender = sender.clone();
                    let (template, address) = (template.clone(), address.to_owned());
                    tasks.push(tokio::spawn(Done::until(end, async move || {
                        sender.ready().await.unwrap();
                        let request = template.request(&address, true);
                        finish(sender.send_request(request).await.unwrap()).await;
                    })));
                }
            }
            Protocol::H1 => {
                let io = TokioIo::new(connect(address, config).await);
                let (mut sender, connection) = http1::handshake(io).await.unwrap();
                tokio::spawn(connection);
                let (template, address) = (template.clone(), address.to_owned());
                tasks.push(tokio::spawn(Done::until(end, async move || {
                    sender.ready().await.unwrap();
                    let request = template.request(&address, false);
                    finish(sender.send_request(request).await.unwrap()).await;
                })));
            }
            Protocol::Connect => {
                let (config, template) = (Arc::clone(config), template.clone());
                let address = address.to_owned();
                tasks.push(tokio::spawn(Done::until(end, async move || {
                    once(&address, &config, &template).await;
                })));
            }
        }
    }
    let mut all = Done::default();
    for task in tasks {
        let done = task.await.unwrap();
        all.requests += done.requests;
        all.latencies.extend(done.latencies);
    }
    all
}

/// Opens connections that do nothing, and hands them over to be kept.
pub(crate) async fn idle(
    address: &str,
    config: &Arc<ClientConfig>,
    count: usize,
) -> Vec<TlsStream<TcpStream>> {
    let mut connections = Vec::with_capacity(count);
    for _ in 0..count {
        connections.push(connect(address, config).await);
    }
    connections
}

async fn once(address: &str, config: &Arc<ClientConfig>, template: &Template) -> Bytes {
    let mut h1 = (**config).clone();
    h1.alpn_protocols = vec![b"http/1.1".to_vec()];
    let io = TokioIo::new(connect(address, &Arc::new(h1)).await);
    let (mut sender, connection) = http1::handshake(io).await.unwrap();
    tokio::spawn(connection);
    let response = sender.send_request(template.request(address, false)).await.unwrap();
    response.into_body().collect().await.unwrap().to_bytes()
}

async fn connect(address: &str, config: &Arc<ClientConfig>) -> TlsStream<TcpStream> {
    let socket = TcpStream::connect(address).await.unwrap();
    socket.set_nodelay(true).unwrap();
    let name = ServerName::try_from("127.0.0.1").unwrap();
    TlsConnector::from(Arc::clone(config)).connect(name, socket).await.unwrap()
}

async fn finish(response: http::Response<hyper::body::Incoming>) {
    assert_eq!(response.status(), 200);
    let mut body = response.into_body();
    while let Some(frame) = body.frame().await {
        frame.unwrap();
    }
}

impl Template {
    fn request(&self, address: &str, absolute: bool) -> Request<Full<Bytes>> {
        let builder = Request::builder().method(self.method);
        let builder = if absolute {
            let uri = Uri::builder().scheme("https").authority(address).path_and_query(self.path);
            builder.uri(uri.build().unwrap())
        } else {
            builder.uri(self.path).header("host", address)
        };
        builder.body(Full::new(self.body.clone())).unwrap()
    }
}

impl Done {
    /// Sends requests one after the other until `end`.
    async fn until(end: Instant, mut request: impl AsyncFnMut()) -> Self {
        let mut done = Self::default();
        while Instant::now() < end {
            let start = Instant::now();
            request().await;
            done.requests += 1;
            done.latencies.push(u32::try_from(start.elapsed().as_micros()).unwrap_or(u32::MAX));
        }
        done
    }
}
