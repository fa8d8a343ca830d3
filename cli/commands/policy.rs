//! `kes policy`.

use std::fmt::Write as _;

use anyhow::{Context as _, Result};
use kes_api::body::{Limits, PolicyPatterns, ReadPolicy};

use super::connect::client;
use super::explain::Subject::Policy;
use super::list;
use crate::args::{NamedPolicy, PolicyCommand};
use crate::error::usage;
use crate::output::Output;

/// Why a request is allowed or refused.
pub(super) mod explain;

/// The policies that applications need.
mod preset;

/// What a request asks for.
mod request;

/// Where policies are looked up.
mod rules;

/// What to add to policies.
mod suggest;

/// Tables of expectations.
pub(super) mod test;

pub(super) async fn run(command: PolicyCommand) -> Result<()> {
    match command {
        PolicyCommand::Ls { pattern, connect, format } => {
            list::policies(&client(&connect)?, pattern.as_deref(), &format).await
        }
        PolicyCommand::Info(policy) => info(policy).await,
        PolicyCommand::Show(policy) => show(policy).await,
        PolicyCommand::Suggest(args) => suggest::run(args).await,
        PolicyCommand::Preset(args) => preset::run(args),
        // Their exit status is an answer.
        PolicyCommand::Explain(args) => explain::run(args).await.map(drop),
        PolicyCommand::Test(args) => test::run(args).await.map(drop),
    }
}

async fn info(NamedPolicy { name, connect, format }: NamedPolicy) -> Result<()> {
    let name = given(name, "kes policy info")?;
    let client = client(&connect)?;
    let policy = client
        .describe_policy(&name)
        .await
        .map_err(|error| client.explain(error, Policy(&name)))
        .context("failed to describe policy")?;
    let mut output = Output::with_color(format.color);
    if format.json {
        return output.json(&policy);
    }
    output.table(&[
        ("Name", policy.name),
        ("Date", policy.created_at.to_table()),
        ("Created by", policy.created_by),
    ])
}

/// Prints JSON unless standard output is a terminal: the only command whose plain form is JSON.
async fn show(NamedPolicy { name, connect, format }: NamedPolicy) -> Result<()> {
    let name = given(name, "kes policy show")?;
    let client = client(&connect)?;
    let policy = client
        .read_policy(&name)
        .await
        .map_err(|error| client.explain(error, Policy(&name)))
        .context("failed to show policy")?;
    let mut output = Output::with_color(format.color);
    if format.json || !output.is_terminal() {
        return output.json(&ReadPolicy { name: String::new(), ..policy });
    }
    let mut rows =
        vec![("Name", name), ("Allow", patterns(&policy.allow)), ("Deny", patterns(&policy.deny))];
    rows.extend(policy.limits.map(|policy| ("Limits", limits(&policy))));
    rows.push(("Date", policy.created_at.to_table()));
    rows.push(("Created by", policy.created_by));
    output.table(&rows)
}

fn given(name: Option<String>, command: &str) -> Result<String> {
    name.filter(|name| !name.is_empty()).ok_or_else(|| usage("no policy name specified", command))
}

/// A pattern a line; `-` for none.
pub(super) fn patterns(patterns: &PolicyPatterns) -> String {
    if patterns.is_empty() {
        return "-".to_owned();
    }
    patterns.keys().fold(String::new(), |mut text, pattern| {
        let _ = writeln!(text, "{pattern}");
        text
    })
}

/// A limit a line.
pub(super) fn limits(limits: &Limits) -> String {
    let rows = [
        (limits.requests_per_second, "requests per second"),
        (limits.requests_at_once, "requests at once"),
        (limits.store_calls_per_second, "key store calls per second"),
    ];
    rows.into_iter().filter_map(|(most, what)| Some(format!("{} {what}\n", most?))).collect()
}
