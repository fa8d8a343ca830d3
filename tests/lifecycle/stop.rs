use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use http_body_util::BodyExt as _;
use hyper::body::{Bytes, Frame};
use hyper_util::rt::{TokioExecutor, TokioIo};
use kes_testkit::wait;
use rustix::process::Signal;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_rustls::TlsConnector;

use super::{PATIENCE, assert_ends, with_key};
use crate::harness::{self, Client, Config, Protocol, Server, Who, tls_config, tls_connect};

const SIGNALS: [Signal; 2] = [Signal::TERM, Signal::INT];

const HEAD: &str = "PUT /v1/key/encrypt/k HTTP/1.1\r\nhost: kes\r\ncontent-length: 20\r\n\r\n";

/// What the server says when it has waited in vain for its connections to end, for 10 s.
const IN_VAIN: &str = "some requests did not finish in time";

/// A server on which a request may stay under way for longer than any of these tests takes.
fn server() -> Server {
    Server::with(&Config::usual().with("api", "{ /v1/key/encrypt/: { timeout: 2m } }"))
}

/// The same, and nothing kept the server waiting until it gave up.
fn assert_ends_soon(server: &mut Server) {
    assert_ends(server);
    assert!(!server.stderr().contains(IN_VAIN), "{}", server.stderr());
}

/// Sends a signal and waits until nobody can connect any more.
async fn stop(server: &mut Server, signal: Signal) {
    server.process().signal(signal);
    let address = &server.address;
    wait::eventually_async(PATIENCE, "no new connection is taken", || async move {
        TcpStream::connect(address).await.is_err()
    })
    .await;
}

#[test]
fn a_request_under_way_gets_its_answer_over_http1() {
    for signal in SIGNALS {
        harness::run(async {
            let mut server = server();
            drop(with_key(&server, Protocol::H1).await);
            let config = tls_config(&server.tls.certificate, Some(&server.admin), Protocol::H1);
            let mut stream = tls_connect(&server.address, config).await.unwrap();
            stream.write_all(HEAD.as_bytes()).await.unwrap();
            stream.write_all(br#"{"plaintext""#).await.unwrap();
            wait_for_requests(&server, 2).await;

            stop(&mut server, signal).await;
            assert!(server.process().is_running(), "the server did not wait");
            stream.write_all(br#":"aGk="}"#).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
            assert!(answer.contains("ciphertext"), "{answer}");
            assert_ends_soon(&mut server);
        });
    }
}

#[test]
fn a_request_under_way_gets_its_answer_over_http2() {
    for signal in SIGNALS {
        harness::run(async {
            let mut server = server();
            drop(with_key(&server, Protocol::H1).await);
            let config = tls_config(&server.tls.certificate, Some(&server.admin), Protocol::H2);
            let stream = tls_connect(&server.address, config).await.unwrap();
            let (mut sender, connection) =
                hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
                    .await
                    .unwrap();
            tokio::spawn(connection);
            let (pieces, body) = mpsc::channel(4);
            pieces.send(Bytes::from_static(br#"{"plaintext""#)).await.unwrap();
            let request =
                http::Request::put(format!("https://{}/v1/key/encrypt/k", server.address));
            let answer = tokio::spawn(sender.send_request(request.body(Fed(body)).unwrap()));
            wait_for_requests(&server, 2).await;

            stop(&mut server, signal).await;
            assert!(server.process().is_running(), "the server did not wait");
            pieces.send(Bytes::from_static(br#":"aGk="}"#)).await.unwrap();
            drop(pieces);
            let answer = answer.await.unwrap().unwrap();
            assert_eq!(answer.status(), 200);
            let body = answer.into_body().collect().await.unwrap().to_bytes();
            assert!(String::from_utf8_lossy(&body).contains("ciphertext"));
            assert_ends_soon(&mut server);
        });
    }
}

#[test]
fn who_follows_a_log_is_told_of_its_end() {
    for signal in SIGNALS {
        harness::run(async {
            let mut server = Server::start();
            let mut streams = Vec::new();
            for protocol in [Protocol::H1, Protocol::H2] {
                for path in ["/v1/log/audit", "/v1/log/error"] {
                    let mut client = server.client(Who::Admin, protocol).await;
                    let answer = client.open("GET", path, &[], "".into()).await.unwrap();
                    assert_eq!(answer.status(), 200);
                    streams.push((client, answer.into_body()));
                }
            }
            server.process().signal(signal);
            for (_client, stream) in streams {
                // The end of a stream, not of its connection.
                let end = tokio::time::timeout(PATIENCE, stream.collect()).await;
                end.expect("the stream ends").expect("it ends as a stream does");
            }
            assert_ends_soon(&mut server);
        });
    }
}

#[test]
fn connections_without_a_request_delay_nothing() {
    harness::run(async {
        for protocol in [Protocol::H1, Protocol::H2] {
            let mut server = Server::start();
            let mut used = server.client(Who::Admin, protocol).await;
            assert_eq!(used.send("GET", "/version", "").await.status, 200);
            server.process().signal(Signal::TERM);
            assert_ends_soon(&mut server);

            // One that has shaken hands and says nothing.
            let mut server = Server::start();
            let config = tls_config(&server.tls.certificate, Some(&server.admin), protocol);
            let _shaken = tls_connect(&server.address, config).await.unwrap();
            let mut asking = server.client(Who::Admin, Protocol::H1).await;
            wait_for_metric(&mut asking, "kes_tls_connections 2").await;
            server.process().signal(Signal::TERM);
            assert_ends_soon(&mut server);

            // One that has not even done that.
            let mut server = Server::start();
            let _silent = TcpStream::connect(&server.address).await.unwrap();
            // Connections are accepted in the order in which they come: it was, if a later one is
            // served.
            let mut later = server.client(Who::Admin, protocol).await;
            assert_eq!(later.send("GET", "/version", "").await.status, 200);
            server.process().signal(Signal::TERM);
            assert_ends_soon(&mut server);
        }
    });
}

/// Its client has sent the start of the handshake when the server stops, and the rest after it.
#[test]
fn a_handshake_under_way_is_completed_and_its_first_request_answered() {
    harness::run(async {
        for protocol in [Protocol::H1, Protocol::H2] {
            let mut server = Server::start();
            let config = tls_config(&server.tls.certificate, Some(&server.admin), protocol);
            let socket = TcpStream::connect(&server.address).await.unwrap();
            let (near, mut far) = tokio::io::duplex(64 * 1024);
            let name = ServerName::try_from("127.0.0.1").unwrap();
            let connector = TlsConnector::from(Arc::new(config));
            let shaking = tokio::spawn(async move { connector.connect(name, near).await });
            // The first record of the client, without its last byte.
            let mut hello = vec![0; 4096];
            let len = far.read(&mut hello).await.unwrap();
            let (mut from, mut to) = socket.into_split();
            to.write_all(&hello[..len - 1]).await.unwrap();
            // Connections are accepted in the order in which they come.
            let mut later = server.client(Who::Admin, Protocol::H1).await;
            assert_eq!(later.send("GET", "/version", "").await.status, 200);
            stop(&mut server, Signal::TERM).await;
            to.write_all(&hello[len - 1..len]).await.unwrap();
            let relay = tokio::spawn(async move {
                let (mut read, mut write) = tokio::io::split(far);
                let there = tokio::io::copy(&mut read, &mut to);
                let back = tokio::io::copy(&mut from, &mut write);
                tokio::join!(there, back)
            });
            let stream = shaking.await.unwrap().unwrap();
            let io = TokioIo::new(stream);
            let uri = format!("https://{}/version", server.address);
            let request = http::Request::get(uri).header("host", "kes");
            let request = request.body(http_body_util::Empty::<Bytes>::new()).unwrap();
            let status = match protocol {
                Protocol::H1 => {
                    let (mut sender, connection) =
                        hyper::client::conn::http1::handshake(io).await.unwrap();
                    tokio::spawn(connection);
                    sender.send_request(request).await.unwrap().status()
                }
                Protocol::H2 => {
                    let (mut sender, connection) =
                        hyper::client::conn::http2::handshake(TokioExecutor::new(), io)
                            .await
                            .unwrap();
                    tokio::spawn(connection);
                    sender.send_request(request).await.unwrap().status()
                }
            };
            assert_eq!(status, 200, "{protocol:?}");
            drop(later);
            assert_ends_soon(&mut server);
            relay.abort();
        }
    });
}

#[test]
fn a_request_that_does_not_end_gets_ten_seconds() {
    harness::run(async {
        let mut server = server();
        let config = tls_config(&server.tls.certificate, Some(&server.admin), Protocol::H1);
        let mut stream = tls_connect(&server.address, config).await.unwrap();
        stream.write_all(HEAD.as_bytes()).await.unwrap();
        wait_for_requests(&server, 2).await;
        let start = Instant::now();
        server.process().signal(Signal::TERM);
        assert_ends(&mut server);
        let took = start.elapsed();
        assert!(took > Duration::from_millis(9_900), "the server ended after {took:?}");
        assert!(server.stderr().contains(IN_VAIN), "{}", server.stderr());
    });
}

/// Waits until so many requests are being served: those of a test, and the one that asks.
async fn wait_for_requests(server: &Server, count: u32) {
    let mut admin = server.client(Who::Admin, Protocol::H1).await;
    wait_for_metric(&mut admin, &format!("kes_http_request_active {count}")).await;
}

/// Waits until the metrics have a line.
async fn wait_for_metric(client: &mut Client, line: &str) {
    let start = Instant::now();
    loop {
        let metrics = client.send("GET", "/v1/metrics", "").await;
        if String::from_utf8_lossy(&metrics.body).lines().any(|found| found == line) {
            break;
        }
        assert!(start.elapsed() < PATIENCE, "'{line}' does not come");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A body that comes when the test says so.
struct Fed(mpsc::Receiver<Bytes>);

impl hyper::body::Body for Fed {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(cx).map(|piece| piece.map(|piece| Ok(Frame::data(piece))))
    }
}
