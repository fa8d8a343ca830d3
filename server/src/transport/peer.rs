//! Who is at the other end of a connection, found out once.

use std::net::SocketAddr;
use std::time::SystemTime;

use kes_api::identity::NoIdentity;
use kes_api::{Identity, Timestamp};
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
    /// When the first of them ends, where it says so.
    until: Option<SystemTime>,
}

impl Peer {
    /// Reads the identity off a finished handshake. A resumed session has the certificates of
    /// the one that it resumes.
    pub(crate) fn of_connection(address: SocketAddr, tls: &ServerConnection) -> Self {
        let chain = tls.peer_certificates().unwrap_or_default();
        let identity = Identity::of_peer(chain.iter().map(AsRef::as_ref));
        let validity = chain.first().and_then(|leaf| kes_tls::validity(leaf).ok());
        let until = validity.map(|validity| validity.until);
        Self { address, identity, certificates: chain.len(), until }
    }

    /// What belongs into the log beside a refusal: without `tls.auth: on` an expired certificate
    /// is let in, and whoever looks for the reason of a refusal should know.
    pub(crate) fn remark(&self) -> Option<String> {
        let until = self.until.filter(|until| *until < SystemTime::now())?;
        let until = Timestamp::from(until).to_table();
        Some(format!("the client's certificate expired on {until} UTC"))
    }
}
