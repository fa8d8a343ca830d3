//! The order of checks before an operation may run (contract `api.md`, Order of checks).
//!
//! 1. The path leads to a route (see `router`).
//! 2. The method is that of the route.
//! 3. The client's certificate is still accepted, it has the identity that the route needs, and its
//!    policy allows the decoded path.
//! 4. The announced length of the body is within the route's limit.
//!
//! What comes out is a `Permit` for the operation on what the path names, which every operation on
//! keys requires. After that a request waits for its turn, if its identity has limits (5, see
//! `limits`). The name in the path (6) and the body (7) are parsed in that order by the handler
//! of the operation. A body of unknown length is found too large while it is read.

use http::Version;
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

    // Over HTTP/2 the transport refuses such a request; one that came before may end.
    if context.peer.has_lapsed() && context.head.version != Version::HTTP_2 {
        return Err(Error::Lapsed);
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
    Ok(permit.through(context))
}

#[cfg(test)]
mod tests {
    use kes_api::identity::{Identity, NoIdentity};
    use kes_api::route::{MAX_BODY, Method, ROUTES};
    use kes_api::{Auth, KeyName, Operation};
    use kes_policy::{Policies, Policy};

    use super::*;
    use crate::service::ApiService;
    use crate::transport::Peer;

    type Who = Result<Identity, NoIdentity>;

    fn who(name: &str) -> Identity {
        Identity::of_public_key(name.as_bytes())
    }

    /// With an admin, and a policy for `client`.
    fn service(exempt: &[Operation]) -> ApiService {
        let allow = ["/v1/key/decrypt/k*", "/v1/key/encrypt/*", "/v1/key/generate/k", "/v1/status"];
        let policy = Policy::new("policy", allow, ["/v1/key/decrypt/kept*"]);
        let policies = Policies::new(Some(who("admin")), vec![(policy, vec![who("client")])]);
        ApiService::in_memory(policies.unwrap().exempting(exempt.iter().copied()))
    }

    /// What the log reads of a refusal; the identity of the permit if there is none.
    fn admitted(
        service: &ApiService,
        who: Who,
        method: &str,
        path: &str,
        body: Option<u64>,
    ) -> Result<Option<Identity>, String> {
        service.with_request(who, method, path, |context| {
            let permit = admit(context, body).map_err(|error| format!("{error:?}"))?;
            Ok(permit.identity())
        })
    }

    /// A path of each route, and a method that it accepts.
    fn requests() -> impl Iterator<Item = (Operation, &'static str, String)> {
        ROUTES.into_iter().map(|route| {
            let name = if route.takes_name() { "k" } else { "" };
            (route.operation, route.method.as_str(), format!("{}{name}", route.path))
        })
    }

    #[tokio::test]
    async fn a_route_takes_its_method_alone_whoever_asks() {
        let service = service(&[]);
        for (operation, expected, path) in requests() {
            for method in ["GET", "HEAD", "PUT", "POST", "DELETE", "PATCH", "OPTIONS", "get"] {
                let takes = method == expected
                    || (operation.route().method == Method::Put && method == "POST");
                for identity in [Ok(who("admin")), Ok(who("nobody")), Err(NoIdentity::Missing)] {
                    // Also with a body that is too large.
                    let result = admitted(&service, identity, method, &path, Some(u64::MAX));
                    let refusal =
                        format!("Method {{ received: {method:?}, expected: {expected:?} }}");
                    assert_eq!(result == Err(refusal), !takes, "{method} {path}");
                }
            }
        }
    }

    #[tokio::test]
    async fn a_client_whose_certificate_is_no_longer_accepted_may_do_nothing() {
        let service = service(&[Operation::Metrics]);
        for (_, method, path) in requests() {
            let peer = Peer::lapsed(who("admin"));
            service.with_request_of(peer, method, &path, |context| {
                assert!(matches!(admit(context, None), Err(Error::Lapsed)), "{path}");
            });
        }
    }

    #[tokio::test]
    async fn the_admin_may_do_everything_and_a_permit_names_who_asked() {
        let service = service(&[]);
        for (_, method, path) in requests() {
            let result = admitted(&service, Ok(who("admin")), method, &path, None);
            assert_eq!(result, Ok(Some(who("admin"))), "{path}");
        }
    }

    #[tokio::test]
    async fn a_caller_without_an_identity_is_told_why_unless_the_route_needs_none() {
        let service = service(&[Operation::Metrics]);
        for (operation, method, path) in requests() {
            for reason in [NoIdentity::Missing, NoIdentity::Ambiguous] {
                let result = admitted(&service, Err(reason), method, &path, None);
                let is_open =
                    operation.route().auth == Auth::None || operation == Operation::Metrics;
                let expected =
                    if is_open { Ok(None) } else { Err(format!("NoIdentity({reason:?})")) };
                assert_eq!(result, expected, "{path}");
            }
        }
    }

    #[tokio::test]
    async fn an_unknown_identity_may_do_what_needs_no_policy() {
        let service = service(&[Operation::Metrics]);
        for (operation, method, path) in requests() {
            let result = admitted(&service, Ok(who("nobody")), method, &path, None);
            let needs_policy =
                operation.route().auth == Auth::Policy && operation != Operation::Metrics;
            let expected = if needs_policy {
                Err("Denied(UnknownIdentity)".to_owned())
            } else {
                Ok(Some(who("nobody")))
            };
            assert_eq!(result, expected, "{path}");
        }
    }

    #[tokio::test]
    async fn the_policy_decides_about_the_decoded_path() {
        let service = service(&[]);
        let client = |method, path| admitted(&service, Ok(who("client")), method, path, None);
        let allowed = Ok(Some(who("client")));
        assert_eq!(client("GET", "/v1/status"), allowed);
        assert_eq!(client("PUT", "/v1/key/decrypt/key"), allowed);
        assert_eq!(client("PUT", "/v1/%6bey/decrypt/%6b%65%79?a=b"), allowed);

        let not_allowed = Err("Denied(NotAllowed { policy: \"policy\" })".to_owned());
        for path in ["/v1/api", "/v1/metrics", "/v1/key/describe/other", "/v1/key/list/"] {
            assert_eq!(client("GET", path), not_allowed, "{path}");
        }
        let pattern = "/v1/key/decrypt/kept*";
        let denied =
            Err(format!("Denied(DeniedBy {{ policy: \"policy\", pattern: {pattern:?} }})"));
        for path in ["/v1/key/decrypt/kept", "/v1/key/decrypt/%6bept-1", "/v1/key/%64ecrypt/kep%74"]
        {
            assert_eq!(client("PUT", path), denied, "{path}");
        }
        assert_eq!(client("PUT", "/v1/key/encrypt/kept"), allowed);
    }

    #[tokio::test]
    async fn an_announced_body_is_within_the_limit_of_the_route() {
        let service = service(&[]);
        for (operation, method, path) in requests() {
            let limit = operation.route().max_body;
            let with = |body| admitted(&service, Ok(who("admin")), method, &path, body);
            for fits in [None, Some(0), Some(limit)] {
                assert_eq!(with(fits), Ok(Some(who("admin"))), "{path}: {fits:?}");
            }
            // The body of a route without one is ignored.
            let expected = match limit {
                0 => Ok(Some(who("admin"))),
                _ => Err("BodyTooLarge".to_owned()),
            };
            for too_large in [limit + 1, u64::MAX] {
                assert_eq!(with(Some(too_large)), expected, "{path}: {too_large}");
            }
        }
        // Who may not ask does not learn that.
        let result =
            admitted(&service, Ok(who("client")), "PUT", "/v1/key/hmac/other", Some(MAX_BODY + 1));
        assert_eq!(result, Err("Denied(NotAllowed { policy: \"policy\" })".to_owned()));
    }

    #[tokio::test]
    async fn the_permit_is_for_what_the_path_names() {
        let service = service(&[]);
        let (k, l) = (KeyName::parse("k").unwrap(), KeyName::parse("l").unwrap());
        let path = "/v1/key/generate/%6b";
        service.with_request(Ok(who("client")), "POST", path, |context| {
            let permit = admit(context, Some(2)).unwrap();
            assert_eq!(permit.check(Operation::GenerateKey, &k), Ok(()));
            assert!(permit.check(Operation::GenerateKey, &l).is_err());
            assert!(permit.check(Operation::DecryptKey, &k).is_err());
        });
    }
}
