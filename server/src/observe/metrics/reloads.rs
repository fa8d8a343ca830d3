use prometheus::{IntCounterVec, IntGauge};

use super::register::Register;

/// Reloads of the configuration and of the certificates.
pub(crate) struct Reloads {
    /// Their number, by result.
    pub(crate) results: IntCounterVec,
    /// 1 while the last one of either has failed.
    pub(crate) failed: IntGauge,
    /// When one last succeeded, in seconds since 1970.
    pub(crate) success_time: IntGauge,
    /// 1 while the last try to hand over to another process has failed.
    pub(crate) hand_over_failed: IntGauge,
}

impl Reloads {
    pub(super) fn new(register: &Register) -> Self {
        Self {
            results: register.counters(
                "kes_config_reloads",
                "Reloads of configuration or certificates, by result",
                "result",
            ),
            failed: register.gauge(
                "kes_config_last_reload_failed",
                "Whether the last reload of the configuration or the certificates failed",
            ),
            success_time: register.gauge(
                "kes_config_last_reload_success_time",
                "When configuration or certificates were last read without a fault, in seconds \
                 since 1970",
            ),
            hand_over_failed: register.gauge(
                "kes_last_handover_failed",
                "Whether the last try to hand over to another process failed",
            ),
        }
    }
}
