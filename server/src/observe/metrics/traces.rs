use prometheus::IntCounter;

use super::register::Register;

/// Spans of traces.
pub(crate) struct Traces {
    pub(crate) exported: IntCounter,
    /// Those for which the queue had no room.
    pub(crate) overflowed: IntCounter,
    /// Those that the collector did not take, because it was away or refused them.
    pub(crate) unsent: IntCounter,
    /// Those that it took and threw away.
    pub(crate) rejected: IntCounter,
}

impl Traces {
    pub(super) fn new(register: &Register) -> Self {
        let dropped = register.counters(
            "kes_traces_dropped_spans",
            "Spans of traces that were dropped",
            "reason",
        );
        let [overflowed, unsent, rejected] =
            ["queue", "export", "rejected"].map(|reason| dropped.with_label_values(&[reason]));
        Self {
            exported: register.counter(
                "kes_traces_exported_spans",
                "Spans of traces that the collector has taken",
            ),
            overflowed,
            unsent,
            rejected,
        }
    }
}
