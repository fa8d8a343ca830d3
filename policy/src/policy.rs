use std::sync::Arc;

use kes_api::Operation;

use crate::power::{others, with_canonical};
use crate::{Denied, LimitSettings, Pattern};

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
    pub(crate) fn check(
        &self,
        operation: Operation,
        path: &str,
        resource: &str,
    ) -> Result<(), Denied> {
        if let Some(pattern) = self.denying(operation, path, resource) {
            return Err(Denied::DeniedBy { policy: self.shared_name(), pattern: pattern.text() });
        }
        if self.allow.iter().any(|pattern| pattern.matches(path)) {
            return Ok(());
        }
        Err(Denied::NotAllowed { policy: self.shared_name() })
    }

    /// The first deny pattern that refuses an operation on a resource.
    fn denying(&self, operation: Operation, path: &str, resource: &str) -> Option<&Pattern> {
        if self.deny.is_empty() {
            return None;
        }
        let by_path = self.deny.iter().find(|pattern| pattern.matches(path));
        by_path.or_else(|| {
            with_canonical(operation, resource, |canonical| {
                let own = (canonical != resource).then_some(operation);
                own.into_iter().chain(others(operation)).find_map(|operation| {
                    let route = operation.route().path;
                    self.deny.iter().find(|pattern| pattern.matches_resource(route, canonical))
                })
            })
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
