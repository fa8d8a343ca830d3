use std::time::Duration;

use kes_api::{KeyName, ListPattern};
use tokio::time;

use crate::{CertificateEnds, Error, KeyStore, Kind, Limit, Logins, Page, State, Value};

/// A store whose calls end in time, whatever the store within does: a call that takes longer is
/// dropped, and fails as [`Error::Unreachable`].
pub struct Deadline<S> {
    store: S,
    limit: Duration,
    late: String,
}

impl<S> Deadline<S> {
    /// Wraps a store. `late` says what did not happen, in the words of an error: an error reads
    /// `folder '/keys' did not answer within 10 s` where `late` is `folder '/keys' did not answer`.
    pub fn new(store: S, limit: Duration, late: impl Into<String>) -> Self {
        Self { store, limit, late: late.into() }
    }

    /// The store within.
    pub const fn inner(&self) -> &S {
        &self.store
    }

    /// Completes a call of the store within, or drops it at the time limit.
    pub(crate) async fn within<T>(
        &self,
        call: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        time::timeout(self.limit, call).await.unwrap_or_else(|_| {
            let reason = format!("{} within {} s", self.late, self.limit.as_secs());
            Err(Error::Unreachable { reason })
        })
    }
}

impl<S: KeyStore> KeyStore for Deadline<S> {
    async fn create(&self, name: &KeyName, value: &Value) -> Result<(), Error> {
        self.within(self.store.create(name, value)).await
    }

    async fn read(&self, name: &KeyName) -> Result<Value, Error> {
        self.within(self.store.read(name)).await
    }

    async fn delete(&self, name: &KeyName) -> Result<(), Error> {
        self.within(self.store.delete(name)).await
    }

    async fn list(&self, pattern: &ListPattern<'_>, limit: Limit) -> Result<Page, Error> {
        self.within(self.store.list(pattern, limit)).await
    }

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
    use tokio::time::Instant;

    use super::*;
    use crate::StoreOperation;
    use crate::battery::{self, MissingDelete};
    use crate::memory::MemoryStore;
    use crate::wrap::testing::{self, Before, Preceded};

    const LIMIT: Duration = Duration::from_secs(10);

    /// A pause before each call.
    struct Pause(Duration);

    impl Before for Pause {
        async fn before(&self, _: StoreOperation) {
            time::sleep(self.0).await;
        }
    }

    fn slow(pause: Duration) -> Deadline<Preceded<Pause>> {
        Deadline::new(Preceded::new(Pause(pause)), LIMIT, "it did not answer")
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn does_what_every_store_does() {
        battery::run(MissingDelete::Fails, async || {
            Deadline::new(MemoryStore::new(), LIMIT, "it did not answer")
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_ends_at_the_limit_and_not_before() {
        let (name, value) = (KeyName::parse("k").unwrap(), Value::new("v".to_owned()));
        let store = slow(LIMIT.saturating_sub(Duration::from_millis(1)));
        store.create(&name, &value).await.unwrap();
        assert_eq!(store.read(&name).await.ok().unwrap().expose(), "v");
        assert_eq!(store.list(&ListPattern::ALL, Limit::names(1)).await.unwrap().names.len(), 1);
        store.delete(&name).await.unwrap();

        let store = slow(LIMIT + Duration::from_millis(2));
        let start = Instant::now();
        let errors = [
            store.create(&name, &value).await.err(),
            store.read(&name).await.err(),
            store.delete(&name).await.err(),
            store.list(&ListPattern::ALL, Limit::names(1)).await.err(),
        ];
        assert!(start.elapsed() < 4 * (LIMIT + Duration::from_millis(2)), "{:?}", start.elapsed());
        for error in errors.map(Option::unwrap) {
            assert!(matches!(error, Error::Unreachable { .. }), "{error:?}");
            assert_eq!(error.to_string(), "key store: it did not answer within 10 s");
        }
    }

    #[test]
    fn what_the_store_within_says_of_itself_is_passed_on() {
        testing::says_what_is_within(&slow(Duration::ZERO));
    }
}
