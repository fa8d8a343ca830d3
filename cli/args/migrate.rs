//! `kes migrate`.

use std::num::NonZeroU32;
use std::path::PathBuf;

use clap::Args;

/// The arguments of `kes migrate`.
#[derive(Args)]
pub(crate) struct MigrateArgs {
    /// Which keys: whole names, with `*`, `?`, `[a-z]` and `\` as in a shell [default: *]
    #[arg(value_name = "pattern")]
    pub pattern: Option<String>,
    /// The configuration file of the key store to read from
    #[arg(long, value_name = "file")]
    pub from: Option<PathBuf>,
    /// The configuration file of the key store to copy to
    #[arg(long, value_name = "file")]
    pub to: Option<PathBuf>,
    /// Replace keys for which the target has another value
    #[arg(short, long)]
    pub force: bool,
    /// Leave keys alone for which the target has another value
    #[arg(long)]
    pub merge: bool,
    /// Only say what would be done; nothing is written
    #[arg(long)]
    pub dry_run: bool,
    /// Fail on entries of the source that are no keys
    #[arg(long)]
    pub strict: bool,
    /// Copy beside running servers, from `keystore` to `migration.to` of their configuration
    #[arg(long)]
    pub online: bool,
    /// The configuration file of the servers, for --online
    #[arg(long, value_name = "file")]
    pub config: Option<PathBuf>,
    /// Copy back: from `migration.to` to `keystore`, for --online
    #[arg(long)]
    pub back: bool,
    /// How many keys a second at most, for --online [default: 100]
    #[arg(long, value_name = "number")]
    pub rate: Option<NonZeroU32>,
    /// Do not print progress
    #[arg(short, long)]
    pub quiet: bool,

    #[command(flatten)]
    pub old: MinKmsFlags,
}

/// Flags of the reference server for a target that is a server, not a key store: refused.
#[derive(Args)]
pub(crate) struct MinKmsFlags {
    #[arg(short, long, hide = true)]
    pub server: Option<String>,
    #[arg(short, long, hide = true)]
    pub api_key: Option<String>,
    #[arg(short = 'k', long, hide = true)]
    pub insecure: bool,
}
