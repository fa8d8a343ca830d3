use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use kes_api::{Identity, KeyName, Operation};

use crate::decision::decide;
use crate::limits::is_limited;
use crate::policy::Ruling;
use crate::{Denied, Grant, LimitSettings, Limits, Permit, Policy, Standing, StartupPermit};

/// The policies of a server. The cost of a decision does not depend on their number.
#[derive(Debug, Default)]
pub struct Policies {
    admin: Option<Identity>,
    /// Sorted by name.
    policies: Vec<Policy>,
    /// The admin is never among them.
    assigned: HashMap<Identity, Assigned>,
    /// The limits of those identities that have any.
    limits: HashMap<Identity, Limits>,
    /// The limits for all policies.
    general: LimitSettings,
    /// Sorted; the admin included.
    identities: Vec<Identity>,
    /// Whether an operation needs neither a certificate nor a policy, by [`Operation::index`].
    exempt: [bool; Operation::COUNT],
}

/// What a policy is for an identity.
#[derive(Clone, Copy, Debug)]
struct Assigned {
    /// Its position in `policies`.
    policy: usize,
    is_limited: bool,
}

/// Why a set of policies is contradictory.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Conflict {
    /// Two policies have one name.
    #[error("policy '{name}' is defined twice")]
    SameName {
        /// The name.
        name: Arc<str>,
    },

    /// An identity has two policies.
    #[error("identity {identity} is in policy '{first}' and in policy '{second}'")]
    TwoPolicies {
        /// Who has both.
        identity: Identity,
        /// One of them.
        first: Arc<str>,
        /// The other.
        second: Arc<str>,
    },

    /// The admin has a policy.
    #[error("identity {identity} is the admin and in policy '{policy}'")]
    AdminInPolicy {
        /// The admin.
        identity: Identity,
        /// The policy.
        policy: Arc<str>,
    },
}

impl Policies {
    /// Takes policies, each with the identities that it is for. One policy may list an identity
    /// twice.
    ///
    /// # Errors
    /// [`Conflict`] if two policies have one name, or an identity has more than one role.
    pub fn new(
        admin: Option<Identity>,
        mut policies: Vec<(Policy, Vec<Identity>)>,
    ) -> Result<Self, Conflict> {
        policies.sort_by(|(a, _), (b, _)| a.name().cmp(b.name()));
        let mut pairs = policies.iter().zip(policies.iter().skip(1));
        if let Some(((policy, _), _)) = pairs.find(|((a, _), (b, _))| a.name() == b.name()) {
            return Err(Conflict::SameName { name: policy.shared_name() });
        }

        let mut assigned: HashMap<_, Assigned> = HashMap::new();
        let mut limits = HashMap::new();
        for (position, (policy, identities)) in policies.iter().enumerate() {
            for &identity in identities {
                if Some(identity) == admin {
                    return Err(Conflict::AdminInPolicy { identity, policy: policy.shared_name() });
                }
                match assigned.entry(identity) {
                    Entry::Vacant(entry) => {
                        let own = policy.limits().resolve();
                        limits.extend(own.map(|own| (identity, own)));
                        entry.insert(Assigned { policy: position, is_limited: own.is_some() });
                    }
                    Entry::Occupied(entry) if entry.get().policy == position => {}
                    Entry::Occupied(entry) => {
                        #[expect(
                            clippy::indexing_slicing,
                            reason = "it was a position in this list"
                        )]
                        let first = policies[entry.get().policy].0.shared_name();
                        let second = policy.shared_name();
                        return Err(Conflict::TwoPolicies { identity, first, second });
                    }
                }
            }
        }

        let mut identities: Vec<_> = assigned.keys().copied().chain(admin).collect();
        identities.sort_unstable();
        let policies = policies.into_iter().map(|(policy, _)| policy).collect();
        let (general, exempt) = (LimitSettings::default(), [false; Operation::COUNT]);
        Ok(Self { admin, policies, assigned, limits, general, identities, exempt })
    }

    /// The policies of a server that has an admin and nobody else.
    pub fn of_admin(admin: Identity) -> Self {
        Self { admin: Some(admin), identities: vec![admin], ..Self::default() }
    }

    /// The same policies, with operations that need neither a certificate nor a policy
    /// (`skip_auth`). It takes the policies by value: once a server shares them, nothing can be
    /// exempted any more.
    #[must_use]
    pub fn exempting(mut self, operations: impl IntoIterator<Item = Operation>) -> Self {
        for operation in operations {
            if let Some(exempt) = self.exempt.get_mut(operation.index()) {
                *exempt = true;
            }
        }
        self
    }

    /// The same policies, with limits for the identities of all of them, and others for some of
    /// these identities. Of a limit that is stated more than once the most specific setting counts:
    /// the identity's own, then its policy's, then the one for all. The admin has no limits.
    #[must_use]
    pub fn limiting(
        mut self,
        general: LimitSettings,
        own: impl IntoIterator<Item = (Identity, LimitSettings)>,
    ) -> Self {
        let own: HashMap<_, _> = own.into_iter().collect();
        self.general = general;
        self.limits.clear();
        for (identity, assigned) in &mut self.assigned {
            let policy = self.policies.get(assigned.policy);
            let of_policy = policy.map(Policy::limits).unwrap_or_default();
            let own = own.get(identity).copied().unwrap_or_default();
            let limits = own.or(of_policy).or(general).resolve();
            assigned.is_limited = limits.is_some();
            self.limits.extend(limits.map(|limits| (*identity, limits)));
        }
        self
    }

    /// The same policies, and the permits to create the keys that the configuration lists. It takes
    /// the policies by value: once a server shares them, no request can get such a permit.
    pub fn with_startup_keys(
        self,
        names: impl IntoIterator<Item = KeyName>,
    ) -> (Self, Vec<StartupPermit>) {
        let author = self.admin;
        let permits = names.into_iter().map(|name| StartupPermit::new(name, author)).collect();
        (self, permits)
    }

    /// Decides whether a caller may run an operation on what a decoded path names. The permit is
    /// for that operation, and for the name or pattern in the path. It takes one hash look-up and
    /// compares the patterns of one policy; nothing is allocated.
    ///
    /// # Errors
    /// [`Denied`], with the reason for the log.
    pub fn permit<'a>(
        &self,
        identity: Option<&Identity>,
        operation: Operation,
        path: &'a str,
    ) -> Result<Permit<'a>, Denied> {
        let resource = operation.route().resource(path).ok_or(Denied::OtherPath { operation })?;
        let mut has_limits = false;
        let standing = || {
            let (standing, is_limited) = self.standing_of(identity);
            has_limits = is_limited;
            standing
        };
        if let Grant::Exempt = decide(standing, self.is_exempt(operation), operation, path)? {
            // Whoever has limits has them here as well; most servers limit nobody.
            has_limits = !self.limits.is_empty()
                && identity.is_some_and(|identity| self.limits.contains_key(identity));
        }
        let is_limited = has_limits && is_limited(operation);
        Ok(Permit::new(identity.copied(), operation, resource, is_limited))
    }

    /// What a caller is to these policies.
    pub fn standing(&self, identity: Option<&Identity>) -> Standing<'_> {
        self.standing_of(identity).0
    }

    /// The same, and whether it has limits.
    fn standing_of(&self, identity: Option<&Identity>) -> (Standing<'_>, bool) {
        let Some(identity) = identity else { return (Standing::Nobody, false) };
        if self.is_admin(identity) {
            return (Standing::Admin, false);
        }
        let assigned = self.assigned.get(identity);
        let policy = assigned.and_then(|assigned| self.policies.get(assigned.policy));
        match (policy, assigned) {
            (Some(policy), Some(assigned)) => (Standing::Policy(policy), assigned.is_limited),
            _ => (Standing::Unknown, false),
        }
    }

    /// Whether an operation needs neither a certificate nor a policy (`skip_auth`).
    pub fn is_exempt(&self, operation: Operation) -> bool {
        self.exempt.get(operation.index()) == Some(&true)
    }

    /// The identities that have limits, with these.
    pub fn limited(&self) -> impl ExactSizeIterator<Item = (&Identity, &Limits)> {
        self.limits.iter()
    }

    /// The limits that are stated for all policies.
    pub const fn general_limits(&self) -> LimitSettings {
        self.general
    }

    /// Whether a caller may run an operation that is named by its path alone because of who it is,
    /// even if nobody needs to be anybody for it (`skip_auth`).
    pub fn names(&self, identity: Option<&Identity>, operation: Operation) -> bool {
        identity.is_some_and(|identity| {
            let path = operation.route().path;
            self.is_admin(identity)
                || self.policy_of(identity).is_some_and(|policy| {
                    matches!(policy.check(operation, path, ""), Ruling::Allowed(_))
                })
        })
    }

    /// The limits of an identity, if it has any.
    pub fn limits_of(&self, identity: &Identity) -> Option<&Limits> {
        self.limits.get(identity)
    }

    /// The limits of those identities of a policy that have none of their own.
    pub fn limits_of_policy(&self, policy: &Policy) -> Option<Limits> {
        policy.limits().or(self.general).resolve()
    }

    /// Who may do everything; `None` if nobody may.
    pub const fn admin(&self) -> Option<&Identity> {
        self.admin.as_ref()
    }

    /// Whether the identity is the admin.
    pub fn is_admin(&self, identity: &Identity) -> bool {
        self.admin.as_ref() == Some(identity)
    }

    /// The policy with a name.
    pub fn policy(&self, name: &str) -> Option<&Policy> {
        let position = self.policies.binary_search_by(|policy| policy.name().cmp(name)).ok()?;
        self.policies.get(position)
    }

    /// The policy of an identity; the admin has none.
    pub fn policy_of(&self, identity: &Identity) -> Option<&Policy> {
        self.policies.get(self.assigned.get(identity)?.policy)
    }

    /// All policies, sorted by name.
    pub fn policies(&self) -> impl ExactSizeIterator<Item = &Policy> {
        self.policies.iter()
    }

    /// All identities, sorted, the admin included.
    pub fn identities(&self) -> impl ExactSizeIterator<Item = &Identity> {
        self.identities.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kes_api::Route;

    fn who(byte: u8) -> Identity {
        Identity::of_public_key(&[byte])
    }

    fn minio() -> Policy {
        let allow = ["/v1/key/create/*", "/v1/key/decrypt/*", "/v1/status"];
        Policy::new("minio", allow, ["/v1/key/decrypt/secret-*", "/v1/key/*/internal"])
    }

    /// Asks for the operation of a path.
    fn decide(policies: &Policies, identity: &Identity, path: &str) -> Result<(), Denied> {
        let (route, _) = Route::find(path).unwrap();
        policies.permit(Some(identity), route.operation, path).map(drop)
    }

    #[test]
    fn the_rule() {
        let policies = Policies::new(Some(who(0)), vec![(minio(), vec![who(1)])]).unwrap();

        let decrypt = Operation::DecryptKey;
        let permit = policies.permit(Some(&who(0)), decrypt, "/v1/key/decrypt/secret-1").unwrap();
        assert_eq!(permit.identity(), Some(who(0)));
        let permit = policies.permit(Some(&who(1)), decrypt, "/v1/key/decrypt/open").unwrap();
        assert_eq!(permit.identity(), Some(who(1)));
        assert!(decide(&policies, &who(1), "/v1/status").is_ok());

        let reason = |who, path| decide(&policies, &who, path).unwrap_err().to_string();
        assert_eq!(reason(who(2), "/v1/status"), "unknown identity");
        assert_eq!(reason(who(1), "/v1/metrics"), "policy 'minio' does not allow it");
        assert_eq!(
            reason(who(1), "/v1/key/decrypt/secret-1"),
            "policy 'minio' denies it by '/v1/key/decrypt/secret-*'"
        );
        assert_eq!(
            reason(who(1), "/v1/key/create/internal"),
            "policy 'minio' denies it by '/v1/key/*/internal'"
        );
    }

    #[test]
    fn a_permit_is_for_the_operation_and_the_resource_of_the_path() {
        let policies = Policies::of_admin(who(0));
        let permit = |operation, path| policies.permit(Some(&who(0)), operation, path);
        let name = KeyName::parse("k").unwrap();
        let decrypt = permit(Operation::DecryptKey, "/v1/key/decrypt/k").unwrap();
        assert_eq!(decrypt.check(Operation::DecryptKey, &name), Ok(()));
        assert!(decrypt.check(Operation::DeleteKey, &name).is_err());
        // The decision on one path permits no operation of another.
        for path in ["/v1/key/decrypt/k", "/v1/key/deletek", "/v1/status", "k", ""] {
            let operation = Operation::DeleteKey;
            let denied = permit(operation, path).unwrap_err();
            assert_eq!(denied, Denied::OtherPath { operation }, "{path}");
        }
        assert!(permit(Operation::Status, "/v1/status/k").is_err());
        assert!(permit(Operation::Status, "/v1/status").is_ok());
    }

    #[test]
    fn who_needs_an_identity_and_who_is_exempt() {
        let policies = Policies::of_admin(who(0)).exempting([Operation::Ready]);
        let permit = |identity: Option<&Identity>, operation: Operation| {
            let permit = policies.permit(identity, operation, operation.route().path);
            permit.map(|permit| permit.identity())
        };
        let stranger = who(1);
        for (operation, nobody, unknown) in [
            (Operation::Version, Ok(None), Ok(Some(stranger))),
            (Operation::Ready, Ok(None), Ok(Some(stranger))),
            (Operation::SelfDescribe, Err(Denied::NoIdentity), Ok(Some(stranger))),
            (Operation::Status, Err(Denied::NoIdentity), Err(Denied::UnknownIdentity)),
        ] {
            assert_eq!(permit(None, operation), nobody, "{operation:?}");
            assert_eq!(permit(Some(&stranger), operation), unknown, "{operation:?}");
            assert_eq!(permit(Some(&who(0)), operation), Ok(Some(who(0))), "{operation:?}");
        }
    }

    #[test]
    fn who_may_do_something_by_name_is_asked_even_where_nobody_needs_a_name() {
        let allowed = Policy::new("a", ["/v1/status"], []);
        let denied = Policy::new("b", ["/v1/*"], ["/v1/status"]);
        let list = vec![(allowed, vec![who(1)]), (denied, vec![who(2)])];
        let policies = Policies::new(Some(who(0)), list).unwrap().exempting([Operation::Status]);
        let names = |identity: Option<&Identity>| policies.names(identity, Operation::Status);
        assert!(names(Some(&who(0))) && names(Some(&who(1))));
        assert!(!names(Some(&who(2))) && !names(Some(&who(3))) && !names(None));
    }

    fn at_most(requests_at_once: u32) -> LimitSettings {
        let limit = std::num::NonZeroU32::new(requests_at_once).map(crate::Limit::AtMost);
        LimitSettings { requests_at_once: limit, ..LimitSettings::default() }
    }

    fn most(policies: &Policies, identity: &Identity) -> Option<u32> {
        policies.limits_of(identity)?.requests_at_once.map(std::num::NonZeroU32::get)
    }

    #[test]
    fn the_most_specific_limit_counts_and_the_admin_has_none() {
        let limited = Policy::new("a", ["/v1/*"], []).limiting(at_most(20));
        let policies = || {
            let list = vec![(limited.clone(), vec![who(1), who(2)]), (minio(), vec![who(3)])];
            Policies::new(Some(who(0)), list).unwrap()
        };
        let all = |policies: &Policies| [0, 1, 2, 3, 4].map(|byte| most(policies, &who(byte)));
        assert_eq!(all(&policies()), [None, Some(20), Some(20), None, None]);
        // An identity without a policy has no limits, even if somebody states them.
        let own = [(who(2), at_most(300)), (who(0), at_most(1)), (who(4), at_most(1))];
        let policies = policies().limiting(at_most(4), own);
        assert_eq!(all(&policies), [None, Some(20), Some(300), Some(4), None]);
        assert_eq!(policies.limited().len(), 3);
        let of_policy = |name| policies.limits_of_policy(policies.policy(name).unwrap());
        let of_policy = ["a", "minio"].map(|name| of_policy(name).unwrap().requests_at_once);
        assert_eq!(of_policy.map(|limit| limit.unwrap().get()), [20, 4]);
    }

    #[test]
    fn a_permit_tells_whether_its_request_counts() {
        let policy = Policy::new("a", ["/v1/*"], []).limiting(at_most(1));
        let list = vec![(policy, vec![who(1)]), (minio(), vec![who(2)])];
        let policies = Policies::new(Some(who(0)), list).unwrap();
        let is_limited = |policies: &Policies, byte, operation, path| {
            policies.permit(Some(&who(byte)), operation, path).unwrap().is_limited()
        };
        let decrypt = |policies: &Policies, byte| {
            is_limited(policies, byte, Operation::DecryptKey, "/v1/key/decrypt/k")
        };
        assert_eq!([0, 1, 2].map(|byte| decrypt(&policies, byte)), [false, true, false]);
        assert!(!is_limited(&policies, 1, Operation::Status, "/v1/status"));
        // Also where no policy is asked.
        let policies = policies.exempting([Operation::DecryptKey]);
        assert_eq!([0, 1, 2, 3].map(|byte| decrypt(&policies, byte)), [false, true, false, false]);
        let nobody = policies.permit(None, Operation::DecryptKey, "/v1/key/decrypt/k").unwrap();
        assert!(!nobody.is_limited());
    }

    #[test]
    fn the_configuration_creates_keys_in_the_name_of_the_admin() {
        let name = KeyName::parse("k").unwrap();
        let (_, permits) = Policies::of_admin(who(0)).with_startup_keys([name]);
        let permits: Vec<_> = permits.iter().map(|key| (*key.name(), key.author())).collect();
        assert_eq!(permits, [(name, Some(who(0)))]);
        let (_, permits) = Policies::default().with_startup_keys([name]);
        assert_eq!(permits[0].author(), None);
    }

    #[test]
    fn without_an_admin_nobody_is_one() {
        let policies = Policies::new(None, vec![]).unwrap();
        assert_eq!(policies.admin(), None);
        assert!(!policies.is_admin(&who(0)));
        let refused = decide(&policies, &who(0), "/v1/status").unwrap_err();
        assert_eq!(refused, Denied::UnknownIdentity);
    }

    #[test]
    fn an_admin_needs_no_policies() {
        let admin = who(0);
        let alone = Policies::new(Some(admin), vec![]).unwrap();
        for policies in [Policies::of_admin(admin), alone] {
            assert_eq!(policies.admin(), Some(&admin));
            assert!(policies.is_admin(&admin) && !policies.is_admin(&who(1)));
            assert!(policies.identities().eq([&admin]));
            assert_eq!(policies.policies().len(), 0);
        }
    }

    #[test]
    fn one_role_an_identity() {
        let other = |name| Policy::new(name, [], []);
        let twice = Policies::new(None, vec![(minio(), vec![]), (minio(), vec![])]);
        assert_eq!(twice.unwrap_err().to_string(), "policy 'minio' is defined twice");

        let two = vec![(minio(), vec![who(1)]), (other("a"), vec![who(1)])];
        let text = Policies::new(None, two).unwrap_err().to_string();
        assert_eq!(text, format!("identity {} is in policy 'a' and in policy 'minio'", who(1)));

        let text = Policies::new(Some(who(1)), vec![(minio(), vec![who(1)])]).unwrap_err();
        assert_eq!(
            text.to_string(),
            format!("identity {} is the admin and in policy 'minio'", who(1))
        );

        let same = vec![(minio(), vec![who(1), who(1)])];
        assert_eq!(Policies::new(None, same).unwrap().identities().len(), 1);
    }

    #[test]
    fn listings_are_sorted() {
        let named = |name: &str, byte| (Policy::new(name, [], []), vec![who(byte)]);
        let policies =
            Policies::new(Some(who(9)), vec![named("b", 1), named("c", 2), named("a", 3)]).unwrap();
        let names: Vec<_> = policies.policies().map(Policy::name).collect();
        assert_eq!(names, ["a", "b", "c"]);
        assert!(policies.identities().is_sorted());
        assert_eq!(policies.identities().len(), 4);
        assert!(policies.identities().any(|identity| *identity == who(9)));
        assert_eq!(policies.policy("b").unwrap().name(), "b");
        assert!(policies.policy("d").is_none());
        assert_eq!(policies.policy_of(&who(3)).unwrap().name(), "a");
        assert!(policies.policy_of(&who(9)).is_none());
    }
}
