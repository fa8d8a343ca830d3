use std::sync::Arc;
use std::time::Duration;

use kes_api::{KeyName, ListPattern};
use tokio::task::{self, JoinHandle};
use tokio::time;

use self::monitor::Monitor;
use crate::jitter::jitter;
use crate::{CertificateEnds, Error, KeyStore, Kind, Limit, Logins, Page, State, Value};

/// What is known of a store's health.
pub(crate) mod monitor;

/// The outage of a store.
mod outage;

/// Waiting for a store that is away for a moment.
pub(crate) mod patience;

/// How often a store is checked, unless it says otherwise.
pub(crate) const CHECK_INTERVAL: Duration = Duration::from_secs(5);

/// A check that takes longer counts as failed, unless the store says otherwise.
const CHECK_DEADLINE: Duration = Duration::from_secs(5);

/// The pause before a check that a failed call has asked for, so that many failing calls do not
/// cause many checks.
const DOUBT_PAUSE: Duration = Duration::from_millis(200);

/// A store that can be checked.
pub trait Check: Send + Sync {
    /// A check that takes longer counts as failed.
    const DEADLINE: Duration = CHECK_DEADLINE;

    /// Checks the store with one cheap call, and returns the cause if it is not available. The
    /// call may hang: no second one is made meanwhile.
    fn check(&self) -> impl Future<Output = (State, Option<String>)> + Send;

    /// The pause after a check.
    fn interval(&self, _is_reachable: bool) -> Duration {
        CHECK_INTERVAL
    }
}

/// A store whose health is found out by a background task, which checks it at intervals and logs
/// when it becomes unavailable, why, and when it is available again.
pub struct Health<S> {
    store: Arc<S>,
    monitor: Arc<Monitor>,
    watch: JoinHandle<()>,
}

impl<S: KeyStore + Check + 'static> Health<S> {
    /// Watches a store. What the checks find is in the monitor, to which the store may add what it
    /// learns from its calls. Must be called within a tokio runtime.
    pub fn new(store: S, monitor: Arc<Monitor>) -> Self {
        let store = Arc::new(store);
        let watch = watch(Arc::clone(&store), Arc::clone(&monitor));
        Self { store, monitor, watch: task::spawn(watch) }
    }
}

impl<S> Health<S> {
    /// The store within.
    pub fn inner(&self) -> &S {
        &self.store
    }
}

impl<S> Drop for Health<S> {
    fn drop(&mut self) {
        self.watch.abort();
    }
}

impl<S: KeyStore> KeyStore for Health<S> {
    async fn create(&self, name: &KeyName, value: &Value) -> Result<(), Error> {
        self.store.create(name, value).await
    }

    async fn read(&self, name: &KeyName) -> Result<Value, Error> {
        self.store.read(name).await
    }

    async fn delete(&self, name: &KeyName) -> Result<(), Error> {
        self.store.delete(name).await
    }

    async fn list(&self, pattern: &ListPattern<'_>, limit: Limit) -> Result<Page, Error> {
        self.store.list(pattern, limit).await
    }

    /// What the last check or call found: at most some seconds old.
    fn state(&self) -> State {
        self.monitor.state()
    }

    /// Why the store is not available, as it was logged last.
    fn trouble(&self) -> Option<String> {
        self.monitor.trouble()
    }

    pass_on!(
        kind -> Kind,
        description -> String,
        logins -> Option<Logins>,
        certificates -> CertificateEnds,
        version -> Option<String>
    );
}

/// Checks a store at intervals until it is aborted.
async fn watch<S: Check>(store: Arc<S>, monitor: Arc<Monitor>) {
    if !monitor.is_checked() {
        check(&*store, &monitor).await;
    }
    loop {
        let pause = store.interval(monitor.is_reachable());
        if time::timeout(pause, monitor.doubt.notified()).await.is_ok() {
            time::sleep(jitter(DOUBT_PAUSE)).await;
        }
        check(&*store, &monitor).await;
    }
}

async fn check<S: Check>(store: &S, monitor: &Monitor) {
    let mut check = std::pin::pin!(store.check());
    let (state, cause) = match time::timeout(S::DEADLINE, check.as_mut()).await {
        Ok(found) => found,
        Err(_) => {
            let hangs = format!("it did not answer within {} s", S::DEADLINE.as_secs());
            monitor.found(State::Unreachable, Some(hangs));
            check.await
        }
    };
    monitor.found(state, cause);
}

#[cfg(test)]
mod tests {
    use tokio::sync::watch;

    use super::*;
    use crate::battery::{self, MissingDelete};
    use crate::memory::MemoryStore;

    const WELL: State = State::Reachable { latency: Duration::ZERO };

    /// A store in memory whose checks return what the test sets: `None` hangs.
    struct Checked {
        store: MemoryStore,
        found: watch::Receiver<Option<(State, Option<String>)>>,
    }

    impl Check for Checked {
        async fn check(&self) -> (State, Option<String>) {
            let mut found = self.found.clone();
            let found = found.wait_for(Option::is_some).await.unwrap();
            found.clone().unwrap()
        }
    }

    impl KeyStore for Checked {
        async fn create(&self, name: &KeyName, value: &Value) -> Result<(), Error> {
            self.store.create(name, value).await
        }

        async fn read(&self, name: &KeyName) -> Result<Value, Error> {
            self.store.read(name).await
        }

        async fn delete(&self, name: &KeyName) -> Result<(), Error> {
            self.store.delete(name).await
        }

        async fn list(&self, pattern: &ListPattern<'_>, limit: Limit) -> Result<Page, Error> {
            self.store.list(pattern, limit).await
        }

        fn state(&self) -> State {
            WELL
        }

        fn kind(&self) -> Kind {
            Kind::new(&"shelf")
        }
    }

    type Found = watch::Sender<Option<(State, Option<String>)>>;

    fn checked() -> (Health<Checked>, Found) {
        let (sender, found) = watch::channel(Some((WELL, None)));
        let store = Checked { store: MemoryStore::new(), found };
        let monitor = Monitor::opened(store.kind(), "shelf '7'", WELL);
        (Health::new(store, Arc::new(monitor)), sender)
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn does_what_every_store_does() {
        battery::run(MissingDelete::Fails, async || checked().0).await;
    }

    #[tokio::test(start_paused = true)]
    async fn the_state_and_its_cause_are_those_of_the_last_check() {
        let (store, found) = checked();
        assert_eq!((store.state(), store.trouble()), (WELL, None));
        for state in [State::Unavailable, State::Unreachable, WELL] {
            let cause = (state != WELL).then(|| "it is dark".to_owned());
            found.send_replace(Some((state, cause.clone())));
            time::sleep(CHECK_INTERVAL + Duration::from_millis(100)).await;
            assert_eq!(store.state(), state);
            let trouble = cause.map(|cause| format!("shelf '7' is not available: {cause}"));
            assert_eq!(store.trouble(), trouble);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_check_that_hangs_counts_as_failed() {
        let (store, found) = checked();
        found.send_replace(None);
        time::sleep(CHECK_INTERVAL + Duration::from_secs(1)).await;
        assert_eq!(store.state(), WELL);
        time::sleep(CHECK_DEADLINE).await;
        assert_eq!(store.state(), State::Unreachable);
        let trouble = "shelf '7' is not available: it did not answer within 5 s";
        assert_eq!(store.trouble().as_deref(), Some(trouble));
        found.send_replace(Some((WELL, None)));
        time::sleep(Duration::from_millis(100)).await;
        assert_eq!((store.state(), store.trouble()), (WELL, None));
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_is_dropped_is_not_watched() {
        let (store, found) = checked();
        drop(store);
        found.closed().await;
    }
}
