//! How far a run through a key store is: a bar on standard error, if that is a terminal.

use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use kes_migrate::Tally;
use std::io::IsTerminal as _;

/// How often the bar is drawn.
const TICK: Duration = Duration::from_millis(100);

/// A bar that a thread of its own draws: a terminal that stalls, such as after Ctrl-S, does not hold the run.
pub(crate) struct Progress(Option<(Sender<()>, JoinHandle<()>)>);

impl Progress {
    /// Shows how many keys are done, until it is ended; nothing if `quiet` or without a terminal.
    pub(crate) fn of(tally: &Arc<Tally>, quiet: bool) -> Self {
        if quiet || !std::io::stderr().is_terminal() {
            return Self(None);
        }
        let tally = Arc::clone(tally);
        let style = ProgressStyle::with_template("[{bar:40}] {pos}/{len} keys, {eta} left");
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        let style = style.map(|style| style.progress_chars("=> "));
        let bar = style.into_iter().fold(bar, ProgressBar::with_style);
        let (stop, stopped) = mpsc::channel();
        let thread = thread::spawn(move || {
            let number = |keys| u64::try_from(keys).unwrap_or(u64::MAX);
            while stopped.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
                if tally.total() > 0 {
                    bar.set_length(number(tally.total().max(tally.done())));
                    bar.set_position(number(tally.done()));
                }
            }
            bar.finish_and_clear();
        });
        Self(Some((stop, thread)))
    }

    /// Removes the bar.
    pub(crate) fn end(self) {
        if let Self(Some((stop, thread))) = self {
            drop(stop);
            // A panic of the thread has been told on standard error.
            let _ = thread.join();
        }
    }
}
