//! `kes rehearse`.

use std::path::PathBuf;

use clap::Args;

/// The arguments of `kes rehearse`.
#[derive(Args)]
pub(crate) struct RehearseArgs {
    /// The configuration file of the server that is to be exchanged
    #[arg(long, value_name = "file")]
    pub config: Option<PathBuf>,
    /// Do not print progress
    #[arg(short, long)]
    pub quiet: bool,
}
