//! `kes identity`.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::{Connect, Format};

/// The arguments of `kes identity`: a command, or one argument, or none.
#[derive(Args)]
#[command(
    override_usage = "kes identity <command>\n       kes identity [<api key | certificate file | private key file>]",
    after_help = "Without a command: an API key or a certificate gives its identity, the file of an \
                  Ed25519 private key its API key, and no argument a new API key.",
    args_conflicts_with_subcommands = true
)]
pub(crate) struct IdentityArgs {
    #[command(subcommand)]
    pub command: Option<IdentityCommand>,

    /// An API key, or the file of a certificate or an Ed25519 private key
    #[arg(value_name = "key | file")]
    pub source: Option<String>,
}

/// A command of `kes identity`.
#[derive(Subcommand)]
pub(crate) enum IdentityCommand {
    /// Make an API key, and a private key and certificate from it
    #[command(override_usage = "kes identity new [options] [<subject>]")]
    New(NewIdentity),

    /// Print the identity of an API key or of a certificate
    #[command(override_usage = "kes identity of <api key | certificate file>")]
    Of {
        /// An API key, or the file of a certificate
        #[arg(value_name = "key | file")]
        source: Option<String>,
        #[arg(short, long, value_name = "name", hide = true)]
        enclave: Option<String>,
    },

    /// Describe an identity, oneself if none is given
    #[command(override_usage = "kes identity info [options] [<identity>]")]
    Info {
        /// The identity
        #[arg(value_name = "identity")]
        identity: Option<String>,
        #[command(flatten)]
        connect: Connect,
        #[command(flatten)]
        format: Format,
    },

    /// List identities
    #[command(alias = "list", override_usage = "kes identity ls [options] [<pattern>]")]
    Ls {
        /// Only identities that start with this; `*` may end it
        #[arg(value_name = "pattern")]
        pattern: Option<String>,
        #[command(flatten)]
        connect: Connect,
        #[command(flatten)]
        format: Format,
    },
}

/// The arguments of `kes identity new`.
#[derive(Args)]
pub(crate) struct NewIdentity {
    /// The certificate's subject; the identity if none is given
    #[arg(value_name = "subject")]
    pub subject: Option<String>,
    /// Write the private key to this file
    #[arg(long, value_name = "file")]
    pub key: Option<PathBuf>,
    /// Write a self-signed certificate to this file
    #[arg(long, value_name = "file")]
    pub cert: Option<PathBuf>,
    /// Name this address in the certificate; may be given many times
    #[arg(long, value_name = "ip", value_delimiter = ',')]
    pub ip: Vec<IpAddr>,
    /// Name this host in the certificate; may be given many times
    #[arg(long, value_name = "domain", value_delimiter = ',')]
    pub dns: Vec<String>,
    /// How long the certificate is valid
    #[arg(
        long,
        value_name = "duration",
        default_value = "720h",
        value_parser = kes_config::parse_duration
    )]
    pub expiry: Duration,
    /// Encrypt the private key with a password
    #[arg(long)]
    pub encrypt: bool,
    /// Overwrite files that exist
    #[arg(short, long)]
    pub force: bool,
    #[arg(short, long, value_name = "name", hide = true)]
    pub enclave: Option<String>,
}
