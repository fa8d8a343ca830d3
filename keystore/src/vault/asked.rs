//! The request that was refused, and the right in a policy that it needs.

use std::fmt;

use http::{HeaderValue, StatusCode};
use percent_encoding::percent_decode_str;

use super::call::{Call, Capability};

/// The namespace of the requests, relative to the namespace of the login.
#[derive(Debug, Default)]
pub(super) struct Space {
    /// The namespace of the requests; empty for the root namespace.
    namespace: String,
    login: String,
    /// What paths begin with in the policies of the login's namespace: `team/`, or nothing.
    prefix: String,
}

/// A request that was refused, for the text of the refusal; empty until [`Asked::new`].
#[derive(Clone, Debug, Default)]
pub(super) struct Asked(Option<Box<Request>>);

#[derive(Clone, Debug)]
struct Request {
    /// Method and path.
    line: String,
    namespace: String,
    capability: Capability,
    /// The path that a policy has to name.
    grant: String,
}

impl Space {
    pub(super) fn new(namespace: Option<&HeaderValue>, login: Option<&HeaderValue>) -> Self {
        let text = |header: Option<&HeaderValue>| {
            let text = header.and_then(|header| header.to_str().ok()).unwrap_or_default();
            text.trim_matches('/').to_owned()
        };
        let (namespace, login) = (text(namespace), text(login));
        let prefix = below(&namespace, &login).unwrap_or(&namespace);
        let prefix = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
        Self { namespace, login, prefix }
    }

    /// The namespaces of login and requests, if no token of the first can have a right in the second.
    pub(super) fn out_of_reach(&self) -> Option<(&str, &str)> {
        let is_reached = below(&self.namespace, &self.login).is_some();
        (!is_reached).then_some((&self.login, &self.namespace))
    }

    /// The first part of paths in a policy.
    pub(super) fn prefix(&self) -> &str {
        &self.prefix
    }
}

/// The part of a namespace that is below another one; `None` if it is not below it.
fn below<'a>(namespace: &'a str, outer: &str) -> Option<&'a str> {
    if outer.is_empty() {
        return Some(namespace);
    }
    let rest = namespace.strip_prefix(outer)?;
    if rest.is_empty() { Some(rest) } else { rest.strip_prefix('/') }
}

impl Asked {
    pub(super) fn new(call: &Call, space: &Space) -> Self {
        let path = call.shown_path.as_ref().unwrap_or(&call.request.path);
        let path = percent_decode_str(path.strip_prefix("/v1/").unwrap_or(path));
        let path = path.decode_utf8_lossy();
        let query = if call.right == Capability::List { "?list=true" } else { "" };
        // As `kes check` names it: all keys in a folder, or the one key of a transit engine.
        let grant = match call.right {
            Capability::Update => path.to_string(),
            Capability::List => format!("{path}/*"),
            Capability::Create | Capability::Read | Capability::Delete => path
                .rsplit_once('/')
                .map_or_else(|| path.to_string(), |(folder, _)| format!("{folder}/*")),
        };
        Self(Some(Box::new(Request {
            line: format!("{} {path}{query}", call.request.method),
            namespace: space.namespace.clone(),
            capability: call.right,
            grant: format!("{}{grant}", space.prefix),
        })))
    }

    /// The right that the request needs.
    pub(super) fn capability(&self) -> Option<Capability> {
        self.0.as_ref().map(|request| request.capability)
    }

    /// The missing right as a policy grants it: `"read" on "kv/data/*"`.
    fn missing(&self) -> String {
        self.0.as_ref().map_or_else(String::new, |request| {
            format!("\"{}\" on \"{}\"", request.capability, request.grant)
        })
    }

    /// What an operator can do about a refusal.
    pub(super) fn advice(&self, status: StatusCode, has_namespace: bool) -> String {
        match &self.0 {
            Some(request) if !has_namespace => {
                format!(": namespace '{}' does not exist", request.namespace)
            }
            Some(request) if status == StatusCode::FORBIDDEN => {
                // Only requests to the transit engine need this right. To encrypt with a key that
                // does not exist means to create it, which the policy may not allow.
                let or = match request.capability {
                    Capability::Update => ", or there is no such key, or no such engine",
                    Capability::Create
                    | Capability::Read
                    | Capability::Delete
                    | Capability::List => "",
                };
                format!(
                    "; in the policy of the role, grant {}{or} (`kes check` names all that is \
                     missing)",
                    self.missing()
                )
            }
            _ => String::new(),
        }
    }
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            None => Ok(()),
            Some(request) if request.namespace.is_empty() => write!(f, " to {}", request.line),
            Some(request) => {
                write!(f, " to {} in namespace '{}'", request.line, request.namespace)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::call::{delete, read};
    use super::super::paths::encode;
    use super::*;

    fn space(namespace: &'static str, login: &'static str) -> Space {
        let header = |text| Some(HeaderValue::from_static(text));
        Space::new(header(namespace).as_ref(), header(login).as_ref())
    }

    #[test]
    fn what_is_missing_is_named_as_a_policy_writes_it() {
        let (root, team) = (Space::default(), space("team", ""));
        let call = read(encode(&["kv", "data", "a b", "k"]));
        let asked = Asked::new(&call, &root);
        assert_eq!(asked.to_string(), " to GET kv/data/a b/k");
        assert_eq!(asked.missing(), r#""read" on "kv/data/a b/*""#);
        let asked = Asked::new(&delete(encode(&["kv/metadata/k"])), &team);
        assert_eq!(asked.to_string(), " to DELETE kv/metadata/k in namespace 'team'");
        assert_eq!(asked.missing(), r#""delete" on "team/kv/metadata/*""#);
        let asked = Asked::new(
            &delete("/v1/kv/claims/s%2fAbc".to_owned()).of_listed("/v1/kv/claims"),
            &root,
        );
        assert_eq!(asked.to_string(), " to DELETE kv/claims/...");
        assert_eq!(asked.missing(), r#""delete" on "kv/claims/*""#);
        let call = Call { right: Capability::List, ..read(encode(&["kv"])) };
        let asked = Asked::new(&call, &space("team", "team"));
        assert_eq!(asked.to_string(), " to GET kv?list=true in namespace 'team'");
        assert_eq!(asked.missing(), r#""list" on "kv/*""#);
        let call = Call { right: Capability::Update, ..read(encode(&["transit/encrypt/k"])) };
        assert_eq!(Asked::new(&call, &root).missing(), r#""update" on "transit/encrypt/k""#);
    }

    #[test]
    fn a_namespace_is_seen_from_that_of_the_login() {
        for (namespace, login, prefix) in [
            ("", "", ""),
            ("team", "team", ""),
            ("team", "", "team/"),
            ("team/minio", "team", "minio/"),
            ("team/minio", "", "team/minio/"),
            ("teams", "team", "teams/"),
            ("team", "team/minio", "team/"),
        ] {
            assert_eq!(space(namespace, login).prefix(), prefix, "{namespace} {login}");
        }
        assert_eq!(space("team/minio", "team").out_of_reach(), None);
        assert_eq!(space("", "team").out_of_reach(), Some(("team", "")));
        assert_eq!(space("teams", "team").out_of_reach(), Some(("team", "teams")));
    }
}
