//! Fairness between connections that share a thread: a connection that moves a large body, or works
//! on one, yields to the others when it has used up its budget.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use tokio::task::yield_now;

/// How many bytes a connection may move, or a request may work on, before it yields. Moving them
/// takes some ten microseconds, and only large bodies have more.
const BUDGET: usize = 64 * 1024;

/// The fairness budget of one connection.
#[derive(Default)]
pub(super) struct Budget {
    /// Bytes moved since the connection last waited or yielded.
    used: usize,
    yielding: Option<Arc<Yield>>,
}

/// A yield that has begun. A caller may poll again in the same task wake-up after `Pending`; the
/// answer stays `Pending` until the next wake-up.
struct Yield {
    is_over: AtomicBool,
    task: Waker,
}

impl Budget {
    /// Ready while the budget lasts. Once it is used up, `Pending` until the runtime has run other
    /// tasks; then the budget is whole again.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(yielding) = &self.yielding {
            if yielding.is_over.load(Ordering::Acquire) {
                *self = Self::default();
            } else if yielding.task.will_wake(cx.waker()) {
                return Poll::Pending;
            }
        }
        if self.used < BUDGET {
            return Poll::Ready(());
        }
        let yielding =
            Arc::new(Yield { is_over: AtomicBool::new(false), task: cx.waker().clone() });
        // `wake_by_ref` would only let tasks run that are already queued; the runtime looks for new
        // network events now and then. `yield_now` wakes the task after the runtime has looked.
        let waker = Waker::from(Arc::clone(&yielding));
        let _ = pin!(yield_now()).poll(&mut Context::from_waker(&waker));
        self.yielding = Some(yielding);
        Poll::Pending
    }

    /// Charges the budget with the bytes that a read or write moved. One that was not `ready` makes
    /// the connection wait, so that others run anyway: the budget is whole afterwards.
    pub(super) fn charge(&mut self, ready: bool, len: usize) {
        self.used = if ready { self.used.saturating_add(len) } else { 0 };
    }
}

impl Wake for Yield {
    fn wake(self: Arc<Self>) {
        self.is_over.store(true, Ordering::Release);
        self.task.wake_by_ref();
    }
}

/// Yields if a step of work on so many bytes has used up a whole budget. To be awaited between the
/// steps of work on a body.
pub(crate) async fn yield_after(len: usize) {
    if len >= BUDGET {
        yield_now().await;
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    #[tokio::test]
    async fn a_used_up_budget_is_whole_again_after_the_next_wake_up() {
        let mut budget = Budget::default();
        let (mut polls, mut refused) = (0, 0);
        poll_fn(|cx| {
            polls += 1;
            for _ in 0..3 {
                while budget.poll(cx).is_ready() {
                    budget.charge(true, BUDGET / 4);
                }
                // However often it is polled within the same wake-up of the task.
                refused += 1;
            }
            if polls < 3 { Poll::Pending } else { Poll::Ready(()) }
        })
        .await;
        assert_eq!((polls, refused), (3, 9));
    }

    #[tokio::test]
    async fn a_connection_that_waited_has_a_whole_budget() {
        let mut budget = Budget::default();
        poll_fn(|cx| {
            for _ in 0..10 {
                assert!(budget.poll(cx).is_ready());
                budget.charge(true, BUDGET - 1);
                assert!(budget.poll(cx).is_ready());
                budget.charge(false, 0);
            }
            Poll::Ready(())
        })
        .await;
    }

    #[tokio::test]
    async fn only_work_on_a_large_body_yields_between_its_steps() {
        for (len, expected) in [(BUDGET - 1, 0), (BUDGET, 1)] {
            let ran = Arc::new(AtomicBool::new(false));
            let other = Arc::clone(&ran);
            tokio::spawn(async move { other.store(true, Ordering::Relaxed) });
            yield_after(len).await;
            assert_eq!(u8::from(ran.load(Ordering::Relaxed)), expected, "{len}");
        }
    }
}
