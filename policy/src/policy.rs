use std::sync::Arc;

use kes_api::Operation;

use crate::power::{others, with_canonical};
use crate::{LimitSettings, Pattern};

/// What a policy says of a request, with the position of the pattern that says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ruling {
    /// The first allow pattern that matches.
    Allowed(usize),
    /// The deny pattern that refuses it, whatever else is allowed.
    Denied(usize),
    /// No pattern matches.
    Nothing,
}

/// A named set of patterns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    name: Arc<str>,
    allow: Vec<Pattern>,
    deny: Vec<Pattern>,
    limits: LimitSettings,
}

impl Policy {
    /// Parses the patterns of a policy. Any text is a valid pattern and a valid name. A policy
    /// whose name the API does not accept works, but cannot be requested by name.
    pub fn new<'a>(
        name: &str,
        allow: impl IntoIterator<Item = &'a str>,
        deny: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        Self {
            name: name.into(),
            allow: allow.into_iter().map(Pattern::allow).collect(),
            deny: deny.into_iter().map(Pattern::deny).collect(),
            limits: LimitSettings::default(),
        }
    }

    /// The same policy, with limits for each of its identities.
    #[must_use]
    pub fn limiting(self, limits: LimitSettings) -> Self {
        Self { limits, ..self }
    }

    /// What the policy is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The allow patterns as they were written, in that order.
    pub fn allow(&self) -> impl ExactSizeIterator<Item = &str> {
        self.allow.iter().map(Pattern::as_str)
    }

    /// The deny patterns as they were written, in that order.
    pub fn deny(&self) -> impl ExactSizeIterator<Item = &str> {
        self.deny.iter().map(Pattern::as_str)
    }

    /// The limits that the policy states for each of its identities.
    pub const fn limits(&self) -> LimitSettings {
        self.limits
    }

    /// Allows an operation on a resource if at least one allow pattern matches the path, and no deny
    /// pattern matches it, the path of another operation with the same power on the resource, or
    /// one of these with the resource in another spelling.
    pub(crate) fn check(&self, operation: Operation, path: &str, resource: &str) -> Ruling {
        if let Some(deny) = self.denying(operation, path, resource) {
            return Ruling::Denied(deny);
        }
        let allow = self.allow.iter().position(|pattern| pattern.matches(path));
        allow.map_or(Ruling::Nothing, Ruling::Allowed)
    }

    /// The position of the first deny pattern that refuses an operation on a resource.
    fn denying(&self, operation: Operation, path: &str, resource: &str) -> Option<usize> {
        if self.deny.is_empty() {
            return None;
        }
        let by_path = self.deny.iter().position(|pattern| pattern.matches(path));
        by_path.or_else(|| {
            with_canonical(operation, resource, |canonical| {
                same_power(operation, canonical != resource).find_map(|operation| {
                    let route = operation.route().path;
                    self.deny.iter().position(|pattern| pattern.matches_resource(route, canonical))
                })
            })
        })
    }

    /// Whether a deny pattern of this policy refuses an operation on a resource: the path that it
    /// matches, which may be that of another operation with the same power.
    pub(crate) fn denied_path(
        pattern: &Pattern,
        operation: Operation,
        path: &str,
        resource: &str,
    ) -> Option<String> {
        if pattern.matches(path) {
            return Some(path.to_owned());
        }
        with_canonical(operation, resource, |canonical| {
            let route = same_power(operation, canonical != resource)
                .map(|operation| operation.route().path)
                .find(|route| pattern.matches_resource(route, canonical))?;
            Some(format!("{route}{canonical}"))
        })
    }

    /// The name, shared: a refused request copies no text.
    pub(crate) fn shared_name(&self) -> Arc<str> {
        Arc::clone(&self.name)
    }

    pub(crate) fn allow_patterns(&self) -> &[Pattern] {
        &self.allow
    }

    pub(crate) fn deny_patterns(&self) -> &[Pattern] {
        &self.deny
    }
}

/// The operations whose denies refuse this one by another path than its own: those of the same power,
/// and itself if its resource has another spelling.
fn same_power(operation: Operation, has_other_spelling: bool) -> impl Iterator<Item = Operation> {
    has_other_spelling.then_some(operation).into_iter().chain(others(operation))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_patterns_of_a_policy_are_told_as_they_were_written() {
        let (allow, deny) = (["/v1/key/*", "/version", "/v1/*/a*"], ["/v1/key/b*", "/v1/key/*/a"]);
        let policy = Policy::new("p", allow, deny);
        assert_eq!(policy.allow().collect::<Vec<_>>(), allow);
        assert_eq!(policy.deny().collect::<Vec<_>>(), deny);
        let empty = Policy::new("p", [], []);
        assert_eq!((empty.allow().len(), empty.deny().len()), (0, 0));
    }
}
