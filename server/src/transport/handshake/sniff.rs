//! Tells plain HTTP from TLS by the first bytes of a connection: a probe without `scheme: HTTPS`
//! speaks plain HTTP and gets its answer in plain HTTP (contract `api.md`, Transport).

use std::time::Duration;

use tokio::net::TcpStream;

/// Why a plain HTTP request is refused, for the log.
pub(super) const HTTP_REQUEST: &str =
    "the client sent an HTTP request to an HTTPS server; its URL or probe needs the scheme https";

/// The same for the client.
const BODY: &str = "Client sent an HTTP request to an HTTPS server.\n";

/// Why a connection that begins with a header of the PROXY protocol is refused, for the log.
pub(super) const PROXY_HEADER: &str = "the client sent a PROXY protocol header, which is read once, and from the addresses in \
     `proxy_protocol.from` alone: add that of the load balancer there, or turn the header off";

/// How a header of the PROXY protocol begins, in version 1 and 2.
const HEADERS: [&[u8]; 2] = [b"PROXY ", b"\r\n\r\n\0\r\nQUIT\n"];

/// The possible beginnings of a request line. The last one is HTTP/2 without TLS.
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

/// The length of the longest of [`METHODS`].
const ENOUGH: usize = 14;

/// How long to wait for more bytes of a method that arrives in pieces.
const PAUSE: Duration = Duration::from_millis(20);

/// What a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    /// TLS, or anything that is not HTTP: the TLS library refuses it.
    Tls,
    /// Plain HTTP.
    Http(Request),
    /// A header of the PROXY protocol.
    ProxyHeader,
    /// The client has closed the connection.
    Closed,
}

/// A request of plain HTTP, as far as its answer depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Request {
    is_head: bool,
}

/// Waits for the first bytes, and leaves them in the socket: the TLS library reads them again.
pub(super) async fn protocol(stream: &TcpStream) -> Protocol {
    let mut bytes = [0; ENOUGH];
    let mut seen = 0;
    loop {
        let Ok(len) = stream.peek(&mut bytes).await else { return Protocol::Closed };
        // The client has closed its side.
        if len == 0 {
            return Protocol::Closed;
        }
        if let Some(protocol) = classify(bytes.get(..len).unwrap_or_default()) {
            return protocol;
        }
        if len == seen {
            tokio::time::sleep(PAUSE).await;
        }
        seen = len;
    }
}

/// `None` if more bytes are needed to decide.
fn classify(bytes: &[u8]) -> Option<Protocol> {
    for method in METHODS {
        if bytes.starts_with(method) {
            return Some(Protocol::Http(Request { is_head: method == b"HEAD " }));
        }
        if method.starts_with(bytes) {
            return None;
        }
    }
    for header in HEADERS {
        if bytes.starts_with(header) {
            return Some(Protocol::ProxyHeader);
        }
        if header.starts_with(bytes) {
            return None;
        }
    }
    Some(Protocol::Tls)
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
        let http = |is_head| Some(Protocol::Http(Request { is_head }));
        for (bytes, protocol) in [
            (&b"GET / HTTP/1.1"[..], http(false)),
            (b"GET /", http(false)),
            (b"HEAD /v1/ready", http(true)),
            (b"PRI * HTTP/2.0", http(false)),
            (b"OPTIONS * HTTP", http(false)),
            // It may become a method.
            (b"G", None),
            (b"PUT", None),
            (b"PRI * HTTP/", None),
            (b"PROXY TCP4 10", Some(Protocol::ProxyHeader)),
            (b"\r\n\r\n\0\r\nQUIT\n\x21", Some(Protocol::ProxyHeader)),
            (b"PR", None),
            (b"\r\n", None),
            (b"PROXYS", Some(Protocol::Tls)),
            // TLS, and neither of them.
            (&[0x16, 3, 1, 2, 0], Some(Protocol::Tls)),
            (b"SSH-2.0-", Some(Protocol::Tls)),
            (b"get / HTTP/1.1", Some(Protocol::Tls)),
            (b"GETX / HTTP", Some(Protocol::Tls)),
            (b"PRI / HTTP/1.1", Some(Protocol::Tls)),
        ] {
            assert_eq!(classify(bytes), protocol, "{:?}", String::from_utf8_lossy(bytes));
        }
        assert_eq!(METHODS.map(<[u8]>::len).into_iter().max(), Some(ENOUGH));
    }
}
