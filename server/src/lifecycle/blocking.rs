use std::cell::Cell;
use std::thread;
use std::time::{Duration, Instant};

/// Runs work that may block in a thread for it, such as reading a file: a file on a network mount
/// may hang, and the server has to serve requests and react to signals meanwhile.
pub(super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime ends, and this task with it.
            Err(_) => std::future::pending().await,
        },
    }
}

/// How much longer a piece of long work may take because it lets other threads run in between. Where
/// more threads want to run than there are cores, each [`thread::yield_now`] costs a time slice of
/// all others, some milliseconds: the thousands of steps of a large configuration took half a minute.
const MAX_YIELDED: Duration = Duration::from_millis(250);

/// Lets other threads run between the steps of long work, until that has cost [`MAX_YIELDED`].
pub(super) struct Yielding {
    left: Cell<Duration>,
}

impl Yielding {
    pub(super) fn new() -> Self {
        Self { left: Cell::new(MAX_YIELDED) }
    }

    /// Lets other threads run.
    pub(super) fn after_a_step(&self) {
        self.by(|| {
            let start = Instant::now();
            thread::yield_now();
            start.elapsed()
        });
    }

    /// `let_others_run` returns the time that it took.
    fn by(&self, let_others_run: impl FnOnce() -> Duration) {
        let left = self.left.get();
        if !left.is_zero() {
            self.left.set(left.saturating_sub(let_others_run()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn on_a_machine_without_a_free_core_the_steps_soon_follow_each_other() {
        let (yielding, calls) = (Yielding::new(), Cell::new(0));
        for _ in 0..10_000 {
            yielding.by(|| {
                calls.set(calls.get() + 1);
                Duration::from_millis(4)
            });
        }
        assert_eq!(calls.get(), 63);
    }

    #[test]
    fn on_a_machine_with_a_free_core_others_run_after_each_step() {
        let (yielding, calls) = (Yielding::new(), Cell::new(0));
        for _ in 0..10_000 {
            yielding.by(|| {
                calls.set(calls.get() + 1);
                Duration::from_micros(1)
            });
        }
        assert_eq!(calls.get(), 10_000);
    }
}
