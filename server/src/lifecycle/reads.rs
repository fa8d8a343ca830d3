//! Reads of files that may hang, as on a network mount that is away: each ends for its caller after
//! a limit, and only a few of those that hang are kept.

use std::fmt::{self, Display};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Semaphore;

/// How long all files of a configuration may take. A file of a thousand policies takes milliseconds,
/// and a busy network mount some seconds.
pub(super) const LIMIT: Duration = Duration::from_secs(10);

/// How many reads may be under way or hang. Nothing ends a thread in a system call that hangs: each
/// keeps its thread and what it has read. One more than twice, for a reload after two that hang.
const MAX: usize = 3;

/// Reads for one purpose. Those that hang leave no room for others of the same purpose alone.
#[derive(Debug)]
pub(crate) struct Reads(Arc<Semaphore>);

/// Notes what is being read.
#[derive(Clone, Debug, Default)]
pub(super) struct Reading(Arc<Mutex<String>>);

/// Why nothing was read.
#[derive(Debug, thiserror::Error)]
pub(super) enum Hangs {
    /// A file.
    #[error(
        "{0} was not read to its end within {limit} s; the file system that it is on seems to hang",
        limit = LIMIT.as_secs()
    )]
    At(String),
    /// Too many earlier ones.
    #[error(
        "nothing was read: {MAX} earlier reads still hang, and another one begins only when one of \
         them ends; bring the file system back that hangs, or restart the server"
    )]
    TooMany,
}

impl Reading {
    /// The next that is read.
    pub(super) fn at(&self, what: impl Display) {
        *self.0.lock() = what.to_string();
    }
}

impl Display for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.lock())
    }
}

impl Default for Reads {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MAX)))
    }
}

impl Reads {
    /// Reads in a task of its own. If that does not end within the limit it goes on alone, and what
    /// it reads later is dropped.
    pub(super) async fn run<T: Send + 'static, F: Future<Output = T> + Send + 'static>(
        &self,
        read: impl FnOnce(Reading) -> F,
    ) -> Result<T, Hangs> {
        let permit = Arc::clone(&self.0).try_acquire_owned().map_err(|_| Hangs::TooMany)?;
        let reading = Reading::default();
        let work = read(reading.clone());
        let task = tokio::spawn(async move {
            let result = work.await;
            drop(permit);
            result
        });
        match tokio::time::timeout(LIMIT, task).await {
            Ok(Ok(result)) => Ok(result),
            Ok(Err(error)) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The runtime ends, and this task with it.
                Err(_) => std::future::pending().await,
            },
            Err(_) => Err(Hangs::At(reading.to_string())),
        }
    }
}

#[cfg(test)]
impl Reads {
    /// Whether any has not ended.
    pub(super) fn are_under_way(&self) -> bool {
        self.0.available_permits() < MAX
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    /// The time of the runtime passes when nothing else is to do.
    #[tokio::test(start_paused = true)]
    async fn a_read_that_hangs_ends_for_its_caller_and_few_of_them_are_kept() {
        let reads = Reads::default();
        let mut hanging = Vec::new();
        for number in 0..MAX {
            assert_eq!(reads.run(|_| async move { number }).await.unwrap(), number);
            let (end, ended) = oneshot::channel::<()>();
            let hangs = reads.run(|reading| async move {
                reading.at("'a'");
                reading.at("'b'");
                ended.await
            });
            let error = hangs.await.unwrap_err().to_string();
            assert!(error.starts_with("'b' was not read to its end within 10 s"), "{error}");
            hanging.push(end);
        }
        let error = reads.run(|_| async {}).await.unwrap_err().to_string();
        assert!(error.contains("3 earlier reads still hang"), "{error}");
        hanging.pop().unwrap().send(()).unwrap();
        while reads.run(|_| async {}).await.is_err() {
            tokio::task::yield_now().await;
        }
    }
}
