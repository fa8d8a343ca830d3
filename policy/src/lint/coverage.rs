use std::fmt;

use kes_api::route::{Auth, Operation, ROUTES, Route};

use super::reach::{a_name, reaches};
use crate::power::{others, wider};
use crate::{Pattern, Policy};

/// How what a deny pattern refuses differs from what it seems to refuse. A path is that of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coverage {
    /// It matches only paths for which no policy is asked.
    Nothing { path: &'static str },
    /// It also refuses an allowed operation whose paths it does not match.
    More { path: &'static str, by: &'static str },
    /// What it refuses is given by an operation that stays allowed.
    Less { path: &'static str, by: &'static str },
    /// Names that it does not list are listed together with others.
    Listed { path: &'static str },
}

/// Compares a deny pattern of a policy with what the policy still allows.
pub(super) fn of(policy: &Policy, pattern: &Pattern) -> Option<Coverage> {
    let reached = || ROUTES.iter().filter(|route| reaches(pattern, route));
    let difference = reached().filter(|route| route.auth == Auth::Policy).find_map(|route| {
        more(policy, pattern, route)
            .or_else(|| less(policy, pattern, route))
            .or_else(|| listed(policy, pattern, route))
    });
    difference.or_else(|| {
        let path = reached().next()?.path;
        reached().all(|route| route.auth != Auth::Policy).then_some(Coverage::Nothing { path })
    })
}

/// That the pattern refuses the decryption of single ciphertexts, and matches only the path of bulk
/// decryption; or the audit log, and matches only the path of what was refused. The other way round
/// nobody is surprised.
fn more(policy: &Policy, pattern: &Pattern, route: &Route) -> Option<Coverage> {
    let name = match route.operation {
        Operation::BulkDecrypt => name_in(pattern, route)?,
        Operation::Refusals => String::new(),
        _ => return None,
    };
    let is_surprise = |other: &&Route| {
        let path = format!("{}{name}", other.path);
        policy.allow_patterns().iter().any(|allow| allow.matches(&path))
            && !policy.deny_patterns().iter().any(|deny| deny.matches(&path))
    };
    let other = others(route.operation).map(Operation::route).find(is_surprise)?;
    Some(Coverage::More { path: other.path, by: route.path })
}

/// That a name has what the pattern refuses by way of a wider operation. Both are allowed by one
/// allow pattern: whoever writes one for the wider operation means it.
fn less(policy: &Policy, pattern: &Pattern, route: &Route) -> Option<Coverage> {
    let wider = wider(route.operation)?.route();
    let name = name_in(pattern, route)?;
    let (narrow, wide) = (format!("{}{name}", route.path), format!("{}{name}", wider.path));
    let is_denied = policy.deny_patterns().iter().any(|deny| deny.matches(&wide));
    let is_allowed =
        policy.allow_patterns().iter().any(|allow| allow.matches(&narrow) && allow.matches(&wide));
    (is_allowed && !is_denied).then_some(Coverage::Less { path: wider.path, by: route.path })
}

/// That the pattern is for listings of some names, and a listing of all names is allowed.
fn listed(policy: &Policy, pattern: &Pattern, route: &Route) -> Option<Coverage> {
    let is_for_listings = route.operation.lists() && pattern.body().starts_with(route.path);
    let is_allowed = policy.allow_patterns().iter().any(|allow| allow.matches(route.path));
    let is_denied = policy.deny_patterns().iter().any(|deny| deny.matches(route.path));
    (is_for_listings && is_allowed && !is_denied).then_some(Coverage::Listed { path: route.path })
}

/// A name that the pattern matches behind the path of a route that it reaches.
fn name_in(pattern: &Pattern, route: &Route) -> Option<String> {
    let depth = route.path.matches('/').count();
    // A pattern that ends before the name begins is open: it matches all names.
    let last = pattern.body().split('/').nth(depth).unwrap_or_default();
    a_name(pattern, last, pattern.is_open(), route.operation)
}

/// The end of a sentence that begins with the pattern.
impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing { path } => {
                write!(f, "denies nothing: '{path}' is open to all clients, whatever their policy")
            }
            Self::More { path, by } => {
                let names = if path.ends_with('/') { " for these names" } else { "" };
                write!(
                    f,
                    "denies '{path}'{names} as well, because '{by}' gives the same; \
                     to close only one of them, do not allow it"
                )
            }
            Self::Less { path, by } => write!(
                f,
                "does not deny '{path}', which is allowed for the same names and gives all that \
                 '{by}' gives; deny it too, or allow it by a pattern of its own"
            ),
            Self::Listed { path } => write!(
                f,
                "denies only listings of these names alone: '{path}*' is allowed and lists them \
                 with all others"
            ),
        }
    }
}
