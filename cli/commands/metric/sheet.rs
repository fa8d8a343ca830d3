//! A part of the view before it is put on the terminal: it may have more rows than fit there.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};

use super::model::History;
use super::sample::whole;

/// The most rows. A server with all of its operations has fewer.
const MAX_ROWS: u16 = 128;

/// Parts of a cell, in eighths.
const BARS: [&str; 9] = ["", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"];

/// What a text says by its look. Its words say the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tone {
    Plain,
    Strong,
    Faint,
    Good,
    Warn,
    Bad,
    Chart,
}

/// Rows of text and charts, of which the last one is written to.
pub(super) struct Sheet {
    buffer: Buffer,
    row: u16,
    color: bool,
}

impl Tone {
    /// Colours of the terminal's own palette, which is made for its background.
    pub(super) fn style(self, color: bool) -> Style {
        let colored = |hue| if color { Style::new().fg(hue) } else { Style::new() };
        match self {
            Self::Plain => Style::new(),
            Self::Strong => Style::new().add_modifier(Modifier::BOLD),
            Self::Faint => Style::new().add_modifier(Modifier::DIM),
            Self::Good => colored(Color::Green),
            Self::Warn => colored(Color::Yellow),
            Self::Bad => colored(Color::Red).add_modifier(Modifier::BOLD),
            Self::Chart => colored(Color::Cyan),
        }
    }
}

impl Sheet {
    /// An empty one.
    pub(super) fn new(width: u16, color: bool) -> Self {
        Self { buffer: Buffer::empty(Rect::new(0, 0, width, MAX_ROWS)), row: 0, color }
    }

    /// Begins the next row. What is written to rows beyond the last one is lost.
    pub(super) fn next(&mut self) {
        self.row = self.row.saturating_add(1);
    }

    /// How many rows there are.
    pub(super) fn rows(&self) -> u16 {
        self.row.min(MAX_ROWS)
    }

    /// Writes a text from a column on, as much as fits, and returns the column behind it.
    pub(super) fn put(&mut self, column: u16, text: &str, tone: Tone) -> u16 {
        put(&mut self.buffer, column, self.row, text, tone.style(self.color))
    }

    /// Writes a text so that it ends before a column.
    pub(super) fn put_before(&mut self, column: u16, text: &str, tone: Tone) {
        self.put(column.saturating_sub(columns(text)), text, tone);
    }

    /// Draws a chart from a column to the right end, with so many rows, the first of which is the
    /// current one. The highest value fills them but for an eighth of a row, which keeps charts of
    /// neighbouring rows apart, and whatever is above 0 can be seen.
    pub(super) fn chart(&mut self, column: u16, rows: u16, history: &History) {
        let width = self.buffer.area.width.saturating_sub(column);
        let values = || history.newest(usize::from(width));
        let max = values().flatten().fold(0.0, f64::max);
        let height = f64::from(rows.saturating_mul(8).saturating_sub(1));
        let style = Tone::Chart.style(self.color);
        for (column, value) in (column..).zip(values()) {
            let Some(value) = value.filter(|value| *value > 0.0) else { continue };
            let mut left = whole(value / max * height).max(1);
            for row in (self.row..self.row.saturating_add(rows)).rev() {
                let bar = BARS[usize::try_from(left.min(8)).unwrap_or_default()];
                put(&mut self.buffer, column, row, bar, style);
                left = left.saturating_sub(8);
            }
        }
    }

    /// All rows as text, without colour.
    pub(super) fn text(&self) -> String {
        let width = self.buffer.area.width;
        let row = |row| -> String {
            let cells = (0..width).map(|column| self.buffer[(column, row)].symbol());
            cells.collect::<String>().trim_end().to_owned() + "\n"
        };
        (0..self.rows()).map(row).collect()
    }

    /// Copies the rows behind the first few to a place.
    pub(super) fn show(&self, target: &mut Buffer, place: Rect, skipped: u16) {
        let place = place.intersection(target.area);
        for row in 0..place.height.min(self.rows().saturating_sub(skipped)) {
            for column in 0..place.width.min(self.buffer.area.width) {
                let from = (column, row + skipped);
                target[(place.x + column, place.y + row)] = self.buffer[from].clone();
            }
        }
    }
}

/// Writes a text, as much of it as fits, and returns the column behind it.
pub(super) fn put(buffer: &mut Buffer, column: u16, row: u16, text: &str, style: Style) -> u16 {
    if !buffer.area.contains((column, row).into()) {
        return column.saturating_add(columns(text));
    }
    buffer.set_stringn(column, row, text, usize::MAX, style).0
}

/// How many columns the view's own texts have, whose characters have one each.
pub(super) fn columns(text: &str) -> u16 {
    u16::try_from(text.chars().count()).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chart_shows_whatever_is_above_zero() {
        let history = |values: &[Option<f64>]| values.iter().copied().collect::<History>();
        let drawn = |values: &[Option<f64>], rows| {
            let mut sheet = Sheet::new(6, false);
            sheet.put(0, "x", Tone::Plain);
            sheet.chart(2, rows, &history(values));
            (0..rows).for_each(|_| sheet.next());
            sheet.text()
        };
        assert_eq!(drawn(&[Some(800.0), Some(0.1), None, Some(400.0)], 1), "x ▇▁ ▄\n");
        assert_eq!(drawn(&[Some(0.0), Some(12.0), Some(16.0)], 2), "x   ▃▇\n    ██\n");
        assert_eq!(drawn(&[None, Some(0.0)], 1), "x\n");
        assert_eq!(drawn(&[Some(1.0); 9], 1), "x ▇▇▇▇\n");
        let odd = [Some(f64::MAX), Some(f64::MIN_POSITIVE), Some(1.0)];
        assert_eq!(drawn(&odd, 1), "x  ▇▁▁\n");
    }
}
