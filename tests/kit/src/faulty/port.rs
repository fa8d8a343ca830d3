use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::OwnedFd;

use rustix::net::{
    AddressFamily, SocketFlags, SocketType, bind, getsockname, listen, socket_with, sockopt,
};

/// A port of this machine that stays reserved while nobody listens at it: connections to it are
/// refused then, and no other program can take it.
#[derive(Debug)]
pub(super) struct Port {
    address: SocketAddr,
    /// Bound, and never listening.
    _holder: OwnedFd,
}

impl Port {
    /// Takes a free one.
    pub(super) fn reserve() -> Self {
        let holder = bound(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
        let address = getsockname(&holder).expect("a bound socket has an address");
        let address = address.try_into().expect("it is one of IPv4");
        Self { address, _holder: holder }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn listen(&self) -> TcpListener {
        let socket = bound(self.address);
        listen(&socket, 1024).expect("a bound socket can listen");
        TcpListener::from(socket)
    }
}

/// Two sockets of one port: only one of them listens.
fn bound(address: SocketAddr) -> OwnedFd {
    // Not for the servers that tests start.
    let flags = SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None);
    let socket = socket.expect("the system has a socket");
    sockopt::set_socket_reuseport(&socket, true).expect("an option of every socket");
    bind(&socket, &address).expect("a port is free");
    socket
}
