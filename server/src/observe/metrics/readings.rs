//! What a page reads of the metrics once a second: atomics that requests count in anyway.

use kes_api::Operation;
use prometheus::Histogram;
use prometheus::core::Metric as _;

use super::{FINE_BUCKETS, Metrics};

/// The counters of one moment. All of them only grow, except those that say so.
#[derive(Clone, Debug, Default)]
pub(crate) struct Readings {
    /// Answered requests, by status in ascending order.
    pub(crate) by_status: Vec<(u16, u64)>,
    /// By [`Operation::index`].
    pub(crate) by_api: Box<[Latency; Operation::COUNT]>,
    /// Calls to the key store of all kinds.
    pub(crate) store_calls: Latency,
    /// Those that failed.
    pub(crate) store_errors: u64,
    /// Requests for a key in memory, or for a name that is known to be missing.
    pub(crate) cache_hits: u64,
    /// Requests for a key that was not in memory.
    pub(crate) cache_misses: u64,
    /// Requests that are being served now.
    pub(crate) active: i64,
    /// Connections that are open now.
    pub(crate) connections: i64,
    /// How many may be.
    pub(crate) connections_limit: i64,
    /// Lines that the logs have lost.
    pub(crate) lost_lines: u64,
}

/// How many times lie within each bucket of a histogram; the last one has no bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Latency([u64; FINE_BUCKETS.len() + 1]);

impl Readings {
    /// Requests whose status `is_wanted`.
    pub(crate) fn answered(&self, is_wanted: impl Fn(u16) -> bool) -> u64 {
        let counts = self.by_status.iter().filter(|(status, _)| is_wanted(*status));
        counts.map(|(_, count)| count).sum()
    }

    /// The times of requests of all operations.
    pub(crate) fn requests(&self) -> Latency {
        self.by_api.iter().fold(Latency::default(), |sum, one| sum.plus(one))
    }
}

impl Latency {
    fn of(histogram: &Histogram) -> Self {
        let metric = histogram.metric();
        let read = metric.get_histogram();
        let cumulative = read.get_bucket().iter().map(prometheus::proto::Bucket::cumulative_count);
        let mut counts = Self::default();
        let mut before = 0;
        for (count, up_to) in counts.0.iter_mut().zip(cumulative.chain([read.get_sample_count()])) {
            *count = up_to.saturating_sub(before);
            before = up_to;
        }
        counts
    }

    /// How many times there are.
    pub(crate) fn count(&self) -> u64 {
        self.0.iter().sum()
    }

    /// Both together.
    pub(crate) fn plus(mut self, other: &Self) -> Self {
        self.0.iter_mut().zip(other.0).for_each(|(count, more)| *count += more);
        self
    }

    /// What came after an earlier reading.
    pub(crate) fn since(mut self, before: &Self) -> Self {
        self.0.iter_mut().zip(before.0).for_each(|(count, old)| *count = count.saturating_sub(old));
        self
    }

    /// The time in seconds that this part of all times does not exceed, from 0 to 1: as if the times of
    /// a bucket were spread over it evenly. What lies beyond the last bound counts as that bound.
    /// `None` without times.
    pub(crate) fn quantile(&self, part: f64) -> Option<f64> {
        let wanted = self.count() as f64 * part;
        let (mut below, mut lower) = (0.0, 0.0);
        let bounds = FINE_BUCKETS.into_iter().chain(FINE_BUCKETS.last().copied());
        let mut found = None;
        for (count, upper) in self.0.iter().map(|count| *count as f64).zip(bounds) {
            if count > 0.0 {
                let share = ((wanted - below) / count).clamp(0.0, 1.0);
                found = Some(lower + (upper - lower) * share);
                below += count;
                if below >= wanted {
                    break;
                }
            }
            lower = upper;
        }
        found
    }
}

impl Metrics {
    /// The counters of this moment.
    pub(crate) fn readings(&self) -> Readings {
        let by_code = [&self.success, &self.error, &self.failure];
        let mut by_status: Vec<_> = by_code.into_iter().flat_map(|codes| codes.counts()).collect();
        by_status.sort_unstable();
        let mut by_api = Box::<[Latency; Operation::COUNT]>::default();
        for (read, histogram) in by_api.iter_mut().zip(self.by_api.iter()) {
            *read = Latency::of(histogram);
        }
        let store = self.store_calls.iter();
        let store_calls = store.clone().map(|calls| Latency::of(&calls.latency));
        Readings {
            by_status,
            by_api,
            store_calls: store_calls.fold(Latency::default(), |sum, one| sum.plus(&one)),
            store_errors: store.map(|calls| calls.errors.get()).sum(),
            cache_hits: self.cache.hits.get() + self.cache.negative_hits.get(),
            cache_misses: self.cache.misses.get(),
            active: self.classes.requests.sum(),
            connections: self.connections.get(),
            connections_limit: self.max_connections.get(),
            lost_lines: self.dropped_lines.get() + self.audit_file.lost.get(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use kes_keystore::StoreOperation;
    use kes_keystore::wrap::Meter as _;

    use super::*;

    fn times(milliseconds: &[u64]) -> Latency {
        let metrics = Metrics::new();
        for time in milliseconds {
            metrics.answered(Some(Operation::Status), 200, Duration::from_millis(*time));
        }
        metrics.readings().requests()
    }

    #[test]
    fn percentiles_lie_where_the_times_do() {
        assert_eq!(times(&[]).quantile(0.5), None);
        // All within the bucket from 25 to 50 ms.
        let equal = times(&[40; 100]);
        for (part, expected) in [(0.0, 0.025), (0.5, 0.0375), (1.0, 0.05)] {
            let found = equal.quantile(part).unwrap();
            assert!((found - expected).abs() < 1e-9, "{part}: {found}");
        }
        // 98 of 100 are fast, two take long.
        let mut mixed = vec![1; 98];
        mixed.extend([2_000, 2_000]);
        let mixed = times(&mixed);
        assert!(mixed.quantile(0.5).unwrap() <= 0.001);
        assert!(mixed.quantile(0.98).unwrap() <= 0.001);
        assert!((1.0..=2.5).contains(&mixed.quantile(0.99).unwrap()));
        // Beyond the last bound.
        assert_eq!(times(&[60_000]).quantile(0.99), Some(15.0));
    }

    #[test]
    fn a_percentile_never_falls_as_its_part_grows() {
        let spread = times(&[0, 1, 2, 3, 7, 30, 30, 200, 900, 20_000]);
        let found: Vec<_> =
            (0..=100).map(|part| spread.quantile(f64::from(part) / 100.0).unwrap()).collect();
        assert!(found.is_sorted(), "{found:?}");
    }

    #[test]
    fn what_came_between_two_readings_is_their_difference() {
        let metrics = Metrics::new();
        let took = Duration::from_millis(3);
        metrics.answered(Some(Operation::Status), 200, took);
        let before = metrics.readings();
        for status in [200, 403, 404, 502] {
            metrics.answered(Some(Operation::Ready), status, took);
        }
        metrics.answered(None, 404, took);
        metrics.store_call(StoreOperation::Read, took, None);
        metrics.store_call(StoreOperation::List, took, None);
        let after = metrics.readings();
        let of = |operation: Operation| {
            let [after, before] =
                [&after, &before].map(|readings| readings.by_api[operation.index()]);
            after.since(&before).count()
        };
        assert_eq!((of(Operation::Ready), of(Operation::Status)), (4, 0));
        assert_eq!(after.requests().since(&before.requests()).count(), 4);
        assert_eq!(after.store_calls.count(), 2);
        assert_eq!(after.answered(|status| status == 404), 2);
        assert_eq!(after.answered(|status| status >= 500), 1);
        assert_eq!(after.answered(|_| true) - before.answered(|_| true), 5);
    }
}
