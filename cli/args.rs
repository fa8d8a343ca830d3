//! The command tree (contract `cli.md`, Commands). `parse.rs` makes the messages for wrong command
//! lines. Required arguments are optional here, so that each command has its own message for a
//! missing one.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

mod audit;
mod backup;
mod check;
pub(crate) mod help;
mod identity;
mod inspect;
mod key;
mod list;
mod log;
mod migrate;
mod policy;
mod rehearse;
mod server;
mod shadow;

pub(crate) use audit::{AuditCommand, AuditKeyArgs, GrepAudit, VerifyAudit};
pub(crate) use backup::{
    BackupArgs, BackupCommand, OpenBackup, Passphrase, RestoreArgs, VerifyBackup,
};
pub(crate) use check::CheckArgs;
pub(crate) use identity::{IdentityArgs, IdentityCommand, NewIdentity};
pub(crate) use inspect::InspectArgs;
pub(crate) use key::{KeyCommand, Names};
pub(crate) use log::{IdentityPrefix, LogArgs, Statuses};
pub(crate) use migrate::MigrateArgs;
pub(crate) use policy::{
    ExplainArgs, NamedPolicy, PolicyCommand, PresetArgs, SuggestArgs, TestArgs,
};
pub(crate) use rehearse::RehearseArgs;
pub(crate) use server::{OldServerFlags, ServerArgs};
pub(crate) use shadow::{AnswerOf, ShadowArgs, SharedOrNot};

/// The whole command line.
#[derive(Parser)]
#[command(
    name = "kes",
    about = "A key server for MinIO",
    override_usage = "kes [options] <command>",
    disable_help_subcommand = true
)]
pub(crate) struct Cli {
    /// Print the version and the commit
    #[arg(short, long)]
    pub version: bool,

    /// Print a completion script for the shell in $SHELL: bash, zsh or fish
    #[arg(long)]
    pub auto_completion: bool,

    /// Write the manual pages of all commands into a folder
    #[arg(long, value_name = "folder")]
    pub manual_pages: Option<PathBuf>,

    /// Of older versions; accepted by every command, and ignored
    #[arg(short, long, value_name = "name", hide = true, global = true)]
    pub enclave: Option<String>,

    #[command(subcommand)]
    pub command: Option<Command>,
}

/// A command of `kes`.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Run a key server
    #[command(override_usage = "kes server [options]")]
    Server(ServerArgs),

    /// Check a configuration and all that it names, before a server is started with it
    #[command(override_usage = "kes check [options]")]
    Check(CheckArgs),

    /// Tell what an exchange of MinIO's KES for this server would meet; only reads
    #[command(override_usage = "kes rehearse [options]")]
    Rehearse(RehearseArgs),

    /// Manage keys
    #[command(subcommand, override_usage = "kes key <command>")]
    Key(KeyCommand),

    /// Show what a ciphertext is, and which key opens it
    #[command(
        override_usage = "kes inspect [options] <ciphertext | -> [<context>]\n       kes inspect [options] --file <file> [<context>]"
    )]
    Inspect(InspectArgs),

    /// Look at policies, and find out what they allow
    #[command(subcommand, override_usage = "kes policy <command>")]
    Policy(PolicyCommand),

    /// Make and look at identities
    Identity(IdentityArgs),

    /// List keys, identities or policies
    #[command(alias = "list", override_usage = "kes ls [options] [<prefix>]")]
    Ls(LsArgs),

    /// Follow the audit or the error log of servers
    #[command(override_usage = "kes log [options]")]
    Log(LogArgs),

    /// Check audit files, and find requests in them
    #[command(subcommand, override_usage = "kes audit <command>")]
    Audit(AuditCommand),

    /// Show how a server is doing
    #[command(override_usage = "kes status [options]")]
    Status(StatusArgs),

    /// Watch the metrics of servers: a live view on a terminal, else JSON lines
    #[command(override_usage = "kes metric [options]")]
    Metric(MetricArgs),

    /// Copy keys from one key store to another
    #[command(override_usage = "kes migrate [options] [<pattern>]")]
    Migrate(MigrateArgs),

    /// Stand in front of an old and a new server, and compare their answers
    #[command(
        override_usage = "kes shadow --to <old server> --new <new server> --key <file> --cert <file> [options]"
    )]
    Shadow(ShadowArgs),

    /// Back up the keys of a key store into one sealed file, or check such a file
    Backup(BackupArgs),

    /// Restore keys from a backup into a key store
    #[command(override_usage = "kes restore [options] <file> [<pattern>]")]
    Restore(RestoreArgs),
}

/// The arguments of `kes ls`.
#[derive(Args)]
pub(crate) struct LsArgs {
    /// Only names that start with this; `*` may end it
    #[arg(value_name = "prefix")]
    pub prefix: Option<String>,
    /// Use this API key, not that of the environment
    #[arg(short, long, value_name = "key")]
    pub api_key: Option<String>,
    /// Ask this server, not that of the environment
    #[arg(short, long, value_name = "[host]:port")]
    pub server: Option<String>,
    /// List identities
    #[arg(short, long)]
    pub identity: bool,
    /// List policies
    #[arg(short, long)]
    pub policy: bool,
    #[command(flatten)]
    pub connect: Connect,
    #[command(flatten)]
    pub format: Format,
}

/// The arguments of `kes status`.
#[derive(Args)]
pub(crate) struct StatusArgs {
    /// Only say which servers are up
    #[arg(short, long)]
    pub short: bool,
    /// List the server's APIs as well
    #[arg(long)]
    pub api: bool,
    #[command(flatten)]
    pub connect: Connect,
    #[command(flatten)]
    pub format: Format,
}

/// The arguments of `kes metric`.
#[derive(Args)]
pub(crate) struct MetricArgs {
    /// How often the metrics are read
    #[arg(
        long,
        value_name = "duration",
        default_value = "5s",
        value_parser = kes_config::parse_duration
    )]
    pub rate: Duration,
    #[command(flatten)]
    pub connect: Connect,
}

/// How to reach a server.
#[derive(Args)]
pub(crate) struct Connect {
    /// Do not check the server's certificate
    #[arg(short = 'k', long)]
    pub insecure: bool,
}

/// How to print an answer.
#[derive(Args)]
pub(crate) struct Format {
    /// Print JSON and nothing else
    #[arg(long)]
    pub json: bool,
    /// When to print in colour
    #[arg(long, value_name = "when", default_value = "auto")]
    pub color: Color,
}

/// When to print in colour: on a terminal, into a pipe or a file as well, not at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    Auto,
    Always,
    Never,
}
