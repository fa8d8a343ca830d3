//! The slowest requests at half load, alone and with something beside them
//! that must not hold them up: what others do to them is the quotient of two runs, in turn for
//! many short rounds, with the same schedule. A quantile is the median of the rounds': a machine
//! that stops for a millisecond now and then, or does something else on this core, spoils the
//! rounds that it hits and not all of them.
//!
//! Half load is said in two ways: half of the core's time, and half of what a server does when it
//! is asked as fast as it answers. The second is nearly all of its time: requests that come one
//! by one are not read and answered many at once.
//!
//! The server has one core: what is done beside takes time from it in any case. Whether the
//! requests wait until it is done is another matter.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use base64_simd::STANDARD;
use rustix::process::{Pid, Signal, kill_process};
use rustls::ClientConfig;

use crate::cpu;
use crate::curve::{Effort, Target, us};
use crate::open_loop::{self, Arrivals, Flow, at};
use crate::rows;
use crate::servers::{Servers, Subject};
use crate::setup::{Setup, key_name};
use crate::wire::{Connection, Request};

/// What is done beside.
#[derive(Clone, Copy)]
enum Beside {
    /// The configuration is read again: SIGHUP, so often.
    Reload(Duration),
    /// Keys that are not in memory are asked for: so many a second, each once.
    Cold(f64),
    /// A client follows the audit log, and reads nothing of it.
    Reader,
    /// Bodies of nearly 1 MB are encrypted: so many a second.
    Large(f64),
}

/// Stored keys: no one is read twice by all rounds together.
const KEYS: usize = 20_000;

/// With a body of less than the limit of 1 MiB.
const PLAINTEXT: usize = 700_000;

/// How servers are loaded that have nothing else to do.
const ALONE: Rounds = Rounds { count: 75, time: Duration::from_millis(80) };

/// How ours is with something beside.
const BESIDE: Rounds = Rounds { count: 9, time: Duration::from_millis(500) };

struct Rounds {
    count: usize,
    /// How long each is.
    time: Duration,
}

/// Measures and prints.
pub(crate) async fn run() {
    let small = Servers::start(&Setup { keys: KEYS, ..Setup::default() });
    println!("HTTP/2, 8 connections, medians of {} rounds of {:?}:", ALONE.count, ALONE.time);
    println!(
        "{:6} {:>10} {:>6} {:>10} {:>10} {:>10} {:>10}",
        "", "requests/s", "core", "p50", "p99", "p99.9", "p99.9/p50"
    );
    let mut rate = 0.0;
    for subject in &small.subjects {
        let mut target = Target::new(subject, &small.client("h2"));
        let effort = Effort { rounds: 3, time: Duration::from_millis(750) };
        let most = target.saturation(effort).await;
        let half = half_busy(&mut target, most).await;
        for rate in [half, most / 2.0] {
            alone(&mut target, rate).await;
        }
        rate = half; // of ours, the last
    }

    println!(
        "\nBeside them, at {rate:.0} requests/s, {} rounds of {:?}:",
        BESIDE.count, BESIDE.time
    );
    println!("{:45} {:>10} {:>10} {:>7}", "", "p99 alone", "p99", "factor");
    let reload = Beside::Reload(BESIDE.time);
    let many = Setup { policies: 1_000, identities: 1_000, ..Setup::default() };
    let many = Servers::start(&many);
    let (ours, other) = (small.ours(), &small.subjects[0]);
    let all = [
        ("SIGHUP twice a second", &small, ours, reload),
        ("the same, 1,000 policies", &many, many.ours(), reload),
        ("500 cold reads a second", &small, ours, Beside::Cold(500.0)),
        ("audit log followed, never read", &small, ours, Beside::Reader),
        ("700 kB encrypted 5 times a second", &small, ours, Beside::Large(5.0)),
        ("the same with the bare server", &small, other, Beside::Large(5.0)),
        ("700 kB encrypted 50 times a second", &small, ours, Beside::Large(50.0)),
        ("the same with the bare server", &small, other, Beside::Large(50.0)),
    ];
    let mut cold = 0;
    for (name, servers, subject, what) in all {
        let config = servers.client("h2");
        let mut target = Target::new(subject, &config);
        target.flow.arrivals = Arrivals::Open(rate);
        beside(&mut target.flow, None, BESIDE.time).await;
        let (mut alone, mut disturbed) = (Vec::new(), Vec::new());
        for _ in 0..BESIDE.count {
            alone.push(beside(&mut target.flow, None, BESIDE.time).await);
            disturbed.push(with(what, subject, &config, &mut target.flow, &mut cold).await);
        }
        let [alone, disturbed] = [alone, disturbed].map(|rounds| median(&rounds, 0.99));
        println!("{name:45} {alone:>7.0} µs {disturbed:>7.0} µs {:>7.2}", disturbed / alone);
    }
}

/// The median of a quantile of rounds, each of them sorted, in µs.
fn median(rounds: &[Vec<Duration>], quantile: f64) -> f64 {
    let mut quantiles: Vec<_> = rounds.iter().map(|round| us(at(round, quantile))).collect();
    rows::median(&mut quantiles)
}

/// How many requests a second take half of the core, for a server that can do `most`.
async fn half_busy(target: &mut Target<'_>, most: f64) -> f64 {
    let mut rate = most / 6.0;
    for _ in 0..2 {
        target.flow.arrivals = Arrivals::Open(rate);
        rate *= 0.5 / busy(target, Duration::from_millis(500)).await.0;
    }
    rate
}

/// The share of its core that a server takes, and the latencies.
async fn busy(target: &mut Target<'_>, time: Duration) -> (f64, Vec<Duration>) {
    let before = cpu::time_ns(target.subject.pid);
    let latencies = beside(&mut target.flow, None, time).await;
    let spent = Duration::from_nanos(cpu::time_ns(target.subject.pid) - before);
    (spent.as_secs_f64() / time.as_secs_f64(), latencies)
}

async fn alone(target: &mut Target<'_>, rate: f64) {
    target.flow.arrivals = Arrivals::Open(rate);
    let (mut rounds, mut cores) = (Vec::new(), Vec::new());
    for _ in 0..ALONE.count {
        let (core, latencies) = busy(target, ALONE.time).await;
        rounds.push(latencies);
        cores.push(core);
    }
    let core = rows::median(&mut cores) * 100.0;
    let [p50, p99, p999] = [0.5, 0.99, 0.999].map(|quantile| median(&rounds, quantile));
    let name = target.subject.name;
    println!(
        "{name:6} {rate:>10.0} {core:>4.0} % {p50:>7.0} µs {p99:>7.0} µs {p999:>7.0} µs {:>10.1}",
        p999 / p50
    );
}

/// Latencies of requests with others beside them.
async fn beside(flow: &mut Flow, other: Option<&mut Flow>, time: Duration) -> Vec<Duration> {
    let mut flows = vec![flow];
    flows.extend(other);
    open_loop::run(&mut flows, time).await.outcomes.swap_remove(0).latencies
}

/// Latencies of requests with something done beside them. `cold` counts the keys that were read.
async fn with(
    what: Beside,
    subject: &Subject,
    config: &Arc<ClientConfig>,
    flow: &mut Flow,
    cold: &mut usize,
) -> Vec<Duration> {
    let open = || Connection::open(&subject.address, config);
    match what {
        Beside::Reload(interval) => {
            let pid = Pid::from_raw(subject.pid.try_into().unwrap()).unwrap();
            let mut next = Duration::ZERO;
            let mut flows = [flow];
            let run = open_loop::run_beside(&mut flows, BESIDE.time, |now| {
                // Not at the very end: that would be in the round that follows.
                if now >= next && now < BESIDE.time {
                    kill_process(pid, Signal::HUP).unwrap();
                    next += interval;
                }
            });
            run.await.outcomes.swap_remove(0).latencies
        }
        Beside::Cold(rate) => {
            let mut next = *cold;
            // More than come: the rate is a mean.
            *cold += 600;
            let mut other = Flow {
                connections: vec![open()],
                arrivals: Arrivals::Open(rate),
                request: Box::new(move || {
                    next += 1;
                    Request::get(format!("/v1/key/describe/{}", key_name(next % KEYS)))
                }),
            };
            beside(flow, Some(&mut other), BESIDE.time).await
        }
        Beside::Reader => {
            let mut reader = open();
            reader.submit(Request::get("/v1/log/audit".to_owned()), 0);
            while reader.send() {}
            beside(flow, None, BESIDE.time).await
        }
        Beside::Large(rate) => {
            let plaintext = STANDARD.encode_to_string(vec![7; PLAINTEXT]);
            let body: Rc<[u8]> = format!(r#"{{"plaintext":"{plaintext}"}}"#).into_bytes().into();
            let path = format!("/v1/key/encrypt/{}", key_name(0));
            let mut other = Flow {
                connections: vec![open()],
                arrivals: Arrivals::Open(rate),
                request: Box::new(move || Request {
                    method: "PUT",
                    path: path.clone(),
                    body: Rc::clone(&body),
                    repeats: true,
                }),
            };
            beside(flow, Some(&mut other), BESIDE.time).await
        }
    }
}
