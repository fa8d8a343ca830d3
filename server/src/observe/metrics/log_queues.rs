use prometheus::{IntGauge, IntGaugeVec};

use super::register::Register;

/// Lines of both logs that wait for their readers.
pub(super) struct LogQueues {
    error: IntGauge,
    audit: IntGauge,
}

/// How many bytes of each log wait to be written.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct QueuedLines {
    /// Of the error log, which goes to standard error.
    pub(crate) error: usize,
    /// Of the audit log, which goes to standard output.
    pub(crate) audit: usize,
}

impl LogQueues {
    pub(super) fn new(register: &Register) -> Self {
        let help = "Bytes of the lines that wait to be written to standard error or output";
        let gauges: IntGaugeVec = register.gauges("kes_log_queued_bytes", help, &["log"]);
        let of = |log: &str| gauges.with_label_values(&[log]);
        Self { error: of("error"), audit: of("audit") }
    }

    /// Sets the gauges.
    pub(super) fn show(&self, queued: QueuedLines) {
        let int = |value: usize| i64::try_from(value).unwrap_or(i64::MAX);
        self.error.set(int(queued.error));
        self.audit.set(int(queued.audit));
    }
}
