//! `kes check`.

use std::path::PathBuf;

use clap::Args;

/// The arguments of `kes check`.
#[derive(Args)]
pub(crate) struct CheckArgs {
    /// The configuration file
    #[arg(long, value_name = "file")]
    pub config: Option<PathBuf>,
    /// Fail on warnings as well
    #[arg(long)]
    pub strict: bool,
}
