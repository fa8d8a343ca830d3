//! Work beside the requests that goes on as long as the server.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt as _;

/// How long work pauses after a panic: one that comes at once again writes a line a minute.
const PAUSE: Duration = Duration::from_secs(60);

/// Does work without end. A panic is a bug: it is logged, and the work begins anew after a pause,
/// because the server needs it: without its watch, for example, new certificates would not be seen
/// until the old ones have expired.
pub(super) async fn endless<F: Future<Output = Infallible>>(what: &str, begin: impl Fn() -> F) {
    loop {
        let Err(_panic) = AssertUnwindSafe(begin()).catch_unwind().await;
        tracing::error!(
            "a bug of the server: {what} panicked; it goes on in {} s",
            PAUSE.as_secs()
        );
        tokio::time::sleep(PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use super::super::blocking::blocking;
    use super::*;
    use std::cell::Cell;

    #[tokio::test(start_paused = true)]
    async fn work_that_panics_begins_anew() {
        let begun = &Cell::new(0);
        let begin = || async {
            begun.set(begun.get() + 1);
            // As where the panic is that of a thread that reads a file.
            if begun.get() < 3 {
                blocking(|| panic!("a bug")).await
            }
            std::future::pending().await
        };
        let start = tokio::time::Instant::now();
        tokio::select! {
            () = endless("the test", begin) => {}
            () = async { while begun.get() < 3 { tokio::time::sleep(PAUSE / 4).await } } => {}
        }
        assert!(start.elapsed() >= PAUSE * 2, "{:?}", start.elapsed());
    }
}
