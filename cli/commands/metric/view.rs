//! The view: a row with all servers, one or several of them side by side, and a row with the keys.
//!
//! It is made of the model and the state alone, for a terminal of any size.

use ratatui::Frame;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Modifier, Style};

use super::model::{Model, Standing};
use super::panel::{mark, panel};
use super::sheet::{Tone, columns, put};
use super::state::{HELP, State};
use super::text::{interval, rate};

#[cfg(test)]
mod tests;

/// The least width of a server beside others.
const MIN_WIDTH: u16 = 38;

/// The width of the column between two servers.
const GAP: u16 = 3;

/// Draws the view, and returns how far it can be scrolled, in rows.
pub(super) fn render(frame: &mut Frame<'_>, model: &Model, state: &State) -> u16 {
    let area = frame.area();
    let buffer = frame.buffer_mut();
    let mut body = area;
    // The servers matter more than what surrounds them.
    if body.height > 2 {
        body.height -= 1;
        footer(buffer, Rect { y: body.bottom(), height: 1, ..body }, state);
    }
    if model.servers.len() > 1 && body.height > 4 {
        tabs(buffer, Rect { height: 1, ..body }, model, state);
        body.y += 1;
        body.height -= 1;
    }
    let furthest = servers(buffer, body, model, state);
    if state.help {
        help(buffer, area);
    }
    furthest
}

/// How many servers are shown side by side, and which one is the first.
fn shown(width: u16, servers: usize, state: &State) -> (usize, usize) {
    if state.alone || servers <= 1 {
        return (state.chosen, servers.min(1));
    }
    let fit = usize::from(width.saturating_add(GAP) / (MIN_WIDTH + GAP)).clamp(1, servers);
    // The chosen one is among them.
    let first = (state.chosen / fit * fit).min(servers - fit);
    (first, fit)
}

fn servers(buffer: &mut Buffer, area: Rect, model: &Model, state: &State) -> u16 {
    let (first, number) = shown(area.width, model.servers.len(), state);
    let Ok(number @ 1..) = u16::try_from(number) else { return 0 };
    let width = (area.width + GAP).saturating_sub(GAP * number) / number;
    let (mut x, mut furthest) = (area.x, 0);
    let shown = model.servers.iter().skip(first).take(usize::from(number));
    for (index, server) in shown.enumerate() {
        if index > 0 {
            for y in area.top()..area.bottom() {
                put(buffer, x + 1, y, "│", Tone::Faint.style(state.color));
            }
            x += GAP;
        }
        let place = Rect { x, width, ..area };
        let sheet = panel(server, state, width, area.height);
        let further = sheet.rows().saturating_sub(area.height);
        sheet.show(buffer, place, state.scroll.min(further));
        furthest = furthest.max(further);
        x += width;
    }
    furthest
}

/// All servers with their marks, from such a one on that the chosen one is seen, and what they
/// answer together.
fn tabs(buffer: &mut Buffer, area: Rect, model: &Model, state: &State) {
    let sum = model.servers.iter().filter_map(|server| server.answered()).reduce(|a, b| a + b);
    let sum = format!(" all {} ", rate(sum));
    let room = area.width.saturating_sub(columns(&sum));
    let texts: Vec<String> = model
        .servers
        .iter()
        .enumerate()
        .map(|(index, server)| {
            let away = match &server.standing {
                Standing::Unknown | Standing::Up => "",
                Standing::Silent(_) => " silent",
                Standing::Refuses(..) => " refuses",
                Standing::Away(..) => " away",
            };
            format!(" {} {} {}{away} ", index + 1, mark(server).0, server.name)
        })
        .collect();
    let mut first = 0;
    let ends = |first: usize| {
        let widths = texts.iter().take(state.chosen + 1).skip(first).map(|text| columns(text));
        widths.fold(0_u16, u16::saturating_add)
    };
    while first < state.chosen && ends(first) > room {
        first += 1;
    }
    let mut x = area.x;
    for (index, (server, text)) in model.servers.iter().zip(&texts).enumerate().skip(first) {
        if x.saturating_add(columns(text)) > area.x + room && x > area.x {
            break;
        }
        let mut style = mark(server).1.style(state.color);
        if index == state.chosen {
            style = style.add_modifier(Modifier::REVERSED);
        }
        x = put(buffer, x, area.y, text, style);
    }
    // If the terminal is very narrow, the chosen server has all of it.
    if x <= area.x + room {
        let x = area.right().saturating_sub(columns(&sum));
        put(buffer, x, area.y, &sum, Tone::Strong.style(state.color));
    }
}

fn footer(buffer: &mut Buffer, area: Rect, state: &State) {
    let left = " q quit  ? help  p pause ";
    put(buffer, area.x, area.y, left, Tone::Faint.style(state.color));
    let (right, style) = match state.paused {
        true => (" PAUSED ".to_owned(), Style::new().add_modifier(Modifier::REVERSED)),
        false => (format!("every {} ", interval(state.rate)), Tone::Faint.style(state.color)),
    };
    let x = area.right().saturating_sub(columns(&right));
    put(buffer, x.max(area.x), area.y, &right, style);
}

/// The keys, in a box in the middle.
fn help(buffer: &mut Buffer, area: Rect) {
    let (width, height) = (38, 10);
    let place = Rect {
        x: area.x + area.width.saturating_sub(width) / 2,
        y: area.y + area.height.saturating_sub(height) / 2,
        width,
        height,
    };
    let place = place.intersection(area);
    for position in place.positions() {
        buffer[position].reset();
    }
    let inside = usize::from(width - 2);
    let bold = Style::new().add_modifier(Modifier::BOLD);
    let mut y = place.y;
    let mut row = |text: &str, keys: &str| {
        // Of a place that is too small, the left part is shown.
        if y < place.bottom() {
            buffer.set_stringn(place.x, y, text, usize::from(place.width), Style::new());
            let room = usize::from(place.width.saturating_sub(1));
            buffer.set_stringn(place.x + 1, y, keys, room, bold);
        }
        y += 1;
    };
    row(&format!("╭ Keys {}╮", "─".repeat(inside - 6)), "");
    for (keys, meaning) in HELP {
        row(&format!("│{:13}{meaning:23}│", ""), keys);
    }
    row(&format!("╰{}╯", "─".repeat(inside)), "");
}
