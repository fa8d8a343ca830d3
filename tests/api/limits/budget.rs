use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use hyper::body::{Bytes, Frame as Piece};
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use kes_testkit::wait::eventually_async;
use tokio::io::{AsyncRead, AsyncWriteExt as _};
use tokio::task::JoinSet;

use super::{assert_serves, read_to_end, resident, tls_as};
use crate::harness::{self, Client, Config, Exposition, Frame, Protocol, Server, Who, frame, head};

/// How long something may take before a test fails.
const PATIENCE: Duration = Duration::from_secs(30);

/// Bytes that one identity may have reserved: for large bodies, and for small ones.
const OF_AN_IDENTITY: f64 = ((48 + 8) << 20) as f64;

/// A server with a key, whose client `minio` may encrypt.
async fn start() -> (Server, Client) {
    let policy = "{ p: { allow: ['*'], identities: [\"${MINIO}\"] } }";
    let server = Server::with(&Config::usual().with("policy", policy));
    let mut admin = server.client(Who::Admin, Protocol::H2).await;
    assert_eq!(admin.send("PUT", "/v1/key/create/k", "").await.status, 200);
    (server, admin)
}

/// A body of so many bytes that never ends.
struct Unfinished(usize);

impl hyper::body::Body for Unfinished {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Piece<Bytes>, Infallible>>> {
        let size = self.0.min(16 * 1024);
        if size == 0 {
            return Poll::Pending;
        }
        self.0 -= size;
        Poll::Ready(Some(Ok(Piece::data(vec![b' '; size].into()))))
    }
}

/// A connection for requests whose bodies never end.
async fn connect(server: &Server) -> SendRequest<Unfinished> {
    let io = TokioIo::new(tls_as(server, Who::Minio, Protocol::H2).await);
    let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
    tokio::spawn(connection);
    sender
}

async fn reserved(admin: &Client) -> f64 {
    Exposition::of(&mut admin.share()).await.value("kes_http_reserved_bytes")
}

/// The script of it announces lengths, and this one does not: both cost what has arrived, up to
/// what one identity may hold.
#[test]
fn unfinished_bodies_hold_no_more_than_an_identity_may() {
    harness::run(async {
        let (mut server, mut admin) = start().await;
        let before = resident(&mut server);
        let mut requests = JoinSet::new();
        for size in [900_000, 900_000, 900_000, 3_000] {
            let connection = connect(&server).await;
            for _ in 0..200 {
                let (mut connection, address) = (connection.clone(), server.address.clone());
                requests.spawn(async move {
                    connection.ready().await.unwrap();
                    let request = http::Request::put(format!("https://{address}/v1/key/encrypt/k"))
                        .body(Unfinished(size))
                        .unwrap();
                    connection.send_request(request).await.map(|answer| answer.status().as_u16())
                });
            }
        }
        // The first that are refused: all memory of the identity is reserved then.
        let mut refused = 0;
        while refused < 300 {
            let status = tokio::time::timeout(PATIENCE, requests.join_next()).await.unwrap();
            match status.unwrap().unwrap() {
                Ok(429) => refused += 1,
                Ok(408 | 503) => {}
                status => panic!("{status:?}"),
            }
        }
        let bytes = reserved(&admin).await;
        assert!(bytes <= OF_AN_IDENTITY, "{bytes}");
        let rise = resident(&mut server).saturating_sub(before);
        assert!(rise < 128 << 20, "{rise} bytes more in use");

        // Others are served, and so are the small bodies of the same client.
        assert_serves(&mut admin).await;
        for who in [Who::Admin, Who::Minio] {
            let mut client = server.client(who, Protocol::H2).await;
            let sealed = client.send("PUT", "/v1/key/encrypt/k", r#"{"plaintext":"aGk="}"#).await;
            assert_eq!(sealed.status, 200, "{who:?}");
        }
        let body = format!(r#"{{"plaintext":"aGk="{}}}"#, " ".repeat(500_000));
        assert_eq!(admin.send("PUT", "/v1/key/encrypt/k", &body).await.status, 200);
        let figures = Exposition::of(&mut admin).await;
        assert!(figures.value("kes_http_reservations_refused") >= 300.0);

        drop(requests);
        eventually_async(PATIENCE, "nothing is reserved any more", || async {
            reserved(&admin).await == 0.0
        })
        .await;
    });
}

#[test]
fn many_large_bodies_of_one_connection_are_served() {
    harness::run(async {
        let (server, admin) = start().await;
        let client = server.client(Who::Minio, Protocol::H2).await;
        let body = format!(r#"{{"plaintext":"aGk="{}}}"#, " ".repeat(900_000));
        let requests = (0..45).map(|_| {
            let mut client = client.share();
            let body = &body;
            async move { client.send("PUT", "/v1/key/encrypt/k", body).await.status }
        });
        let statuses = join_all(requests).await;
        assert!(statuses.iter().all(|status| *status == 200), "{statuses:?}");
        eventually_async(PATIENCE, "nothing is reserved any more", || async {
            reserved(&admin).await == 0.0
        })
        .await;
    });
}

/// The preface, with SETTINGS that allow so many bytes of each answer.
fn preface(window: u32) -> Vec<u8> {
    let mut settings = vec![0, 4];
    settings.extend(window.to_be_bytes());
    let mut preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    preface.extend(frame(Frame::SETTINGS, 0, 0, &settings));
    preface
}

/// Asks fifty times, takes no answer, and has a stream reset and opens another one again and again.
async fn take_no_answer(server: &Server, who: Who, window: u32) {
    let stream = tls_as(server, who, Protocol::H2).await;
    let (mut reader, mut writer) = tokio::io::split(stream);
    writer.write_all(&preface(window)).await.unwrap();
    let ask = |stream| head(Frame::END_STREAM, stream, "GET", "/version", &server.address);
    let requests: Vec<u8> = (0..50).flat_map(|number| ask(number * 2 + 1)).collect();
    writer.write_all(&requests).await.unwrap();
    let renew = async {
        for number in 50.. {
            let mut frames = frame(Frame::RST_STREAM, 0, number * 2 - 1, &8_u32.to_be_bytes());
            frames.extend(ask(number * 2 + 1));
            if writer.write_all(&frames).await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        _ = read_to_end(&mut reader) => {}
        () = renew => unreachable!(),
    }
}

#[test]
fn a_connection_whose_client_takes_no_answer_is_closed() {
    harness::run(async {
        let server = Server::start();
        let timed = async |who, window| {
            let start = Instant::now();
            take_no_answer(&server, who, window).await;
            (who, window, start.elapsed().as_secs_f32())
        };
        let closed = join_all(
            [(Who::Other, 0), (Who::Other, 1), (Who::Minio, 0), (Who::Minio, 1)]
                .map(|(who, window)| timed(who, window)),
        );
        for (who, window, took) in closed.await {
            let least = if who == Who::Other { 4.9 } else { 14.9 };
            assert!(took >= least, "{who:?} with a window of {window} after {took} s");
        }
    });
}

/// The next frame of a kind.
async fn next(stream: &mut (impl AsyncRead + Unpin), kind: u8) -> Frame {
    loop {
        let frame = tokio::time::timeout(PATIENCE, Frame::read(stream)).await.unwrap().unwrap();
        if frame.kind == kind {
            return frame;
        }
    }
}

/// It takes longer for all of it than it may for a piece.
#[test]
fn an_answer_that_is_taken_slowly_arrives() {
    harness::run(async {
        let (server, admin) = start().await;
        let mut stream = tls_as(&server, Who::Minio, Protocol::H2).await;
        stream.write_all(&preface(16 * 1024)).await.unwrap();
        let plaintext = "A".repeat(600_000);
        let body = format!(r#"{{"plaintext":"{plaintext}"}}"#);
        let request = head(0, 1, "PUT", "/v1/key/encrypt/k", &server.address);
        stream.write_all(&request).await.unwrap();
        // The server's windows, which it opens as it reads.
        let (mut window, mut of_stream) = (65_535, 65_535);
        let mut rest = body.as_bytes();
        while !rest.is_empty() {
            let size = rest.len().min(16_000).min(window).min(of_stream);
            if size == 0 {
                let update = next(&mut stream, Frame::WINDOW_UPDATE).await;
                let more = u32::from_be_bytes(update.payload.try_into().unwrap());
                let more = usize::try_from(more).unwrap();
                if update.stream == 0 {
                    window += more
                } else {
                    of_stream += more
                }
                continue;
            }
            let (piece, after) = rest.split_at(size);
            let flags = if after.is_empty() { Frame::END_STREAM } else { 0 };
            stream.write_all(&frame(Frame::DATA, flags, 1, piece)).await.unwrap();
            (window, of_stream, rest) = (window - size, of_stream - size, after);
        }
        let start = Instant::now();
        let mut received = 0;
        loop {
            let data = next(&mut stream, Frame::DATA).await;
            received += data.payload.len();
            if data.flags & Frame::END_STREAM != 0 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
            let more = u32::try_from(data.payload.len()).unwrap().to_be_bytes();
            if data.payload.is_empty() {
                continue;
            }
            for of in [0, 1] {
                stream.write_all(&frame(Frame::WINDOW_UPDATE, 0, of, &more)).await.unwrap();
            }
            // The server has sent the last piece when the client has room for it.
            if received < 500_000 {
                assert!(reserved(&admin).await > 0.0, "until it was taken");
            }
        }
        assert!(received > 600_000, "{received} bytes");
        let took = start.elapsed();
        assert!(took > Duration::from_secs(15), "it was not slow: {took:?}");
    });
}
