//! The API: a request and the peer that sent it come in, an answer goes out. Every request goes
//! through these steps:
//!
//! 1. count it,
//! 2. find its route (`router`), or answer 404, 307 or 400,
//! 3. admit it (`admit`), let it wait for its turn if its identity has limits (`limits`), and run
//!    its operation (`handlers`), within the route's time limit,
//! 4. turn an error into the contract's answer and a line of the error log (`error`, `record`),
//! 5. audit it and count the answer; a change of a key is audited by the task that performs it
//!    (`change`),
//! 6. read the rest of a body that was not used, within limits (`body`).
//!
//! What these steps know of the request is in its context (`context`).

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use arc_swap::ArcSwap;
use futures_util::FutureExt as _;
use http::{HeaderName, Request, Response};
use hyper::body::Incoming;
use kes_api::{Operation, Timestamp, message};
use kes_keystore::State;
use tokio::sync::RwLock;
use tokio::time::timeout_at;

use self::admit::admit;
use self::answer::{Answer, Content};
use self::body::Arriving;
use self::budget::Budgets;
use self::context::RequestContext;
use self::denials::Denials;
use self::error::Error;
use self::generation::Generation;
use self::handlers::Call;
use self::proxies::ForwardedRequests;
use self::record::{Active, Unanswered};
use self::refusals::Refusals;
use self::reloads::LastReloads;
use self::router::Routed;
use self::store_calls::StoreCalls;
use crate::observe::logging::Logs;
use crate::observe::logging::stream::{Reader, Reads};
use crate::observe::metrics::{Audience, Exposition, Gauges, Metrics};
use crate::transport::{ActiveRequest, Class, Peer, Service};

/// Path to route.
mod router;

/// Path to route, for others than requests.
pub(crate) mod paths;

/// What one configuration makes of the API.
pub(crate) mod generation;

/// The context of a request.
mod context;

/// The checks before an operation.
mod admit;

/// How much memory requests may hold.
pub(crate) mod budget;

/// What each caller has of its own.
mod by_caller;

/// How many requests an identity may have.
pub(crate) mod limits;

/// How many calls to the key store may be under way.
pub(crate) mod store_calls;

/// TLS proxies.
pub(crate) mod proxies;

/// The operations of the APIs.
mod handlers;

/// Answers.
pub(crate) mod answer;

/// Request bodies.
mod body;

/// Why a request was not served.
pub(crate) mod error;

/// How far a change of a key has come.
mod progress;

/// The record of a change of a key.
pub(crate) mod change;

/// What is recorded of a request.
mod record;

/// How many log lines refused requests may write.
pub(crate) mod refusals;

/// What the policies have refused of late.
pub(crate) mod denials;

/// How the last reloads ended.
pub(crate) mod reloads;

/// Parsers for the fuzz targets.
#[cfg(feature = "fuzzing")]
pub mod fuzzing;

/// Requests without a connection, for tests.
#[cfg(test)]
mod testing;

/// The service of the API, for the whole life of the server.
pub(crate) struct ApiService {
    /// Replaced by a reload; a request loads it once.
    pub(crate) generation: ArcSwap<Generation>,
    pub(crate) budgets: Budgets,
    pub(crate) store_calls: StoreCalls,
    pub(crate) forwarded: ForwardedRequests,
    /// How many requests wait for a limit of their identity.
    pub(crate) limited_waiting: AtomicUsize,
    /// How many requests have come.
    pub(crate) requests: AtomicU64,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) logs: Arc<Logs>,
    pub(crate) refusals: Arc<Refusals>,
    pub(crate) denials: Denials,
    pub(crate) reloads: LastReloads,
    /// Held for reading by each change of a key until it is recorded.
    pub(crate) changing: Arc<RwLock<()>>,
    pub(crate) started: Instant,
    pub(crate) started_at: Timestamp,
    pub(crate) build: BuildInfo,
}

/// What the binary was built from.
#[derive(Clone, Copy, Debug)]
pub struct BuildInfo {
    /// The version, such as `0.1.0`.
    pub version: &'static str,
    /// The commit's hash, or `unknown`.
    pub commit: &'static str,
}

impl Service for ApiService {
    type Content = Content;

    fn class(&self, peer: &Peer) -> Class {
        self.generation.load().class(peer)
    }

    fn forwards_in(&self, peer: &Peer) -> Option<HeaderName> {
        self.generation.load().proxies.header_of(peer.identity.as_ref().ok())
    }

    fn call(
        self: Arc<Self>,
        peer: Arc<Peer>,
        request: Request<Incoming>,
        active_request: ActiveRequest,
    ) -> impl Future<Output = Result<Response<Content>, Infallible>> + Send + 'static {
        serve(self, peer, request, active_request)
    }

    fn peer_lapsed(&self) {
        self.readmit_followers();
    }
}

impl ApiService {
    /// The metrics for an audience.
    pub(crate) fn metrics_text(&self, generation: &Generation, audience: Audience) -> Exposition {
        let keys = &generation.keys;
        self.metrics.policy_refusals.keep(|name| generation.policies.policy(name).is_some());
        let gauges = Gauges {
            uptime: self.started.elapsed(),
            cached_keys: keys.cached(),
            missing_names: keys.missing(),
            cache_age: keys.cache_age(),
            pin_faults: keys.pin_faults(),
            store_reachable: matches!(keys.state(), State::Reachable { .. }),
            logins: keys.logins(),
            store_certificates: keys.store_certificates(),
            pair: keys.pair(),
            audit_queue: self.logs.file.queued(),
            log_queues: self.logs.queued(),
            snapshot: keys.snapshot(),
        };
        self.metrics.text(audience, &gauges, |identity| generation.knows(identity))
    }

    /// Ends the log streams of those who may no longer follow them, and decides who is sent what is for
    /// the admin alone.
    pub(crate) fn readmit_followers(&self) {
        let generation = self.generation.load();
        let decide = |reader: &dyn Reader, operation: Operation| {
            let (identity, path) = (reader.identity(), operation.route().path);
            let permit = generation.policies.permit(identity.as_ref(), operation, path);
            let is_forwarded =
                reader.proxy().is_none_or(|proxy| generation.proxies.contain(&proxy));
            if reader.has_lapsed() || !is_forwarded || permit.is_err() {
                return None;
            }
            let is_admin = identity.is_some_and(|identity| generation.policies.is_admin(&identity));
            Some(if is_admin { Reads::Whole } else { Reads::Public })
        };
        self.logs.error_stream.readmit(|reader| decide(reader, Operation::ErrorLog));
        self.logs.audit_stream.readmit(|reader| decide(reader, Operation::AuditLog));
    }

    /// The same for a new follower, if this is no longer the generation in use, or if its client is no
    /// longer accepted.
    fn readmit_new_follower(&self, generation: &Arc<Generation>, reader: &Peer) {
        if !Arc::ptr_eq(generation, &self.generation.load()) || reader.has_lapsed() {
            self.readmit_followers();
        }
    }
}

/// Answers a request.
///
/// Not an `async fn`: its future would hold each argument twice, and it is moved several times.
fn serve(
    service: Arc<ApiService>,
    peer: Arc<Peer>,
    request: Request<Incoming>,
    active_request: ActiveRequest,
) -> impl Future<Output = Result<Response<Content>, Infallible>> + Send + 'static {
    let arrived = Instant::now();
    let number = service.requests.fetch_add(1, Ordering::Relaxed) + 1;
    let (mut head, body) = request.into_parts();
    async move {
        let class = if peer.is_forwarded() {
            service.class(&peer).index()
        } else {
            active_request.class_index()
        };
        let _active = Active::new(service.metrics.classes.requests.of(class));
        let mut body = Arriving::new(body);
        let is_of_stranger = class == Class::Stranger.index();
        let (operation, answer) = match router::route(head.uri.path(), head.uri.query()) {
            Routed::Found(target) => {
                let generation = service.generation.load_full();
                let context = RequestContext {
                    service: &service,
                    trace: generation
                        .traces
                        .as_ref()
                        .and_then(|traces| traces.begin(&head.headers, is_of_stranger, number)),
                    generation,
                    peer: &peer,
                    head: &head,
                    target,
                    arrived,
                    number,
                    objects: OnceLock::new(),
                    change: OnceLock::new(),
                };
                let result = run(&context, &mut body).await;
                (Some(context.operation()), record::finish(&context, result))
            }
            Routed::Redirect(location) => (None, Answer::redirect(&location)),
            Routed::NotFound => (None, Answer::not_found()),
            Routed::BadEscape => (None, Answer::refusal(&message::INVALID_ESCAPE)),
        };
        let status = answer.status.as_u16();
        if operation.is_none() {
            record::unrouted(&service, &peer, &head, number, status);
        }
        let took = arrived.elapsed();
        service.metrics.answered(operation, status, took);
        // A stranger's trace is nobody's.
        if let Some(operation) = operation.filter(|_| !is_of_stranger) {
            service.metrics.trace(operation, took, &head.headers);
        }
        let reservation = body.take_reservation().filter(|_| answer.len() > budget::SMALL);
        if body.is_unread() {
            if answer.status.is_success() {
                Box::pin(body.drain_before_success(&head)).await;
            } else {
                body.drain_after_refusal(&head, active_request.another());
            }
        }
        let is_head = head.method == http::Method::HEAD;
        let headers = std::mem::take(&mut head.headers);
        Ok(answer.into_response(headers, is_head, active_request, reservation))
    }
}

/// Admits a request and runs its operation.
async fn run(context: &RequestContext<'_>, body: &mut Arriving) -> Result<Answer, Error> {
    let permit = admit(context, body.announced())?;
    let unanswered = Unanswered::new(context);
    let result = {
        let call = Call { context, permit, body };
        // A panic is a bug of the server; it must not end the other requests of the connection.
        let mut operation = pin!(AssertUnwindSafe(handlers::run(call)).catch_unwind());
        match context.deadline() {
            Some(deadline) => timeout_at(deadline.into(), operation.as_mut()).await,
            None => Ok(operation.await),
        }
    };
    let result = match result {
        Ok(Ok(Ok(answer))) => body.reserve_for_answer(answer.len(), context).await.map(|()| answer),
        Ok(result) => result.unwrap_or(Err(Error::Panic)),
        // The client did not send its body in time.
        Err(_) if body.is_being_read() => Err(Error::BodyTimeout),
        Err(_) => Err(Error::Timeout),
    };
    unanswered.disarm();
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size_of_future<F: Future>(
        _: impl FnOnce(Arc<ApiService>, Arc<Peer>, Request<Incoming>, ActiveRequest) -> F,
    ) -> usize {
        size_of::<F>()
    }

    /// The future of a request is moved several times on its way into a task. With the futures of
    /// all key stores inside, it once had 17 KiB, and copying it was a seventh of all work.
    #[test]
    fn the_future_of_a_request_is_small() {
        let size = size_of_future(serve);
        assert!(size <= 2304, "{size} bytes");
    }
}
