//! `kes policy`.

use std::fmt::Write as _;

use anyhow::{Context as _, Result};
use kes_api::body::{PolicyPatterns, ReadPolicy};

use super::connect::client;
use super::list;
use crate::args::{NamedPolicy, PolicyCommand};
use crate::error::usage;
use crate::output::Output;

pub(super) async fn run(command: PolicyCommand) -> Result<()> {
    match command {
        PolicyCommand::Ls { pattern, connect, format } => {
            list::policies(&client(&connect)?, pattern.as_deref(), &format).await
        }
        PolicyCommand::Info(policy) => info(policy).await,
        PolicyCommand::Show(policy) => show(policy).await,
    }
}

async fn info(NamedPolicy { name, connect, format }: NamedPolicy) -> Result<()> {
    let name = name.ok_or_else(|| usage("no policy name specified", "kes policy info"))?;
    let policy =
        client(&connect)?.describe_policy(&name).await.context("failed to describe policy")?;
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

/// JSON wherever no person reads: this is the one command whose plain form is JSON.
async fn show(NamedPolicy { name, connect, format }: NamedPolicy) -> Result<()> {
    let name = name.ok_or_else(|| usage("no policy name specified", "kes policy show"))?;
    let policy = client(&connect)?.read_policy(&name).await.context("failed to show policy")?;
    let mut output = Output::with_color(format.color);
    if format.json || !output.is_terminal() {
        return output.json(&ReadPolicy { name: String::new(), ..policy });
    }
    output.table(&[
        ("Name", name),
        ("Allow", patterns(&policy.allow)),
        ("Deny", patterns(&policy.deny)),
        ("Date", policy.created_at.to_table()),
        ("Created by", policy.created_by),
    ])
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
