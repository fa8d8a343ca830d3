//! Two key stores at once, while keys move from the old one to the new one (configuration:
//! `migration`). What each of them is used for says the [`Stage`].
//!
//! What holds at every moment, whoever is killed or away:
//!
//! - A create that has succeeded stands in both stores where both are written. The old one is written
//!   first, so that the half of a create is what a key that is not yet copied is: one that is found,
//!   and that `kes migrate --online` completes. Such a half is never taken back: whoever has found the
//!   key may have encrypted with it. It is completed in the background, as long as the process runs and
//!   is configured for the two stores.
//! - A name that one of the stores has is taken. A change begins only if both stores answer.
//! - A delete is one from both, whatever is written. Its half is completed in the same way.
//! - "No such key" is the answer of both. A store that fails is not taken for one that has no key.
//!
//! Copying beside it (`kes migrate --online`) relies on the order of a delete: the old store first.
//! What is copied after that is seen to be gone there, and removed again.

/// Creating keys.
mod create;

/// Deleting keys.
mod delete;

/// Reading keys.
mod reading;

/// Listing names.
mod listing;

/// How many keys stand where.
mod counting;

/// What is counted of pairs, and which of them there are.
mod notes;

/// The task of a change.
mod course;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use kes_api::{KeyName, ListPattern};
use parking_lot::Mutex;
use subtle::ConstantTimeEq;
use tokio::task::JoinHandle;
use tokio::time;

pub use self::notes::Notes;

use crate::wrap::{Change, Unsettled};
use crate::{
    CertificateEnds, Count, Error, KeyStore, Kind, Limit, Logins, MemberReport, Page, PairReport,
    Side, Stage, State, Value, Writes,
};

/// The kind of this store.
const KIND: Kind = Kind::new(&"pair");

/// The time limit of a call as a whole: less than the 15 s of its route. Each store has a limit of
/// its own, and a change is several calls of them.
const CALL_LIMIT: Duration = Duration::from_secs(13);

/// Two key stores that are used at once.
pub struct Pair<A, B> {
    stores: Arc<Two<A, B>>,
    counting: Option<JoinHandle<()>>,
}

/// The stores, shared with what goes on in the background.
struct Two<A, B> {
    old: A,
    new: B,
    /// Where their keys are.
    place: String,
    stage: Stage,
    notes: Arc<Notes>,
    /// Whether the pair still exists. A reload replaces it.
    in_use: AtomicBool,
    counted: Mutex<Counted>,
}

/// The last count, and why a later one has failed.
#[derive(Default)]
struct Counted {
    count: Option<Count>,
    uncounted: Option<String>,
}

impl<A: KeyStore + 'static, B: KeyStore + 'static> Pair<A, B> {
    /// Uses two stores at once. `place` tells where their keys are: what an earlier pair of the same
    /// place has left half done is completed by this one.
    pub fn new(old: A, new: B, place: String, stage: Stage, notes: Arc<Notes>) -> Self {
        let (in_use, counted) = (AtomicBool::new(true), Mutex::default());
        let stores = Arc::new(Two { old, new, place, stage, notes, in_use, counted });
        stores.register();
        Self { stores, counting: None }
    }

    /// The same; keys are counted in the background from now on. Must be called within a tokio runtime.
    #[must_use]
    pub fn counted(mut self) -> Self {
        self.counting = Some(tokio::spawn(counting::follow(Arc::clone(&self.stores))));
        self
    }

    /// Makes a change in a task of its own, which goes on until it is whole.
    async fn change<F: Future<Output = ()> + Send + 'static>(
        &self,
        what: (KeyName, Change),
        change: impl FnOnce(Arc<Two<A, B>>, course::Told) -> F,
    ) -> Result<(), Error> {
        let (told, answer) = course::Told::new(&self.stores.notes, what, Unsettled::current());
        tokio::spawn(change(Arc::clone(&self.stores), told));
        let late = || Error::Unreachable {
            reason: format!(
                "the two stores did not complete it within {} s; it may still be carried out",
                CALL_LIMIT.as_secs()
            ),
        };
        match time::timeout(CALL_LIMIT, answer).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(Error::Unavailable { reason: "the change was cut short".to_owned() }),
            Err(_) => Err(late()),
        }
    }
}

impl<A, B> Drop for Pair<A, B> {
    fn drop(&mut self) {
        self.stores.in_use.store(false, Ordering::Relaxed);
        if let Some(counting) = &self.counting {
            counting.abort();
        }
    }
}

/// Calls of one of the stores. Their futures are boxed: a change is several of them, and each is large.
impl<A: KeyStore, B: KeyStore> Two<A, B> {
    async fn read(&self, side: Side, name: &KeyName) -> Result<Value, Error> {
        let read = match side {
            Side::Old => Box::pin(self.old.read(name)).await,
            Side::New => Box::pin(self.new.read(name)).await,
        };
        read.map_err(|error| of_side(side, error))
    }

    async fn create_in(&self, side: Side, name: &KeyName, value: &Value) -> Result<(), Error> {
        let created = match side {
            Side::Old => Box::pin(self.old.create(name, value)).await,
            Side::New => Box::pin(self.new.create(name, value)).await,
        };
        created.map_err(|error| of_side(side, error))
    }

    async fn delete_in(&self, side: Side, name: &KeyName) -> Result<(), Error> {
        let deleted = match side {
            Side::Old => Box::pin(self.old.delete(name)).await,
            Side::New => Box::pin(self.new.delete(name)).await,
        };
        deleted.map_err(|error| of_side(side, error))
    }

    fn state_of(&self, side: Side) -> State {
        match side {
            Side::Old => self.old.state(),
            Side::New => self.new.state(),
        }
    }

    fn member(&self, side: Side) -> MemberReport {
        let state = self.state_of(side);
        let (description, trouble) = match side {
            Side::Old => (self.old.description(), self.old.trouble()),
            Side::New => (self.new.description(), self.new.trouble()),
        };
        MemberReport { description, state, trouble }
    }

    /// Notes that a key has different values, and says so.
    fn differs(&self, name: &KeyName) -> Error {
        self.notes.note_difference(name);
        Error::Unusable {
            store: KIND,
            reason: format!(
                "key '{name}' has different values in the old store and in the new one, and none of \
                 them is used; find out which one is right, and delete the other one in its store"
            ),
        }
    }
}

/// Says which of the two stores has failed.
fn of_side(side: Side, error: Error) -> Error {
    let which = side.word();
    match error {
        Error::Unreachable { reason } => {
            Error::Unreachable { reason: format!("{which} store: {reason}") }
        }
        Error::Unavailable { reason } => {
            Error::Unavailable { reason: format!("{which} store: {reason}") }
        }
        Error::Unusable { store, reason } => {
            Error::Unusable { store, reason: format!("{which} store: {reason}") }
        }
        Error::Locked { store, reason } => {
            Error::Locked { store, reason: format!("{which} store: {reason}") }
        }
        of_the_key @ (Error::Exists { .. }
        | Error::NotFound { .. }
        | Error::Corrupt { .. }
        | Error::Foreign { .. }) => of_the_key,
    }
}

/// In constant time.
fn are_equal(one: &Value, other: &Value) -> bool {
    one.expose().as_bytes().ct_eq(other.expose().as_bytes()).into()
}

impl<A: KeyStore + 'static, B: KeyStore + 'static> KeyStore for Pair<A, B> {
    async fn create(&self, name: &KeyName, value: &Value) -> Result<(), Error> {
        let (name, value) = (*name, value.copy());
        self.change((name, Change::Create), move |stores, told| async move {
            match stores.stage.write {
                Writes::Both => stores.create_in_both(name, value, told).await,
                Writes::Old => stores.create_in_one(Side::Old, name, value, told).await,
                Writes::New => stores.create_in_one(Side::New, name, value, told).await,
            }
        })
        .await
    }

    async fn read(&self, name: &KeyName) -> Result<Value, Error> {
        let stores = &*self.stores;
        let read = async {
            if stores.stage.compare { stores.compare(name).await } else { stores.find(name).await }
        };
        time::timeout(CALL_LIMIT, read).await.unwrap_or_else(|_| {
            let limit = CALL_LIMIT.as_secs();
            let reason = format!("the two stores did not answer within {limit} s");
            Err(Error::Unreachable { reason })
        })
    }

    async fn delete(&self, name: &KeyName) -> Result<(), Error> {
        let name = *name;
        let what = (name, Change::Delete);
        self.change(what, move |stores, told| async move { stores.delete(name, told).await }).await
    }

    async fn list(&self, pattern: &ListPattern<'_>, limit: Limit) -> Result<Page, Error> {
        self.stores.list(pattern, limit).await
    }

    /// That of the store that is asked first, which most calls depend on; if values are compared, that
    /// of the worse one.
    fn state(&self) -> State {
        let first = self.stores.state_of(self.stores.stage.read);
        if !self.stores.stage.compare {
            return first;
        }
        match (first, self.stores.state_of(self.stores.stage.read.other())) {
            (State::Reachable { latency }, State::Reachable { latency: other }) => {
                State::Reachable { latency: latency.max(other) }
            }
            (State::Unreachable, _) | (_, State::Unreachable) => State::Unreachable,
            (State::Unavailable, _) | (_, State::Unavailable) => State::Unavailable,
        }
    }

    fn kind(&self) -> Kind {
        KIND
    }

    fn description(&self) -> String {
        let (old, new) = (self.stores.old.description(), self.stores.new.description());
        format!("{old}, moving to {new} ({})", self.stores.stage)
    }

    fn trouble(&self) -> Option<String> {
        let troubles = [Side::Old, Side::New]
            .map(|side| (side, self.stores.member(side).trouble))
            .into_iter()
            .filter_map(|(side, trouble)| Some(format!("{} store: {}", side.word(), trouble?)));
        let troubles: Vec<_> = troubles.collect();
        (!troubles.is_empty()).then(|| troubles.join("; "))
    }

    /// Those of both together; the life of the token that ends first.
    fn logins(&self) -> Option<Logins> {
        match (self.stores.old.logins(), self.stores.new.logins()) {
            (Some(old), Some(new)) => Some(Logins {
                succeeded: old.succeeded + new.succeeded,
                failed: old.failed + new.failed,
                token_life: old.token_life.min(new.token_life),
            }),
            (old, new) => old.or(new),
        }
    }

    /// The first to expire.
    fn certificates(&self) -> CertificateEnds {
        let (old, new) = (self.stores.old.certificates(), self.stores.new.certificates());
        let first = |one, other| [one, other].into_iter().flatten().min();
        CertificateEnds { ca: first(old.ca, new.ca), client: first(old.client, new.client) }
    }

    /// Of the store that is asked first, if that tells.
    fn version(&self) -> Option<String> {
        let (old, new) = (self.stores.old.version(), self.stores.new.version());
        if self.stores.stage.read == Side::Old { old.or(new) } else { new.or(old) }
    }

    fn pair(&self) -> Option<PairReport> {
        let Two { stage, notes, counted, .. } = &*self.stores;
        let (count, uncounted) = {
            let counted = counted.lock();
            (counted.count.clone(), counted.uncounted.clone())
        };
        Some(PairReport {
            stage: *stage,
            stores: [Side::Old, Side::New].map(|side| self.stores.member(side)),
            count,
            uncounted,
            differences: notes.differences(),
            differing: notes.differing(),
            from_second: notes.from_second(),
            unfinished: notes.unfinished(),
        })
    }
}
