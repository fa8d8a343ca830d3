use std::time::Instant;

use kes_api::Timestamp;

/// Tells the time. It is a parameter of [`Keys`](crate::Keys), so that tests can set it.
pub trait Clock: Clone + Send + Sync + 'static {
    /// The monotonic time, for ages and durations.
    fn now(&self) -> Instant;

    /// The date, for the record of a new key.
    fn date(&self) -> Timestamp;
}

/// The clock of this machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Instant {
        Instant::now()
    }

    fn date(&self) -> Timestamp {
        Timestamp::now()
    }
}
