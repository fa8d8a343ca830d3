//! Durations by the buckets in which Prometheus counts them.

/// The most buckets of a histogram that are kept. A key server has 18.
const MAX_BUCKETS: usize = 64;

/// How many requests took at most so long, for some bounds.
#[derive(Clone, Debug, Default)]
pub(super) struct Histogram {
    /// Upper bound in seconds, the infinite one included, and the number of requests up to it; in
    /// the order of their bounds.
    buckets: Vec<(f64, f64)>,
}

/// A time that a part of all requests did not exceed, in seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Percentile {
    /// About this: within its bucket it is interpolated, as Prometheus does.
    At(f64),
    /// More than this, the largest bound that there is.
    Above(f64),
}

impl Histogram {
    /// Adds requests to a bucket. A bound that is no number, and any beyond the most buckets, is left
    /// out.
    pub(super) fn add(&mut self, bound: f64, count: f64) {
        if bound.is_nan() {
            return;
        }
        match self.buckets.binary_search_by(|(own, _)| own.total_cmp(&bound)) {
            Ok(at) => self.buckets[at].1 += count,
            Err(at) if self.buckets.len() < MAX_BUCKETS => self.buckets.insert(at, (bound, count)),
            Err(_) => {}
        }
    }

    /// Adds all requests of another one.
    pub(super) fn merge(&mut self, other: &Self) {
        for (bound, count) in &other.buckets {
            self.add(*bound, *count);
        }
    }

    /// The number of all requests.
    pub(super) fn count(&self) -> f64 {
        self.buckets.iter().map(|(_, count)| *count).fold(0.0, f64::max)
    }

    /// The requests that an earlier one does not have.
    pub(super) fn since(&self, before: &Self) -> Self {
        let had = |bound: f64| {
            let at = before.buckets.binary_search_by(|(own, _)| own.total_cmp(&bound));
            at.map_or(0.0, |at| before.buckets[at].1)
        };
        let more = |&(bound, count): &(f64, f64)| (bound, (count - had(bound)).max(0.0));
        Self { buckets: self.buckets.iter().map(more).collect() }
    }

    /// The time that this part of the requests, such as 0.99, did not exceed. `None` if there are
    /// none.
    pub(super) fn percentile(&self, part: f64) -> Option<Percentile> {
        let wanted = match self.count() {
            count if count > 0.0 => count * part,
            _ => return None,
        };
        let (mut lower, mut below) = (0.0, 0.0);
        for &(bound, count) in &self.buckets {
            if count >= wanted {
                if bound.is_infinite() {
                    break;
                }
                let within = count - below;
                let share = if within > 0.0 { (wanted - below) / within } else { 1.0 };
                return Some(Percentile::At(lower + (bound - lower) * share));
            }
            // A server may print bounds below 0, and counts that fall.
            lower = bound.max(0.0);
            below = count.max(below);
        }
        Some(Percentile::Above(lower))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(buckets: &[(f64, f64)]) -> Histogram {
        let mut histogram = Histogram::default();
        for (bound, count) in buckets {
            histogram.add(*bound, *count);
        }
        histogram
    }

    #[test]
    fn percentiles_are_those_of_prometheus() {
        let inf = f64::INFINITY;
        // As histogram_quantile() computes them.
        let some = of(&[(0.1, 10.0), (0.2, 30.0), (0.5, 38.0), (inf, 40.0)]);
        let at = |part| some.percentile(part).unwrap();
        assert_eq!(at(0.25), Percentile::At(0.1));
        assert_eq!(at(0.5), Percentile::At(0.15000000000000002));
        assert_eq!(at(0.95), Percentile::At(0.5));
        assert_eq!(at(0.99), Percentile::Above(0.5));
        assert_eq!(of(&[]).percentile(0.5), None);
        assert_eq!(of(&[(0.1, 0.0), (inf, 0.0)]).percentile(0.5), None);
        assert_eq!(of(&[(inf, 3.0)]).percentile(0.5), Some(Percentile::Above(0.0)));
    }

    #[test]
    fn only_what_came_since_counts() {
        let before = of(&[(0.1, 10.0), (0.2, 10.0)]);
        let after = of(&[(0.1, 10.0), (0.2, 14.0), (0.3, 15.0)]);
        let since = after.since(&before);
        assert_eq!(since.buckets, [(0.1, 0.0), (0.2, 4.0), (0.3, 15.0)]);
        // A server that counts from 0 again.
        assert_eq!(before.since(&after).count(), 0.0);
        let mut sum = before.clone();
        sum.merge(&after);
        assert_eq!(sum.buckets, [(0.1, 20.0), (0.2, 24.0), (0.3, 15.0)]);
    }

    #[test]
    fn buckets_are_limited() {
        let mut many = Histogram::default();
        for bound in 0..10_000 {
            many.add(f64::from(bound), 1.0);
        }
        many.add(f64::NAN, 1.0);
        assert_eq!(many.buckets.len(), MAX_BUCKETS);
    }

    proptest! {
        #[test]
        fn any_buckets_have_percentiles_within_their_bounds(
            buckets: Vec<(f64, f64)>, part in 0.0..1.0f64
        ) {
            let largest = buckets.iter().map(|(bound, _)| *bound).fold(0.0, f64::max);
            if let Some(Percentile::At(time)) = of(&buckets).percentile(part) {
                prop_assert!(time <= largest || time.is_nan(), "{time}");
            }
        }
    }
}
