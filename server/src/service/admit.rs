//! The order of checks before an operation may run (contract `api.md`, Order of checks).
//!
//! 1. The path leads to a route (see `router`).
//! 2. The method is that of the route.
//! 3. The client has the identity that the route needs, and its policy allows the decoded path.
//! 4. The announced length of the body is within the route's limit.
//!
//! What comes out is a `Permit` for the operation on what the path names, which every operation on
//! keys requires. The name in the path (5) and the body (6) are parsed in that order by the handler
//! of the operation. A body of unknown length is found too large while it is read.

use kes_policy::{Denied, Permit};

use super::context::RequestContext;
use super::error::Error;

/// Decides whether a request may run.
pub(super) fn admit<'a>(
    context: &'a RequestContext<'_>,
    announced_body: Option<u64>,
) -> Result<Permit<'a>, Error> {
    let (route, method) = (context.target.route, &context.head.method);
    if !route.accepts(method.as_str()) {
        let received = method.as_str().to_owned();
        return Err(Error::Method { received, expected: route.method.as_str() });
    }

    let identity = context.peer.identity;
    let (policies, path) = (&context.generation.policies, &context.target.path);
    let permit = policies.permit(identity.as_ref().ok(), route.operation, path);
    let permit = permit.map_err(|denied| match (denied, identity) {
        (Denied::NoIdentity, Err(reason)) => Error::NoIdentity(reason),
        (denied, _) => Error::Denied(denied),
    })?;

    // The body of a route without one is not read, whatever its size.
    if route.max_body > 0 && announced_body.is_some_and(|length| length > route.max_body) {
        return Err(Error::BodyTooLarge);
    }
    Ok(permit)
}
