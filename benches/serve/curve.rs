//! Latency against load, from next to nothing until a server can do no more.
//!
//! First each server is asked as fast as it answers: that is what it can do. Then requests come on
//! a schedule, at shares of that (see `open_loop`).

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use serde_json::{Value, json};

use crate::cpu;
use crate::open_loop::{self, Arrivals, Flow, at};
use crate::rows::median;
use crate::servers::{Servers, Subject};
use crate::setup::{Setup, key_name};
use crate::wire::{Connection, Request};

/// Connections that the requests are spread over.
const CONNECTIONS: usize = 8;

/// Requests at once when a server is asked as fast as it answers.
const AT_ONCE: usize = 256;

/// Shares of what a server can do.
const SHARES: [f64; 15] =
    [0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 1.0, 1.05];

/// How a server is measured.
#[derive(Clone, Copy)]
pub(crate) struct Effort {
    /// Rounds that a figure is the median of.
    pub(crate) rounds: usize,
    /// How long one of them takes.
    pub(crate) time: Duration,
}

/// So long a server is loaded in the same way before.
const WARM: Duration = Duration::from_millis(150);

/// A server under this load.
pub(crate) struct Target<'a> {
    pub(crate) subject: &'a Subject,
    pub(crate) flow: Flow,
}

/// What one load came to.
#[derive(Clone, Copy)]
struct Point {
    offered: f64,
    reached: f64,
    /// µs
    p50: f64,
    p99: f64,
    p999: f64,
    /// Shares of a core.
    server: f64,
    load: f64,
    /// How late the load was itself, at the 99th percentile, µs.
    late: f64,
}

impl<'a> Target<'a> {
    pub(crate) fn new(subject: &'a Subject, config: &Arc<ClientConfig>) -> Self {
        let open = || Connection::open(&subject.address, config);
        let request = Request {
            method: "PUT",
            path: format!("/v1/key/generate/{}", key_name(0)),
            body: Rc::from(&br#"{"context":"YnVja2V0L29iamVjdA=="}"#[..]),
            repeats: true,
        };
        let flow = Flow {
            connections: (0..CONNECTIONS).map(|_| open()).collect(),
            arrivals: Arrivals::Closed(AT_ONCE),
            request: Box::new(move || request.clone()),
        };
        Self { subject, flow }
    }

    /// What it can do, a second.
    pub(crate) async fn saturation(&mut self, effort: Effort) -> f64 {
        self.flow.arrivals = Arrivals::Closed(AT_ONCE);
        let mut rates = Vec::new();
        for _ in 0..effort.rounds {
            rates.push(self.measure(effort.time).await.reached);
        }
        median(&mut rates)
    }

    async fn measure(&mut self, time: Duration) -> Point {
        open_loop::run(&mut [&mut self.flow], WARM).await;
        let before = cpu::time_ns(self.subject.pid);
        let run = open_loop::run(&mut [&mut self.flow], time).await;
        let spent = Duration::from_nanos(cpu::time_ns(self.subject.pid) - before);
        let outcome = &run.outcomes[0];
        let a_second = |count: usize| count as f64 / time.as_secs_f64();
        let quantile = |quantile| us(at(&outcome.latencies, quantile));
        Point {
            offered: a_second(outcome.due),
            reached: a_second(outcome.answered),
            p50: quantile(0.5),
            p99: quantile(0.99),
            p999: quantile(0.999),
            server: spent.as_secs_f64() / run.elapsed.as_secs_f64(),
            load: run.busy,
            late: us(run.late),
        }
    }
}

/// Measures the curves of all servers and prints them, and puts them into a file for the plot if
/// they are to be recorded.
pub(crate) async fn run(record: bool) {
    let effort = if crate::is_brief() {
        Effort { rounds: 1, time: Duration::from_millis(300) }
    } else {
        Effort { rounds: 5, time: Duration::from_millis(800) }
    };
    let servers = Servers::start(&Setup::default());
    let config = servers.client("h2");
    let mut targets: Vec<_> =
        servers.subjects.iter().map(|subject| Target::new(subject, &config)).collect();
    let mut most = Vec::new();
    for target in &mut targets {
        most.push(target.saturation(effort).await);
    }
    let mut curves: Vec<Vec<Point>> = vec![Vec::new(); targets.len()];
    for share in SHARES {
        let mut rounds: Vec<Vec<Point>> = vec![Vec::new(); targets.len()];
        for _ in 0..effort.rounds {
            for ((target, most), rounds) in targets.iter_mut().zip(&most).zip(&mut rounds) {
                target.flow.arrivals = Arrivals::Open(share * most);
                rounds.push(target.measure(effort.time).await);
            }
        }
        for (curve, rounds) in curves.iter_mut().zip(&rounds) {
            curve.push(Point::median(rounds));
        }
    }
    let names = servers.subjects.iter().map(|subject| subject.name);
    let curves: Vec<_> = names.zip(most).zip(curves).collect();
    for ((name, most), points) in &curves {
        println!("{name}: {most:.0} requests/s as fast as it answers");
        print(points);
    }
    if record {
        let servers = curves.iter().map(|((name, most), points)| {
            let points: Vec<Value> = points.iter().map(Point::json).collect();
            json!({ "server": name, "saturation": most.round(), "points": points })
        });
        record_as(
            "latency.json",
            &json!({
                "what": "generate, h2, open loop, 8 connections; rates a second, latencies in µs, \
                         busy as shares of a core",
                "machine": cpu::model(),
                "servers": servers.collect::<Vec<_>>(),
            }),
        );
    }
}

fn print(points: &[Point]) {
    println!(
        "{:>10} {:>10} {:>10} {:>10} {:>10} {:>8} {:>8} {:>10}",
        "offered/s", "reached/s", "p50", "p99", "p99.9", "server", "load", "load late"
    );
    for point in points {
        println!(
            "{:>10.0} {:>10.0} {:>7.0} µs {:>7.0} µs {:>7.0} µs {:>6.0} % {:>6.0} % {:>7.0} µs",
            point.offered,
            point.reached,
            point.p50,
            point.p99,
            point.p999,
            point.server * 100.0,
            point.load * 100.0,
            point.late,
        );
    }
    println!();
}

/// Puts figures beside the script that draws them.
pub(crate) fn record_as(name: &str, figures: &Value) {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/plot");
    let text = serde_json::to_string_pretty(figures).unwrap() + "\n";
    std::fs::write(format!("{folder}/{name}"), text).unwrap();
}

pub(crate) fn us(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

impl Point {
    /// Each figure for itself.
    fn median(rounds: &[Self]) -> Self {
        let of =
            |figure: fn(&Self) -> f64| median(&mut rounds.iter().map(figure).collect::<Vec<f64>>());
        Self {
            offered: of(|point| point.offered),
            reached: of(|point| point.reached),
            p50: of(|point| point.p50),
            p99: of(|point| point.p99),
            p999: of(|point| point.p999),
            server: of(|point| point.server),
            load: of(|point| point.load),
            late: of(|point| point.late),
        }
    }

    fn json(&self) -> Value {
        let tenths = |figure: f64| (figure * 10.0).round() / 10.0;
        let percent = |share: f64| (share * 100.0).round() / 100.0;
        json!({
            "offered": self.offered.round(),
            "reached": self.reached.round(),
            "p50": tenths(self.p50),
            "p99": tenths(self.p99),
            "p999": tenths(self.p999),
            "server_busy": percent(self.server),
            "load_busy": percent(self.load),
            "load_late_p99": tenths(self.late),
        })
    }
}
