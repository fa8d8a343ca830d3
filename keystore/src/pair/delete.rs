use std::sync::Arc;

use kes_api::KeyName;

use super::course::{Patience, Told, settled};
use super::{Two, are_equal};
use crate::wrap::Part;
use crate::{Error, KeyStore, Side, Value};

/// How often a key is deleted from the old store that comes back, copied from the new one.
const ROUNDS: usize = 3;

/// What the two stores had before a delete, as far as it is a value. By it a key is told from one of
/// the same name that another server creates meanwhile.
struct Before([Option<Value>; 2]);

impl Before {
    /// Whether a value is one that is to be deleted. If nothing is known, every one is.
    fn has(&self, found: &Value) -> bool {
        let mut known = self.0.iter().flatten().peekable();
        known.peek().is_none() || known.any(|value| are_equal(value, found))
    }

    /// Whether a store had a value.
    fn is_in(&self, side: Side) -> bool {
        let [old, new] = &self.0;
        match side {
            Side::Old => old.is_some(),
            Side::New => new.is_some(),
        }
    }

    fn is_known(&self) -> bool {
        self.0.iter().any(Option::is_some)
    }
}

impl<A: KeyStore + 'static, B: KeyStore + 'static> Two<A, B> {
    /// Deletes a key from the old store, and then from the new one.
    pub(super) async fn delete(mut self: Arc<Self>, name: KeyName, mut told: Told) {
        let before = match self.before(&name).await {
            Ok(before) => before,
            Err(error) => return told.ends(Err(error)),
        };
        let first = told.part();
        let mut was_there = match first.run(self.delete_in(Side::Old, &name)).await {
            Ok(()) => true,
            Err(Error::NotFound { .. }) => false,
            Err(error) => {
                if !self.was_deleted_from_old(&name, &before, &first, &error, &mut told).await {
                    return told.ends(Err(error));
                }
                true
            }
        };
        let mut patience = Patience::new();
        let mut is_known = before.is_in(Side::New);
        loop {
            // Another server may create the name anew once neither store has it.
            let found =
                if is_known { Ok(true) } else { self.is_still_in_new(&name, &before).await };
            let second = told.part();
            let failure = match found {
                Ok(false) => break,
                Ok(true) => match second.run(self.delete_in(Side::New, &name)).await {
                    Ok(()) => {
                        was_there = true;
                        break;
                    }
                    Err(Error::NotFound { .. }) => break,
                    Err(error) => error,
                },
                Err(error) => error,
            };
            told.fails(half_deleted(&name, &failure));
            if !patience.lasts(&mut self).await {
                tracing::error!(
                    "key '{name}' was deleted from the old store, and this process no longer tries \
                     to delete it from the new one: {failure}; delete it once more"
                );
                return told.ends(Err(failure));
            }
            settled(&second).await;
            is_known = false;
        }
        if let Err(failure) = self.delete_again(&name, &before, &mut told).await {
            return told.ends(Err(failure));
        }
        told.ends(if was_there { Ok(()) } else { Err(Error::NotFound { name }) });
    }

    /// What both stores have, as far as it is a value.
    ///
    /// # Errors
    /// That of a store that does not answer: it would keep the key, and nothing is begun.
    async fn before(&self, name: &KeyName) -> Result<Before, Error> {
        let answers = tokio::join!(self.read(Side::Old, name), self.read(Side::New, name));
        let value = |answer| match answer {
            Ok(value) => Ok(Some(value)),
            Err(Error::NotFound { .. } | Error::Corrupt { .. } | Error::Foreign { .. }) => Ok(None),
            Err(error) => Err(error),
        };
        Ok(Before([value(answers.0)?, value(answers.1)?]))
    }

    /// Whether the new store has a key that is to be deleted, or something that is none.
    async fn is_still_in_new(&self, name: &KeyName, before: &Before) -> Result<bool, Error> {
        match self.read(Side::New, name).await {
            Ok(found) => Ok(before.has(&found)),
            Err(Error::NotFound { .. }) => Ok(false),
            Err(Error::Corrupt { .. } | Error::Foreign { .. }) => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// Whether the old store has deleted a key, although it has said otherwise.
    async fn was_deleted_from_old(
        self: &mut Arc<Self>,
        name: &KeyName,
        before: &Before,
        first: &Part,
        error: &Error,
        told: &mut Told,
    ) -> bool {
        let mut patience = Patience::new();
        loop {
            let was_settled = first.is_settled();
            match self.read(Side::Old, name).await {
                // It had a value: that it was there is known.
                Err(Error::NotFound { .. }) if before.is_known() => return true,
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
    ///
    /// # Errors
    /// That of the old store, if it does not tell in the end whether it has the key.
    async fn delete_again(
        self: &mut Arc<Self>,
        name: &KeyName,
        before: &Before,
        told: &mut Told,
    ) -> Result<(), Error> {
        if !before.is_known() {
            return Ok(());
        }
        let mut patience = Patience::new();
        let mut rounds = 0..ROUNDS;
        loop {
            let failure = match self.read(Side::Old, name).await {
                Ok(found) if before.has(&found) => {
                    if rounds.next().is_none() {
                        return Ok(());
                    }
                    let part = told.part();
                    match part.run(self.delete_in(Side::Old, name)).await {
                        Ok(()) | Err(Error::NotFound { .. }) => continue,
                        Err(error) => {
                            told.fails(back_again(name, &error));
                            settled(&part).await;
                            error
                        }
                    }
                }
                Ok(_)
                | Err(Error::NotFound { .. } | Error::Corrupt { .. } | Error::Foreign { .. }) => {
                    return Ok(());
                }
                Err(error) => error,
            };
            told.fails(back_again(name, &failure));
            if !patience.lasts(self).await {
                tracing::error!(
                    "key '{name}' was deleted from both stores, and may have been copied back into \
                     the old one, which does not tell: {failure}; delete it once more"
                );
                return Err(failure);
            }
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

/// The same where the old store may have it again.
fn back_again(name: &KeyName, failure: &Error) -> Error {
    Error::Unavailable {
        reason: format!(
            "key '{name}' was deleted from both stores, and the old one does not tell whether it was \
             copied back ({failure}); this server goes on to look"
        ),
    }
}
