//! What the page remembers: figures of the last five minutes, one a second, and the last outage of
//! the key store. It takes about 70 KiB, whatever the server is asked.

use std::collections::VecDeque;
use std::time::Duration;

use kes_api::{Operation, Timestamp};
use kes_keystore::State;
use tokio::time::Instant;

use crate::observe::metrics::{Latency, Readings};

/// How many points are kept, one a second.
pub(super) const POINTS: usize = 300;

/// The figures that have a chart. Those of the operations follow them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Series {
    /// Answered requests a second.
    Requests,
    /// Those answered with 3xx or 4xx.
    Refused,
    /// Those answered with 5xx.
    Failed,
    /// The time that half of the requests of a second do not exceed, in seconds.
    Median,
    /// The same of 99 of 100.
    Slow,
    /// Requests a second for keys in memory.
    Hits,
    /// Requests a second for keys that have to be read.
    Misses,
    /// Calls to the key store a second.
    StoreCalls,
    /// Open connections.
    Connections,
    /// Requests of one operation a second.
    Of(Operation),
}

/// How many figures a point has.
const WIDTH: usize = Series::FIRST_OPERATION + Operation::COUNT;

/// The figures of one second. What has no value, such as a latency without requests, is not a number.
type Point = [f32; WIDTH];

/// Readings that follow closer than this are left out: a rate of a moment would mean nothing. A reload
/// begins to read anew.
const CLOSEST: Duration = Duration::from_millis(200);

/// The latency of each operation and the number of answers over the last minute are those between now
/// and the oldest of this many readings ...
const CHECKPOINTS: usize = 6;

/// ... which lie this far apart.
const BETWEEN_CHECKPOINTS: Duration = Duration::from_secs(10);

/// A time in which the key store was not available.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Outage {
    pub(super) since: Timestamp,
    /// `None` while it lasts.
    pub(super) until: Option<Timestamp>,
    /// Whether it gave no answer; otherwise it answered and refused to serve.
    pub(super) is_unreachable: bool,
}

/// The figures of the past.
pub(super) struct History {
    /// The oldest first.
    points: VecDeque<Point>,
    /// How many there were, with those that are forgotten.
    number: u64,
    last: Option<(Instant, Readings)>,
    /// The oldest first.
    checkpoints: VecDeque<(Instant, Readings)>,
    outage: Option<Outage>,
    /// When the page began to look.
    pub(super) began: Timestamp,
}

impl Series {
    const FIRST_OPERATION: usize = 9;

    const fn index(self) -> usize {
        match self {
            Self::Requests => 0,
            Self::Refused => 1,
            Self::Failed => 2,
            Self::Median => 3,
            Self::Slow => 4,
            Self::Hits => 5,
            Self::Misses => 6,
            Self::StoreCalls => 7,
            Self::Connections => 8,
            Self::Of(operation) => Self::FIRST_OPERATION + operation.index(),
        }
    }
}

impl History {
    pub(super) fn new() -> Self {
        Self {
            points: VecDeque::with_capacity(POINTS),
            number: 0,
            last: None,
            checkpoints: VecDeque::with_capacity(CHECKPOINTS),
            outage: None,
            began: Timestamp::now(),
        }
    }

    /// Takes the readings of a moment. The first ones only begin.
    pub(super) fn add(&mut self, now: Instant, time: Timestamp, readings: Readings, state: State) {
        self.note_state(time, state);
        if self.last.as_ref().is_some_and(|(then, _)| now - *then < CLOSEST) {
            return;
        }
        if let Some((then, before)) = &self.last {
            if self.points.len() >= POINTS {
                self.points.pop_front();
            }
            self.points.push_back(point(before, &readings, now - *then));
            self.number += 1;
        }
        let is_due = |(then, _): &(Instant, Readings)| now - *then >= BETWEEN_CHECKPOINTS;
        if self.checkpoints.back().is_none_or(is_due) {
            if self.checkpoints.len() >= CHECKPOINTS {
                self.checkpoints.pop_front();
            }
            self.checkpoints.push_back((now, readings.clone()));
        }
        self.last = Some((now, readings));
    }

    fn note_state(&mut self, time: Timestamp, state: State) {
        let ongoing = self.outage.as_mut().filter(|outage| outage.until.is_none());
        match (state, ongoing) {
            (State::Reachable { .. }, Some(outage)) => outage.until = Some(time),
            (State::Unreachable | State::Unavailable, None) => {
                let is_unreachable = state == State::Unreachable;
                self.outage = Some(Outage { since: time, until: None, is_unreachable });
            }
            _ => {}
        }
    }

    /// How many points there were since the beginning.
    pub(super) const fn number(&self) -> u64 {
        self.number
    }

    /// A series, the oldest value first.
    pub(super) fn values(&self, series: Series) -> impl Iterator<Item = f32> + '_ {
        let index = series.index();
        self.points.iter().map(move |point| point.get(index).copied().unwrap_or(f32::NAN))
    }

    /// The mean of a series over its last seconds; what has no value does not count.
    pub(super) fn mean(&self, series: Series, seconds: usize) -> f64 {
        let skipped = self.points.len().saturating_sub(seconds);
        let (mut sum, mut count) = (0.0, 0.0);
        for value in self.values(series).skip(skipped).filter(|value| !value.is_nan()) {
            sum += f64::from(value);
            count += 1.0;
        }
        if count > 0.0 { sum / count } else { 0.0 }
    }

    /// The last readings.
    pub(super) fn last(&self) -> Option<&Readings> {
        self.last.as_ref().map(|(_, readings)| readings)
    }

    /// Those of a minute ago, or the oldest that there are.
    pub(super) fn a_minute_ago(&self) -> Option<&Readings> {
        self.checkpoints.front().map(|(_, readings)| readings)
    }

    /// The times of the requests of the last minute: of one operation, or of all.
    pub(super) fn latency(&self, operation: Option<Operation>) -> Latency {
        let of = |readings: &Readings| match operation {
            Some(operation) => readings.by_api.get(operation.index()).copied().unwrap_or_default(),
            None => readings.requests(),
        };
        match (self.last(), self.a_minute_ago()) {
            (Some(last), Some(before)) => of(last).since(&of(before)),
            _ => Latency::default(),
        }
    }

    /// The last outage of the key store that was seen.
    pub(super) const fn outage(&self) -> Option<&Outage> {
        self.outage.as_ref()
    }
}

/// The figures between two readings.
fn point(before: &Readings, now: &Readings, between: Duration) -> Point {
    let seconds = between.as_secs_f64().max(0.001);
    let rate = |before: u64, now: u64| single(now.saturating_sub(before) as f64 / seconds);
    let answered =
        |is_wanted: fn(u16) -> bool| rate(before.answered(is_wanted), now.answered(is_wanted));
    let times = now.requests().since(&before.requests());
    let quantile = |part| times.quantile(part).map_or(f32::NAN, single);
    let mut point = [f32::NAN; WIDTH];
    let mut set = |series: Series, value: f32| {
        if let Some(place) = point.get_mut(series.index()) {
            *place = value;
        }
    };
    set(Series::Requests, answered(|_| true));
    set(Series::Refused, answered(|status| (300..500).contains(&status)));
    set(Series::Failed, answered(|status| status >= 500));
    set(Series::Median, quantile(0.5));
    set(Series::Slow, quantile(0.99));
    set(Series::Hits, rate(before.cache_hits, now.cache_hits));
    set(Series::Misses, rate(before.cache_misses, now.cache_misses));
    set(Series::StoreCalls, rate(before.store_calls.count(), now.store_calls.count()));
    set(Series::Connections, single(now.connections as f64));
    for route in &kes_api::route::ROUTES {
        let index = route.operation.index();
        if let (Some(before), Some(now)) = (before.by_api.get(index), now.by_api.get(index)) {
            set(Series::Of(route.operation), rate(before.count(), now.count()));
        }
    }
    point
}

#[expect(clippy::cast_possible_truncation, reason = "a chart has fewer digits")]
const fn single(value: f64) -> f32 {
    value as f32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::metrics::Metrics;

    const WELL: State = State::Reachable { latency: Duration::ZERO };

    fn at(second: i64) -> Timestamp {
        Timestamp::from_unix(second, 0).unwrap()
    }

    fn begin() -> (Instant, Metrics, History) {
        (Instant::now(), Metrics::new(), History::new())
    }

    #[test]
    fn a_series_has_the_rates_of_the_last_five_minutes_and_no_more() {
        let (start, metrics, mut history) = begin();
        for second in 0..400_u32 {
            for _ in 0..second {
                metrics.answered(Some(Operation::Ready), 200, Duration::from_millis(1));
            }
            let now = start + Duration::from_secs(second.into());
            history.add(now, at(second.into()), metrics.readings(), WELL);
        }
        let expected: Vec<f32> = (100..400_u16).map(f32::from).collect();
        for series in [Series::Requests, Series::Of(Operation::Ready)] {
            assert_eq!(history.values(series).collect::<Vec<_>>(), expected, "{series:?}");
        }
        assert!(history.values(Series::Of(Operation::Status)).all(|value| value == 0.0));
        assert!((history.mean(Series::Requests, 10) - 394.5).abs() < 1e-6);
        // Of the last minute, give or take the distance of two checkpoints.
        let recent = history.latency(Some(Operation::Ready)).count();
        let within = |seconds: u64| (400 - seconds..400).sum::<u64>();
        assert!((within(50)..=within(60)).contains(&recent), "{recent}");
        assert_eq!(history.latency(None).count(), recent);
    }

    #[test]
    fn a_second_that_takes_longer_is_no_peak() {
        let (start, metrics, mut history) = begin();
        history.add(start, at(0), metrics.readings(), WELL);
        for _ in 0..100 {
            metrics.answered(None, 404, Duration::ZERO);
        }
        history.add(start + Duration::from_secs(10), at(10), metrics.readings(), WELL);
        assert_eq!(history.values(Series::Refused).collect::<Vec<_>>(), [10.0]);
        assert_eq!(history.values(Series::Failed).collect::<Vec<_>>(), [0.0]);
        // What follows at once counts with the next second.
        metrics.answered(None, 404, Duration::ZERO);
        let soon = start + Duration::from_millis(10_001);
        history.add(soon, at(10), metrics.readings(), WELL);
        assert_eq!(history.number(), 1);
        history.add(start + Duration::from_secs(11), at(11), metrics.readings(), WELL);
        assert_eq!(history.values(Series::Refused).collect::<Vec<_>>(), [10.0, 1.0]);
        // Nothing has a time: there is none to show.
        assert!(history.values(Series::Slow).all(f32::is_nan));
        assert_eq!(history.mean(Series::Slow, 10), 0.0);
    }

    #[test]
    fn the_last_outage_is_remembered_and_the_next_takes_its_place() {
        let (start, metrics, mut history) = begin();
        let mut add = |second: i64, state| {
            history.add(start, at(second), metrics.readings(), state);
            history.outage().cloned()
        };
        assert_eq!(add(1, WELL), None);
        let away =
            |since, until, is_unreachable| Some(Outage { since: at(since), until, is_unreachable });
        assert_eq!(add(2, State::Unreachable), away(2, None, true));
        assert_eq!(add(3, State::Unavailable), away(2, None, true), "it is the same one");
        assert_eq!(add(5, WELL), away(2, Some(at(5)), true));
        assert_eq!(add(6, WELL), away(2, Some(at(5)), true));
        assert_eq!(add(9, State::Unavailable), away(9, None, false));
    }
}
