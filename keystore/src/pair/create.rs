use std::sync::Arc;

use kes_api::KeyName;

use super::Two;
use super::course::{Look, Patience, Told, settled};
use crate::wrap::Part;
use crate::{Error, KeyStore, Side, Value};

impl<A: KeyStore + 'static, B: KeyStore + 'static> Two<A, B> {
    /// Creates a key in one store, if the other one does not have the name.
    pub(super) async fn create_in_one(
        self: Arc<Self>,
        side: Side,
        name: KeyName,
        value: Value,
        told: Told,
    ) {
        let result = match self.is_free(side.other(), &name).await {
            // The whole change, as if this were the only store.
            Ok(()) => told.whole(self.create_in(side, &name, &value)).await,
            Err(error) => Err(error),
        };
        told.ends(result);
    }

    /// Creates a key in the old store, and then in the new one. What is to be done after a failure is
    /// in the [description](super) of pairs.
    pub(super) async fn create_in_both(
        mut self: Arc<Self>,
        name: KeyName,
        value: Value,
        mut told: Told,
    ) {
        if let Err(error) = self.is_free(Side::New, &name).await {
            return told.ends(Err(error));
        }
        let first = told.part();
        if let Err(error) = first.run(self.create_in(Side::Old, &name, &value)).await
            && !self.was_created_in_old(&name, &value, &first, &error, &mut told).await
        {
            return told.ends(Err(error));
        }
        let mut patience = Patience::new();
        loop {
            let second = told.part();
            let created = second.run(self.create_in(Side::New, &name, &value)).await;
            let failure = match created {
                Ok(()) => return self.confirm(&name, &value, &second, told).await,
                Err(error) => error,
            };
            match self.look(Side::New, &name, &value).await {
                // By `kes migrate --online`, or by a request that had no answer.
                Look::Same => return self.confirm(&name, &value, &second, told).await,
                Look::Other => return told.ends(Err(self.differs(&name))),
                Look::Nothing | Look::Unknown => {}
            }
            told.fails(half_created(&name, &failure));
            if !patience.lasts(&mut self).await {
                tracing::error!(
                    "key '{name}' is in the old store alone, and this process no longer tries to \
                     store it in the new one: {failure}; `kes migrate --online` copies it"
                );
                return told.ends(Err(failure));
            }
            // Another server may have deleted it.
            if matches!(self.look_patiently(Side::Old, &name, &value).await, Look::Nothing) {
                return self.undo(&name, &value, &second, told).await;
            }
        }
    }

    /// Whether a store has nothing under a name.
    async fn is_free(&self, side: Side, name: &KeyName) -> Result<(), Error> {
        match self.read(side, name).await {
            Err(Error::NotFound { .. }) => Ok(()),
            Ok(_) | Err(Error::Corrupt { .. } | Error::Foreign { .. }) => {
                Err(Error::Exists { name: *name })
            }
            Err(error) => Err(error),
        }
    }

    /// Whether the old store has created a key, although it has said otherwise. It may still do so as
    /// long as the part is not settled.
    async fn was_created_in_old(
        self: &mut Arc<Self>,
        name: &KeyName,
        value: &Value,
        first: &Part,
        error: &Error,
        told: &mut Told,
    ) -> bool {
        if matches!(error, Error::Exists { .. }) {
            return false;
        }
        let mut patience = Patience::new();
        loop {
            let was_settled = first.is_settled();
            match self.look(Side::Old, name, value).await {
                Look::Same => return true,
                Look::Other => return false,
                Look::Nothing if was_settled => return false,
                // It had no request under way.
                Look::Unknown if was_settled && !told.has_failed() => return false,
                Look::Nothing | Look::Unknown => {}
            }
            told.fails(error.clone());
            settled(first).await;
            if !patience.lasts(self).await {
                return false;
            }
        }
    }

    /// Both stores have the key. Ends the change, unless another server has deleted the key meanwhile:
    /// from the old store, and from the new one before it was there. A third one may have created the
    /// name anew after that.
    async fn confirm(self: Arc<Self>, name: &KeyName, value: &Value, second: &Part, told: Told) {
        match self.look_patiently(Side::Old, name, value).await {
            Look::Nothing => self.undo(name, value, second, told).await,
            Look::Other => told.ends(Err(self.differs(name))),
            Look::Same | Look::Unknown => told.ends(Ok(())),
        }
    }

    /// Removes the key from the new store, because it was deleted from the old one.
    async fn undo(
        mut self: Arc<Self>,
        name: &KeyName,
        value: &Value,
        second: &Part,
        mut told: Told,
    ) {
        let gone = || Error::Unavailable {
            reason: format!("key '{name}' was deleted by another server while it was created"),
        };
        let mut patience = Patience::new();
        told.fails(gone());
        settled(second).await;
        loop {
            match self.look(Side::New, name, value).await {
                Look::Nothing | Look::Other => break,
                Look::Same => {
                    let deletion = told.part();
                    if deletion.run(self.delete_in(Side::New, name)).await.is_ok() {
                        break;
                    }
                    settled(&deletion).await;
                }
                Look::Unknown => {}
            }
            if !patience.lasts(&mut self).await {
                tracing::error!(
                    "key '{name}' was deleted from the old store while it was created, and the new \
                     store still has it; delete it once more"
                );
                break;
            }
        }
        told.ends(Err(gone()));
    }
}

/// The error for who creates a key.
fn half_created(name: &KeyName, failure: &Error) -> Error {
    Error::Unavailable {
        reason: format!(
            "key '{name}' was created in the old store and not yet in the new one ({failure}); it can \
             be used, and this server goes on to store it in the new one"
        ),
    }
}
