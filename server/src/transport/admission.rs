//! Decides anew whether the client of an open connection is accepted, once the TLS configuration was
//! replaced.

use std::sync::{Arc, Weak};

use http::HeaderMap;
use parking_lot::Mutex;
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
    /// The clients of the requests that a TLS proxy has forwarded and that may still be served. Used
    /// by the task of the connection alone.
    forwarded: Mutex<Vec<Weak<Peer>>>,
}

/// Up to this many clients are noted before those whose requests have ended are looked for: fewer
/// are not worth the search, and their memory is some KiB.
const FEW_FORWARDED: usize = 64;

impl<S: Service> Admission<S> {
    pub(super) fn new(endpoint: Arc<Endpoint<S>>, peer: Arc<Peer>) -> Self {
        Self { endpoint, peer, forwarded: Mutex::default() }
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
                let client = forwarded::client(&self.peer, headers, &header, accepts);
                self.note_forwarded(&client);
                client
            }
        }
    }

    fn note_forwarded(&self, client: &Arc<Peer>) {
        let mut forwarded = self.forwarded.lock();
        // The list grows only if more than half of it is in use, so that a search is rare.
        if forwarded.len() >= FEW_FORWARDED && forwarded.len() == forwarded.capacity() {
            forwarded.retain(|client| client.strong_count() > 0);
            let room = forwarded.len().max(FEW_FORWARDED);
            forwarded.reserve(room);
        }
        forwarded.push(Arc::downgrade(client));
    }

    /// The same as [`Admission::holds`] after the TLS configuration was replaced. Also decides on the
    /// clients whose requests were forwarded before: a request without an end, such as the stream of
    /// a log, has to end if its client is no longer accepted. The connection is that of the proxy,
    /// and goes on.
    pub(super) fn holds_after_replacement(&self) -> bool {
        let forwarded = std::mem::take(&mut *self.forwarded.lock());
        let mut any_lapsed = false;
        for client in forwarded.iter().filter_map(Weak::upgrade) {
            match self.endpoint.tls.accepts(&client.chain) {
                Ok(_) => self.note_forwarded(&client),
                Err(error) => {
                    client.lapse();
                    any_lapsed = true;
                    self.log(&client, "a request of", "through a TLS proxy is ended", &error);
                }
            }
        }
        if any_lapsed {
            self.endpoint.service.peer_lapsed();
        }
        self.holds()
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
                self.log(&self.peer, "the connection with", "is closed", &error);
                false
            }
        }
    }

    fn log(&self, client: &Peer, what: &str, ends: &str, error: &rustls::Error) {
        let ip = client.address.ip();
        let message = format!(
            "{what} {ip} {ends}: its client certificate is no longer accepted: it {}",
            reason(error)
        );
        let identity = client.identity.ok();
        self.endpoint.repeats.log(Event { ip: Some(ip), message, subject: None, identity });
    }
}
