use std::cell::Cell;
use std::time::Duration;

use tokio::time::{self, Instant};

/// When the next key may be copied.
pub(crate) struct Pace {
    /// The time between two keys; `None` for no pauses.
    every: Option<Duration>,
    next: Cell<Instant>,
}

impl Pace {
    /// So many keys a second; as many as there are for `None`.
    pub(crate) fn new(rate: Option<u32>) -> Self {
        let every = rate.map(|rate| Duration::from_secs(1) / rate.max(1));
        Self { every, next: Cell::new(Instant::now()) }
    }

    /// Waits for the time of the next key.
    pub(crate) async fn turn(&self) {
        if let Some(every) = self.every {
            let at = self.next.get().max(Instant::now());
            self.next.set(at + every);
            time::sleep_until(at).await;
        }
    }
}
