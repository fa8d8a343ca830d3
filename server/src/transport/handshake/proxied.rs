//! The address of a client whose connection a load balancer passes on: the balancer tells it in a
//! header before the first byte of TLS (contract `config.md`, PROXY protocol).

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

use crate::transport::proxy_header::{self, Fault, parse};

/// How long to wait for more bytes of a header that arrives in pieces.
const PAUSE: Duration = Duration::from_millis(20);

/// What a load balancer tells of a connection.
pub(super) enum Told {
    /// The address of its client; `None` if it speaks for itself.
    Client(Option<SocketAddr>),
    /// Nothing that can be used.
    Fault(Fault),
    /// It has closed the connection without a word, as a check does whether the port is open.
    Closed,
}

/// Reads the header, and not a byte more. The caller limits the time.
pub(super) async fn header(stream: &mut TcpStream) -> io::Result<Told> {
    let mut bytes = vec![0; proxy_header::MAX];
    let mut seen = 0;
    loop {
        let len = stream.peek(&mut bytes).await?;
        if len == 0 {
            return Ok(Told::Closed);
        }
        match parse(bytes.get(..len).unwrap_or_default()) {
            Ok(Some(header)) => {
                let header_bytes = bytes.get_mut(..header.len).unwrap_or_default();
                stream.read_exact(header_bytes).await?;
                return Ok(Told::Client(header.client));
            }
            Ok(None) => {}
            Err(fault) => return Ok(Told::Fault(fault)),
        }
        if len == seen {
            tokio::time::sleep(PAUSE).await;
        }
        seen = len;
    }
}
