//! What a client says first: a probe without `scheme: HTTPS` speaks plain HTTP, and has to be told
//! so in plain HTTP (contract `api.md`, Transport).

use std::time::Duration;

use tokio::net::TcpStream;

/// The reason that the log reads of a plain HTTP request.
pub(super) const HTTP_REQUEST: &str =
    "the client sent an HTTP request to an HTTPS server; its URL or probe needs the scheme https";

/// What a client sees of it.
const BODY: &str = "Client sent an HTTP request to an HTTPS server.\n";

/// What a request line may begin with. The last one is HTTP/2 without TLS.
const METHODS: [&[u8]; 10] = [
    b"GET ",
    b"HEAD ",
    b"POST ",
    b"PUT ",
    b"DELETE ",
    b"OPTIONS ",
    b"PATCH ",
    b"CONNECT ",
    b"TRACE ",
    b"PRI * HTTP/2.0",
];

/// As many bytes as the longest of [`METHODS`].
const ENOUGH: usize = 14;

/// How long to wait for more of a first word that came in pieces.
const PAUSE: Duration = Duration::from_millis(20);

/// What a client says first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum First {
    /// TLS, or what only TLS can judge.
    Tls,
    /// A request of plain HTTP.
    Http(Request),
    /// Nothing: it has closed the connection.
    Gone,
}

/// A request of plain HTTP, of which no more is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Request {
    is_head: bool,
}

/// Waits for the first bytes, and leaves them where they are: what is TLS is read again.
pub(super) async fn of(stream: &TcpStream) -> First {
    let mut bytes = [0; ENOUGH];
    let mut seen = 0;
    loop {
        let Ok(len) = stream.peek(&mut bytes).await else { return First::Gone };
        // The end of what was sent looks the same as no more of it yet.
        if len == 0 {
            return First::Gone;
        }
        if let Some(first) = judge(&bytes[..len]) {
            return first;
        }
        if len == seen {
            tokio::time::sleep(PAUSE).await;
        }
        seen = len;
    }
}

/// `None` if it takes more bytes to say.
fn judge(bytes: &[u8]) -> Option<First> {
    for method in METHODS {
        if bytes.starts_with(method) {
            return Some(First::Http(Request { is_head: method == b"HEAD " }));
        }
        if method.starts_with(bytes) {
            return None;
        }
    }
    Some(First::Tls)
}

impl Request {
    /// The answer.
    pub(super) fn refusal(self) -> String {
        let length = BODY.len();
        let body = if self.is_head { "" } else { BODY };
        format!(
            "HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain; charset=utf-8\r\n\
             content-length: {length}\r\nconnection: close\r\n\r\n{body}"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_is_told_from_tls_by_its_first_bytes() {
        let http = |is_head| Some(First::Http(Request { is_head }));
        for (bytes, first) in [
            (&b"GET / HTTP/1.1"[..], http(false)),
            (b"GET /", http(false)),
            (b"HEAD /v1/ready", http(true)),
            (b"PRI * HTTP/2.0", http(false)),
            (b"OPTIONS * HTTP", http(false)),
            // It may become one.
            (b"G", None),
            (b"PUT", None),
            (b"PRI * HTTP/", None),
            // TLS, and what is neither.
            (&[0x16, 3, 1, 2, 0], Some(First::Tls)),
            (b"SSH-2.0-", Some(First::Tls)),
            (b"get / HTTP/1.1", Some(First::Tls)),
            (b"GETX / HTTP", Some(First::Tls)),
            (b"PRI / HTTP/1.1", Some(First::Tls)),
        ] {
            assert_eq!(judge(bytes), first, "{:?}", String::from_utf8_lossy(bytes));
        }
        assert_eq!(METHODS.map(<[u8]>::len).into_iter().max(), Some(ENOUGH));
    }
}
