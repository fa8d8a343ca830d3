//! Which requests go to both servers.

use http::request::Parts;
use kes_api::Operation;
use kes_server::Routed;
use serde::Serialize;

/// Whether both servers have the same key store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Stores {
    /// They do: what one of them has created, the other one finds.
    Shared,
    /// Each has its own, with the same keys.
    Separate,
}

/// What becomes of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) operation: Option<Operation>,
    /// The name or the pattern in its path.
    pub(crate) resource: String,
    pub(crate) way: Way,
}

/// Who gets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// Both servers, and the answers are compared.
    Both,
    /// The one whose answer the client gets, for this reason.
    One(Reason),
    /// The same, and the answer is passed on as it comes.
    Stream,
}

/// Why answers are not compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Reason {
    /// It changes a key, and a second server would change it again.
    Change,
    /// It is about a key that was changed a short time ago, which the other server may not know yet.
    ChangedLately,
    /// A log, metrics and the like: of each server its own.
    OwnFigures,
    /// The path has no route, or the method is another one.
    NoRoute,
    /// A page of a listing after the first: its pattern is of the server that made it.
    NextPage,
    /// A server has given no answer.
    NoAnswer,
    /// A limit of requests has refused it.
    Limit,
    /// Too many comparisons are under way.
    Busy,
    /// It did not arrive whole, or found no place in time: no server was asked.
    Incomplete,
    /// The policy of the client does not let it decrypt or describe.
    NotAllowed,
    /// The answers differed once, and not when the servers were asked again.
    Passing,
}

impl Plan {
    pub(crate) fn of(head: &Parts, stores: Stores) -> Self {
        let uri = &head.uri;
        match kes_server::route(uri.path(), uri.query()) {
            Routed::Found { operation, resource, .. }
                if operation.route().accepts(head.method.as_str()) =>
            {
                let way = way(operation, &resource, stores);
                Self { operation: Some(operation), resource, way }
            }
            _ => Self { operation: None, resource: String::new(), way: Way::One(Reason::NoRoute) },
        }
    }

    /// The most bytes of a body that are passed on: a byte more than the route takes, so that the
    /// server says itself that it is too large. Without a limit a body is not looked at.
    pub(crate) fn max_body(&self) -> usize {
        let max = self.operation.map_or(0, |operation| operation.route().max_body);
        if max == 0 { 0 } else { usize::try_from(max).unwrap_or(usize::MAX).saturating_add(1) }
    }

    /// Whether its answer may be large.
    pub(crate) fn is_large(&self) -> bool {
        use Operation as Op;
        self.operation.is_some_and(|operation| {
            operation.lists() || matches!(operation, Op::Metrics | Op::Refusals | Op::ReadPolicy)
        })
    }
}

fn way(operation: Operation, resource: &str, stores: Stores) -> Way {
    use Operation as Op;
    match operation {
        Op::AuditLog | Op::ErrorLog => Way::Stream,
        Op::Metrics | Op::Refusals => Way::One(Reason::OwnFigures),
        // Two servers would make two keys of one name.
        Op::CreateKey => Way::One(Reason::Change),
        Op::ImportKey | Op::DeleteKey if stores == Stores::Shared => Way::One(Reason::Change),
        Op::ListKeys | Op::ListPolicies | Op::ListIdentities if continues(resource) => {
            Way::One(Reason::NextPage)
        }
        Op::Version
        | Op::Ready
        | Op::Status
        | Op::ListApis
        | Op::ImportKey
        | Op::DescribeKey
        | Op::DeleteKey
        | Op::ListKeys
        | Op::GenerateKey
        | Op::EncryptKey
        | Op::DecryptKey
        | Op::BulkDecrypt
        | Op::Hmac
        | Op::DescribePolicy
        | Op::ReadPolicy
        | Op::ListPolicies
        | Op::DescribeIdentity
        | Op::ListIdentities
        | Op::SelfDescribe => Way::Both,
    }
}

/// Whether a pattern is that of a later page: `<prefix>*<next name>`.
fn continues(pattern: &str) -> bool {
    pattern.split_once('*').is_some_and(|(_, next)| !next.is_empty())
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn plan(method: &str, path: &str, stores: Stores) -> Plan {
        let request = Request::builder().method(method).uri(path).body(()).unwrap();
        Plan::of(&request.into_parts().0, stores)
    }

    #[test]
    fn what_changes_a_key_goes_to_one_server_of_a_shared_store() {
        for (method, path, shared, separate) in [
            ("PUT", "/v1/key/create/k", Way::One(Reason::Change), Way::One(Reason::Change)),
            ("POST", "/v1/key/create/k", Way::One(Reason::Change), Way::One(Reason::Change)),
            ("PUT", "/v1/key/%63reate/k", Way::One(Reason::Change), Way::One(Reason::Change)),
            ("PUT", "/v1/key/import/k", Way::One(Reason::Change), Way::Both),
            ("DELETE", "/v1/key/delete/k", Way::One(Reason::Change), Way::Both),
            ("PUT", "/v1/key/generate/k", Way::Both, Way::Both),
            ("GET", "/v1/key/list/", Way::Both, Way::Both),
            ("GET", "/v1/key/list/a*", Way::Both, Way::Both),
            ("GET", "/v1/key/list/a*a7", Way::One(Reason::NextPage), Way::One(Reason::NextPage)),
            ("GET", "/v1/log/audit", Way::Stream, Way::Stream),
            ("GET", "/v1/metrics?all", Way::One(Reason::OwnFigures), Way::One(Reason::OwnFigures)),
        ] {
            assert_eq!(plan(method, path, Stores::Shared).way, shared, "{method} {path}");
            assert_eq!(plan(method, path, Stores::Separate).way, separate, "{method} {path}");
        }
    }

    /// What an unknown server does with an unknown request is not known.
    #[test]
    fn what_has_no_route_goes_to_one_server() {
        for (method, path) in [
            ("GET", "/"),
            ("PUT", "/v2/key/create/k"),
            ("GET", "/v1/key/create/k"),
            ("DELETE", "/v1/key/create/k"),
            ("PUT", "/v1/key/create"),
            ("PUT", "/v1//key/create/k"),
            ("PUT", "/v1/key/create/%zz"),
        ] {
            let plan = plan(method, path, Stores::Separate);
            assert_eq!((plan.operation, plan.way), (None, Way::One(Reason::NoRoute)), "{path}");
        }
    }

    #[test]
    fn a_body_is_passed_on_up_to_a_byte_more_than_the_limit() {
        assert_eq!(plan("PUT", "/v1/key/encrypt/k", Stores::Shared).max_body(), 1_000_001);
        assert_eq!(plan("PUT", "/v1/key/create/k", Stores::Shared).max_body(), 0);
    }
}
