//! Which lines of the audit log are printed.

use kes_api::event::AuditEvent;
use kes_api::route::Route;
use kes_api::{Operation, Timestamp};
use kes_audit::search::Pattern;

use crate::args::{IdentityPrefix, LogArgs, Statuses};

/// What a line has to be. What is not set does not matter.
pub(super) struct Filter {
    identity: Option<IdentityPrefix>,
    key: Option<Pattern>,
    status: Option<Statuses>,
    since: Option<Timestamp>,
}

impl Filter {
    /// That of the command line.
    pub(super) fn of(args: &LogArgs) -> Self {
        Self {
            identity: args.identity.clone(),
            key: args.key.clone(),
            status: args.status.clone(),
            since: args.since,
        }
    }

    /// The first flag that is set.
    pub(super) fn flag(&self) -> Option<&'static str> {
        let flags = [
            (self.identity.is_some(), "--identity"),
            (self.key.is_some(), "--key"),
            (self.status.is_some(), "--status"),
            (self.since.is_some(), "--since"),
        ];
        flags.into_iter().find_map(|(is_set, flag)| is_set.then_some(flag))
    }

    /// Whether a line is printed. One of an unknown form has nothing that could be compared.
    pub(super) fn passes(&self, line: &str) -> bool {
        if self.flag().is_none() {
            return true;
        }
        let Ok(event) = serde_json::from_str::<AuditEvent<'_>>(line) else { return false };
        let identity = self.identity.as_ref().is_none_or(|prefix| {
            event.request.identity.is_some_and(|identity| prefix.matches(identity))
        });
        let key = self
            .key
            .as_ref()
            .is_none_or(|pattern| key(&event.request.path).is_some_and(|key| pattern.matches(key)));
        identity
            && key
            && self.status.as_ref().is_none_or(|statuses| statuses.matches(event.response.code))
            && self.since.is_none_or(|since| event.time >= since)
    }
}

/// The key that a path is about. That of a listing has a pattern in its place.
fn key(path: &str) -> Option<&str> {
    let (route, name) = Route::find(path)?;
    let is_about_a_key =
        route.path.starts_with("/v1/key/") && route.operation != Operation::ListKeys;
    is_about_a_key.then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDENTITY: &str = "bd361f98d45e59575eae2080a1044ff2280ae7621f7dfaf3ba68af2ec945f378";

    fn line(path: &str, identity: &str, code: u16) -> String {
        format!(
            r#"{{"time":"2026-11-22T02:24:08.5Z","request":{{"ip":"127.0.0.1","path":"{path}","identity":"{identity}"}},"response":{{"code":{code},"time":2437816}}}}"#
        )
    }

    fn none() -> Filter {
        Filter { identity: None, key: None, status: None, since: None }
    }

    #[test]
    fn a_line_has_to_be_all_that_is_set() {
        let line = line("/v1/key/bulk/decrypt/minio-1", IDENTITY, 403);
        let time = |text: &str| Some(Timestamp::parse(text).unwrap());
        let all = Filter {
            identity: Some("bd36".parse().unwrap()),
            key: Some("minio-*".parse().unwrap()),
            status: Some("403,5xx".parse().unwrap()),
            since: time("2026-11-22T02:24:08Z"),
        };
        assert!(all.passes(&line));
        for (flag, filter) in [
            ("--identity", Filter { identity: Some("bd37".parse().unwrap()), ..none() }),
            ("--key", Filter { key: Some("minio".parse().unwrap()), ..none() }),
            ("--status", Filter { status: Some("404".parse().unwrap()), ..none() }),
            ("--since", Filter { since: time("2026-11-22T02:24:09Z"), ..none() }),
        ] {
            assert_eq!(filter.flag(), Some(flag));
            assert!(!filter.passes(&line), "{flag}");
        }
        assert_eq!(none().flag(), None);
        // What cannot be compared is printed only if nothing is compared.
        assert!(none().passes("no JSON") && !all.passes("no JSON"));
    }

    #[test]
    fn requests_without_a_key_or_identity_are_not_those_of_one() {
        let key = Filter { key: Some("*".parse().unwrap()), ..none() };
        assert!(key.passes(&line("/v1/key/create/a", IDENTITY, 200)));
        for path in ["/v1/key/list/a*", "/v1/status", "/v1/policy/read/a", "/nope"] {
            assert!(!key.passes(&line(path, IDENTITY, 200)), "{path}");
        }
        let identity = Filter { identity: Some("b".parse().unwrap()), ..none() };
        assert!(!identity.passes(&line("/v1/status", "", 400)));
    }
}
