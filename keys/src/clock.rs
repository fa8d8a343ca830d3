use std::time::Instant;

use kes_api::Timestamp;
use rustix::time::{ClockId, clock_gettime};

/// Tells the time. It is a parameter of [`Keys`](crate::Keys), so that tests can set it.
pub trait Clock: Clone + Send + Sync + 'static {
    /// The monotonic time, for ages and durations.
    fn now(&self) -> Instant;

    /// The date, for the record of a new key.
    fn date(&self) -> Timestamp;

    /// The date in whole seconds since 1970, for what every request notes.
    fn second(&self) -> i64 {
        self.date().unix_seconds()
    }
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

    /// From what the kernel wrote down at its last tick: a few nanoseconds, without the clock itself,
    /// and up to ten milliseconds behind it.
    fn second(&self) -> i64 {
        clock_gettime(ClockId::RealtimeCoarse).tv_sec
    }
}
