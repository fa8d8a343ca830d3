use std::time::{Duration, Instant};

use futures_util::future::join_all;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{assert_serves, resident, tls};
use crate::harness::{
    self, Frame, PREFACE, Protocol, Raw, Server, Who, figure, frame, head, is_whole, tls_config,
    tls_connect,
};

/// Lets this process have as many open files as the system allows.
pub(super) fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    let enough = limit.maximum.is_none_or(|maximum| maximum >= 2_500);
    assert!(enough, "the test needs 2500 open files, and the system allows {limit:?}");
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).unwrap();
}

#[test]
fn a_thousand_idle_connections_disturb_nobody() {
    raise_open_files();
    harness::run(async {
        let mut server = Server::start();
        let mut admin = server.client(Who::Admin, Protocol::H2).await;
        assert_serves(&mut admin).await;
        let before = resident(&mut server);
        // They resume one session: what counts is that they are open.
        let config = tls_config(&server.tls.certificate, Some(&server.admin), Protocol::H2);
        let mut idle = Vec::new();
        for _ in 0..20 {
            let connections = (0..50).map(|_| tls_connect(&server.address, config.clone()));
            idle.extend(join_all(connections).await.into_iter().map(Result::unwrap));
        }
        assert_eq!(idle.len(), 1_000);
        let rise = resident(&mut server).saturating_sub(before);
        assert!(rise < 1_000 * 100 * 1024, "{rise} bytes more in use");

        for _ in 0..200 {
            assert_serves(&mut admin).await;
        }
        let mut another = server.client(Who::Admin, Protocol::H1).await;
        assert_serves(&mut another).await;
    });
}

#[test]
fn more_requests_than_streams_wait_for_their_turn() {
    harness::run(async {
        let server = Server::start();
        let client = server.client(Who::Admin, Protocol::H2).await;
        let requests = (0..1_500).map(|_| {
            let mut client = client.share();
            async move { client.send("GET", "/v1/identity/self/describe", "").await.status }
        });
        let statuses = tokio::time::timeout(Duration::from_secs(60), join_all(requests)).await;
        let statuses = statuses.expect("all are answered");
        assert!(statuses.iter().all(|status| *status == 200), "{statuses:?}");
    });
}

/// The frames of a request for `/version` on a stream.
fn request(stream: u32, authority: &str) -> Vec<u8> {
    head(Frame::END_STREAM, stream, "GET", "/version", authority)
}

#[test]
fn requests_in_frames_by_hand_are_served() {
    harness::run(async {
        let server = Server::start();
        let mut stream = tls(&server, Protocol::H2).await;
        stream.write_all(PREFACE).await.unwrap();
        stream.write_all(&request(1, &server.address)).await.unwrap();
        loop {
            let frame = Frame::read(&mut stream).await.unwrap();
            if frame.kind == Frame::HEADERS {
                // `:status: 200` of the static table
                assert_eq!(frame.payload[0], 0x88, "{frame:?}");
                break;
            }
        }
    });
}

/// What may come after the preface.
type Abuse = fn(u32, &str) -> Vec<u8>;

/// Sends frames, connection after connection, until so many were sent or some time is over. How
/// many one connection takes is the server's affair.
async fn abuse(server: &Server, count: u32, make: Abuse) -> u32 {
    let config = tls_config(&server.tls.certificate, Some(&server.other), Protocol::H2);
    let end = Instant::now() + Duration::from_secs(if is_whole() { 120 } else { 20 });
    let mut sent = 0;
    while sent < count && Instant::now() < end {
        let stream = tls_connect(&server.address, config.clone()).await.unwrap();
        let (mut reader, mut writer) = tokio::io::split(stream);
        let read = tokio::spawn(async move {
            let mut bytes = [0; 16384];
            while matches!(reader.read(&mut bytes).await, Ok(1..)) {}
        });
        if writer.write_all(PREFACE).await.is_err() {
            continue;
        }
        // What is sent after the server has closed proves nothing: so few that buffers hold them.
        for number in 0..20 {
            let frames: Vec<u8> =
                (0..100).flat_map(|n| make((number * 100 + n) * 2 + 1, &server.address)).collect();
            if read.is_finished() || writer.write_all(&frames).await.is_err() {
                break;
            }
            sent += 100;
        }
        read.abort();
    }
    sent
}

#[test]
fn streams_that_are_reset_at_once_wear_nobody_down() {
    harness::run(async {
        let mut server = Server::start();
        let mut honest = server.client(Who::Admin, Protocol::H2).await;
        assert_serves(&mut honest).await;
        let before = resident(&mut server);
        let resets: Abuse = |stream, authority| {
            let mut frames = request(stream, authority);
            frames.extend(frame(0x3, 0, stream, &8_u32.to_be_bytes()));
            frames
        };
        let attack = abuse(&server, if is_whole() { 100_000 } else { 30_000 }, resets);
        let serve = async {
            loop {
                assert_serves(&mut honest).await;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let sent = tokio::select! {
            sent = attack => sent,
            () = serve => unreachable!(),
        };
        assert!(sent > 1_000, "only {sent} streams were opened and reset");
        assert_serves(&mut honest).await;
        let rise = resident(&mut server).saturating_sub(before);
        figure("streams opened and reset", sent);
        figure("MiB more after resets", rise >> 20);
        assert!(rise < 64 << 20, "{rise} bytes more in use after {sent} streams");
    });
}

#[test]
fn floods_of_frames_wear_nobody_down() {
    harness::run(async {
        let mut server = Server::start();
        let mut honest = server.client(Who::Admin, Protocol::H2).await;
        assert_serves(&mut honest).await;
        let before = resident(&mut server);
        let floods: [(&str, Abuse); 4] = [
            ("settings", |_, _| frame(0x4, 0, 0, &[])),
            ("ping", |_, _| frame(0x6, 0, 0, &[0; 8])),
            ("a head that never ends", |stream, authority| match stream {
                1 => {
                    let mut first = request(1, authority);
                    first[4] = 0; // neither END_STREAM nor END_HEADERS
                    first
                }
                _ => frame(0x9, 0, 1, &[0x00, 1, b'x', 1, b'y'].repeat(100)),
            }),
            ("empty data", |stream, authority| match stream {
                1 => {
                    let mut first = request(1, authority);
                    first[4] = 0x4; // END_HEADERS alone
                    first
                }
                _ => frame(0x0, 0, 1, &[]),
            }),
        ];
        for (name, flood) in floods {
            let serve = async {
                loop {
                    assert_serves(&mut honest).await;
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            };
            tokio::select! {
                _ = abuse(&server, 20_000, flood) => {}
                () = serve => unreachable!(),
            }
            assert_serves(&mut honest).await;
            let rise = resident(&mut server).saturating_sub(before);
            figure(&format!("MiB more after a flood, {name}"), rise >> 20);
            assert!(rise < 64 << 20, "{name}: {rise} bytes more in use");
        }
    });
}

/// Their answers wait for them; everybody else's do not.
#[test]
fn clients_that_stop_reading_disturb_nobody() {
    harness::run(async {
        let server = Server::start();
        let mut admin = server.client(Who::Admin, Protocol::H2).await;
        assert_eq!(admin.send("PUT", "/v1/key/create/k", "").await.status, 200);
        let body = format!(r#"{{"plaintext":"{}"}}"#, "aaaa".repeat(200_000));
        let head = format!(
            "PUT /v1/key/encrypt/k HTTP/1.1\r\nhost: kes\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        let mut stalled = Vec::new();
        for _ in 0..16 {
            let mut raw = Raw::connect_narrow(&server, Who::Admin).await;
            raw.write(&head).await;
            raw.write(&body).await;
            stalled.push(raw);
        }
        // Over HTTP/2 a window that is closed (SETTINGS_INITIAL_WINDOW_SIZE of 0) stops all.
        let mut stream = tls(&server, Protocol::H2).await;
        stream.write_all(&PREFACE[..24]).await.unwrap();
        stream.write_all(&frame(0x4, 0, 0, &[0, 4, 0, 0, 0, 0])).await.unwrap();
        for number in 0..200 {
            stream.write_all(&request(number * 2 + 1, &server.address)).await.unwrap();
        }
        for _ in 0..50 {
            assert_serves(&mut admin).await;
            let sealed = admin.send("PUT", "/v1/key/encrypt/k", r#"{"plaintext":"aGk="}"#).await;
            assert_eq!(sealed.status, 200);
        }
        // Whoever reads at last gets all of it.
        let answer = stalled[0].head().await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    });
}
