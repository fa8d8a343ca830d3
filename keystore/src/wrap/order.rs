use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use kes_api::KeyName;
use parking_lot::Mutex;
use tokio::sync::{OwnedMutexGuard, watch};
use tokio::time;

use crate::Error;

/// How long a change waits for its turn. With the call that follows, which takes milliseconds when
/// the store is well, it is answered within the 15 s of its route.
const TURN_LIMIT: Duration = Duration::from_secs(10);

/// How many changes of one name are in its line at one time, those at work included: more than a
/// large cluster sends at its start, when every node creates the same key.
const MAX_IN_LINE: usize = 1024;

/// How many changes are in all lines together: those at work, those that wait, and those that have
/// been answered and may still be carried out. Each takes some 300 bytes.
const MAX_CHANGES: usize = 16 * 1024;

/// The order of all changes of keys: the changes of one name are made one after the other, in the
/// order in which they came, also across a change of the store's configuration.
///
/// A change that a store has not answered in time may still be carried out. So a backend keeps the
/// [`Unsettled`] of the change for as long, and the changes that must not be mixed with it wait.
#[derive(Clone, Default)]
pub struct Order(Arc<Mutex<Lines>>);

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
    lines: HashMap<KeyName, (Arc<Line>, usize)>,
    changes: usize,
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
}

/// A change that may be carried out as long as a clone of this exists. Whoever performs a part of a
/// change that may outlast the call keeps one.
#[derive(Clone)]
pub struct Unsettled(Arc<PendingChange>);

struct PendingChange {
    change: Change,
    may_overwrite: AtomicBool,
    place: Place,
}

/// The place of one change in a line.
struct Place {
    order: Order,
    name: KeyName,
    line: Arc<Line>,
}

tokio::task_local! {
    /// The change that this task performs.
    static CURRENT: Unsettled;
}

impl Order {
    /// The turn of a change, if no other change of the name is in the way.
    pub fn try_turn(&self, name: &KeyName, change: Change) -> Option<Turn> {
        let place = self.enter(name)?;
        let guard = Arc::clone(&place.line.turn).try_lock_owned().ok()?;
        let is_free = !place.line.pending.borrow().blocks(change);
        is_free.then(|| Turn::new(guard, place, change))
    }

    /// Waits for the turn of a change.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if it does not come in time, or too many changes wait.
    pub async fn turn(&self, name: &KeyName, change: Change) -> Result<Turn, Error> {
        let Some(place) = self.enter(name) else {
            let reason =
                format!("key '{name}' is not changed: too many changes of keys are not completed");
            return Err(Error::Unavailable { reason });
        };
        let waiting = async {
            let guard = Arc::clone(&place.line.turn).lock_owned().await;
            let mut pending = place.line.pending.subscribe();
            let _ = pending.wait_for(|pending| !pending.blocks(change)).await;
            guard
        };
        match time::timeout(TURN_LIMIT, waiting).await {
            Ok(guard) => Ok(Turn::new(guard, place, change)),
            Err(_) => Err(Error::Unavailable {
                reason: format!(
                    "key '{name}' is not changed: the key store has not completed an earlier \
                     change of it, and may still carry it out; repeat the request later (Vault \
                     carries nothing out later than 90 s after it was sent)"
                ),
            }),
        }
    }

    /// Takes a place in the line of a name; `None` if there are too many changes.
    fn enter(&self, name: &KeyName) -> Option<Place> {
        let mut lines = self.0.lock();
        if lines.changes >= MAX_CHANGES {
            return None;
        }
        let (line, count) = lines.lines.entry(*name).or_default();
        if *count >= MAX_IN_LINE {
            return None;
        }
        *count += 1;
        let line = Arc::clone(line);
        lines.changes += 1;
        Some(Place { order: self.clone(), name: *name, line })
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
    fn new(guard: OwnedMutexGuard<()>, place: Place, change: Change) -> Self {
        place.line.pending.send_modify(|pending| match change {
            Change::Create => {
                pending.creates += 1;
                pending.overwriting += 1;
            }
            Change::Delete => pending.deletes += 1,
        });
        let may_overwrite = AtomicBool::new(change == Change::Create);
        let unsettled = Unsettled(Arc::new(PendingChange { change, may_overwrite, place }));
        Self { _guard: guard, unsettled }
    }

    /// Performs the change. The parts of it that outlast this call find the change by
    /// [`Unsettled::current`].
    pub async fn run<T>(self, change: impl Future<Output = T>) -> T {
        CURRENT.scope(self.unsettled.clone(), change).await
    }
}

impl Unsettled {
    /// The change that is being performed; `None` if it has no line.
    pub fn current() -> Option<Self> {
        CURRENT.try_with(Self::clone).ok()
    }

    /// Declares that this create overwrites no key, whenever it is carried out. Other creates need
    /// not wait for it then.
    pub fn overwrites_nothing(&self) {
        self.0.end_overwriting();
    }
}

impl PendingChange {
    fn end_overwriting(&self) {
        if self.may_overwrite.swap(false, Ordering::Relaxed) {
            self.place.line.pending.send_modify(|pending| pending.overwriting -= 1);
        }
    }
}

impl Drop for PendingChange {
    fn drop(&mut self) {
        self.end_overwriting();
        self.place.line.pending.send_modify(|pending| match self.change {
            Change::Create => pending.creates -= 1,
            Change::Delete => pending.deletes -= 1,
        });
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut lines = self.order.0.lock();
        lines.changes -= 1;
        if let Some((_, count)) = lines.lines.get_mut(&self.name) {
            *count -= 1;
            if *count == 0 {
                lines.lines.remove(&self.name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use Change::{Create, Delete};
    use tokio::task::{self, JoinHandle};

    use super::*;

    fn name(text: &str) -> KeyName {
        KeyName::parse(text).unwrap()
    }

    /// Waits for the turn of a change of key `k` in a task.
    async fn waiting(order: &Order, change: Change) -> JoinHandle<Result<Turn, Error>> {
        let order = order.clone();
        let waiting = tokio::spawn(async move { order.turn(&name("k"), change).await });
        settle().await;
        waiting
    }

    /// Lets other tasks run until they have nothing to do.
    async fn settle() {
        for _ in 0..100 {
            task::yield_now().await;
        }
    }

    fn is_empty(order: &Order) -> bool {
        let lines = order.0.lock();
        lines.lines.is_empty() && lines.changes == 0
    }

    #[tokio::test(start_paused = true)]
    async fn the_changes_of_a_name_come_one_after_the_other() {
        let order = Order::default();
        let first = order.try_turn(&name("k"), Create).unwrap();
        assert!(order.try_turn(&name("k"), Create).is_none());
        let other = order.try_turn(&name("other"), Delete).unwrap();
        let second = waiting(&order, Delete).await;
        let third = waiting(&order, Create).await;
        drop(first);
        let second = second.await.unwrap().unwrap();
        settle().await;
        assert!(!third.is_finished());
        drop(second);
        drop((third.await.unwrap().unwrap(), other));
        assert!(is_empty(&order));
    }

    #[tokio::test(start_paused = true)]
    async fn what_may_still_be_carried_out_holds_up_what_it_would_undo() {
        for (late, is_careful, next, waits) in [
            (Create, false, Create, true),
            (Create, true, Create, false),
            (Create, false, Delete, true),
            (Create, true, Delete, true),
            (Delete, false, Create, true),
            (Delete, false, Delete, false),
        ] {
            let order = Order::default();
            let turn = order.try_turn(&name("k"), late).unwrap();
            let kept = turn.run(async { Unsettled::current() }).await.unwrap();
            if is_careful {
                kept.overwrites_nothing();
            }
            assert_eq!(order.try_turn(&name("k"), next).is_none(), waits, "{late:?} {next:?}");
            let next = waiting(&order, next).await;
            assert_eq!(!next.is_finished(), waits, "{late:?}");
            drop(kept);
            drop(next.await.unwrap().unwrap());
            assert!(is_empty(&order));
        }
        assert!(Unsettled::current().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_turn_that_does_not_come_is_given_up() {
        let order = Order::default();
        let turn = order.try_turn(&name("k"), Create).unwrap();
        let start = time::Instant::now();
        let error = order.turn(&name("k"), Delete).await.err().unwrap();
        assert!(matches!(&error, Error::Unavailable { reason } if reason.contains("'k'")));
        assert_eq!(start.elapsed(), TURN_LIMIT);
        // Whoever goes away leaves the line.
        let gone = waiting(&order, Delete).await;
        gone.abort();
        assert!(gone.await.is_err());
        drop(turn);
        assert!(is_empty(&order));
    }

    #[tokio::test(start_paused = true)]
    async fn the_lines_are_bounded() {
        let order = Order::default();
        let turn = order.try_turn(&name("k"), Create).unwrap();
        let others: Vec<_> = (1..MAX_IN_LINE).map(|_| order.enter(&name("k")).unwrap()).collect();
        assert!(matches!(order.turn(&name("k"), Delete).await, Err(Error::Unavailable { .. })));
        let all: Vec<_> = (MAX_IN_LINE..MAX_CHANGES)
            .map(|at| order.try_turn(&name(&format!("other-{at}")), Create).unwrap())
            .collect();
        assert!(order.try_turn(&name("one-more"), Create).is_none());
        assert!(matches!(
            order.turn(&name("one-more"), Create).await,
            Err(Error::Unavailable { .. })
        ));
        drop((turn, others, all));
        assert!(is_empty(&order));
    }
}
