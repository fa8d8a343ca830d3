//! `kes log`.

use std::pin::pin;
use std::time::Duration;

use anyhow::{Context as _, Result};
use kes_api::event::{AuditEvent, ErrorEvent};
use tokio::signal::ctrl_c;

use super::connect::client;
use super::explain::Subject;
use crate::args::LogArgs;
use crate::error::usage;
use crate::output::{Output, clean};

/// Formats a line of a log for a person; `None` if it is not such a line. On a terminal it is made
/// shorter.
type Render = fn(&str, bool) -> Option<String>;

/// Follows a log until the server ends it, the reader closes the pipe, or Ctrl-C. All three are
/// success.
pub(super) async fn run(args: LogArgs) -> Result<()> {
    if args.audit && args.error {
        return Err(usage("--audit and --error are both specified", "kes log"));
    }
    let client = client(&args.connect)?;
    let explain = |error| client.explain(error, Subject::Server);
    let (mut lines, render): (_, Render) = if args.error {
        let lines = client.error_log().await.map_err(explain);
        (lines.context("failed to follow the error log")?, error)
    } else {
        let lines = client.audit_log().await.map_err(explain);
        (lines.context("failed to follow the audit log")?, audit)
    };
    let mut output = Output::new();
    // One future for the whole loop, so that a signal that arrives while a line is printed counts.
    let mut interrupted = pin!(ctrl_c());
    loop {
        let line = tokio::select! {
            line = lines.next_line() => line.context("the log stream broke off")?,
            signal = &mut interrupted => { signal?; None }
        };
        let Some(line) = line else { return Ok(()) };
        if args.json {
            output.json_line(&line)?;
        } else {
            // A line of an unknown form is printed as it is.
            let text =
                render(&line, output.is_terminal()).unwrap_or_else(|| clean(&line).into_owned());
            output.print(&text)?;
        }
    }
}

fn audit(line: &str, terminal: bool) -> Option<String> {
    let event: AuditEvent<'_> = serde_json::from_str(line).ok()?;
    let ip = event.request.ip.map_or_else(|| "-".to_owned(), |ip| ip.to_string());
    let identity = match event.request.identity {
        None => "-".to_owned(),
        // All 64 digits would leave no room for the path.
        Some(identity) if terminal => format!("{}…", &identity.to_hex().as_str()[..12]),
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

fn error(line: &str, _: bool) -> Option<String> {
    let event: ErrorEvent<'_> = serde_json::from_str(line).ok()?;
    Some(clean(&event.message).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_audit_line_is_a_row() {
        let line = r#"{"time":"2026-11-22T02:24:08.5Z","request":{"ip":"127.0.0.1","path":"/v1/key/\u001b[2J","identity":"bd361f98d45e59575eae2080a1044ff2280ae7621f7dfaf3ba68af2ec945f378"},"response":{"code":403,"time":2437816}}"#;
        let identity = "bd361f98d45e59575eae2080a1044ff2280ae7621f7dfaf3ba68af2ec945f378";
        let head = "2026-11-22 02:24:08  403     2.4ms  127.0.0.1        ";
        let path = r"/v1/key/\u{1b}[2J";
        assert_eq!(audit(line, false).unwrap(), format!("{head}{identity}  {path}"));
        assert_eq!(audit(line, true).unwrap(), format!("{head}bd361f98d45e…  {path}"));
        // Without an identity, and from an address that is not known.
        let line = r#"{"time":"2026-11-22T02:24:08Z","request":{"path":"/","identity":""},"response":{"code":400,"time":900}}"#;
        let row = audit(line, false).unwrap();
        let words: Vec<&str> = row.split_whitespace().collect();
        assert_eq!(words[2..], ["400", "900.0ns", "-", "-", "/"]);
    }

    #[test]
    fn an_error_line_is_its_message() {
        assert_eq!(error(r#"{"message":"a\u001bb"}"#, true).unwrap(), r"a\u{1b}b");
        assert!(error("no JSON", true).is_none() && audit("{}", true).is_none());
    }
}
