use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use http::request::Parts;
use kes_api::Operation;

use super::ApiService;
use super::budget::{Caller, Reservation};
use super::error::Error;
use super::generation::{ApiSettings, Generation};
use super::progress::Progress;
use super::router::Target;
use crate::transport::Peer;

/// The context of a request. It is made when the request arrives and its route is found, and passed
/// by reference to everything that admits, limits, serves or records the request.
pub(crate) struct RequestContext<'r> {
    pub(crate) service: &'r ApiService,
    /// What the request is served with, even if a reload replaces it meanwhile.
    pub(crate) generation: Arc<Generation>,
    pub(crate) peer: &'r Arc<Peer>,
    /// Method, URI, version and headers.
    pub(crate) head: &'r Parts,
    pub(crate) target: Target<'r>,
    pub(crate) arrived: Instant,
    /// Set once it begins to change a key.
    pub(crate) change: OnceLock<Arc<Progress>>,
}

impl RequestContext<'_> {
    /// What the request asks for.
    pub(crate) fn operation(&self) -> Operation {
        self.target.route.operation
    }

    /// The configuration of its API.
    pub(crate) fn api(&self) -> &ApiSettings {
        &self.generation.apis[self.operation().index()]
    }

    /// When its operation has to be finished; `None` for a stream.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.api().timeout.map(|timeout| self.arrived + timeout)
    }

    /// Reserves memory for its body or its answer.
    pub(crate) async fn reserve(&self, bytes: usize) -> Result<Reservation, Error> {
        let peer = self.peer;
        let class = self.generation.class(peer);
        let caller = Caller { class, identity: peer.identity.ok(), waiting: &peer.waiting };
        self.service.budgets.reserve(caller, bytes).await.map_err(Error::TooManyBodies)
    }

    /// The time since it arrived.
    pub(crate) fn elapsed(&self) -> Duration {
        self.arrived.elapsed()
    }
}
