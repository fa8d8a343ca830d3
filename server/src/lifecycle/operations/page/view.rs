//! What the page shows, in texts, charts and tables. The document and the event stream are both made
//! of it, so that neither tells more than the other.

use std::collections::BTreeMap;
use std::time::SystemTime;

use kes_api::Timestamp;
use kes_api::route::ROUTES;
use kes_keystore::State;

use super::chart::Chart;
use super::facts::{Certificate, Facts, Refusal};
use super::format::{count, counted, latency, rate, share, span};
use super::history::{History, Outage, Series};

/// How many refusals are shown.
const REFUSALS: usize = 20;

/// How many certificates of clients are shown.
const CLIENTS: usize = 20;

/// Over how many seconds a rate is the mean, so that it can be read while it changes.
const RECENT: usize = 5;

/// A certificate that ends within this many days is worth a look; within [`URGENT`], an alarm.
const SOON: u64 = 30;
const URGENT: u64 = 7;

const DAY: u64 = 24 * 60 * 60;

/// How something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Tone {
    Good,
    Warning,
    Bad,
}

/// A cell of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Cell {
    Text(String),
    /// Something to copy.
    Code(String),
    /// How it is.
    Toned(Tone, String),
    /// The chart with this name.
    Chart(String),
    /// What stands in place of rows.
    None(&'static str),
}

/// All of it.
pub(super) struct View {
    /// By the name of the place. A place with a tone has one.
    pub(super) texts: BTreeMap<&'static str, (Option<Tone>, String)>,
    pub(super) charts: Vec<Chart>,
    /// The rows of each table.
    pub(super) tables: BTreeMap<&'static str, Vec<Vec<Cell>>>,
}

impl View {
    /// The view of a moment.
    pub(super) fn of(history: &History, facts: &Facts, now: Timestamp) -> Self {
        let (texts, tables) = (BTreeMap::new(), BTreeMap::new());
        let mut view = Self { texts, charts: Vec::new(), tables };
        view.add_problems(facts, history, now);
        view.add_requests(history);
        view.add_cache(history, facts);
        view.add_store(history, facts, now);
        view.add_operations(history);
        view.add_certificates(facts, now);
        view.add_refusals(facts);
        let Facts { version, commit, is_fips, uptime, policies, identities, .. } = facts;
        view.text("version", format!("kes {version}"));
        view.text("commit", commit.chars().take(12).collect());
        view.text("fips", if *is_fips { "FIPS 140-3 module" } else { "standard" }.to_owned());
        view.text("uptime", span(*uptime));
        view.text("policies", counted(*policies, "policy", "policies"));
        view.text("identities", counted(*identities, "identity", "identities"));
        view.text("time", format!("{} UTC", now.to_table()));
        view
    }

    fn text(&mut self, place: &'static str, text: String) {
        self.texts.insert(place, (None, text));
    }

    fn toned(&mut self, place: &'static str, tone: Tone, text: String) {
        self.texts.insert(place, (Some(tone), text));
    }

    /// What needs the operator's attention, in one line each, and the state of the server in two words.
    fn add_problems(&mut self, facts: &Facts, history: &History, now: Timestamp) {
        let mut problems = Vec::new();
        match (facts.state, history.outage().filter(|outage| outage.until.is_none())) {
            (State::Reachable { .. }, _) => {}
            (state, outage) => {
                let what = if state == State::Unreachable {
                    "The key store cannot be reached"
                } else {
                    "The key store refuses to serve"
                };
                let since = outage.map(|outage| format!(" since {} UTC", outage.since.to_table()));
                let cause = facts.trouble.as_ref().map(|trouble| format!(": {trouble}"));
                let rest = [since, cause].into_iter().flatten().collect::<String>();
                problems.push((Tone::Bad, format!("{what}{rest}")));
            }
        }
        if facts.pin_faults > 0 {
            let keys = counted(facts.pin_faults, "pinned key is", "pinned keys are");
            problems.push((Tone::Bad, format!("{keys} missing in the key store, or another key")));
        }
        for (what, at, reason) in &facts.failed_reloads {
            let reason = reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
            problems.push((Tone::Bad, format!("{what} at {} UTC{reason}", at.to_table())));
        }
        for certificate in &facts.certificates {
            let (tone, left) = remaining(certificate.until, now);
            if tone > Tone::Good {
                problems.push((tone, format!("Certificate {}: {left}", certificate.name)));
            }
        }
        if history.last().is_some_and(|last| last.lost_lines > 0) {
            let text = "Lines of a log were lost; the error log says where".to_owned();
            problems.push((Tone::Warning, text));
        }
        let worst = problems.iter().map(|(tone, _)| *tone).max().unwrap_or(Tone::Good);
        let state = match (worst, facts.state) {
            (_, State::Unreachable | State::Unavailable) => "Key store away",
            (Tone::Bad, _) => "Needs attention",
            (Tone::Warning, _) => "Serving, with warnings",
            (Tone::Good, _) => "Serving",
        };
        self.toned("state", worst, state.to_owned());
        let rows = problems.into_iter().map(|(tone, text)| vec![Cell::Toned(tone, text)]);
        self.tables.insert("problems", rows.collect());
    }

    fn add_requests(&mut self, history: &History) {
        let series = |series| history.values(series).collect::<Vec<_>>();
        let recent = |series| history.mean(series, RECENT);
        let last = history.last();
        let total = |is_wanted: fn(u16) -> bool| last.map_or(0, |last| last.answered(is_wanted));

        let now = rate(recent(Series::Requests));
        self.add_chart("requests", "Requests", &now, 1.0, vec![series(Series::Requests)]);
        self.text("requests", now);
        self.text("answered", count(total(|_| true)));
        self.text("active", count(positive(last.map_or(0, |last| last.active))));

        let times = history.latency(None);
        let [median, slow] =
            [0.5, 0.99].map(|part| times.quantile(part).map_or_else(|| "–".to_owned(), latency));
        let lines = vec![series(Series::Slow), series(Series::Median)];
        let chart = Chart::new("latency", 0.000_1, lines);
        self.text("latency-top", latency(chart.top.into()));
        let label = format!("Latency: half within {median}, 99 of 100 within {slow}");
        self.charts.push(chart.labelled(label));
        self.text("median", median);
        self.text("slow", slow);

        let [failed, refused] = [Series::Failed, Series::Refused].map(|one| rate(recent(one)));
        let lines = vec![series(Series::Failed), series(Series::Refused)];
        self.add_chart(
            "errors",
            "Errors",
            &format!("{failed} failed, {refused} refused"),
            1.0,
            lines,
        );
        let tone = if recent(Series::Failed) > 0.0 { Tone::Bad } else { Tone::Good };
        self.toned("failed", tone, failed);
        self.text("refused", refused);
        self.text("failed-total", count(total(|status| status >= 500)));
        self.text("refused-total", count(total(|status| (300..500).contains(&status))));

        let connections = count(positive(last.map_or(0, |last| last.connections)));
        let limit = count(positive(last.map_or(0, |last| last.connections_limit)));
        let lines = vec![series(Series::Connections)];
        self.add_chart("connections", "Connections", &connections, 1.0, lines);
        self.text("connections", connections);
        self.text("connections-limit", limit);
    }

    /// A chart of something a second or a number, with its upper edge.
    fn add_chart(
        &mut self,
        id: &'static str,
        what: &str,
        now: &str,
        least: f32,
        lines: Vec<Vec<f32>>,
    ) {
        let chart = Chart::new(id, least, lines);
        let top = rate(chart.top.into());
        let label = format!("{what} over five minutes: {now} now; the scale ends at {top}");
        self.charts.push(chart.labelled(label));
        let place = match id {
            "requests" => "requests-top",
            "errors" => "errors-top",
            "cache" => "cache-top",
            "store" => "store-top",
            _ => "connections-top",
        };
        self.text(place, top);
    }

    fn add_cache(&mut self, history: &History, facts: &Facts) {
        let read = |readings: Option<&crate::observe::metrics::Readings>| {
            readings.map_or((0, 0), |readings| (readings.cache_hits, readings.cache_misses))
        };
        let ((hits, misses), before) = (read(history.last()), read(history.a_minute_ago()));
        let (hits, misses) = (hits.saturating_sub(before.0), misses.saturating_sub(before.1));
        let part = match hits + misses {
            0 => "–".to_owned(),
            all => share(hits as f64 / all as f64),
        };
        let lines = [Series::Hits, Series::Misses].map(|series| history.values(series).collect());
        self.add_chart("cache", "Keys from memory", &part, 1.0, lines.to_vec());
        self.text("hits", part);
        self.text("keys", counted(facts.cached_keys, "key", "keys"));
    }

    fn add_store(&mut self, history: &History, facts: &Facts, now: Timestamp) {
        let (tone, state) = match facts.state {
            State::Reachable { latency: took } => {
                self.text("store-check", latency(took.as_secs_f64()));
                (Tone::Good, "Reachable")
            }
            State::Unreachable => (Tone::Bad, "Unreachable"),
            State::Unavailable => (Tone::Bad, "Refuses to serve"),
        };
        if tone == Tone::Bad {
            self.text("store-check", "–".to_owned());
        }
        self.toned("store", tone, state.to_owned());
        let outage = match history.outage() {
            None => format!("none since {} UTC", history.began.to_table()),
            Some(Outage { since, until, is_unreachable }) => {
                let what = if *is_unreachable { "" } else { ", refused to serve" };
                let lasted = span(between(*since, until.unwrap_or(now)));
                let state = if until.is_some() { "" } else { " and goes on" };
                format!("{} UTC, for {lasted}{state}{what}", since.to_table())
            }
        };
        self.text("outage", outage);
        let calls = rate(history.mean(Series::StoreCalls, RECENT));
        let lines = vec![history.values(Series::StoreCalls).collect()];
        self.add_chart("store", "Calls to the key store", &calls, 1.0, lines);
        self.text("store-calls", calls);
        let (last, before) = (history.last(), history.a_minute_ago());
        let times =
            last.zip(before).map(|(last, before)| last.store_calls.since(&before.store_calls));
        let slow = times.and_then(|times| times.quantile(0.99));
        self.text("store-slow", slow.map_or_else(|| "–".to_owned(), latency));
        let errors = last.map_or(0, |last| last.store_errors);
        self.text("store-errors", count(errors));
        self.text("place", facts.place.clone().unwrap_or_default());
        self.text("store-version", facts.store_version.clone().unwrap_or_else(|| "–".to_owned()));
    }

    /// A row for each operation that was asked for since the start.
    fn add_operations(&mut self, history: &History) {
        let mut rows = Vec::new();
        for route in &ROUTES {
            let operation = route.operation;
            let all = history.last().and_then(|last| last.by_api.get(operation.index()));
            let Some(all) = all.map(|all| all.count()).filter(|all| *all > 0) else { continue };
            let times = history.latency(Some(operation));
            let quantile =
                |part| Cell::Text(times.quantile(part).map_or_else(|| "–".to_owned(), latency));
            let series = Series::Of(operation);
            let id = format!("op{}", operation.index());
            let now = rate(history.mean(series, RECENT));
            let label = format!("{} over five minutes: {now} a second", route.path);
            let lines = vec![history.values(series).collect()];
            self.charts.push(Chart::new(id.clone(), 0.2, lines).labelled(label));
            rows.push(vec![
                Cell::Code(route.path.trim_end_matches('/').to_owned()),
                Cell::Chart(id),
                Cell::Text(now),
                quantile(0.5),
                quantile(0.99),
                Cell::Text(count(all)),
            ]);
        }
        self.add_table("operations", rows, "Nothing was asked for yet.");
    }

    fn add_certificates(&mut self, facts: &Facts, now: Timestamp) {
        let row = |Certificate { name, until }: &Certificate| {
            let (tone, left) = remaining(*until, now);
            let end = Timestamp::from(*until).to_table();
            let day = end.split(' ').next().unwrap_or_default().to_owned();
            vec![Cell::Text(name.clone()), Cell::Text(day), Cell::Toned(tone, left)]
        };
        let mut rows: Vec<_> = facts.certificates.iter().map(row).collect();
        rows.extend(facts.clients.iter().flatten().take(CLIENTS).map(row));
        let clients = facts.expiring_clients;
        self.text(
            "clients",
            match clients {
                0 => "No client's certificate is in its last 30 days.".to_owned(),
                _ => format!(
                    "{} in the last 30 days, or expired.",
                    counted(clients, "client's certificate is", "clients' certificates are")
                ),
            },
        );
        self.add_table("certificates", rows, "No certificate says when it ends.");
    }

    fn add_refusals(&mut self, facts: &Facts) {
        let row = |refusal: &Refusal| {
            let Refusal { last, count: times, path, who, reason, line, .. } = refusal;
            vec![
                Cell::Text(format!("{} UTC", last.to_table())),
                Cell::Text(count(*times)),
                Cell::Code(path.clone()),
                Cell::Text(who.clone()),
                Cell::Text(reason.clone()),
                Cell::Code(line.clone()),
            ]
        };
        let rows = facts.refusals.iter().take(REFUSALS).map(row).collect();
        let more = facts.refusals.len().saturating_sub(REFUSALS);
        self.text(
            "more-refusals",
            match more {
                0 => String::new(),
                _ => format!("{} more: kes policy suggest", count(more as u64)),
            },
        );
        self.add_table("refusals", rows, "The policies refuse nothing that was asked for of late.");
    }

    fn add_table(&mut self, name: &'static str, rows: Vec<Vec<Cell>>, empty: &'static str) {
        let rows = if rows.is_empty() { vec![vec![Cell::None(empty)]] } else { rows };
        self.tables.insert(name, rows);
    }
}

/// How much of a certificate's life is left.
fn remaining(until: SystemTime, now: Timestamp) -> (Tone, String) {
    let left = Timestamp::from(until).unix_seconds() - now.unix_seconds();
    match u64::try_from(left) {
        Ok(left) => {
            let tone = match left / DAY {
                0..URGENT => Tone::Bad,
                URGENT..SOON => Tone::Warning,
                _ => Tone::Good,
            };
            (tone, format!("{} left", span(std::time::Duration::from_secs(left))))
        }
        Err(_) => {
            let over = std::time::Duration::from_secs(left.unsigned_abs());
            (Tone::Bad, format!("ended {} ago", span(over)))
        }
    }
}

fn between(since: Timestamp, until: Timestamp) -> std::time::Duration {
    let seconds = until.unix_seconds() - since.unix_seconds();
    std::time::Duration::from_secs(u64::try_from(seconds).unwrap_or_default())
}

fn positive(value: i64) -> u64 {
    u64::try_from(value).unwrap_or_default()
}

#[cfg(test)]
pub(super) use self::tests::example;

#[cfg(test)]
mod tests;
