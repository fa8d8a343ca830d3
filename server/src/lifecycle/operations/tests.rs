use kes_testkit::SelfSigned;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::*;

/// A server whose accept loop answers if it is told to.
struct Stub {
    answers: AtomicBool,
    has_store: AtomicBool,
}

impl Health for Stub {
    async fn answers(&self) {
        if !self.answers.load(Ordering::SeqCst) {
            std::future::pending().await
        }
    }

    fn is_store_reachable(&self) -> bool {
        self.has_store.load(Ordering::SeqCst)
    }

    fn metrics(&self, format: Format) -> Exposition {
        assert_eq!(format, Format::Text);
        Exposition { content_type: "text/plain", text: "metric 1\n".to_owned() }
    }
}

/// Any configuration: these tests speak plain HTTP.
fn tls() -> Arc<ServerConfig> {
    let made = SelfSigned::new(&["localhost"]);
    let key = kes_tls::parse_private_key(made.key_pem.as_bytes(), None).unwrap();
    let certified = kes_tls::match_key(&[made.certificate.into()], &key).unwrap();
    let config = ServerConfig::builder_with_provider(kes_tls::provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(certified)));
    Arc::new(config)
}

async fn listener() -> (Listener<Stub>, String) {
    let listener = Listener::new(tls());
    let text = "{operations: {address: '127.0.0.1:0'}, admin: {identity: x}, \
                tls: {key: k, cert: c}, keystore: {fs: {path: p}}}";
    let config = kes_config::parse(text, &|_: &str| None).unwrap().config;
    let change = listener.prepare(config.operations.as_ref()).await.unwrap();
    let url = listener.apply(change).unwrap();
    (listener, url.trim_start_matches("http://").to_owned())
}

async fn get(address: &str, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: kes\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap();
    (status.parse().unwrap(), body.trim_end().to_owned())
}

#[tokio::test]
async fn a_server_that_starts_is_alive_and_nothing_else() {
    let (listener, address) = listener().await;
    for path in ["/ready", "/ready?keystore=false", "/startup", "/metrics"] {
        assert_eq!(get(&address, path).await, (503, "the server is starting".to_owned()), "{path}");
    }
    assert_eq!(get(&address, "/live").await, (200, "ok".to_owned()));

    let (answers, has_store) = (AtomicBool::new(true), AtomicBool::new(true));
    let server = Arc::new(Stub { answers, has_store });
    listener.started(&server);
    for path in ["/live", "/ready", "/startup"] {
        assert_eq!(get(&address, path).await, (200, "ok".to_owned()), "{path}");
    }
    assert_eq!(get(&address, "/metrics").await, (200, "metric 1".to_owned()));
    server.has_store.store(false, Ordering::SeqCst);
    assert_eq!(get(&address, "/ready").await.0, 503);
    assert_eq!(get(&address, "/ready?keystore=false").await.0, 200);
    for query in ["keystore", "keystore=", "keystore=no", "xkeystore=false", "keystore=falsey"] {
        assert_eq!(get(&address, &format!("/ready?{query}")).await.0, 503, "{query}");
    }
}

#[tokio::test]
async fn a_server_whose_accept_loop_does_not_answer_is_not_alive() {
    let (listener, address) = listener().await;
    let (answers, has_store) = (AtomicBool::new(false), AtomicBool::new(true));
    let server = Arc::new(Stub { answers, has_store });
    listener.started(&server);
    let dead = (503, "the server accepts no connections".to_owned());
    assert_eq!(get(&address, "/live").await, dead);
    assert_eq!(get(&address, "/ready").await.0, 200, "that is another question");
    // One that stops has ended the loop, and works.
    listener.stopping();
    assert_eq!(get(&address, "/live").await.0, 200);
    assert_eq!(get(&address, "/ready").await, (503, "the server is stopping".to_owned()));
    assert_eq!(get(&address, "/startup").await.0, 200);
    listener.close();
    kes_testkit::wait::eventually_async(Duration::from_secs(30), "it is closed", async || {
        TcpStream::connect(&address).await.is_err()
    })
    .await;
}
