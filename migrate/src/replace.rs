//! One key in place of another. No store has a call for that, so the old value is deleted and the
//! new one created. The old one is kept in memory, and put back if the new one cannot be created. A
//! process that is killed in between leaves neither in the target; the source has the new one, which
//! another run creates.

use std::time::Duration;

use kes_api::KeyName;
use kes_keystore::{Error, Inventory, Value};
use tokio::time::{self, Instant};

use crate::migration::Run;
use crate::target::are_equal;
use crate::{Outcome, Side};

/// How long a key is tried to be put back: longer than Vault may still carry a request out that had
/// no answer (90 s).
const PATIENCE: Duration = Duration::from_secs(100);

/// The pause before it is tried again.
const PAUSE: Duration = Duration::from_secs(1);

impl<S: Inventory, T: Inventory> Run<'_, S, T> {
    /// Replaces the value of a key. `old` is `None` if what has the name cannot be read any more.
    pub(crate) async fn replace(&self, name: &KeyName, new: &Value, old: Option<Value>) -> Outcome {
        match self.target.delete(name).await {
            Ok(()) | Err(Error::NotFound { .. }) => {}
            Err(error) => match self.after_deletion(name).await {
                // It was deleted, though that was not answered.
                Err(Error::NotFound { .. }) => {}
                Ok(value) if are_equal(&value, new) => return Outcome::AlreadyThere,
                _ => return self.failed(Side::Target, "cannot be deleted from", error),
            },
        }
        match self.target.create(name, new, || false).await {
            Ok(()) => self.read_back(name, new, Outcome::Replaced).await,
            Err(error) => self.put_back(name, new, old, error).await,
        }
    }

    /// The value of a key when a deletion without an answer cannot be carried out any more.
    async fn after_deletion(&self, name: &KeyName) -> Result<Value, Error> {
        let start = Instant::now();
        while !self.target.may_create(name).await && start.elapsed() < PATIENCE {}
        self.target.read(name).await
    }

    /// Puts the old value back, because the new one was not created.
    async fn put_back(
        &self,
        name: &KeyName,
        new: &Value,
        old: Option<Value>,
        error: Error,
    ) -> Outcome {
        let start = Instant::now();
        let Some(old) = old else {
            return self.failed(Side::Target, "cannot be created in", error);
        };
        loop {
            let last = match self.target.create(name, &old, || false).await {
                Ok(()) => match self.target.has(name, &old).await {
                    Ok(true) => {
                        self.note(Side::Target, error.clone());
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
                    self.failed(Side::Target, "cannot be created in", error)
                } else {
                    Outcome::Failed(
                        "was deleted from the target to be replaced, and another program has \
                         created it there"
                            .to_owned(),
                    )
                };
            }
            if start.elapsed() > PATIENCE {
                self.note(Side::Target, error.clone());
                return Outcome::Failed(format!(
                    "is no longer in the target: its old value was deleted, the new one cannot be \
                     created ({error}), and the old one cannot be put back ({last}); the source has \
                     the new one"
                ));
            }
            time::sleep(PAUSE).await;
        }
    }
}
