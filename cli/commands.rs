//! The commands, with a file for each.

mod about;
mod audit;
mod backup;
mod check;
mod connect;
mod explain;
mod identity;
mod inspect;
mod key;
mod list;
mod log;
mod manual;
mod metric;
mod migrate;
mod policy;
mod rehearse;
mod restore;
mod seal;
mod server;
mod shadow;
mod status;

use anyhow::{Context as _, Result};

use crate::args::{Cli, Command, PolicyCommand};
use crate::error::Failure;

/// Runs a command.
///
/// # Errors
/// The error of the command; the context says what failed.
pub(crate) fn run(cli: Cli) -> Result<(), Failure> {
    match cli.command {
        Some(Command::Policy(PolicyCommand::Explain(args))) => {
            answer(wait(policy::explain::run(args)))
        }
        Some(Command::Policy(PolicyCommand::Test(args))) => answer(wait(policy::test::run(args))),
        _ => perform(cli).map_err(Failure::Wrong),
    }
}

/// Ends a command whose exit status is its answer.
fn answer(is_yes: Result<bool>) -> Result<(), Failure> {
    match is_yes {
        Ok(true) => Ok(()),
        Ok(false) => Err(Failure::No),
        Err(error) => Err(Failure::Unanswered(error)),
    }
}

fn perform(cli: Cli) -> Result<()> {
    if cli.version {
        return about::version();
    }
    if cli.auto_completion {
        return about::completion();
    }
    if let Some(folder) = cli.manual_pages {
        return manual::write(&folder);
    }
    match cli.command {
        // These have a runtime of their own.
        Some(Command::Server(args)) => server::run(args),
        Some(Command::Check(args)) => check::run(args),
        Some(Command::Rehearse(args)) => rehearse::run(args),
        Some(Command::Migrate(args)) => migrate::run(args, cli.enclave.as_deref()),
        Some(Command::Shadow(args)) => shadow::run(&args),
        Some(Command::Backup(args)) => backup::run(args),
        Some(Command::Restore(args)) => restore::run(&args),
        Some(Command::Audit(command)) => audit::run(command),
        Some(Command::Inspect(args)) => wait(inspect::run(args)),
        Some(Command::Key(command)) => wait(key::run(command)),
        Some(Command::Policy(command)) => wait(policy::run(command)),
        Some(Command::Identity(args)) => wait(identity::run(args)),
        Some(Command::Ls(args)) => wait(list::run(args)),
        Some(Command::Log(args)) => wait(log::run(args)),
        Some(Command::Status(args)) => wait(status::run(args)),
        Some(Command::Metric(args)) => wait(metric::run(args)),
        None => Ok(()),
    }
}

/// Runs a command that talks to a server.
fn wait<T>(command: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("failed to start")?
        .block_on(command)
}
