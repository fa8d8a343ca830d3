//! The order of checks before an operation may run (contract `api.md`, Order of checks).
//!
//! 1. The path led to a route (see [`crate::service::router`]).
//! 2. The method is the route's.
//! 3. The client is who it must be, and its policy allows the decoded path.
//! 4. The announced body is within the route's limit.
//!
//! What comes out is a `Permit`, which every operation on keys demands. The name in the path
//! (5) and the body (6) are the operation's own, and read in that order by its handler. A body of
//! unknown length is found too large while it is read.

use kes_api::{Auth, Identity};
use kes_policy::Permit;

use crate::lifecycle::state::State;
use crate::service::error::Error;
use crate::service::router::Target;
use crate::transport::peer::Peer;

/// Decides whether a request may run.
pub(crate) fn admit(
    state: &State,
    peer: &Peer,
    target: &Target<'_>,
    method: &http::Method,
    announced_body: Option<u64>,
) -> Result<Permit, Error> {
    let route = target.route;
    if !route.accepts(method.as_str()) {
        let received = method.as_str().to_owned();
        return Err(Error::Method { received, expected: route.method.as_str() });
    }

    let identity: Result<Identity, Error> = peer.identity.map_err(Error::NoIdentity);
    let permit = match route.auth {
        Auth::None => Permit::exempt(identity.ok()),
        Auth::Certificate => Permit::exempt(Some(identity?)),
        Auth::Policy if state.apis[route.operation.index()].skip_auth => {
            Permit::exempt(identity.ok())
        }
        Auth::Policy => state.policies.decide(&identity?, &target.path).map_err(Error::Denied)?,
    };

    // The body of a route without one is not read, whatever its size.
    if route.max_body > 0 && announced_body.is_some_and(|length| length > route.max_body) {
        return Err(Error::BodyTooLarge);
    }
    Ok(permit)
}
