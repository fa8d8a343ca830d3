//! Large bodies beside small requests: who works long lets the others have their turn.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use tokio::task::yield_now;

/// What a connection may move, and a request may work on, in one turn, in bytes: some ten
/// microseconds of work, and more than all but a large body needs.
const SHARE: usize = 64 * 1024;

/// How much of its turn a connection has used.
#[derive(Default)]
pub(crate) struct Turn {
    used: usize,
    over: Option<Arc<Over>>,
}

/// The end of a turn, until the task is woken for the next one. Who polls a transport may go on
/// after it was told to wait, if something else was done: so it is told again until then.
struct Over {
    is_next: AtomicBool,
    task: Waker,
}

impl Turn {
    /// Pending from the end of a turn to the beginning of the next.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(over) = &self.over {
            if over.is_next.load(Ordering::Acquire) {
                *self = Self::default();
            } else if over.task.will_wake(cx.waker()) {
                return Poll::Pending;
            }
        }
        if self.used < SHARE {
            return Poll::Ready(());
        }
        let over = Arc::new(Over { is_next: AtomicBool::new(false), task: cx.waker().clone() });
        // Not `wake_by_ref`: that lets those have their turn that the runtime knows of, and it
        // looks only now and then for what has arrived. This wakes after it has looked.
        let waker = Waker::from(Arc::clone(&over));
        let _ = pin!(yield_now()).poll(&mut Context::from_waker(&waker));
        self.over = Some(over);
        Poll::Pending
    }

    /// Counts what was moved, in bytes. Who is not `ready` waits, and the others have their turn.
    pub(crate) fn after(&mut self, ready: bool, len: usize) {
        self.used = if ready { self.used.saturating_add(len) } else { 0 };
    }
}

impl Wake for Over {
    fn wake(self: Arc<Self>) {
        self.is_next.store(true, Ordering::Release);
        self.task.wake_by_ref();
    }
}

/// Between two steps of work on a body of so many bytes: lets others have their turn if it is a
/// large one.
pub(crate) async fn others(len: usize) {
    if len >= SHARE {
        yield_now().await;
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    #[tokio::test]
    async fn a_turn_is_over_after_its_share_and_the_next_begins_after_others() {
        let mut turn = Turn::default();
        let (mut polls, mut refused) = (0, 0);
        poll_fn(|cx| {
            polls += 1;
            for _ in 0..3 {
                while turn.poll(cx).is_ready() {
                    turn.after(true, SHARE / 4);
                }
                // However often it is asked within the same poll of the task.
                refused += 1;
            }
            if polls < 3 { Poll::Pending } else { Poll::Ready(()) }
        })
        .await;
        assert_eq!((polls, refused), (3, 9));
    }

    #[tokio::test]
    async fn who_waited_has_a_whole_turn() {
        let mut turn = Turn::default();
        poll_fn(|cx| {
            for _ in 0..10 {
                assert!(turn.poll(cx).is_ready());
                turn.after(true, SHARE - 1);
                assert!(turn.poll(cx).is_ready());
                turn.after(false, 0);
            }
            Poll::Ready(())
        })
        .await;
    }

    #[tokio::test]
    async fn others_run_between_the_steps_of_a_large_body_alone() {
        for (len, expected) in [(SHARE - 1, 0), (SHARE, 1)] {
            let ran = Arc::new(AtomicBool::new(false));
            let other = Arc::clone(&ran);
            tokio::spawn(async move { other.store(true, Ordering::Relaxed) });
            others(len).await;
            assert_eq!(u8::from(ran.load(Ordering::Relaxed)), expected, "{len}");
        }
    }
}
