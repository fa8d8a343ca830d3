//! The client of a connection and its identity, determined once after the handshake.

use std::net::SocketAddr;
use std::sync::atomic::AtomicUsize;
use std::time::SystemTime;

use kes_api::identity::NoIdentity;
use kes_api::{Identity, Timestamp};
use rustls::ServerConnection;

/// The client of a connection.
#[derive(Debug)]
pub(crate) struct Peer {
    /// Its address.
    pub(crate) address: SocketAddr,
    /// Its identity, or why it has none.
    pub(crate) identity: Result<Identity, NoIdentity>,
    /// How many certificates it sent. Certificates without an identity are logged.
    pub(crate) certificates: usize,
    /// When the first of them expires, if it could be read.
    until: Option<SystemTime>,
    /// How many requests of this connection wait for memory.
    pub(crate) waiting: AtomicUsize,
}

impl Peer {
    /// Reads the identity from a finished handshake. A resumed session has the certificates of
    /// the session that it resumes.
    pub(crate) fn of_connection(address: SocketAddr, tls: &ServerConnection) -> Self {
        let chain = tls.peer_certificates().unwrap_or_default();
        let identity = Identity::of_peer(chain.iter().map(AsRef::as_ref));
        let validity = chain.first().and_then(|leaf| kes_tls::validity(leaf).ok());
        let until = validity.map(|validity| validity.until);
        let (certificates, waiting) = (chain.len(), AtomicUsize::new(0));
        Self { address, identity, certificates, until, waiting }
    }

    /// What the log adds to a refusal: without `tls.auth: on` the server accepts an expired
    /// certificate, which may be why the client has lost its rights.
    pub(crate) fn remark(&self) -> Option<String> {
        let until = self.until.filter(|until| *until < SystemTime::now())?;
        let until = Timestamp::from(until).to_table();
        Some(format!("the client's certificate expired on {until} UTC"))
    }
}

#[cfg(test)]
impl Peer {
    /// A client that was never connected.
    pub(crate) fn unconnected(identity: Result<Identity, NoIdentity>) -> Self {
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        let waiting = AtomicUsize::new(0);
        Self { address, identity, certificates: 1, until: None, waiting }
    }
}
