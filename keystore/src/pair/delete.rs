use std::sync::Arc;

use kes_api::KeyName;

use super::course::{Look, Patience, Told, settled};
use super::{Two, are_equal};
use crate::wrap::Part;
use crate::{Error, KeyStore, Side, Value};

/// How often a key is deleted from the old store that comes back, copied from the new one.
const ROUNDS: usize = 3;

impl<A: KeyStore + 'static, B: KeyStore + 'static> Two<A, B> {
    /// Deletes a key from the old store, and then from the new one.
    pub(super) async fn delete(self: Arc<Self>, name: KeyName, mut told: Told) {
        // By its value it is told from a key of the same name that another server creates meanwhile.
        let value = self.value_of(&name).await;
        let first = told.part();
        let mut was_there = match first.run(self.delete_in(Side::Old, &name)).await {
            Ok(()) => true,
            Err(Error::NotFound { .. }) => false,
            Err(error) => {
                if !self
                    .was_deleted_from_old(&name, value.as_ref(), &first, &error, &mut told)
                    .await
                {
                    return told.ends(Err(error));
                }
                true
            }
        };
        let mut patience = Patience::new();
        loop {
            let second = told.part();
            let failure = match second.run(self.delete_in(Side::New, &name)).await {
                Ok(()) => {
                    was_there = true;
                    break;
                }
                Err(Error::NotFound { .. }) => break,
                Err(error) => error,
            };
            told.fails(half_deleted(&name, &failure));
            if !patience.lasts(&self).await {
                tracing::error!(
                    "key '{name}' was deleted from the old store, and this process no longer tries \
                     to delete it from the new one: {failure}; delete it once more"
                );
                return told.ends(Err(failure));
            }
            settled(&second).await;
            // Another server may have created the name anew.
            match (&value, self.read(Side::New, &name).await) {
                (Some(value), Ok(found)) if !are_equal(value, &found) => break,
                _ => {}
            }
        }
        self.delete_again(&name, value.as_ref(), &told).await;
        told.ends(if was_there { Ok(()) } else { Err(Error::NotFound { name }) });
    }

    /// The value of a key, as far as it can be read from either store.
    async fn value_of(&self, name: &KeyName) -> Option<Value> {
        match self.read(Side::Old, name).await {
            Ok(value) => Some(value),
            Err(_) => self.read(Side::New, name).await.ok(),
        }
    }

    /// Whether the old store has deleted a key, although it has said otherwise.
    async fn was_deleted_from_old(
        &self,
        name: &KeyName,
        value: Option<&Value>,
        first: &Part,
        error: &Error,
        told: &mut Told,
    ) -> bool {
        let mut patience = Patience::new();
        loop {
            let was_settled = first.is_settled();
            match self.read(Side::Old, name).await {
                // It had a value: that it was there is known.
                Err(Error::NotFound { .. }) if value.is_some() => return true,
                Err(Error::NotFound { .. }) if was_settled => return true,
                Ok(_) if was_settled => return false,
                Err(_) if was_settled && !told.has_failed() => return false,
                _ => {}
            }
            told.fails(error.clone());
            settled(first).await;
            if !patience.lasts(self).await {
                return false;
            }
        }
    }

    /// Deletes a key from the old store once more if it is there again with its value: it was copied
    /// from the new store, which had it until just now.
    async fn delete_again(&self, name: &KeyName, value: Option<&Value>, told: &Told) {
        let Some(value) = value else { return };
        for _ in 0..ROUNDS {
            if !matches!(self.look(Side::Old, name, value).await, Look::Same) {
                return;
            }
            let part = told.part();
            let _ = part.run(self.delete_in(Side::Old, name)).await;
        }
    }
}

/// The error for who deletes a key.
fn half_deleted(name: &KeyName, failure: &Error) -> Error {
    Error::Unavailable {
        reason: format!(
            "key '{name}' was deleted from the old store and not yet from the new one ({failure}); this \
             server goes on to delete it there"
        ),
    }
}
