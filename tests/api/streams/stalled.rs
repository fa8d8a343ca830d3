use std::time::Duration;

use futures_util::future::join_all;
use kes_testkit::wait::eventually_async;
use tokio::io::{AsyncRead, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::{Follower, PATIENCE};
use crate::harness::{
    self, Client, Config, Exposition, Frame, Protocol, Raw, Server, Who, frame, head, tls_config,
    tls_connect,
};

/// Opens a stream of a log whose client lets the server send so many bytes of it.
async fn follow(server: &Server, who: Who, path: &str, window: u32) -> TlsStream<TcpStream> {
    let config = tls_config(&server.tls.certificate, server.credentials(who), Protocol::H2);
    let mut stream = tls_connect(&server.address, config).await.unwrap();
    let mut settings = vec![0, 4];
    settings.extend(window.to_be_bytes());
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    stream.write_all(&frame(Frame::SETTINGS, 0, 0, &settings)).await.unwrap();
    let request = head(Frame::END_STREAM, 1, "GET", path, &server.address);
    stream.write_all(&request).await.unwrap();
    while read(&mut stream).await.expect("it is answered").kind != Frame::HEADERS {}
    stream
}

async fn read(stream: &mut (impl AsyncRead + Unpin)) -> std::io::Result<Frame> {
    Frame::read(stream).await
}

/// Reads until the server closes; `false` if it has not done so in time.
async fn is_closed(stream: &mut (impl AsyncRead + Unpin), limit: Duration) -> bool {
    let closed = async { while read(stream).await.is_ok() {} };
    tokio::time::timeout(limit, closed).await.is_ok()
}

const OPEN: &str = "{ /v1/log/audit: { skip_auth: true }, /v1/log/error: { skip_auth: true } }";

/// How many connections of a class there are.
async fn connections(admin: &Client, class: &str) -> f64 {
    let metrics = Exposition::of(&mut admin.share()).await;
    metrics.value(&format!("kes_class_connections{{class=\"{class}\"}}"))
}

/// Whoever waits for lines that do not come stays, and whoever reads does as well.
#[test]
fn who_follows_a_log_and_never_reads_is_closed() {
    harness::run(async {
        tokio::join!(never_reads(Who::Other, "stranger"), never_reads(Who::Minio, "known"));
    });
}

async fn never_reads(who: Who, class: &str) {
    let server = Server::with(&Config::usual().with("api", OPEN));
    let mut admin = server.client(Who::Admin, Protocol::H2).await;
    let mut stalled = [
        follow(&server, who, "/v1/log/audit", 0).await,
        follow(&server, who, "/v1/log/audit", 100).await,
    ];
    let mut without_lines = follow(&server, who, "/v1/log/error", 0).await;
    let mut readers = [
        Follower::new(&server, who, Protocol::H1, "/v1/log/audit").await,
        Follower::new(&server, who, Protocol::H2, "/v1/log/audit").await,
    ];
    for _ in 0..10 {
        assert_eq!(admin.send("GET", "/v1/status", "").await.status, 200);
    }
    for stalled in &mut stalled {
        assert!(is_closed(stalled, 3 * PATIENCE).await, "{class}: it keeps its connection");
    }
    for reader in &mut readers {
        for _ in 0..10 {
            reader.next().await;
        }
    }
    assert!(!is_closed(&mut without_lines, Duration::from_millis(100)).await);
    // Three are left: the one that waits for lines, and those that read.
    eventually_async(PATIENCE, "their connections are free", || async {
        connections(&admin, class).await == 3.0
    })
    .await;
}

/// Over HTTP/1.1 lines wait for a client once the buffers of its connection are full.
#[test]
fn the_same_over_http_1() {
    harness::run(async {
        let (stranger, known) = ((Who::Other, "stranger"), (Who::Minio, "known"));
        tokio::join!(never_reads_over_http_1(stranger), never_reads_over_http_1(known));
    });
}

async fn never_reads_over_http_1((who, class): (Who, &str)) {
    let server = Server::with(&Config::usual().with("api", OPEN).with("log", "{ audit: off }"));
    let admin = server.client(Who::Admin, Protocol::H2).await;
    let mut stalled = Raw::connect_narrow(&server, who).await;
    stalled.write("GET /v1/log/audit HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert_eq!(stalled.status().await, 200);
    assert_eq!(connections(&admin, class).await, 1.0);
    let path = format!("/v1/key/describe/{}", "x".repeat(500));
    eventually_async(3 * PATIENCE, "it is closed", || {
        let requests = (0..100).map(|_| {
            let (mut admin, path) = (admin.share(), &path);
            async move { admin.send("GET", path, "").await.status }
        });
        let requests = join_all(requests);
        let admin = &admin;
        async move {
            assert_eq!(requests.await, [400; 100]);
            connections(admin, class).await == 0.0
        }
    })
    .await;
}
