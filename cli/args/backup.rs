//! `kes backup` and `kes restore`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// The arguments of `kes backup`: a command, or those of a new backup.
#[derive(Args)]
#[command(
    override_usage = "kes backup [options] [<pattern>]\n       kes backup <command>",
    args_conflicts_with_subcommands = true
)]
pub(crate) struct BackupArgs {
    #[command(subcommand)]
    pub command: Option<BackupCommand>,

    /// Which keys: whole names, with `*`, `?`, `[a-z]` and `\` as in a shell [default: *]
    #[arg(value_name = "pattern")]
    pub pattern: Option<String>,
    /// The configuration file of the key store to read from
    #[arg(long, value_name = "file")]
    pub config: Option<PathBuf>,
    /// The file to write; its manifest is written beside it, with the ending `.manifest`
    #[arg(short, long, value_name = "file")]
    pub output: Option<PathBuf>,
    /// Seal it for this recipient, `age1…`; may be given many times
    #[arg(short, long = "recipient", value_name = "recipient")]
    pub recipients: Vec<String>,
    /// Seal it for the recipients in this file, one a line
    #[arg(short = 'R', long, value_name = "file")]
    pub recipients_file: Option<PathBuf>,
    #[command(flatten)]
    pub passphrase: Passphrase,
    /// Overwrite files that exist
    #[arg(short, long)]
    pub force: bool,
    /// Fail on entries of the key store that are no keys
    #[arg(long)]
    pub strict: bool,
    /// Do not print progress
    #[arg(short, long)]
    pub quiet: bool,
}

/// A passphrase in place of keys.
#[derive(Args)]
pub(crate) struct Passphrase {
    /// Seal or open it with a passphrase, which is asked for
    #[arg(short, long)]
    pub passphrase: bool,
    /// The same, and the passphrase is read from this file; `-` reads it from standard input
    #[arg(long, value_name = "file")]
    pub passphrase_file: Option<PathBuf>,
}

/// What opens a backup.
#[derive(Args)]
pub(crate) struct OpenBackup {
    /// Open it with an identity of this file, as `age-keygen` writes it; `-` reads it from standard input
    #[arg(short, long, value_name = "file")]
    pub identity: Option<PathBuf>,
    #[command(flatten)]
    pub passphrase: Passphrase,
}

/// A command of `kes backup`.
#[derive(Subcommand)]
pub(crate) enum BackupCommand {
    /// Check a backup: by its manifest, by what opens it, and beside a key store
    #[command(override_usage = "kes backup verify [options] <file>")]
    Verify(VerifyBackup),
}

/// The arguments of `kes backup verify`.
#[derive(Args)]
pub(crate) struct VerifyBackup {
    /// The backup
    #[arg(value_name = "file")]
    pub file: Option<PathBuf>,
    /// Its manifest [default: the file with the ending `.manifest`]
    #[arg(long, value_name = "file")]
    pub manifest: Option<PathBuf>,
    /// Compare its keys with those of the key store of this configuration file
    #[arg(long, value_name = "file")]
    pub config: Option<PathBuf>,
    #[command(flatten)]
    pub open: OpenBackup,
    /// Do not print progress
    #[arg(short, long)]
    pub quiet: bool,
}

/// The arguments of `kes restore`.
#[derive(Args)]
pub(crate) struct RestoreArgs {
    /// The backup
    #[arg(value_name = "file")]
    pub file: Option<PathBuf>,
    /// Which keys: whole names, with `*`, `?`, `[a-z]` and `\` as in a shell [default: *]
    #[arg(value_name = "pattern")]
    pub pattern: Option<String>,
    /// The configuration file of the key store to restore to
    #[arg(long, value_name = "file")]
    pub config: Option<PathBuf>,
    #[command(flatten)]
    pub open: OpenBackup,
    /// Replace keys for which the key store has another value
    #[arg(short, long)]
    pub force: bool,
    /// Leave keys alone for which the key store has another value
    #[arg(long)]
    pub merge: bool,
    /// Only say what would be done; nothing is written
    #[arg(long)]
    pub dry_run: bool,
    /// Do not print progress
    #[arg(short, long)]
    pub quiet: bool,
}
