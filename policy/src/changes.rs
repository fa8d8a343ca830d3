use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kes_api::Identity;

use crate::{Pattern, Policies, Policy};

/// In what one set of policies differs from an earlier one. All lists are sorted.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Policies that are new.
    pub added: Vec<Arc<str>>,
    /// Policies that are gone.
    pub removed: Vec<Arc<str>>,
    /// Policies that allow or deny something else, or have other limits.
    pub changed: Vec<PolicyChange>,
    /// Identities whose role is another one, by the role before and the role now; `None` for
    /// none. Who only began or ceased to be the admin is left out: the admin is a setting.
    pub identities: BTreeMap<(Option<Role>, Option<Role>), Vec<Identity>>,
    /// Identities that were known before and have other limits now, whatever setting states them.
    pub limits: Vec<Identity>,
}

/// In what a policy differs from the earlier one of its name.
#[derive(Debug, PartialEq, Eq)]
pub struct PolicyChange {
    /// The name of both.
    pub name: Arc<str>,
    /// Its allow patterns.
    pub allow: PatternChange,
    /// Its deny patterns.
    pub deny: PatternChange,
    /// Whether the policy states other limits.
    pub limits: bool,
}

/// Patterns that came and went. Their order means nothing.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct PatternChange {
    /// Those that are new.
    pub added: Vec<Arc<str>>,
    /// Those that are gone.
    pub removed: Vec<Arc<str>>,
}

/// What an identity is to a server.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// It may do everything.
    Admin,
    /// It is in the policy of this name.
    Policy(Arc<str>),
}

impl Policies {
    /// In what these policies differ from earlier ones. It takes a look-up for each policy and each
    /// identity of both.
    pub fn changes_since(&self, before: &Self) -> Changes {
        let name = |policy: &Policy| policy.shared_name();
        let missing_in = |others: &Self, policy: &&Policy| others.policy(policy.name()).is_none();
        let added = self.policies().filter(|policy| missing_in(before, policy)).map(name);
        let removed = before.policies().filter(|policy| missing_in(self, policy)).map(name);
        let changed = self.policies().filter_map(|policy| {
            let earlier = before.policy(policy.name())?;
            PolicyChange::between(earlier, policy)
        });

        let mut identities: BTreeMap<_, Vec<Identity>> = BTreeMap::new();
        for &identity in self.identities() {
            let roles = (before.role_of(&identity), self.role_of(&identity));
            if roles.0 != roles.1 && roles != (None, Some(Role::Admin)) {
                identities.entry(roles).or_default().push(identity);
            }
        }
        for &identity in before.identities() {
            let role = before.role_of(&identity);
            if self.role_of(&identity).is_none() && role != Some(Role::Admin) {
                identities.entry((role, None)).or_default().push(identity);
            }
        }
        let limits = self.identities().filter(|identity| {
            before.role_of(identity).is_some()
                && self.limits_of(identity) != before.limits_of(identity)
        });
        Changes {
            added: added.collect(),
            removed: removed.collect(),
            changed: changed.collect(),
            limits: limits.copied().collect(),
            identities,
        }
    }

    fn role_of(&self, identity: &Identity) -> Option<Role> {
        if self.is_admin(identity) {
            return Some(Role::Admin);
        }
        self.policy_of(identity).map(|policy| Role::Policy(policy.shared_name()))
    }
}

impl Changes {
    /// Whether nothing differs.
    pub fn is_empty(&self) -> bool {
        let Self { added, removed, changed, identities, limits } = self;
        added.is_empty()
            && removed.is_empty()
            && changed.is_empty()
            && identities.is_empty()
            && limits.is_empty()
    }
}

impl Changes {
    /// The texts of all patterns that came and went, to replace those that are not to be shown.
    pub fn patterns_mut(&mut self) -> impl Iterator<Item = &mut Arc<str>> {
        self.changed.iter_mut().flat_map(|PolicyChange { allow, deny, .. }| {
            [allow, deny]
                .into_iter()
                .flat_map(|PatternChange { added, removed }| added.iter_mut().chain(removed))
        })
    }
}

impl PolicyChange {
    /// `None` if the two mean the same.
    fn between(before: &Policy, now: &Policy) -> Option<Self> {
        if before == now {
            return None;
        }
        let allow = PatternChange::between(before.allow_patterns(), now.allow_patterns());
        let deny = PatternChange::between(before.deny_patterns(), now.deny_patterns());
        let limits = before.limits() != now.limits();
        let differs = limits || !allow.is_empty() || !deny.is_empty();
        differs.then(|| Self { name: now.shared_name(), allow, deny, limits })
    }
}

impl PatternChange {
    fn between(before: &[Pattern], now: &[Pattern]) -> Self {
        let [before, now] =
            [before, now].map(|list| list.iter().map(Pattern::text).collect::<BTreeSet<_>>());
        Self {
            added: now.difference(&before).cloned().collect(),
            removed: before.difference(&now).cloned().collect(),
        }
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;
    use crate::{Limit, LimitSettings};

    fn who(byte: u8) -> Identity {
        Identity::of_public_key(&[byte])
    }

    fn policy(name: &str, allow: &[&str], identities: &[u8]) -> (Policy, Vec<Identity>) {
        let policy = Policy::new(name, allow.iter().copied(), ["/v1/key/delete/*"]);
        (policy, identities.iter().map(|byte| who(*byte)).collect())
    }

    fn policies(admin: u8, list: Vec<(Policy, Vec<Identity>)>) -> Policies {
        Policies::new(Some(who(admin)), list).unwrap()
    }

    #[test]
    fn policies_that_came_went_and_changed() {
        let before = policies(
            0,
            vec![
                policy("same", &["/a", "/b"], &[1]),
                policy("gone", &["/a"], &[2]),
                policy("changed", &["/a", "/b", "/c"], &[3]),
            ],
        );
        assert!(before.changes_since(&before).is_empty());
        let now = policies(
            0,
            vec![
                policy("same", &["/b", "/a", "/a"], &[1]),
                policy("new", &["/a"], &[2]),
                policy("changed", &["/c", "/d"], &[3]),
            ],
        );
        let changes = now.changes_since(&before);
        assert!(!changes.is_empty());
        assert_eq!((changes.added, changes.removed), (vec!["new".into()], vec!["gone".into()]));
        let allow =
            PatternChange { added: vec!["/d".into()], removed: vec!["/a".into(), "/b".into()] };
        let (name, deny) = ("changed".into(), PatternChange::default());
        assert_eq!(changes.changed, [PolicyChange { name, allow, deny, limits: false }]);
        let role = |name: &str| Some(Role::Policy(name.into()));
        assert_eq!(changes.identities, [((role("gone"), role("new")), vec![who(2)])].into());
    }

    #[test]
    fn a_deny_pattern_and_limits_are_changes_of_a_policy() {
        let of = |deny: &[&str], most| {
            let limits = LimitSettings {
                requests_at_once: NonZeroU32::new(most).map(Limit::AtMost),
                ..LimitSettings::default()
            };
            let policy = Policy::new("p", ["/a"], deny.iter().copied()).limiting(limits);
            policies(0, vec![(policy, vec![who(1)])])
        };
        let changes = of(&["/b"], 1).changes_since(&of(&[], 2));
        let deny = PatternChange { added: vec!["/b".into()], removed: vec![] };
        let (name, allow) = ("p".into(), PatternChange::default());
        assert_eq!(changes.changed, [PolicyChange { name, allow, deny, limits: true }]);
        assert_eq!(changes.limits, [who(1)]);
        assert!(changes.identities.is_empty());
    }

    #[test]
    fn each_kind_of_change_alone_is_a_change() {
        let one = policies(0, vec![policy("a", &["/a"], &[1])]);
        let two = policies(0, vec![policy("a", &["/a"], &[1]), policy("b", &["/b"], &[])]);
        assert!(!two.changes_since(&one).is_empty(), "a policy that nobody has came");
        assert!(!one.changes_since(&two).is_empty(), "it went");
        let other = policies(0, vec![policy("a", &["/b"], &[1])]);
        assert!(!other.changes_since(&one).is_empty(), "its patterns differ");
        let moved = policies(0, vec![policy("a", &["/a"], &[2])]);
        assert!(!moved.changes_since(&one).is_empty(), "another identity has it");

        assert!(PatternChange::default().is_empty());
        let pattern = || vec![Arc::from("/a")];
        assert!(!PatternChange { added: pattern(), ..PatternChange::default() }.is_empty());
        assert!(!PatternChange { removed: pattern(), ..PatternChange::default() }.is_empty());
    }

    #[test]
    fn every_pattern_that_came_or_went_can_be_replaced() {
        let of = |allow: &[&str], deny: &[&str]| {
            let policy = Policy::new("p", allow.iter().copied(), deny.iter().copied());
            policies(0, vec![(policy, vec![who(1)])])
        };
        let mut changes = of(&["/new"], &["/refused"]).changes_since(&of(&["/old"], &["/free"]));
        let mut texts: Vec<_> = changes.patterns_mut().map(|text| text.to_string()).collect();
        texts.sort();
        assert_eq!(texts, ["/free", "/new", "/old", "/refused"]);
        changes.patterns_mut().for_each(|text| *text = "hidden".into());
        assert!(changes.patterns_mut().all(|text| **text == *"hidden"));
    }

    #[test]
    fn identities_that_came_went_and_moved() {
        let before = policies(0, vec![policy("a", &[], &[1, 2, 3, 4]), policy("b", &[], &[5])]);
        // The admin 0 is in a policy now, and 4 is the admin.
        let now = policies(4, vec![policy("a", &[], &[1, 6, 0]), policy("b", &[], &[5, 2])]);
        let (a, b) = (Some(Role::Policy("a".into())), Some(Role::Policy("b".into())));
        let expected = [
            ((None, a.clone()), vec![who(6)]),
            ((Some(Role::Admin), a.clone()), vec![who(0)]),
            ((a.clone(), None), vec![who(3)]),
            ((a.clone(), Some(Role::Admin)), vec![who(4)]),
            ((a, b), vec![who(2)]),
        ];
        assert_eq!(now.changes_since(&before).identities, expected.into());
        // Another admin alone is no change of policies.
        let [one, other] = [0, 7].map(|admin| policies(admin, vec![policy("a", &[], &[1])]));
        assert!(other.changes_since(&one).is_empty());
        assert!(
            Policies::new(None, vec![policy("a", &[], &[1])])
                .unwrap()
                .changes_since(&one)
                .is_empty()
        );
    }

    #[test]
    fn a_limit_for_all_is_told_by_whom_it_limits() {
        let of = |general, own| {
            let at_most = |most| LimitSettings {
                requests_per_second: NonZeroU32::new(most).map(Limit::AtMost),
                ..LimitSettings::default()
            };
            let list = vec![policy("a", &[], &[1, 2])];
            policies(0, list).limiting(at_most(general), [(who(2), at_most(own))])
        };
        assert_eq!(of(2, 9).changes_since(&of(1, 9)).limits, [who(1)]);
        assert_eq!(of(1, 8).changes_since(&of(1, 9)).limits, [who(2)]);
        assert!(of(1, 9).changes_since(&of(1, 9)).is_empty());
    }
}
