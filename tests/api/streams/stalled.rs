use std::time::Duration;

use kes_testkit::wait::eventually_async;
use tokio::io::{AsyncRead, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::{Follower, PATIENCE};
use crate::harness::{
    self, Config, Exposition, Frame, Protocol, Server, Who, frame, head, tls_config, tls_connect,
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

/// Whoever waits for lines that do not come stays, and whoever reads does as well.
#[test]
fn who_follows_a_log_and_never_reads_is_closed() {
    harness::run(async {
        let open = "{ /v1/log/audit: { skip_auth: true }, /v1/log/error: { skip_auth: true } }";
        let server = Server::with(&Config::usual().with("api", open));
        let mut admin = server.client(Who::Admin, Protocol::H2).await;
        let mut stalled = [
            follow(&server, Who::Other, "/v1/log/audit", 0).await,
            follow(&server, Who::Other, "/v1/log/audit", 100).await,
        ];
        let mut without_lines = follow(&server, Who::Other, "/v1/log/error", 0).await;
        let mut reader = Follower::new(&server, Who::Other, Protocol::H2, "/v1/log/audit").await;
        for _ in 0..10 {
            assert_eq!(admin.send("GET", "/v1/status", "").await.status, 200);
        }
        for stalled in &mut stalled {
            assert!(is_closed(stalled, 2 * PATIENCE).await, "it keeps its connection");
        }
        for _ in 0..10 {
            reader.next().await;
        }
        assert!(!is_closed(&mut without_lines, Duration::from_millis(100)).await);
        // Two strangers are left: the one that waits for lines, and the one that reads.
        eventually_async(PATIENCE, "their connections are free", || {
            let mut admin = admin.share();
            async move { Exposition::of(&mut admin).await.value("kes_tls_strangers") == 2.0 }
        })
        .await;
    });
}
