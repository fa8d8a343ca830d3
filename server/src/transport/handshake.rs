//! The handshake of a connection. One that fails is told in the log, unless the client only went
//! away, which health checks do.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use self::first::First;
use crate::lifecycle::state::Shared;
use crate::observe::logging::repeats::Event;
use crate::transport::peer::Peer;
use crate::transport::socket::Socket;
use crate::transport::tls::refused::{self, Refused};

/// What a client says first.
mod first;

/// Why a handshake failed.
mod failure;

/// A TCP connection that has not finished its handshake by then is closed.
const HANDSHAKE: Duration = Duration::from_secs(5);

/// How long a client may take to read why its handshake failed.
pub(crate) const LAST_WORDS: Duration = Duration::from_millis(500);

/// Shakes hands with a client. `None` if that failed.
pub(crate) async fn shake_hands(
    shared: &Shared,
    stream: TcpStream,
) -> Option<(TlsStream<Socket>, Arc<Peer>)> {
    let address = canonical(stream.peer_addr().ok()?);
    let deadline = Instant::now() + HANDSHAKE;
    match timeout_at(deadline, first::of(&stream)).await {
        Ok(First::Tls) => tls(shared, stream, address, deadline).await,
        Ok(First::Http(request)) => {
            fail(shared, address.ip(), first::HTTP_REQUEST, None);
            let _ = timeout(LAST_WORDS, refuse_http(stream, request)).await;
            None
        }
        Ok(First::Gone) => None,
        Err(_) => {
            fail(shared, address.ip(), &failure::too_slow(HANDSHAKE), None);
            None
        }
    }
}

async fn tls(
    shared: &Shared,
    stream: TcpStream,
    address: SocketAddr,
    deadline: Instant,
) -> Option<(TlsStream<Socket>, Arc<Peer>)> {
    let socket = Socket::new(stream).ok()?;
    let accept =
        TlsAcceptor::from(Arc::clone(&shared.tls.load().config)).accept(socket).into_fallible();
    let (result, certificate) = refused::watch(timeout_at(deadline, accept)).await;
    match result {
        Ok(Ok(tls)) => {
            let peer = Arc::new(Peer::of_connection(address, tls.get_ref().1));
            explain_nobody(shared, &peer);
            return Some((tls, peer));
        }
        Ok(Err((error, socket))) => {
            // Before the last words: the server may stop while they are read.
            match failure::reason(&error, certificate.as_ref()) {
                Some(reason) => fail(shared, address.ip(), &reason, certificate),
                None => tracing::debug!(
                    req.ip = %address.ip(),
                    "the client went away during the TLS handshake: {error}"
                ),
            }
            let _ = timeout(LAST_WORDS, last_words(socket)).await;
        }
        Err(_) => fail(shared, address.ip(), &failure::too_slow(HANDSHAKE), None),
    }
    None
}

/// Counts a failed handshake and tells of it.
fn fail(shared: &Shared, ip: IpAddr, reason: &str, certificate: Option<Refused>) {
    shared.metrics.handshake_errors.inc();
    let (subject, identity) = match certificate {
        Some(Refused { subject, identity, .. }) => (Some(subject), identity),
        None => (None, None),
    };
    let message = format!("TLS handshake with {ip} failed: {reason}");
    shared.repeats.tell(Event { ip: Some(ip), message, subject, identity });
}

/// A certificate that names nobody is told: the client only reads that it has none.
fn explain_nobody(shared: &Shared, peer: &Peer) {
    let Err(reason) = &peer.identity else { return };
    if peer.certificates > 0 {
        let message = format!(
            "the client's certificate gives no identity: {reason}. The client must send exactly one \
             certificate that is not a CA certificate (basicConstraints CA:TRUE, as \
             `openssl req -x509` makes them)"
        );
        let ip = Some(peer.address.ip());
        shared.repeats.tell(Event { ip, message, subject: None, identity: None });
    }
}

/// A client that comes over IPv4 to an IPv6 socket keeps the address that it has.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// Tells a client that speaks plain HTTP, in plain HTTP, what is wrong.
async fn refuse_http(mut stream: TcpStream, request: first::Request) -> io::Result<()> {
    stream.write_all(request.refusal().as_bytes()).await?;
    last_words(stream).await
}

/// Lets the client read what it was sent last, such as the alert that tells why its handshake
/// failed. A socket that is closed with unread bytes is reset, and the last words are lost: so
/// what the client still sends is read, and thrown away.
async fn last_words(mut socket: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<()> {
    socket.shutdown().await?;
    let mut bytes = [0; 1024];
    while socket.read(&mut bytes).await? > 0 {}
    Ok(())
}
