//! `kes inspect`.

use std::path::PathBuf;

use clap::Args;

use super::{Connect, Format};

/// The arguments of `kes inspect`.
#[derive(Args)]
pub(crate) struct InspectArgs {
    /// The ciphertext, in base64; `-` reads it from standard input
    #[arg(value_name = "ciphertext | -")]
    pub ciphertext: Option<String>,
    /// The context it was made with, in base64
    #[arg(value_name = "context")]
    pub context: Option<String>,
    /// Read the ciphertext, in base64, from this file
    #[arg(long, value_name = "file")]
    pub file: Option<PathBuf>,
    /// Try this key; may be repeated. Without it all keys that may be listed are tried
    #[arg(long = "key", value_name = "name")]
    pub keys: Vec<String>,
    /// Ask no server: tell what the ciphertext says of itself
    #[arg(long)]
    pub offline: bool,
    #[command(flatten)]
    pub connect: Connect,
    #[command(flatten)]
    pub format: Format,
}
