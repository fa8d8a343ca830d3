//! Limits how often the same line is logged.

use std::time::{Duration, Instant};

/// Allows an event once in an interval.
#[derive(Debug)]
pub(crate) struct RateLimit {
    interval: Duration,
    last: Option<Instant>,
}

impl RateLimit {
    pub(crate) const fn new(interval: Duration) -> Self {
        Self { interval, last: None }
    }

    /// Whether the last event that was allowed is at least an interval ago. If so, this one is the
    /// last.
    pub(crate) fn allows(&mut self) -> bool {
        let allowed = self.last.is_none_or(|last| last.elapsed() >= self.interval);
        if allowed {
            self.last = Some(Instant::now());
        }
        allowed
    }
}
