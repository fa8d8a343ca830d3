//! Who is at the other end of a connection, found out once.

use std::net::SocketAddr;

use kes_api::Identity;
use kes_api::identity::NoIdentity;
use rustls::ServerConnection;

/// The other end of a connection.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    /// Its address.
    pub(crate) address: SocketAddr,
    /// Its identity, or why it has none.
    pub(crate) identity: Result<Identity, NoIdentity>,
    /// How many certificates it sent. Some but no identity is worth a line in the log.
    pub(crate) certificates: usize,
}

impl Peer {
    /// Reads the identity off a finished handshake. A resumed session has the certificates of
    /// the one that it resumes.
    pub(crate) fn of_connection(address: SocketAddr, tls: &ServerConnection) -> Self {
        let chain = tls.peer_certificates().unwrap_or_default();
        let identity = Identity::of_peer(chain.iter().map(AsRef::as_ref));
        // A client that comes over IPv4 to an IPv6 socket keeps the address that it has.
        let address = SocketAddr::new(address.ip().to_canonical(), address.port());
        Self { address, identity, certificates: chain.len() }
    }
}
