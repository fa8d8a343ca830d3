use std::time::{Duration, Instant};

use futures_util::future::join_all;
use kes_testkit::wait::eventually_async;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{assert_serves, read_to_end, tls_as};
use crate::harness::{
    self, Client, Config, Exposition, Frame, PREFACE, Protocol, Server, Who, frame, head,
};

/// How long something may take before a test fails.
const PATIENCE: Duration = Duration::from_secs(30);

/// A server that may have 24 connections.
pub(super) fn small(config: &Config) -> Server {
    Server::with(&config.clone().under(&["prlimit", "--nofile=64:64"]))
}

/// Connects, and asks once. Waits for as long as another connection has to end for it.
pub(super) async fn ask(server: &Server, who: Who, protocol: Protocol) -> Client {
    let served = async {
        let mut client = server.client(who, protocol).await;
        assert_eq!(client.send("GET", "/version", "").await.status, 200);
        client
    };
    tokio::time::timeout(PATIENCE, served).await.expect("the client is served")
}

#[test]
fn a_stranger_that_says_nothing_is_closed_after_five_seconds() {
    harness::run(async {
        let server = Server::start();
        let closed = |who: Who, protocol: Protocol, asks: bool| {
            let server = &server;
            async move {
                let mut stream = tls_as(server, who, protocol).await;
                if asks {
                    let request = "GET /version HTTP/1.1\r\nhost: kes\r\n\r\n";
                    stream.write_all(request.as_bytes()).await.unwrap();
                    assert!(stream.read(&mut [0; 4096]).await.unwrap() > 0);
                } else if protocol == Protocol::H2 {
                    stream.write_all(PREFACE).await.unwrap();
                }
                let start = Instant::now();
                read_to_end(&mut stream).await;
                let took = start.elapsed().as_secs_f32();
                assert!((4.5..30.0).contains(&took), "{who:?} {protocol:?} after {took} s");
            }
        };
        tokio::join!(
            closed(Who::Other, Protocol::H1, false),
            closed(Who::Other, Protocol::H1, true),
            closed(Who::Other, Protocol::H2, false),
        );
    });
}

/// It neither acknowledges a ping nor closes its side: it is gone all the same.
#[test]
fn a_stranger_cannot_hold_its_connection_by_frames() {
    harness::run(async {
        let server = Server::start();
        let stream = tls_as(&server, Who::Other, Protocol::H2).await;
        let (mut reader, mut writer) = tokio::io::split(stream);
        writer.write_all(PREFACE).await.unwrap();
        let pings = async {
            while writer.write_all(&frame(Frame::PING, 0, 0, &[0; 8])).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            _ = read_to_end(&mut reader) => {}
            () = pings => unreachable!(),
        }
    });
}

#[test]
fn strangers_make_room_for_whoever_comes() {
    harness::run(async {
        let server = small(&Config::usual());
        for protocol in [Protocol::H1, Protocol::H2] {
            let mut known = Vec::new();
            for _ in 0..3 {
                known.push(ask(&server, Who::Minio, protocol).await);
            }
            // One displaces the other.
            let mut strangers = Vec::new();
            for _ in 0..40 {
                strangers.push(tls_as(&server, Who::Other, protocol).await);
            }
            let mut admin = ask(&server, Who::Admin, protocol).await;
            for client in known.iter_mut().chain([&mut admin]) {
                assert_serves(client).await;
            }
        }
        let figures = Exposition::from(&server).await;
        assert!(figures.value("kes_tls_displaced_connections") >= 34.0);
    });
}

/// They do not even begin a handshake, and there are so many that their five seconds do not end in
/// time.
#[test]
fn silent_connections_make_room_for_whoever_comes() {
    harness::run(async {
        let server = small(&Config::usual());
        let mut known = ask(&server, Who::Minio, Protocol::H2).await;
        let mut silent = Vec::new();
        for _ in 0..200 {
            silent.push(TcpStream::connect(&server.address).await.unwrap());
        }
        ask(&server, Who::Admin, Protocol::H1).await;
        assert_serves(&mut known).await;
    });
}

/// Asks again and again with a body that never comes, which is refused and waited for.
async fn keep_busy(server: &Server) {
    let mut stream = tls_as(server, Who::Other, Protocol::H2).await;
    stream.write_all(PREFACE).await.unwrap();
    let (mut reader, mut writer) = tokio::io::split(stream);
    let ask = async {
        for number in 0.. {
            let request = head(0, number * 2 + 1, "PUT", "/v1/key/generate/k", &server.address);
            if writer.write_all(&request).await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    };
    let read = async {
        let mut bytes = [0; 4096];
        while matches!(reader.read(&mut bytes).await, Ok(1..)) {}
    };
    tokio::join!(ask, read);
}

#[test]
fn busy_strangers_make_room_as_well() {
    harness::run(async {
        let server = small(&Config::usual());
        let known = ask(&server, Who::Admin, Protocol::H2).await;
        let strangers = join_all((0..23).map(|_| keep_busy(&server)));
        let ask = async {
            eventually_async(PATIENCE, "all connections are in use", || {
                let mut known = known.share();
                async move { Exposition::of(&mut known).await.value("kes_tls_strangers") == 23.0 }
            })
            .await;
            ask(&server, Who::Minio, Protocol::H1).await;
            assert_serves(&mut known.share()).await;
        };
        tokio::select! {
            () = ask => {}
            _ = strangers => panic!("all strangers are gone"),
        }
    });
}

#[test]
fn a_reload_decides_who_is_a_stranger() {
    harness::run(async {
        let policy = |who: &str| {
            let policy = format!("{{ p: {{ allow: ['*'], identities: [\"${{{who}}}\"] }} }}");
            Config::usual().with("policy", &policy)
        };
        let server = Server::with(&policy("MINIO"));
        let mut admin = server.client(Who::Admin, Protocol::H2).await;
        let strangers = |count: f64| {
            let admin = admin.share();
            eventually_async(PATIENCE, "strangers are counted", move || {
                let mut admin = admin.share();
                async move { Exposition::of(&mut admin).await.value("kes_tls_strangers") == count }
            })
        };
        let mut clients = Vec::new();
        for protocol in [Protocol::H1, Protocol::H2] {
            clients.push(ask(&server, Who::Other, protocol).await);
        }
        strangers(2.0).await;
        server.reload_and_wait(&policy("OTHER"));
        // Each is asked again when its time as a stranger is over.
        strangers(0.0).await;
        for client in &mut clients {
            assert_serves(client).await;
        }
        assert_serves(&mut admin).await;
    });
}

/// Without waiting for the 90 s that it had before.
#[test]
fn who_loses_its_policy_is_a_stranger_at_once() {
    harness::run(async {
        let policy = |who: &str| {
            let policy = format!("{{ p: {{ allow: ['*'], identities: [\"${{{who}}}\"] }} }}");
            Config::usual().with("policy", &policy)
        };
        let server = Server::with(&policy("OTHER"));
        let mut silent = tls_as(&server, Who::Other, Protocol::H1).await;
        let mut http1 = tls_as(&server, Who::Other, Protocol::H1).await;
        http1.write_all(b"GET /version HTTP/1.1\r\nhost: kes\r\n\r\n").await.unwrap();
        assert!(http1.read(&mut [0; 4096]).await.unwrap() > 0);
        let mut http2 = tls_as(&server, Who::Other, Protocol::H2).await;
        http2.write_all(PREFACE).await.unwrap();
        assert_eq!(Frame::read(&mut http2).await.unwrap().kind, Frame::SETTINGS);
        server.reload_and_wait(&policy("MINIO"));
        tokio::join!(read_to_end(&mut silent), read_to_end(&mut http1), read_to_end(&mut http2),);
    });
}

#[test]
fn a_stranger_has_fewer_requests_at_a_time_on_a_connection() {
    harness::run(async {
        let server = Server::start();
        for (who, most) in [(Who::Other, 100), (Who::Minio, 256), (Who::Admin, 256)] {
            let mut stream = tls_as(&server, who, Protocol::H2).await;
            stream.write_all(PREFACE).await.unwrap();
            let settings = Frame::read(&mut stream).await.unwrap();
            assert_eq!(settings.kind, Frame::SETTINGS);
            // SETTINGS_MAX_CONCURRENT_STREAMS (RFC 9113, 6.5.2).
            let mut settings = settings.payload.chunks(6);
            let told = settings.find(|setting| setting[..2] == [0, 3]).unwrap();
            assert_eq!(told[2..], u32::to_be_bytes(most), "{who:?}");
        }
    });
}
