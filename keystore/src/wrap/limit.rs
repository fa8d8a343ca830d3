use std::sync::Arc;

use kes_api::{KeyName, ListPattern};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{
    CertificateEnds, Error, KeyStore, Kind, Limit, Logins, Page, State, StoreOperation, Value,
};

/// How many calls of each kind a store is given at one time. Further calls wait for one of their
/// own kind to end. The kinds have separate budgets, so that many listings, or creates that hang,
/// hold up no read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budgets {
    /// Reads of a key.
    pub reads: usize,
    /// Creates and deletes.
    pub changes: usize,
    /// Listings.
    pub listings: usize,
}

/// A store that is given a bounded number of calls of each kind at one time.
pub struct ConcurrencyLimit<S> {
    store: S,
    reads: Arc<Semaphore>,
    changes: Arc<Semaphore>,
    listings: Arc<Semaphore>,
}

/// The place of one call in the budget of its kind. It is free when the call has returned or was
/// dropped, and all clones of it are dropped.
///
/// Work that goes on when its caller has gone, such as work on a thread, keeps a clone for as long:
/// otherwise a store that hangs would be given more and more of it.
#[derive(Clone, Debug)]
pub struct Slot {
    operation: StoreOperation,
    _permit: Arc<OwnedSemaphorePermit>,
}

tokio::task_local! {
    /// The slot of the call that this task performs.
    static CURRENT: Slot;
}

impl Slot {
    /// The slot of the call that is running; `None` if no limit is around the store.
    pub fn current() -> Option<Self> {
        CURRENT.try_with(Self::clone).ok()
    }

    /// What the call that is running does; `None` if no limit is around the store, or in a task
    /// that the call has started.
    pub(crate) fn current_operation() -> Option<StoreOperation> {
        CURRENT.try_with(|slot| slot.operation).ok()
    }
}

impl<S> ConcurrencyLimit<S> {
    /// Wraps a store.
    pub fn new(store: S, budgets: Budgets) -> Self {
        let Budgets { reads, changes, listings } = budgets;
        let [reads, changes, listings] =
            [reads, changes, listings].map(|count| Arc::new(Semaphore::new(count)));
        Self { store, reads, changes, listings }
    }

    /// The store within.
    pub const fn inner(&self) -> &S {
        &self.store
    }

    /// Waits for a slot, and performs a call with it.
    #[expect(clippy::expect_used, reason = "the semaphore is never closed")]
    pub(crate) async fn within<T>(
        &self,
        operation: StoreOperation,
        call: impl Future<Output = T>,
    ) -> T {
        let permit = Arc::clone(self.budget(operation)).acquire_owned().await;
        let permit = permit.expect("the semaphore is never closed");
        CURRENT.scope(Slot { operation, _permit: Arc::new(permit) }, call).await
    }

    const fn budget(&self, operation: StoreOperation) -> &Arc<Semaphore> {
        match operation {
            StoreOperation::Read => &self.reads,
            StoreOperation::Create | StoreOperation::Delete => &self.changes,
            StoreOperation::List => &self.listings,
        }
    }

    /// How many calls may begin at once now.
    #[cfg(test)]
    pub(crate) fn free(&self, operation: StoreOperation) -> usize {
        self.budget(operation).available_permits()
    }
}

impl<S: KeyStore> KeyStore for ConcurrencyLimit<S> {
    call_through!(within);

    pass_on!(
        state -> State,
        kind -> Kind,
        description -> String,
        trouble -> Option<String>,
        logins -> Option<Logins>,
        certificates -> CertificateEnds,
        version -> Option<String>
    );
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::watch;
    use tokio::task::{self, JoinSet};

    use super::*;
    use crate::battery::{self, MissingDelete};
    use crate::memory::MemoryStore;
    use crate::wrap::testing::{self, Before, Preceded};

    const BUDGETS: Budgets = Budgets { reads: 3, changes: 2, listings: 1 };

    /// While it is held, calls have begun and do not return.
    struct Held {
        is_held: watch::Sender<bool>,
        begun: [AtomicUsize; 3],
    }

    impl Before for Held {
        async fn before(&self, operation: StoreOperation) {
            let kind = match operation {
                StoreOperation::Read => 0,
                StoreOperation::Create | StoreOperation::Delete => 1,
                StoreOperation::List => 2,
            };
            self.begun[kind].fetch_add(1, Ordering::Relaxed);
            let mut is_held = self.is_held.subscribe();
            is_held.wait_for(|is_held| !is_held).await.unwrap();
        }
    }

    fn held() -> Arc<ConcurrencyLimit<Preceded<Held>>> {
        let held =
            Held { is_held: watch::Sender::new(true), begun: [const { AtomicUsize::new(0) }; 3] };
        Arc::new(ConcurrencyLimit::new(Preceded::new(held), BUDGETS))
    }

    fn begun(store: &ConcurrencyLimit<Preceded<Held>>) -> [usize; 3] {
        [0, 1, 2].map(|kind| store.inner().by.begun[kind].load(Ordering::Relaxed))
    }

    /// Lets other tasks run until they have nothing to do.
    async fn settle() {
        for _ in 0..100 {
            task::yield_now().await;
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn does_what_every_store_does() {
        battery::run(MissingDelete::Fails, async || {
            ConcurrencyLimit::new(MemoryStore::new(), BUDGETS)
        })
        .await;
    }

    /// Whatever else is asked for, each kind of call has its own budget, and no more than that.
    #[tokio::test]
    async fn each_kind_of_call_has_a_budget_of_its_own() {
        let store = held();
        let mut calls = JoinSet::new();
        for at in 0..10 {
            let key = KeyName::parse(&format!("key-{at}")).unwrap();
            let (list, create, delete, read) =
                (Arc::clone(&store), Arc::clone(&store), Arc::clone(&store), Arc::clone(&store));
            calls.spawn(async move { list.list(&ListPattern::ALL, Limit::names(1)).await.is_ok() });
            calls.spawn(
                async move { create.create(&key, &Value::new(String::new())).await.is_ok() },
            );
            calls.spawn(async move { delete.delete(&key).await.is_ok() });
            calls.spawn(async move { read.read(&key).await.is_ok() });
        }
        settle().await;
        assert_eq!(begun(&store), [3, 2, 1]);
        store.inner().by.is_held.send_replace(false);
        calls.join_all().await;
        assert_eq!(begun(&store), [10, 20, 10]);
    }

    #[tokio::test]
    async fn a_call_that_is_dropped_frees_its_slot_and_its_place_in_the_queue() {
        let store = held();
        let mut calls = JoinSet::new();
        for _ in 0..10 {
            let store = Arc::clone(&store);
            calls.spawn(async move {
                let _ = store.list(&ListPattern::ALL, Limit::names(1)).await;
            });
        }
        settle().await;
        assert_eq!(store.free(StoreOperation::List), 0);
        calls.shutdown().await;
        assert_eq!(store.free(StoreOperation::List), 1);
        assert_eq!(begun(&store)[2], 1);
    }

    #[tokio::test]
    async fn work_that_outlives_its_caller_keeps_the_slot() {
        assert!(Slot::current().is_none());
        let store = ConcurrencyLimit::new(MemoryStore::new(), BUDGETS);
        assert_eq!(Slot::current_operation(), None);
        let operation = async { Slot::current_operation() };
        let operation = store.within(StoreOperation::Read, operation).await;
        assert_eq!(operation, Some(StoreOperation::Read));
        let slot = store.within(StoreOperation::List, async { Slot::current() }).await;
        assert!(slot.is_some());
        assert_eq!(store.free(StoreOperation::List), 0);
        drop(slot);
        assert_eq!(store.free(StoreOperation::List), 1);
        assert!(Slot::current().is_none());
    }

    #[tokio::test]
    async fn what_the_store_within_says_of_itself_is_passed_on() {
        testing::says_what_is_within(&*held());
    }
}
