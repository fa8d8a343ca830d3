//! `kes status`.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use kes_api::body::{Api, Migration, MigrationStore, Reload, Snapshot, Status};
use serde::Serialize;

use super::connect::{Session, clients};
use super::explain::{Explained, Subject};
use crate::args::StatusArgs;
use crate::output::{self, GOOD, LABEL, Output, WARN, clean};

/// What was found out about one server.
struct Report {
    endpoint: String,
    answer: Result<Answer>,
}

struct Answer {
    status: Status,
    apis: Option<Vec<Api>>,
    /// From the request to the answer.
    latency: Duration,
}

/// A report as JSON. For a single server it is the status as the server sends it.
#[derive(Serialize)]
struct JsonReport<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    endpoint: Option<&'a str>,
    #[serde(flatten)]
    status: Option<&'a Status>,
    #[serde(skip_serializing_if = "Option::is_none")]
    apis: Option<&'a [Api]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// Asks all servers at once and prints their answers in the given order. Servers that do not answer
/// are named on standard error. The command succeeds if at least one answered.
pub(super) async fn run(args: StatusArgs) -> Result<()> {
    let mut output = Output::with_color(args.format.color);
    let clients = clients(&args.connect)?;
    let total = clients.len();
    let asked: Vec<_> = clients
        .into_iter()
        .map(|client| {
            let endpoint = client.endpoints().iter().map(ToString::to_string).collect();
            (endpoint, tokio::spawn(async move { ask(&client, args.api).await }))
        })
        .collect();
    let mut answered = 0;
    for (endpoint, answer) in asked {
        let report = Report { endpoint, answer: answer.await? };
        match &report.answer {
            Ok(_) => answered += 1,
            // For a single server the error is enough.
            Err(_) if total == 1 => {}
            Err(error) => output::warning(&format!("no status of {}: {error:#}", report.endpoint)),
        }
        match report.answer {
            Err(error) if total == 1 => return Err(error.context("failed to get the status")),
            _ if args.format.json => output.json(&report.to_json(total > 1))?,
            Ok(answer) => output.print(&render(&report.endpoint, &answer, args.short))?,
            Err(_) => {}
        }
    }
    if answered == 0 {
        bail!("none of {total} servers gave its status");
    }
    Ok(())
}

async fn ask(client: &Session, apis: bool) -> Result<Answer> {
    let explain = |error| client.explain(error, Subject::Server);
    // The first request opens the connection; later ones do not wait for that.
    client.version().await.map_err(explain)?;
    let start = Instant::now();
    let status = client.status().await.map_err(explain)?;
    let latency = start.elapsed();
    let apis = if apis { Some(client.apis().await.map_err(explain)?) } else { None };
    Ok(Answer { status, apis, latency })
}

impl Report {
    fn to_json(&self, several: bool) -> JsonReport<'_> {
        let answer = self.answer.as_ref();
        JsonReport {
            endpoint: several.then_some(self.endpoint.as_str()),
            status: answer.ok().map(|answer| &answer.status),
            apis: answer.ok().and_then(|answer| answer.apis.as_deref()),
            error: answer.err().map(|error| match error.downcast_ref::<Explained>() {
                Some(explained) => explained.cause().to_string(),
                None => format!("{error:#}"),
            }),
        }
    }
}

/// The text for a server that answered.
fn render(endpoint: &str, answer: &Answer, short: bool) -> String {
    let status = &answer.status;
    let is_well = !status.keystore_unreachable && status.pinned_key_faults == 0;
    let dot = if !is_well { WARN } else { GOOD };
    let mut text = format!("{dot}●{dot:#} {}\n", clean(endpoint));
    if !short {
        text += &row("Version", &clean(&status.version));
        text += &row("Uptime", &uptime(status.uptime));
        text += &row("Latency", &latency(answer.latency));
        text += &row("OS", &clean(&status.os));
        text += &row("CPUs", &format!("{} {}", status.num_cpu, clean(&status.arch)));
        if status.fips {
            text += &row("FIPS", "140-3");
        }
        text += &row("Memory", "");
        text += &row("· Heap", &size(status.mem_heap_used));
        text += &row("· Stack", &size(status.mem_stack_used));
    }
    if status.keystore_unreachable {
        text += &row("Keystore", "unreachable");
    }
    if status.pinned_key_faults > 0 {
        let faults = status.pinned_key_faults;
        let told = format!("{faults} missing or wrong; the error log names them");
        text += &row("Pinned", &told);
    }
    if let Some(snapshot) = &status.snapshot
        && (!short || snapshot.failed || snapshot.used)
    {
        text += &row("Snapshot", &of_snapshot(snapshot));
    }
    if let Some(migration) = &status.migration {
        text += &migration_rows(migration);
    }
    for (label, reload) in [
        ("Reload", &status.last_reload),
        ("Certs", &status.last_certificate_reload),
        ("Handover", &status.last_handover),
    ] {
        match reload {
            Some(reload) if !short || has_failed(reload) => text += &row(label, &told(reload)),
            _ => {}
        }
    }
    for (index, api) in answer.apis.iter().flatten().enumerate() {
        if index == 0 {
            text += &row("APIs", "");
        }
        text += &api_row(api);
    }
    text
}

/// What the server has for a restart while its key store is away.
fn of_snapshot(snapshot: &Snapshot) -> String {
    let keys = snapshot.keys;
    let mut text = match &snapshot.written {
        Some(time) => {
            let plural = if keys == 1 { "" } else { "s" };
            format!("{keys} key{plural}, written at {} UTC", time.to_table())
        }
        None => "none yet".to_owned(),
    };
    if snapshot.used {
        text += "; keys come from it now";
    }
    if snapshot.failed {
        let reason = snapshot.reason.as_deref().unwrap_or("failed; only the admin is told why");
        text += &format!("; {}", clean(reason));
    }
    text
}

/// The stage of two key stores that are used at once, where the keys are, and what differs.
fn migration_rows(migration: &Migration) -> String {
    let Migration { read, write, compare, .. } = migration;
    let compare = if *compare { ", compare on" } else { "" };
    let stage = format!("read {}, write {}{compare}", clean(read), clean(write));
    let mut text = row("Migrate", &stage);
    for (label, store) in [("· Old", &migration.old), ("· New", &migration.new)] {
        text += &row(label, &member(store));
    }
    match (&migration.keys, &migration.not_counted) {
        (Some(keys), _) => {
            let told = format!(
                "{} in both, {} in the old alone{}, {} in the new alone{}; counted at {} UTC",
                keys.both,
                keys.old,
                listed(&keys.old_names, keys.old),
                keys.new,
                listed(&keys.new_names, keys.new),
                keys.time.to_table(),
            );
            text += &row("· Keys", &told);
        }
        (None, Some(reason)) => text += &row("· Keys", &format!("not counted: {}", clean(reason))),
        (None, None) => text += &row("· Keys", "not counted yet"),
    }
    if migration.differences > 0 {
        let names = listed(&migration.differing, migration.differing.len());
        let reads = migration.differences;
        text += &row("· Differ", &format!("{reads} reads found different values{names}"));
    }
    if migration.unfinished > 0 {
        let told = format!("{} changes are made in one store so far", migration.unfinished);
        text += &row("· Open", &told);
    }
    text
}

fn member(store: &MigrationStore) -> String {
    let place = store.place.as_deref().map(clean).unwrap_or_default();
    match (store.unreachable, &store.trouble) {
        (false, _) if place.is_empty() => "reachable".to_owned(),
        (false, _) => place.to_string(),
        (true, Some(trouble)) => format!("unreachable: {}", clean(trouble)),
        (true, None) => format!("unreachable {place}").trim_end().to_owned(),
    }
}

/// ` (a, b, ...)`, of which there are so many in all.
fn listed(names: &[String], all: usize) -> String {
    if names.is_empty() {
        return String::new();
    }
    let more = if all > names.len() { ", ..." } else { "" };
    format!(" ({}{more})", clean(&names.join(", ")))
}

fn has_failed(reload: &Reload) -> bool {
    reload.result == "error"
}

/// When a reload was, and what it changed or why it failed, which only the admin is told.
fn told(reload: &Reload) -> String {
    let time = reload.time.to_table();
    if has_failed(reload) {
        let reason = reload.reason.as_deref().unwrap_or("only the admin is told why");
        format!("failed at {time} UTC: {}", clean(reason))
    } else {
        let changes = reload.changes.as_deref().unwrap_or("succeeded");
        format!("at {time} UTC: {}", clean(changes))
    }
}

/// Method, path, largest body and deadline of an API.
fn api_row(api: &Api) -> String {
    let timeout = if api.timeout == 0 { "-".to_owned() } else { format!("{}s", api.timeout) };
    format!(
        "  · {method:6} {path:26} {body:>6} {timeout:>4}\n",
        method = clean(&api.method),
        path = clean(&api.path),
        body = size(api.max_body),
    )
}

/// An indented label, and its value from column 11 on.
fn row(label: &str, value: &str) -> String {
    // The padding is outside of the style, which may underline. Without a value there is none.
    let pad = if value.is_empty() { 0 } else { 9_usize.saturating_sub(label.chars().count()) };
    format!("  {LABEL}{label}{LABEL:#}{:pad$}{value}\n", "")
}

/// `2 seconds`, `1 hour 5 minutes`, `3 days 2 hours`: the two largest units.
pub(super) fn uptime(seconds: u64) -> String {
    let units = [
        (seconds / 86_400, "day"),
        (seconds / 3_600 % 24, "hour"),
        (seconds / 60 % 60, "minute"),
        (seconds % 60, "second"),
    ];
    let first = units.iter().position(|(count, _)| *count > 0).unwrap_or(units.len() - 1);
    let parts: Vec<String> = units[first..]
        .iter()
        .take(2)
        .filter(|(count, unit)| *count > 0 || (*unit == "second" && seconds == 0))
        .map(|(count, unit)| format!("{count} {unit}{}", if *count == 1 { "" } else { "s" }))
        .collect();
    parts.join(" ")
}

/// Milliseconds, and microseconds below one.
fn latency(time: Duration) -> String {
    match time.as_millis() {
        0 => format!("{}µs", time.as_micros()),
        millis => format!("{millis}ms"),
    }
}

/// `589.8KB`, `3.9MB`: decimal units, one digit after the point.
pub(super) fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KB", "MB", "GB", "TB"];
    // Tenths of the unit, rounded: 999.95 KB are 1.0 MB.
    let (mut tenths, mut unit) = (bytes.saturating_mul(10), 0);
    while tenths >= 10_000 && unit + 1 < UNITS.len() {
        tenths = tenths / 1_000 + u64::from(tenths % 1_000 >= 500);
        unit += 1;
    }
    match unit {
        0 => format!("{bytes}B"),
        _ => format!("{}.{}{}", tenths / 10, tenths % 10, UNITS[unit]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(answer: &Answer, short: bool) -> String {
        anstream::adapter::strip_str(&render("127.0.0.1:7373", answer, short)).to_string()
    }

    fn answer(status: &str) -> Answer {
        Answer {
            status: serde_json::from_str(status).unwrap(),
            apis: None,
            latency: Duration::from_micros(3_400),
        }
    }

    #[test]
    fn a_status_is_printed_as_in_the_recorded_run() {
        let status = r#"{"version":"v1","os":"linux","arch":"amd64","uptime":2,"num_cpu":2,"num_cpu_used":2,"mem_heap_used":3900000,"mem_stack_used":589824,"keystore_latency":1}"#;
        let expected = "\
● 127.0.0.1:7373
  Version  v1
  Uptime   2 seconds
  Latency  3ms
  OS       linux
  CPUs     2 amd64
  Memory
  · Heap   3.9MB
  · Stack  589.8KB
";
        assert_eq!(plain(&answer(status), false), expected);
        assert_eq!(plain(&answer(status), true), "● 127.0.0.1:7373\n");
    }

    #[test]
    fn the_last_reloads_are_told_and_in_the_short_form_those_that_failed() {
        let reload = |result: &str, text: &str| {
            format!(r#"{{"time":"2026-11-27T14:00:00Z","result":"{result}",{text}}}"#)
        };
        let good = reload("success", r#""changes":"1 policy added""#);
        let bad = reload("error", r#""reason":"no \u001b[31mfile""#);
        let status =
            format!(r#"{{"version":"v1","last_reload":{good},"last_certificate_reload":{bad}}}"#);
        let failed = "  Certs    failed at 2026-11-27 14:00:00 UTC: no \\u{1b}[31mfile\n";
        assert_eq!(plain(&answer(&status), true), format!("● 127.0.0.1:7373\n{failed}"));
        let both = format!("  Reload   at 2026-11-27 14:00:00 UTC: 1 policy added\n{failed}");
        let long = plain(&answer(&status), false);
        assert!(long.ends_with(&both), "{long}");

        // As they are told to whoever is not the admin.
        let [good, bad] = ["success", "error"].map(|result| reload(result, r#""x":1"#));
        let status =
            format!(r#"{{"version":"v1","last_reload":{good},"last_certificate_reload":{bad}}}"#);
        let failed = "  Certs    failed at 2026-11-27 14:00:00 UTC: only the admin is told why\n";
        assert_eq!(plain(&answer(&status), true), format!("● 127.0.0.1:7373\n{failed}"));
        let both = format!("  Reload   at 2026-11-27 14:00:00 UTC: succeeded\n{failed}");
        let long = plain(&answer(&status), false);
        assert!(long.ends_with(&both), "{long}");
    }

    #[test]
    fn an_unreachable_key_store_has_a_line_in_every_form() {
        let answered = || answer(r#"{"version":"v1","keystore_unreachable":true}"#);
        let short = "● 127.0.0.1:7373\n  Keystore unreachable\n";
        assert_eq!(plain(&answered(), true), short);
        assert!(plain(&answered(), false).ends_with("\n  Keystore unreachable\n"));
        let report = Report { endpoint: "a:1".to_owned(), answer: Ok(answered()) };
        let json = serde_json::to_string(&report.to_json(false)).unwrap();
        assert!(json.contains(r#""keystore_unreachable":true"#), "{json}");
        assert!(!json.contains("endpoint") && !json.contains("error"), "{json}");
    }

    #[test]
    fn a_snapshot_is_told_and_in_the_short_form_if_it_matters() {
        let told = |snapshot: &str, short| {
            let status = format!(r#"{{"version":"v1","snapshot":{snapshot}}}"#);
            let text = plain(&answer(&status), short);
            text.lines().find_map(|line| line.strip_prefix("  Snapshot ")).map(str::to_owned)
        };
        let well = r#"{"keys":2,"written":"2026-11-27T14:00:00Z"}"#;
        let line = "2 keys, written at 2026-11-27 14:00:00 UTC";
        assert_eq!(told(well, false).as_deref(), Some(line));
        assert_eq!(told(well, true), None);
        assert_eq!(told(r#"{"keys":0}"#, false).as_deref(), Some("none yet"));
        let used = r#"{"keys":1,"written":"2026-11-27T14:00:00Z","used":true}"#;
        let line = "1 key, written at 2026-11-27 14:00:00 UTC; keys come from it now";
        assert_eq!(told(used, true).as_deref(), Some(line));
        let failed = r#"{"keys":0,"failed":true,"reason":"not used: a\nb"}"#;
        assert_eq!(told(failed, true).as_deref(), Some("none yet; not used: a\\nb"));
        let line = "none yet; failed; only the admin is told why";
        assert_eq!(told(r#"{"keys":0,"failed":true}"#, true).as_deref(), Some(line));
    }

    #[test]
    fn sizes_are_decimal_with_one_digit() {
        for (bytes, text) in [
            (0, "0B"),
            (999, "999B"),
            (1_000, "1.0KB"),
            (589_824, "589.8KB"),
            (999_949, "999.9KB"),
            (999_950, "1.0MB"),
            (3_900_000, "3.9MB"),
            (1_500_000_000, "1.5GB"),
            (u64::MAX, "1844674.4TB"),
        ] {
            assert_eq!(size(bytes), text, "{bytes}");
        }
    }

    #[test]
    fn uptimes_have_their_two_largest_units() {
        for (seconds, text) in [
            (0, "0 seconds"),
            (1, "1 second"),
            (2, "2 seconds"),
            (60, "1 minute"),
            (3_900, "1 hour 5 minutes"),
            (86_400 * 3 + 7_205, "3 days 2 hours"),
            (86_400 + 59, "1 day"),
        ] {
            assert_eq!(uptime(seconds), text, "{seconds}");
        }
    }
}
