//! The view of `kes metric` on a terminal.

use std::fmt::Write as _;
use std::time::Duration;

use super::sample::Sample;
use crate::commands::status::{size, uptime};
use crate::output::{BAD, GOOD, HEADING, LABEL, WARN, clean};

/// The text of one reading, with rates since the previous reading.
pub(super) fn render(servers: &str, now: &Sample, before: Option<&Sample>) -> String {
    let seconds = before.map(|before| {
        Duration::from_nanos(now.up_time.saturating_sub(before.up_time)).as_secs_f64()
    });
    // After a restart the server counts from 0.
    let rate = |count: fn(&Sample) -> u64| match (before, seconds) {
        (Some(before), Some(seconds)) if seconds > 0.0 => {
            let more = count(now).saturating_sub(count(before));
            format!("{:.1}/s", to_f64(more) / seconds)
        }
        _ => "-".to_owned(),
    };
    let servers = clean(servers);
    let time = now.time.to_table();
    format!("{GOOD}●{GOOD:#} {servers}  {time} UTC\n{}", figures(now, &rate))
}

/// The text for a reading that failed: the state of the server, why, and the last reading.
pub(super) fn render_failure(servers: &str, state: &str, error: &str, last: &Sample) -> String {
    let time = last.time.to_table();
    let mut text = format!("{BAD}●{BAD:#} {}  {state}\n", clean(servers));
    for line in error.lines().flat_map(wrapped) {
        let _ = writeln!(text, "  {}", clean(&line));
    }
    let _ = write!(text, "\n{LABEL}Last reading{LABEL:#}  {time} UTC\n");
    text + &figures(last, &|_| "-".to_owned())
}

/// A line as several of at most this many columns, as far as it has blanks: what is refreshed must
/// not be broken by the terminal.
fn wrapped(line: &str) -> Vec<String> {
    const COLUMNS: usize = 76;
    let mut lines = vec![String::new()];
    for word in line.split_whitespace() {
        let last = lines.last_mut().expect("there is one");
        if last.is_empty() {
            last.push_str(word);
        } else if last.chars().count() + 1 + word.chars().count() <= COLUMNS {
            last.push(' ');
            last.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}

fn figures(now: &Sample, rate: &dyn Fn(fn(&Sample) -> u64) -> String) -> String {
    let mut text = String::new();
    let counted = [
        ("Answered", now.success, rate(|sample| sample.success), GOOD),
        ("Refused", now.error, rate(|sample| sample.error), WARN),
        ("Failed", now.failure, rate(|sample| sample.failure), BAD),
    ];
    let _ = writeln!(text, "\n{HEADING}Requests{HEADING:#}");
    for (label, count, rate, style) in counted {
        let style = if count == 0 { anstyle::Style::new() } else { style };
        let share = share(count, now.answered());
        let _ = writeln!(
            text,
            "  {LABEL}{label:10}{LABEL:#}{style}{count:>14}{style:#}  {share:>6}  {rate:>12}"
        );
    }
    let _ = writeln!(text, "  {LABEL}Active    {LABEL:#}{:>14}", now.active);

    let _ = writeln!(text, "\n{HEADING}Response time{HEADING:#}");
    for (label, part) in [("50 %", 0.5), ("90 %", 0.9), ("99 %", 0.99)] {
        let _ = writeln!(text, "  {LABEL}{label:10}{LABEL:#}{:>14}", quantile(now, part));
    }

    let _ = writeln!(text, "\n{HEADING}Log events{HEADING:#}");
    for (label, count, rate) in [
        ("Error", now.error_events, rate(|sample| sample.error_events)),
        ("Audit", now.audit_events, rate(|sample| sample.audit_events)),
    ] {
        let _ = writeln!(text, "  {LABEL}{label:10}{LABEL:#}{count:>14}  {:6}  {rate:>12}", "");
    }

    let _ = writeln!(text, "\n{HEADING}System{HEADING:#}");
    for (label, value) in [
        ("Uptime", uptime(Duration::from_nanos(now.up_time).as_secs())),
        ("CPUs", format!("{} of {}", now.num_cpu_used, now.num_cpu)),
        ("Threads", now.num_threads.to_string()),
        ("Heap", size(now.mem_heap_used)),
        ("Stack", size(now.mem_stack_used)),
    ] {
        let _ = writeln!(text, "  {LABEL}{label:10}{LABEL:#}{value:>14}");
    }
    text
}

/// `98.2%`
fn share(count: u64, all: u64) -> String {
    if all == 0 {
        return "-".to_owned();
    }
    format!("{:.1}%", to_f64(count) * 100.0 / to_f64(all))
}

/// The upper bound for this share of the requests, such as `<= 10ms`.
fn quantile(sample: &Sample, part: f64) -> String {
    let all = sample.answered();
    if all == 0 {
        return "-".to_owned();
    }
    let wanted = to_f64(all) * part;
    let bound = sample.response_time.iter().find(|(_, count)| to_f64(**count) >= wanted);
    match (bound, sample.response_time.keys().last()) {
        (Some((bound, _)), _) => format!("<= {:?}", Duration::from_nanos(*bound)),
        (None, Some(last)) => format!("> {:?}", Duration::from_nanos(*last)),
        (None, None) => "-".to_owned(),
    }
}

#[expect(clippy::cast_precision_loss, reason = "it is printed with few digits")]
fn to_f64(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reading_is_shown_with_its_rates() {
        let text = |success: u64, up: u64| {
            format!(
                "kes_http_request_success{{code=\"200\"}} {success}\n\
                 kes_http_request_error{{code=\"403\"}} 10\n\
                 kes_http_response_time_bucket{{le=\"0.01\"}} 90\n\
                 kes_http_response_time_bucket{{le=\"0.05\"}} 99\n\
                 kes_system_up_time {up}\n\
                 kes_system_num_cpu 2\n"
            )
        };
        let (first, second) = (Sample::parse(&text(40, 60)), Sample::parse(&text(90, 65)));
        let plain =
            |now, before| anstream::adapter::strip_str(&render("a:1", now, before)).to_string();
        let shown = plain(&second, Some(&first));
        for line in [
            "  Answered              90   90.0%        10.0/s",
            "  Refused               10   10.0%         0.0/s",
            "  Failed                 0    0.0%         0.0/s",
            "  50 %             <= 10ms",
            "  99 %             <= 50ms",
            "  Uptime    1 minute 5 seconds",
        ] {
            assert!(shown.lines().any(|shown| shown == line), "{line:?} in\n{shown}");
        }
        assert!(plain(&first, None).contains("             -\n"), "{}", plain(&first, None));
        let error = format!("refused {}\nhint", "x ".repeat(50));
        let away = render_failure("a:1", "away since today", &error, &second);
        let away = anstream::adapter::strip_str(&away).to_string();
        assert!(away.starts_with("● a:1  away since today\n"), "{away}");
        for line in ["  hint", "  Answered              90   90.0%             -"] {
            assert!(away.lines().any(|shown| shown == line), "{line:?} in\n{away}");
        }
        assert!(away.lines().all(|line| line.chars().count() <= 78), "{away}");
        // A server that was started again.
        assert!(plain(&first, Some(&second)).contains("Answered"));
        assert!(plain(&Sample::parse(""), None).contains("  99 %                   -\n"));
    }
}
