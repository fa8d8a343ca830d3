//! The order of checks before an operation may run (contract `api.md`, Order of checks).
//!
//! 1. The path led to a route (see [`crate::service::router`]).
//! 2. The method is the route's.
//! 3. The client is who it must be, and its policy allows the decoded path.
//! 4. The announced body is within the route's limit.
//!
//! What comes out is a `Permit` for the operation on what the path names, which every operation on
//! keys requires. The name in the path (5) and the body (6) are parsed in that order by the handler
//! of the operation. A body of unknown length is found too large while it is read.

use kes_policy::{Denied, Permit};

use crate::lifecycle::state::State;
use crate::service::error::Error;
use crate::service::router::Target;
use crate::transport::peer::Peer;

/// Decides whether a request may run.
pub(crate) fn admit<'a>(
    state: &State,
    peer: &Peer,
    target: &'a Target<'_>,
    method: &http::Method,
    announced_body: Option<u64>,
) -> Result<Permit<'a>, Error> {
    let route = target.route;
    if !route.accepts(method.as_str()) {
        let received = method.as_str().to_owned();
        return Err(Error::Method { received, expected: route.method.as_str() });
    }

    let identity = peer.identity.as_ref().ok();
    let permit = state.policies.permit(identity, route.operation, &target.path);
    let permit = permit.map_err(|denied| match (denied, peer.identity) {
        (Denied::NoIdentity, Err(reason)) => Error::NoIdentity(reason),
        (denied, _) => Error::Denied(denied),
    })?;

    // The body of a route without one is not read, whatever its size.
    if route.max_body > 0 && announced_body.is_some_and(|length| length > route.max_body) {
        return Err(Error::BodyTooLarge);
    }
    Ok(permit)
}
