//! The table of all APIs (contract `api.md`, Routes).

use std::time::Duration;

use crate::{KeyName, ListPattern};

/// Request bodies of the key APIs may hold this many bytes: 1 MB (contract `api.md`, Routes).
pub const MAX_BODY: u64 = 1_000_000;

/// What a request asks for: one variant for each route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "each variant is described by its row in ROUTES")]
pub enum Operation {
    Version,
    Ready,
    Status,
    Metrics,
    ListApis,
    CreateKey,
    ImportKey,
    DescribeKey,
    DeleteKey,
    ListKeys,
    GenerateKey,
    EncryptKey,
    DecryptKey,
    BulkDecrypt,
    Hmac,
    DescribePolicy,
    ReadPolicy,
    ListPolicies,
    DescribeIdentity,
    ListIdentities,
    SelfDescribe,
    ErrorLog,
    AuditLog,
    Refusals,
}

/// The method that a route is listed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// GET alone; HEAD is not GET.
    Get,
    /// PUT, and also POST, which MinIO's SDK sends.
    Put,
    /// DELETE alone.
    Delete,
}

/// What a client must prove before an operation runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Auth {
    /// Nothing.
    None,
    /// A client certificate with any identity.
    Certificate,
    /// An identity whose policy allows the path.
    Policy,
}

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Route {
    /// What the route does.
    pub operation: Operation,
    /// The method it is listed with.
    pub method: Method,
    /// The path; it ends in `/` where a name or pattern follows.
    pub path: &'static str,
    /// The largest request body in bytes; the body of a route with 0 is ignored.
    pub max_body: u64,
    /// How long an answer may take; `None` for a stream.
    pub timeout: Option<Duration>,
    /// What a client must prove.
    pub auth: Auth,
}

/// Every API, in the order of [`Operation`].
pub const ROUTES: [Route; 24] = {
    use Auth::{Certificate, None as Open, Policy};
    use Method::{Delete, Get, Put};
    use Operation as Op;
    [
        route(Op::Version, Get, "/version", 0, 10, Open),
        route(Op::Ready, Get, "/v1/ready", 0, 15, Policy),
        route(Op::Status, Get, "/v1/status", 0, 15, Policy),
        route(Op::Metrics, Get, "/v1/metrics", 0, 15, Policy),
        route(Op::ListApis, Get, "/v1/api", 0, 10, Policy),
        route(Op::CreateKey, Put, "/v1/key/create/", 0, 15, Policy),
        route(Op::ImportKey, Put, "/v1/key/import/", MAX_BODY, 15, Policy),
        route(Op::DescribeKey, Get, "/v1/key/describe/", 0, 15, Policy),
        route(Op::DeleteKey, Delete, "/v1/key/delete/", 0, 15, Policy),
        route(Op::ListKeys, Get, "/v1/key/list/", 0, 15, Policy),
        route(Op::GenerateKey, Put, "/v1/key/generate/", MAX_BODY, 15, Policy),
        route(Op::EncryptKey, Put, "/v1/key/encrypt/", MAX_BODY, 15, Policy),
        route(Op::DecryptKey, Put, "/v1/key/decrypt/", MAX_BODY, 15, Policy),
        route(Op::BulkDecrypt, Put, "/v1/key/bulk/decrypt/", MAX_BODY, 15, Policy),
        route(Op::Hmac, Put, "/v1/key/hmac/", MAX_BODY, 15, Policy),
        route(Op::DescribePolicy, Get, "/v1/policy/describe/", 0, 15, Policy),
        route(Op::ReadPolicy, Get, "/v1/policy/read/", 0, 15, Policy),
        route(Op::ListPolicies, Get, "/v1/policy/list/", 0, 15, Policy),
        route(Op::DescribeIdentity, Get, "/v1/identity/describe/", 0, 15, Policy),
        route(Op::ListIdentities, Get, "/v1/identity/list/", 0, 15, Policy),
        route(Op::SelfDescribe, Get, "/v1/identity/self/describe", 0, 15, Certificate),
        route(Op::ErrorLog, Get, "/v1/log/error", 0, 0, Policy),
        route(Op::AuditLog, Get, "/v1/log/audit", 0, 0, Policy),
        route(Op::Refusals, Get, "/v1/log/refusals", 0, 15, Policy),
    ]
};

impl Route {
    /// The route of a decoded path and what follows the route's prefix: a name, a pattern, or
    /// nothing. The comparison is exact; `None` means 404.
    pub fn find(path: &str) -> Option<(&'static Self, &str)> {
        ROUTES.iter().find_map(|route| Some((route, route.resource(path)?)))
    }

    /// What follows the route's prefix in a decoded path: a name, a pattern, or nothing. `None` if
    /// the path is not one of this route.
    pub fn resource<'a>(&self, path: &'a str) -> Option<&'a str> {
        let resource = path.strip_prefix(self.path)?;
        (self.takes_name() || resource.is_empty()).then_some(resource)
    }

    /// Whether a name or pattern follows the path.
    pub const fn takes_name(&self) -> bool {
        matches!(self.path.as_bytes(), [.., b'/'])
    }

    /// The path with `name` in place of the name that a request has, or `pattern` in place of that of a
    /// listing.
    pub fn template(&self, name: &str, pattern: &str) -> String {
        let resource = match self.takes_name() {
            false => "",
            true if self.operation.lists() => pattern,
            true => name,
        };
        format!("{}{resource}", self.path)
    }

    /// Whether what follows the path is a name that a request may have, or for a listing a pattern;
    /// nothing, if the route takes no name.
    pub fn is_valid_resource(&self, resource: &str) -> bool {
        match self.takes_name() {
            false => resource.is_empty(),
            true if self.operation.lists() => ListPattern::parse(resource).is_ok(),
            true => KeyName::parse(resource).is_ok(), // of policies and identities as well
        }
    }

    /// Whether the route accepts a method, as written in the request line.
    pub fn accepts(&self, method: &str) -> bool {
        method == self.method.as_str() || (self.method == Method::Put && method == "POST")
    }
}

impl Operation {
    /// How many operations there are, for tables indexed by [`Operation::index`].
    pub const COUNT: usize = ROUTES.len();

    /// The position of the operation's row in [`ROUTES`].
    pub const fn index(self) -> usize {
        self as usize
    }

    /// Whether it creates, imports or deletes a key. Who asks a second time may get another answer.
    pub const fn changes_key(self) -> bool {
        matches!(self, Self::CreateKey | Self::ImportKey | Self::DeleteKey)
    }

    /// Whether it lists the names that match a pattern.
    pub const fn lists(self) -> bool {
        matches!(self, Self::ListKeys | Self::ListPolicies | Self::ListIdentities)
    }

    /// The operation's row.
    #[expect(clippy::indexing_slicing, reason = "each operation has a row")]
    pub const fn route(self) -> &'static Route {
        &ROUTES[self.index()]
    }

    /// Its name in records, such as `DecryptKey`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Version => "Version",
            Self::Ready => "Ready",
            Self::Status => "Status",
            Self::Metrics => "Metrics",
            Self::ListApis => "ListApis",
            Self::CreateKey => "CreateKey",
            Self::ImportKey => "ImportKey",
            Self::DescribeKey => "DescribeKey",
            Self::DeleteKey => "DeleteKey",
            Self::ListKeys => "ListKeys",
            Self::GenerateKey => "GenerateKey",
            Self::EncryptKey => "EncryptKey",
            Self::DecryptKey => "DecryptKey",
            Self::BulkDecrypt => "BulkDecrypt",
            Self::Hmac => "Hmac",
            Self::DescribePolicy => "DescribePolicy",
            Self::ReadPolicy => "ReadPolicy",
            Self::ListPolicies => "ListPolicies",
            Self::DescribeIdentity => "DescribeIdentity",
            Self::ListIdentities => "ListIdentities",
            Self::SelfDescribe => "SelfDescribe",
            Self::ErrorLog => "ErrorLog",
            Self::AuditLog => "AuditLog",
            Self::Refusals => "Refusals",
        }
    }
}

impl Method {
    /// The word in a request line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
        }
    }
}

const fn route(
    operation: Operation,
    method: Method,
    path: &'static str,
    max_body: u64,
    timeout_s: u64,
    auth: Auth,
) -> Route {
    let timeout = if timeout_s == 0 { None } else { Some(Duration::from_secs(timeout_s)) };
    Route { operation, method, path, max_body, timeout, auth }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_stand_in_the_order_of_the_operations() {
        for (index, route) in ROUTES.iter().enumerate() {
            assert_eq!(route.operation.index(), index, "{}", route.path);
        }
    }

    #[test]
    fn paths_are_compared_exactly() {
        assert_eq!(Route::find("/version").unwrap().0.operation, Operation::Version);
        for path in ["/version/", "/Version", "/v1/STATUS", "/v1/key/", "/", "", "/v1/status?"] {
            assert!(Route::find(path).is_none(), "{path}");
        }
    }

    #[test]
    fn a_name_is_everything_after_the_prefix() {
        let (route, name) = Route::find("/v1/key/create/a/b").unwrap();
        assert_eq!((route.operation, name), (Operation::CreateKey, "a/b"));
        let (route, name) = Route::find("/v1/key/bulk/decrypt/k").unwrap();
        assert_eq!((route.operation, name), (Operation::BulkDecrypt, "k"));
        assert_eq!(Route::find("/v1/key/list/").unwrap().1, "");
    }

    #[test]
    fn a_resource_is_a_name_a_pattern_or_nothing() {
        for (operation, valid, invalid) in [
            (Operation::Status, [""].as_slice(), ["a"].as_slice()),
            (Operation::CreateKey, &["a", "a-1"], &["", "a*", "-a", "a/b", "a.b"]),
            (Operation::ListKeys, &["", "a", "*", "a*", "a*b"], &["a/b", "a*b*"]),
            (Operation::ReadPolicy, &["minio"], &["", "*"]),
        ] {
            let route = operation.route();
            assert!(valid.iter().all(|name| route.is_valid_resource(name)), "{operation:?}");
            assert!(!invalid.iter().any(|name| route.is_valid_resource(name)), "{operation:?}");
        }
    }

    #[test]
    fn put_accepts_post_and_get_does_not_accept_head() {
        assert!(Operation::CreateKey.route().accepts("POST"));
        assert!(Operation::CreateKey.route().accepts("PUT"));
        assert!(!Operation::DeleteKey.route().accepts("POST"));
        assert!(!Operation::Status.route().accepts("HEAD"));
        assert!(!Operation::Status.route().accepts("get"));
    }
}
