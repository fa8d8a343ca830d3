//! The audit and the error log as streams.

use std::time::{Duration, Instant, SystemTime};

use http_body_util::BodyExt as _;
use hyper::body::{Bytes, Incoming};
use kes_testkit::wait::eventually_async;
use serde_json::Value;

use crate::harness::{self, Client, Config, Exposition, Protocol, Raw, Server, Who};

/// Clients that follow a log and do not read.
mod stalled;

/// How long a line may take before a test fails.
const PATIENCE: Duration = Duration::from_secs(20);

/// Reads the lines of a stream as they come.
struct Follower {
    body: Incoming,
    read: Vec<u8>,
    /// Keeps the connection.
    _client: Client,
}

impl Follower {
    async fn new(server: &Server, who: Who, protocol: Protocol, path: &str) -> Self {
        let mut client = server.client(who, protocol).await;
        let response = client.open("GET", path, &[], Bytes::new()).await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "application/x-ndjson");
        Self { body: response.into_body(), read: Vec::new(), _client: client }
    }

    async fn next(&mut self) -> Value {
        loop {
            if let Some(end) = self.read.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.read.drain(..=end).collect();
                return serde_json::from_slice(&line).unwrap();
            }
            let frame = tokio::time::timeout(PATIENCE, self.body.frame()).await;
            let frame = frame.expect("a line comes").expect("the stream goes on").unwrap();
            self.read.extend_from_slice(frame.data_ref().unwrap());
        }
    }

    /// The next line about a path that starts so.
    async fn next_of(&mut self, path: &str) -> Value {
        loop {
            let line = self.next().await;
            if line["request"]["path"].as_str().unwrap().starts_with(path) {
                return line;
            }
        }
    }
}

#[test]
fn every_request_that_reached_a_route_is_streamed_at_once() {
    harness::run(async {
        // Whatever is written to standard output, and with a level that writes nothing.
        let server = Server::with(&Config::usual().with("log", "{ audit: off }"));
        for protocol in [Protocol::H1, Protocol::H2] {
            let mut audit = Follower::new(&server, Who::Minio, protocol, "/v1/log/audit").await;
            let own = audit.next_of("/v1/log/audit").await;
            assert_eq!(own["request"]["identity"], server.minio.identity);
            let mut admin = server.client(Who::Admin, protocol).await;
            let mut other = server.client(Who::Other, protocol).await;
            let key = format!("key-{protocol:?}");
            for (by_admin, method, path, code) in [
                (true, "PUT", format!("/v1/key/create/{key}"), 200),
                (true, "PUT", format!("/v1/key/create/{key}"), 400),
                (true, "PUT", format!("/v1/key/generate/{key}"), 200),
                (true, "GET", "/version".to_owned(), 200),
                (true, "GET", "/v1/status".to_owned(), 200),
                (true, "GET", format!("/v1/key/describe/{key}"), 200),
                (true, "GET", "/v1/key/create/x".to_owned(), 405),
                (true, "PUT", "/v1/key/create/-x".to_owned(), 400),
                (true, "PUT", "/v1/key/encrypt/none".to_owned(), 400),
                (false, "PUT", format!("/v1/key/create/{key}-2"), 403),
                (false, "GET", "/v1/log/audit".to_owned(), 403),
                (false, "GET", "/v1/identity/self/describe".to_owned(), 200),
                (true, "DELETE", format!("/v1/key/delete/{key}"), 200),
                (true, "DELETE", format!("/v1/key/delete/{key}"), 404),
            ] {
                let (client, credentials) = match by_admin {
                    true => (&mut admin, &server.admin),
                    false => (&mut other, &server.other),
                };
                // These reach no route, and leave no line.
                for (path, code) in [("/nowhere", 404), ("//version", 307), ("/%zz", 400)] {
                    assert_eq!(client.send("GET", path, "").await.status, code);
                }
                let before = SystemTime::now();
                let start = Instant::now();
                assert_eq!(client.send(method, &path, "").await.status, code, "{method} {path}");
                let took = start.elapsed();
                // The line is there before anything else happens that could push it out.
                let line = audit.next().await;
                let seen = format!("{protocol:?} {method} {path}: {line}");
                assert_eq!(line["request"]["path"], path, "{seen}");
                assert_eq!(line["request"]["identity"], credentials.identity, "{seen}");
                assert_eq!(line["request"]["ip"], "127.0.0.1", "{seen}");
                assert_eq!(line["response"]["code"], code, "{seen}");
                let nanos = line["response"]["time"].as_u64().unwrap();
                assert!((1_000..=took.as_nanos()).contains(&nanos.into()), "{seen} in {took:?}");
                let time = kes_api::Timestamp::parse(line["time"].as_str().unwrap()).unwrap();
                let before = before.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
                let since = time.unix_seconds() - i64::try_from(before).unwrap();
                assert!((0..60).contains(&since), "{seen}");
                for (part, fields) in [("request", 3), ("response", 2)] {
                    assert_eq!(line[part].as_object().unwrap().len(), fields, "{seen}");
                }
                assert_eq!(line.as_object().unwrap().len(), 3, "{seen}");
            }
        }
    });
}

/// What was asked for may be done all the same, so that going away hides nothing.
#[test]
fn a_request_whose_client_goes_away_is_streamed_too() {
    harness::run(async {
        let vault = crate::cache::slow_vault(Duration::from_millis(500));
        let keystore = format!(
            "{{ vault: {{ endpoint: \"{}\", approle: {{ id: i, secret: s }} }} }}",
            vault.url()
        );
        let server = Server::with(&Config::usual().with("keystore", &keystore));
        let mut audit = Follower::new(&server, Who::Minio, Protocol::H2, "/v1/log/audit").await;
        for (protocol, key) in [(Protocol::H1, "k1"), (Protocol::H2, "k2")] {
            let mut client = server.client(Who::Admin, protocol).await;
            let path = format!("/v1/key/generate/{key}");
            let asked = path.clone();
            let call = tokio::spawn(async move { client.send("PUT", &asked, "").await });
            eventually_async(PATIENCE, "the key is read", || async {
                crate::cache::reads(&vault, key) == 1
            })
            .await;
            call.abort();
            let line = audit.next_of(&path).await;
            assert_eq!(line["response"]["code"], 499, "{protocol:?} {line}");
            assert_eq!(line["request"]["identity"], server.admin.identity);
        }
        let metrics = Exposition::from(&server).await;
        assert_eq!(metrics.value(r#"kes_http_request_error{code="499"}"#), 2.0);
        assert_eq!(metrics.value("kes_http_request_active"), 1.0);
    });
}

#[test]
fn the_error_stream_carries_what_goes_wrong() {
    harness::run(async {
        let server = Server::start();
        for protocol in [Protocol::H1, Protocol::H2] {
            let mut errors = Follower::new(&server, Who::Minio, protocol, "/v1/log/error").await;
            let mut admin = server.client(Who::Admin, protocol).await;
            let key = format!("damaged-{protocol:?}");
            std::fs::write(server.file("keys").join(&key), "no stored key").unwrap();
            let reply = admin.send("PUT", &format!("/v1/key/generate/{key}"), "").await;
            assert_eq!(reply.error(), (502, "failed to read key".to_owned()));
            let line = errors.next().await;
            let message = line["message"].as_str().unwrap();
            assert!(message.contains("failed to read key") && message.contains(&key), "{message}");
            assert_eq!(line.as_object().unwrap().len(), 1, "{line}");
            // What a client does wrong is no error of the server.
            assert_eq!(admin.send("PUT", "/v1/key/generate/none", "").await.status, 404);
            let again = admin.send("PUT", &format!("/v1/key/encrypt/{key}"), "{}").await;
            assert_eq!(again.status, 502);
            assert!(errors.next().await["message"].as_str().unwrap().contains(&key));
        }
    });
}

#[test]
fn a_reader_that_stalls_slows_nobody() {
    harness::run(async {
        let server = Server::with(&Config::usual().with("log", "{ audit: off }"));
        let mut stalled = Raw::connect_narrow(&server, Who::Admin).await;
        stalled.write("GET /v1/log/audit HTTP/1.1\r\nhost: x\r\n\r\n").await;
        assert_eq!(stalled.status().await, 200);

        let mut client = server.client(Who::Admin, Protocol::H2).await;
        let path = format!("/v1/key/describe/{}", "x".repeat(500));
        let start = Instant::now();
        let mut slowest = Duration::ZERO;
        let mut sent = 0;
        loop {
            let mut calls = Vec::new();
            for _ in 0..100 {
                let (mut client, path) = (client.share(), path.clone());
                calls.push(tokio::spawn(async move {
                    let start = Instant::now();
                    assert_eq!(client.send("GET", &path, "").await.status, 400);
                    start.elapsed()
                }));
            }
            for call in calls {
                slowest = slowest.max(call.await.unwrap());
            }
            sent += 100;
            let metrics = Exposition::of(&mut client).await;
            if metrics.value("kes_log_dropped_lines") >= 100.0 {
                break;
            }
            assert!(start.elapsed() < Duration::from_secs(60), "nothing dropped of {sent} lines");
        }
        assert!(slowest < Duration::from_secs(5), "a request took {slowest:?}");

        // Another reader has its lines all the same.
        let mut audit = Follower::new(&server, Who::Admin, Protocol::H1, "/v1/log/audit").await;
        assert_eq!(client.send("GET", "/v1/status", "").await.status, 200);
        assert_eq!(audit.next_of("/v1/status").await["response"]["code"], 200);
    });
}

#[test]
fn a_reader_that_goes_away_is_forgotten() {
    harness::run(async {
        let server = Server::start();
        let mut admin = server.client(Who::Admin, Protocol::H2).await;
        // The streams of one connection, to the limit and beyond.
        let mut streams = Vec::new();
        let refused = loop {
            let mut client = admin.share();
            let response = client.open("GET", "/v1/log/error", &[], Bytes::new()).await.unwrap();
            if response.status() != 200 {
                break response.status();
            }
            streams.push(response.into_body());
            assert!(streams.len() <= 200, "there is no limit");
        };
        assert_eq!(refused, 429);
        let most = streams.len();
        assert!(most >= 16, "only {most} clients may follow");
        drop(streams);
        // Who left made room, many times over.
        for _ in 0..most + 10 {
            eventually_async(PATIENCE, "there is room", || {
                let mut client = admin.share();
                async move {
                    let response = client.open("GET", "/v1/log/error", &[], Bytes::new()).await;
                    response.unwrap().status() == 200
                }
            })
            .await;
        }

        let before = connections(&mut admin).await;
        for protocol in [Protocol::H1, Protocol::H2] {
            for _ in 0..5 {
                drop(Follower::new(&server, Who::Admin, protocol, "/v1/log/audit").await);
            }
        }
        let start = Instant::now();
        while connections(&mut admin).await > before {
            assert!(start.elapsed() < PATIENCE, "connections of readers that left stay open");
            assert_eq!(admin.send("GET", "/version", "").await.status, 200);
        }
    });
}

async fn connections(client: &mut Client) -> f64 {
    Exposition::of(client).await.value("kes_tls_connections")
}

#[test]
fn a_refused_follower_is_counted_by_its_class() {
    harness::run(async {
        let open = "{ /v1/log/audit: { skip_auth: true }, /v1/log/error: { skip_auth: true } }";
        let server = Server::with(&Config::usual().with("api", open));
        let refused = async || {
            let metrics = Exposition::from(&server).await;
            ["stranger", "known", "admin"].map(|class| {
                metrics.value(&format!("kes_class_log_followers_refused{{class=\"{class}\"}}"))
            })
        };
        let fill = async |client: &mut Client, path| {
            let mut streams = Vec::new();
            loop {
                let response = client.open("GET", path, &[], Bytes::new()).await.unwrap();
                match response.status().as_u16() {
                    200 => streams.push(response.into_body()),
                    status => break (status, streams),
                }
            }
        };
        let mut held = Vec::new();
        let expected = [[1.0, 0.0, 0.0], [1.0, 1.0, 0.0], [1.0, 1.0, 1.0]];
        for (who, expected) in [Who::Other, Who::Minio, Who::Admin].into_iter().zip(expected) {
            let mut client = server.client(who, Protocol::H2).await;
            let (status, streams) = fill(&mut client, "/v1/log/error").await;
            assert_eq!((status, refused().await), (429, expected), "{who:?}");
            held.push((client, streams));
        }
        // The other log has places of its own.
        let mut other = server.client(Who::Other, Protocol::H2).await;
        let response = other.open("GET", "/v1/log/audit", &[], Bytes::new()).await.unwrap();
        assert_eq!((response.status().as_u16(), refused().await), (200, expected[2]));
    });
}

/// Standard output tells them together; who follows the log is sent each.
#[test]
fn many_refusals_of_one_client_are_all_streamed() {
    harness::run(async {
        let server = Server::with(&Config::usual());
        let mut audit = Follower::new(&server, Who::Admin, Protocol::H2, "/v1/log/audit").await;
        let mut other = server.client(Who::Other, Protocol::H2).await;
        for _ in 0..100 {
            assert_eq!(other.send("GET", "/v1/status", "").await.status, 403);
            let line = audit.next_of("/v1/status").await;
            assert_eq!(line["response"]["code"], 403, "{line}");
        }
    });
}
