//! What no client may exceed (contract `api.md`, Transport): time, sizes, numbers.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::harness::{self, Client, Protocol, Server, Who, tls_config, tls_connect};

/// Clients that are slow, or say nothing.
mod slow;

/// Clients that no policy names.
mod strangers;

/// Identities with a policy that open many connections.
mod known;

/// Identities with limits of their own.
mod tenants;

/// Calls to the key store that hang.
mod store_calls;

/// Clients that come through a TLS proxy.
mod proxied;

/// Their requests on one connection.
mod shared;

/// Memory for bodies that arrive and for answers that are not taken.
mod budget;

/// Clients that come in numbers, or abuse HTTP/2.
mod load;

/// Many idle and slow clients beside an honest one.
mod beside;

/// A TLS connection as the admin, to be spoken to in bytes.
pub(super) async fn tls(server: &Server, protocol: Protocol) -> TlsStream<TcpStream> {
    tls_as(server, Who::Admin, protocol).await
}

/// The same as somebody.
pub(super) async fn tls_as(server: &Server, who: Who, protocol: Protocol) -> TlsStream<TcpStream> {
    let config = tls_config(&server.tls.certificate, server.credentials(who), protocol);
    tls_connect(&server.address, config).await.unwrap()
}

/// Reads until the other end closes; what it sent.
pub(super) async fn read_to_end(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> String {
    let mut bytes = Vec::new();
    let limit = Duration::from_secs(40);
    let end = tokio::time::timeout(limit, stream.read_to_end(&mut bytes)).await;
    // A reset ends it as well.
    let _ = end.unwrap_or_else(|_| panic!("not closed within {limit:?}"));
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Bytes of memory that the server has in use.
pub(super) fn resident(server: &mut Server) -> u64 {
    let path = format!("/proc/{}/status", server.process().id());
    let status = std::fs::read_to_string(path).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() * 1024
}

/// That the server serves an honest client all the same. How soon is for the benches: a machine
/// that is busy with other tests takes its time.
pub(super) async fn assert_serves(client: &mut Client) {
    let answer = tokio::time::timeout(Duration::from_secs(20), client.send("GET", "/version", ""));
    assert_eq!(answer.await.expect("an honest client waits").status, 200);
}

#[test]
fn a_body_may_have_exactly_a_million_bytes() {
    harness::run(async {
        let server = Server::start();
        for protocol in [Protocol::H1, Protocol::H2] {
            let mut admin = server.client(Who::Admin, protocol).await;
            let name = format!("k-{protocol:?}");
            let created = admin.send("PUT", &format!("/v1/key/create/{name}"), "").await;
            assert_eq!(created.status, 200);
            let path = format!("/v1/key/encrypt/{name}");
            let fields = r#"{"plaintext":"aGk="}"#;
            let exact = fields.to_owned() + &" ".repeat(1_000_000 - fields.len());
            let over = exact.clone() + " ";
            let pieces = |text: &str| -> Vec<_> {
                text.as_bytes().chunks(50_000).map(|piece| piece.to_vec().into()).collect()
            };
            assert_eq!(admin.send("PUT", &path, &exact).await.status, 200, "{protocol:?}");
            let reply = admin.send_pieces("PUT", &path, pieces(&exact)).await;
            assert_eq!(reply.status, 200, "{protocol:?}");

            let too_large = (413, "request body is too large".to_owned());
            let mut admin = server.client(Who::Admin, protocol).await;
            assert_eq!(admin.send_pieces("PUT", &path, pieces(&over)).await.error(), too_large);
            let mut admin = server.client(Who::Admin, protocol).await;
            assert_eq!(admin.send("PUT", &path, &over).await.error(), too_large, "{protocol:?}");
        }
    });
}

/// Twenty clients send without an end what they never announced.
#[test]
fn a_body_over_the_limit_is_not_kept() {
    harness::run(async {
        let mut server = Server::start();
        let mut admin = server.client(Who::Admin, Protocol::H2).await;
        let before = resident(&mut server);
        let senders = (0..20).map(|_| async {
            let mut stream = tls(&server, Protocol::H1).await;
            let head = "PUT /v1/key/import/k HTTP/1.1\r\nhost: kes\r\n\
                        transfer-encoding: chunked\r\n\r\n";
            stream.write_all(head.as_bytes()).await.unwrap();
            let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
            // The server answers, reads on for a moment so that the answer arrives, and ends it.
            let end = Instant::now() + Duration::from_secs(60);
            while stream.write_all(chunk.as_bytes()).await.is_ok() {
                assert!(Instant::now() < end, "the server takes a body without an end");
            }
        });
        futures_util::future::join_all(senders).await;
        let rise = resident(&mut server).saturating_sub(before);
        // Twenty times the limit of a body and as much again for the connections.
        assert!(rise < 48 << 20, "{rise} bytes more in use");
        assert_serves(&mut admin).await;
    });
}

#[test]
fn large_heads_are_refused_and_the_server_goes_on() {
    harness::run(async {
        let server = Server::start();
        let mut honest = server.client(Who::Admin, Protocol::H2).await;
        for protocol in [Protocol::H1, Protocol::H2] {
            // A proxy forwards a certificate in a header: some KiB have to pass.
            for (size, status) in [(16_000, 200), (100_000, 431), (1_000_000, 431)] {
                let mut client = server.client(Who::Admin, protocol).await;
                let large = "x".repeat(size);
                let reply =
                    client.try_send("GET", "/version", &[("x-large", &large)], "".into()).await;
                match reply {
                    Ok(reply) => assert_eq!(reply.status, status, "{size} over {protocol:?}"),
                    // What is far over the limit may be cut off before it was sent.
                    Err(error) => assert!(size == 1_000_000, "{size} over {protocol:?}: {error}"),
                }
                assert_serves(&mut honest).await;
            }
        }
        // Many small fields are a large head as well.
        let mut stream = tls(&server, Protocol::H1).await;
        let fields = "x: y\r\n".repeat(5_000);
        let head = format!("GET /version HTTP/1.1\r\nhost: kes\r\n{fields}\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let answer = read_to_end(&mut stream).await;
        assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
        assert_serves(&mut honest).await;
    });
}

#[test]
fn what_is_no_http_is_refused_and_the_server_goes_on() {
    harness::run(async {
        let server = Server::start();
        let mut honest = server.client(Who::Admin, Protocol::H1).await;
        for bytes in [
            "\0\u{1}\u{2}\u{3}\r\n\r\n",
            "GET /version\r\n\r\n",
            "GET /version HTTP/9.9\r\nhost: kes\r\n\r\n",
            "GET /version HTTP/1.1\r\nhost kes\r\n\r\n",
            "PUT /v1/key/create/k HTTP/1.1\r\nhost: kes\r\ncontent-length: -1\r\n\r\n",
            "PUT /v1/key/create/k HTTP/1.1\r\nhost: kes\r\ncontent-length: 1\r\n\
             content-length: 2\r\n\r\nxx",
            "PUT /v1/key/import/k HTTP/1.1\r\nhost: kes\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        ] {
            let mut stream = tls(&server, Protocol::H1).await;
            stream.write_all(bytes.as_bytes()).await.unwrap();
            let answer = read_to_end(&mut stream).await;
            assert!(answer.starts_with("HTTP/1.1 4"), "{bytes:?}: {answer:?}");
            assert_serves(&mut honest).await;
        }
        let keys = honest.send("GET", "/v1/key/list/", "").await.json();
        assert_eq!(keys["names"], serde_json::json!([]), "a broken request was run");
    });
}
