//! Lines that were lost on their way to standard output or standard error.

use std::io;
use std::time::Duration;

use parking_lot::Mutex;
use prometheus::IntCounter;

use super::rate_limit::RateLimit;
use crate::observe::metrics::Metrics;
use crate::observe::process::files_hint;

/// How often the error log tells at most that lines are lost.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// The lost lines of a target. They are counted, and told in the error log: if that is the target
/// itself, those who follow `/v1/log/error` can still read it.
pub(super) struct Losses {
    /// The name of the target.
    what: &'static str,
    dropped: IntCounter,
    lost_changes: IntCounter,
    /// For lines that were not read in time.
    slow: Mutex<RateLimit>,
    failures: Mutex<Failures>,
}

/// Lines that the system did not take.
struct Failures {
    /// Those that were not told yet.
    unreported: u64,
    logged: RateLimit,
}

impl Losses {
    pub(super) fn new(what: &'static str, metrics: &Metrics) -> Self {
        Self {
            what,
            dropped: metrics.dropped_lines.clone(),
            lost_changes: metrics.lost_changes.clone(),
            slow: Mutex::new(RateLimit::new(LOG_INTERVAL)),
            failures: Mutex::new(Failures { unreported: 0, logged: RateLimit::new(LOG_INTERVAL) }),
        }
    }

    /// A line did not fit into its queue.
    pub(super) fn by_slow_reader(&self) {
        self.dropped.inc();
        // The lock is released first: this message may come here itself.
        let allowed = self.slow.lock().allows();
        if allowed {
            tracing::error!("log lines are lost: the reader of {} is too slow", self.what);
        }
    }

    /// A line could not be written.
    pub(super) fn by_failure(&self, error: &io::Error) {
        self.dropped.inc();
        let mut failures = self.failures.lock();
        failures.unreported += 1;
        if failures.logged.allows() {
            let unreported = std::mem::take(&mut failures.unreported);
            drop(failures);
            tracing::error!(
                "log lines are lost, {unreported} so far: {} cannot be written: {error}{}",
                self.what,
                files_hint(error)
            );
        }
    }

    /// A line was written again.
    pub(super) fn end(&self) {
        let unreported = std::mem::take(&mut self.failures.lock().unreported);
        if unreported > 0 {
            let what = self.what;
            tracing::error!("{what} can be written again; {unreported} more log lines were lost");
        }
    }

    /// A line about a change of a key was lost, which was counted and told as all others. Each of
    /// these is told by itself, however many there are, so that the error log has it at least.
    pub(super) fn of_change(&self, line: &str) {
        self.lost_changes.inc();
        let what = self.what;
        tracing::error!(line = line.trim_end(), "{what} did not take a line of the audit log");
    }
}
