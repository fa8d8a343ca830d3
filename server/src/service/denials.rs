//! What the policies have refused of late: `kes policy suggest` makes patterns of it.
//!
//! Anybody can have requests refused, with as many identities and names as they like. So there is room
//! for so many different requests, and those of strangers have a room of their own. When it is full,
//! the identity with the most requests in it loses the one that was refused the least often. Requests
//! that are allowed cost nothing here.

use std::cmp::Reverse;
use std::collections::HashMap;

use kes_api::{Identity, Operation, Timestamp};
use kes_policy::{Denied, Policies, Standing};
use parking_lot::Mutex;

use super::context::RequestContext;

/// How many different requests are remembered. One takes at most some 300 bytes.
#[derive(Clone, Copy)]
struct Room {
    /// Of all identities together.
    requests: usize,
    /// Of one identity.
    of_identity: usize,
}

/// For identities that have a policy. One that is configured wrongly asks for few things.
const KNOWN: Room = Room { requests: 1024, of_identity: 64 };

/// For identities without a policy.
const STRANGERS: Room = Room { requests: 256, of_identity: 16 };

/// The requests that were refused.
pub(crate) struct Denials {
    known: Mutex<Table>,
    strangers: Mutex<Table>,
}

/// A request that was refused, and is refused still.
pub(crate) struct StillDenied {
    pub(crate) identity: Identity,
    /// The policy of the identity, if it has one.
    pub(crate) policy: Option<String>,
    pub(crate) operation: Operation,
    pub(crate) path: String,
    /// The deny pattern that refuses it, if one does.
    pub(crate) denied_by: Option<String>,
    pub(crate) count: u64,
    pub(crate) first: Timestamp,
    pub(crate) last: Timestamp,
}

struct Table {
    room: Room,
    /// No list is empty.
    identities: HashMap<Identity, Vec<Refused>>,
    /// The length of all lists together.
    requests: usize,
    /// How many requests were forgotten for others.
    forgotten: u64,
}

/// A request that an identity was refused.
#[derive(Clone)]
struct Refused {
    operation: Operation,
    resource: Box<str>,
    count: u64,
    first: Timestamp,
    last: Timestamp,
}

impl Denials {
    pub(crate) fn new() -> Self {
        Self { known: Mutex::new(Table::new(KNOWN)), strangers: Mutex::new(Table::new(STRANGERS)) }
    }

    /// Remembers that policies have refused a request, and counts it in the metric.
    pub(super) fn note(context: &RequestContext<'_>, denied: &Denied) {
        let policy = match denied {
            Denied::NotAllowed { policy } | Denied::DeniedBy { policy, .. } => Some(&**policy),
            Denied::UnknownIdentity => None,
            Denied::NoIdentity | Denied::OtherPath { .. } => return,
        };
        let (service, route) = (context.service, context.target.route);
        service.metrics.policy_refusals.inc(route.path, policy);
        let resource = context.target.resource();
        // A policy that allowed it would not help.
        if !route.is_valid_resource(resource) {
            return;
        }
        if let Ok(identity) = context.peer.identity {
            let denials = &service.denials;
            let table = if policy.is_some() { &denials.known } else { &denials.strangers };
            table.lock().add(identity, route.operation, resource, Timestamp::now());
        }
    }

    /// All requests that policies still refuse, those of one identity together, and how many were
    /// forgotten since the start.
    pub(crate) fn under(&self, policies: &Policies) -> (Vec<StillDenied>, u64) {
        let (mut refused, mut forgotten) = (Vec::new(), 0);
        for table in [&self.known, &self.strangers] {
            // Requests are not held up by what is made of it.
            let table = table.lock();
            forgotten += table.forgotten;
            for (identity, requests) in &table.identities {
                refused.extend(requests.iter().map(|one| (*identity, one.clone())));
            }
        }
        let still = refused.iter().filter_map(|(identity, one)| one.under(*identity, policies));
        let mut denied: Vec<_> = still.collect();
        denied.sort_by(|a, b| (a.identity, &a.path).cmp(&(b.identity, &b.path)));
        // In both tables is what was refused before and after its identity came into a policy.
        denied.dedup_by(|later, one| {
            let is_same = (later.identity, &later.path) == (one.identity, &one.path);
            if is_same {
                one.count += later.count;
                one.first = one.first.min(later.first);
                one.last = one.last.max(later.last);
            }
            is_same
        });
        (denied, forgotten)
    }
}

impl Refused {
    fn under(&self, identity: Identity, policies: &Policies) -> Option<StillDenied> {
        let Self { operation, resource, count, first, last } = self;
        let path = format!("{}{resource}", operation.route().path);
        let told = policies.explain(Some(&identity), *operation, &path);
        if told.is_allowed() {
            return None;
        }
        let policy = match told.standing {
            Standing::Policy(policy) => Some(policy),
            _ => None,
        };
        let denied_by = policy
            .zip(told.denials.first())
            .and_then(|(policy, denial)| policy.deny().nth(denial.position))
            .map(str::to_owned);
        let policy = policy.map(|policy| policy.name().to_owned());
        let (operation, count, first, last) = (*operation, *count, *first, *last);
        Some(StillDenied { identity, policy, operation, path, denied_by, count, first, last })
    }

    /// What is forgotten first has least of this.
    const fn worth(&self) -> (u64, Timestamp) {
        (self.count, self.last)
    }
}

impl Table {
    fn new(room: Room) -> Self {
        Self { room, identities: HashMap::new(), requests: 0, forgotten: 0 }
    }

    fn add(&mut self, identity: Identity, operation: Operation, resource: &str, now: Timestamp) {
        let own = self.identities.get_mut(&identity).map(Vec::as_mut_slice).unwrap_or_default();
        let length = own.len();
        let is_same = |one: &&mut Refused| one.operation == operation && &*one.resource == resource;
        if let Some(known) = own.iter_mut().find(is_same) {
            known.count += 1;
            known.last = now;
            return;
        }
        if length >= self.room.of_identity {
            self.forget(identity);
        } else if self.requests >= self.room.requests
            && let Some(other) = self.fullest()
        {
            self.forget(other);
        }
        let resource = resource.into();
        let one = Refused { operation, resource, count: 1, first: now, last: now };
        self.identities.entry(identity).or_default().push(one);
        self.requests += 1;
    }

    /// The identity with the most requests; of several the one with the request of the least worth.
    fn fullest(&self) -> Option<Identity> {
        let least = |requests: &[Refused]| requests.iter().map(Refused::worth).min();
        let fullest = self
            .identities
            .iter()
            .max_by_key(|(_, requests)| (requests.len(), Reverse(least(requests))));
        fullest.map(|(identity, _)| *identity)
    }

    /// Forgets the request of the least worth of an identity.
    fn forget(&mut self, identity: Identity) {
        let Some(requests) = self.identities.get_mut(&identity) else { return };
        let least = requests.iter().enumerate().min_by_key(|(_, one)| one.worth());
        if let Some((position, _)) = least {
            requests.swap_remove(position);
            self.requests -= 1;
            self.forgotten += 1;
        }
        if requests.is_empty() {
            self.identities.remove(&identity);
        }
    }
}

#[cfg(test)]
mod tests {
    use kes_policy::Policy;

    use super::*;
    use crate::observe::metrics::NO_POLICY;
    use crate::service::ApiService;
    use crate::service::error::Error;
    use crate::service::{admit, record};

    fn who(number: u64) -> Identity {
        Identity::of_public_key(&number.to_be_bytes())
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_unix(second, 0).unwrap()
    }

    fn table(requests: usize, of_identity: usize) -> Table {
        Table::new(Room { requests, of_identity })
    }

    fn names(table: &Table, identity: u64) -> Vec<(String, u64)> {
        let requests = table.identities.get(&who(identity)).map_or(&[][..], Vec::as_slice);
        let mut names: Vec<_> =
            requests.iter().map(|one| (one.resource.to_string(), one.count)).collect();
        names.sort();
        names
    }

    fn pairs(pairs: &[(&str, u64)]) -> Vec<(String, u64)> {
        pairs.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
    }

    #[test]
    fn an_identity_forgets_what_it_was_refused_least_often() {
        let mut table = table(10, 2);
        for (second, name) in (0..).zip(["a", "a", "b", "b", "b", "c", "d"]) {
            table.add(who(1), Operation::CreateKey, name, at(second));
        }
        // Each new one takes the place of the one that came least often.
        assert_eq!(names(&table, 1), pairs(&[("b", 3), ("d", 1)]));
        assert_eq!((table.requests, table.forgotten), (2, 2));
        // An operation of its own is a request of its own.
        table.add(who(1), Operation::DecryptKey, "b", at(9));
        assert_eq!(names(&table, 1), pairs(&[("b", 1), ("b", 3)]));
    }

    #[test]
    fn who_asks_for_much_takes_nothing_from_who_asks_for_little() {
        let mut table = table(8, 6);
        table.add(who(1), Operation::CreateKey, "mine", at(0));
        for second in 1..100 {
            table.add(who(2), Operation::CreateKey, &format!("k{second}"), at(second));
            table.add(who(3), Operation::CreateKey, &format!("k{second}"), at(second));
        }
        assert_eq!(table.requests, 8);
        assert_eq!(names(&table, 1), pairs(&[("mine", 1)]));
    }

    #[test]
    fn new_identities_displace_each_other_and_not_one_that_comes_again() {
        let mut table = table(8, 6);
        for second in 0..2 {
            table.add(who(0), Operation::CreateKey, "mine", at(second));
        }
        for identity in 1..100 {
            table.add(who(identity), Operation::CreateKey, "k", at(1_000));
        }
        assert_eq!((table.requests, table.forgotten), (8, 92));
        assert_eq!(names(&table, 0), pairs(&[("mine", 2)]));
        assert_eq!(table.identities.len(), 8);
    }

    /// With a policy for who(1), an exempt API, and no admin.
    fn service() -> ApiService {
        let policy = Policy::new("p", ["/v1/key/decrypt/*"], ["/v1/key/decrypt/s-*"]);
        let policies = Policies::new(None, vec![(policy, vec![who(1)])]).unwrap();
        ApiService::in_memory(policies.exempting([Operation::Ready]))
    }

    fn ask(service: &ApiService, identity: u64, method: &str, path: &str) {
        service.with_request(Ok(who(identity)), method, path, |context| {
            let result = admit(context, None).map(drop);
            record::finish(context, result.and(Err(Error::PolicyNotFound)));
        });
    }

    #[tokio::test]
    async fn what_policies_refuse_is_remembered_and_nothing_else() {
        let service = service();
        for (identity, method, path) in [
            (1, "PUT", "/v1/key/decrypt/a"),
            (1, "GET", "/v1/key/decrypt/s-1"),
            (1, "PUT", "/v1/key/decrypt/s-1"),
            (1, "POST", "/v1/key/%64ecrypt/s-1"),
            (1, "PUT", "/v1/key/create/a.b"),
            (1, "GET", "/v1/key/list/k*"),
            (2, "GET", "/v1/status"),
            (2, "GET", "/v1/ready"),
            (2, "GET", "/version"),
        ] {
            ask(&service, identity, method, path);
        }
        let (denied, forgotten) = service.denials.under(&service.generation.load().policies);
        let mut told: Vec<_> = denied
            .iter()
            .map(|one| {
                let (policy, denied_by) = (one.policy.as_deref(), one.denied_by.as_deref());
                (one.identity == who(1), policy, &*one.path, denied_by, one.count)
            })
            .collect();
        told.sort_unstable();
        let expected = [
            (false, None, "/v1/status", None, 1),
            (true, Some("p"), "/v1/key/decrypt/s-1", Some("/v1/key/decrypt/s-*"), 2),
            (true, Some("p"), "/v1/key/list/k*", None, 1),
        ];
        assert_eq!((told, forgotten), (expected.to_vec(), 0));
        let refusals = &service.metrics.policy_refusals;
        let of = |api, policy| refusals.get(api, policy);
        assert_eq!((of("/v1/key/decrypt/", "p"), of("/v1/key/create/", "p")), (2, 1));
        assert_eq!((of("/v1/status", NO_POLICY), of("/v1/ready", NO_POLICY)), (1, 0));
    }

    #[tokio::test]
    async fn what_a_reload_has_allowed_is_told_no_more() {
        let service = service();
        ask(&service, 1, "GET", "/v1/metrics");
        ask(&service, 2, "GET", "/v1/metrics");
        let policy = Policy::new("q", ["/v1/metrics"], []);
        let policies = Policies::new(Some(who(3)), vec![(policy, vec![who(1)])]).unwrap();
        let (denied, _) = service.denials.under(&policies);
        assert_eq!(denied.iter().map(|one| one.identity).collect::<Vec<_>>(), [who(2)]);
    }

    #[tokio::test]
    async fn what_a_stranger_and_later_a_member_was_refused_is_told_as_one() {
        let service = service();
        for (table, second) in [(&service.denials.strangers, 5), (&service.denials.known, 7)] {
            table.lock().add(who(1), Operation::Status, "", at(second));
        }
        let (denied, _) = service.denials.under(&service.generation.load().policies);
        let told: Vec<_> = denied.iter().map(|one| (one.count, one.first, one.last)).collect();
        assert_eq!(told, [(2, at(5), at(7))]);
        assert_eq!(denied[0].policy.as_deref(), Some("p"));
    }
}
