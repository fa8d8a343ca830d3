use std::sync::Arc;
use std::time::Duration;

use kes_api::{KeyName, ListPattern};
use tokio::time::Instant;

use crate::{
    CertificateEnds, Error, KeyStore, Kind, Limit, Logins, Page, PairReport, State, StoreOperation,
    Value,
};

/// Is told of the calls to a store. Called once for each call: an implementation only adds to
/// counters.
pub trait Meter: Send + Sync + 'static {
    /// A call to the store ended. The time includes that of waiting for its turn.
    fn store_call(&self, operation: StoreOperation, took: Duration, failure: Option<&Error>);
}

/// A store whose calls are timed and told to a [`Meter`]. A call that is dropped before it ends is
/// not told.
pub struct Metered<S, M> {
    store: S,
    meter: Arc<M>,
}

impl<S, M: Meter> Metered<S, M> {
    /// Wraps a store.
    pub const fn new(store: S, meter: Arc<M>) -> Self {
        Self { store, meter }
    }

    async fn measured<T>(
        &self,
        operation: StoreOperation,
        call: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let start = Instant::now();
        let result = call.await;
        self.meter.store_call(operation, start.elapsed(), result.as_ref().err());
        result
    }
}

impl<S: KeyStore, M: Meter> KeyStore for Metered<S, M> {
    call_through!(measured);

    pass_on!(
        state -> State,
        kind -> Kind,
        description -> String,
        trouble -> Option<String>,
        logins -> Option<Logins>,
        certificates -> CertificateEnds,
        version -> Option<String>,
        pair -> Option<PairReport>
    );
}

#[cfg(test)]
mod tests {
    use parking_lot::Mutex;
    use tokio::time;

    use super::*;
    use crate::battery::{self, MissingDelete};
    use crate::memory::MemoryStore;

    /// Notes what it is told: the operation, the time, and whether it failed.
    #[derive(Default)]
    struct Notes(Mutex<Vec<(StoreOperation, Duration, bool)>>);

    impl Meter for Notes {
        fn store_call(&self, operation: StoreOperation, took: Duration, failure: Option<&Error>) {
            self.0.lock().push((operation, took, failure.is_some()));
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn does_what_every_store_does() {
        battery::run(MissingDelete::Fails, async || {
            Metered::new(MemoryStore::new(), Arc::new(Notes::default()))
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn each_call_is_told_once_with_its_time_and_its_outcome() {
        use StoreOperation::{Create, Delete, List, Read};
        let notes = Arc::new(Notes::default());
        let store = Metered::new(MemoryStore::new(), Arc::clone(&notes));
        let (key, value) = (KeyName::parse("k").unwrap(), Value::new("v".to_owned()));
        let expected = |failed: [bool; 4]| {
            let zero = Duration::ZERO;
            let [create, read, list, delete] = failed;
            vec![
                (Create, zero, create),
                (Read, zero, read),
                (List, zero, list),
                (Delete, zero, delete),
            ]
        };
        store.create(&key, &value).await.unwrap();
        store.read(&key).await.ok().unwrap();
        store.list(&ListPattern::ALL, Limit::names(1)).await.unwrap();
        store.delete(&key).await.unwrap();
        assert_eq!(std::mem::take(&mut *notes.0.lock()), expected([false; 4]));

        store.create(&key, &value).await.unwrap();
        notes.0.lock().clear();
        let _ = store.create(&key, &value).await;
        store.delete(&key).await.unwrap();
        let _ = store.read(&key).await;
        let _ = store.delete(&key).await;
        let told: Vec<_> =
            notes.0.lock().iter().map(|(what, _, failed)| (*what, *failed)).collect();
        assert_eq!(told, [(Create, true), (Delete, false), (Read, true), (Delete, true)]);

        notes.0.lock().clear();
        let slow = async {
            time::sleep(Duration::from_secs(3)).await;
            Ok(())
        };
        store.measured(Read, slow).await.unwrap();
        assert_eq!(*notes.0.lock(), [(Read, Duration::from_secs(3), false)]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_is_dropped_is_not_told() {
        let notes = Arc::new(Notes::default());
        let store = Metered::new(MemoryStore::new(), Arc::clone(&notes));
        let call = store.measured(StoreOperation::Read, std::future::pending::<Result<(), _>>());
        assert!(time::timeout(Duration::from_secs(1), call).await.is_err());
        assert!(notes.0.lock().is_empty());
    }
}
