//! What a request costs when a server holds a lot: stored keys, keys in memory, policies,
//! identities, connections. The points of a curve are servers of their own, measured in turn for
//! several rounds.

use std::fs;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use serde_json::{Value, json};

use crate::cpu;
use crate::curve::{record_as, us};
use crate::memory::files;
use crate::open_loop::{self, Arrivals, Flow, Random, at};
use crate::rows::median;
use crate::servers::{Servers, Subject};
use crate::setup::{Setup, key_name};
use crate::wire::{Connection, Request};

/// Requests at once, and the connections that they are spread over.
const AT_ONCE: usize = 64;
const CONNECTIONS: usize = 8;

/// How much is measured.
#[derive(Clone, Copy)]
struct Effort {
    rounds: usize,
    time: Duration,
    /// Of each curve the points up to here.
    most: usize,
}

/// A server that holds so many of something.
struct Point {
    count: usize,
    subject: Subject,
    config: Arc<ClientConfig>,
    flow: Flow,
    /// How many connections do nothing.
    idle: usize,
    /// Of the server, before the load, KiB.
    resident: u64,
    cpu_us: Vec<f64>,
}

/// What a server has in memory.
#[derive(Clone, Copy, Default)]
struct Held {
    /// Keys besides the first.
    keys: usize,
    connections: usize,
}

/// Measures and prints, and puts the figures into a file for the plot if they are to be recorded.
pub(crate) async fn run(record: bool) {
    let effort = if crate::is_brief() {
        Effort { rounds: 1, time: Duration::from_millis(200), most: 10_000 }
    } else {
        Effort { rounds: 7, time: Duration::from_millis(400), most: usize::MAX }
    };
    files(); // as many as the system allows
    let curves = [
        stored(effort).await,
        cached(effort).await,
        policies(effort).await,
        identities(effort).await,
        idle(effort).await,
    ];
    if record {
        let what = "server CPU for each generate, h2, 64 at once over 8 connections, in µs";
        let figures = json!({ "what": what, "machine": cpu::model(), "curves": curves });
        record_as("growth.json", &figures);
    }
}

async fn stored(effort: Effort) -> Value {
    let setup = |keys| Setup { keys, ..Setup::default() };
    let (servers, mut points) = of_setups(&[10, 1_000, 100_000], setup, effort).await;
    let curve = measure("keys in the key store", &mut points, effort).await;
    for (point, servers) in points.iter().zip(&servers) {
        let mut list = Flow {
            connections: vec![Connection::open(&point.subject.address, &servers.client("h2"))],
            arrivals: Arrivals::Closed(1),
            request: Box::new(|| Request::get("/v1/key/list/*".to_owned())),
        };
        let run = open_loop::run(&mut [&mut list], effort.time).await;
        let page = us(at(&run.outcomes[0].latencies, 0.5));
        println!("{:>9} in the list: a page takes {page:.0} µs", point.count);
    }
    println!();
    curve
}

async fn cached(effort: Effort) -> Value {
    let counts = counts(&[1, 1_000, 10_000, 100_000, 1_000_000], effort);
    // None is to go before the end.
    let more = "cache: { expiry: { any: 24h, unused: 24h } }".to_owned();
    let servers = Servers::start(&Setup { more, ..Setup::default() });
    name_keys(&servers.folder().join("keys"), counts.last().copied().unwrap_or_default());
    let mut points = Vec::new();
    for count in counts {
        points.push(point(count, &servers, Held { keys: count - 1, connections: 0 }).await);
    }
    let curve = measure("keys in memory", &mut points, effort).await;
    if let [first, .., last] = &points[..] {
        let each = (last.resident - first.resident) as f64 * 1024.0 / last.count as f64;
        println!("          {each:.0} bytes of memory for each key\n");
    }
    curve
}

async fn policies(effort: Effort) -> Value {
    let setup = |count| Setup { policies: count, identities: count, ..Setup::default() };
    let (_servers, mut points) = of_setups(&[1, 100, 1_000, 10_000], setup, effort).await;
    let curve = measure("policies", &mut points, effort).await;
    println!();
    curve
}

async fn identities(effort: Effort) -> Value {
    let setup = |count| Setup { identities: count, ..Setup::default() };
    let (_servers, mut points) = of_setups(&[1, 1_000, 10_000, 100_000], setup, effort).await;
    let curve = measure("identities", &mut points, effort).await;
    println!();
    curve
}

async fn idle(effort: Effort) -> Value {
    let servers = Servers::start(&Setup::default());
    let mut points = Vec::new();
    for count in counts(&[0, 100, 1_000, 5_000], effort) {
        points.push(point(count, &servers, Held { keys: 0, connections: count }).await);
    }
    let curve = measure("idle connections", &mut points, effort).await;
    println!();
    curve
}

/// Servers of which each holds so many of what is set up.
async fn of_setups(
    all: &[usize],
    setup: impl Fn(usize) -> Setup,
    effort: Effort,
) -> (Vec<Servers>, Vec<Point>) {
    let (mut all_servers, mut points) = (Vec::new(), Vec::new());
    for count in counts(all, effort) {
        let servers = Servers::start(&setup(count));
        points.push(point(count, &servers, Held::default()).await);
        all_servers.push(servers);
    }
    (all_servers, points)
}

fn counts(all: &[usize], effort: Effort) -> Vec<usize> {
    all.iter().copied().filter(|count| *count <= effort.most).collect()
}

/// Starts a server of its own.
async fn point(count: usize, servers: &Servers, held: Held) -> Point {
    let subject = servers.anew(servers.ours());
    let config = servers.client("h2");
    let keys = 1 + held.keys;
    read_keys(&mut Connection::open(&subject.address, &config), keys).await;
    let body: Rc<[u8]> = Rc::from(&br#"{"context":"YnVja2V0L29iamVjdA=="}"#[..]);
    // Any of the keys. Its name is sent in full also where it is the only one, so that requests
    // are the same everywhere.
    let mut random = Random(2);
    let request = move || Request {
        method: "PUT",
        path: format!("/v1/key/generate/{}", key_name(random.below(keys))),
        body: Rc::clone(&body),
        repeats: false,
    };
    let flow = Flow {
        connections: Vec::new(),
        arrivals: Arrivals::Closed(AT_ONCE),
        request: Box::new(request),
    };
    let idle = held.connections;
    Point { count, subject, config, flow, idle, resident: 0, cpu_us: Vec::new() }
}

/// Gives one stored key many names: to a server they are as many keys, and a name takes less time
/// than a file.
fn name_keys(folder: &Path, count: usize) {
    /// Fewer than a file may have in any file system (ext4: 65,000).
    const NAMES: usize = 30_000;
    let path = |index| folder.join(key_name(index));
    for index in 1..count {
        if index % NAMES == 0 {
            fs::copy(path(0), path(index)).unwrap();
        } else {
            fs::hard_link(path(index - index % NAMES), path(index)).unwrap();
        }
    }
}

/// Has a server read the first keys.
async fn read_keys(connection: &mut Connection, count: usize) {
    const AT_ONCE: usize = 128;
    const TURN: usize = 10_000;
    for start in (0..count).step_by(TURN) {
        let mut keys = start..count.min(start + TURN);
        loop {
            while connection.pending() < AT_ONCE {
                let Some(key) = keys.next() else { break };
                connection.submit(Request::get(format!("/v1/key/describe/{}", key_name(key))), 0);
            }
            if connection.pending() == 0 {
                break;
            }
            connection.send();
            connection.receive(|_| {});
        }
        // Until here nothing else had its turn, Ctrl-C for one.
        tokio::task::yield_now().await;
    }
}

/// Measures the points of a curve in turn, and prints them.
async fn measure(name: &str, points: &mut [Point], effort: Effort) -> Value {
    // Not earlier: a server does not keep a connection for long that does not answer its pings.
    let mut idle = Vec::new();
    for point in &mut *points {
        let open = || Connection::open(&point.subject.address, &point.config);
        point.flow.connections = (0..CONNECTIONS).map(|_| open()).collect();
        for _ in 0..point.idle {
            let mut connection = open();
            connection.send();
            idle.push(connection);
        }
        point.resident = cpu::resident_kib(point.subject.pid);
    }
    for round in 0..=effort.rounds {
        for point in &mut *points {
            let before = cpu::time_ns(point.subject.pid);
            let run = open_loop::run(&mut [&mut point.flow], effort.time).await;
            let spent = Duration::from_nanos(cpu::time_ns(point.subject.pid) - before);
            // The first round warms.
            if round > 0 {
                point.cpu_us.push(us(spent) / run.outcomes[0].latencies.len() as f64);
            }
        }
    }
    drop(idle);
    println!("{name}:");
    let mut first = None;
    let mut figures = Vec::new();
    for point in points {
        let cpu_us = median(&mut point.cpu_us);
        let ratio = cpu_us / *first.get_or_insert(cpu_us);
        println!(
            "{:>9} {cpu_us:>7.1} µs a request, x {ratio:.2}; {:.0} MiB, listening after {:.0?}",
            point.count,
            point.resident as f64 / 1024.0,
            point.subject.start.map(|(_, listens)| listens).unwrap_or_default(),
        );
        let cpu_us = (cpu_us * 100.0).round() / 100.0;
        figures.push(json!({ "count": point.count, "cpu_us": cpu_us }));
    }
    json!({ "of": name, "points": figures })
}
