//! What a request costs: ours beside the bare server of the same parts, side by side in one run.
//!
//! `cargo bench --bench serve` runs all rows; a word filters them (`cargo bench --bench serve --
//! generate`). The bare server is axum, hyper and rustls answering a constant of the same size
//! to the same clients over the same TLS: no server made of these parts can cost less. Servers
//! run on one core, the load on another, in turn for several rounds; what counts is the server's
//! CPU time for each request, which does not depend on how fast the load is.
//!
//! `KES_BENCH_CHECK=1` runs for seconds and fails where our ratio to the bare server is more than
//! twice the recorded one (`recorded.json`). No absolute time is asserted anywhere.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a bench prints its table")]
#![allow(clippy::unwrap_used, reason = "a bench that cannot measure ends")]

mod bare;
mod client;
mod cpu;
mod load;
mod report;
#[allow(dead_code, reason = "rows to come start servers of their own")]
mod servers;
mod setup;

use std::process::ExitCode;

use report::Row;
use setup::Setup;

fn main() -> ExitCode {
    if std::env::var_os(bare::ENV).is_some() {
        bare::serve();
        return ExitCode::SUCCESS;
    }
    let filter = std::env::args().skip(1).find(|arg| !arg.starts_with("--"));
    let check = std::env::var_os("KES_BENCH_CHECK").is_some();
    let rounds = if check { 2 } else { 5 };

    if !cpu::has_two() {
        println!("One core for servers and load: rates and latencies are of no use.");
    }
    let servers = servers::Servers::start(&Setup::default());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let rows: Vec<Row> = runtime.block_on(async {
        if filter.as_ref().is_none_or(|filter| "memory".contains(filter.as_str())) {
            report::memory(&servers, if check { 50 } else { 1_000 }).await;
        }
        let mut rows = Vec::new();
        for work in load::works() {
            if filter.as_ref().is_none_or(|filter| work.name.contains(filter.as_str())) {
                rows.push(report::measure(&servers, &work, rounds, check).await);
            }
        }
        rows
    });
    report::print(&rows, &servers);
    if check && !report::within_recorded(&rows) { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
