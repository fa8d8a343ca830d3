//! `kes identity`.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::list::{Domains, IpAddresses};
use super::{Connect, Format};

/// How long a certificate is valid by default (contract `cli.md`, Commands).
const DEFAULT_EXPIRY: Duration = Duration::from_hours(720);

/// The arguments of `kes identity`: a command, or one argument, or none.
#[derive(Args)]
#[command(
    override_usage = "kes identity <command>\n       kes identity [<api key | certificate file | private key file | ->]",
    args_conflicts_with_subcommands = true
)]
pub(crate) struct IdentityArgs {
    #[command(subcommand)]
    pub command: Option<IdentityCommand>,

    /// An API key, or the file of a certificate or an Ed25519 private key; `-` reads any of them from
    /// standard input
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
    #[command(override_usage = "kes identity of <api key | certificate file | ->")]
    Of {
        /// An API key, or the file of a certificate; `-` reads either from standard input
        #[arg(value_name = "key | file")]
        source: Option<String>,
    },

    /// Describe an identity; one's own if none is given
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
    /// Name these addresses in the certificate, with commas between; may be given many times
    #[arg(long, value_name = "ip", value_parser = IpAddresses::parse)]
    pub ip: Vec<IpAddresses>,
    /// Name these hosts in the certificate, with commas between; may be given many times
    #[arg(long, value_name = "domain", value_parser = Domains::parse)]
    pub dns: Vec<Domains>,
    /// How long the certificate is valid; 0 stands for the default
    #[arg(
        long,
        value_name = "duration",
        default_value = "720h",
        value_parser = expiry
    )]
    pub expiry: Duration,
    /// Encrypt the private key with a password
    #[arg(long)]
    pub encrypt: bool,
    /// Overwrite files that exist
    #[arg(short, long)]
    pub force: bool,
}

/// Parses `--expiry`. As in Go, 0 needs no unit. Go's durations have no days, which people try
/// first.
fn expiry(text: &str) -> Result<Duration, String> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    kes_config::parse_duration(text).map_err(|error| format!("{error}; 365 days are 8760h"))
}

impl NewIdentity {
    /// The addresses of all `--ip`.
    pub(crate) fn ips(&self) -> Vec<IpAddr> {
        self.ip.iter().flat_map(|list| list.0.iter().copied()).collect()
    }

    /// The names of all `--dns`.
    pub(crate) fn domains(&self) -> Vec<String> {
        self.dns.iter().flat_map(|list| list.0.iter().cloned()).collect()
    }

    /// How long the certificate is valid; 0 means the default.
    pub(crate) fn expiry(&self) -> Duration {
        if self.expiry.is_zero() { DEFAULT_EXPIRY } else { self.expiry }
    }
}
