//! Decisions on all operations under generated policies, compared with a model that is written as
//! simply as possible.

use kes_api::route::{Auth, ROUTES, Route};
use kes_api::{Identity, KeyName, Operation};
use kes_policy::{Change, Policies, Policy};
use proptest::prelude::*;

/// Operations that give the same on the same resource.
const SAME_POWER: [[Operation; 2]; 2] =
    [[Operation::DecryptKey, Operation::BulkDecrypt], [Operation::AuditLog, Operation::Refusals]];

fn who(byte: u8) -> Identity {
    Identity::of_public_key(&[byte])
}

/// The paths of all operations with the power of this one, for all spellings of the resource.
fn paths(route: &Route, resource: &str) -> Vec<String> {
    let mut operations = vec![route.operation];
    operations.extend(SAME_POWER.iter().filter(|pair| pair.contains(&route.operation)).flatten());
    let mut spellings = vec![resource.to_owned()];
    match route.operation {
        Operation::ListKeys | Operation::ListPolicies | Operation::ListIdentities => {
            spellings.extend(resource.split('*').next().map(str::to_owned));
        }
        // Another text is no identity, and has no other spelling.
        Operation::DescribeIdentity if resource.parse::<Identity>().is_ok() => {
            spellings.push(resource.to_lowercase());
        }
        _ => {}
    }
    let routes = operations.into_iter().map(|operation| operation.route().path);
    routes.flat_map(|path| spellings.iter().map(move |name| format!("{path}{name}"))).collect()
}

/// The rules for patterns (contract `config.md`, Policies): `*` at the end matches anything, and
/// inside a deny pattern anything within one segment.
fn matches(pattern: &[u8], path: &[u8], is_deny: bool) -> bool {
    match (pattern, path) {
        ([b'*'], _) => true,
        ([b'*', rest @ ..], _) if is_deny => (0..=path.len())
            .take_while(|taken| !path[..*taken].contains(&b'/'))
            .any(|taken| matches(rest, &path[taken..], true)),
        ([p, rest @ ..], [b, path @ ..]) => p == b && matches(rest, path, is_deny),
        ([], []) => true,
        ([], _) | (_, []) => false,
    }
}

fn any_matches(patterns: &[String], path: &str, is_deny: bool) -> bool {
    patterns.iter().any(|pattern| matches(pattern.as_bytes(), path.as_bytes(), is_deny))
}

/// Whether a caller may run the operation of a route on a resource.
fn permits(policies: &Policies, caller: u8, route: &Route, resource: &str) -> bool {
    let path = format!("{}{resource}", route.path);
    policies.permit(Some(&who(caller)), route.operation, &path).is_ok()
}

/// Patterns near the paths of routes: whole, cut off, and with a `*` in place of a segment or of a
/// part of one.
fn pattern() -> impl Strategy<Value = String> {
    let near = (0..ROUTES.len(), "(a|b|ab|a-1|A)?", 0..30_usize, 0..5_u8).prop_map(
        |(route, name, cut, how)| {
            let path = format!("{}{name}", ROUTES[route].path);
            let mut segments: Vec<&str> = path.split('/').collect();
            let middle = segments.len() / 2;
            match how {
                0 => path,
                1 => format!("{path}*"),
                2 => format!("{}*", &path[..cut.min(path.len())]),
                3 => {
                    segments[middle] = "*";
                    segments.join("/")
                }
                _ => {
                    let half = &segments[middle][..segments[middle].len() / 2];
                    let half = format!("{half}*");
                    segments[middle] = &half;
                    segments.join("/") + "*"
                }
            }
        },
    );
    prop_oneof![4 => near, 1 => "[/a*]{0,4}"]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn every_operation_is_decided_as_the_model_decides(
        allow in proptest::collection::vec(pattern(), 0..4),
        deny in proptest::collection::vec(pattern(), 0..3),
        all in any::<bool>(),
        name in "(a|b|ab|a-1|A|ab\\*|\\*a|a\\*b)?",
    ) {
        let allow = if all { vec!["*".to_owned()] } else { allow };
        let texts = |patterns: &[String]| patterns.to_vec();
        let policy = Policy::new(
            "p",
            texts(&allow).iter().map(String::as_str),
            texts(&deny).iter().map(String::as_str),
        );
        let policies = Policies::new(Some(who(0)), vec![(policy, vec![who(1)])]).unwrap();
        let identity = who(1).to_string();
        let upper = identity.to_uppercase();
        for route in &ROUTES {
            let resources: &[&str] = match route.operation {
                Operation::DescribeIdentity => &[&name, &identity, &upper],
                _ if route.takes_name() => &[&name],
                _ => &[""],
            };
            for resource in resources {
                let path = format!("{}{resource}", route.path);
                let is_denied =
                    paths(route, resource).iter().any(|path| any_matches(&deny, path, true));
                let expected = route.auth != Auth::Policy
                    || any_matches(&allow, &path, false) && !is_denied;
                let is_permitted = permits(&policies, 1, route, resource);
                prop_assert_eq!(is_permitted, expected, "{} of {:?}", path, &deny);
                // The admin has no policy, and an unknown identity no right.
                prop_assert!(permits(&policies, 0, route, resource));
                prop_assert_eq!(permits(&policies, 2, route, resource), route.auth != Auth::Policy);
            }
        }
    }

    /// An explanation says what a permit says, for every kind of caller, and what it says would change
    /// the decision does.
    #[test]
    fn an_explanation_tells_the_decision_and_what_changes_it(
        allow in proptest::collection::vec(pattern(), 0..4),
        deny in proptest::collection::vec(pattern(), 0..3),
        exempt in 0..ROUTES.len(),
        name in "(a|b|ab|a-1|A|ab\\*|\\*a|a\\*b)?",
        odd in "/[/a-c1]{0,9}",
    ) {
        let policies_of = |allow: &[String], deny: &[String], member: u8| {
            let [allow, deny] = [allow, deny].map(|list| list.iter().map(String::as_str));
            let policy = Policy::new("p", allow, deny);
            let policies = Policies::new(Some(who(0)), vec![(policy, vec![who(member)])]).unwrap();
            policies.exempting([ROUTES[exempt].operation])
        };
        let policies = policies_of(&allow, &deny, 1);
        let callers = [None, Some(who(0)), Some(who(1)), Some(who(2))];
        for route in &ROUTES {
            let resource = if route.takes_name() { &*name } else { "" };
            // Also a path that is not one of the operation.
            for path in [format!("{}{resource}", route.path), odd.clone()] {
                for caller in callers {
                    let permit = policies.permit(caller.as_ref(), route.operation, &path);
                    let told = policies.explain(caller.as_ref(), route.operation, &path);
                    prop_assert_eq!(told.is_allowed(), permit.is_ok(), "{} {:?}", path, told);
                    let reason = told.decision.err().map(kes_policy::Denied::from);
                    prop_assert_eq!(reason, permit.err(), "{} {:?}", path, told);
                }
                if !route.is_valid_resource(resource) || path == odd {
                    continue;
                }
                // By the member of the policy and a stranger, whom the policy takes in.
                for caller in [1, 2] {
                    let told = policies.explain(Some(&who(caller)), route.operation, &path);
                    let (mut allow, mut deny, mut member) = (allow.clone(), deny.clone(), 1);
                    let changes = told.changes();
                    if changes.is_empty() || changes == [Change::RemoveExemption] {
                        prop_assert!(told.is_allowed(), "{} {:?}", path, told);
                        continue;
                    }
                    for change in changes.into_iter().rev() {
                        match change {
                            Change::AddAllow(pattern) => allow.push(pattern),
                            Change::RemoveDeny(position) => drop(deny.remove(position)),
                            Change::AddDeny(pattern) => deny.push(pattern),
                            Change::JoinPolicy { allow: pattern } => {
                                (allow, deny, member) = (vec![pattern], Vec::new(), 2);
                            }
                            other => prop_assert!(false, "{:?}", other),
                        }
                    }
                    let changed = policies_of(&allow, &deny, member);
                    let now = permits(&changed, caller, route, resource);
                    prop_assert_eq!(now, !told.is_allowed(), "{} {:?}", path, told);
                }
            }
        }
    }

    /// Of each pair of operations: a deny refuses both or one, as their powers say.
    #[test]
    fn a_deny_refuses_the_operations_of_one_power_together(
        deny in pattern(),
        name in "[ab]{1,2}|a-1",
    ) {
        prop_assume!(KeyName::parse(&name).is_ok());
        let policy = Policy::new("p", ["*"], [&*deny]);
        let policies = Policies::new(None, vec![(policy, vec![who(1)])]).unwrap();
        for [one, other] in SAME_POWER {
            let name = if one.route().takes_name() { &*name } else { "" };
            prop_assert_eq!(
                permits(&policies, 1, one.route(), name),
                permits(&policies, 1, other.route(), name),
                "{:?} and {:?} of {} under {}", one, other, name, deny
            );
        }
        for a in &ROUTES {
            // A pattern that begins with the path of one route refuses no operation of another power.
            let Some(rest) = deny.strip_prefix(a.path) else { continue };
            if !a.takes_name() || rest.contains('/') {
                continue;
            }
            for b in ROUTES.iter().filter(|b| b.operation != a.operation && b.auth == Auth::Policy) {
                let is_same = SAME_POWER.iter().any(|pair| {
                    pair.contains(&a.operation) && pair.contains(&b.operation)
                });
                let resource = if b.takes_name() { &*name } else { "" };
                prop_assert!(is_same || permits(&policies, 1, b, resource), "{} under {}", b.path, deny);
            }
        }
    }
}
