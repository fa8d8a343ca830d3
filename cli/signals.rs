//! The signals that end a long run of a command: what is at work is completed first.

use std::cell::Cell;
use std::pin::Pin;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// SIGINT, SIGTERM, and SIGHUP, which a terminal that is closed sends.
pub(crate) struct Signals([Signal; 3]);

impl Signals {
    /// Listens for them from now on, in place of their defaults.
    ///
    /// # Errors
    /// If the system refuses.
    pub(crate) fn new() -> std::io::Result<Self> {
        let [interrupt, terminate, hangup] =
            [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()].map(signal);
        Ok(Self([interrupt?, terminate?, hangup?]))
    }

    /// Runs `work` to its end, and sets `came` when one of them comes: the work looks at it, and ends
    /// early.
    pub(crate) async fn watch<T>(
        &mut self,
        came: &Cell<bool>,
        mut work: Pin<Box<dyn Future<Output = T> + '_>>,
    ) -> T {
        loop {
            tokio::select! {
                result = &mut work => return result,
                () = self.next() => came.set(true),
            }
        }
    }

    /// Waits for one of them.
    async fn next(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}
