//! Answers that are ready before the body of their request was read. Their sender has to see
//! them: what it still sends is read for a while, and its HTTP/2 stream not reset.

use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::limits::{assert_serves, read_to_end, resident};
use crate::harness::{
    self, Config, Frame, Openssl, PREFACE, Protocol, Raw, Server, Tls, Who, frame, head,
    tls_config, tls_connect,
};

/// How long a frame may take before a test fails.
const PATIENCE: Duration = Duration::from_secs(20);

/// Far more than the server reads of a body that nobody wants.
const ENDLESS: usize = 64 << 20;

/// Requests that are answered before their body: who, method, path, status.
const EARLY: [(Who, &str, &str, u16); 7] = [
    (Who::Other, "PUT", "/v1/key/generate/k", 403),
    (Who::Other, "POST", "/v1/key/import/k", 403),
    (Who::Admin, "PUT", "/v1/key/generate/a.b", 400),
    (Who::Admin, "PUT", "/v1/nothing", 404),
    (Who::Admin, "GET", "/v1/key/generate/k", 405),
    (Who::Admin, "PUT", "/v1//key/generate/k", 307),
    (Who::Nobody, "PUT", "/v1/key/generate/k", 400),
];

/// Lets everybody connect, with a certificate or without.
fn start() -> Server {
    Server::with(&Config::usual().with("api", "{ /v1/ready: { skip_auth: true } }"))
}

/// An HTTP/2 connection that is spoken to in frames.
struct Frames {
    tls: TlsStream<TcpStream>,
    authority: String,
}

impl Frames {
    async fn connect(server: &Server, who: Who) -> Self {
        let config = tls_config(&server.tls.certificate, server.credentials(who), Protocol::H2);
        let mut tls = tls_connect(&server.address, config).await.unwrap();
        tls.write_all(PREFACE).await.unwrap();
        Self { tls, authority: server.address.clone() }
    }

    /// Sends the head of a request whose body is still to come.
    async fn begin(&mut self, stream: u32, method: &str, path: &str) {
        let head = head(0, stream, method, path, &self.authority);
        self.tls.write_all(&head).await.unwrap();
    }

    async fn send(&mut self, frame: &[u8]) {
        self.tls.write_all(frame).await.unwrap();
    }

    async fn next(&mut self) -> Frame {
        let frame = tokio::time::timeout(PATIENCE, Frame::read(&mut self.tls));
        frame.await.expect("the server says something").expect("the connection goes on")
    }

    /// All frames of a stream until the server has answered a PING, and with it whatever came
    /// before.
    async fn until_ping(&mut self, stream: u32) -> Vec<Frame> {
        self.send(&frame(Frame::PING, 0, 0, b"whatever")).await;
        let mut frames = Vec::new();
        loop {
            let frame = self.next().await;
            if frame.kind == Frame::PING && frame.flags == 1 {
                return frames;
            }
            if frame.stream == stream {
                frames.push(frame);
            }
        }
    }

    /// Reads until the answer of a stream is complete.
    async fn answer(&mut self, stream: u32) {
        loop {
            let frame = self.next().await;
            if frame.stream == stream {
                assert_ne!(frame.kind, Frame::RST_STREAM, "{frame:?}");
                if frame.flags & Frame::END_STREAM != 0 {
                    return;
                }
            }
        }
    }
}

#[test]
fn a_stream_is_not_reset_while_its_client_sends_a_body_that_nobody_wants() {
    harness::run(async {
        let server = start();
        for (who, method, path, status) in EARLY {
            let mut client = Frames::connect(&server, who).await;
            for stream in [1, 3] {
                client.begin(stream, method, path).await;
                client.answer(stream).await;
                // Within the window that a connection begins with, 65,535 bytes.
                for _ in 0..4 {
                    client.send(&frame(Frame::DATA, 0, stream, &[b' '; 16_000])).await;
                }
                let frames = client.until_ping(stream).await;
                let resets = |frame: &Frame| frame.kind == Frame::RST_STREAM;
                assert!(!frames.iter().any(resets), "{path} {status}: {frames:?}");
                client.send(&frame(Frame::DATA, Frame::END_STREAM, stream, b" ")).await;
                let frames = client.until_ping(stream).await;
                assert!(!frames.iter().any(resets), "{path} {status}: {frames:?}");
            }
        }
    });
}

/// A client that never ends its body is sent away, and what it may send until then is bounded.
#[test]
fn a_body_without_an_end_is_not_read_for_ever() {
    harness::run(async {
        let mut server = start();
        let mut honest = server.client(Who::Admin, Protocol::H2).await;
        assert_serves(&mut honest).await;
        let before = resident(&mut server);
        for idle in [true, false] {
            let mut client = Frames::connect(&server, Who::Other).await;
            client.begin(1, "PUT", "/v1/key/generate/k").await;
            client.answer(1).await;
            let start = Instant::now();
            // As much as the server allows: a stream's and a connection's window to begin with.
            let (mut window, mut sent) = ([65_535_i64; 2], 0);
            let reset = loop {
                let most = if idle { 0 } else { window[0].min(window[1]).min(16_000) };
                if most > 0 && sent < ENDLESS {
                    let most = usize::try_from(most).unwrap();
                    client.send(&frame(Frame::DATA, 0, 1, &vec![b' '; most])).await;
                    sent += most;
                    window = window.map(|window| window - i64::try_from(most).unwrap());
                    continue;
                }
                let frame = client.next().await;
                match (frame.kind, frame.stream) {
                    (Frame::RST_STREAM, 1) => break frame,
                    (Frame::WINDOW_UPDATE, stream) => {
                        let more = u32::from_be_bytes(frame.payload[..].try_into().unwrap());
                        window[usize::from(stream == 1)] += i64::from(more);
                    }
                    (Frame::SETTINGS, _) => {
                        for setting in frame.payload.chunks(6) {
                            // SETTINGS_INITIAL_WINDOW_SIZE
                            if setting[..2] == [0, 4] {
                                let size = u32::from_be_bytes(setting[2..].try_into().unwrap());
                                window[1] += i64::from(size) - 65_535;
                            }
                        }
                    }
                    _ => {}
                }
            };
            // NO_ERROR: the answer counts (RFC 9113, 8.1).
            assert_eq!(reset.payload, [0; 4], "{idle}");
            assert!(start.elapsed() < PATIENCE, "{idle}");
            assert!(sent < 8 << 20, "{sent} bytes were read");
            assert!(client.until_ping(1).await.is_empty());
        }
        let rise = resident(&mut server).saturating_sub(before);
        assert!(rise < 16 << 20, "{rise} bytes more in use");
        assert_serves(&mut honest).await;
    });
}

/// As many as a connection may have, on several of them, each with a piece of a body.
#[test]
fn bodies_that_nobody_wants_cost_no_memory() {
    harness::run(async {
        let mut server = start();
        let mut honest = server.client(Who::Admin, Protocol::H2).await;
        assert_serves(&mut honest).await;
        let before = resident(&mut server);
        let mut clients = Vec::new();
        for _ in 0..8 {
            let mut client = Frames::connect(&server, Who::Other).await;
            for number in 0..100 {
                let stream = number * 2 + 1;
                client.begin(stream, "PUT", "/v1/key/import/k").await;
                client.send(&frame(Frame::DATA, 0, stream, &[b' '; 4_000])).await;
            }
            client.until_ping(1).await;
            clients.push(client);
        }
        assert_serves(&mut honest).await;
        let rise = resident(&mut server).saturating_sub(before);
        assert!(rise < 32 << 20, "{rise} bytes more in use");
    });
}

/// Over HTTP/1.1 a connection goes on after a small body, and ends after an endless one.
#[test]
fn a_connection_goes_on_after_a_small_body_that_nobody_wanted() {
    harness::run(async {
        let server = start();
        for (who, method, path, status) in EARLY {
            let mut raw = Raw::connect(&server, who).await;
            for _ in 0..2 {
                let request = format!(
                    "{method} {path} HTTP/1.1\r\nhost: kes\r\ncontent-length: 300000\r\n\r\n"
                );
                raw.write(request).await;
                assert_eq!(raw.status().await, status, "{path}");
                raw.write(" ".repeat(300_000)).await;
            }
        }
        let mut tls = super::limits::tls(&server, Protocol::H1).await;
        let request = "PUT /v1/nothing HTTP/1.1\r\nhost: kes\r\ncontent-length: 900000\r\n\r\n ";
        tls.write_all(request.as_bytes()).await.unwrap();
        let answer = read_to_end(&mut tls).await;
        assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
        assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{answer}");
    });
}

/// Who asks before it sends is told so, and its body not waited for.
#[test]
fn who_waits_for_100_continue_is_refused_at_once() {
    harness::run(async {
        let server = start();
        for (who, method, path, status) in EARLY {
            let mut raw = Raw::connect(&server, who).await;
            let request = format!(
                "{method} {path} HTTP/1.1\r\nhost: kes\r\nexpect: 100-continue\r\n\
                 content-length: 300000\r\n\r\n"
            );
            raw.write(request).await;
            assert_eq!(raw.status().await, status, "{path}");
        }
        let mut admin = Raw::connect(&server, Who::Admin).await;
        admin.write("PUT /v1/key/create/k HTTP/1.1\r\nhost: kes\r\n\r\n").await;
        assert_eq!(admin.status().await, 200);
        let request = "PUT /v1/key/generate/k HTTP/1.1\r\nhost: kes\r\n\
                       expect: 100-continue\r\ncontent-length: 2\r\n\r\n";
        admin.write(request).await;
        assert_eq!(admin.status().await, 100);
        admin.write("{}").await;
        assert_eq!(admin.status().await, 200);
    });
}

/// Whatever curl there is. That of Debian 12 (7.88) lost most answers over HTTP/2.
#[test]
fn curl_shows_the_status() {
    let server = start();
    let openssl = Openssl::new();
    openssl.write("admin.crt", &server.admin.certificate_pem);
    openssl.write("admin.key", &server.admin.key_pem);
    openssl.write("other.crt", &server.other.certificate_pem);
    openssl.write("other.key", &server.other.key_pem);
    for (size, tries) in [(1, 2), (300_000, 3), (999_999, 2), (5_000_000, 1)] {
        openssl.write("body", " ".repeat(size));
        for (who, method, path, status) in EARLY {
            let client = match who {
                Who::Admin => Some(("admin.crt", "admin.key")),
                Who::Other => Some(("other.crt", "other.key")),
                Who::Minio | Who::Nobody => None,
            };
            // A name is looked at after the length.
            let status =
                if status == 400 && client.is_some() && size > 1_000_000 { 413 } else { status };
            for protocol in ["--http2", "--http1.1"] {
                let args = [protocol, "--request", method, "--data-binary", "@body"];
                for _ in 0..tries {
                    let curl = openssl.curl(&server, path, client, Tls::V1_3, &args);
                    let seen = (curl.status, curl.error.as_str());
                    assert_eq!(seen, (status, ""), "{protocol} {size} {method} {path}");
                }
            }
        }
    }
}

/// A body that a route does not take is no reason to lose a success either.
#[test]
fn a_success_arrives_beside_a_body_that_nobody_wanted() {
    let server = start();
    let openssl = Openssl::new();
    openssl.write("admin.crt", &server.admin.certificate_pem);
    openssl.write("admin.key", &server.admin.key_pem);
    for size in [1, 300_000, 1_500_000] {
        openssl.write("body", " ".repeat(size));
        for protocol in ["--http2", "--http1.1"] {
            for path in ["/version", "/v1/status"] {
                let args = [protocol, "--request", "GET", "--data-binary", "@body"];
                let client = Some(("admin.crt", "admin.key"));
                let curl = openssl.curl(&server, path, client, Tls::V1_3, &args);
                assert_eq!(
                    (curl.status, curl.error.as_str()),
                    (200, ""),
                    "{protocol} {size} {path}"
                );
            }
        }
    }
}
