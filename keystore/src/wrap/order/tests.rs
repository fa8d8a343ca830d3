use std::sync::atomic::AtomicUsize;

use Change::{Create, Delete};
use tokio::task::{self, JoinHandle};

use super::*;

fn name(text: &str) -> KeyName {
    KeyName::parse(text).unwrap()
}

fn failure() -> Error {
    Error::Unavailable { reason: "a test".to_owned() }
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

/// Performs a change that succeeds, and keeps a part of it.
async fn held(turn: Turn) -> Unsettled {
    turn.run(async { Unsettled::current().ok_or_else(failure) }).await.unwrap()
}

/// Performs a change that fails, and keeps a part of it.
async fn held_after_failure(turn: Turn) -> Unsettled {
    let mut kept = None;
    let result = turn.run(async {
        kept = Unsettled::current();
        Err::<(), _>(failure())
    });
    assert!(result.await.is_err());
    kept.unwrap()
}

/// Counts what it was told to forget.
#[derive(Default)]
struct Forgetful(AtomicUsize);

impl Forgetful {
    fn attached(order: &Order) -> Arc<Self> {
        let memory = Arc::new(Self::default());
        let weak: Weak<Self> = Arc::downgrade(&memory);
        order.attach(weak);
        memory
    }

    /// How often it was told since the last call.
    fn told(&self) -> usize {
        self.0.swap(0, Ordering::Relaxed)
    }
}

impl Memory for Forgetful {
    fn forget(&self, forgotten: &KeyName) {
        assert_eq!(*forgotten, name("k"));
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn is_empty(order: &Order) -> bool {
    let lines = order.0.lines.lock();
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
        let kept = held(turn).await;
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
    let others: Vec<_> =
        (1..MAX_IN_LINE).map(|_| order.enter(&name("k"), Create).unwrap()).collect();
    assert!(matches!(order.turn(&name("k"), Delete).await, Err(Error::Unavailable { .. })));
    let all: Vec<_> = (MAX_IN_LINE..MAX_CHANGES)
        .map(|at| order.try_turn(&name(&format!("other-{at}")), Create).unwrap())
        .collect();
    assert!(order.try_turn(&name("one-more"), Create).is_none());
    assert!(matches!(order.turn(&name("one-more"), Create).await, Err(Error::Unavailable { .. })));
    drop((turn, others, all));
    assert!(is_empty(&order));
}

#[tokio::test(start_paused = true)]
async fn nobody_remembers_what_may_soon_be_wrong() {
    for (change, fails, is_unsure) in
        [(Create, false, false), (Create, true, true), (Delete, false, true), (Delete, true, true)]
    {
        let what = format!("{change:?} {fails}");
        let order = Order::default();
        let (first, second) = (Forgetful::attached(&order), Forgetful::attached(&order));
        let turn = order.turn(&name("k"), change).await.unwrap();
        assert_eq!(order.is_unsure(&name("k")), change == Delete, "{what}");
        let kept = if fails { held_after_failure(turn).await } else { held(turn).await };
        assert_eq!(order.is_unsure(&name("k")), is_unsure, "{what}");
        assert_eq!(order.has_delete(&name("k")), change == Delete, "{what}");
        assert!(!order.is_unsure(&name("other")));
        assert_eq!(first.told() > 0, fails, "{what}");
        drop(kept);
        assert!(!order.is_unsure(&name("k")) && !order.has_delete(&name("k")), "{what}");
        assert_eq!(first.told() > 0, is_unsure, "{what}");
        assert_eq!(second.told() > 0, is_unsure, "{what}");
        assert!(is_empty(&order));
    }
    // A delete that waits counts as well.
    let order = Order::default();
    let turn = order.turn(&name("k"), Create).await.unwrap();
    let delete = waiting(&order, Delete).await;
    assert!(order.is_unsure(&name("k")) && order.has_delete(&name("k")));
    delete.abort();
    assert!(delete.await.is_err());
    assert!(!order.is_unsure(&name("k")));
    drop(turn);
}

/// Such as the create of a key that exists.
#[tokio::test(start_paused = true)]
async fn a_failed_change_without_parts_leaves_memories_alone() {
    let order = Order::default();
    let memory = Forgetful::attached(&order);
    let turn = order.turn(&name("k"), Create).await.unwrap();
    assert!(turn.run(async { Err::<(), _>(failure()) }).await.is_err());
    assert_eq!(memory.told(), 0);
    drop(memory);
    order.forget(&name("k"));
    Forgetful::attached(&order);
    assert_eq!(order.0.memories.lock().len(), 1, "one that is gone is not kept");
}

/// How often it is told that a change was carried out late: one that fails or not, and is carried
/// out or not, before anybody listens or after that.
async fn told_late(change: Change, fails: bool, is_done: bool, is_early: bool) -> usize {
    let (order, told) = (Order::default(), Arc::new(AtomicUsize::new(0)));
    let memory = Forgetful::attached(&order);
    let turn = order.turn(&name("k"), change).await.unwrap();
    let course = turn.course();
    let kept = if fails { held_after_failure(turn).await } else { held(turn).await };
    let carry_out = || {
        if is_done {
            kept.carried_out();
            kept.carried_out();
        }
    };
    memory.told();
    if is_early {
        carry_out();
    }
    if fails {
        let told = Arc::clone(&told);
        course.on_late(Box::new(move || {
            told.fetch_add(1, Ordering::Relaxed);
        }));
    }
    carry_out();
    assert_eq!(memory.told() > 0, fails && is_done);
    // The store has the key; another part of the create stores the same.
    assert_eq!(order.is_unsure(&name("k")), change == Delete || fails && !is_done);
    drop(kept);
    assert_eq!(Arc::strong_count(&told), 1, "nothing is kept");
    told.load(Ordering::Relaxed)
}

#[tokio::test(start_paused = true)]
async fn a_change_that_is_carried_out_after_it_has_failed_is_told_once() {
    for change in [Create, Delete] {
        for is_early in [false, true] {
            assert_eq!(told_late(change, true, true, is_early).await, 1, "{change:?}");
            assert_eq!(told_late(change, true, false, is_early).await, 0, "{change:?}");
            assert_eq!(told_late(change, false, true, is_early).await, 0, "{change:?}");
        }
    }
}

/// Before its call has failed, too.
#[tokio::test(start_paused = true)]
async fn a_change_that_was_carried_out_when_it_fails_is_told_and_sure() {
    let (order, told) = (Order::default(), Arc::new(AtomicUsize::new(0)));
    let turn = order.turn(&name("k"), Create).await.unwrap();
    let course = turn.course();
    let mut kept = None;
    let result = turn.run(async {
        kept = Unsettled::current();
        kept.as_ref().unwrap().carried_out();
        Err::<(), _>(failure())
    });
    assert!(result.await.is_err());
    assert!(!order.is_unsure(&name("k")));
    drop(kept);
    let heard = Arc::clone(&told);
    course.on_late(Box::new(move || {
        heard.fetch_add(1, Ordering::Relaxed);
    }));
    assert_eq!(told.load(Ordering::Relaxed), 1);
}
