use kes_testkit::SelfSigned;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use kes_keystore::State;

use super::page::facts::Facts;
use super::*;
use crate::observe::metrics::{Metrics, Readings};

/// A server whose accept loop answers if it is told to.
struct Stub {
    answers: AtomicBool,
    has_store: AtomicBool,
}

impl Shown for Stub {
    fn readings(&self) -> Readings {
        Metrics::new().readings()
    }

    fn store_state(&self) -> State {
        State::Unreachable
    }

    fn facts(&self, with_details: bool) -> Facts {
        Facts {
            version: "1.2.3",
            commit: "abc",
            is_fips: false,
            uptime: Duration::ZERO,
            state: State::Unreachable,
            trouble: with_details.then(|| "the cause".to_owned()),
            place: None,
            store_version: None,
            cached_keys: 0,
            pin_faults: 0,
            failed_reloads: Vec::new(),
            policies: 0,
            identities: 0,
            certificates: Vec::new(),
            clients: None,
            expiring_clients: 0,
            refusals: Vec::new(),
        }
    }
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
    let url = configure(&listener, "address: '127.0.0.1:0'").await.unwrap();
    (listener, url)
}

/// Where it listens from now on, if it is another place.
async fn configure(listener: &Listener<Stub>, fields: &str) -> Option<String> {
    let text = format!(
        "{{operations: {{{fields}}}, admin: {{identity: x}}, tls: {{key: k, cert: c}}, \
         keystore: {{fs: {{path: p}}}}}}"
    );
    let config = kes_config::parse(&text, &|_: &str| None).unwrap().config;
    let change = listener.prepare(config.operations.as_ref()).await.unwrap();
    Some(listener.apply(change)?.trim_start_matches("http://").to_owned())
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

/// Begins an event stream, and reads its first event.
async fn follow(address: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET /events HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n").await.unwrap();
    read_until(&mut stream, "event: all").await;
    stream
}

async fn read_until(stream: &mut TcpStream, text: &str) {
    let mut read = String::new();
    while !read.contains(text) {
        let mut some = [0; 1024];
        let count = stream.read(&mut some).await.unwrap();
        assert!(count > 0, "the stream has ended: {read}");
        read.push_str(&String::from_utf8_lossy(&some[..count]));
    }
}

/// Waits for its end.
async fn ended(mut stream: TcpStream) {
    let mut rest = Vec::new();
    timeout(Duration::from_secs(60), stream.read_to_end(&mut rest))
        .await
        .expect("the stream ends")
        .unwrap();
}

#[tokio::test]
async fn an_event_stream_ends_with_its_page_and_with_the_server() {
    let (listener, address) = listener().await;
    assert_eq!(get(&address, "/").await.0, 404);
    assert_eq!(get(&address, "/events").await.0, 404);
    let with_page = "address: '127.0.0.1:0', page: on";
    configure(&listener, with_page).await;
    assert_eq!(get(&address, "/").await, (503, "the server is starting".to_owned()));
    let (answers, has_store) = (AtomicBool::new(true), AtomicBool::new(true));
    let server = Arc::new(Stub { answers, has_store });
    listener.started(&server);
    assert_eq!(get(&address, "/").await.0, 403, "it is asked by the name 'kes'");
    let stream = follow(&address).await;
    // Nothing else has changed: the socket stays, and so does the stream.
    assert_eq!(configure(&listener, with_page).await, None);
    configure(&listener, "address: '127.0.0.1:0', page: on, details: on").await;
    ended(stream).await;
    let stream = follow(&address).await;
    configure(&listener, "address: '127.0.0.1:0'").await;
    ended(stream).await;
    assert_eq!(get(&address, "/events").await.0, 404);
    configure(&listener, with_page).await;
    let stream = follow(&address).await;
    listener.stopping();
    ended(stream).await;
    assert_eq!(get(&address, "/events").await, (503, "the server is stopping".to_owned()));
}

/// Open pages keep no probe away, whose connections end each other only.
#[tokio::test]
async fn event_streams_have_places_of_their_own() {
    let (listener, address) = listener().await;
    configure(&listener, "address: '127.0.0.1:0', page: on").await;
    let (answers, has_store) = (AtomicBool::new(true), AtomicBool::new(true));
    let server = Arc::new(Stub { answers, has_store });
    listener.started(&server);
    let mut streams = Vec::new();
    for _ in 0..page::events::MAX_STREAMS {
        streams.push(follow(&address).await);
    }
    let mut one_more = TcpStream::connect(&address).await.unwrap();
    one_more.write_all(b"GET /events HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    one_more.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("retry-after: 5"), "{answer}");
    let mut held = Vec::new();
    for _ in 0..MAX_CONNECTIONS * 2 {
        held.push(TcpStream::connect(&address).await.unwrap());
        assert_eq!(get(&address, "/live").await.0, 200);
    }
    // The next events come all the same, also after some that were sent before.
    for stream in &mut streams {
        for _ in 0..2 {
            read_until(stream, "event: tick").await;
        }
    }
    // Who goes leaves its place to the next.
    streams.pop();
    kes_testkit::wait::eventually_async(Duration::from_secs(60), "a place is free", async || {
        let mut stream = TcpStream::connect(&address).await.unwrap();
        stream.write_all(b"GET /events HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n").await.unwrap();
        let mut begin = [0; 12];
        stream.read_exact(&mut begin).await.unwrap();
        begin == *b"HTTP/1.1 200"
    })
    .await;
}
