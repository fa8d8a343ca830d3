use std::time::Duration;

use kes_api::Operation;
use tokio::time::Instant;

use super::*;
use crate::observe::metrics::Metrics;

const WELL: State = State::Reachable { latency: Duration::from_millis(2) };

fn at(second: i64) -> Timestamp {
    Timestamp::from_unix(second, 0).unwrap()
}

fn facts(state: State) -> Facts {
    Facts {
        version: "1.2.3",
        commit: "0123456789abcdef",
        is_fips: false,
        uptime: Duration::from_secs(3_725),
        state,
        trouble: None,
        place: Some("vault".to_owned()),
        store_version: Some("1.18.3".to_owned()),
        cached_keys: 7,
        pin_faults: 0,
        failed_reloads: Vec::new(),
        policies: 2,
        identities: 1,
        certificates: vec![ending("Server", 90 * DAY)],
        clients: None,
        expiring_clients: 0,
        refusals: vec![refusal(1)],
    }
}

fn ending(name: &str, seconds: u64) -> Certificate {
    let until = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    Certificate { name: name.to_owned(), until }
}

fn refusal(last: i64) -> Refusal {
    Refusal {
        last: at(last),
        count: 3,
        path: "/v1/key/create/<name>".to_owned(),
        who: "1 identity".to_owned(),
        reason: "not allowed".to_owned(),
        line: "policy.<policy>.allow: /v1/key/create/<name>".to_owned(),
    }
}

/// Three seconds of a server that was asked for keys.
fn history(states: [State; 4]) -> History {
    let (metrics, mut history, start) = (Metrics::new(), History::new(), Instant::now());
    for (second, state) in (0..).zip(states) {
        for status in [200, 200, 403] {
            metrics.answered(Some(Operation::GenerateKey), status, Duration::from_micros(180));
        }
        let now = start + Duration::from_secs(second);
        let time = at(i64::try_from(second).unwrap());
        history.add(now, time, metrics.readings(), state);
    }
    history
}

/// A view with something in each place.
pub(in super::super) fn example() -> View {
    View::of(&history([WELL; 4]), &facts(WELL), at(4))
}

fn text<'a>(view: &'a View, place: &str) -> &'a str {
    &view.texts[place].1
}

fn problems(view: &View) -> Vec<String> {
    let cells = view.tables["problems"].iter().flatten();
    let texts = cells.map(|cell| match cell {
        Cell::Toned(tone, text) => format!("{tone:?}: {text}").replace('\u{a0}', " "),
        _ => panic!("{cell:?}"),
    });
    texts.collect()
}

#[test]
fn the_figures_are_those_of_the_requests() {
    let view = example();
    for (place, expected) in [
        ("state", "Serving"),
        ("requests", "3.0"),
        ("refused", "1.0"),
        ("failed", "0"),
        ("answered", "12"),
        ("refused-total", "4"),
        ("keys", "7 keys"),
        ("version", "kes 1.2.3"),
        ("commit", "0123456789ab"),
        ("store-version", "1.18.3"),
        ("store", "Reachable"),
        ("time", "1970-01-01 00:00:04 UTC"),
    ] {
        assert_eq!(text(&view, place), expected, "{place}");
    }
    assert!(text(&view, "outage").starts_with("none since 20"), "{}", text(&view, "outage"));
    assert_eq!(problems(&view), [""; 0]);
    let operations = &view.tables["operations"];
    assert_eq!(operations.len(), 1, "only what was asked for");
    assert_eq!(operations[0][0], Cell::Code("/v1/key/generate".to_owned()));
    assert_eq!(operations[0].last(), Some(&Cell::Text("12".to_owned())));
    // Its times lie between 100 and 250 µs.
    let Cell::Text(median) = &operations[0][3] else { panic!("{operations:?}") };
    let median: f64 = median.split('\u{a0}').next().unwrap().parse().unwrap();
    assert!((100.0..=250.0).contains(&median), "{median}");
}

#[test]
fn an_outage_is_told_while_it_lasts_and_afterwards() {
    let (away, refuses) = (State::Unreachable, State::Unavailable);
    let mut told = facts(away);
    let view = View::of(&history([WELL, away, away, away]), &told, at(63));
    assert_eq!(text(&view, "state"), "Key store away");
    let since = "Bad: The key store cannot be reached since 1970-01-01 00:00:01 UTC";
    assert_eq!(problems(&view), [since]);
    let outage = text(&view, "outage").replace('\u{a0}', " ");
    assert_eq!(outage, "1970-01-01 00:00:01 UTC, for 1 min 2 s and goes on");
    told.trouble = Some("https://vault is sealed".to_owned());
    let view = View::of(&history([WELL, away, away, away]), &told, at(63));
    assert_eq!(problems(&view), [format!("{since}: https://vault is sealed")]);
    let view = View::of(&history([WELL, refuses, WELL, WELL]), &facts(WELL), at(63));
    assert_eq!((text(&view, "state"), problems(&view).len()), ("Serving", 0));
    let outage = text(&view, "outage").replace('\u{a0}', " ");
    assert_eq!(outage, "1970-01-01 00:00:01 UTC, for 1 s, refused to serve");
}

#[test]
fn what_needs_attention_stands_above_the_figures() {
    let mut told = facts(WELL);
    told.pin_faults = 1;
    told.failed_reloads = vec![("The last reload failed", at(9), Some("line 3: x".to_owned()))];
    told.certificates =
        vec![ending("Server", 20 * DAY), ending("Key store, CA", 2 * DAY), ending("Old", 0)];
    told.expiring_clients = 2;
    let view = View::of(&history([WELL; 4]), &told, at(60));
    assert_eq!(
        problems(&view),
        [
            "Bad: 1 pinned key is missing in the key store, or another key",
            "Bad: The last reload failed at 1970-01-01 00:00:09 UTC: line 3: x",
            "Warning: Certificate Server: 19 d 23 h left",
            "Bad: Certificate Key store, CA: 1 d 23 h left",
            "Bad: Certificate Old: ended 1 min ago",
        ]
    );
    assert_eq!(text(&view, "state"), "Needs attention");
    assert!(text(&view, "clients").starts_with("2 clients' certificates are in the last 30 days"));
    assert_eq!(view.tables["certificates"].len(), 3);
}

#[test]
fn long_tables_end_and_say_so() {
    let mut told = facts(WELL);
    told.refusals = (0..50).map(refusal).collect();
    told.clients = Some((0..50).map(|day| ending("client", day * DAY)).collect());
    let view = View::of(&history([WELL; 4]), &told, at(60));
    assert_eq!(view.tables["refusals"].len(), REFUSALS);
    assert_eq!(text(&view, "more-refusals"), "30 more: kes policy suggest");
    assert_eq!(view.tables["certificates"].len(), 1 + CLIENTS);
    told.refusals.clear();
    let view = View::of(&History::new(), &told, at(60));
    assert!(matches!(view.tables["refusals"][0][..], [Cell::None(_)]));
    assert!(matches!(view.tables["operations"][0][..], [Cell::None(_)]));
    assert_eq!((text(&view, "requests"), text(&view, "slow")), ("0", "–"));
}
