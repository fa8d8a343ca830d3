use prometheus::IntCounter;

use super::register::Register;

/// A limit of a caller, under the name that it has in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LimitKind {
    RequestsPerSecond,
    RequestsAtOnce,
    StoreCallsPerSecond,
}

/// How many requests each kind of limit has refused.
pub(crate) struct Limited([IntCounter; LimitKind::ALL.len()]);

impl LimitKind {
    /// In the order of the enum.
    const ALL: [Self; 3] =
        [Self::RequestsPerSecond, Self::RequestsAtOnce, Self::StoreCallsPerSecond];

    const fn name(self) -> &'static str {
        match self {
            Self::RequestsPerSecond => "requests_per_second",
            Self::RequestsAtOnce => "requests_at_once",
            Self::StoreCallsPerSecond => "store_calls_per_second",
        }
    }
}

impl Limited {
    pub(super) fn new(register: &Register) -> Self {
        let counters = register.counters(
            "kes_http_limited_requests",
            "Requests refused because their identity has reached one of its limits, by limit",
            "limit",
        );
        Self(LimitKind::ALL.map(|kind| counters.with_label_values(&[kind.name()])))
    }

    #[expect(clippy::indexing_slicing, reason = "there is one for each kind")]
    pub(crate) fn inc(&self, kind: LimitKind) {
        self.0[kind as usize].inc();
    }

    #[cfg(test)]
    pub(crate) fn get(&self, kind: LimitKind) -> u64 {
        self.0[kind as usize].get()
    }
}
