//! Exemplars: for each API and each range of slow requests, the trace of the last one.
//!
//! A client that takes part in a trace says so in the header `traceparent` (W3C Trace Context). Its
//! trace ID is 16 bytes, of which the text shows the hexadecimal digits: nothing else that a client
//! sends gets into an exemplar. A request writes atomics only.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering, fence};
use std::time::{Duration, SystemTime};

use http::HeaderMap;
use kes_api::Operation;

use crate::observe::traceparent::Parent;

/// The upper bounds of the buckets of slow requests, which are those of the histogram from there on.
const BOUNDS: [f64; 8] = [0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0];

/// A request that takes no longer than this has no exemplar: most requests have none, and do not pay
/// for one. It is a bound of the histogram.
const SLOW: Duration = Duration::from_millis(10);

/// The last slow request of each API in each bucket.
pub(super) struct Exemplars(Box<[[Slot; BUCKETS]; Operation::COUNT]>);

/// Those of `BOUNDS`, one to the bound of the histogram that follows, and all above.
const BUCKETS: usize = BOUNDS.len() + 2;

/// The last bound of the histogram.
const LAST: f64 = 15.0;

/// An exemplar that one thread writes while others read: `version` is odd meanwhile. A writer that
/// meets another one leaves it the place.
#[derive(Default)]
struct Slot {
    version: AtomicU64,
    trace: [AtomicU64; 2],
    /// Bits of the seconds that the request took.
    seconds: AtomicU64,
    /// Milliseconds since 1970.
    at: AtomicU64,
}

/// A slow request.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Exemplar {
    trace: u128,
    seconds: f64,
    at: u64,
}

impl Exemplars {
    pub(super) fn new() -> Self {
        Self(Box::new(std::array::from_fn(|_| std::array::from_fn(|_| Slot::default()))))
    }

    /// Keeps the trace of a request that was slow, if its client says that it records one.
    pub(super) fn note(&self, operation: Operation, took: Duration, headers: &HeaderMap) {
        if took <= SLOW {
            return;
        }
        // A trace that is not recorded is none that anybody could look at.
        let Some(Parent { trace, .. }) = Parent::of(headers).filter(|parent| parent.is_sampled)
        else {
            return;
        };
        let seconds = took.as_secs_f64();
        let at = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let at = u64::try_from(at.as_millis()).unwrap_or_default();
        let slots = self.0.get(operation.index());
        if let Some(slot) = slots.and_then(|slots| slots.get(bucket(seconds))) {
            slot.write(Exemplar { trace, seconds, at });
        }
    }

    /// The exemplars of an API: the `le` of the bucket as the histogram writes it, and what follows
    /// its sample.
    pub(super) fn of(&self, operation: Operation) -> impl Iterator<Item = (String, String)> {
        let slots = self.0.get(operation.index()).into_iter().flatten().enumerate();
        slots.filter_map(|(bucket, slot)| {
            let Exemplar { trace, seconds, at } = slot.read()?;
            let le = match BOUNDS.get(bucket) {
                Some(bound) => bound.to_string(),
                None if bucket == BOUNDS.len() => LAST.to_string(),
                None => "+Inf".to_owned(),
            };
            let (whole, millis) = (at / 1000, at % 1000);
            let mut text = String::new();
            let _ = write!(text, " # {{trace_id=\"{trace:032x}\"}} {seconds} {whole}.{millis:03}");
            Some((le, text))
        })
    }
}

/// The place of the first bound that a time does not exceed.
fn bucket(seconds: f64) -> usize {
    let bounds = BOUNDS.iter().chain([&LAST]);
    bounds.take_while(|bound| seconds > **bound).count()
}

impl Slot {
    fn write(&self, exemplar: Exemplar) {
        let version = self.version.load(Ordering::Relaxed);
        let takes = |odd| {
            let (taken, seen) = (Ordering::Acquire, Ordering::Relaxed);
            self.version.compare_exchange(version, odd, taken, seen).is_ok()
        };
        if !version.is_multiple_of(2) || !takes(version.wrapping_add(1)) {
            return;
        }
        // No reader that sees one of the values below misses that they are being written.
        fence(Ordering::Release);
        let Exemplar { trace, seconds, at } = exemplar;
        let [upper, lower] = &self.trace;
        #[expect(clippy::cast_possible_truncation, reason = "each takes its half")]
        {
            upper.store((trace >> 64) as u64, Ordering::Relaxed);
            lower.store(trace as u64, Ordering::Relaxed);
        }
        self.seconds.store(seconds.to_bits(), Ordering::Relaxed);
        self.at.store(at, Ordering::Relaxed);
        self.version.store(version.wrapping_add(2), Ordering::Release);
    }

    /// `None` if there is none, or it is being written.
    fn read(&self) -> Option<Exemplar> {
        let version = self.version.load(Ordering::Acquire);
        let [upper, lower] = self.trace.each_ref().map(|half| half.load(Ordering::Relaxed));
        let seconds = f64::from_bits(self.seconds.load(Ordering::Relaxed));
        let at = self.at.load(Ordering::Relaxed);
        fence(Ordering::Acquire);
        let is_whole = version.is_multiple_of(2) && self.version.load(Ordering::Relaxed) == version;
        let trace = u128::from(upper) << 64 | u128::from(lower);
        (version > 0 && is_whole).then_some(Exemplar { trace, seconds, at })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

    fn headers(traceparent: &str) -> HeaderMap {
        HeaderMap::from_iter([("traceparent".parse().unwrap(), traceparent.parse().unwrap())])
    }

    fn sampled() -> HeaderMap {
        headers(&format!("00-{TRACE}-b7ad6b7169203331-01"))
    }

    #[test]
    fn only_a_slow_request_of_a_recorded_trace_leaves_one() {
        let exemplars = Exemplars::new();
        let op = Operation::GenerateKey;
        exemplars.note(op, SLOW, &sampled());
        for parent in [
            "",
            "00",
            &format!("00-{TRACE}-b7ad6b7169203331-00"),
            &format!("00-{TRACE}-b7ad6b7169203331-01-x"),
            &format!("ff-{TRACE}-b7ad6b7169203331-01"),
            &format!("00-{}-b7ad6b7169203331-01", TRACE.to_uppercase()),
            &format!("00-{TRACE}\"-b7ad6b7169203331-01"),
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-+af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ] {
            exemplars.note(op, Duration::from_secs(1), &headers(parent));
        }
        assert_eq!(exemplars.of(op).count(), 0);

        exemplars.note(op, Duration::from_millis(30), &sampled());
        exemplars.note(
            op,
            Duration::from_secs(20),
            &headers(&format!("01-{TRACE}-b7ad6b7169203331-03-x")),
        );
        assert_eq!(exemplars.of(Operation::DecryptKey).count(), 0);
        let shown: Vec<_> = exemplars.of(op).collect();
        let [(first, text), (last, _)] = &shown[..] else { panic!("{shown:?}") };
        assert_eq!((first.as_str(), last.as_str()), ("0.05", "+Inf"));
        assert!(text.starts_with(&format!(" # {{trace_id=\"{TRACE}\"}} 0.03 ")), "{text}");
    }

    #[test]
    fn each_is_in_the_bucket_that_counts_it() {
        let bounds = super::super::FINE_BUCKETS;
        let slow = bounds.iter().filter(|bound| **bound > SLOW.as_secs_f64());
        assert_eq!(slow.copied().collect::<Vec<_>>(), [&BOUNDS[..], &[LAST]].concat());
        assert!(bounds.contains(&SLOW.as_secs_f64()));
        for (seconds, place) in [(0.011, 0), (0.025, 0), (0.026, 1), (15.0, 8), (15.1, 9)] {
            assert_eq!(bucket(seconds), place, "{seconds}");
        }
    }

    #[test]
    fn a_reader_never_sees_half_of_one() {
        let slot = Slot::default();
        let exemplar = |n: u64| Exemplar {
            trace: u128::from(n) << 64 | u128::from(n),
            seconds: f64::from_bits(n),
            at: n,
        };
        std::thread::scope(|scope| {
            for start in [1, 2] {
                let slot = &slot;
                scope.spawn(move || {
                    for n in (start..100_000).step_by(2) {
                        slot.write(exemplar(n));
                    }
                });
            }
            for _ in 0..100_000 {
                if let Some(read) = slot.read() {
                    assert_eq!(read, exemplar(read.at));
                }
            }
        });
        assert!(slot.read().is_some());
    }
}
