//! Load on a schedule that does not wait for the server: a request is due when it is due, and its
//! latency counts from then on, also if the load itself was late with it or the server did not
//! take it yet. Nothing that the server holds up is left out.
//!
//! One thread that never sleeps does it all. How much of its time it was at work tells how far
//! it is from being the bottleneck itself.

use std::time::{Duration, Instant};

use crate::wire::{Connection, Request};

/// When requests come.
#[derive(Clone, Copy)]
pub(crate) enum Arrivals {
    /// So many a second, each independent of all others: what many clients do together.
    Open(f64),
    /// As soon as others are answered: so many at once.
    Closed(usize),
}

/// Requests of one kind, over connections of their own.
pub(crate) struct Flow {
    pub(crate) connections: Vec<Connection>,
    pub(crate) arrivals: Arrivals,
    pub(crate) request: Box<dyn FnMut() -> Request>,
}

/// What became of them.
pub(crate) struct Outcome {
    /// Requests that were due.
    pub(crate) due: usize,
    /// Of them answered before the end.
    pub(crate) answered: usize,
    /// From due to answered, sorted; also of those that were answered after the end.
    pub(crate) latencies: Vec<Duration>,
}

/// What became of all.
pub(crate) struct Run {
    pub(crate) outcomes: Vec<Outcome>,
    /// The share of its time that the load was at work.
    pub(crate) busy: f64,
    /// How late a request was sent that was due, at the 99th percentile.
    pub(crate) late: Duration,
    /// From the start until all was answered.
    pub(crate) elapsed: Duration,
}

/// How long answers are waited for after the end: much longer than a server takes that was asked
/// a little more than it can do.
const PATIENCE: Duration = Duration::from_secs(10);

/// Runs flows side by side for a while.
pub(crate) async fn run(flows: &mut [&mut Flow], time: Duration) -> Run {
    run_beside(flows, time, |_| {}).await
}

/// Runs flows side by side for a while, and calls something again and again with the time since
/// the start. It must not take long.
pub(crate) async fn run_beside(
    flows: &mut [&mut Flow],
    time: Duration,
    each: impl FnMut(Duration),
) -> Run {
    let run = run_alone(flows, time, each);
    // Until here nothing else had its turn, Ctrl-C for one.
    tokio::task::yield_now().await;
    run
}

fn run_alone(flows: &mut [&mut Flow], time: Duration, mut each: impl FnMut(Duration)) -> Run {
    let start = Instant::now();
    let mut loads: Vec<Load> = flows.iter().map(|_| Load::new()).collect();
    let mut late = Vec::new();
    let (mut busy, mut now) = (Duration::ZERO, Duration::ZERO);
    let mut at_end = None;
    loop {
        let mut worked = false;
        let mut pending = 0;
        for (flow, load) in flows.iter_mut().zip(&mut loads) {
            if now < time {
                worked |= load.issue(flow, now, &mut late);
            }
            for connection in &mut flow.connections {
                worked |= connection.send();
                if connection.pending() > 0 {
                    worked |= connection.receive(|mark| {
                        let due = Duration::from_nanos(mark);
                        load.latencies.push(start.elapsed().saturating_sub(due));
                    });
                }
                pending += connection.pending();
            }
        }
        each(now);
        let before = now;
        now = start.elapsed();
        if now < time {
            busy += if worked { now - before } else { Duration::ZERO };
            continue;
        }
        at_end.get_or_insert_with(|| loads.iter().map(|l| l.latencies.len()).collect::<Vec<_>>());
        if pending == 0 {
            break;
        }
        assert!(now < time + PATIENCE, "{pending} requests are not answered");
    }
    late.sort_unstable();
    let outcome = |(mut load, answered): (Load, usize)| {
        load.latencies.sort_unstable();
        Outcome { due: load.due, answered, latencies: load.latencies }
    };
    Run {
        outcomes: loads.into_iter().zip(at_end.unwrap()).map(outcome).collect(),
        busy: busy.as_secs_f64() / time.as_secs_f64(),
        late: at(&late, 0.99),
        elapsed: now,
    }
}

/// A quantile of what is sorted.
pub(crate) fn at(sorted: &[Duration], quantile: f64) -> Duration {
    let last = sorted.len().saturating_sub(1) as f64;
    #[allow(clippy::cast_possible_truncation, reason = "the quantile is at most 1")]
    #[allow(clippy::cast_sign_loss, reason = "the quantile is at least 0")]
    let index = (last * quantile).round() as usize;
    sorted.get(index).copied().unwrap_or_default()
}

/// What a flow has come to.
struct Load {
    due: usize,
    latencies: Vec<Duration>,
    /// When the next request is due, if requests have a schedule.
    next: Duration,
    random: Random,
}

impl Load {
    fn new() -> Self {
        // The same schedule in each run, and for each server.
        Self { due: 0, latencies: Vec::new(), next: Duration::ZERO, random: Random(1) }
    }

    /// Sends what is due. Whether anything was.
    fn issue(&mut self, flow: &mut Flow, now: Duration, late: &mut Vec<Duration>) -> bool {
        let before = self.due;
        match flow.arrivals {
            Arrivals::Open(rate) => {
                while self.next <= now {
                    late.push(now - self.next);
                    self.submit(flow, self.next);
                    self.next += Duration::from_secs_f64(self.random.exponential() / rate);
                }
            }
            Arrivals::Closed(at_once) => {
                let pending: usize = flow.connections.iter().map(Connection::pending).sum();
                for _ in pending..at_once {
                    self.submit(flow, now);
                }
            }
        }
        self.due > before
    }

    fn submit(&mut self, flow: &mut Flow, due: Duration) {
        let connection = self.due % flow.connections.len();
        let mark = u64::try_from(due.as_nanos()).unwrap();
        flow.connections[connection].submit((flow.request)(), mark);
        self.due += 1;
    }
}

/// Numbers that follow no pattern, the same each time (SplitMix64).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// From 0 until before `end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).unwrap()
    }

    /// Of mean 1.
    fn exponential(&mut self) -> f64 {
        let uniform = ((self.next() >> 11) as f64 + 0.5) / (1_u64 << 53) as f64;
        -uniform.ln()
    }
}
