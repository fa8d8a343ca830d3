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
    /// How many configurations are in use.
    generations: IntGauge,
}

/// Counts a configuration for as long as it is in use.
pub(crate) struct InUse(IntGauge);

impl Drop for InUse {
    fn drop(&mut self) {
        self.0.dec();
    }
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
            generations: register.gauge(
                "kes_config_generations",
                "Configurations in use: the current one, and earlier ones under which requests that \
                 have begun are still served",
            ),
        }
    }

    /// Counts a configuration.
    pub(crate) fn begin_generation(&self) -> InUse {
        self.generations.inc();
        InUse(self.generations.clone())
    }
}
