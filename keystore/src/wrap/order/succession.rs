//! The order of changes while one process hands over to another (a server to its successor). At every
//! moment one of the two has the order: at first the old one, and from [`Order::hand_over`] on the
//! new one. Nothing is lost or contradicted by the way:
//!
//! - Changes that have begun in the old process go on there. They are [`Underway`] for the new one,
//!   in which the changes that must not be mixed with them wait as they would in the old one, and
//!   which remembers nothing of their names, until the old one tells that they are settled.
//! - A change that the old process has still to begin, of a request that came to it, asks the new
//!   one for its turn ([`Question::Turn`]), which forgets the name first.
//! - Before a change begins in the new process, the old one has forgotten the name ([`Forget`]): what
//!   was deleted is not served from the memory of either.
//!
//! If the old process ends before it has told that a change is settled, that may be carried out as
//! long as a store may carry out what it was sent.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use kes_api::KeyName;
use tokio::sync::{mpsc, oneshot};
use tokio::time::sleep;

use super::{Change, MAX_CHANGES, MAX_DURATION, Order, PendingChange, Turn, Unsettled};
use crate::Error;

/// How long a change waits for the process that has taken over to answer, which waits for the turn
/// itself.
const ANSWER_LIMIT: Duration = Duration::from_secs(11);

/// How long a change waits for the process that has handed over to forget its key. That process only
/// has to read a message; one that does not is stopped, or about to end.
const FORGET_LIMIT: Duration = Duration::from_secs(5);

/// How many questions, or keys to forget, wait for the other process: as many as all changes that
/// there may be have at one time.
const QUEUE: usize = 2 * MAX_CHANGES;

/// The changes of an order that have begun and are not settled.
#[derive(Default)]
pub(super) struct Begun {
    last: u64,
    changes: HashMap<u64, Underway>,
    /// Set once another process has the order.
    successor: Option<mpsc::Sender<Question>>,
    /// Set as long as another process that had the order may serve.
    predecessor: Option<mpsc::Sender<Forget>>,
}

/// A key that the process that has handed over is to forget.
#[derive(Debug)]
pub struct Forget {
    /// The key.
    pub name: KeyName,
    /// To be told, or dropped, when that is done.
    pub done: oneshot::Sender<()>,
}

/// What a change does, as far as others have to wait for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// A create that may overwrite a key that another one stores.
    OverwritingCreate,
    /// Any other create.
    Create,
    /// A delete.
    Delete,
}

/// A change that has begun and is not settled.
#[derive(Clone, Copy, Debug)]
pub struct Underway {
    /// Its number, which tells it from all other changes of its process.
    pub number: u64,
    /// The key that it changes.
    pub name: KeyName,
    /// What it does.
    pub kind: ChangeKind,
}

/// What the process that has handed over tells the other one.
#[derive(Debug)]
pub enum Question {
    /// A change wants to begin. Without an answer it begins, as if nobody had taken over.
    Turn {
        /// The change.
        change: Underway,
        /// Nothing, or why it must not begin.
        answer: oneshot::Sender<Result<(), String>>,
    },
    /// A change that had begun is settled.
    Settled(u64),
}

/// What is handed over to another process. If it is dropped, this process has the order again.
pub struct Succession {
    order: Order,
    /// The changes that have begun.
    pub underway: Vec<Underway>,
    questions: mpsc::Receiver<Question>,
}

impl Order {
    /// Hands the order over to another process.
    pub fn hand_over(&self) -> Succession {
        let (ask, questions) = mpsc::channel(QUEUE);
        let mut begun = self.0.begun.lock();
        begun.successor = Some(ask);
        let underway = begun.changes.values().copied().collect();
        drop(begun);
        Succession { order: self.clone(), underway, questions }
    }

    /// What the process that has handed over has to forget, until the result is dropped.
    pub fn forgotten(&self) -> mpsc::Receiver<Forget> {
        let (forget, forgotten) = mpsc::channel(QUEUE);
        self.0.begun.lock().predecessor = Some(forget);
        forgotten
    }

    /// Whether another process has the order.
    pub fn is_handed_over(&self) -> bool {
        self.0.begun.lock().successor.is_some()
    }
}

impl Succession {
    /// The next question; to be asked in the order in which they come.
    pub async fn next(&mut self) -> Option<Question> {
        self.questions.recv().await
    }
}

impl Drop for Succession {
    fn drop(&mut self) {
        self.order.0.begun.lock().successor = None;
    }
}

impl PendingChange {
    /// Begins, here or with the leave of the process that has taken over.
    pub(super) async fn begin(&self) -> Result<(), Error> {
        let predecessor = self.place.order.0.begun.lock().predecessor.clone();
        if let Some(predecessor) = predecessor {
            let (done, is_done) = oneshot::channel();
            let forget = Forget { name: self.place.name, done };
            // It fails once that process has ended.
            let forgets = async { predecessor.send(forget).await.is_ok() && is_done.await.is_ok() };
            let _ = tokio::time::timeout(FORGET_LIMIT, forgets).await;
        }
        let kind = match self.place.change {
            Change::Create => ChangeKind::OverwritingCreate,
            Change::Delete => ChangeKind::Delete,
        };
        let (successor, change) = {
            let mut begun = self.place.order.0.begun.lock();
            begun.last += 1;
            let number = begun.last;
            self.number.store(number, Ordering::Relaxed);
            let change = Underway { number, name: self.place.name, kind };
            begun.changes.insert(number, change);
            let Some(successor) = begun.successor.clone() else { return Ok(()) };
            (successor, change)
        };
        let (answer, answered) = oneshot::channel();
        let asks = async {
            let _ = successor.send(Question::Turn { change, answer }).await;
            answered.await
        };
        match tokio::time::timeout(ANSWER_LIMIT, asks).await {
            // Nobody has the order but this process.
            Ok(Ok(Ok(())) | Err(_)) => Ok(()),
            Ok(Ok(Err(reason))) => Err(Error::Unavailable { reason }),
            Err(_) => Err(Error::Unavailable {
                reason: format!(
                    "key '{}' is not changed: the process that has taken over does not answer",
                    self.place.name
                ),
            }),
        }
    }

    /// Notes that a create that has begun overwrites nothing.
    pub(super) fn note_overwrites_nothing(&self) {
        let mut begun = self.place.order.0.begun.lock();
        if let Some(change) = begun.changes.get_mut(&self.number.load(Ordering::Relaxed)) {
            change.kind = ChangeKind::Create;
        }
    }

    pub(super) fn end_begun(&self) {
        let number = self.number.load(Ordering::Relaxed);
        if number == 0 {
            return;
        }
        let mut begun = self.place.order.0.begun.lock();
        begun.changes.remove(&number);
        if let Some(successor) = &begun.successor {
            // If there is no room, the key is not changed for longer than it need be.
            let _ = successor.try_send(Question::Settled(number));
        }
    }
}

/// The changes of the process that has handed over, in the one that has taken over.
#[derive(Default)]
pub struct Predecessor {
    changes: HashMap<u64, Unsettled>,
}

impl Predecessor {
    /// A change that has begun before. `false` if there is no room for it.
    #[must_use]
    pub fn began(&mut self, order: &Order, change: &Underway) -> bool {
        let what = match change.kind {
            ChangeKind::Delete => Change::Delete,
            ChangeKind::Create | ChangeKind::OverwritingCreate => Change::Create,
        };
        let Some(place) = order.enter(&change.name, what) else { return false };
        let unsettled = Unsettled(Arc::new(PendingChange::new(place)), None);
        if change.kind == ChangeKind::Create {
            unsettled.overwrites_nothing();
        }
        self.keep(change.number, unsettled);
        true
    }

    /// A change that begins now: its turn has come.
    pub fn begins(&mut self, number: u64, mut turn: Turn) {
        turn.has_succeeded = true;
        self.keep(number, turn.unsettled.clone());
    }

    fn keep(&mut self, number: u64, unsettled: Unsettled) {
        // Nobody remembers what a store answers until it is settled, and all forget the key now.
        unsettled.0.fail();
        self.changes.insert(number, unsettled);
    }

    /// A change is settled.
    pub fn settled(&mut self, number: u64) {
        self.changes.remove(&number);
    }

    /// How many are not settled.
    pub fn len(&self) -> usize {
        self.changes.len()
    }

    /// Whether all are settled.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// The other process has ended: what it has sent may still be carried out for some time.
    pub async fn outlast(self) {
        if !self.is_empty() {
            sleep(MAX_DURATION).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::task::yield_now;

    use super::*;

    fn name(text: &str) -> KeyName {
        KeyName::parse(text).unwrap()
    }

    fn failure() -> Error {
        Error::Unavailable { reason: "a test".to_owned() }
    }

    /// Begins a change that goes on after its call has failed.
    async fn unsettled(order: &Order, key: &str, change: Change) -> Unsettled {
        let (turn, mut kept) = (order.try_turn(&name(key), change).unwrap(), None);
        let failed = turn.run(async {
            kept = Unsettled::current();
            Err::<(), _>(failure())
        });
        assert!(failed.await.is_err());
        kept.unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn changes_that_have_begun_block_the_same_ones_in_the_other_process() {
        let (old, new) = (Order::default(), Order::default());
        let delete = unsettled(&old, "deleted", Change::Delete).await;
        let create = unsettled(&old, "created", Change::Create).await;
        let harmless = unsettled(&old, "harmless", Change::Create).await;
        harmless.overwrites_nothing();
        drop(unsettled(&old, "settled", Change::Delete).await);
        let mut succession = old.hand_over();
        let mut predecessor = Predecessor::default();
        for change in &succession.underway {
            assert!(predecessor.began(&new, change));
        }
        assert_eq!(predecessor.len(), 3);
        let may = |key: &str, change| new.try_turn(&name(key), change).is_some();
        for (key, creates, deletes) in [
            ("deleted", false, true),
            ("created", false, false),
            ("harmless", true, false),
            ("settled", true, true),
        ] {
            assert_eq!(may(key, Change::Create), creates, "{key}");
            assert_eq!(may(key, Change::Delete), deletes, "{key}");
            assert_eq!(new.is_unsure(&name(key)), key != "settled", "{key}");
        }
        for (change, key) in [(delete, "deleted"), (create, "created"), (harmless, "harmless")] {
            drop(change);
            let Some(Question::Settled(number)) = succession.next().await else { panic!("{key}") };
            predecessor.settled(number);
            assert!(may(key, Change::Create) && may(key, Change::Delete), "{key}");
            assert!(!new.is_unsure(&name(key)), "{key}");
        }
        assert!(predecessor.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_process_that_ends_leaves_its_changes_for_as_long_as_they_may_be_carried_out() {
        let (old, new) = (Order::default(), Order::default());
        let _delete = unsettled(&old, "k", Change::Delete).await;
        let mut predecessor = Predecessor::default();
        assert!(old.hand_over().underway.iter().all(|change| predecessor.began(&new, change)));
        let waits = tokio::spawn(predecessor.outlast());
        sleep(MAX_DURATION - Duration::from_millis(2)).await;
        assert!(new.try_turn(&name("k"), Change::Create).is_none());
        waits.await.unwrap();
        assert!(new.try_turn(&name("k"), Change::Create).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_asks_the_process_that_has_the_order() {
        let (old, new) = (Order::default(), Order::default());
        let begins = |order: &Order| {
            let turn = order.try_turn(&name("k"), Change::Delete).unwrap();
            tokio::spawn(turn.run(async { Ok::<_, Error>(()) }))
        };
        let mut succession = old.hand_over();
        assert!(old.is_unsure(&name("any")), "nothing is remembered");
        let mut asked = async || match succession.next().await {
            Some(Question::Turn { change, answer }) => (change, answer),
            other => panic!("{other:?}"),
        };
        let granted = begins(&old);
        let (change, answer) = asked().await;
        assert_eq!((change.name, change.kind), (name("k"), ChangeKind::Delete));
        let mut predecessor = Predecessor::default();
        predecessor.begins(change.number, new.try_turn(&name("k"), Change::Delete).unwrap());
        assert!(new.has_delete(&name("k")) && new.try_turn(&name("k"), Change::Create).is_none());
        answer.send(Ok(())).unwrap();
        granted.await.unwrap().unwrap();
        let Some(Question::Settled(number)) = succession.next().await else { panic!() };
        predecessor.settled(number);
        assert!(!new.has_delete(&name("k")));

        let mut asked = async || match succession.next().await {
            Some(Question::Turn { change, answer }) => (change, answer),
            other => panic!("{other:?}"),
        };
        let denied = begins(&old);
        asked().await.1.send(Err("no".to_owned())).unwrap();
        assert_eq!(denied.await.unwrap().unwrap_err().to_string(), "key store: no");
        let Some(Question::Settled(_)) = succession.next().await else { panic!() };

        // Nobody answers, and then nobody has the order any more.
        let late = begins(&old);
        assert!(late.await.unwrap().is_err());
        let alone = begins(&old);
        yield_now().await;
        drop(succession);
        alone.await.unwrap().unwrap();
        begins(&old).await.unwrap().unwrap();
        assert!(!old.is_unsure(&name("k")));
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_begins_once_the_process_before_has_forgotten_its_key() {
        let order = Order::default();
        let mut forgotten = order.forgotten();
        let begins = || {
            let turn = order.try_turn(&name("k"), Change::Delete).unwrap();
            tokio::spawn(turn.run(async { Ok::<_, Error>(()) }))
        };
        let change = begins();
        let Forget { name: key, done } = forgotten.recv().await.unwrap();
        assert_eq!(key, name("k"));
        for _ in 0..100 {
            yield_now().await;
        }
        assert!(!change.is_finished());
        done.send(()).unwrap();
        change.await.unwrap().unwrap();
        // One that does not answer is not waited for without end.
        begins().await.unwrap().unwrap();
        drop(forgotten);
        let start = tokio::time::Instant::now();
        begins().await.unwrap().unwrap();
        assert!(start.elapsed() < Duration::from_secs(1));
    }
}
