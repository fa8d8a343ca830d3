use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use rustix::process::{Resource, getrlimit};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use super::load::raise_open_files;
use super::{read_to_end, resident, tls_as};
use crate::harness::{self, Client, Protocol, Server, Who, figure, is_whole, percentile};

/// Clients of each slow kind at one time.
const SLOW: usize = 50;

/// Files that this process and the server need beside the idle connections.
const OTHER_FILES: u64 = 1_000;

/// How a client is slow.
#[derive(Clone, Copy, Debug)]
enum Slow {
    Silent,
    HalfAHandshake,
    Head,
    Body,
}

/// Idle connections of a known identity, and silent, half-open and dripping ones, beside one client
/// that works.
#[test]
fn an_honest_client_is_served_beside_idle_and_slow_ones() {
    raise_open_files();
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX) - OTHER_FILES;
    let wanted = if is_whole() { 5_000 } else { 500 };
    let count = wanted.min(usize::try_from(files).unwrap_or(usize::MAX));
    harness::run(async {
        let mut server = Server::start();
        let mut honest = server.client(Who::Admin, Protocol::H2).await;
        assert_eq!(honest.send("PUT", "/v1/key/create/k", "").await.status, 200);
        for _ in 0..200 {
            generate(&mut honest).await;
        }
        let before = resident(&mut server);
        let mut idle = Vec::new();
        while idle.len() < count {
            // Each has a full handshake of its own.
            let some =
                (0..50.min(count - idle.len())).map(|_| server.client(Who::Minio, Protocol::H2));
            idle.extend(join_all(some).await);
        }
        let each = resident(&mut server).saturating_sub(before) / u64::try_from(count).unwrap();
        figure("idle connections", count);
        figure("KiB of an idle connection", each / 1024);
        assert!(each < 100 * 1024, "{each} bytes");

        let server = Arc::new(server);
        let mut slow = tokio::task::JoinSet::new();
        for kind in [Slow::Silent, Slow::HalfAHandshake, Slow::Head, Slow::Body].repeat(SLOW) {
            let server = Arc::clone(&server);
            slow.spawn(async move {
                loop {
                    drip(&server, kind).await;
                }
            });
        }
        let lasts = Duration::from_secs(if is_whole() { 20 } else { 3 });
        let (start, mut times) = (Instant::now(), Vec::new());
        while start.elapsed() < lasts {
            times.push(generate(&mut honest).await);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        figure("requests beside slow clients", times.len());
        figure("ms at p99 beside slow clients", percentile(&mut times, 99).as_secs_f64() * 1e3);
        slow.shutdown().await;
        drop(idle);
    });
}

/// How long a data key takes.
async fn generate(client: &mut Client) -> Duration {
    let start = Instant::now();
    assert_eq!(client.send("PUT", "/v1/key/generate/k", "").await.status, 200);
    start.elapsed()
}

/// Connects, and sends little after little until the server has closed the connection.
async fn drip(server: &Server, kind: Slow) {
    const PAUSE: Duration = Duration::from_millis(100);
    match kind {
        Slow::Silent | Slow::HalfAHandshake => {
            let mut socket = TcpStream::connect(&server.address).await.unwrap();
            if matches!(kind, Slow::HalfAHandshake) {
                // A record of 512 bytes is announced, and its bytes come one by one.
                let _ = socket.write_all(&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3]).await;
            }
            let (mut reader, mut writer) = socket.split();
            tokio::select! {
                _ = read_to_end(&mut reader) => {}
                () = async {
                    while matches!(kind, Slow::Silent) || writer.write_all(&[3]).await.is_ok() {
                        tokio::time::sleep(PAUSE).await;
                    }
                } => {}
            }
        }
        Slow::Head | Slow::Body => {
            let mut stream = tls_as(server, Who::Minio, Protocol::H1).await;
            let head = match kind {
                Slow::Head => "GET /version HTTP/1.1\r\n",
                _ => "PUT /v1/key/generate/k HTTP/1.1\r\nhost: kes\r\ncontent-length: 9000\r\n\r\n",
            };
            let _ = stream.write_all(head.as_bytes()).await;
            let (mut reader, mut writer) = tokio::io::split(stream);
            tokio::select! {
                _ = read_to_end(&mut reader) => {}
                () = async {
                    while writer.write_all(b"x: y\r\n").await.is_ok() {
                        tokio::time::sleep(PAUSE).await;
                    }
                } => {}
            }
        }
    }
}
