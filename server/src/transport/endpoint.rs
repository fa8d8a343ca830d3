use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{HeaderName, Request, Response};
use hyper::body::{Body, Incoming};
use kes_config::Network;

use super::class::Class;
use super::idle::ActiveRequest;
use super::peer::Peer;
use super::tls::current::CurrentTls;
use crate::observe::logging::repeats::Repeats;
use crate::observe::metrics::Metrics;

/// What answers the requests that a listener receives.
pub(crate) trait Service: Send + Sync + 'static {
    /// The content of an answer.
    type Content: Body<Data = Bytes, Error = Infallible> + Send + 'static;

    /// The class of a peer as of now: a reload may change it.
    fn class(&self, peer: &Peer) -> Class;

    /// The header in which a peer forwards the certificate of its own client, if it is a TLS proxy as
    /// of now.
    fn forwards_in(&self, _peer: &Peer) -> Option<HeaderName> {
        None
    }

    /// Answers a request of a peer. The connection is not idle while `active_request` exists.
    fn call(
        self: Arc<Self>,
        peer: Arc<Peer>,
        request: Request<Incoming>,
        active_request: ActiveRequest,
    ) -> impl Future<Output = Result<Response<Self::Content>, Infallible>> + Send + 'static;

    /// A peer is no longer accepted: what is still being sent to it without an end has to end.
    fn peer_lapsed(&self) {}
}

/// What the connections of one listener share.
pub(crate) struct Endpoint<S> {
    /// Answers the requests.
    pub(crate) service: Arc<S>,
    /// The TLS configuration for the next connection.
    pub(crate) tls: CurrentTls,
    /// The load balancers whose connections begin with a header of the PROXY protocol.
    pub(crate) balancers: ArcSwap<Vec<Network>>,
    pub(crate) metrics: Arc<Metrics>,
    /// Failed handshakes, which clients can cause as often as they like.
    pub(crate) repeats: Arc<Repeats>,
}

impl<S> Endpoint<S> {
    /// Whether the connections of an address begin with a header. Without load balancers this is all
    /// that a connection costs.
    pub(super) fn is_balancer(&self, ip: IpAddr) -> bool {
        self.balancers.load().iter().any(|network| network.contains(ip))
    }
}
