//! What the parts of a request cost alone, without a connection: envelope, policies, identities,
//! stored keys and bodies.
//!
//! `cargo bench --bench micro` prints the wall time of each; a word filters them (`cargo bench
//! --bench micro -- seal`). `cargo bench --bench micro -- --instructions` prints the instructions
//! of each under valgrind instead, which repeat exactly and do not depend on what else runs.
//! Memory is wiped when it is given back, as in the program `kes`.
//!
//! `KES_BENCH_CHECK=1` takes a second and shows only that all of it runs. Nothing is asserted of
//! either.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a bench prints its table")]
#![allow(clippy::unwrap_used, reason = "a bench that cannot measure ends")]

#[path = "../serve/cpu.rs"]
#[allow(dead_code, reason = "another bench measures processes too")]
mod cpu;

mod instructions;
mod time;
mod works;

use std::alloc::System;
use std::process::ExitCode;

use zeroizing_alloc::ZeroAlloc;

use works::Work;

#[global_allocator]
static ALLOCATOR: ZeroAlloc<System> = ZeroAlloc(System);

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let filter = args.iter().find(|arg| !arg.starts_with("--"));
    let chosen = |work: &Work| filter.is_none_or(|filter| work.name.contains(filter.as_str()));
    let works: Vec<Work> = works::all().into_iter().filter(chosen).collect();

    cpu::pin(1);
    if std::env::var_os(instructions::COUNTED).is_some() {
        instructions::work(works);
    } else if args.iter().any(|arg| arg == "--instructions") {
        if let Err(reason) = instructions::print(works, filter) {
            eprintln!("no instructions were counted: {reason}");
            return ExitCode::FAILURE;
        }
    } else {
        time::print(works, std::env::var_os("KES_BENCH_CHECK").is_some());
    }
    ExitCode::SUCCESS
}
