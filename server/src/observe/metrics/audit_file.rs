use prometheus::IntCounter;

use super::register::Register;

/// Records of requests in the audit file.
pub(crate) struct AuditFile {
    pub(crate) records: IntCounter,
    pub(crate) lost: IntCounter,
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
        }
    }
}
