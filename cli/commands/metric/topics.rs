//! What a line says of each topic but requests and operations.

use super::model::Server;
use super::sample::whole;
use super::sheet::Tone;
use super::text::{count, percentile, rate, share, span};
use crate::commands::status::size;

/// A certificate that ends within this time, in seconds, is worth a look: 14 days.
const SOON: f64 = 14.0 * 86_400.0;

/// The part of a budget or of connections that is worth a look.
const NEARLY_FULL: f64 = 0.8;

/// The most statuses that are told.
const MOST_CODES: usize = 4;

/// A topic.
#[derive(Debug)]
pub(super) struct Topic {
    pub(super) name: &'static str,
    pub(super) items: Vec<Item>,
}

/// One thing that is told.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) text: String,
    pub(super) tone: Tone,
    /// Whether it is left out where there is little room.
    pub(super) is_minor: bool,
}

/// All topics of which a server tells something.
pub(super) fn topics(server: &Server) -> Vec<Topic> {
    let all = [
        ("Latency", latency(server)),
        ("Errors", errors(server)),
        ("Cache", cache(server)),
        ("Key store", key_store(server)),
        ("Connections", connections(server)),
        ("Budgets", budgets(server)),
        ("Logs", logs(server)),
        ("Process", process(server)),
    ];
    let told = all.into_iter().filter(|(_, items)| !items.is_empty());
    told.map(|(name, items)| Topic { name, items }).collect()
}

fn item(text: impl Into<String>, tone: Tone) -> Item {
    Item { text: text.into(), tone, is_minor: false }
}

fn minor(text: impl Into<String>, tone: Tone) -> Item {
    Item { text: text.into(), tone, is_minor: true }
}

/// A rate of something that should not be.
fn trouble(what: &str, per_second: Option<f64>, tone: Tone) -> Item {
    let happens = per_second.is_some_and(|rate| rate > 0.0);
    item(format!("{what} {}", rate(per_second)), if happens { tone } else { Tone::Plain })
}

fn latency(server: &Server) -> Vec<Item> {
    let Some(between) = &server.between else { return Vec::new() };
    let named = ["p50", "p90", "p99"].into_iter().zip(between.latency);
    named.map(|(name, time)| item(format!("{name} {}", percentile(time)), Tone::Plain)).collect()
}

fn errors(server: &Server) -> Vec<Item> {
    // A counter with labels may have no series yet.
    let rate_of = |name| match server.value(name) {
        None => server.between.as_ref().map(|_| 0.0),
        Some(_) => server.rate(name),
    };
    let mut items = vec![
        trouble("refused", rate_of("kes_http_request_error"), Tone::Warn),
        trouble("failed", rate_of("kes_http_request_failure"), Tone::Bad),
    ];
    let mut codes =
        server.between.as_ref().map(|between| between.codes.clone()).unwrap_or_default();
    codes.sort_by(|(_, one), (_, other)| other.total_cmp(one));
    for (code, per_second) in codes.into_iter().take(MOST_CODES) {
        items.push(minor(format!("{code}: {}", rate(Some(per_second))), Tone::Plain));
    }
    items
}

fn cache(server: &Server) -> Vec<Item> {
    let mut items = Vec::new();
    if let (Some(hits), Some(misses)) =
        (server.rate("kes_cache_hits"), server.rate("kes_cache_misses"))
    {
        items.push(item(format!("hits {}", share(hits, hits + misses)), Tone::Plain));
        items.push(item(format!("misses {}", rate(Some(misses))), Tone::Plain));
    }
    if let Some(keys) = server.value("kes_cache_keys") {
        items.push(item(format!("keys {}", count(keys)), Tone::Plain));
    }
    if let Some(age) = server.value("kes_cache_age") {
        items.push(minor(format!("oldest {}", span(age)), Tone::Plain));
    }
    if let Some(negative) = server.rate("kes_cache_negative_hits").filter(|rate| *rate > 0.0) {
        items.push(minor(format!("known to be missing {}", rate(Some(negative))), Tone::Plain));
    }
    items
}

fn key_store(server: &Server) -> Vec<Item> {
    let mut items = Vec::new();
    match server.value("kes_keystore_reachable") {
        Some(reachable) if reachable > 0.0 => items.push(item("reachable", Tone::Good)),
        Some(_) => items.push(item("UNREACHABLE", Tone::Bad)),
        None => {}
    }
    if server.value("kes_keystore_errors").is_some() {
        items.push(trouble("errors", server.rate("kes_keystore_errors"), Tone::Bad));
    }
    if let Some(faults) = server.value("kes_keystore_pin_faults").filter(|faults| *faults > 0.0) {
        items.push(item(format!("pinned keys at fault {}", count(faults)), Tone::Bad));
    }
    for (call, per_second, slowest) in server.between.iter().flat_map(|between| &between.calls) {
        let text = format!("{call} {} p99 {}", rate(Some(*per_second)), percentile(*slowest));
        items.push(minor(text, Tone::Plain));
    }
    if let Some(life) = server.value("kes_keystore_token_life") {
        items.push(minor(format!("token {}", span(life)), Tone::Plain));
    }
    items
}

fn connections(server: &Server) -> Vec<Item> {
    let mut items = Vec::new();
    if let Some(open) = server.value("kes_tls_connections") {
        items.push(of_limit("open", open, server.value("kes_tls_connections_limit"), count));
    }
    if let Some(strangers) = server.value("kes_tls_strangers") {
        items.push(item(format!("strangers {}", count(strangers)), Tone::Plain));
    }
    if let Some(failed) = server.rate("kes_tls_handshake_errors") {
        let handshakes = trouble("failed handshakes", Some(failed), Tone::Warn);
        items.push(Item { is_minor: true, ..handshakes });
    }
    if let Some(displaced) = server.rate("kes_tls_displaced_connections").filter(|rate| *rate > 0.0)
    {
        items.push(trouble("displaced", Some(displaced), Tone::Warn));
    }
    items
}

fn budgets(server: &Server) -> Vec<Item> {
    let mut items = Vec::new();
    if let Some(reserved) = server.value("kes_http_reserved_bytes") {
        let limit = server.value("kes_http_reserved_bytes_limit");
        items.push(of_limit("memory", reserved, limit, |bytes| size(whole(bytes))));
    }
    if let Some(calls) = server.value("kes_class_store_calls") {
        items.push(item(format!("key store calls {}", count(calls)), Tone::Plain));
    }
    let refused = [
        "kes_http_reservations_refused",
        "kes_http_limited_requests",
        "kes_class_store_calls_refused",
        "kes_class_log_followers_refused",
    ];
    let refused = refused.into_iter().filter_map(|name| server.rate(name));
    if let Some(refused) = refused.reduce(|sum, rate| sum + rate) {
        items.push(trouble("refused", Some(refused), Tone::Warn));
    }
    items
}

fn logs(server: &Server) -> Vec<Item> {
    let mut items = Vec::new();
    for (what, name) in [("audit", "kes_log_audit_events"), ("error", "kes_log_error_events")] {
        if server.value(name).is_some() {
            items.push(item(format!("{what} {}", rate(server.rate(name))), Tone::Plain));
        }
    }
    let lost = ["kes_log_dropped_lines", "kes_audit_file_lost_records"];
    let lost = lost.into_iter().filter_map(|name| server.value(name));
    if let Some(lost) = lost.reduce(|sum, lines| sum + lines) {
        let tone = if lost > 0.0 { Tone::Bad } else { Tone::Plain };
        items.push(item(format!("lost {}", count(lost)), tone));
    }
    if let Some(queued) =
        server.value("kes_audit_file_queued_records").filter(|queued| *queued > 0.0)
    {
        items.push(minor(format!("waiting for the file {}", count(queued)), Tone::Plain));
    }
    items
}

fn process(server: &Server) -> Vec<Item> {
    let mut items = Vec::new();
    if let Some(up) = server.value("kes_system_up_time") {
        items.push(item(format!("up {}", span(up)), Tone::Plain));
    }
    if let Some(memory) = server.value("kes_system_mem_resident") {
        items.push(item(format!("memory {}", size(whole(memory))), Tone::Plain));
    }
    if let Some(threads) = server.value("kes_system_num_threads") {
        items.push(minor(format!("threads {}", count(threads)), Tone::Plain));
    }
    if let Some(left) = server.value("kes_tls_certificate_expiry") {
        items.push(match left {
            left if left <= 0.0 => item("certificate EXPIRED", Tone::Bad),
            left if left < SOON => item(format!("certificate {}", span(left)), Tone::Warn),
            left => item(format!("certificate {}", span(left)), Tone::Plain),
        });
    }
    items
}

/// `open 12 of 4,096`, with the part in per cent where that is worth a look.
fn of_limit(what: &str, used: f64, limit: Option<f64>, text: impl Fn(f64) -> String) -> Item {
    match limit.filter(|limit| *limit > 0.0) {
        None => item(format!("{what} {}", text(used)), Tone::Plain),
        Some(limit) if used < limit * NEARLY_FULL => {
            item(format!("{what} {} of {}", text(used), text(limit)), Tone::Plain)
        }
        Some(limit) => {
            let share = share(used, limit);
            item(format!("{what} {} of {}, {share}", text(used), text(limit)), Tone::Warn)
        }
    }
}
