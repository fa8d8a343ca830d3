use std::sync::Arc;
use std::time::{Duration, Instant};

use http::request::Parts;
use kes_api::Operation;

use super::router::Target;
use crate::lifecycle::state::{Api, Shared, State};
use crate::transport::peer::Peer;

/// The context of a request. It is made when the request arrives and its route is found, and passed
/// by reference to everything that admits, limits, serves or records the request.
pub(crate) struct RequestContext<'r> {
    pub(crate) shared: &'r Shared,
    /// The configuration that the request is served with, even if a reload replaces it meanwhile.
    pub(crate) state: Arc<State>,
    pub(crate) peer: &'r Peer,
    /// Method, URI, version and headers.
    pub(crate) head: &'r Parts,
    pub(crate) target: Target<'r>,
    pub(crate) arrived: Instant,
}

impl RequestContext<'_> {
    /// What the request asks for.
    pub(crate) fn operation(&self) -> Operation {
        self.target.route.operation
    }

    /// The configuration of its API.
    pub(crate) fn api(&self) -> &Api {
        &self.state.apis[self.operation().index()]
    }

    /// When its operation has to be finished; `None` for a stream.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.api().timeout.map(|timeout| self.arrived + timeout)
    }

    /// The time since it arrived.
    pub(crate) fn elapsed(&self) -> Duration {
        self.arrived.elapsed()
    }
}
