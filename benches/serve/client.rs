//! A client of the load: connections, and requests that are sent again and again.

use std::sync::Arc;

use base64_simd::STANDARD;
use futures_util::future::join_all;
use http::{Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::servers::{BARE, Subject};
use crate::setup::key_name;

/// What is spoken.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    H1,
    H2,
}

impl Protocol {
    /// As TLS offers it.
    pub(crate) fn alpn(self) -> &'static str {
        match self {
            Self::H1 => "http/1.1",
            Self::H2 => "h2",
        }
    }
}

/// What is asked for.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    Generate,
    Decrypt,
    /// Of a plaintext of so many bytes.
    Encrypt(usize),
    Describe,
}

/// The context of all requests, in base64.
const CONTEXT: &str = "YnVja2V0L29iamVjdA==";

/// A request that is sent again and again.
#[derive(Clone)]
pub(crate) struct Template {
    method: Method,
    uri: Uri,
    host: Option<String>,
    body: Bytes,
    /// The length of its answer, once that was looked into.
    answer: Option<usize>,
}

impl Template {
    pub(crate) fn new(
        protocol: Protocol,
        address: &str,
        method: Method,
        path: &str,
        body: impl Into<Bytes>,
    ) -> Self {
        let path = path.to_owned();
        let (uri, host) = match protocol {
            Protocol::H1 => (Uri::try_from(path).unwrap(), Some(address.to_owned())),
            Protocol::H2 => (Uri::try_from(format!("https://{address}{path}")).unwrap(), None),
        };
        Self { method, uri, host, body: body.into(), answer: None }
    }

    fn assert_alike(&self, len: usize) {
        // The digits behind the second may be fewer.
        const ALIKE: usize = 16;
        let expected = self.answer.unwrap_or(len);
        assert!(len.abs_diff(expected) <= ALIKE, "{}: {len} bytes", self.uri);
    }

    fn request(&self) -> Request<Full<Bytes>> {
        let mut builder = Request::builder().method(self.method.clone()).uri(self.uri.clone());
        if let Some(host) = &self.host {
            builder = builder.header("host", host);
        }
        builder.body(Full::new(self.body.clone())).unwrap()
    }
}

impl Kind {
    /// The request for a key.
    pub(crate) async fn template(self, sender: &mut Sender, address: &str, key: usize) -> Template {
        let key = key_name(key);
        let protocol = sender.protocol();
        let put = |api: &str, body: String| {
            let path = format!("/v1/key/{api}/{key}");
            Template::new(protocol, address, Method::PUT, &path, body)
        };
        let encrypt = |size| {
            let plaintext = STANDARD.encode_to_string(vec![7; size]);
            put("encrypt", format!(r#"{{"plaintext":"{plaintext}","context":"{CONTEXT}"}}"#))
        };
        match self {
            Self::Generate => put("generate", format!(r#"{{"context":"{CONTEXT}"}}"#)),
            Self::Describe => {
                let path = format!("/v1/key/describe/{key}");
                Template::new(protocol, address, Method::GET, &path, "")
            }
            Self::Encrypt(size) => encrypt(size),
            Self::Decrypt => {
                let ciphertext = &sender.json(&encrypt(32)).await["ciphertext"];
                put("decrypt", format!(r#"{{"ciphertext":{ciphertext},"context":"{CONTEXT}"}}"#))
            }
        }
    }

    /// Looks into an answer: a load of refusals would measure nothing. The bare server keeps to
    /// the form alone.
    fn check(self, answer: &Value, is_bare: bool) {
        let bytes = |name: &str| STANDARD.decode_to_vec(answer[name].as_str().unwrap()).unwrap();
        match self {
            Self::Describe => assert!(answer["name"].is_string(), "{answer}"),
            Self::Decrypt => {
                let plaintext = bytes("plaintext");
                assert!(plaintext == [7; 32] || is_bare && plaintext.len() == 32);
            }
            Self::Generate => {
                assert_eq!(bytes("plaintext").len(), 32);
                assert!(bytes("ciphertext").len() > 32);
            }
            Self::Encrypt(size) => assert!(bytes("ciphertext").len() > size),
        }
    }

    /// The requests for the first `keys` keys. Each is sent once, so that its key is in memory;
    /// the answer to the first is looked into, and the others are as long.
    pub(crate) async fn templates(
        self,
        sender: &mut Sender,
        subject: &Subject,
        keys: usize,
    ) -> Vec<Template> {
        const AT_ONCE: usize = 64;
        let first = self.tried(sender, subject, 0, None).await;
        let answer = first.answer;
        let mut templates = vec![first];
        while templates.len() < keys {
            let next = templates.len()..keys.min(templates.len() + AT_ONCE);
            let more: Vec<(usize, Sender)> =
                next.map_while(|key| Some((key, sender.another()?))).collect();
            if more.is_empty() {
                templates.push(self.tried(sender, subject, templates.len(), answer).await);
            }
            let more = more.into_iter().map(|(key, mut sender)| async move {
                self.tried(&mut sender, subject, key, answer).await
            });
            templates.extend(join_all(more).await);
        }
        templates
    }

    /// A request that was sent once.
    async fn tried(
        self,
        sender: &mut Sender,
        subject: &Subject,
        key: usize,
        answer: Option<usize>,
    ) -> Template {
        let mut template = self.template(sender, &subject.address, key).await;
        template.answer = answer;
        let body = sender.fetch(&template).await;
        template.assert_alike(body.len());
        if answer.is_none() {
            self.check(&serde_json::from_slice(&body).unwrap(), subject.name == BARE);
            template.answer = Some(body.len());
        }
        template
    }
}

/// A connection to a server.
pub(crate) enum Sender {
    H1(http1::SendRequest<Full<Bytes>>),
    H2(http2::SendRequest<Full<Bytes>>),
}

impl Sender {
    /// Connects; `config` offers the protocol that is to be spoken.
    pub(crate) async fn open(address: &str, config: &Arc<ClientConfig>) -> Self {
        Self::over(connect(address, config).await).await
    }

    /// Speaks HTTP over a connection that is there.
    pub(crate) async fn over(tls: Tls) -> Self {
        let is_h2 = tls.get_ref().1.alpn_protocol() == Some(b"h2");
        let io = TokioIo::new(tls);
        if is_h2 {
            let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
            tokio::spawn(connection);
            Self::H2(sender)
        } else {
            let (sender, connection) = http1::handshake(io).await.unwrap();
            tokio::spawn(connection);
            Self::H1(sender)
        }
    }

    /// What it speaks.
    pub(crate) fn protocol(&self) -> Protocol {
        match self {
            Self::H1(_) => Protocol::H1,
            Self::H2(_) => Protocol::H2,
        }
    }

    /// One more sender on the same connection, where the protocol has that.
    pub(crate) fn another(&self) -> Option<Self> {
        match self {
            Self::H1(_) => None,
            Self::H2(sender) => Some(Self::H2(sender.clone())),
        }
    }

    /// Sends a request.
    pub(crate) async fn exchange(&mut self, template: &Template) -> Response<Incoming> {
        let request = template.request();
        let response = match self {
            Self::H1(sender) => {
                sender.ready().await.unwrap();
                sender.send_request(request).await
            }
            Self::H2(sender) => {
                sender.ready().await.unwrap();
                sender.send_request(request).await
            }
        };
        response.unwrap()
    }

    /// Sends a request and hands over the body of the answer, which has to be 200.
    pub(crate) async fn send(&mut self, template: &Template) -> Incoming {
        let response = self.exchange(template).await;
        assert_eq!(response.status(), StatusCode::OK, "{}", template.uri);
        response.into_body()
    }

    /// Sends a request and reads the answer, which has to be as long as the first one.
    pub(crate) async fn finish(&mut self, template: &Template) {
        let mut body = self.send(template).await;
        let mut len = 0;
        while let Some(frame) = body.frame().await {
            len += frame.unwrap().data_ref().map_or(0, Bytes::len);
        }
        template.assert_alike(len);
    }

    /// Sends a request and keeps the answer.
    pub(crate) async fn fetch(&mut self, template: &Template) -> Bytes {
        self.send(template).await.collect().await.unwrap().to_bytes()
    }

    /// Sends a request and reads the answer as JSON.
    pub(crate) async fn json(&mut self, template: &Template) -> Value {
        serde_json::from_slice(&self.fetch(template).await).unwrap()
    }
}

/// A connection on which TLS alone was spoken.
pub(crate) type Tls = TlsStream<TcpStream>;

/// Connects.
pub(crate) async fn connect(address: &str, config: &Arc<ClientConfig>) -> Tls {
    let socket = TcpStream::connect(address).await.unwrap();
    socket.set_nodelay(true).unwrap();
    let name = ServerName::try_from("127.0.0.1").unwrap();
    TlsConnector::from(Arc::clone(config)).connect(name, socket).await.unwrap()
}
