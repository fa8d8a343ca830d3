//! The command `kes`: parse, run, exit status.

mod args;
mod base64;
mod commands;
mod env;
mod error;
mod file;
mod input;
mod insiders;
mod obsolete;
mod output;
mod parse;
mod password;
mod progress;
mod signals;

use std::ffi::OsString;
use std::process::ExitCode;

use error::Failure;
use tikv_jemallocator::Jemalloc;
use zeroizing_alloc::ZeroAlloc;

/// Wipes all memory that is freed. Secrets wipe themselves when they are dropped. This is for the
/// buffers of TLS, HTTP and JSON through which keys and plaintexts pass, and which the libraries do
/// not wipe.
///
/// The allocator under it returns memory to the system; glibc's keeps the memory of a burst of
/// connections.
#[global_allocator]
static ALLOCATOR: ZeroAlloc<Jemalloc> = ZeroAlloc(Jemalloc);

fn main() -> ExitCode {
    // Before anything else: API keys and keys to import are in the environment and the arguments.
    kes_server::forbid_dumps();
    let args: Vec<OsString> = std::env::args_os().skip(1).collect();
    match parse::parse(&args).and_then(commands::run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Usage(text)) => {
            output::usage(&text);
            ExitCode::from(2)
        }
        // The reader has read enough, as `head` does.
        Err(Failure::Wrong(error)) if error.is::<output::Closed>() => ExitCode::SUCCESS,
        Err(Failure::Wrong(error)) => {
            output::error(&error);
            ExitCode::FAILURE
        }
        Err(Failure::Unanswered(error)) => {
            output::error(&error);
            ExitCode::from(2)
        }
        Err(Failure::No) => ExitCode::FAILURE,
    }
}
