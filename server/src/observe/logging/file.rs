//! The audit file: a record of every request, in a chain that shows changes (`docs/audit.md`).
//!
//! A request leaves what is to be recorded in a queue, which takes no allocation once the queue has
//! grown. A thread writes what has come together in 50 ms in one go; what a change waits for is
//! written at once, and waited for until the disk has it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Once, mpsc};
use std::thread;
use std::time::Duration;

use kes_audit::ContextMode;
use kes_audit::file::Settings;
use kes_audit::record::{Contexts, Kind, Role};
use kes_config::ConfiguredPath;

use self::queue::{Control, Queue};
use super::audit::Audited;
use super::receipt::{Receipt, receipt};
use crate::observe::metrics::{Metrics, Queued};

/// What waits to be written.
mod queue;

/// Writes it.
mod writer;

/// How long a server that stops waits for a file that another process still has: one that has handed
/// over, which has 10 s for its last requests.
const CLOSE_PATIENCE: Duration = Duration::from_secs(12);

/// How long a server that stops waits for the rest to be written.
const CLOSE_TIME: Duration = CLOSE_PATIENCE.saturating_add(Duration::from_secs(5));

/// The audit file, whether there is one or not.
pub(crate) struct AuditRecorder {
    queue: Arc<Queue>,
    is_on: AtomicBool,
    wants_contexts: AtomicBool,
    started: Once,
    metrics: Arc<Metrics>,
}

/// A file to record requests in.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) settings: Settings,
    /// As the configuration names it, for messages.
    pub(crate) path: ConfiguredPath,
}

/// What the audit file tells of a request beside what the audit log tells.
pub(crate) struct Recorded<'a> {
    pub(crate) audited: &'a Audited<'a>,
    pub(crate) kind: Kind,
    pub(crate) number: Option<u64>,
    pub(crate) role: Role<'a>,
    /// Whether the path has a route.
    pub(crate) is_routed: bool,
    pub(crate) contexts: Option<&'a Contexts>,
}

impl AuditRecorder {
    pub(super) fn new(metrics: Arc<Metrics>) -> Self {
        Self {
            queue: Arc::default(),
            is_on: AtomicBool::new(false),
            wants_contexts: AtomicBool::new(false),
            started: Once::new(),
            metrics,
        }
    }

    /// Writes to another file from now on, or to none.
    #[expect(clippy::expect_used, reason = "a server that cannot record requests does not start")]
    pub(crate) fn configure(&self, target: Option<Target>) {
        if target.is_none() && !self.is_on() {
            return;
        }
        self.started.call_once(|| {
            let (queue, metrics) = (Arc::clone(&self.queue), Arc::clone(&self.metrics));
            let work = move || writer::run(&queue, &metrics);
            let thread = thread::Builder::new().name("audit-file".to_owned());
            thread.spawn(work).expect("the system starts a thread");
        });
        let tells = target.as_ref().is_some_and(|file| file.settings.context != ContextMode::Off);
        self.wants_contexts.store(tells, Ordering::Relaxed);
        self.is_on.store(target.is_some(), Ordering::Relaxed);
        self.queue.control(Control::Configure(Box::new(target)));
    }

    /// Whether requests are recorded.
    pub(crate) fn is_on(&self) -> bool {
        self.is_on.load(Ordering::Relaxed)
    }

    /// Whether what a request is about is recorded.
    pub(crate) fn wants_contexts(&self) -> bool {
        self.wants_contexts.load(Ordering::Relaxed)
    }

    /// Records a request.
    pub(crate) fn record(&self, recorded: &Recorded<'_>) {
        if self.is_on() {
            self.queue.record(recorded, None);
        }
    }

    /// The same for a record that must not be lost: it is signed once the disk has it.
    pub(crate) fn record_with_receipt(&self, recorded: &Recorded<'_>) -> Receipt {
        let (signature, receipt) = receipt();
        self.queue.record(recorded, Some(signature));
        receipt.of_file()
    }

    /// How much waits to be written.
    pub(crate) fn queued(&self) -> Queued {
        self.queue.queued()
    }

    /// Has all be written and the file be closed, for at most [`CLOSE_TIME`].
    pub(super) fn close(&self) {
        if !self.is_on.swap(false, Ordering::Relaxed) {
            return;
        }
        let (done, wait) = mpsc::sync_channel(1);
        self.queue.control(Control::Close(done));
        if wait.recv_timeout(CLOSE_TIME).is_err() {
            tracing::error!(
                "the audit file did not take all records in time; some are missing in it"
            );
        }
    }
}

#[cfg(test)]
mod tests;
