//! The TLS handshake of a connection. A failed handshake is logged, unless the client only closed
//! the connection, as health checks do.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use self::proxied::Told;
use self::sniff::Protocol;
use super::ending::Ending;
use super::endpoint::Endpoint;
use super::idle::FIRST_REQUEST_TIMEOUT;
use super::peer::Peer;
use super::slots::Slot;
use super::socket::Socket;
use super::tls::refused::{self, Refused};
use crate::observe::logging::repeats::Event;

/// The address of a client behind a load balancer.
mod proxied;

/// TLS, or something else.
mod sniff;

/// Why a handshake failed.
mod failure;

/// A TCP connection that has not finished its handshake by then is closed.
const HANDSHAKE: Duration = Duration::from_secs(5);

/// How long a connection lingers after a failed handshake or an idle timeout, so that the client
/// can read the reason.
pub(super) const LINGER: Duration = Duration::from_millis(500);

/// Runs the TLS handshake with a client. `None` if it failed, or had not begun some time after the
/// server began to shut down.
pub(super) async fn handshake<S>(
    endpoint: &Endpoint<S>,
    mut stream: TcpStream,
    slot: &mut Slot,
    shutdown: watch::Receiver<Ending>,
) -> Option<(TlsStream<Socket>, Arc<Peer>)> {
    let from = canonical(stream.peer_addr().ok()?);
    let deadline = Instant::now() + HANDSHAKE;
    let begin = async {
        let address = if endpoint.is_balancer(from.ip()) {
            client_of(endpoint, &mut stream, from, deadline).await?
        } else {
            from
        };
        Some((address, timeout_at(deadline, sniff::protocol(&stream)).await))
    };
    let (address, protocol) = tokio::select! {
        biased;
        begun = begin => begun?,
        () = begins_in_vain(shutdown) => return None,
    };
    slot.begin_handshake();
    match protocol {
        Ok(Protocol::Tls) => tls(endpoint, stream, address, deadline).await,
        Ok(Protocol::Http(request)) => {
            fail(endpoint, address.ip(), sniff::HTTP_REQUEST, None);
            let _ = timeout(LINGER, refuse_http(stream, request)).await;
            None
        }
        Ok(Protocol::ProxyHeader) => {
            fail(endpoint, address.ip(), sniff::PROXY_HEADER, None);
            let _ = timeout(LINGER, linger(stream)).await;
            None
        }
        Ok(Protocol::Closed) => None,
        Err(_) => {
            fail(endpoint, address.ip(), &failure::too_slow(HANDSHAKE), None);
            None
        }
    }
}

/// Waits until the server has shut down for so long that a client that has sent nothing is not
/// waited for.
async fn begins_in_vain(mut shutdown: watch::Receiver<Ending>) {
    let _ = shutdown.wait_for(Ending::has_begun).await;
    tokio::time::sleep(Duration::from_millis(FIRST_REQUEST_TIMEOUT)).await;
}

/// The client whose connection a load balancer passes on, or the balancer itself. `None` if it does
/// not tell, as its configuration here demands: its own address must not pass for that of a client.
async fn client_of<S>(
    endpoint: &Endpoint<S>,
    stream: &mut TcpStream,
    balancer: SocketAddr,
    deadline: Instant,
) -> Option<SocketAddr> {
    let fault = match timeout_at(deadline, proxied::header(stream)).await {
        Ok(Ok(Told::Client(client))) => return Some(client.map_or(balancer, canonical)),
        Ok(Ok(Told::Fault(fault))) => fault.to_string(),
        Ok(Ok(Told::Closed) | Err(_)) => return None,
        Err(_) => format!("no PROXY protocol header within {} s", HANDSHAKE.as_secs()),
    };
    endpoint.metrics.proxy_header_errors.inc();
    let ip = balancer.ip();
    let message = format!(
        "connection from {ip} refused: {fault}; connections of addresses that proxy_protocol.from \
         names begin with one"
    );
    endpoint.repeats.log(Event { ip: Some(ip), message, subject: None, identity: None });
    None
}

async fn tls<S>(
    endpoint: &Endpoint<S>,
    stream: TcpStream,
    address: SocketAddr,
    deadline: Instant,
) -> Option<(TlsStream<Socket>, Arc<Peer>)> {
    let socket = Socket::new(stream).ok()?;
    // Read before the configuration: if that is replaced in between, the client is decided anew.
    let generation = endpoint.tls.generation();
    let config = Arc::clone(&endpoint.tls.load().config);
    let accept = TlsAcceptor::from(config).accept(socket).into_fallible();
    let (result, certificate) = refused::during(timeout_at(deadline, accept)).await;
    match result {
        Ok(Ok(tls)) => {
            let peer = Arc::new(Peer::of_connection(address, tls.get_ref().1, generation));
            explain_no_identity(endpoint, &peer);
            return Some((tls, peer));
        }
        Ok(Err((error, socket))) => {
            // Logged before the connection lingers: the server may stop meanwhile.
            match failure::reason(&error, certificate.as_ref()) {
                Some(reason) => fail(endpoint, address.ip(), &reason, certificate),
                None => tracing::debug!(
                    req.ip = %address.ip(),
                    "the client went away during the TLS handshake: {error}"
                ),
            }
            let _ = timeout(LINGER, linger(socket)).await;
        }
        Err(_) => fail(endpoint, address.ip(), &failure::too_slow(HANDSHAKE), None),
    }
    None
}

/// Counts a failed handshake and logs it.
fn fail<S>(endpoint: &Endpoint<S>, ip: IpAddr, reason: &str, certificate: Option<Refused>) {
    endpoint.metrics.handshake_errors.inc();
    let (subject, identity) = match certificate {
        Some(Refused { subject, identity, .. }) => (Some(subject), identity),
        None => (None, None),
    };
    let message = format!("TLS handshake with {ip} failed: {reason}");
    endpoint.repeats.log(Event { ip: Some(ip), message, subject, identity });
}

/// Logs why a client's certificate gives no identity: the client is only told that it has none.
fn explain_no_identity<S>(endpoint: &Endpoint<S>, peer: &Peer) {
    let Err(reason) = &peer.identity else { return };
    if !peer.chain.is_empty() {
        let message = format!(
            "the client's certificate gives no identity: {reason}. The client must send exactly one \
             certificate that is not a CA certificate (basicConstraints CA:TRUE, as \
             `openssl req -x509` makes them)"
        );
        let ip = Some(peer.address.ip());
        endpoint.repeats.log(Event { ip, message, subject: None, identity: None });
    }
}

/// The IPv4 address of a client that connects to an IPv6 socket over IPv4.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// Answers a client that speaks plain HTTP in plain HTTP.
async fn refuse_http(mut stream: TcpStream, request: sniff::Request) -> io::Result<()> {
    stream.write_all(request.refusal().as_bytes()).await?;
    linger(stream).await
}

/// Lets the client read what was sent last, such as the TLS alert with the reason of the failure.
/// The system resets a socket that is closed with unread data, and the client may lose what was
/// sent: so the server reads and discards what the client still sends.
async fn linger(mut socket: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<()> {
    socket.shutdown().await?;
    let mut bytes = [0; 1024];
    while socket.read(&mut bytes).await? > 0 {}
    Ok(())
}
