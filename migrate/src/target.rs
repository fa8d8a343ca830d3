use std::time::Duration;

use kes_api::KeyName;
use kes_keystore::wrap::{Change, Order};
use kes_keystore::{Error, KeyStore, State, Value};
use subtle::ConstantTimeEq;
use tokio::time::{self, Instant};

/// How long a key that was just created is looked for: nodes of a cluster lag by some 100 ms.
const LAG: Duration = Duration::from_secs(2);

/// The pause between two looks.
const LOOK: Duration = Duration::from_millis(50);

/// How long a name is waited for that another server seems to create. On an engine of KV version 1 a
/// process that was killed, such as an earlier run, blocks the names that it was about to create for
/// 15 s, or for 120 s where the policy grants `update`.
const LOCK: Duration = Duration::from_secs(130);

/// How long a key is tried to be put back, or removed: longer than Vault may still carry a request out
/// that had no answer (90 s).
pub(crate) const PATIENCE: Duration = Duration::from_secs(100);

/// The store that keys are copied to. A change of a key begins when no earlier change of it may
/// still be carried out: without that, a deletion that has had no answer may delete what was created
/// after it.
pub(crate) struct Target<'a, T> {
    store: &'a T,
    order: Order,
}

impl<'a, T: KeyStore> Target<'a, T> {
    pub(crate) fn new(store: &'a T) -> Self {
        Self { store, order: Order::default() }
    }

    pub(crate) const fn store(&self) -> &'a T {
        self.store
    }

    pub(crate) async fn read(&self, name: &KeyName) -> Result<Value, Error> {
        self.store.read(name).await
    }

    /// Creates a key. A name that is blocked is tried again, until `stop` says so. That a name is
    /// blocked may also show by a call that is not completed in time by a store that is reachable, and
    /// whose earlier call may still be carried out.
    pub(crate) async fn create(
        &self,
        name: &KeyName,
        value: &Value,
        stop: impl Fn() -> bool,
    ) -> Result<(), Error> {
        let start = Instant::now();
        loop {
            let (result, is_blocked) = match self.order.turn(name, Change::Create).await {
                Ok(turn) => {
                    let result = turn.run(self.store.create(name, value)).await;
                    let is_blocked = match &result {
                        Err(Error::Locked { .. }) => true,
                        Err(Error::Unreachable { .. }) => {
                            matches!(self.store.state(), State::Reachable { .. })
                        }
                        _ => false,
                    };
                    (result, is_blocked)
                }
                Err(error) => (Err(error), true),
            };
            if !is_blocked || start.elapsed() > LOCK || stop() {
                return result;
            }
            time::sleep(LOOK).await;
        }
    }

    pub(crate) async fn delete(&self, name: &KeyName) -> Result<(), Error> {
        let turn = self.order.turn(name, Change::Delete).await?;
        turn.run(self.store.delete(name)).await
    }

    /// Waits until a create cannot be undone by an earlier deletion, for about 10 s at most.
    pub(crate) async fn may_create(&self, name: &KeyName) -> bool {
        self.order.turn(name, Change::Create).await.is_ok()
    }

    /// Whether the stored value of a key that was just created is this one.
    pub(crate) async fn has(&self, name: &KeyName, value: &Value) -> Result<bool, Error> {
        let start = Instant::now();
        loop {
            match self.read(name).await {
                Err(Error::NotFound { .. }) if start.elapsed() < LAG => time::sleep(LOOK).await,
                found => return found.map(|found| are_equal(&found, value)),
            }
        }
    }
}

/// In constant time.
pub(crate) fn are_equal(one: &Value, other: &Value) -> bool {
    one.expose().as_bytes().ct_eq(other.expose().as_bytes()).into()
}
