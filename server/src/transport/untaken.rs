//! Answers that a client has not taken yet, and how long it may leave them: those of a connection,
//! which is closed then, or those of one request of a connection that several clients share.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use super::class::Class;
use super::clock::{Millis, millis, now};

/// The answers that are not taken. They are counted by the period in which they were made: the
/// current one, and the one before it. A period ends when no answer of the one before it is left, so
/// that the clock is read only for answers that are not taken at once.
#[derive(Debug)]
pub(super) struct UntakenAnswers {
    counts: [AtomicUsize; 2],
    /// The position of the current period in `counts`.
    period: AtomicUsize,
    /// When the current period began.
    period_since: AtomicU64,
    /// How long the answers of the period before may stay.
    timeout: AtomicU64,
}

/// An answer, or a piece of one, that has to be taken in time. To be dropped with the bytes.
pub(crate) struct UntakenAnswer {
    answers: Arc<UntakenAnswers>,
    period: usize,
}

impl UntakenAnswers {
    /// Those of a client of this class.
    pub(super) fn new(class: Class) -> Arc<Self> {
        Arc::new(Self {
            counts: Default::default(),
            period: AtomicUsize::new(0),
            period_since: AtomicU64::new(0),
            timeout: AtomicU64::new(millis(class.answer_timeout())),
        })
    }

    /// Notes that the client's class has changed.
    pub(super) fn set_class(&self, class: Class) {
        self.timeout.store(millis(class.answer_timeout()), Ordering::Relaxed);
    }

    /// Notes that an answer, or a piece of one, waits to be taken.
    #[expect(clippy::indexing_slicing, reason = "a period is 0 or 1")]
    pub(super) fn begin(self: &Arc<Self>) -> UntakenAnswer {
        let period = self.period.load(Ordering::Relaxed);
        self.counts[period].fetch_add(1, Ordering::Relaxed);
        UntakenAnswer { answers: Arc::clone(self), period }
    }

    /// When the answers of the period before have to be taken; `None` without any answer. An answer
    /// gets at least the timeout, and at most twice as much.
    #[expect(clippy::indexing_slicing, reason = "a period is 0 or 1")]
    pub(super) fn deadline(&self) -> Option<Millis> {
        let current = self.period.load(Ordering::Relaxed);
        let before = current ^ 1;
        if self.counts[before].load(Ordering::Relaxed) == 0 {
            if self.counts[current].load(Ordering::Relaxed) == 0 {
                return None;
            }
            self.period.store(before, Ordering::Relaxed);
            self.period_since.store(now(), Ordering::Relaxed);
        }
        let timeout = self.timeout.load(Ordering::Relaxed);
        Some(self.period_since.load(Ordering::Relaxed) + timeout)
    }
}

impl UntakenAnswer {
    /// The next piece of the same answer, whose time begins now.
    pub(crate) fn next_piece(&self) -> Self {
        self.answers.begin()
    }
}

impl Drop for UntakenAnswer {
    #[expect(clippy::indexing_slicing, reason = "a period is 0 or 1")]
    fn drop(&mut self) {
        self.answers.counts[self.period].fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_answer_has_to_be_taken_in_time() {
        let answers = UntakenAnswers::new(Class::Known);
        assert_eq!(answers.deadline(), None);
        drop(answers.begin());
        assert_eq!(answers.deadline(), None, "it was taken at once");

        let start = now();
        let first = answers.begin();
        let deadline = answers.deadline().unwrap();
        assert!(deadline >= start + 15_000);
        // Others that come and go do not change that.
        for _ in 0..3 {
            let _other = answers.begin();
            assert_eq!(answers.deadline(), Some(deadline));
        }
        let second = answers.begin();
        drop(first);
        // The time of the second begins at the latest now.
        assert!(answers.deadline().unwrap() <= now() + 15_000);
        let third = second.next_piece();
        drop(second);
        assert!(answers.deadline().is_some());
        drop(third);
        assert_eq!(answers.deadline(), None);
    }
}
