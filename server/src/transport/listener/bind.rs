//! Listening sockets.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use kes_config::Address;
use rustix::event::{self, PollFd, PollFlags, Timespec};
use rustix::net::{self, SocketFlags, sockopt};
use tokio::net::{TcpListener, TcpSocket, TcpStream, lookup_host};

/// How many connections may wait to be accepted. The system lowers it to `net.core.somaxconn`.
const BACKLOG: u32 = 1024;

/// Binds an address, and listens.
///
/// An unspecified address (`0.0.0.0:7373`, `:7373`) includes IPv6 (contract `api.md`, Transport):
/// one socket takes both families, so that port 0 is one port for both.
pub(crate) async fn listen(
    address: &Address,
    beside: Option<&TcpListener>,
) -> io::Result<TcpListener> {
    let (host, port) = (address.host(), address.port());
    if is_any(host) {
        return match bind((Ipv6Addr::UNSPECIFIED, port).into(), beside) {
            Ok(socket) => Ok(socket),
            Err(error) if lacks_ipv6(&error) => bind((Ipv4Addr::UNSPECIFIED, port).into(), beside),
            Err(error) => Err(error),
        };
    }
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for candidate in lookup_host((host, port)).await? {
        match bind(candidate, beside) {
            Ok(socket) => return Ok(socket),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Whether two addresses stand for the same socket.
pub(super) fn is_same(one: &Address, other: &Address) -> bool {
    one == other || (one.port() == other.port() && is_any(one.host()) && is_any(other.host()))
}

fn is_any(host: &str) -> bool {
    host.is_empty() || host == "0.0.0.0"
}

/// Whether the system lacks IPv6: it was compiled without it, or has it switched off.
fn lacks_ipv6(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrNotAvailable
        || error.raw_os_error() == Some(rustix::io::Errno::AFNOSUPPORT.raw_os_error())
}

/// `beside` is a listener of this server whose address may overlap with the new one, and that is
/// closed once the new one listens. The system lets both have the port if both allow it.
fn bind(address: SocketAddr, beside: Option<&TcpListener>) -> io::Result<TcpListener> {
    let socket = if address.is_ipv6() { TcpSocket::new_v6()? } else { TcpSocket::new_v4()? };
    socket.set_reuseaddr(true)?;
    if address.ip() == Ipv6Addr::UNSPECIFIED {
        // Independent of `net.ipv6.bindv6only`.
        sockopt::set_ipv6_v6only(&socket, false)?;
    }
    let Some(old) = beside else {
        socket.bind(address)?;
        return socket.listen(BACKLOG);
    };
    sockopt::set_socket_reuseport(&socket, true)?;
    sockopt::set_socket_reuseport(old, true)?;
    let bound = socket.bind(address).and_then(|()| socket.listen(BACKLOG));
    // No other process may share the port.
    sockopt::set_socket_reuseport(old, false)?;
    if let Ok(socket) = &bound {
        sockopt::set_socket_reuseport(socket, false)?;
    }
    bound
}

/// The next connection that waits to be accepted, asked of the system itself: tokio only knows of
/// what its reactor has seen, which on a busy machine is not all that has connected.
pub(super) fn queued(listener: &TcpListener) -> Option<TcpStream> {
    let connected =
        net::accept_with(listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK).ok()?;
    TcpStream::from_std(connected.into()).ok()
}

/// Whether a connection waits to be accepted.
pub(super) fn has_queued(listener: &TcpListener) -> bool {
    let mut listening = [PollFd::new(listener, PollFlags::IN)];
    event::poll(&mut listening, Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
}

/// What an operator can do about an error of binding an address; begins with a semicolon.
pub(crate) fn hint(address: &Address, reason: &io::Error) -> &'static str {
    match reason.kind() {
        io::ErrorKind::PermissionDenied if address.port() < 1024 => {
            "; ports below 1024 need CAP_NET_BIND_SERVICE: add it to AmbientCapabilities and \
             CapabilityBoundingSet of the systemd unit, or use another port such as 7373"
        }
        io::ErrorKind::AddrNotAvailable => "; no interface of this machine has that address",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Address {
        text.parse().unwrap()
    }

    #[tokio::test]
    async fn all_interfaces_are_those_of_ipv6_as_well_on_one_port() {
        let has_ipv6 = std::net::TcpListener::bind("[::1]:0").is_ok();
        for text in ["0.0.0.0:0", ":0"] {
            let socket = listen(&address(text), None).await.unwrap();
            let port = socket.local_addr().unwrap().port();
            assert!(TcpStream::connect(("127.0.0.1", port)).await.is_ok(), "{text}");
            assert_eq!(TcpStream::connect(("::1", port)).await.is_ok(), has_ipv6, "{text}");
        }
    }

    #[tokio::test]
    async fn an_address_of_one_family_stays_with_it() {
        let socket = listen(&address("127.0.0.1:0"), None).await.unwrap();
        let port = socket.local_addr().unwrap().port();
        assert!(TcpStream::connect(("127.0.0.1", port)).await.is_ok());
        assert!(TcpStream::connect(("::1", port)).await.is_err());
    }

    #[tokio::test]
    async fn a_port_that_is_taken_is_refused() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        for host in ["0.0.0.0", "", "127.0.0.1"] {
            let error = listen(&address(&format!("{host}:{port}")), None).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::AddrInUse, "{host}");
        }
    }

    /// Nobody awaits in between, so that the reactor cannot have seen the connections.
    #[tokio::test]
    async fn connections_that_only_the_system_knows_of_are_found() {
        let socket = listen(&address("127.0.0.1:0"), None).await.unwrap();
        let to = socket.local_addr().unwrap();
        let clients = [to; 3].map(|to| std::net::TcpStream::connect(to).unwrap());
        for _ in &clients {
            assert!(has_queued(&socket));
            assert!(queued(&socket).is_some());
        }
        assert!(!has_queued(&socket));
        assert!(queued(&socket).is_none());
    }

    /// From all interfaces to one and back: the addresses overlap, and the old socket listens
    /// until the new one does.
    #[tokio::test]
    async fn a_socket_takes_the_port_over_from_an_overlapping_one() {
        let mut current = listen(&address("0.0.0.0:0"), None).await.unwrap();
        let port = current.local_addr().unwrap().port();
        for host in ["127.0.0.1", "0.0.0.0", "localhost"] {
            let next = address(&format!("{host}:{port}"));
            assert!(listen(&next, None).await.is_err(), "{host}: it does not overlap");
            let new = listen(&next, Some(&current)).await.unwrap();
            current = new;
            assert!(TcpStream::connect(("127.0.0.1", port)).await.is_ok(), "{host}");
            // A second server that is started by mistake cannot share the port.
            assert!(listen(&next, None).await.is_err(), "{host}");
        }
    }

    #[test]
    fn addresses_that_mean_the_same() {
        assert!(is_same(&address("0.0.0.0:1"), &address(":1")));
        assert!(!is_same(&address("0.0.0.0:1"), &address(":2")));
        assert!(!is_same(&address("0.0.0.0:1"), &address("127.0.0.1:1")));
    }

    #[test]
    fn what_to_do_about_a_port_is_told() {
        let hint = |text: &str, kind: io::ErrorKind| hint(&address(text), &kind.into());
        let denied = hint("0.0.0.0:443", io::ErrorKind::PermissionDenied);
        assert!(denied.contains("CAP_NET_BIND_SERVICE"), "{denied}");
        assert_eq!(hint("0.0.0.0:7373", io::ErrorKind::PermissionDenied), "");
        let elsewhere = hint("192.0.2.1:7373", io::ErrorKind::AddrNotAvailable);
        assert!(elsewhere.contains("no interface"), "{elsewhere}");
        assert_eq!(hint("0.0.0.0:443", io::ErrorKind::AddrInUse), "");
    }
}
