//! The error log, the audit log, and the streams that carry both to clients (contract
//! `config.md`, Logs; contract `api.md`, Streams).
//!
//! Logging never waits for a reader. Lines go through bounded queues to a thread that writes them
//! and to the clients that follow; a line that does not fit is dropped and counted, and the log
//! says how many are missing where they are. Lines of changes to keys have a queue of their own,
//! which nothing else can fill.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

use kes_config::{Level, LogFormat};

use self::file::AuditRecorder;
use self::stream::Stream;
use self::writer::Writer;
use crate::observe::metrics::{Metrics, QueuedLines};

/// The audit log.
pub(crate) mod audit;

/// The error log.
mod error_log;

/// Limits how often the same line is logged.
pub(crate) mod rate_limit;

/// Formats a line as text or as JSON.
mod line;

/// The audit file.
pub(crate) mod file;

/// Counts and tells lost lines.
mod losses;

/// Queues of lines, bounded in lines and in bytes.
mod queue;

/// Tells whether a line was written.
pub(crate) mod receipt;

/// Aggregates events that clients can cause as often as they like.
pub(crate) mod repeats;

/// Streams to the clients that follow a log.
pub(crate) mod stream;

/// Writes lines in a thread of its own.
mod writer;

/// Both logs.
pub(crate) struct Logs {
    error_level: AtomicI32,
    audit_level: AtomicI32,
    audit_required: AtomicBool,
    /// The writers need it as well.
    json: Arc<AtomicBool>,
    stderr: Writer,
    stdout: Writer,
    /// The audit file.
    pub(crate) file: AuditRecorder,
    /// The stream of `/v1/log/error`.
    pub(crate) error_stream: Stream,
    /// The stream of `/v1/log/audit`.
    pub(crate) audit_stream: Stream,
    metrics: Arc<Metrics>,
}

/// The settings of the logs that a reload can change.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    pub(crate) error: Level,
    pub(crate) audit: Level,
    pub(crate) format: LogFormat,
    /// Whether a key is only changed if the audit log says so.
    pub(crate) audit_required: bool,
    /// Whether requests are recorded in a file, which counts in place of standard output then.
    pub(crate) has_file: bool,
}

impl Logs {
    /// Starts both logs, at level INFO until [`Self::set`] is called.
    pub(crate) fn start(metrics: Arc<Metrics>) -> Arc<Self> {
        let json = Arc::new(AtomicBool::new(false));
        let logs = Arc::new(Self {
            error_level: AtomicI32::new(Level::INFO.number()),
            audit_level: AtomicI32::new(Level::INFO.number()),
            audit_required: AtomicBool::new(false),
            stderr: Writer::stderr(&json, &metrics),
            stdout: Writer::stdout(&json, &metrics),
            file: AuditRecorder::new(Arc::clone(&metrics)),
            json,
            error_stream: Stream::new(metrics.dropped_lines.clone()),
            audit_stream: Stream::new(metrics.dropped_lines.clone()),
            metrics,
        });
        error_log::install(&logs);
        logs
    }

    /// Applies settings.
    pub(crate) fn set(&self, settings: Settings) {
        self.error_level.store(settings.error.number(), Ordering::Relaxed);
        self.audit_level.store(settings.audit.number(), Ordering::Relaxed);
        self.json.store(settings.format == LogFormat::Json, Ordering::Relaxed);
        self.audit_required.store(settings.audit_required, Ordering::Relaxed);
        tracing::callsite::rebuild_interest_cache();
        if settings.audit_required && self.stdout.discards() && !settings.has_file {
            tracing::error!(
                "log.audit_required is set, but {}, which keeps no audit log: no key can be \
                 created, imported or deleted",
                receipt::Unwritten::Discarded
            );
        }
    }

    /// Ends both streams, so that the connections of their followers can close.
    pub(crate) fn close_streams(&self) {
        self.error_stream.close();
        self.audit_stream.close();
    }

    /// Waits until all lines are written, for at most a second, and before that until the audit file
    /// is closed, for at most five.
    pub(crate) fn flush(&self) {
        self.file.close();
        self.stderr.flush();
        self.stdout.flush();
    }

    /// What waits for whoever reads standard error and output.
    pub(crate) fn queued(&self) -> QueuedLines {
        QueuedLines { error: self.stderr.queued_bytes(), audit: self.stdout.queued_bytes() }
    }

    fn json(&self) -> bool {
        self.json.load(Ordering::Relaxed)
    }
}
