//! What was admitted is decided anew: connections after a change of the CAs that client certificates
//! are signed by, and streams after a change of policies (contract `config.md`, While it runs).

use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use kes_testkit::{Authority, wait};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;

use super::PATIENCE;
use crate::harness::{self, Client, Config, Credentials, Exposition, Frame, Protocol, Server, Who};

const PROTOCOLS: [Protocol; 2] = [Protocol::H1, Protocol::H2];

/// Two CAs with a client each, and a server that accepts what `trust.crt` has signed.
struct World {
    server: Server,
    config: Config,
    a: Authority,
    b: Authority,
    of_a: Credentials,
    of_b: Credentials,
}

impl World {
    fn new() -> Self {
        let (a, b) = (Authority::new(), Authority::new());
        let of_a = Credentials::issued(&a.client("of-a"));
        let of_b = Credentials::issued(&b.client("of-b"));
        let allow = "[/v1/key/*, /v1/status, /v1/metrics, /v1/log/*]";
        let policy = format!(
            "{{ p: {{ allow: {allow}, identities: [{}, {}] }} }}",
            of_a.identity, of_b.identity
        );
        let config = Config::usual()
            .with("tls", "{ key: server.key, cert: server.crt, auth: on, ca: trust.crt }")
            .with("admin", "{ identity: disabled }")
            .with("policy", &policy);
        let ca = std::fs::read(a.certificate()).unwrap();
        let server = Server::prepared(&config, |folder| {
            std::fs::write(folder.join("trust.crt"), ca).unwrap();
        });
        Self { server, config, a, b, of_a, of_b }
    }

    /// Writes the CAs that are trusted from the next reload on.
    fn write(&self, trusted: &[&Authority]) {
        let read = |ca: &&Authority| std::fs::read_to_string(ca.certificate()).unwrap();
        let text: String = trusted.iter().map(read).collect();
        std::fs::write(self.server.file("trust.crt"), text).unwrap();
    }

    fn trust(&self, trusted: &[&Authority]) {
        self.write(trusted);
        self.server.reload_and_wait(&self.config);
    }

    async fn connect(&self, who: &Credentials, protocol: Protocol) -> Result<Client, String> {
        let (address, trusted) = (&self.server.address, &self.server.tls.certificate);
        Client::connect(address, trusted, Some(who), protocol).await
    }

    async fn raw(&self, who: &Credentials, protocol: Protocol) -> TlsStream<TcpStream> {
        let config = harness::tls_config(&self.server.tls.certificate, Some(who), protocol);
        harness::tls_connect(&self.server.address, config).await.unwrap()
    }
}

/// The status of a data key; an error is what the connection says.
async fn generate(client: &mut Client) -> Result<u16, String> {
    let reply = client.try_send("PUT", "/v1/key/generate/k", &[], "".into()).await?;
    Ok(reply.status)
}

async fn in_time<F: Future>(what: &str, future: F) -> F::Output {
    timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("not in time: {what}"))
}

/// Whether a stream of a log has ended as it should, without an error.
async fn ends(mut stream: Incoming) {
    let end = async {
        while let Some(frame) = stream.frame().await {
            frame.unwrap();
        }
    };
    in_time("the stream ends", end).await;
}

async fn follow(client: &mut Client, log: &str) -> Incoming {
    let answer = client.open("GET", log, &[], "".into()).await.unwrap();
    assert_eq!(answer.status(), 200, "{log}");
    answer.into_body()
}

/// Waits for a line of a stream that holds a text.
async fn line_of(stream: &mut Incoming, text: &str) {
    let line = async {
        let mut read = String::new();
        while !read.contains(text) {
            let frame = stream.frame().await.expect("the stream goes on").unwrap();
            read.push_str(&String::from_utf8_lossy(frame.data_ref().unwrap()));
        }
    };
    in_time("the line comes", line).await;
}

#[test]
fn a_connection_of_a_ca_that_was_removed_is_served_no_more() {
    harness::run(async {
        let world = World::new();
        let mut busy = Vec::new();
        for protocol in PROTOCOLS {
            let mut client = world.connect(&world.of_a, protocol).await.unwrap();
            let created = client.try_send("PUT", "/v1/key/create/k", &[], "".into()).await;
            assert!(matches!(created.unwrap().status, 200 | 400));
            assert_eq!(generate(&mut client).await, Ok(200));
            busy.push(client);
        }
        // One that has not sent anything yet, and one that is idle.
        let mut unused = world.raw(&world.of_a, Protocol::H1).await;
        let mut idle = world.raw(&world.of_a, Protocol::H1).await;
        idle.write_all(b"GET /v1/status HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        let mut answer = [0; 4096];
        let length = in_time("the answer", idle.read(&mut answer)).await.unwrap();
        assert!(String::from_utf8_lossy(&answer[..length]).starts_with("HTTP/1.1 200"));

        world.trust(&[&world.b]);
        for (client, protocol) in busy.iter_mut().zip(PROTOCOLS) {
            // Whether it was closed before the request came, or refuses it.
            let told = generate(client).await;
            assert!(!matches!(told, Ok(200)), "{protocol:?}: {told:?}");
            let again = generate(client).await;
            assert!(!matches!(again, Ok(200)), "{protocol:?}: {again:?}");
        }
        for (stream, what) in [(&mut unused, "unused"), (&mut idle, "idle")] {
            let mut rest = Vec::new();
            let ended = in_time(what, stream.read_to_end(&mut rest)).await;
            assert!(ended.is_ok(), "{what}: {ended:?}");
        }
        for protocol in PROTOCOLS {
            let mut of_b = world.connect(&world.of_b, protocol).await.unwrap();
            assert_eq!(generate(&mut of_b).await, Ok(200));
            let refused = match world.connect(&world.of_a, protocol).await {
                Ok(mut client) => generate(&mut client).await.is_err(),
                Err(_) => true,
            };
            assert!(refused, "a new connection is accepted over {protocol:?}");
        }
        let stderr = world.server.stderr();
        let told = "its client certificate is no longer accepted: it ";
        assert!(stderr.contains(told) && stderr.contains(&world.of_a.identity), "{stderr}");
    });
}

/// Nothing is closed that may go on: the same certificates, more CAs, another policy, two signals.
#[test]
fn a_reload_ends_no_connection_and_no_stream_that_is_still_accepted() {
    harness::run(async {
        let world = World::new();
        let mut clients = Vec::new();
        let mut streams = Vec::new();
        for protocol in PROTOCOLS {
            clients.push(world.connect(&world.of_a, protocol).await.unwrap());
            let mut client = world.connect(&world.of_a, protocol).await.unwrap();
            streams.push((follow(&mut client, "/v1/log/audit").await, client));
        }
        let _ = clients[0].try_send("PUT", "/v1/key/create/k", &[], "".into()).await;
        for trusted in [&[&world.a][..], &[&world.b, &world.a], &[&world.a]] {
            world.trust(trusted);
            world.server.reload(&world.config);
            world.server.reload_and_wait(&world.config);
            for client in &mut clients {
                assert_eq!(generate(client).await, Ok(200));
            }
        }
        // A certificate of the server that is written anew.
        let fresh = &world.server.tls.certificate_pem;
        std::fs::write(world.server.file("server.crt"), fresh).unwrap();
        world.server.wait_for_stderr("the certificate files were read again");
        let allow = "{ q: { allow: [/v1/key/*, /v1/log/audit], identities: [";
        let policy = format!("{allow}{}] }} }}", world.of_a.identity);
        world.server.reload_and_wait(&world.config.clone().with("policy", &policy));
        for client in &mut clients {
            let reply = client.send("PUT", "/v1/key/generate/at-the-end", "").await;
            assert_eq!(reply.status, 404);
        }
        for (stream, _client) in &mut streams {
            line_of(stream, "/v1/key/generate/at-the-end").await;
        }
    });
}

/// Two reloads in a row: what the first one ended stays ended, and what both accept goes on.
#[test]
fn a_ca_that_comes_back_revives_nothing() {
    harness::run(async {
        let world = World::new();
        let mut client = world.connect(&world.of_a, Protocol::H2).await.unwrap();
        assert_eq!(generate(&mut client).await, Ok(404));
        world.trust(&[&world.b]);
        assert!(!matches!(generate(&mut client).await, Ok(404)));
        world.trust(&[&world.a]);
        let told = generate(&mut client).await;
        assert!(!matches!(told, Ok(404)), "{told:?}");
        let mut fresh = world.connect(&world.of_a, Protocol::H2).await.unwrap();
        assert_eq!(generate(&mut fresh).await, Ok(404));
    });
}

/// With `auth: off` trust does not matter, and nobody has to connect anew.
#[test]
fn self_signed_clients_are_not_concerned_unless_chains_are_verified() {
    harness::run(async {
        let server = Server::start();
        let mut clients = Vec::new();
        for protocol in PROTOCOLS {
            clients.push(server.client(Who::Admin, protocol).await);
        }
        server.reload_and_wait(&Config::usual().with("cache", "{ expiry: { any: 1m } }"));
        server.reload_and_wait(&Config::usual());
        for client in &mut clients {
            assert_eq!(client.send("GET", "/v1/status", "").await.status, 200);
        }
        let ca = Authority::new();
        std::fs::copy(ca.certificate(), server.file("trust.crt")).unwrap();
        let strict = "{ key: server.key, cert: server.crt, auth: on, ca: trust.crt }";
        server.reload_and_wait(&Config::usual().with("tls", strict));
        for client in &mut clients {
            let reply = client.try_send("GET", "/v1/status", &[], "".into()).await;
            assert!(!reply.is_ok_and(|reply| reply.status == 200));
        }
    });
}

/// What has begun is answered; HTTP/1.1 and HTTP/2 say that nothing more is served.
#[test]
fn requests_that_run_when_trust_changes_are_answered() {
    const REFUSED_STREAM: u32 = 7;
    harness::run(async {
        let world = World::new();
        let mut maker = world.connect(&world.of_a, Protocol::H2).await.unwrap();
        assert_eq!(maker.send("PUT", "/v1/key/create/k", "").await.status, 200);
        let body = br#"{"plaintext":"aGk="}"#;
        let (first, rest) = body.split_at(5);

        let mut h1 = world.raw(&world.of_a, Protocol::H1).await;
        let length = body.len();
        let head = format!(
            "PUT /v1/key/encrypt/k HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n"
        );
        h1.write_all(head.as_bytes()).await.unwrap();
        h1.write_all(first).await.unwrap();
        h1.flush().await.unwrap();

        let mut h2 = world.raw(&world.of_a, Protocol::H2).await;
        h2.write_all(harness::PREFACE).await.unwrap();
        h2.write_all(&harness::head(0, 1, "PUT", "/v1/key/encrypt/k", "x")).await.unwrap();
        h2.write_all(&harness::frame(Frame::DATA, 0, 1, first)).await.unwrap();
        h2.flush().await.unwrap();
        wait::eventually_async(PATIENCE, "both requests run, and the one that asks", async || {
            let metrics = Exposition::of(&mut maker).await;
            metrics.value("kes_http_request_active") == 3.0
        })
        .await;

        world.trust(&[&world.b]);
        // The server says that no new streams are served ...
        in_time("GOAWAY", async {
            while Frame::read(&mut h2).await.unwrap().kind != Frame::GOAWAY {}
        })
        .await;
        // ... refuses one that is sent all the same ...
        let late = harness::head(Frame::END_STREAM, 3, "GET", "/v1/status", "x");
        h2.write_all(&late).await.unwrap();
        let reset = in_time("the refusal", async {
            loop {
                let frame = Frame::read(&mut h2).await.unwrap();
                assert!(frame.kind != Frame::HEADERS, "it is answered: {frame:?}");
                if frame.kind == Frame::RST_STREAM {
                    break frame;
                }
            }
        })
        .await;
        assert_eq!((reset.stream, &*reset.payload), (3, &REFUSED_STREAM.to_be_bytes()[..]));
        // ... and answers what runs.
        h2.write_all(&harness::frame(Frame::DATA, Frame::END_STREAM, 1, rest)).await.unwrap();
        answered(&mut h2, 1).await;

        h1.write_all(rest).await.unwrap();
        let mut answer = String::new();
        in_time("the answer", h1.read_to_string(&mut answer)).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert!(answer.contains("connection: close"), "{answer}");
    });
}

/// Waits for the answer 200 of a stream.
async fn answered(stream: &mut TlsStream<TcpStream>, number: u32) {
    let answer = async {
        loop {
            let frame = Frame::read(stream).await.unwrap();
            if frame.kind == Frame::HEADERS && frame.stream == number {
                // `:status: 200` of HPACK's static table.
                assert_eq!(frame.payload[0], 0x88, "{frame:?}");
                return;
            }
        }
    };
    in_time("the answer", answer).await;
}

/// Who has its new certificate already loses no request over HTTP/2: what is not served may be sent
/// again on another connection.
#[test]
fn an_exchange_of_cas_under_load_loses_no_request() {
    harness::run(async {
        let world = World::new();
        world.trust(&[&world.a, &world.b]);
        let mut client = world.connect(&world.of_a, Protocol::H2).await.unwrap();
        assert_eq!(client.send("PUT", "/v1/key/create/k", "").await.status, 200);
        let (mut served, mut again) = (0_u32, 0_u32);
        let mut is_changed = false;
        while again == 0 || served < 2_000 {
            match in_time("an answer", generate(&mut client)).await {
                Ok(status) => {
                    assert_eq!(status, 200, "a request was lost");
                    served += 1;
                }
                Err(_) => {
                    assert!(is_changed, "the connection ended");
                    client = world.connect(&world.of_b, Protocol::H2).await.unwrap();
                    again += 1;
                }
            }
            if served == 500 && !is_changed {
                is_changed = true;
                world.write(&[&world.b]);
                world.server.reload(&world.config);
            }
        }
        assert_eq!(again, 1, "needless connections");
    });
}

#[test]
fn the_streams_of_an_identity_without_rights_end() {
    harness::run(async {
        let policy = |identities: &str| {
            let policy = format!("{{ p: {{ allow: [/v1/log/*], identities: [{identities}] }} }}");
            Config::usual().with("policy", &policy)
        };
        let server = Server::with(&policy("\"${MINIO}\", \"${OTHER}\""));
        for protocol in PROTOCOLS {
            for log in ["/v1/log/audit", "/v1/log/error"] {
                server.reload_and_wait(&policy("\"${MINIO}\", \"${OTHER}\""));
                let mut minio = server.client(Who::Minio, protocol).await;
                let mut other = server.client(Who::Other, protocol).await;
                let revoked = follow(&mut minio, log).await;
                let mut kept = follow(&mut other, log).await;
                server.reload_and_wait(&policy("\"${OTHER}\""));
                ends(revoked).await;
                // The connection is usable, and says so.
                let reply = minio.send("GET", log, "").await;
                assert_eq!(reply.status, 403, "{log} over {protocol:?}");
                // Others read on: the audit log has that refusal, the error log each reload.
                let told = if log.ends_with("audit") { "\"code\":403" } else { "read again" };
                line_of(&mut kept, told).await;
            }
        }
    });
}

#[test]
fn the_streams_of_a_connection_that_is_no_longer_accepted_end() {
    harness::run(async {
        let world = World::new();
        for protocol in PROTOCOLS {
            for log in ["/v1/log/audit", "/v1/log/error"] {
                world.trust(&[&world.a, &world.b]);
                let mut of_a = world.connect(&world.of_a, protocol).await.unwrap();
                let mut of_b = world.connect(&world.of_b, protocol).await.unwrap();
                let ended = follow(&mut of_a, log).await;
                let mut kept = follow(&mut of_b, log).await;
                world.trust(&[&world.b]);
                ends(ended).await;
                let mut client = world.connect(&world.of_b, Protocol::H2).await.unwrap();
                assert_eq!(generate(&mut client).await, Ok(404));
                let told = if log.ends_with("audit") { "generate" } else { "read again" };
                line_of(&mut kept, told).await;
            }
        }
    });
}
