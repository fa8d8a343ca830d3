use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{assert_serves, read_to_end, tls};
use crate::harness::{self, Config, Protocol, Server, Who, figure};

/// That something was closed at a limit of 5 s: not before, since the server's time begins after
/// the test's, and later only by what a busy machine needs. Every other limit is longer.
fn assert_five_seconds(since: Instant, what: &str) {
    let took = since.elapsed().as_secs_f32();
    figure(&format!("s until closed, {what}"), took);
    assert!((4.9..30.0).contains(&took), "{what} was closed after {took} s");
}

#[test]
fn a_handshake_has_to_be_complete_in_five_seconds() {
    harness::run(async {
        let server = Server::start();
        tokio::join!(silent(&server), half_a_handshake(&server));
    });
}

async fn silent(server: &Server) {
    let start = Instant::now();
    let mut socket = TcpStream::connect(&server.address).await.unwrap();
    assert_eq!(read_to_end(&mut socket).await, "");
    assert_five_seconds(start, "a silent connection");
}

async fn half_a_handshake(server: &Server) {
    let start = Instant::now();
    let mut socket = TcpStream::connect(&server.address).await.unwrap();
    // A record of 512 bytes is announced, and its first bytes come one by one.
    socket.write_all(&[0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc]).await.unwrap();
    let (mut reader, mut writer) = socket.split();
    let drip = async {
        while writer.write_all(&[0x03]).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::select! {
        _ = read_to_end(&mut reader) => {}
        () = drip => {}
    }
    assert_five_seconds(start, "half a handshake");
}

#[test]
fn a_head_has_to_be_complete_in_five_seconds() {
    harness::run(async {
        let server = Server::start();
        // On a fresh connection, and on one that has served a request before.
        tokio::join!(head(&server, 0), head(&server, 1));
    });
}

async fn head(server: &Server, requests: u32) {
    let mut stream = tls(server, Protocol::H1).await;
    for _ in 0..requests {
        stream.write_all(b"GET /version HTTP/1.1\r\nhost: kes\r\n\r\n").await.unwrap();
        let mut answer = [0; 4096];
        assert!(stream.read(&mut answer).await.unwrap() > 0);
    }
    let start = Instant::now();
    stream.write_all(b"GET /version HTTP/1.1\r\n").await.unwrap();
    let (mut reader, mut writer) = tokio::io::split(stream);
    let drip = async {
        for number in 0.. {
            let field = format!("x-{number}: y\r\n");
            if writer.write_all(field.as_bytes()).await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    let answer = tokio::select! {
        answer = read_to_end(&mut reader) => answer,
        () = drip => String::new(),
    };
    assert!(!answer.contains(" 200 "), "{answer}");
    assert_five_seconds(start, &format!("a head that drips after {requests} requests"));
}

#[test]
fn an_idle_connection_is_kept_much_longer() {
    harness::run(async {
        let server = Server::start();
        let mut h1 = server.client(Who::Admin, Protocol::H1).await;
        let mut h2 = server.client(Who::Admin, Protocol::H2).await;
        // One that never sent anything, too.
        let mut fresh = tls(&server, Protocol::H1).await;
        assert_serves(&mut h1).await;
        assert_serves(&mut h2).await;
        tokio::time::sleep(Duration::from_secs(8)).await;
        assert_serves(&mut h1).await;
        assert_serves(&mut h2).await;
        fresh
            .write_all(b"GET /version HTTP/1.1\r\nconnection: close\r\nhost: kes\r\n\r\n")
            .await
            .unwrap();
        assert!(read_to_end(&mut fresh).await.starts_with("HTTP/1.1 200"));
    });
}

#[test]
fn a_body_that_drips_is_answered_at_the_routes_deadline() {
    harness::run(async {
        let api = "{ /v1/key/encrypt/: { timeout: 1s } }";
        let usual = Server::start();
        let short = Server::with(&Config::usual().with("api", api));
        // Unless the configuration says otherwise it is 15 s.
        let (usual, short) = tokio::join!(body(&usual), body(&short));
        figure("s until answered, a body that drips", usual);
        assert!((14.9..40.0).contains(&usual), "answered after {usual} s");
        assert!((0.9..14.0).contains(&short), "answered after {short} s");
    });
}

/// How long a body may drip, in seconds.
async fn body(server: &Server) -> f32 {
    let mut stream = tls(server, Protocol::H1).await;
    let start = Instant::now();
    let head = "PUT /v1/key/encrypt/k HTTP/1.1\r\nhost: kes\r\ncontent-length: 900000\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let (mut reader, mut writer) = tokio::io::split(stream);
    let drip = async {
        while writer.write_all(b" ").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        std::future::pending::<()>().await;
    };
    let mut answer = [0; 4096];
    let length = tokio::select! {
        length = reader.read(&mut answer) => length.unwrap(),
        () = drip => unreachable!(),
    };
    let took = start.elapsed().as_secs_f32();
    let answer = String::from_utf8_lossy(&answer[..length]);
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    // What still comes of the body is not taken for a request.
    let rest = read_to_end(&mut reader).await;
    assert!(!rest.contains("HTTP/1.1"), "{rest}");
    took
}
