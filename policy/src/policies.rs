use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use kes_api::{Auth, Identity, KeyName, Operation};

use crate::{Denied, Permit, Policy, StartupPermit};

/// The policies of a server. The cost of a decision does not depend on their number.
#[derive(Debug, Default)]
pub struct Policies {
    admin: Option<Identity>,
    /// Sorted by name.
    policies: Vec<Policy>,
    /// Positions in `policies`. The admin is never among them.
    assigned: HashMap<Identity, usize>,
    /// Sorted; the admin included.
    identities: Vec<Identity>,
    /// Whether an operation needs neither a certificate nor a policy, by [`Operation::index`].
    exempt: [bool; Operation::COUNT],
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
        if let Some(pair) = policies.windows(2).find(|pair| pair[0].0.name() == pair[1].0.name()) {
            return Err(Conflict::SameName { name: pair[0].0.shared_name() });
        }

        let mut assigned = HashMap::new();
        for (position, (policy, identities)) in policies.iter().enumerate() {
            for &identity in identities {
                if Some(identity) == admin {
                    return Err(Conflict::AdminInPolicy { identity, policy: policy.shared_name() });
                }
                match assigned.entry(identity) {
                    Entry::Vacant(entry) => {
                        entry.insert(position);
                    }
                    Entry::Occupied(entry) if *entry.get() == position => {}
                    Entry::Occupied(entry) => {
                        let first = policies[*entry.get()].0.shared_name();
                        let second = policy.shared_name();
                        return Err(Conflict::TwoPolicies { identity, first, second });
                    }
                }
            }
        }

        let mut identities: Vec<_> = assigned.keys().copied().chain(admin).collect();
        identities.sort_unstable();
        let policies = policies.into_iter().map(|(policy, _)| policy).collect();
        Ok(Self { admin, policies, assigned, identities, exempt: [false; Operation::COUNT] })
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
            self.exempt[operation.index()] = true;
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
        let route = operation.route();
        let resource = route.resource(path).ok_or(Denied::OtherPath { operation })?;
        match route.auth {
            Auth::None => {}
            Auth::Policy if self.exempt[operation.index()] => {}
            Auth::Certificate => {
                identity.ok_or(Denied::NoIdentity)?;
            }
            Auth::Policy => {
                let identity = identity.ok_or(Denied::NoIdentity)?;
                if !self.is_admin(identity) {
                    let policy = self.policy_of(identity).ok_or(Denied::UnknownIdentity)?;
                    policy.check(operation, path, resource)?;
                }
            }
        }
        Ok(Permit::new(identity.copied(), operation, resource))
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
        self.policies.get(*self.assigned.get(identity)?)
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
