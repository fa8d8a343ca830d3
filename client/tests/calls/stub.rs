//! A server with scripted answers: HTTP/1.1 over TLS on a free port of this machine.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kes_client::tls::{Trust, config};
use kes_client::{Client, SelfSigned, Usage, certificate_to_pem};
use rustls::ServerConfig;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::sign::SingleCertAndKey;
use rustls_pki_types::CertificateDer;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// `GET /version`
    pub(crate) line: String,
    pub(crate) head: String,
    pub(crate) body: String,
}

/// What is written for a request, and whether the connection stays open then.
pub(crate) struct Answer(pub(crate) Vec<u8>, pub(crate) Then);

pub(crate) enum Then {
    Serve,
    Close,
    /// Writes it again and again.
    Repeat,
}

/// A connection of a client.
pub(crate) type Tls = tokio_rustls::server::TlsStream<tokio::net::TcpStream>;

pub(crate) struct Stub {
    pub(crate) port: u16,
    requests: Arc<Mutex<Vec<Request>>>,
    folder: TempDir,
    task: JoinHandle<()>,
}

/// How a stub is set up.
pub(crate) struct Options {
    pub(crate) dns: &'static str,
    /// Clients have to show a certificate of this CA.
    pub(crate) client_ca: Option<CertificateDer<'static>>,
    pub(crate) alpn: &'static [&'static [u8]],
}

impl Default for Options {
    fn default() -> Self {
        Self { dns: "localhost", client_ca: None, alpn: &[b"http/1.1"] }
    }
}

impl Stub {
    /// A server that gives the same answer to everything.
    pub(crate) async fn answering(status: &str, body: &str) -> Self {
        let answer = answer(status, "application/json", body);
        Self::new(move |_| Answer(answer.clone(), Then::Serve)).await
    }

    pub(crate) async fn new(answer: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Self {
        Self::with(Options::default(), answer).await
    }

    pub(crate) async fn with(
        options: Options,
        answer: impl Fn(&Request) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let requests = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&requests);
        let answer = Arc::new(answer);
        let mut stub = Self::accepting(options, move |tls| {
            let (log, answer) = (Arc::clone(&log), Arc::clone(&answer));
            async move { serve(tls, &log, answer.as_ref()).await }
        })
        .await;
        stub.requests = requests;
        stub
    }

    /// A server that does with each connection what `handle` does.
    pub(crate) async fn accepting<F>(
        options: Options,
        handle: impl Fn(Tls) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let certificate = SelfSigned {
            subject: "stub",
            dns: &[options.dns.to_owned()],
            ips: &[IpAddr::V4(Ipv4Addr::LOCALHOST)][..usize::from(options.dns == "localhost")],
            validity: Duration::from_hours(1),
            usage: Usage::ServerAndClient,
        };
        let (certificate, key) = certificate.generate().expect("a certificate");
        let folder = TempDir::new().expect("a temporary folder");
        let pem = certificate_to_pem(&certificate);
        std::fs::write(folder.path().join("ca.crt"), pem).expect("the folder is writable");

        let key = kes_tls::match_key(&[certificate], &key).expect("they belong together");
        let mut config = ServerConfig::builder_with_provider(kes_tls::provider())
            .with_safe_default_protocol_versions()
            .expect("versions of TLS")
            .with_client_cert_verifier(verifier(options.client_ca))
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(key)));
        config.alpn_protocols = options.alpn.iter().map(|name| name.to_vec()).collect();

        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let requests = Arc::default();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let handle = Arc::new(handle);
        let task = tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                // A small answer leaves at once: one that waits for an acknowledgement is lost
                // when the connection is reset.
                tcp.set_nodelay(true).expect("an open connection");
                let (acceptor, handle) = (acceptor.clone(), Arc::clone(&handle));
                tokio::spawn(async move {
                    match acceptor.accept(tcp).into_fallible().await {
                        Ok(tls) => handle(tls).await,
                        // What the client has sent is read: if not, the connection is reset,
                        // and the alert may be lost with it.
                        Err((_, mut tcp)) => {
                            let _ = tcp.shutdown().await;
                            let _ = tcp.read_to_end(&mut Vec::new()).await;
                        }
                    }
                });
            }
        });
        Self { port, requests, folder, task }
    }

    /// Where it listens, as one writes it.
    pub(crate) fn endpoint(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The certificate to trust.
    pub(crate) fn ca(&self) -> PathBuf {
        self.folder.path().join("ca.crt")
    }

    /// A client that trusts this server alone.
    pub(crate) fn client(&self) -> Client {
        let tls = config(&Trust::Only(self.ca()), None).expect("a configuration");
        client(&self.endpoint(), tls)
    }

    /// The first lines of all requests so far.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.requests().into_iter().map(|request| request.line).collect()
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().expect("no panic").clone()
    }
}

impl Drop for Stub {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A client of several servers, which trusts all.
pub(crate) fn client_of(endpoints: &[String]) -> Client {
    let tls = config(&Trust::DangerAny, None).expect("a configuration");
    client(&endpoints.join(","), tls)
}

pub(crate) fn client(endpoints: &str, tls: rustls::ClientConfig) -> Client {
    Client::new(endpoints.parse().expect("endpoints"), tls)
}

/// An address on which nothing listens.
pub(crate) async fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    listener.local_addr().expect("an address").to_string()
}

pub(crate) fn answer(status: &str, content_type: &str, body: &str) -> Vec<u8> {
    let len = body.len();
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: {content_type}\r\ncontent-length: {len}\r\n\r\n{body}"
    )
    .into_bytes()
}

fn verifier(ca: Option<CertificateDer<'static>>) -> Arc<dyn ClientCertVerifier> {
    let Some(ca) = ca else { return WebPkiClientVerifier::no_client_auth() };
    let mut roots = rustls::RootCertStore::empty();
    roots.add(ca).expect("a CA");
    WebPkiClientVerifier::builder_with_provider(roots.into(), kes_tls::provider())
        .build()
        .expect("a verifier")
}

async fn serve(
    mut tls: Tls,
    log: &Mutex<Vec<Request>>,
    answer: &(impl Fn(&Request) -> Answer + ?Sized),
) {
    while let Some(request) = read(&mut tls).await {
        log.lock().expect("no panic").push(request.clone());
        let Answer(bytes, then) = answer(&request);
        loop {
            if tls.write_all(&bytes).await.is_err() || tls.flush().await.is_err() {
                return;
            }
            match then {
                Then::Serve => break,
                Then::Close => {
                    let _ = tls.shutdown().await;
                    return;
                }
                Then::Repeat => {}
            }
        }
    }
}

async fn read(stream: &mut (impl AsyncReadExt + Unpin)) -> Option<Request> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let len = head
        .lines()
        .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok())
        .unwrap_or(0);
    while bytes.len() < end + len {
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
    let line = head.lines().next()?.trim_end_matches(" HTTP/1.1").to_owned();
    Some(Request { line, body: String::from_utf8_lossy(&bytes[end..]).into_owned(), head })
}
