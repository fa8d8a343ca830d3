//! `kes log`.

use std::time::Duration;

use anyhow::{Context as _, Result};
use kes_api::event::{AuditEvent, ErrorEvent};
use tokio::signal::ctrl_c;

use super::connect::client;
use crate::args::LogArgs;
use crate::error::usage;
use crate::output::{Output, clean};

/// A line of a log, as a person reads it.
type Render = fn(&str, &Output) -> Option<String>;

/// Follows a log until the server ends it, nobody reads any more, or Ctrl-C: all of them good.
pub(super) async fn run(args: LogArgs) -> Result<()> {
    if args.audit && args.error {
        return Err(usage("--audit and --error are both specified", "kes log"));
    }
    let client = client(&args.connect)?;
    let (mut lines, render): (_, Render) = if args.error {
        (client.error_log().await.context("failed to follow the error log")?, error)
    } else {
        (client.audit_log().await.context("failed to follow the audit log")?, audit)
    };
    let mut output = Output::new();
    loop {
        let line = tokio::select! {
            line = lines.next_line() => line.context("the log broke off")?,
            signal = ctrl_c() => { signal?; None }
        };
        let Some(line) = line else { return Ok(()) };
        if args.json {
            output.print(&line)?;
        } else {
            // A line of a form that is not known is better shown than lost.
            let text = render(&line, &output).unwrap_or_else(|| clean(&line).into_owned());
            output.print(&text)?;
        }
    }
}

fn audit(line: &str, output: &Output) -> Option<String> {
    let event: AuditEvent<'_> = serde_json::from_str(line).ok()?;
    let ip = event.request.ip.map_or_else(|| "-".to_owned(), |ip| ip.to_string());
    let identity = match event.request.identity {
        None => "-".to_owned(),
        // Sixty-four digits leave no room for the path.
        Some(identity) if output.is_terminal() => format!("{}…", &identity.to_hex().as_str()[..12]),
        Some(identity) => identity.to_string(),
    };
    let took = Duration::from_nanos(event.response.time);
    Some(format!(
        "{time}  {code}  {took:>8}  {ip:15}  {identity:13}  {path}",
        time = event.time.to_table(),
        code = event.response.code,
        took = format!("{took:.1?}"),
        path = clean(&event.request.path),
    ))
}

fn error(line: &str, _: &Output) -> Option<String> {
    let event: ErrorEvent<'_> = serde_json::from_str(line).ok()?;
    Some(clean(&event.message).into_owned())
}
