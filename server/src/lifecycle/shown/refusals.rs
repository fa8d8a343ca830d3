use std::cmp::Reverse;
use std::collections::BTreeMap;

use kes_api::{Identity, Operation, Route};
use kes_policy::allow_pattern;

use crate::lifecycle::operations::page::facts::Refusal;
use crate::service::denials::StillDenied;

/// Why a request is refused, for those who may not know its names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Why {
    NotAllowed,
    Denied,
    NoPolicy,
}

/// What the policies refuse, the last one first: each request, or without details those of one
/// operation that are refused for the same reason, together.
pub(super) fn of(denied: &[StillDenied], with_details: bool) -> Vec<Refusal> {
    let mut refusals =
        if with_details { denied.iter().map(with_names).collect() } else { without_names(denied) };
    refusals.sort_by(|a, b| (Reverse(a.last), &a.path).cmp(&(Reverse(b.last), &b.path)));
    refusals
}

impl Why {
    const fn of(denied: &StillDenied) -> Self {
        match (&denied.policy, &denied.denied_by) {
            (None, _) => Self::NoPolicy,
            (_, Some(_)) => Self::Denied,
            _ => Self::NotAllowed,
        }
    }
}

fn with_names(denied: &StillDenied) -> Refusal {
    let StillDenied { identity, policy, operation, path, denied_by, count, last, .. } = denied;
    let resource = Route::find(path).map_or("", |(_, resource)| resource);
    let allow = allow_pattern(*operation, resource);
    let (reason, line) = match (policy, denied_by) {
        (None, _) => (
            "no policy names the identity".to_owned(),
            format!("policy.<name>: allow: [{allow}], identities: [{identity}]"),
        ),
        (Some(policy), Some(pattern)) => (
            format!("policy {policy} denies it"),
            format!("policy.{policy}.deny: without {pattern}"),
        ),
        (Some(policy), None) => (
            format!("policy {policy} does not allow it"),
            format!("policy.{policy}.allow: {allow}"),
        ),
    };
    let (path, who) = (path.clone(), identity.to_string());
    Refusal { last: *last, count: *count, path, who, reason, line }
}

fn without_names(denied: &[StillDenied]) -> Vec<Refusal> {
    let mut alike: BTreeMap<(usize, Why), Vec<&StillDenied>> = BTreeMap::new();
    for one in denied {
        alike.entry((one.operation.index(), Why::of(one))).or_default().push(one);
    }
    let merged = alike.into_iter().filter_map(|((_, why), same)| {
        let (first, last) = (same.first()?, same.iter().map(|one| one.last).max()?);
        let path = pattern(first.operation);
        let (reason, line) = match why {
            Why::NotAllowed => ("not allowed", format!("policy.<policy>.allow: {path}")),
            Why::Denied => ("denied", "policy.<policy>.deny: without the pattern".to_owned()),
            Why::NoPolicy => ("in no policy", "policy.<policy>.identities".to_owned()),
        };
        let identities: std::collections::BTreeSet<&Identity> =
            same.iter().map(|one| &one.identity).collect();
        let who = match identities.len() {
            1 => "1 identity".to_owned(),
            many => format!("{many} identities"),
        };
        let count = same.iter().map(|one| one.count).fold(0, u64::saturating_add);
        Some(Refusal { last, count, path, who, reason: reason.to_owned(), line })
    });
    merged.collect()
}

/// The path of an operation, with a word in place of the name.
fn pattern(operation: Operation) -> String {
    operation.route().template("<name>", "<prefix>*")
}

#[cfg(test)]
mod tests {
    use kes_api::Timestamp;

    use super::*;

    fn denied(
        identity: u8,
        policy: Option<&str>,
        operation: Operation,
        name: &str,
        denied_by: Option<&str>,
        last: i64,
    ) -> StillDenied {
        StillDenied {
            identity: Identity::of_public_key(&[identity]),
            policy: policy.map(str::to_owned),
            operation,
            path: format!("{}{name}", operation.route().path),
            denied_by: denied_by.map(str::to_owned),
            count: 3,
            first: Timestamp::from_unix(0, 0).unwrap(),
            last: Timestamp::from_unix(last, 0).unwrap(),
        }
    }

    fn some() -> Vec<StillDenied> {
        vec![
            denied(1, Some("secret-policy"), Operation::CreateKey, "secret-a", None, 10),
            denied(2, Some("secret-policy"), Operation::CreateKey, "secret-b", None, 30),
            denied(1, Some("secret-policy"), Operation::ListKeys, "secret-*secret-m", None, 5),
            denied(
                1,
                Some("secret-policy"),
                Operation::DecryptKey,
                "secret-a",
                Some("/v1/key/decrypt/secret-*"),
                20,
            ),
            denied(9, None, Operation::Status, "", None, 40),
        ]
    }

    #[test]
    fn without_details_what_is_alike_is_told_together_and_without_a_name() {
        let told = of(&some(), false);
        let rows: Vec<_> = told
            .iter()
            .map(|one| (&*one.path, &*one.who, &*one.reason, &*one.line, one.count))
            .collect();
        let allow = |path| format!("policy.<policy>.allow: {path}");
        let create = allow("/v1/key/create/<name>");
        let list = allow("/v1/key/list/<prefix>*");
        assert_eq!(
            rows,
            [
                ("/v1/status", "1 identity", "in no policy", "policy.<policy>.identities", 3),
                ("/v1/key/create/<name>", "2 identities", "not allowed", &*create, 6),
                (
                    "/v1/key/decrypt/<name>",
                    "1 identity",
                    "denied",
                    "policy.<policy>.deny: without the pattern",
                    3
                ),
                ("/v1/key/list/<prefix>*", "1 identity", "not allowed", &*list, 3),
            ]
        );
        let all = format!("{told:?}");
        let identity = Identity::of_public_key(&[1]).to_string();
        assert!(!all.contains("secret") && !all.contains(&identity), "{all}");
    }

    #[test]
    fn with_details_each_request_has_the_line_that_would_allow_it() {
        let lines: Vec<_> = of(&some(), true).into_iter().map(|one| one.line).collect();
        let stranger = Identity::of_public_key(&[9]);
        assert_eq!(
            lines,
            [
                format!("policy.<name>: allow: [/v1/status], identities: [{stranger}]"),
                "policy.secret-policy.allow: /v1/key/create/secret-b".to_owned(),
                "policy.secret-policy.deny: without /v1/key/decrypt/secret-*".to_owned(),
                "policy.secret-policy.allow: /v1/key/create/secret-a".to_owned(),
                "policy.secret-policy.allow: /v1/key/list/secret-*".to_owned(),
            ]
        );
    }
}
