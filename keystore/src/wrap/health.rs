use std::sync::Arc;
use std::time::Duration;

use kes_api::{KeyName, ListPattern};
use parking_lot::Mutex;
use tokio::task::{self, JoinHandle};
use tokio::time::{self, Instant};

use crate::{Error, KeyStore, Kind, Limit, Logins, Page, State, Value};

/// How often a store is checked.
pub(crate) const CHECK_INTERVAL: Duration = Duration::from_secs(5);

/// A check that takes longer counts as failed.
const CHECK_DEADLINE: Duration = Duration::from_secs(5);

/// A store that can be checked.
pub trait Check: Send + Sync {
    /// Checks the store with one cheap call, and returns the cause if it is not available. The
    /// call may hang: no second one is made meanwhile.
    fn check(&self) -> impl Future<Output = (State, Option<String>)> + Send;
}

/// A store whose health is found out by a background task, which checks it at intervals and logs
/// when it becomes unavailable, why, and when it is available again.
pub struct Health<S> {
    store: Arc<S>,
    /// The store in texts: `folder '/keys'`.
    name: Arc<str>,
    known: Arc<Mutex<Known>>,
    watch: JoinHandle<()>,
}

/// What the last check found, and since when the next one is under way.
struct Known {
    state: State,
    /// Why the store is not available.
    cause: Option<String>,
    checking_since: Option<Instant>,
}

impl<S: KeyStore + Check + 'static> Health<S> {
    /// Watches a store, which texts call `name`. Until the first check its state is what the store
    /// itself says. Must be called within a tokio runtime.
    pub fn new(store: S, name: impl Into<Arc<str>>) -> Self {
        let (state, store, name) = (store.state(), Arc::new(store), name.into());
        let known = Arc::new(Mutex::new(Known { state, cause: None, checking_since: None }));
        let watch = watch(Arc::clone(&store), Arc::clone(&name), Arc::clone(&known));
        Self { store, name, known, watch: task::spawn(watch) }
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

    /// What the last check found: at most some seconds old.
    fn state(&self) -> State {
        let known = self.known.lock();
        match known.checking_since {
            Some(since) if since.elapsed() > CHECK_DEADLINE => State::Unreachable,
            _ => known.state,
        }
    }

    fn kind(&self) -> Kind {
        self.store.kind()
    }

    fn description(&self) -> String {
        self.store.description()
    }

    /// Why the store is not available, if the last check found that.
    fn trouble(&self) -> Option<String> {
        let cause = self.known.lock().cause.clone()?;
        Some(format!("{} is not available: {cause}", self.name))
    }

    fn logins(&self) -> Option<Logins> {
        self.store.logins()
    }
}

/// Checks a store at intervals until it is aborted.
async fn watch<S: KeyStore + Check>(store: Arc<S>, name: Arc<str>, known: Arc<Mutex<Known>>) {
    let kind = store.kind();
    let mut told = None;
    let mut tell = |cause: Option<String>| {
        match &cause {
            same if *same == told => {}
            Some(cause) => tracing::warn!("key store: {kind}: {name} is not available: {cause}"),
            None => tracing::info!("key store: {kind}: {name} is available again"),
        }
        told = cause;
    };
    loop {
        time::sleep(CHECK_INTERVAL).await;
        known.lock().checking_since = Some(Instant::now());
        let mut check = std::pin::pin!(store.check());
        let (state, cause) = match time::timeout(CHECK_DEADLINE, check.as_mut()).await {
            Ok(found) => found,
            Err(_) => {
                let hangs = format!("it did not answer within {} s", CHECK_DEADLINE.as_secs());
                known.lock().cause = Some(hangs.clone());
                tell(Some(hangs));
                check.await
            }
        };
        *known.lock() = Known { state, cause: cause.clone(), checking_since: None };
        tell(cause);
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::watch;

    use super::*;
    use crate::battery::{self, MissingDelete};
    use crate::memory::MemoryStore;

    const WELL: State = State::Reachable { latency: Duration::ZERO };

    /// Keys in memory, and checks that end as a test wants: `None` hangs.
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
            Kind::Memory
        }
    }

    type Found = watch::Sender<Option<(State, Option<String>)>>;

    fn checked() -> (Health<Checked>, Found) {
        let (sender, found) = watch::channel(Some((WELL, None)));
        let store = Checked { store: MemoryStore::new(), found };
        (Health::new(store, "shelf '7'"), sender)
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
