//! `kes key`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{Connect, Format};

/// A command of `kes key`.
#[derive(Subcommand)]
pub(crate) enum KeyCommand {
    /// Create keys
    #[command(override_usage = "kes key create [options] <name>...")]
    Create(Names),

    /// Import a key
    #[command(
        override_usage = "kes key import [options] <name> <base64 | ->\n       kes key import [options] --file <file> <name>"
    )]
    Import {
        /// The key's name
        #[arg(value_name = "name")]
        name: Option<String>,
        /// The key: 32 bytes in base64, for AES-256; `-` reads it from standard input. Everybody on
        /// the machine sees the arguments of a process
        #[arg(value_name = "base64 | -")]
        key: Option<String>,
        /// Read the key, in base64, from this file
        #[arg(long, value_name = "file")]
        file: Option<PathBuf>,
        #[command(flatten)]
        connect: Connect,
    },

    /// Show a key's algorithm, age and owner
    #[command(override_usage = "kes key info [options] <name>")]
    Info {
        /// The key's name
        #[arg(value_name = "name")]
        name: Option<String>,
        #[command(flatten)]
        connect: Connect,
        #[command(flatten)]
        format: Format,
    },

    /// List keys
    #[command(alias = "list", override_usage = "kes key ls [options] [<pattern>]")]
    Ls {
        /// Only keys that start with this; `*` may end it
        #[arg(value_name = "pattern")]
        pattern: Option<String>,
        #[command(flatten)]
        connect: Connect,
        #[command(flatten)]
        format: Format,
    },

    /// Delete keys, and with them all that they encrypted
    #[command(override_usage = "kes key rm [options] <name>...")]
    Rm {
        #[command(flatten)]
        names: Names,
        /// Do not ask, at a terminal as elsewhere
        #[arg(short, long)]
        force: bool,
    },

    /// Encrypt a message
    #[command(
        override_usage = "kes key encrypt [options] <name> <message | ->\n       kes key encrypt [options] --file <file> <name>"
    )]
    Encrypt {
        /// The key's name
        #[arg(value_name = "name")]
        name: Option<String>,
        /// The message; `-` reads it from standard input. Everybody on the machine sees the
        /// arguments of a process
        #[arg(value_name = "message | -")]
        message: Option<String>,
        /// Read the message from this file
        #[arg(long, value_name = "file")]
        file: Option<PathBuf>,
        #[command(flatten)]
        connect: Connect,
    },

    /// Decrypt a message or an encrypted data key
    #[command(
        override_usage = "kes key decrypt [options] <name> <ciphertext | -> [<context>]\n       kes key decrypt [options] --file <file> <name> [<context>]"
    )]
    Decrypt {
        /// The key's name
        #[arg(value_name = "name")]
        name: Option<String>,
        /// The ciphertext, in base64; `-` reads it from standard input
        #[arg(value_name = "ciphertext | -")]
        ciphertext: Option<String>,
        /// Read the ciphertext, in base64, from this file
        #[arg(long, value_name = "file")]
        file: Option<PathBuf>,
        /// The context it was made with, in base64
        #[arg(value_name = "context")]
        context: Option<String>,
        #[command(flatten)]
        connect: Connect,
    },

    /// Generate a data key
    #[command(override_usage = "kes key dek [options] <name> [<context>]")]
    Dek {
        /// The key's name
        #[arg(value_name = "name")]
        name: Option<String>,
        /// What to bind the data key to, in base64
        #[arg(value_name = "context")]
        context: Option<String>,
        #[command(flatten)]
        connect: Connect,
    },
}

/// Names of keys.
#[derive(Args)]
pub(crate) struct Names {
    /// Names of keys
    #[arg(value_name = "name")]
    pub names: Vec<String>,
    #[command(flatten)]
    pub connect: Connect,
}
