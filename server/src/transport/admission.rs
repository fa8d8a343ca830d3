//! Decides anew whether the client of an open connection is accepted, once the TLS configuration was
//! replaced.

use std::sync::Arc;

use http::HeaderMap;
use rustls::pki_types::CertificateDer;

use super::endpoint::{Endpoint, Service};
use super::forwarded;
use super::peer::Peer;
use super::tls::current::reason;
use crate::observe::logging::repeats::Event;

/// The client of one connection, and what decides on it.
pub(super) struct Admission<S> {
    endpoint: Arc<Endpoint<S>>,
    peer: Arc<Peer>,
}

impl<S: Service> Admission<S> {
    pub(super) fn new(endpoint: Arc<Endpoint<S>>, peer: Arc<Peer>) -> Self {
        Self { endpoint, peer }
    }

    /// The client.
    pub(super) fn peer(&self) -> &Arc<Peer> {
        &self.peer
    }

    /// What answers its requests.
    pub(super) fn service(&self) -> &Arc<S> {
        &self.endpoint.service
    }

    /// The client of a request: that of the connection, or of the TLS proxy whose connection it is.
    pub(super) fn client_of(&self, headers: &HeaderMap) -> Arc<Peer> {
        match self.service().forwards_in(&self.peer) {
            None => Arc::clone(&self.peer),
            Some(header) => {
                let accepts = |chain: &[CertificateDer<'_>]| self.endpoint.tls.accepts(chain);
                forwarded::client(&self.peer, headers, &header, accepts)
            }
        }
    }

    /// Whether the client is still accepted. For each request this costs a comparison with the
    /// generation of the TLS configuration, unless that was replaced.
    pub(super) fn holds(&self) -> bool {
        self.peer.is_accepted_under(self.endpoint.tls.generation()) || self.decide()
    }

    #[cold]
    fn decide(&self) -> bool {
        if self.peer.has_lapsed() {
            return false;
        }
        match self.endpoint.tls.accepts(&self.peer.chain) {
            Ok(generation) => {
                self.peer.accept_under(generation);
                true
            }
            Err(error) => {
                self.peer.lapse();
                self.endpoint.service.peer_lapsed();
                self.log(&error);
                false
            }
        }
    }

    fn log(&self, error: &rustls::Error) {
        let ip = self.peer.address.ip();
        let message = format!(
            "the connection with {ip} is closed: its client certificate is no longer accepted: it {}",
            reason(error)
        );
        let identity = self.peer.identity.ok();
        self.endpoint.repeats.log(Event { ip: Some(ip), message, subject: None, identity });
    }
}
