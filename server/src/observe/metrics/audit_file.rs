use prometheus::{IntCounter, IntGauge};

use super::register::Register;

/// Records of requests in the audit file.
pub(crate) struct AuditFile {
    pub(crate) records: IntCounter,
    pub(crate) lost: IntCounter,
    queued_records: IntGauge,
    queued_bytes: IntGauge,
}

/// What waits to be written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Queued {
    pub(crate) records: usize,
    pub(crate) bytes: usize,
}

impl AuditFile {
    pub(super) fn new(register: &Register) -> Self {
        Self {
            records: register.counter(
                "kes_audit_file_records",
                "Records of requests that were written to the audit file",
            ),
            lost: register.counter(
                "kes_audit_file_lost_records",
                "Records of requests that could not be written to the audit file",
            ),
            queued_records: register.gauge(
                "kes_audit_file_queued_records",
                "Records of requests that wait to be written to the audit file",
            ),
            queued_bytes: register.gauge(
                "kes_audit_file_queued_bytes",
                "Bytes of the records that wait to be written to the audit file",
            ),
        }
    }

    /// Sets the gauges.
    pub(super) fn show(&self, queued: Queued) {
        let int = |value: usize| i64::try_from(value).unwrap_or(i64::MAX);
        self.queued_records.set(int(queued.records));
        self.queued_bytes.set(int(queued.bytes));
    }
}
