use kes_api::{ListPattern, Operation};

use crate::decision::decide;
use crate::{Grant, Policies, Policy, Refusal, Standing};

/// Why a request is allowed or refused, and what would change that. It is for people: a request is
/// decided on by [`Policies::permit`], which makes the same decision in the same place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation<'p> {
    /// What the caller is.
    pub standing: Standing<'p>,
    /// The decision.
    pub decision: Result<Grant<'p>, Refusal<'p>>,
    /// Every deny pattern of the caller's policy that refuses the request, in the order of the
    /// policy, whether it was asked or not.
    pub denials: Vec<Denial>,
    /// The positions of the allow patterns of the caller's policy that match.
    pub allows: Vec<usize>,
    operation: Operation,
    path: String,
}

/// A deny pattern that refuses a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    /// Its position in the policy.
    pub position: usize,
    /// The path that it matches: that of the request, or of an operation with the same power on the
    /// same resource.
    pub path: String,
}

/// What would turn a decision into its opposite. All changes of an explanation are needed together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The client has to show a certificate that gives an identity.
    Identify,
    /// The identity has to be in a policy that has this allow pattern.
    JoinPolicy {
        /// The pattern.
        allow: String,
    },
    /// The policy needs this allow pattern.
    AddAllow(String),
    /// The policy may not have the deny pattern at this position.
    RemoveDeny(usize),
    /// The policy needs this deny pattern.
    AddDeny(String),
    /// The API may not be exempt (`skip_auth`).
    RemoveExemption,
}

impl Policies {
    /// Why a caller may run an operation on what a decoded path names, or may not.
    pub fn explain(
        &self,
        identity: Option<&kes_api::Identity>,
        operation: Operation,
        path: &str,
    ) -> Explanation<'_> {
        Explanation::of(self.standing(identity), self.is_exempt(operation), operation, path)
    }
}

impl<'p> Explanation<'p> {
    /// Explains the decision on a caller of this standing. `is_exempt` says whether the configuration
    /// exempts the operation from policies.
    pub fn of(standing: Standing<'p>, is_exempt: bool, operation: Operation, path: &str) -> Self {
        let decision = decide(|| standing, is_exempt, operation, path);
        let (mut denials, mut allows) = (Vec::new(), Vec::new());
        if let (Standing::Policy(policy), Some(resource)) =
            (standing, operation.route().resource(path))
        {
            let denied = |(position, pattern)| {
                let path = Policy::denied_path(pattern, operation, path, resource)?;
                Some(Denial { position, path })
            };
            denials = policy.deny_patterns().iter().enumerate().filter_map(denied).collect();
            let allow = policy.allow_patterns().iter().enumerate();
            allows = allow.filter(|(_, one)| one.matches(path)).map(|(at, _)| at).collect();
        }
        Self { standing, decision, denials, allows, operation, path: path.to_owned() }
    }

    /// Whether the request is allowed.
    pub const fn is_allowed(&self) -> bool {
        self.decision.is_ok()
    }

    /// The path that it is about.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// What would turn the decision into its opposite; nothing if no policy can.
    pub fn changes(&self) -> Vec<Change> {
        let resource = self.operation.route().resource(&self.path).unwrap_or_default();
        let allow = || allow_pattern(self.operation, resource);
        match self.decision {
            Ok(Grant::Open | Grant::AnyIdentity | Grant::Admin)
            | Err(Refusal::OtherPath { .. }) => Vec::new(),
            Ok(Grant::Exempt) => vec![Change::RemoveExemption],
            Ok(Grant::Policy { .. }) => vec![Change::AddDeny(allow())],
            Err(Refusal::NoIdentity) => vec![Change::Identify],
            Err(Refusal::UnknownIdentity) => vec![Change::JoinPolicy { allow: allow() }],
            Err(Refusal::NotAllowed { .. } | Refusal::Denied { .. }) => {
                let denials = self.denials.iter().map(|denial| Change::RemoveDeny(denial.position));
                let missing = self.allows.is_empty().then(|| Change::AddAllow(allow()));
                denials.chain(missing).collect()
            }
        }
    }
}

/// The narrowest pattern that stands for an operation on a resource, whichever way a client spells
/// it: the path, and for a listing the path of its prefix and a `*`.
pub fn allow_pattern(operation: Operation, resource: &str) -> String {
    let path = operation.route().path;
    match ListPattern::parse(resource) {
        Ok(pattern) if operation.lists() => format!("{path}{}*", pattern.prefix()),
        _ => format!("{path}{resource}"),
    }
}

#[cfg(test)]
mod tests {
    use kes_api::{Identity, Route};

    use super::*;

    fn who(byte: u8) -> Identity {
        Identity::of_public_key(&[byte])
    }

    fn policies() -> Policies {
        let allow = ["/v1/key/create/*", "/v1/key/*", "/v1/key/decrypt/a"];
        let deny = ["/v1/key/bulk/decrypt/s-*", "/v1/key/*/s-1", "/v1/key/list/k"];
        let policy = Policy::new("p", allow, deny);
        let policies = Policies::new(Some(who(0)), vec![(policy, vec![who(1)])]).unwrap();
        policies.exempting([Operation::Ready])
    }

    fn explain<'p>(policies: &'p Policies, caller: u8, path: &str) -> Explanation<'p> {
        let (route, _) = Route::find(path).unwrap();
        policies.explain(Some(&who(caller)), route.operation, path)
    }

    fn denials(explanation: &Explanation<'_>) -> Vec<(usize, String)> {
        explanation.denials.iter().map(|one| (one.position, one.path.clone())).collect()
    }

    #[test]
    fn every_pattern_that_refuses_is_told_with_the_path_that_it_matches() {
        let policies = policies();
        let explanation = explain(&policies, 1, "/v1/key/decrypt/s-1");
        assert_eq!(explanation.path(), "/v1/key/decrypt/s-1");
        // The one that matches the path itself decides.
        assert!(matches!(explanation.decision, Err(Refusal::Denied { deny: 1, .. })));
        let bulk = "/v1/key/bulk/decrypt/s-1".to_owned();
        assert_eq!(denials(&explanation), [(0, bulk), (1, "/v1/key/decrypt/s-1".to_owned())]);
        assert_eq!(explanation.changes(), [Change::RemoveDeny(0), Change::RemoveDeny(1)]);

        let explanation = explain(&policies, 1, "/v1/key/list/k*k1");
        assert_eq!(denials(&explanation), [(2, "/v1/key/list/k".to_owned())]);
        assert!(!explanation.is_allowed());
    }

    #[test]
    fn what_would_change_a_decision_depends_on_who_asks() {
        let policies = policies();
        let changes = |caller, path| explain(&policies, caller, path).changes();
        let path = "/v1/key/decrypt/a";
        assert_eq!(explain(&policies, 1, path).allows, [1, 2]);
        assert_eq!(changes(1, path), [Change::AddDeny(path.to_owned())]);
        assert_eq!(changes(0, path), []);
        assert_eq!(changes(2, path), [Change::JoinPolicy { allow: path.to_owned() }]);
        assert_eq!(changes(1, "/v1/metrics"), [Change::AddAllow("/v1/metrics".to_owned())]);
        assert_eq!(
            changes(1, "/v1/policy/list/a*b"),
            [Change::AddAllow("/v1/policy/list/a*".to_owned())]
        );
        assert_eq!(changes(2, "/v1/ready"), [Change::RemoveExemption]);
        assert_eq!(changes(2, "/version"), []);
        assert_eq!(changes(2, "/v1/identity/self/describe"), []);
        let nobody = policies.explain(None, Operation::Status, "/v1/status");
        assert_eq!(nobody.changes(), [Change::Identify]);
        let other = policies.explain(Some(&who(1)), Operation::DeleteKey, "/v1/status");
        assert!(matches!(other.decision, Err(Refusal::OtherPath { .. })));
        assert_eq!(other.changes(), []);
    }
}
