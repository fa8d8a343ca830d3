use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use kes_api::KeyName;
use parking_lot::Mutex;
use tokio::sync::{OwnedMutexGuard, watch};
use tokio::time;

use crate::Error;

/// What becomes of a change.
mod course;

/// Changes that are made by changes of several stores.
mod part;

/// Changes that go on while another process takes over.
mod succession;

#[cfg(test)]
mod tests;

pub use course::{Course, Late};
pub(crate) use part::Part;
pub use succession::{ChangeKind, Forget, Predecessor, Question, Succession, Underway};

/// How long a change waits for its turn. With the call that follows, which takes milliseconds when
/// the store is well, it is answered within the 15 s of its route.
const TURN_LIMIT: Duration = Duration::from_secs(10);

/// No part of a change is carried out later than this after it was sent to a store: Vault gives it up
/// by then (`default_max_request_duration`).
pub(crate) const MAX_DURATION: Duration = Duration::from_secs(90);

/// How many changes of one name are in its line at one time, those at work included: more than a
/// large cluster sends at its start, when every node creates the same key.
const MAX_IN_LINE: usize = 1024;

/// How many changes are in all lines together: those at work, those that wait, and those that have
/// been answered and may still be carried out. Each takes some 300 bytes, and less than 1 KiB more
/// if it has failed, for the record of its outcome.
const MAX_CHANGES: usize = 16 * 1024;

/// The order of all changes of keys: the changes of one name are made one after the other, in the
/// order in which they came. A server has one order for as long as it runs, whatever its store is:
/// what looks like another store after a change of the configuration may be the same one.
///
/// A change that a store has not answered in time may still be carried out. So a backend keeps the
/// [`Unsettled`] of the change for as long, and the changes that must not be mixed with it wait.
/// Whoever remembers keys is told what to forget ([`Memory`]).
#[derive(Clone, Default)]
pub struct Order(Arc<Shared>);

/// What remembers keys of a store.
pub trait Memory: Send + Sync {
    /// Forgets what is known of a name: the store is asked the next time.
    fn forget(&self, name: &KeyName);
}

#[derive(Default)]
struct Shared {
    lines: Mutex<Lines>,
    memories: Mutex<Vec<Weak<dyn Memory>>>,
    begun: Mutex<succession::Begun>,
}

/// What a change does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It stores a new key.
    Create,
    /// It removes a key.
    Delete,
}

#[derive(Default)]
struct Lines {
    /// A line is here as long as it has changes.
    lines: HashMap<KeyName, Entry>,
    changes: usize,
}

#[derive(Default)]
struct Entry {
    line: Arc<Line>,
    /// All changes in the line.
    changes: usize,
    /// The deletes: those that wait, are at work, or may still be carried out.
    deletes: usize,
    /// The creates that have failed and may still be carried out.
    failed_creates: usize,
}

/// The line of one name.
#[derive(Default)]
struct Line {
    /// Held by the change that is at work.
    turn: Arc<tokio::sync::Mutex<()>>,
    pending: watch::Sender<Pending>,
}

/// The changes that may be carried out now or later.
#[derive(Clone, Copy, Debug, Default)]
struct Pending {
    creates: usize,
    /// Of the creates, those that may overwrite a key.
    overwriting: usize,
    deletes: usize,
}

/// The turn of one change. The next change of the name begins when it is dropped.
pub struct Turn {
    _guard: OwnedMutexGuard<()>,
    unsettled: Unsettled,
    has_succeeded: bool,
}

/// A change that may be carried out as long as a clone of this exists. Whoever performs a part of a
/// change that may outlast the call keeps one.
#[derive(Clone)]
pub struct Unsettled(Arc<PendingChange>, part::Token);

struct PendingChange {
    may_overwrite: AtomicBool,
    /// Whether it counts as a failed create.
    is_failed_create: AtomicBool,
    course: Course,
    place: Place,
    /// Its number among the changes that have begun; 0 before that.
    number: AtomicU64,
}

/// The place of one change in a line.
struct Place {
    order: Order,
    name: KeyName,
    change: Change,
    line: Arc<Line>,
}

tokio::task_local! {
    /// The change that this task performs.
    static CURRENT: Unsettled;
}

impl Order {
    /// The turn of a change, if no other change of the name is in the way.
    pub fn try_turn(&self, name: &KeyName, change: Change) -> Option<Turn> {
        let place = self.enter(name, change)?;
        let guard = Arc::clone(&place.line.turn).try_lock_owned().ok()?;
        let is_free = !place.line.pending.borrow().blocks(change);
        is_free.then(|| Turn::new(guard, place))
    }

    /// Waits for the turn of a change.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if it does not come in time, or too many changes wait.
    pub async fn turn(&self, name: &KeyName, change: Change) -> Result<Turn, Error> {
        let Some(place) = self.enter(name, change) else {
            let reason = format!(
                "key '{name}' is not changed: too many changes of keys wait for the key store"
            );
            return Err(Error::Unavailable { reason });
        };
        let waiting = async {
            let guard = Arc::clone(&place.line.turn).lock_owned().await;
            let mut pending = place.line.pending.subscribe();
            let _ = pending.wait_for(|pending| !pending.blocks(change)).await;
            guard
        };
        match time::timeout(TURN_LIMIT, waiting).await {
            Ok(guard) => Ok(Turn::new(guard, place)),
            Err(_) => Err(Error::Unavailable {
                reason: format!(
                    "key '{name}' is not changed: the key store has not completed an earlier \
                     change of it, and may still carry it out; repeat the request later (Vault \
                     carries nothing out later than 90 s after it was sent)"
                ),
            }),
        }
    }

    /// Has a memory forget keys that are changed, for as long as it exists.
    pub fn attach(&self, memory: Weak<dyn Memory>) {
        let mut memories = self.0.memories.lock();
        memories.retain(|memory| memory.strong_count() > 0);
        memories.push(memory);
    }

    /// Has all memories forget a name.
    pub fn forget(&self, name: &KeyName) {
        let memories = self.0.memories.lock().clone();
        for memory in memories.iter().filter_map(Weak::upgrade) {
            memory.forget(name);
        }
    }

    /// Whether a delete of the name waits, is at work, or may still be carried out.
    pub fn has_delete(&self, name: &KeyName) -> bool {
        self.0.lines.lock().lines.get(name).is_some_and(|entry| entry.deletes > 0)
    }

    /// Whether what a store answers to a read of the name may soon be wrong: a delete is in the
    /// line, or a create has failed and may still be carried out. Nobody remembers such an answer.
    pub fn is_unsure(&self, name: &KeyName) -> bool {
        // The process that has taken over may change the key.
        if self.is_handed_over() {
            return true;
        }
        let lines = self.0.lines.lock();
        let is_unsure = |entry: &Entry| entry.deletes > 0 || entry.failed_creates > 0;
        lines.lines.get(name).is_some_and(is_unsure)
    }

    /// Takes a place in the line of a name; `None` if there are too many changes.
    fn enter(&self, name: &KeyName, change: Change) -> Option<Place> {
        let mut lines = self.0.lines.lock();
        if lines.changes >= MAX_CHANGES {
            return None;
        }
        let entry = lines.lines.entry(*name).or_default();
        if entry.changes >= MAX_IN_LINE {
            return None;
        }
        entry.changes += 1;
        entry.deletes += usize::from(change == Change::Delete);
        let line = Arc::clone(&entry.line);
        lines.changes += 1;
        Some(Place { order: self.clone(), name: *name, change, line })
    }
}

impl Pending {
    /// Whether a change has to wait. A delete would be undone by a create that is carried out after
    /// it. A create would be undone by such a delete, and its key might be overwritten by such a
    /// create. A second delete does no harm.
    const fn blocks(self, change: Change) -> bool {
        match change {
            Change::Create => self.deletes > 0 || self.overwriting > 0,
            Change::Delete => self.creates > 0,
        }
    }
}

impl Turn {
    fn new(guard: OwnedMutexGuard<()>, place: Place) -> Self {
        let unsettled = Unsettled(Arc::new(PendingChange::new(place)), None);
        Self { _guard: guard, unsettled, has_succeeded: false }
    }

    /// Tells what becomes of the change after its call.
    pub fn course(&self) -> Course {
        self.unsettled.0.course.clone()
    }

    /// Performs the change. The parts of it that outlast this call find the change by
    /// [`Unsettled::current`].
    ///
    /// # Errors
    /// That of the change, or [`Error::Unavailable`] if a process that has taken over does not let
    /// it begin.
    pub async fn run<T, E: From<Error>>(
        mut self,
        change: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        self.unsettled.0.begin().await?;
        let result = CURRENT.scope(self.unsettled.clone(), change).await;
        self.has_succeeded = result.is_ok();
        result
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        // If nobody else keeps the change, no part of it is carried out later.
        if !self.has_succeeded && Arc::strong_count(&self.unsettled.0) > 1 {
            self.unsettled.0.fail();
        }
    }
}

impl Unsettled {
    /// The change that is being performed; `None` if it has no line.
    pub fn current() -> Option<Self> {
        CURRENT.try_with(Self::clone).ok()
    }
}

impl PendingChange {
    fn new(place: Place) -> Self {
        place.line.pending.send_modify(|pending| match place.change {
            Change::Create => {
                pending.creates += 1;
                pending.overwriting += 1;
            }
            Change::Delete => pending.deletes += 1,
        });
        Self {
            may_overwrite: AtomicBool::new(place.change == Change::Create),
            is_failed_create: AtomicBool::new(false),
            course: Course::default(),
            place,
            number: AtomicU64::new(0),
        }
    }

    fn end_overwriting(&self) {
        if self.may_overwrite.swap(false, Ordering::Relaxed) {
            self.place.line.pending.send_modify(|pending| pending.overwriting -= 1);
        }
    }

    /// The call has failed, and parts of the change may still be carried out.
    fn fail(&self) {
        if self.place.change == Change::Create {
            self.is_failed_create.store(true, Ordering::Relaxed);
            self.place.update(|entry| entry.failed_creates += 1);
        }
        if self.course.fail() {
            // The store has the key of the create, and whatever comes stores the same.
            self.end_failed_create();
        }
        self.place.order.forget(&self.place.name);
    }

    fn carried_out(&self) {
        let (has_failed, late) = self.course.carried_out();
        if has_failed {
            self.end_failed_create();
            self.place.order.forget(&self.place.name);
        }
        if let Some(late) = late {
            late();
        }
    }

    /// Whether it counted as a failed create until now.
    fn end_failed_create(&self) -> bool {
        let was = self.is_failed_create.swap(false, Ordering::Relaxed);
        if was {
            self.place.update(|entry| entry.failed_creates -= 1);
        }
        was
    }
}

impl Drop for PendingChange {
    fn drop(&mut self) {
        self.course.settle();
        self.end_overwriting();
        self.end_begun();
        self.place.line.pending.send_modify(|pending| match self.place.change {
            Change::Create => pending.creates -= 1,
            Change::Delete => pending.deletes -= 1,
        });
        if self.end_failed_create() || self.place.change == Change::Delete {
            self.place.order.forget(&self.place.name);
        }
    }
}

impl Place {
    fn update(&self, update: impl FnOnce(&mut Entry)) {
        if let Some(entry) = self.order.0.lines.lock().lines.get_mut(&self.name) {
            update(entry);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut lines = self.order.0.lines.lock();
        lines.changes -= 1;
        if let Some(entry) = lines.lines.get_mut(&self.name) {
            entry.changes -= 1;
            entry.deletes -= usize::from(self.change == Change::Delete);
            if entry.changes == 0 {
                lines.lines.remove(&self.name);
            }
        }
    }
}
