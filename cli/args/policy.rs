//! `kes policy`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{Connect, Format};

/// A command of `kes policy`.
#[derive(Subcommand)]
pub(crate) enum PolicyCommand {
    /// List policies
    #[command(alias = "list", override_usage = "kes policy ls [options] [<pattern>]")]
    Ls {
        /// Only policies that start with this; `*` may end it
        #[arg(value_name = "pattern")]
        pattern: Option<String>,
        #[command(flatten)]
        connect: Connect,
        #[command(flatten)]
        format: Format,
    },

    /// Show when and by whom a policy was made
    #[command(override_usage = "kes policy info [options] <name>")]
    Info(NamedPolicy),

    /// Show what a policy allows and denies
    #[command(override_usage = "kes policy show [options] <name>")]
    Show(NamedPolicy),

    /// Say why a request is allowed or refused, and what would change that
    #[command(override_usage = "kes policy explain [options] <identity> <method> <path>")]
    Explain(ExplainArgs),

    /// Print what to add to the policies for what a server refused of late
    #[command(override_usage = "kes policy suggest [options]")]
    Suggest(SuggestArgs),

    /// Print the policy that an application needs
    #[command(override_usage = "kes policy preset [options] minio")]
    Preset(PresetArgs),

    /// Compare policies with a table of what is to be allowed and refused
    #[command(override_usage = "kes policy test [options] <file>")]
    Test(TestArgs),
}

/// A policy, and how to print it.
#[derive(Args)]
pub(crate) struct NamedPolicy {
    /// The policy's name
    #[arg(value_name = "name")]
    pub name: Option<String>,
    #[command(flatten)]
    pub connect: Connect,
    #[command(flatten)]
    pub format: Format,
}

/// The arguments of `kes policy explain`.
#[derive(Args)]
pub(crate) struct ExplainArgs {
    /// Whose request it is; `self` for this client
    #[arg(value_name = "identity")]
    pub identity: Option<String>,
    /// The method, such as PUT
    #[arg(value_name = "method")]
    pub method: Option<String>,
    /// The path, such as /v1/key/create/my-key
    #[arg(value_name = "path")]
    pub path: Option<String>,
    /// Ask the policies of this configuration file, not those of a server
    #[arg(long, value_name = "file")]
    pub config: Option<PathBuf>,
    #[command(flatten)]
    pub connect: Connect,
    #[command(flatten)]
    pub format: Format,
}

/// The arguments of `kes policy suggest`.
#[derive(Args)]
pub(crate) struct SuggestArgs {
    /// Allow all names that start with this in place of each single one that does; `*` for any name
    #[arg(long, value_name = "prefix")]
    pub prefix: Vec<String>,
    #[command(flatten)]
    pub connect: Connect,
    #[command(flatten)]
    pub format: Format,
}

/// The arguments of `kes policy preset`.
#[derive(Args)]
pub(crate) struct PresetArgs {
    /// The application: minio
    #[arg(value_name = "application")]
    pub application: Option<String>,
    /// Only for keys whose names start with this
    #[arg(long, value_name = "prefix")]
    pub key: Option<String>,
    /// Whom the policy is for; may be repeated
    #[arg(long, value_name = "identity")]
    pub identity: Vec<String>,
    /// The name of the policy [default: that of the application]
    #[arg(long, value_name = "name")]
    pub name: Option<String>,
}

/// The arguments of `kes policy test`.
#[derive(Args)]
pub(crate) struct TestArgs {
    /// The file with the table
    #[arg(value_name = "file")]
    pub file: Option<PathBuf>,
    /// Ask the policies of this configuration file, not those of a server
    #[arg(long, value_name = "file")]
    pub config: Option<PathBuf>,
    /// Print nothing if all is as expected
    #[arg(short, long)]
    pub quiet: bool,
    #[command(flatten)]
    pub connect: Connect,
    #[command(flatten)]
    pub format: Format,
}
