use kes_keys::Refresh;
use prometheus::IntCounter;

use super::register::Register;

/// Requests for keys, and refreshes of those in memory.
pub(super) struct Cache {
    pub(super) hits: IntCounter,
    pub(super) misses: IntCounter,
    pub(super) negative_hits: IntCounter,
    /// In the order of [`RESULTS`].
    refreshes: [IntCounter; RESULTS.len()],
}

/// How a refresh ends, in the order of the enum.
const RESULTS: [(Refresh, &str); 3] =
    [(Refresh::Success, "success"), (Refresh::Missing, "missing"), (Refresh::Error, "error")];

impl Cache {
    pub(super) fn new(register: &Register) -> Self {
        let refreshes = register.counters(
            "kes_cache_refreshes",
            "Keys in memory that were read again because their time was nearly over, by result",
            "result",
        );
        Self {
            hits: register.counter("kes_cache_hits", "Requests for a key in memory"),
            misses: register
                .counter("kes_cache_misses", "Requests for a key that was not in memory"),
            negative_hits: register.counter(
                "kes_cache_negative_hits",
                "Requests for a key that has been missing again and again just now, for which the \
                 key store was not asked",
            ),
            refreshes: RESULTS.map(|(_, result)| refreshes.with_label_values(&[result])),
        }
    }

    #[expect(clippy::indexing_slicing, reason = "there is one for each result")]
    pub(super) fn refreshed(&self, refresh: Refresh) {
        self.refreshes[refresh as usize].inc();
    }
}
