//! A server may refuse a request before it has read its body, and then end the stream or the
//! connection. The refusal is what the caller is told.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use kes_api::SecretBytes;
use kes_api::body::EncryptRequest;
use kes_client::Error;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::stub::{Options, Stub, Tls, answer};

const REFUSAL: &str = r#"{"message":"not authorized: insufficient permissions"}"#;

/// How often each case is tried: what is lost is lost by chance.
const TRIES: usize = 20;

/// A request with a plaintext of so many bytes.
fn request(len: usize) -> EncryptRequest {
    EncryptRequest { plaintext: SecretBytes::new(vec![b'x'; len]), context: SecretBytes::default() }
}

async fn assert_told(stub: &Stub, request: &EncryptRequest, tries: usize, case: &str) {
    for attempt in 0..tries {
        let error = stub.client().encrypt("k", request).await.err().expect("a refusal");
        assert!(
            matches!(&error, Error::Status { status: 400, .. }),
            "{case}, attempt {attempt}: {error:?}"
        );
        assert_eq!(error.to_string(), "not authorized: insufficient permissions", "{case}");
    }
}

/// Reads the head of a request, and no more than came with it.
async fn read_head(tls: &mut Tls) {
    let mut bytes = Vec::new();
    while !bytes.windows(4).any(|window| window == b"\r\n\r\n") {
        assert_ne!(tls.read_buf(&mut bytes).await.expect("a request"), 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_over_http_1_before_the_connection_is_reset() {
    // The first fits into the buffers of both sockets, the second does not.
    for (len, tries) in [(100_000, TRIES), (8 * 1024 * 1024, 4)] {
        let stub = Stub::accepting(Options::default(), |mut tls| async move {
            read_head(&mut tls).await;
            let answer =
                answer("400 Bad Request\r\nconnection: close", "application/json", REFUSAL);
            tls.write_all(&answer).await.unwrap();
            tls.flush().await.unwrap();
            // Closed with what has arrived unread, which the system tells the client by a reset.
        })
        .await;
        assert_told(&stub, &request(len), tries, &format!("{len} bytes")).await;
    }
}

/// A frame of HTTP/2 (RFC 9113, 4.1) on stream 1, or on the connection for settings.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a short payload").to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

async fn read_frame(tls: &mut Tls) -> std::io::Result<(u8, Vec<u8>)> {
    let mut head = [0; 9];
    tls.read_exact(&mut head).await?;
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
    let mut payload = vec![0; usize::try_from(length).expect("24 bits")];
    tls.read_exact(&mut payload).await?;
    Ok((head[3], payload))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_over_http_2_before_the_stream_is_reset() {
    const DATA: u8 = 0;
    const HEADERS: u8 = 1;
    const RST_STREAM: u8 = 3;
    const SETTINGS: u8 = 4;
    const END_STREAM: u8 = 1;
    const END_HEADERS: u8 = 4;
    // `:status: 400` of the static table (RFC 7541, appendix A).
    const STATUS_400: u8 = 0x80 | 12;
    // NO_ERROR is what RFC 9113 wants; others send these.
    for code in [0_u32, 1, 5, 8, 11] {
        for ends_with_data in [true, false] {
            let options = Options { alpn: &[b"h2"], ..Options::default() };
            let resets = Arc::new(AtomicUsize::new(0));
            let count = Arc::clone(&resets);
            let stub = Stub::accepting(options, move |mut tls| {
                let count = Arc::clone(&count);
                async move {
                    let mut preface = [0; 24];
                    tls.read_exact(&mut preface).await.unwrap();
                    tls.write_all(&frame(SETTINGS, 0, 0, &[])).await.unwrap();
                    while read_frame(&mut tls).await.unwrap().0 != HEADERS {}
                    let mut answer = frame(HEADERS, END_HEADERS, 1, &[STATUS_400]);
                    let flags = if ends_with_data { END_STREAM } else { 0 };
                    answer.extend(frame(DATA, flags, 1, REFUSAL.as_bytes()));
                    answer.extend(frame(RST_STREAM, 0, 1, &code.to_be_bytes()));
                    // Before the client can have seen it.
                    count.fetch_add(1, Ordering::Relaxed);
                    tls.write_all(&answer).await.unwrap();
                    tls.flush().await.unwrap();
                    while read_frame(&mut tls).await.is_ok() {}
                }
            })
            .await;
            // More than the window of a stream takes in (64 KiB) before the server gives more.
            let case = format!("code {code}, END_STREAM {ends_with_data}");
            assert_told(&stub, &request(100_000), TRIES, &case).await;
            assert_eq!(resets.load(Ordering::Relaxed), TRIES, "{case}");
        }
    }
}
