use std::pin::pin;
use std::sync::atomic::Ordering;
use std::time::Duration;

use kes_api::KeyName;
use tokio::time;

use super::{Two, are_equal};
use crate::{Error, KeyStore, Side, Value};

/// How long the store that is asked first may take before the other one is asked beside it: a store
/// that hangs does not hold up what the other one has.
const ALONE: Duration = Duration::from_secs(1);

impl<A: KeyStore, B: KeyStore> Two<A, B> {
    /// The value of a key from the store that is asked first, or else from the other one.
    pub(super) async fn find(&self, name: &KeyName) -> Result<Value, Error> {
        let side = self.stage.read;
        let mut first = pin!(self.read(side, name));
        let second = self.read(side.other(), name);
        match time::timeout(ALONE, first.as_mut()).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => self.or_second(error, second).await,
            Err(_) => {
                let mut second = pin!(second);
                tokio::select! {
                    biased;
                    found = &mut first => match found {
                        Ok(value) => Ok(value),
                        Err(error) => self.or_second(error, second).await,
                    },
                    found = &mut second => match found {
                        Ok(value) => Ok(self.by_second(value)),
                        Err(late) => match first.await {
                            Ok(value) => Ok(value),
                            Err(error) => self.or_second(error, async { Err(late) }).await,
                        },
                    },
                }
            }
        }
    }

    /// What the answer is where the store that was asked first has no value to give.
    async fn or_second(
        &self,
        first: Error,
        second: impl Future<Output = Result<Value, Error>>,
    ) -> Result<Value, Error> {
        let is_missing = matches!(first, Error::NotFound { .. });
        if !is_missing && !matches!(first, Error::Unreachable { .. } | Error::Unavailable { .. }) {
            // What is wrong with the entry itself is not hidden by a copy of it.
            return Err(first);
        }
        match second.await {
            Ok(value) => Ok(self.by_second(value)),
            // That there is no such key only both can say.
            Err(second) => Err(if is_missing { second } else { first }),
        }
    }

    fn by_second(&self, value: Value) -> Value {
        self.notes.from_second.fetch_add(1, Ordering::Relaxed);
        value
    }

    /// The value of a key, of which the two stores have the same value, or one of them none.
    pub(super) async fn compare(&self, name: &KeyName) -> Result<Value, Error> {
        let mut is_repeated = false;
        loop {
            let answers = tokio::join!(self.read(Side::Old, name), self.read(Side::New, name));
            return match answers {
                (Ok(old), Ok(new)) if are_equal(&old, &new) => Ok(old),
                // One of them may have been read before the key was deleted and created anew, and the
                // other one after that.
                (Ok(_), Ok(_)) if !is_repeated => {
                    is_repeated = true;
                    continue;
                }
                (Ok(_), Ok(_)) => Err(self.differs(name)),
                (Ok(value), Err(Error::NotFound { .. })) => {
                    Ok(if self.stage.read == Side::Old { value } else { self.by_second(value) })
                }
                (Err(Error::NotFound { .. }), Ok(value)) => {
                    Ok(if self.stage.read == Side::New { value } else { self.by_second(value) })
                }
                // It cannot be compared.
                (Ok(_), Err(error)) | (Err(error), Ok(_)) => Err(error),
                (Err(Error::NotFound { .. }), Err(error)) => Err(error),
                (Err(error), Err(_)) => Err(error),
            };
        }
    }
}
