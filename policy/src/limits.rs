use std::num::NonZeroU32;
use std::time::Duration;

use kes_api::Operation;

/// One limit as an operator writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// There is none, whatever a more general setting says.
    Unlimited,
    /// At most so many.
    AtMost(NonZeroU32),
}

/// The limits that one place of the configuration states: for all policies, for one policy, or for
/// some identities of it. For a limit that it does not state, the next more general place decides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LimitSettings {
    /// Requests a second.
    pub requests_per_second: Option<Limit>,
    /// Requests at one time.
    pub requests_at_once: Option<Limit>,
    /// Calls to the key store a second.
    pub store_calls_per_second: Option<Limit>,
}

/// What one identity may take at most; `None` for no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Requests a second.
    pub requests_per_second: Option<NonZeroU32>,
    /// Requests at one time.
    pub requests_at_once: Option<NonZeroU32>,
    /// Calls to the key store a second.
    pub store_calls_per_second: Option<NonZeroU32>,
}

/// A caller may make no further call to the key store now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the limit of calls to the key store is reached")]
pub struct StoreLimited {
    /// Which limit is reached.
    pub limit: StoreLimit,
    /// When the next call may be made.
    pub retry_after: Duration,
}

/// What limits the calls to the key store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreLimit {
    /// How many calls the caller may begin within a second, by the configuration.
    PerSecond,
    /// How many calls of a kind the caller may have under way.
    AtOnceOfCaller,
    /// How many calls of a kind all callers together may have under way.
    AtOnceOfAll,
}

impl LimitSettings {
    /// These settings, and for each limit that they do not state that of more general ones.
    #[must_use]
    pub fn or(self, general: Self) -> Self {
        Self {
            requests_per_second: self.requests_per_second.or(general.requests_per_second),
            requests_at_once: self.requests_at_once.or(general.requests_at_once),
            store_calls_per_second: self.store_calls_per_second.or(general.store_calls_per_second),
        }
    }

    /// What they amount to, if nothing more general is left to decide; `None` if nothing is limited.
    pub fn resolve(self) -> Option<Limits> {
        let most = |limit: Option<Limit>| match limit? {
            Limit::Unlimited => None,
            Limit::AtMost(most) => Some(most),
        };
        let limits = Limits {
            requests_per_second: most(self.requests_per_second),
            requests_at_once: most(self.requests_at_once),
            store_calls_per_second: most(self.store_calls_per_second),
        };
        (limits != Limits::NONE).then_some(limits)
    }
}

impl Limits {
    const NONE: Self =
        Self { requests_per_second: None, requests_at_once: None, store_calls_per_second: None };
}

/// Whether requests for an operation count against the limits of their caller. What probes and load
/// balancers ask for does not: a server that refused it because its client is busy would look as if
/// it were down. Nor does what a client asks to learn who it is. The answers are made from memory.
pub(crate) const fn is_limited(operation: Operation) -> bool {
    !matches!(
        operation,
        Operation::Version
            | Operation::Ready
            | Operation::Status
            | Operation::ListApis
            | Operation::SelfDescribe
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at_most(limit: u32) -> Option<Limit> {
        NonZeroU32::new(limit).map(Limit::AtMost)
    }

    #[test]
    fn each_limit_is_the_one_of_the_most_specific_setting_that_states_it() {
        let all = LimitSettings {
            requests_per_second: at_most(1),
            requests_at_once: at_most(2),
            store_calls_per_second: at_most(3),
        };
        let policy = LimitSettings {
            requests_at_once: at_most(20),
            store_calls_per_second: Some(Limit::Unlimited),
            ..LimitSettings::default()
        };
        let identity = LimitSettings { requests_at_once: at_most(200), ..LimitSettings::default() };
        let limits = |per_second, at_once, store_calls| {
            Some(Limits {
                requests_per_second: NonZeroU32::new(per_second),
                requests_at_once: NonZeroU32::new(at_once),
                store_calls_per_second: NonZeroU32::new(store_calls),
            })
        };
        assert_eq!(all.resolve(), limits(1, 2, 3));
        assert_eq!(policy.or(all).resolve(), limits(1, 20, 0));
        assert_eq!(identity.or(policy.or(all)).resolve(), limits(1, 200, 0));
        assert_eq!(identity.or(policy).or(all), identity.or(policy.or(all)));
        assert_eq!(identity.or(policy).resolve(), limits(0, 200, 0));
    }

    #[test]
    fn who_has_no_limit_has_no_limits() {
        let none = Some(Limit::Unlimited);
        let unlimited = LimitSettings {
            requests_per_second: none,
            requests_at_once: none,
            store_calls_per_second: none,
        };
        assert_eq!(LimitSettings::default().resolve(), None);
        assert_eq!(unlimited.resolve(), None);
        assert_eq!(unlimited.or(LimitSettings::default()).resolve(), None);
    }

    #[test]
    fn what_probes_ask_for_is_not_limited() {
        let unlimited = kes_api::route::ROUTES.iter().filter(|route| !is_limited(route.operation));
        let paths: Vec<_> = unlimited.map(|route| route.path).collect();
        let probes =
            ["/version", "/v1/ready", "/v1/status", "/v1/api", "/v1/identity/self/describe"];
        assert_eq!(paths, probes);
    }
}
