//! `kes server`.

use std::path::PathBuf;

use clap::Args;
use kes_config::Address;

/// The arguments of `kes server`.
#[derive(Args)]
pub(crate) struct ServerArgs {
    /// Listen on this address, not on that of the file [default: 0.0.0.0:7373]
    #[arg(long, value_name = "[ip]:port")]
    pub addr: Option<Address>,
    /// The configuration file
    #[arg(long, value_name = "file")]
    pub config: Option<PathBuf>,
    /// Run a server to try things out: keys in memory, a fresh certificate and API key
    #[arg(long)]
    pub dev: bool,

    #[command(flatten)]
    pub old: OldServerFlags,
}

/// Flags of older versions. Deployed files pass them in each of the forms `--auth=off`,
/// `--auth off` and a bare `--auth` before the next flag, so none of them requires a value.
#[derive(Args)]
pub(crate) struct OldServerFlags {
    #[arg(long, hide = true, num_args = 0..=1)]
    pub key: Option<Option<String>>,
    #[arg(long, hide = true, num_args = 0..=1)]
    pub cert: Option<Option<String>>,
    #[arg(long, hide = true, num_args = 0..=1)]
    pub auth: Option<Option<String>>,
    #[arg(long, hide = true, num_args = 0..=1)]
    pub root: Option<Option<String>>,
    #[arg(long, hide = true, num_args = 0..=1)]
    pub mlock: Option<Option<String>>,
    #[arg(long, hide = true, num_args = 0..=1)]
    pub host: Option<Option<String>>,
    #[arg(long, hide = true, num_args = 0..=1)]
    pub port: Option<Option<String>>,
    #[arg(short, long, hide = true)]
    pub quiet: bool,
}
