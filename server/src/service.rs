//! The API: a request and the peer that sent it come in, an answer goes out. What every request goes
//! through stands here once:
//!
//! 1. count it,
//! 2. find its route (or answer 404, 307, 400),
//! 3. admit it and run its operation, within the route's time,
//! 4. turn an error into the contract's answer and a line of the error log,
//! 5. audit it and count the answer,
//! 6. read for a while what the client may still be sending of a body that nobody wanted.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use futures_util::FutureExt as _;
use http::{Request, Response};
use hyper::body::Incoming;
use kes_api::message::{self, Message};
use kes_keys::StoreOperation;
use prometheus::IntGauge;

use crate::lifecycle::state::{Shared, State};
use crate::observe::logging::audit::Audited;
use crate::service::admit::admit;
use crate::service::answer::{Answer, Content};
use crate::service::body::Arriving;
use crate::service::error::Error;
use crate::service::handlers::Call;
use crate::service::router::{Routed, Target};
use crate::transport::idle::ActiveRequest;
use crate::transport::peer::Peer;

/// Path to route.
mod router;

/// The checks before an operation.
mod admit;

/// What the APIs answer.
mod handlers;

/// What is sent of it.
pub(crate) mod answer;

/// Request bodies.
mod body;

/// Why a request was not served.
pub(crate) mod error;

/// Answers a request.
///
/// Not an `async fn`: its future would hold each argument twice, and is moved about.
pub(crate) fn serve(
    shared: Arc<Shared>,
    peer: Arc<Peer>,
    request: Request<Incoming>,
    in_request: ActiveRequest,
) -> impl Future<Output = Result<Response<Content>, Infallible>> + Send + 'static {
    let arrived = Instant::now();
    let (mut head, body) = request.into_parts();
    async move {
        let _active = Active::new(&shared.metrics.active);
        let mut body = Arriving::new(body);
        let (operation, answer) = match router::route(head.uri.path(), head.uri.query()) {
            Routed::Found(target) => {
                let state = shared.state.load_full();
                let result = run(&shared, &state, &peer, &target, &head, &mut body, arrived).await;
                let answer = finish(&shared, &peer, &target, &head, arrived, result);
                (Some(target.route.operation), answer)
            }
            Routed::Redirect(location) => (None, Answer::redirect(&location)),
            Routed::NotFound => (None, Answer::not_found()),
            Routed::BadEscape => (None, Answer::refusal(&message::INVALID_ESCAPE)),
        };
        shared.metrics.answered(operation, answer.status.as_u16(), arrived.elapsed());
        if body.is_unread() {
            if answer.status.is_success() {
                Box::pin(body.drain_before_success(&head)).await;
            } else {
                body.drain_after_refusal(&head, in_request.another());
            }
        }
        let is_head = head.method == http::Method::HEAD;
        let headers = std::mem::take(&mut head.headers);
        Ok(answer.into_response(headers, is_head, in_request))
    }
}

/// Admits a request and runs its operation.
async fn run(
    shared: &Shared,
    state: &Arc<State>,
    peer: &Peer,
    target: &Target<'_>,
    head: &http::request::Parts,
    body: &mut Arriving,
    arrived: Instant,
) -> Result<Answer, Error> {
    let permit = admit(state, peer, target, &head.method, body.announced())?;
    let limit = state.apis[target.route.operation.index()].timeout;
    let deadline = limit.map(|limit| tokio::time::Instant::from_std(arrived + limit));
    let reading = AtomicBool::new(false);
    let call = Call { shared, state, permit, target, head, body, reading: &reading };

    let unanswered = Unanswered { shared, peer, target, head, arrived, armed: true };

    // A panic is a fault of ours; it must not take the connection's other requests along.
    let mut operation = pin!(AssertUnwindSafe(handlers::run(call)).catch_unwind());
    let result = match deadline {
        Some(deadline) => tokio::time::timeout_at(deadline, operation.as_mut()).await,
        None => Ok(operation.await),
    };
    unanswered.answered();
    match result {
        Ok(result) => result.unwrap_or(Err(Error::Panic)),
        Err(_) if reading.load(Ordering::Relaxed) => Err(Error::BodyTimeout),
        Err(_) => Err(Error::Timeout),
    }
}

/// Turns what an operation came to into an answer, and logs it.
fn finish(
    shared: &Shared,
    peer: &Peer,
    target: &Target<'_>,
    head: &http::request::Parts,
    arrived: Instant,
    result: Result<Answer, Error>,
) -> Answer {
    let (answer, error) = match result {
        Ok(answer) => (answer, None),
        Err(error) => {
            let message = error.message();
            let mut answer = Answer::refusal(&message);
            if let Error::Method { expected, .. } = &error {
                answer = answer.with_method(expected);
            }
            if message.status >= 500 {
                log(peer, target, head, &message, &error);
            }
            (answer, Some((error, message)))
        }
    };

    let operation = target.route.operation;
    let status = answer.status.as_u16();
    shared.metrics.audit_events.inc();
    let is_forged = matches!(error, Some((Error::Keys(kes_keys::Error::NotAuthentic), _)));
    if shared.logs.wants_audit(operation, status, is_forged) {
        let refusal = error.as_ref().map(|(error, message)| {
            let reason = error.cause().map(|cause| match (error, peer.remark()) {
                (Error::Denied(_), Some(remark)) => format!("{cause}; {remark}"),
                _ => cause.to_string(),
            });
            (message.text.as_ref(), reason)
        });
        shared.logs.audit(&Audited {
            operation,
            method: head.method.as_str(),
            path: &target.path,
            resource: target.resource(),
            ip: peer.address.ip(),
            identity: peer.identity.ok(),
            status,
            is_forged,
            took: arrived.elapsed(),
            refusal,
        });
    }
    answer
}

/// A line of the error log for a request that failed through no fault of its sender.
fn log(
    peer: &Peer,
    target: &Target<'_>,
    head: &http::request::Parts,
    message: &Message,
    error: &Error,
) {
    let cause = error.cause().map(|cause| format!(": {cause}")).unwrap_or_default();
    // The message goes to who follows the error log, without the fields.
    let key = match error {
        Error::Keys(kes_keys::Error::Store {
            operation: StoreOperation::Create | StoreOperation::Read | StoreOperation::Delete,
            ..
        }) => format!(" '{}'", target.resource()),
        _ => String::new(),
    };
    let identity = peer.identity.map(|identity| identity.to_string()).unwrap_or_default();
    tracing::error!(
        req.method = %head.method,
        req.path = %target.path,
        req.ip = %peer.address.ip(),
        req.identity = %identity,
        "{}{key}{cause}", message.text
    );
}

/// A request whose operation runs. When its client goes away it is dropped where it stands; what
/// it asked for may be done all the same, so that it is audited and counted.
struct Unanswered<'a> {
    shared: &'a Shared,
    peer: &'a Peer,
    target: &'a Target<'a>,
    head: &'a http::request::Parts,
    arrived: Instant,
    armed: bool,
}

impl Unanswered<'_> {
    /// The operation has ended.
    fn answered(mut self) {
        self.armed = false;
    }
}

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        if self.armed {
            let Self { shared, peer, target, head, arrived, .. } = *self;
            let answer = finish(shared, peer, target, head, arrived, Err(Error::ClientGone));
            let (operation, status) = (target.route.operation, answer.status.as_u16());
            shared.metrics.answered(Some(operation), status, arrived.elapsed());
        }
    }
}

/// Counts a request while it is being served.
struct Active<'a>(&'a IntGauge);

impl<'a> Active<'a> {
    fn new(gauge: &'a IntGauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for Active<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size_of_future<F: Future>(
        _: impl FnOnce(Arc<Shared>, Arc<Peer>, Request<Incoming>, ActiveRequest) -> F,
    ) -> usize {
        size_of::<F>()
    }

    /// The future of a request is moved several times on its way into a task: with the futures
    /// of all key stores inside it once had 17 KiB, and copying them was a seventh of all work.
    #[test]
    fn the_future_of_a_request_is_small() {
        let size = size_of_future(serve);
        assert!(size <= 2048, "{size} bytes");
    }
}
