//! One server: its state, requests, operations, and a line for each other topic.

use super::model::{Server, Standing};
use super::sheet::{Sheet, Tone, columns};
use super::state::State;
use super::text::{NONE, count, percentile, rate, span};
use super::topics::{Item, Topic, topics};

/// Below this width only what matters most is shown.
const WIDE: u16 = 60;

/// The least operations that are shown, if there are as many.
const MIN_OPERATIONS: usize = 3;

/// The rows of the chart of all requests.
const CHART_ROWS: u16 = 3;

/// The column where the chart of all requests begins.
const CHART: u16 = 21;

/// The columns of operations: where their names end, and how wide the others are.
const NAMES: u16 = 16;
const RATE: u16 = 11;
const TIME: u16 = 10;

/// The least columns of the chart of an operation.
const MIN_CHART: u16 = 8;

/// The column where the items of topics begin.
const ITEMS: u16 = 13;

/// A text at a column.
type Text = (u16, String, Tone);

/// The sheet of a server for a place of this size.
pub(super) fn panel(server: &Server, state: &State, width: u16, height: u16) -> Sheet {
    let mut sheet = Sheet::new(width, state.color);
    title(&mut sheet, server, width);
    if server.last.is_none() {
        return sheet;
    }
    requests(&mut sheet, server);
    let others = flow(&topics(server), width);
    // A blank row and the heading above the operations, and a blank row below.
    let taken = usize::from(sheet.rows()) + others.len() + 3;
    let free = usize::from(height).saturating_sub(taken).max(MIN_OPERATIONS);
    operations(&mut sheet, server, width, if state.all_operations { usize::MAX } else { free });
    for row in others {
        for (column, text, tone) in row {
            sheet.put(column, &text, tone);
        }
        sheet.next();
    }
    sheet
}

/// The mark of a server, and how it looks.
pub(super) fn mark(server: &Server) -> (&'static str, Tone) {
    match &server.standing {
        Standing::Unknown => ("…", Tone::Faint),
        Standing::Up => ("●", Tone::Good),
        Standing::Silent(_) => ("?", Tone::Warn),
        Standing::Refuses(..) => ("!", Tone::Bad),
        Standing::Away(..) => ("✕", Tone::Bad),
    }
}

fn title(sheet: &mut Sheet, server: &Server, width: u16) {
    let (mark, tone) = mark(server);
    let column = sheet.put(0, mark, tone);
    let column = sheet.put(column + 1, &server.name, Tone::Strong);
    let up = server.value("kes_system_up_time");
    if let Some(up) = up.filter(|_| width >= WIDE && server.standing == Standing::Up) {
        sheet.put(column + 2, &format!("up {}", span(up)), Tone::Plain);
    }
    if let Some((_, time)) = &server.last {
        let time = format!("{} UTC", time.to_table());
        let time = match &server.standing {
            Standing::Up => time,
            _ => format!("last reading {time}"),
        };
        if width >= WIDE {
            sheet.put_before(width, &time, Tone::Faint);
        }
    }
    sheet.next();
    let (text, reason) = match &server.standing {
        Standing::Up => return,
        Standing::Unknown => ("no reading yet".to_owned(), ""),
        Standing::Silent(since) => (format!("no answer since {} UTC", since.to_table()), ""),
        Standing::Refuses(since, reason) => {
            (format!("no reading since {} UTC", since.to_table()), &**reason)
        }
        Standing::Away(since, reason) => {
            (format!("away since {} UTC", since.to_table()), &**reason)
        }
    };
    sheet.put(2, &text, tone);
    sheet.next();
    let rows = reason.lines().flat_map(|line| wrapped(line, width.saturating_sub(2)));
    for row in rows.take(if width < WIDE { 3 } else { 6 }) {
        sheet.put(2, &row, Tone::Plain);
        sheet.next();
    }
}

fn requests(sheet: &mut Sheet, server: &Server) {
    sheet.chart(CHART, CHART_ROWS, &server.requests);
    let column = sheet.put(0, &rate(server.answered()), Tone::Strong);
    sheet.put(column, " requests", Tone::Plain);
    sheet.next();
    sheet.put(0, &format!("{} peak", rate(server.requests.peak())), Tone::Plain);
    sheet.next();
    let active = server.value("kes_http_request_active");
    sheet.put(0, &format!("{} active", active.map_or_else(|| NONE.to_owned(), count)), Tone::Plain);
    sheet.next();
}

fn operations(sheet: &mut Sheet, server: &Server, width: u16, most: usize) {
    // Where each column ends, and which part of the latency it has.
    let mut times = vec![(NAMES + RATE + TIME, 2)];
    if width >= NAMES + RATE + 2 * TIME {
        times = vec![(NAMES + RATE + TIME, 0), (NAMES + RATE + 2 * TIME, 2)];
    }
    if width >= NAMES + RATE + 3 * TIME {
        times = (0..3).map(|part| (NAMES + RATE + TIME * (part + 1), usize::from(part))).collect();
    }
    let chart = NAMES + RATE + TIME * u16::try_from(times.len()).unwrap_or_default() + 2;
    let has_chart = width >= chart + MIN_CHART;

    sheet.next();
    sheet.put(0, "Operation", Tone::Strong);
    sheet.put_before(NAMES + RATE, "requests", Tone::Strong);
    for (end, part) in &times {
        sheet.put_before(*end, ["p50", "p90", "p99"][*part], Tone::Strong);
    }
    sheet.next();
    let all = server.operations.len();
    // The last row tells how many are left out.
    let shown = if all > most { most.saturating_sub(1) } else { all };
    for operation in &server.operations[..shown] {
        sheet.put(0, &shortened(&operation.name, NAMES), Tone::Plain);
        sheet.put_before(NAMES + RATE, &rate(operation.rate), Tone::Plain);
        for (end, part) in &times {
            sheet.put_before(*end, &percentile(operation.latency[*part]), Tone::Plain);
        }
        if has_chart {
            sheet.chart(chart, 1, &operation.history);
        }
        sheet.next();
    }
    if shown < all {
        sheet.put(0, &format!("{} more, with o", all - shown), Tone::Faint);
        sheet.next();
    }
    if all == 0 {
        sheet.put(0, "none yet", Tone::Faint);
        sheet.next();
    }
    sheet.next();
}

/// The rows of topics: their items one after the other, as many in a row as fit.
fn flow(topics: &[Topic], width: u16) -> Vec<Vec<Text>> {
    let gap = if width < WIDE { 2 } else { 3 };
    let mut rows = Vec::new();
    for topic in topics {
        let mut row = vec![(0, topic.name.to_owned(), Tone::Strong)];
        let mut column = ITEMS;
        for Item { text, tone, .. } in
            topic.items.iter().filter(|item| width >= WIDE || !item.is_minor)
        {
            let wide = columns(text);
            if column > ITEMS && column.saturating_add(wide) > width {
                rows.push(std::mem::take(&mut row));
                column = ITEMS;
            }
            row.push((column, text.clone(), *tone));
            column = column.saturating_add(wide).saturating_add(gap);
        }
        rows.push(row);
    }
    rows
}

/// A text of at most so many columns, with `…` where the rest of it is left out.
fn shortened(text: &str, width: u16) -> String {
    if columns(text) <= width {
        return text.to_owned();
    }
    text.chars().take(usize::from(width.saturating_sub(1))).chain(['…']).collect()
}

/// A line as several of at most so many columns, broken at blanks, and within words that are longer.
fn wrapped(line: &str, width: u16) -> Vec<String> {
    let width = usize::from(width.max(1));
    let (mut rows, mut row, mut used) = (Vec::new(), String::new(), 0);
    for word in line.split_whitespace() {
        if used > 0 {
            if used + 1 + word.chars().count() <= width {
                row.push(' ');
                used += 1;
            } else {
                rows.push(std::mem::take(&mut row));
                used = 0;
            }
        }
        for character in word.chars() {
            if used == width {
                rows.push(std::mem::take(&mut row));
                used = 0;
            }
            row.push(character);
            used += 1;
        }
    }
    rows.push(row);
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_line_is_broken_at_blanks() {
        assert_eq!(wrapped("", 5), [""]);
        assert_eq!(wrapped("one two three", 7), ["one two", "three"]);
        assert_eq!(wrapped("one two three", 20), ["one two three"]);
        assert_eq!(wrapped("a verylongword b", 5), ["a", "veryl", "ongwo", "rd b"]);
        assert_eq!(wrapped("ab", 0), ["a", "b"]);
    }

    #[test]
    fn a_long_name_is_shortened() {
        assert_eq!(shortened("DescribeIdentity", NAMES), "DescribeIdentity");
        assert_eq!(shortened("/v1/something/else", 8), "/v1/som…");
    }

    #[test]
    fn items_flow_into_rows() {
        let item =
            |text: &str, is_minor| Item { text: text.to_owned(), tone: Tone::Plain, is_minor };
        let topics = [Topic {
            name: "Topic",
            items: vec![item(&"a".repeat(15), false), item("minor", true), item("bbbbbb", false)],
        }];
        let columns = |width| -> Vec<Vec<u16>> {
            let rows = flow(&topics, width);
            rows.iter().map(|row| row.iter().map(|(column, ..)| *column).collect()).collect()
        };
        assert_eq!(columns(80), [vec![0, 13, 31, 39]]);
        assert_eq!(columns(36), [vec![0, 13, 30]]);
        assert_eq!(columns(35), [vec![0, 13], vec![13]]);
    }
}
