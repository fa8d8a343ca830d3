use std::sync::OnceLock;

use prometheus::core::Collector as _;
use prometheus::{IntCounter, IntCounterVec};

/// A counter by status; common statuses are looked up once. A status that has not occurred has no
/// line in the text, except the first one of each counter: without any line the counter would be
/// missing, and MinIO's SDK would fail.
pub(super) struct ByCode {
    counters: IntCounterVec,
    known: [OnceLock<IntCounter>; KNOWN_CODES.len()],
}

const KNOWN_CODES: [u16; 9] = [200, 400, 403, 404, 405, 429, 502, 503, 504];

impl ByCode {
    /// The counter has a line for the status `first` from the start.
    pub(super) fn new(counters: IntCounterVec, first: u16) -> Self {
        let by_code = Self { counters, known: [const { OnceLock::new() }; KNOWN_CODES.len()] };
        by_code.counter(first);
        by_code
    }

    pub(super) fn inc(&self, code: u16) {
        match KNOWN_CODES.iter().zip(&self.known).find(|(known, _)| **known == code) {
            Some((_, counter)) => counter.get_or_init(|| self.counter(code)).inc(),
            None => self.counter(code).inc(),
        }
    }

    /// The statuses that have occurred, with their counts.
    pub(super) fn counts(&self) -> Vec<(u16, u64)> {
        let families = self.counters.collect();
        let series = families.iter().flat_map(|family| family.get_metric());
        let codes = series.filter_map(|series| series.get_label().first());
        let codes = codes.filter_map(|code| code.value().parse().ok());
        codes.map(|code| (code, self.counter(code).get())).collect()
    }

    fn counter(&self, code: u16) -> IntCounter {
        self.counters.with_label_values(&[&code.to_string()])
    }
}
