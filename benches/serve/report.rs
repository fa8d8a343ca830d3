//! Measurements, and the table of them.

use std::time::Duration;

use crate::client;
use crate::cpu;
use crate::load::{Done, Load, Work};
use crate::servers::{Servers, Subject};

/// A row of the table: a figure for each server.
pub(crate) struct Row {
    name: &'static str,
    cells: Vec<Cell>,
}

struct Cell {
    subject: &'static str,
    /// CPU time of the server for each request, µs: the median of the rounds.
    cpu_us: f64,
    per_second: f64,
    p50: u32,
    p99: u32,
    p999: u32,
}

/// Loads each server in turn, for several rounds.
pub(crate) async fn measure(servers: &Servers, work: &Work, rounds: usize, brief: bool) -> Row {
    let time = Duration::from_millis(if brief { 300 } else { 1_500 });
    let mut cells: Vec<(Vec<f64>, Vec<f64>, Done)> = Vec::new();
    let mut loads = Vec::new();
    for subject in &servers.subjects {
        let load = Load::prepare(work, servers, subject).await;
        // Warm: the allocator has its pages.
        load.run(subject, time / 3).await;
        loads.push(load);
        cells.push((Vec::new(), Vec::new(), Done::default()));
    }
    for _ in 0..rounds {
        for ((subject, load), cell) in servers.subjects.iter().zip(&loads).zip(&mut cells) {
            let done = load.run(subject, time).await;
            cell.0.push(done.cpu_ns as f64 / 1_000.0 / done.requests as f64);
            cell.1.push(done.requests as f64 / done.elapsed.as_secs_f64());
            cell.2.latencies.extend(done.latencies);
        }
    }
    let cells = cells.into_iter().zip(&servers.subjects).map(cell).collect();
    Row { name: work.name, cells }
}

fn cell(((mut cpu, mut rate, mut done), subject): ((Vec<f64>, Vec<f64>, Done), &Subject)) -> Cell {
    done.latencies.sort_unstable();
    let at = |per_mille: usize| {
        let last = done.latencies.len().saturating_sub(1);
        done.latencies.get(last * per_mille / 1_000).copied().unwrap_or_default()
    };
    Cell {
        subject: subject.name,
        cpu_us: median(&mut cpu),
        per_second: median(&mut rate),
        p50: at(500),
        p99: at(990),
        p999: at(999),
    }
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

impl Row {
    /// Our CPU time as a multiple of the bare server's.
    fn ratio(&self) -> f64 {
        let of = |name| self.cells.iter().find(|cell| cell.subject == name).map(|cell| cell.cpu_us);
        of("kes").unwrap_or_default() / of("bare").unwrap_or(f64::NAN)
    }
}

/// Memory of each server: at rest, and for each idle connection.
pub(crate) async fn memory(servers: &Servers, connections: usize) {
    let config = servers.client("h2");
    for subject in &servers.subjects {
        let before = cpu::resident_kib(subject.pid);
        let mut open = Vec::with_capacity(connections);
        for _ in 0..connections {
            open.push(client::connect(&subject.address, &config).await);
        }
        let after = cpu::resident_kib(subject.pid);
        let each = after.saturating_sub(before) as f64 / connections as f64;
        println!(
            "{:6} {:.1} MiB at rest, {each:.1} KiB for each of {connections} idle connections",
            subject.name,
            before as f64 / 1024.0,
        );
        drop(open);
    }
    println!();
}

/// Prints the table.
pub(crate) fn print(rows: &[Row], servers: &Servers) {
    println!(
        "{:28} {:6} {:>11} {:>10} {:>8} {:>8} {:>8} {:>7}",
        "work", "server", "CPU/request", "requests/s", "p50", "p99", "p99.9", "ratio"
    );
    for row in rows {
        for cell in &row.cells {
            let ratio =
                if cell.subject == "kes" { format!("{:.2}", row.ratio()) } else { String::new() };
            println!(
                "{:28} {:6} {:>8.1} µs {:>10.0} {:>5} µs {:>5} µs {:>5} µs {:>7}",
                row.name,
                cell.subject,
                cell.cpu_us,
                cell.per_second,
                cell.p50,
                cell.p99,
                cell.p999,
                ratio
            );
        }
    }
    println!();
    for subject in &servers.subjects {
        let start = subject.start.map(|start| format!(", listening after {start:.0?}"));
        println!(
            "{:6} {:.1} MiB resident after the run{}",
            subject.name,
            cpu::resident_kib(subject.pid) as f64 / 1024.0,
            start.unwrap_or_default()
        );
    }
}

/// Whether no ratio is more than twice the recorded one.
pub(crate) fn within_recorded(rows: &[Row]) -> bool {
    let recorded: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(include_str!("recorded.json")).unwrap();
    let mut good = true;
    for row in rows {
        let Some(limit) = recorded.get(row.name).and_then(serde_json::Value::as_f64) else {
            continue;
        };
        if row.ratio() > 2.0 * limit {
            println!("{}: ratio {:.2}, recorded {limit:.2}", row.name, row.ratio());
            good = false;
        }
    }
    good
}
