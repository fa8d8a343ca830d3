//! One key in place of another. The rights that a server needs include no call for that, so the old
//! value is deleted and the new one created. The old one is kept in memory, and put back if the new
//! one cannot be created. A process that is killed in between leaves neither in the target; the
//! source has the new one, which another run creates.
//!
//! So that a target which takes no new keys (a missing right, a full disk) loses none: another key is
//! created and deleted before the first replacement, keys are replaced one at a time, and the first
//! one that cannot be replaced ends the run.

use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

use kes_api::KeyName;
use kes_keystore::{Error, Inventory, Value};
use tokio::time::{self, Instant};

use crate::listing::key;
use crate::migration::Run;
use crate::target::{PATIENCE, are_equal};
use crate::{Outcome, Side};

/// The pause before it is tried again.
const PAUSE: Duration = Duration::from_secs(1);

impl<S: Inventory, T: Inventory> Run<'_, S, T> {
    /// Replaces the value of a key.
    pub(crate) async fn replace(&self, name: &KeyName, new: &Value, old: Value) -> Outcome {
        let mut is_proven = self.replacing.lock().await;
        if self.trouble.get().is_some() || self.is_stopped() {
            return Outcome::Failed("was not replaced, because the run ended before".to_owned());
        }
        if !*is_proven && let Err(error) = self.prove_changes().await {
            let reason = format!(
                "is not replaced: a key for trial cannot be created and deleted in the target: \
                 {error}"
            );
            self.give_up(Side::Target, error);
            return Outcome::Failed(reason);
        }
        *is_proven = true;
        match self.target.delete(name).await {
            Ok(()) | Err(Error::NotFound { .. }) => {}
            Err(error) => match self.after_deletion(name).await {
                // It was deleted, though that was not answered.
                Err(Error::NotFound { .. }) => {}
                Ok(value) if are_equal(&value, new) => return Outcome::AlreadyThere,
                Ok(_) => return self.failed(Side::Target, "cannot be deleted from", error),
                // Nobody knows whether it was deleted.
                Err(_) => return self.put_back(name, new, old, error).await,
            },
        }
        match self.target.create(name, new, || false).await {
            Ok(()) => self.read_back(name, new, Outcome::Replaced).await,
            Err(error) => self.put_back(name, new, old, error).await,
        }
    }

    /// Creates and deletes a key that nobody uses.
    async fn prove_changes(&self) -> Result<(), Error> {
        let name = trial_name();
        let value = Value::new("created by kes migrate for a trial, and of no use".to_owned());
        self.target.create(&name, &value, || false).await?;
        self.target.delete(&name).await
    }

    /// The value of a key when a deletion without an answer cannot be carried out any more.
    async fn after_deletion(&self, name: &KeyName) -> Result<Value, Error> {
        let start = Instant::now();
        while !self.target.may_create(name).await && start.elapsed() < PATIENCE {}
        self.target.read(name).await
    }

    /// Puts the old value back, because the new one was not created.
    async fn put_back(&self, name: &KeyName, new: &Value, old: Value, error: Error) -> Outcome {
        let start = Instant::now();
        self.give_up(Side::Target, error.clone());
        loop {
            let last = match self.target.create(name, &old, || false).await {
                Ok(()) => match self.target.has(name, &old).await {
                    Ok(true) => {
                        return Outcome::Failed(format!(
                            "cannot be replaced in the target, where the old value was put back: \
                             {error}"
                        ));
                    }
                    Ok(false) => Error::Exists { name: *name },
                    Err(error) => error,
                },
                Err(error) => error,
            };
            if let Ok(value) = self.target.read(name).await {
                return if are_equal(&value, new) {
                    // It was created, though that was not answered.
                    Outcome::Replaced
                } else if are_equal(&value, &old) {
                    self.failed(Side::Target, "cannot be replaced in", error)
                } else {
                    Outcome::Failed(
                        "was deleted from the target to be replaced, and another program has \
                         created it there"
                            .to_owned(),
                    )
                };
            }
            if start.elapsed() > PATIENCE {
                return Outcome::Failed(format!(
                    "is probably no longer in the target: its old value was deleted, the new one \
                     cannot be created ({error}), and the old one cannot be put back ({last}); the \
                     source has the new one"
                ));
            }
            time::sleep(PAUSE).await;
        }
    }
}

/// A name that hardly any key has: no two runs at a time have the same.
fn trial_name() -> KeyName {
    let nonce = RandomState::new().hash_one("trial");
    key(&format!("kes-migrate-trial-{nonce:016x}"))
}
