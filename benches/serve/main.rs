//! What a request costs: ours beside the bare server of the same parts, side by side in one run.
//!
//! The bare server is axum, hyper and rustls answering a constant of the same size to the same
//! clients over the same TLS: no server made of these parts can cost less. Servers run on one
//! core, the load on another, in turn for several rounds. What counts is the server's CPU time
//! for each request, which does not depend on how fast the load is, and our ratio to the bare
//! server.
//!
//! | `cargo bench --bench serve -- …` | |
//! | --- | --- |
//! | | all rows, then start and memory |
//! | `generate` | the rows whose name has the word in it; several words are one |
//! | `memory` | start and memory alone |
//! | `curve` | latency against load, on a schedule (see `open_loop`) |
//! | `tail` | the slowest requests at half load, and what others beside them do to them |
//! | `growth` | what a request costs as a server holds more |
//! | `soak 5000000` | whether memory grows over so many requests of mixed work |
//! | `other <folder>` | what another server needs to be measured beside them (see `other`) |
//! | `--record` | writes the ratios to `recorded.json` as well; for a quiet machine |
//!
//! Latencies of the rows are those of a closed loop: a client sends its next request when it has the answer
//! to the last. While a server stalls, nothing is sent that would have had to wait, so p99 and
//! p99.9 are lower than what clients with a rate of their own would see (coordinated omission),
//! and all latencies are those of a full queue: they follow from the rate. They are there to be
//! compared with the line above, no more.
//!
//! `KES_BENCH_CHECK=1` runs for seconds and fails where a ratio is more than twice the recorded
//! one, several times over: the machine may be busy. No absolute time is asserted anywhere.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a bench prints its table")]
#![allow(clippy::unwrap_used, reason = "a bench that cannot measure ends")]

mod bare;
mod client;
mod collector;
mod cpu;
mod curve;
mod growth;
mod load;
mod memory;
mod open_loop;
mod other;
mod report;
mod rows;
mod servers;
mod setup;
mod soak;
mod table;
mod tail;
mod wire;

use std::path::Path;
use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};

/// Whether it is only to be seen that all works, and that no ratio is far off.
fn is_brief() -> bool {
    std::env::var_os("KES_BENCH_CHECK").is_some()
}

fn main() -> ExitCode {
    if std::env::var_os(bare::ENV).is_some() {
        bare::serve();
        return ExitCode::SUCCESS;
    }
    // Cargo adds `--bench`.
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        // Servers and folders go with the values that own them, so the run has to be left.
        let mut interrupted = signal(SignalKind::interrupt()).unwrap();
        let mut terminated = signal(SignalKind::terminate()).unwrap();
        tokio::select! {
            done = run(&args) => done,
            _ = interrupted.recv() => ExitCode::from(130),
            _ = terminated.recv() => ExitCode::from(143),
        }
    })
}

async fn run(args: &[String]) -> ExitCode {
    let is_recorded = args.iter().any(|arg| arg == "--record");
    let words: Vec<&str> = args.iter().map(|arg| &**arg).filter(|arg| *arg != "--record").collect();
    if !cpu::has_two() {
        println!("One core for servers and load: rates and latencies are of no use.\n");
    }
    match &*words {
        // A mode is an arm here.
        ["soak", count @ ..] => {
            let count = count.first().map_or(soak::REQUESTS, |count| count.parse().unwrap());
            soak::run(count).await;
        }
        ["curve"] => curve::run(is_recorded).await,
        ["tail"] => tail::run().await,
        ["growth"] => growth::run(is_recorded).await,
        ["other", folder] => other::prepare(Path::new(folder)),
        words => return table::run(&words.join(" "), is_recorded).await,
    }
    ExitCode::SUCCESS
}
