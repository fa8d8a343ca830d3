//! Listings of keys, policies and identities: `kes ls`, and the `ls` of the other commands.

use anyhow::{Context as _, Result};

use super::connect::{self, Session};
use super::explain::Subject::Pattern;
use crate::args::{Format, LsArgs};
use crate::error::usage;
use crate::output::Output;

/// `kes ls`
pub(super) async fn run(args: LsArgs) -> Result<()> {
    if args.identity && args.policy {
        return Err(usage("--identity and --policy are both specified", "kes ls"));
    }
    let client =
        connect::client_with(&args.connect, args.server.as_deref(), args.api_key.as_deref())?;
    let prefix = args.prefix.as_deref();
    match (args.identity, args.policy) {
        (true, _) => identities(&client, prefix, &args.format).await,
        (_, true) => policies(&client, prefix, &args.format).await,
        _ => keys(&client, prefix, &args.format).await,
    }
}

/// Prints the names of keys.
pub(super) async fn keys(client: &Session, pattern: Option<&str>, format: &Format) -> Result<()> {
    let names = client
        .list_keys(pattern.unwrap_or(""))
        .await
        .map_err(|error| client.explain(error, Pattern))
        .context("failed to list keys")?;
    print("Key", &names, format)
}

/// Prints the names of policies.
pub(super) async fn policies(
    client: &Session,
    pattern: Option<&str>,
    format: &Format,
) -> Result<()> {
    let names = client
        .list_policies(pattern.unwrap_or(""))
        .await
        .map_err(|error| client.explain(error, Pattern))
        .context("failed to list policies")?;
    print("Policy", &names, format)
}

/// Prints identities.
pub(super) async fn identities(
    client: &Session,
    pattern: Option<&str>,
    format: &Format,
) -> Result<()> {
    let names = client
        .list_identities(pattern.unwrap_or(""))
        .await
        .map_err(|error| client.explain(error, Pattern))
        .context("failed to list identities")?;
    print("Identity", &names, format)
}

fn print(heading: &str, names: &[String], format: &Format) -> Result<()> {
    let mut output = Output::with_color(format.color);
    if format.json { output.json(&names) } else { output.list(heading, names) }
}
