use std::fmt::Write as _;
use std::time::Duration;

use kes_api::Timestamp;
use proptest::prelude::*;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::style::Color;

use super::*;

/// Sizes in which everything is tried: usual ones, small ones, and those of no use.
const SIZES: [(u16, u16); 10] =
    [(80, 24), (40, 10), (200, 60), (39, 3), (20, 8), (10, 2), (3, 3), (1, 1), (0, 0), (500, 200)];

fn metrics(reading: u32) -> String {
    let mut text = String::new();
    let count = reading * 100;
    for line in [
        format!("kes_system_up_time {}", 11_520 + reading),
        format!("kes_http_request_success{{code=\"200\"}} {count}"),
        format!("kes_http_request_error{{code=\"403\"}} {reading}"),
        "kes_http_request_failure{code=\"502\"} 0".to_owned(),
        "kes_http_request_active 12".to_owned(),
        format!("kes_cache_hits {}", reading * 99),
        format!("kes_cache_misses {reading}"),
        "kes_cache_keys 1024".to_owned(),
        "kes_cache_age 29".to_owned(),
        "kes_keystore_reachable 1".to_owned(),
        "kes_keystore_errors{call=\"read\"} 0".to_owned(),
        format!("kes_keystore_response_time_bucket{{call=\"read\",le=\"0.005\"}} {reading}"),
        "kes_tls_connections 12".to_owned(),
        "kes_tls_connections_limit 4096".to_owned(),
        "kes_tls_strangers 1".to_owned(),
        "kes_http_reserved_bytes 1200000".to_owned(),
        "kes_http_reserved_bytes_limit 64000000".to_owned(),
        "kes_http_reservations_refused 0".to_owned(),
        "kes_class_store_calls{class=\"known\",call=\"read\"} 3".to_owned(),
        format!("kes_log_audit_events {count}"),
        "kes_log_error_events 0".to_owned(),
        "kes_log_dropped_lines 0".to_owned(),
        "kes_system_mem_resident 34100000".to_owned(),
        "kes_tls_certificate_expiry 7776000".to_owned(),
    ] {
        let _ = writeln!(text, "{line}");
    }
    let apis = ["key/decrypt/", "key/generate/", "key/create/", "key/describe/", "status", "ready"];
    for (index, api) in (1..).zip(apis) {
        for (le, part) in [("0.0005", 9), ("0.005", 10), ("+Inf", 10)] {
            let count = count * part / 10 / index;
            let labels = format!("api=\"/v1/{api}\",le=\"{le}\"");
            let _ = writeln!(text, "kes_api_response_time_bucket{{{labels}}} {count}");
        }
    }
    text
}

/// Servers that were read some times.
fn model(servers: usize) -> Model {
    let mut model = Model::new((1..=servers).map(|server| format!("10.0.0.{server}:7373")));
    for server in &mut model.servers {
        for reading in 1..6 {
            server.read(&metrics(reading), Duration::from_secs(1), Timestamp::now());
        }
    }
    model
}

fn state() -> State {
    State::new(Duration::from_secs(5), true)
}

/// The rows of the view, and how far it can be scrolled.
fn drawn((width, height): (u16, u16), model: &Model, state: &State) -> (Vec<String>, u16) {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    let mut furthest = 0;
    terminal.draw(|frame| furthest = render(frame, model, state)).unwrap();
    (rows(&terminal), furthest)
}

fn rows(terminal: &Terminal<TestBackend>) -> Vec<String> {
    let buffer = terminal.backend().buffer();
    let row = |y| -> String {
        (0..buffer.area.width).map(|x| buffer[(x, y)].symbol()).collect::<String>()
    };
    (0..buffer.area.height).map(|y| row(y).trim_end().to_owned()).collect()
}

#[test]
fn all_of_a_server_stands_in_a_usual_terminal() {
    let (rows, furthest) = drawn((80, 24), &model(1), &state());
    let text = rows.join("\n");
    assert_eq!(furthest, 0, "{text}");
    assert!(rows[0].starts_with("● 10.0.0.1:7373  up 3h 12m"), "{text}");
    assert!(rows[0].ends_with(" UTC"), "{text}");
    assert!(rows[1].starts_with("101.0/s requests"), "{text}");
    assert!(rows[1].ends_with("▇▇▇▇"), "{text}");
    for line in [
        "Operation          requests       p50       p90       p99",
        "DecryptKey          100.0/s     278µs     500µs    4.55ms  ",
        "GenerateKey          50.0/s     278µs     500µs    4.55ms  ",
        "Latency      p50 ",
        "Errors       refused 1.0/s   failed 0.0/s   403: 1.0/s",
        "Cache        hits 99.0 %   misses 1.0/s   keys 1,024   oldest 29s",
        "Key store    reachable   errors 0.0/s   read 1.0/s p99 4.95ms",
        "Connections  open 12 of 4,096   strangers 1",
        "Budgets      memory 1.2MB of 64.0MB   key store calls 3   refused 0.0/s",
        "Logs         audit 100.0/s   error 0.0/s   lost 0",
        "Process      up 3h 12m   memory 34.1MB   certificate 90d",
        " q quit  ? help  p pause ",
    ] {
        assert!(rows.iter().any(|row| row.starts_with(line)), "{line:?} in\n{text}");
    }
    assert!(rows[23].ends_with("every 5s"), "{text}");
}

#[test]
fn servers_stand_side_by_side_as_far_as_there_is_room() {
    let (model, mut state) = (model(4), state());
    let named = |rows: &[String]| -> Vec<String> {
        let words = rows[1].split('│').filter_map(|part| part.split_whitespace().nth(1));
        words.map(str::to_owned).collect()
    };
    let name = |number: usize| format!("10.0.0.{number}:7373");
    let (rows, _) = drawn((80, 24), &model, &state);
    assert!(rows[0].starts_with(" 1 ● 10.0.0.1:7373  2 ● 10.0.0.2:7373 "), "{rows:#?}");
    assert!(rows[0].ends_with("all 404.0/s"), "{rows:#?}");
    // One that does not fit is not cut.
    assert!(!rows[0].contains(" 4 "), "{rows:#?}");
    assert_eq!(named(&rows), [name(1), name(2)]);
    assert!(rows.iter().all(|row| !row.contains("p90 500µs  p99 4.55ms")), "{rows:#?}");
    // The chosen one is always there, at its name as well.
    state.chosen = 3;
    let (rows, _) = drawn((80, 24), &model, &state);
    assert_eq!(named(&rows), [name(3), name(4)]);
    assert!(rows[0].contains(" 4 ● 10.0.0.4:7373 "), "{rows:#?}");
    let (rows, _) = drawn((40, 10), &model, &state);
    assert_eq!(named(&rows), [name(4)]);
    let (rows, furthest) = drawn((200, 60), &model, &state);
    assert_eq!((named(&rows), furthest), ([1, 2, 3, 4].map(name).into(), 0));
    state.alone = true;
    let (rows, _) = drawn((200, 60), &model, &state);
    assert_eq!(named(&rows), [name(4)]);
}

#[test]
fn a_server_that_is_away_is_told_in_words_and_keeps_its_last_reading() {
    let (mut model, state) = (model(2), state());
    let now = Timestamp::now();
    let reason = "cannot reach 10.0.0.2:7373: connection refused\nno port was given";
    model.servers[1].fails(reason, false, now);
    model.servers[0].waits(now);
    for size in [(80, 24), (200, 60)] {
        let (rows, _) = drawn(size, &model, &state);
        let text = rows.join("\n");
        let since = format!("away since {} UTC", now.to_table());
        assert!(rows[2].contains(&since), "{text}");
        assert!(rows[2].contains("no answer since "), "{text}");
        assert!(rows[0].contains("2 ✕ 10.0.0.2:7373 away"), "{text}");
        assert!(rows[0].contains("1 ? 10.0.0.1:7373 silent"), "{text}");
        assert!(text.contains("connection refused") && text.contains("keys 1,024"), "{text}");
        // No rate is told that is not known.
        assert!(text.contains("–"), "{text}");
    }
    let refused = "not authorized: insufficient permissions";
    model.servers[1].fails(refused, true, now);
    let (rows, _) = drawn((80, 24), &model, &state);
    assert!(rows[2].contains("no reading since") && rows[0].contains("refuses"), "{rows:#?}");
    // Before anything is heard of a server.
    let (rows, _) = drawn((80, 24), &Model::new(["a:1".to_owned()]), &state);
    assert_eq!((rows[0].as_str(), rows[1].as_str()), ("… a:1", "  no reading yet"));
}

#[test]
fn a_small_terminal_is_scrolled() {
    let (model, mut state) = (model(1), state());
    let (rows, furthest) = drawn((40, 10), &model, &state);
    assert!(rows[0].starts_with("● 10.0.0.1:7373") && furthest > 5, "{rows:#?}");
    assert!(rows[9].starts_with(" q quit  ? help"), "{rows:#?}");
    state.scroll = u16::MAX;
    let (rows, again) = drawn((40, 10), &model, &state);
    assert_eq!(again, furthest);
    assert!(rows[8].starts_with("Process") || rows[8].starts_with("             "), "{rows:#?}");
    assert!(rows.iter().any(|row| row.starts_with("Logs")), "{rows:#?}");
}

#[test]
fn operations_that_do_not_fit_are_counted_and_shown_on_request() {
    let (mut model, mut state) = (model(1), state());
    for reading in 6..8 {
        let mut text = metrics(reading);
        for route in &kes_api::route::ROUTES {
            let path = route.path;
            let _ = writeln!(text, "kes_api_response_time_bucket{{api=\"{path}\",le=\"2\"}} 1");
        }
        model.servers[0].read(&text, Duration::from_secs(1), Timestamp::now());
    }
    let (rows, furthest) = drawn((80, 24), &model, &state);
    let more = rows.iter().find(|row| row.ends_with(" more, with o")).expect("it is told");
    assert_eq!(furthest, 0, "{rows:#?}");
    let shown = rows.iter().position(|row| row == more).unwrap() - 6;
    let all = kes_api::route::ROUTES.len();
    assert_eq!(more, &format!("{} more, with o", all - shown));
    state.all_operations = true;
    assert!(drawn((80, 24), &model, &state).1 > 0);
    let (rows, _) = drawn((80, 60), &model, &state);
    assert!(rows.iter().any(|row| row.starts_with("BulkDecrypt")), "{rows:#?}");
}

#[test]
fn the_help_names_every_key() {
    let (model, mut state) = (model(2), state());
    state.help = true;
    for size in [(80, 24), (40, 10)] {
        let (rows, _) = drawn(size, &model, &state);
        let text = rows.join("\n");
        for (keys, meaning) in HELP {
            assert!(text.contains(keys) && text.contains(meaning), "{keys} in\n{text}");
        }
        assert!(text.contains("╭ Keys "), "{text}");
    }
}

#[test]
fn a_pause_is_told() {
    let (model, mut state) = (model(1), state());
    state.paused = true;
    let (rows, _) = drawn((80, 24), &model, &state);
    assert!(rows[23].ends_with(" PAUSED"), "{rows:#?}");
}

#[test]
fn after_another_size_the_view_is_that_of_this_size() {
    let (model, state) = (model(3), state());
    let mut terminal = Terminal::new(TestBackend::new(80, 24)).unwrap();
    for size in [(80, 24), (40, 10), (200, 60), (10, 2), (80, 24)] {
        terminal.backend_mut().resize(size.0, size.1);
        terminal.draw(|frame| _ = render(frame, &model, &state)).unwrap();
        assert_eq!(rows(&terminal), drawn(size, &model, &state).0, "{size:?}");
    }
}

#[test]
fn colours_are_those_of_the_terminal_and_can_be_left_out() {
    let (mut model, mut state) = (model(2), state());
    model.servers[1].fails("gone", false, Timestamp::now());
    let colors = |state: &State| -> Vec<Color> {
        let mut terminal = Terminal::new(TestBackend::new(80, 24)).unwrap();
        terminal.draw(|frame| _ = render(frame, &model, state)).unwrap();
        let cells = terminal.backend().buffer().content.iter();
        cells.flat_map(|cell| [cell.fg, cell.bg]).filter(|color| *color != Color::Reset).collect()
    };
    let used = colors(&state);
    assert!(used.contains(&Color::Red) && used.contains(&Color::Green));
    let is_of_palette = |color: &Color| !matches!(color, Color::Rgb(..) | Color::Indexed(_));
    assert!(used.iter().all(is_of_palette), "{used:?}");
    state.color = false;
    assert!(colors(&state).is_empty());
}

/// A text such as a hostile server may send.
fn hostile() -> impl Strategy<Value = String> {
    let name = "kes_(system_up_time|cache_hits|cache_keys|tls_connections(_limit)?|http_reserved_bytes(_limit)?|keystore_reachable|tls_certificate_expiry|http_request_(success|error)|(api|keystore|http)_response_time_bucket)";
    let labels =
        "(\\{(code=\"40[0-9]\"|(api|call)=\"\\PC{0,80}\",le=\"(0\\.1|-1|1e300|NaN|\\+Inf)\")\\})?";
    let value = "(0|1|-1|5|NaN|[+-]Inf|1e300|-1e300|1e-300|x)";
    let line = format!("{name}{labels} {value}\n");
    let line = proptest::string::string_regex(&line).expect("it is one");
    proptest::collection::vec(line, 0..40).prop_map(|lines: Vec<String>| lines.concat())
}

proptest! {
    #[test]
    fn nothing_that_a_server_sends_breaks_the_view(
        texts in proptest::collection::vec(hostile(), 1..4),
        reason in "\\PC{0,200}|[\\x00-\\x1f ]{0,50}",
        chosen in 0..3_usize,
        flags: [bool; 4],
        scroll: u16,
    ) {
        let mut model = model(2);
        model.servers.extend(Model::new(["\u{1b}[2J漢字".to_owned()]).servers);
        for server in &mut model.servers[1..] {
            for text in &texts {
                server.read(text, Duration::from_millis(1), Timestamp::now());
            }
        }
        model.servers[1].fails(&reason, flags[0], Timestamp::now());
        let mut state = State::new(Duration::from_millis(1), true);
        (state.chosen, state.scroll) = (chosen, scroll);
        [state.alone, state.help, state.all_operations] = [flags[1], flags[2], flags[3]];
        for size in SIZES {
            let (rows, _) = drawn(size, &model, &state);
            prop_assert!(rows.iter().all(|row| !row.contains(char::is_control)));
        }
    }
}
