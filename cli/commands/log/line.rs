//! Lines of the logs for a person.

use std::time::Duration;

use anstyle::Style;
use kes_api::event::{AuditEvent, ErrorEvent};

use crate::output::{BAD, GOOD, WARN, clean};

/// What matters less.
const FAINT: Style = Style::new().dimmed();

/// Formats a line of a log; `None` if it is not such a line. On a terminal it is made shorter. The
/// colours are taken out again where there are none.
pub(super) type Render = fn(&str, bool) -> Option<String>;

/// A line of the audit log.
pub(super) fn audit(line: &str, terminal: bool) -> Option<String> {
    let event: AuditEvent<'_> = serde_json::from_str(line).ok()?;
    let ip = event.request.ip.map_or_else(|| "-".to_owned(), |ip| ip.to_string());
    let identity = match event.request.identity {
        None => "-".to_owned(),
        // All 64 digits would leave no room for the path.
        Some(identity) if terminal => format!("{}…", &identity.to_hex().as_str()[..12]),
        Some(identity) => identity.to_string(),
    };
    let took = Duration::from_nanos(event.response.time);
    let of_status = match event.response.code {
        ..400 => GOOD,
        400..500 => WARN,
        500.. => BAD,
    };
    Some(format!(
        "{FAINT}{time}{FAINT:#}  {of_status}{code}{of_status:#}  {took:>8}  {ip:15}  {identity:13}  {path}",
        time = event.time.to_table(),
        code = event.response.code,
        took = format!("{took:.1?}"),
        path = clean(&event.request.path),
    ))
}

/// A line of the error log.
pub(super) fn error(line: &str, _: bool) -> Option<String> {
    let event: ErrorEvent<'_> = serde_json::from_str(line).ok()?;
    Some(clean(&event.message).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(line: &str, terminal: bool) -> String {
        anstream::adapter::strip_str(&audit(line, terminal).unwrap()).to_string()
    }

    #[test]
    fn an_audit_line_is_a_row() {
        let line = r#"{"time":"2026-11-22T02:24:08.5Z","request":{"ip":"127.0.0.1","path":"/v1/key/\u001b[2J","identity":"bd361f98d45e59575eae2080a1044ff2280ae7621f7dfaf3ba68af2ec945f378"},"response":{"code":403,"time":2437816}}"#;
        let identity = "bd361f98d45e59575eae2080a1044ff2280ae7621f7dfaf3ba68af2ec945f378";
        let head = "2026-11-22 02:24:08  403     2.4ms  127.0.0.1        ";
        let path = r"/v1/key/\u{1b}[2J";
        assert_eq!(plain(line, false), format!("{head}{identity}  {path}"));
        assert_eq!(plain(line, true), format!("{head}bd361f98d45e…  {path}"));
        // Without an identity, and from an address that is not known.
        let line = r#"{"time":"2026-11-22T02:24:08Z","request":{"path":"/","identity":""},"response":{"code":400,"time":900}}"#;
        let row = plain(line, false);
        let words: Vec<&str> = row.split_whitespace().collect();
        assert_eq!(words[2..], ["400", "900.0ns", "-", "-", "/"]);
    }

    #[test]
    fn the_class_of_a_status_has_its_colour() {
        for (code, style) in [(200, GOOD), (403, WARN), (502, BAD)] {
            let line = format!(
                r#"{{"time":"2026-11-22T02:24:08Z","request":{{"path":"/"}},"response":{{"code":{code},"time":900}}}}"#
            );
            let shown = audit(&line, true).unwrap();
            assert!(shown.contains(&format!("{style}{code}{style:#}")), "{shown:?}");
            assert!(shown.starts_with("\u{1b}[2m2026-11-22 02:24:08\u{1b}[0m"), "{shown:?}");
        }
    }

    #[test]
    fn an_error_line_is_its_message() {
        assert_eq!(error(r#"{"message":"a\u001bb"}"#, true).unwrap(), r"a\u{1b}b");
        assert!(error("no JSON", true).is_none() && audit("{}", true).is_none());
    }
}
