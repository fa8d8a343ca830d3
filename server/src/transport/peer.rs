//! The client of a connection and its identity, determined once after the handshake.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::SystemTime;

use kes_api::identity::NoIdentity;
use kes_api::{Identity, Timestamp};
use kes_tls::Validity;
use rustls::ServerConnection;
use rustls::pki_types::CertificateDer;

use crate::observe::logging::stream::Reader;

/// The client of a connection, or of a request that a TLS proxy forwards.
#[derive(Debug)]
pub(crate) struct Peer {
    /// Its address.
    pub(crate) address: SocketAddr,
    /// Its identity, or why it has none.
    pub(crate) identity: Result<Identity, NoIdentity>,
    /// The certificates that it sent, or that the proxy forwarded, to decide anew whether they are
    /// accepted.
    pub(super) chain: Box<[CertificateDer<'static>]>,
    /// When the first of them is valid, if it could be read.
    pub(super) validity: Option<Validity>,
    connection: Arc<Connection>,
    /// The proxy that forwards its request.
    via: Option<Via>,
}

/// What all clients of a connection share.
#[derive(Debug)]
struct Connection {
    /// How many requests of the client wait for memory.
    waiting: AtomicUsize,
    /// The generation of the TLS configuration that the certificates of the handshake were accepted
    /// under; [`LAPSED`] if a later one does not accept them.
    accepted_under: AtomicU64,
}

/// How a client comes through a TLS proxy.
#[derive(Debug)]
struct Via {
    /// The identity of the proxy.
    proxy: Option<Identity>,
    /// Why the client has no identity, if the proxy forwarded no valid certificate.
    fault: Option<String>,
    /// Whether the certificate that it forwarded is no longer accepted.
    has_lapsed: AtomicBool,
}

impl Connection {
    fn accepted_under(generation: u64) -> Arc<Self> {
        let (waiting, accepted_under) = (AtomicUsize::new(0), AtomicU64::new(generation));
        Arc::new(Self { waiting, accepted_under })
    }
}

/// No generation.
const LAPSED: u64 = 0;

impl Peer {
    /// Reads the identity from a finished handshake. A resumed session has the certificates of
    /// the session that it resumes.
    pub(super) fn of_connection(
        address: SocketAddr,
        tls: &ServerConnection,
        generation: u64,
    ) -> Self {
        let chain = tls.peer_certificates().unwrap_or_default();
        let identity = Identity::of_peer(chain.iter().map(AsRef::as_ref));
        let (validity, connection) = (validity(chain), Connection::accepted_under(generation));
        Self { address, identity, chain: chain.into(), validity, connection, via: None }
    }

    /// The client of a request that this one forwards, or why it has no valid certificate. It is
    /// accepted for no longer than this one is.
    pub(super) fn forwarding(
        &self,
        address: SocketAddr,
        chain: Result<Vec<CertificateDer<'static>>, String>,
    ) -> Self {
        let (identity, chain, fault) = match chain {
            Ok(chain) => (Identity::of_peer(chain.iter().map(AsRef::as_ref)), chain.into(), None),
            Err(fault) => (Err(NoIdentity::Missing), Box::default(), Some(fault)),
        };
        let has_lapsed = AtomicBool::new(false);
        let via = Some(Via { proxy: self.identity.ok(), fault, has_lapsed });
        let (validity, connection) = (validity(&chain), Arc::clone(&self.connection));
        Self { address, identity, chain, validity, connection, via }
    }

    /// The certificates that it sent, or that the proxy forwarded.
    pub(crate) fn chain(&self) -> &[CertificateDer<'static>] {
        &self.chain
    }

    /// Whether its request comes through a TLS proxy.
    pub(crate) fn is_forwarded(&self) -> bool {
        self.via.is_some()
    }

    /// How many requests of its connection wait for memory; `None` if other clients share that.
    pub(crate) fn waiting(&self) -> Option<&AtomicUsize> {
        self.via.is_none().then_some(&self.connection.waiting)
    }

    /// Whether the certificates of its connection were accepted under this generation of the TLS configuration.
    pub(super) fn is_accepted_under(&self, generation: u64) -> bool {
        self.connection.accepted_under.load(Ordering::Relaxed) == generation
    }

    /// Notes that they are accepted under a generation.
    pub(super) fn accept_under(&self, generation: u64) {
        self.connection.accepted_under.store(generation, Ordering::Relaxed);
    }

    /// Notes that its own certificates are no longer accepted, which is final. Those of a client
    /// behind a proxy do not concern the connection.
    pub(super) fn lapse(&self) {
        match &self.via {
            None => self.connection.accepted_under.store(LAPSED, Ordering::Relaxed),
            Some(via) => via.has_lapsed.store(true, Ordering::Relaxed),
        }
    }

    /// Whether they, or those of its proxy, are no longer accepted: the client may get nothing more.
    pub(crate) fn has_lapsed(&self) -> bool {
        self.is_accepted_under(LAPSED)
            || self.via.as_ref().is_some_and(|via| via.has_lapsed.load(Ordering::Relaxed))
    }

    /// What the log adds to a refusal: without `tls.auth: on` the server accepts an expired
    /// certificate, which may be why the client has lost its rights; or a TLS proxy may have
    /// forwarded no valid one.
    pub(crate) fn remark(&self) -> Option<String> {
        if let Some(fault) = self.via.as_ref().and_then(|via| via.fault.clone()) {
            return Some(fault);
        }
        let until = self.validity.map(|validity| validity.until);
        let until = until.filter(|until| *until < SystemTime::now())?;
        let until = Timestamp::from(until).to_table();
        Some(format!("the client's certificate expired on {until} UTC"))
    }
}

impl Reader for Peer {
    fn identity(&self) -> Option<Identity> {
        self.identity.ok()
    }

    fn proxy(&self) -> Option<Identity> {
        self.via.as_ref()?.proxy
    }

    fn has_lapsed(&self) -> bool {
        Self::has_lapsed(self)
    }
}

/// When the first of some certificates is valid.
fn validity(chain: &[CertificateDer<'_>]) -> Option<Validity> {
    chain.first().and_then(|leaf| kes_tls::validity(leaf).ok())
}

#[cfg(test)]
impl Peer {
    /// A client that was never connected.
    pub(crate) fn unconnected(identity: Result<Identity, NoIdentity>) -> Self {
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        let connection = Connection::accepted_under(1);
        Self { address, identity, chain: Box::default(), validity: None, connection, via: None }
    }

    /// The same, of which the certificate is no longer accepted.
    pub(crate) fn lapsed(identity: Identity) -> Self {
        let peer = Self::unconnected(Ok(identity));
        peer.lapse();
        peer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lapsed_is_accepted_under_no_generation() {
        let peer = Peer::unconnected(Err(NoIdentity::Missing));
        assert!(peer.is_accepted_under(1) && !peer.is_accepted_under(2) && !peer.has_lapsed());
        peer.accept_under(2);
        assert!(peer.is_accepted_under(2) && !peer.is_accepted_under(1));
        peer.lapse();
        assert!(peer.has_lapsed() && !peer.is_accepted_under(1) && !peer.is_accepted_under(2));
    }

    #[test]
    fn a_client_behind_a_proxy_lapses_alone_and_with_its_proxy() {
        let proxy = Peer::unconnected(Ok(Identity::of_public_key(b"proxy")));
        let [one, other] = [(); 2].map(|()| proxy.forwarding(proxy.address, Ok(Vec::new())));
        one.lapse();
        assert!(one.has_lapsed() && !other.has_lapsed() && !proxy.has_lapsed());
        proxy.lapse();
        assert!(one.has_lapsed() && other.has_lapsed() && proxy.has_lapsed());
    }
}
