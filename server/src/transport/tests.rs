//! A listener serves whatever service it is given, beside others.

use std::convert::Infallible;
use std::sync::Arc;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use kes_config::ClientAuth;
use kes_testkit::SelfSigned;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::TlsConnector;

use super::listener::Listening;
use super::tls::current::CurrentTls;
use super::tls::{ServerIdentity, Settings};
use super::{ActiveRequest, Class, Ending, Endpoint, Peer, Service};
use crate::observe::logging::repeats::Repeats;
use crate::observe::metrics::Metrics;

/// Answers every request with its name, the path, and the client's address.
struct Named(&'static str);

impl Service for Named {
    type Content = Full<Bytes>;

    fn class(&self, _: &Peer) -> Class {
        Class::Known
    }

    async fn call(
        self: Arc<Self>,
        peer: Arc<Peer>,
        request: Request<Incoming>,
        active_request: ActiveRequest,
    ) -> Result<Response<Full<Bytes>>, Infallible> {
        let text = format!("{} {} {}", self.0, request.uri().path(), peer.address.ip());
        drop(active_request);
        Ok(Response::new(Full::from(text)))
    }
}

/// Another kind of service, which never answers with a body.
struct Silent;

impl Service for Silent {
    type Content = http_body_util::Empty<Bytes>;

    fn class(&self, _: &Peer) -> Class {
        Class::Stranger
    }

    async fn call(
        self: Arc<Self>,
        _: Arc<Peer>,
        _: Request<Incoming>,
        _: ActiveRequest,
    ) -> Result<Response<Self::Content>, Infallible> {
        Ok(Response::new(http_body_util::Empty::new()))
    }
}

#[tokio::test]
async fn listeners_serve_different_services_side_by_side() {
    let made = SelfSigned::new(&["localhost"]);
    let key = kes_tls::parse_private_key(made.key_pem.as_bytes(), None);
    let certificate = CertificateDer::from(made.certificate);
    let chain = [certificate.clone()];
    let settings = Settings {
        identity: ServerIdentity::Memory(kes_tls::match_key(&chain, &key.unwrap()).unwrap()),
        auth: ClientAuth::Any,
        ca: None,
        optional: true,
    };
    let (shutdown, is_set) = watch::channel(Ending::None);
    let (first, first_port) = start(Named("first"), &settings, is_set.clone()).await;
    let (second, second_port) = start(Silent, &settings, is_set).await;
    let answer = get(first_port, &certificate).await;
    assert!(answer.ends_with("\r\n\r\nfirst /path 127.0.0.1"), "{answer}");
    let answer = get(second_port, &certificate).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("\r\n\r\n"), "{answer}");
    shutdown.send_replace(Ending::Stop);
    first.await.unwrap();
    second.await.unwrap();
}

/// Starts a listener; the task ends when its last connection has ended.
async fn start<S: Service>(
    service: S,
    settings: &Settings,
    shutdown: watch::Receiver<Ending>,
) -> (tokio::task::JoinHandle<()>, u16) {
    let metrics = Arc::new(Metrics::new());
    let endpoint = Arc::new(Endpoint {
        service: Arc::new(service),
        tls: CurrentTls::new(settings.load().unwrap()),
        balancers: ArcSwap::default(),
        metrics: Arc::clone(&metrics),
        repeats: Arc::new(Repeats::default()),
    });
    let listening = Listening::start(&"127.0.0.1:0".parse().unwrap(), true).await.unwrap();
    let port = listening.addresses().unwrap()[0].port();
    let listener = listening.listener(8, metrics);
    let task = tokio::spawn(async move {
        let drain = listener.serve(endpoint, shutdown).await;
        drain.ended().await;
        drop(listening);
    });
    (task, port)
}

/// The whole answer to a request for `/path`.
async fn get(port: u16, trusted: &CertificateDer<'static>) -> String {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let config = ClientConfig::builder_with_provider(kes_tls::provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let tcp = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let mut tls = TlsConnector::from(Arc::new(config)).connect(name, tcp).await.unwrap();
    let request = b"GET /path HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    tls.write_all(request).await.unwrap();
    let mut answer = String::new();
    tls.read_to_string(&mut answer).await.unwrap();
    answer
}
