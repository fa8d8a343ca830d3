//! Budgets of calls to the key store: how many calls of each kind a caller, and all callers
//! together, may have under way at a time.
//!
//! A key store that is slow or hangs keeps each call for seconds. Without these budgets one client
//! that asks for many keys which are not in memory would have all the calls that the key store is
//! given, and everybody else would wait for it. Requests for keys in memory do not come here.
//!
//! Each known identity has a budget of its own, all strangers have one together, and the admin has
//! one that nobody else takes part in. The numbers leave room in the limits of each key store (its
//! `Budgets`: at least 96 reads, 64 changes and 8 listings at a time) for the admin, and for the 8
//! refreshes that run in the background.

use std::sync::Arc;
use std::time::Duration;

use kes_api::{Identity, Operation};
use kes_policy::{StoreLimit, StoreLimited};
use prometheus::IntGauge;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use super::by_caller::ByCaller;
use crate::observe::metrics::Metrics;
use crate::transport::Class;

/// What a call to the key store does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CallKind {
    /// Reads a key that is not in memory.
    Read,
    /// Creates, imports or deletes a key.
    Change,
    /// Lists names.
    Listing,
}

/// How many calls of a kind may be under way at a time.
#[derive(Clone, Copy)]
struct Limits {
    identity: usize,
    strangers: usize,
    /// Known identities and strangers together.
    all: usize,
    admin: usize,
}

/// A cold cluster asks for some keys at a time. At 50 ms a read, one identity has 480 a second.
/// Beside the 60 of all, 8 of the admin and 8 refreshes, each change of `all` may read once to see
/// whether its key exists: these are 96.
const READS: Limits = Limits { identity: 24, strangers: 8, all: 60, admin: 8 };

/// Keys are created one by one, or all nodes of a cluster create the same one. Vault is sent up to
/// five requests for each, one after the other.
const CHANGES: Limits = Limits { identity: 8, strangers: 4, all: 20, admin: 8 };

/// Each goes through all names. Those who list the same names share a page: while one is made, the
/// next one is waited for, so each caller needs two places.
const LISTINGS: Limits = Limits { identity: 2, strangers: 2, all: 6, admin: 2 };

/// How long a request waits for its place. A key store that comes back after a few seconds serves
/// what has waited for it, and the client gets an answer within the 15 s of its route.
const WAIT: Duration = Duration::from_secs(10);

/// When a client that was refused may try again: a place becomes free when any call ends.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// All budgets.
pub(crate) struct StoreCalls {
    reads: Budget,
    changes: Budget,
    listings: Budget,
    metrics: Arc<Metrics>,
}

/// The budgets of one kind of call.
struct Budget {
    limits: Limits,
    all: Arc<Semaphore>,
    callers: ByCaller<Arc<Semaphore>>,
}

/// The place of a call that is under way; free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    held: IntGauge,
    _own: OwnedSemaphorePermit,
    _all: Option<OwnedSemaphorePermit>,
}

impl CallKind {
    /// What an operation on keys calls the key store for.
    pub(crate) const fn of(operation: Operation) -> Self {
        match operation {
            _ if operation.changes_key() => Self::Change,
            Operation::ListKeys => Self::Listing,
            _ => Self::Read,
        }
    }

    /// Its place in metrics with a series for each kind.
    const fn index(self) -> usize {
        match self {
            Self::Read => 0,
            Self::Change => 1,
            Self::Listing => 2,
        }
    }
}

impl StoreCalls {
    pub(crate) fn new(metrics: Arc<Metrics>) -> Self {
        let [reads, changes, listings] = [READS, CHANGES, LISTINGS].map(Budget::new);
        Self { reads, changes, listings, metrics }
    }

    /// Waits until a caller may have one more call of a kind under way.
    pub(super) async fn enter(
        &self,
        class: Class,
        identity: Option<Identity>,
        kind: CallKind,
    ) -> Result<Place, StoreLimited> {
        let budget = match kind {
            CallKind::Read => &self.reads,
            CallKind::Change => &self.changes,
            CallKind::Listing => &self.listings,
        };
        let (classes, class_index) = (&self.metrics.classes, class.index());
        let places = budget.take(class, identity).await.inspect_err(|_| {
            classes.store_calls_refused(class_index, kind.index()).inc();
        });
        let (own, all) = places?;
        let held = classes.store_calls(class_index, kind.index()).clone();
        held.inc();
        Ok(Place { held, _own: own, _all: all })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.held.dec();
    }
}

impl Budget {
    fn new(limits: Limits) -> Self {
        let Limits { identity: _, strangers, all, admin } = limits;
        let [strangers, all, admin] =
            [strangers, all, admin].map(|count| Arc::new(Semaphore::new(count)));
        Self { limits, all, callers: ByCaller::new(admin, strangers) }
    }

    /// Waits for a place of the caller, and for one of all if it takes part in those.
    async fn take(
        &self,
        class: Class,
        identity: Option<Identity>,
    ) -> Result<(OwnedSemaphorePermit, Option<OwnedSemaphorePermit>), StoreLimited> {
        let own = || Arc::new(Semaphore::new(self.limits.identity));
        let own = self.callers.of(class, identity, own);
        let end = Instant::now() + WAIT;
        // Its own place first, so that a caller who waits for that keeps nothing that others need.
        let own = take(own, end, StoreLimit::AtOnceOfCaller).await?;
        let all = match class {
            Class::Admin => None,
            _ => Some(take(Arc::clone(&self.all), end, StoreLimit::AtOnceOfAll).await?),
        };
        Ok((own, all))
    }
}

async fn take(
    places: Arc<Semaphore>,
    end: Instant,
    limit: StoreLimit,
) -> Result<OwnedSemaphorePermit, StoreLimited> {
    let place = match Arc::clone(&places).try_acquire_owned() {
        Ok(place) => Some(place),
        // The semaphores are never closed.
        Err(_) => timeout_at(end, places.acquire_owned()).await.ok().and_then(Result::ok),
    };
    place.ok_or(StoreLimited { limit, retry_after: RETRY_AFTER })
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    const KINDS: [(CallKind, Limits); 3] =
        [(CallKind::Read, READS), (CallKind::Change, CHANGES), (CallKind::Listing, LISTINGS)];

    fn calls() -> StoreCalls {
        StoreCalls::new(Arc::new(Metrics::new()))
    }

    /// How many calls are under way, and how many were refused, in metrics.
    fn counts(calls: &StoreCalls, class: Class, kind: CallKind) -> (i64, u64) {
        let (classes, class, kind) = (&calls.metrics.classes, class.index(), kind.index());
        let refused = classes.store_calls_refused(class, kind).get();
        (classes.store_calls(class, kind).get(), refused)
    }

    fn who(byte: u8) -> Option<Identity> {
        Some(Identity::of_public_key(&[byte]))
    }

    /// Takes places until a caller would have to wait.
    fn fill(calls: &StoreCalls, class: Class, byte: u8, kind: CallKind) -> Vec<Place> {
        let enter = || calls.enter(class, who(byte), kind).now_or_never();
        std::iter::from_fn(|| enter().map(Result::unwrap)).collect()
    }

    #[tokio::test]
    async fn one_caller_leaves_places_of_each_kind_to_the_others() {
        for (kind, limits) in KINDS {
            let calls = calls();
            let hog = fill(&calls, Class::Known, 1, kind);
            let strangers = fill(&calls, Class::Stranger, 2, kind);
            assert!(fill(&calls, Class::Stranger, 3, kind).is_empty(), "one budget for all");
            let other = fill(&calls, Class::Known, 4, kind);
            assert_eq!(hog.len(), limits.identity, "{kind:?}");
            assert_eq!(strangers.len(), limits.strangers, "{kind:?}");
            assert_eq!(other.len(), limits.identity, "{kind:?}");
            // Whatever all of them do, the admin has its own.
            let _more: Vec<_> = (5..20).map(|who| fill(&calls, Class::Known, who, kind)).collect();
            assert_eq!(fill(&calls, Class::Admin, 0, kind).len(), limits.admin, "{kind:?}");
            for (another, _) in KINDS.into_iter().filter(|(another, _)| *another != kind) {
                let place = calls.enter(Class::Known, who(1), another).now_or_never();
                assert!(place.is_some(), "{another:?} beside {kind:?}");
            }
            drop(hog);
            assert!(!fill(&calls, Class::Known, 30, kind).is_empty(), "places are free again");
        }
    }

    #[test]
    fn an_operation_calls_the_key_store_for_what_it_does() {
        use Operation as Op;
        let reads = [
            Op::DescribeKey,
            Op::GenerateKey,
            Op::EncryptKey,
            Op::DecryptKey,
            Op::BulkDecrypt,
            Op::Hmac,
        ];
        for (kind, operations) in [
            (CallKind::Change, &[Op::CreateKey, Op::ImportKey, Op::DeleteKey][..]),
            (CallKind::Listing, &[Op::ListKeys]),
            (CallKind::Read, &reads),
        ] {
            for operation in operations {
                assert_eq!(CallKind::of(*operation), kind, "{operation:?}");
            }
        }
    }

    /// What the key stores let through (`kes_keystore`), so that no caller waits there for another.
    #[test]
    fn all_callers_together_leave_room_in_the_key_store() {
        let refreshes = 8;
        for (calls, room) in [
            (READS.all + READS.admin + refreshes + CHANGES.all, 96),
            (CHANGES.all + CHANGES.admin, 64),
            (LISTINGS.all + LISTINGS.admin, 8),
        ] {
            assert!(calls <= room, "{calls} of {room}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_too_long_is_told_whose_budget_it_was() {
        let calls = calls();
        let own = fill(&calls, Class::Known, 1, CallKind::Read);
        let refused = calls.enter(Class::Known, who(1), CallKind::Read).await.unwrap_err();
        assert_eq!(refused.limit, StoreLimit::AtOnceOfCaller);
        let all: Vec<_> =
            (2..10).map(|who| fill(&calls, Class::Known, who, CallKind::Read)).collect();
        let start = Instant::now();
        let refused = calls.enter(Class::Known, who(99), CallKind::Read).await.unwrap_err();
        assert_eq!((refused.limit, start.elapsed()), (StoreLimit::AtOnceOfAll, WAIT));
        assert_eq!(counts(&calls, Class::Known, CallKind::Read), (60, 2));
        assert_eq!(counts(&calls, Class::Admin, CallKind::Read), (0, 0));
        assert_eq!(counts(&calls, Class::Known, CallKind::Change), (0, 0));
        assert_eq!(counts(&calls, Class::Known, CallKind::Listing), (0, 0));
        drop((own, all));
        assert_eq!(counts(&calls, Class::Known, CallKind::Read), (0, 2));
    }

    #[tokio::test(start_paused = true)]
    async fn a_place_that_becomes_free_is_for_who_waits() {
        let calls = calls();
        let mut held = fill(&calls, Class::Stranger, 1, CallKind::Read);
        let waiting = calls.enter(Class::Stranger, None, CallKind::Read);
        let free = async {
            tokio::time::sleep(Duration::from_secs(5)).await;
            held.pop();
        };
        let (entered, ()) = tokio::join!(waiting, free);
        assert!(entered.is_ok());
    }
}
