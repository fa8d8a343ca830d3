//! Beside servers that use both stores (configuration: `migration`): not faster than it is told, and
//! never so that a key which is deleted meanwhile comes back.
//!
//! A server deletes a key from the source before it deletes it from the target. So a key that is still
//! in the source after it was copied is deleted from the target as well, whenever it is deleted; and one
//! that is no longer in the source was copied too late, and is removed again.

use std::time::Duration;

use kes_api::KeyName;
use kes_keystore::{Error, Inventory, Value};
use tokio::time::{self, Instant};

use crate::listing::{Listing, key};
use crate::migration::Run;
use crate::target::{PATIENCE, are_equal};
use crate::{Alone, Outcome, Side};

/// How often a key is copied that is deleted and created anew each time.
const ROUNDS: usize = 5;

/// How long a key that was there is looked for: nodes of a cluster lag by some 100 ms.
const LAG: Duration = Duration::from_secs(2);

/// The pause between two looks.
const LOOK: Duration = Duration::from_millis(100);

/// How many names are looked at once more that one of the listings does not have: keys are created and
/// deleted between two listings.
const MOST_CHECKED: usize = 100;

/// What the source has of a key that was copied.
enum Still {
    /// The same.
    There,
    /// Nothing, or another value.
    Gone,
    /// That is not known.
    Unknown(Error),
}

impl<S: Inventory, T: Inventory> Run<'_, S, T> {
    /// Copies one key beside servers that may create or delete it.
    pub(crate) async fn key_online(&self, name: KeyName) -> Outcome {
        for _ in 0..ROUNDS {
            let value = match self.source.read(&name).await {
                Ok(value) => value,
                Err(Error::NotFound { .. }) => {
                    return Outcome::Skipped("was deleted meanwhile".to_owned());
                }
                Err(error) => return self.unread(error),
            };
            let outcome = match self.value(&name, &value).await {
                Outcome::Failed(_) if self.late(&name, &value).await => Outcome::Migrated,
                outcome => outcome,
            };
            // What was there before is deleted by whoever deletes it from the source.
            let is_changed = matches!(outcome, Outcome::Migrated | Outcome::Failed(_));
            if self.options.dry_run || !is_changed {
                return outcome;
            }
            match self.still(&name, &value).await {
                Still::Gone => {}
                Still::Unknown(error) if outcome == Outcome::Migrated => {
                    let what = "was copied and cannot be read again from";
                    return self.failed(Side::Source, what, error);
                }
                Still::There | Still::Unknown(_) => return outcome,
            }
            if let Err(error) = self.remove_copy(&name, &value).await {
                let what = "was copied while it was deleted, and has to be deleted once more: it cannot \
                            be removed from";
                return self.failed(Side::Target, what, error);
            }
        }
        Outcome::Failed("is deleted and created anew all the time".to_owned())
    }

    /// Whether the target has a key although its creation has failed, once that cannot be carried out any
    /// more.
    async fn late(&self, name: &KeyName, value: &Value) -> bool {
        let start = Instant::now();
        while !self.target.may_create(name).await && start.elapsed() < PATIENCE {}
        let found = self.target.read(name).await;
        found.is_ok_and(|found| are_equal(&found, value))
    }

    async fn still(&self, name: &KeyName, value: &Value) -> Still {
        let start = Instant::now();
        loop {
            match self.source.read(name).await {
                Ok(found) if are_equal(&found, value) => return Still::There,
                Err(Error::NotFound { .. }) if start.elapsed() < LAG => time::sleep(LOOK).await,
                Ok(_) | Err(Error::NotFound { .. }) => return Still::Gone,
                Err(error) => return Still::Unknown(error),
            }
        }
    }

    /// Removes a key that this run has created, unless its name has another value by now.
    async fn remove_copy(&self, name: &KeyName, value: &Value) -> Result<(), Error> {
        let start = Instant::now();
        loop {
            let removed = match self.target.read(name).await {
                Ok(found) if are_equal(&found, value) => self.target.delete(name).await,
                Ok(_) => return Ok(()),
                Err(error) => Err(error),
            };
            match removed {
                Ok(()) | Err(Error::NotFound { .. }) => return Ok(()),
                Err(error) if start.elapsed() > PATIENCE => return Err(error),
                Err(_) => time::sleep(LOOK).await,
            }
        }
    }

    /// The names that the source alone has, and those that the target alone has.
    pub(crate) async fn alone(&self) -> Result<[Alone; 2], Error> {
        let prefix = self.options.pattern.prefix();
        let mut source = Cursor::new(self.source, &prefix);
        let mut target = Cursor::new(self.target.store(), &prefix);
        let [mut in_source, mut in_target] = [Alone::default(), Alone::default()];
        loop {
            source.fill().await?;
            target.fill().await?;
            let (is_source, is_target) = match (source.name(), target.name()) {
                (None, None) => return Ok([in_source, in_target]),
                (Some(_), None) => (true, false),
                (None, Some(_)) => (false, true),
                (Some(source), Some(target)) => (source <= target, target <= source),
            };
            let name = if is_source { source.name() } else { target.name() };
            let name = name.map(key).filter(|name| self.options.pattern.matches(name.as_str()));
            if let Some(name) = name {
                if is_source && !is_target {
                    let is_alone =
                        self.is_alone(&in_source, self.source, self.target.store(), &name);
                    in_source.add(name, is_alone.await);
                } else if is_target && !is_source {
                    let is_alone =
                        self.is_alone(&in_target, self.target.store(), self.source, &name);
                    in_target.add(name, is_alone.await);
                }
            }
            source.at += usize::from(is_source);
            target.at += usize::from(is_target);
        }
    }

    /// Whether one store has a key and another one does not, which is looked at for the first ones.
    async fn is_alone<A: Inventory, B: Inventory>(
        &self,
        so_far: &Alone,
        here: &A,
        there: &B,
        name: &KeyName,
    ) -> bool {
        so_far.count >= MOST_CHECKED
            || matches!(there.read(name).await, Err(Error::NotFound { .. }))
                && !matches!(here.read(name).await, Err(Error::NotFound { .. }))
    }
}

/// The names of a store, one after the other.
struct Cursor<'a, S> {
    listing: Listing<'a, S>,
    page: kes_keystore::Names,
    at: usize,
}

impl<'a, S: Inventory> Cursor<'a, S> {
    fn new(store: &'a S, prefix: &str) -> Self {
        let page = kes_keystore::Names::default();
        Self { listing: Listing::new(store, prefix), page, at: 0 }
    }

    async fn fill(&mut self) -> Result<(), Error> {
        while self.at >= self.page.len()
            && let Some(page) = self.listing.page().await?
        {
            (self.page, self.at) = (page, 0);
        }
        Ok(())
    }

    fn name(&self) -> Option<&str> {
        self.page.get(self.at)
    }
}
