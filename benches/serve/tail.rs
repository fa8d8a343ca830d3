//! The slowest requests at half of what a server can do, alone and with something beside them
//! that must not hold them up: what others do to them is the quotient of two runs, in turn for
//! many short rounds, with the same schedule. A quantile is the median of the rounds': a machine
//! that stops for some milliseconds now and then, as virtual ones do, spoils the rounds that it
//! hits and not all of them. How much it stops is printed.
//!
//! The server has one core: what is done beside takes time from it in any case. Whether the
//! requests wait until it is done is another matter.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustix::process::{Pid, Signal, kill_process};
use rustls::ClientConfig;

use crate::curve::{Effort, Target, us};
use crate::open_loop::{self, Arrivals, Flow, at};
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

/// Each run is this long.
const TIME: Duration = Duration::from_millis(300);

/// Runs of each kind, in turn.
const ROUNDS: usize = 15;

/// Measures and prints.
pub(crate) async fn run() {
    let small = Servers::start(&Setup { keys: KEYS, ..Setup::default() });
    let (lost, longest) = stops(Duration::from_secs(5));
    println!(
        "This machine, with nothing to do, stopped for {:.2} % of 5 s, at most {:.1} ms at once.\n",
        lost * 100.0,
        us(longest) / 1000.0
    );
    println!("At half load, HTTP/2, 8 connections, median of {ROUNDS} rounds of {TIME:?}:");
    let mut rate = 0.0;
    for subject in &small.subjects {
        let mut target = Target::new(subject, &small.client("h2"));
        let most = target.saturation(Effort { rounds: ROUNDS.min(3), time: TIME }).await;
        rate = most / 2.0;
        target.flow.arrivals = Arrivals::Open(rate);
        let mut rounds = Vec::new();
        for _ in 0..ROUNDS {
            rounds.push(beside(&mut target.flow, None).await);
        }
        let [p50, p99, p999] = [0.5, 0.99, 0.999].map(|quantile| us(median(&rounds, quantile)));
        println!(
            "{:6} {rate:.0} of {most:.0} requests/s: p50 {p50:.0} µs, p99 {p99:.0} µs, \
             p99.9 {p999:.0} µs = {:.1} x p50",
            subject.name,
            p999 / p50
        );
    }

    println!("\nBeside them, at {rate:.0} requests/s:");
    println!("{:45} {:>10} {:>10} {:>7}", "", "p99 alone", "p99", "factor");
    let reload = Beside::Reload(Duration::from_millis(200));
    let many = Setup { policies: 1_000, identities: 1_000, ..Setup::default() };
    let many = Servers::start(&many);
    let (ours, other) = (small.ours(), &small.subjects[0]);
    let rows = [
        ("SIGHUP 5 times a second", &small, ours, reload),
        ("the same, 1,000 policies", &many, many.ours(), reload),
        ("500 cold reads a second", &small, ours, Beside::Cold(500.0)),
        ("audit log followed, never read", &small, ours, Beside::Reader),
        ("700 kB encrypted 5 times a second", &small, ours, Beside::Large(5.0)),
        ("the same with the bare server", &small, other, Beside::Large(5.0)),
        ("700 kB encrypted 50 times a second", &small, ours, Beside::Large(50.0)),
        ("the same with the bare server", &small, other, Beside::Large(50.0)),
    ];
    let mut cold = 0;
    for (name, servers, subject, what) in rows {
        let config = servers.client("h2");
        let mut target = Target::new(subject, &config);
        target.flow.arrivals = Arrivals::Open(rate);
        beside(&mut target.flow, None).await;
        let (mut alone, mut disturbed) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            alone.push(beside(&mut target.flow, None).await);
            disturbed.push(with(what, subject, &config, &mut target.flow, &mut cold).await);
        }
        let [alone, disturbed] = [alone, disturbed].map(|rounds| us(median(&rounds, 0.99)));
        println!("{name:45} {alone:>7.0} µs {disturbed:>7.0} µs {:>7.2}", disturbed / alone);
    }
}

/// The median of a quantile of rounds, each of them sorted.
fn median(rounds: &[Vec<Duration>], quantile: f64) -> Duration {
    let mut quantiles: Vec<_> = rounds.iter().map(|round| at(round, quantile)).collect();
    quantiles.sort_unstable();
    at(&quantiles, 0.5)
}

/// For how much of some time a loop that does nothing else did not run: for more than 100 µs at
/// once, and the longest of it.
fn stops(time: Duration) -> (f64, Duration) {
    let (mut lost, mut longest) = (Duration::ZERO, Duration::ZERO);
    let start = Instant::now();
    let mut before = start;
    while before - start < time {
        let now = Instant::now();
        let gap = now - before;
        before = now;
        if gap > Duration::from_micros(100) {
            lost += gap;
            longest = longest.max(gap);
        }
    }
    (lost.as_secs_f64() / time.as_secs_f64(), longest)
}

/// Latencies of requests with others beside them.
async fn beside(flow: &mut Flow, other: Option<&mut Flow>) -> Vec<Duration> {
    let mut flows = vec![flow];
    flows.extend(other);
    open_loop::run(&mut flows, TIME).await.outcomes.swap_remove(0).latencies
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
            let run = open_loop::run_beside(&mut flows, TIME, |now| {
                if now >= next {
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
                    get(format!("/v1/key/describe/{}", key_name(next % KEYS)))
                }),
            };
            beside(flow, Some(&mut other)).await
        }
        Beside::Reader => {
            let mut reader = open();
            reader.submit(get("/v1/log/audit".to_owned()), 0);
            while reader.send() {}
            beside(flow, None).await
        }
        Beside::Large(rate) => {
            let plaintext = STANDARD.encode(vec![7; PLAINTEXT]);
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
            beside(flow, Some(&mut other)).await
        }
    }
}

fn get(path: String) -> Request {
    Request { method: "GET", path, body: Rc::from([]), repeats: false }
}
