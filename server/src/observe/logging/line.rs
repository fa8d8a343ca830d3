//! Formats a line: fields in order, as `key=value` text or as one JSON object.

use std::fmt::{self, Write as _};
use std::time::Duration;

use kes_api::Timestamp;
use kes_api::hidden::{self, is_hidden};

/// A line that is being written. A value that is not a single word is quoted, so that a client
/// cannot forge a field or a line.
pub(super) struct Line {
    text: String,
    json: bool,
}

impl Line {
    /// Starts with the time, in UTC with milliseconds, and the level.
    pub(super) fn new(json: bool, time: Timestamp, level: &str) -> Self {
        let mut line = Self { text: String::with_capacity(256), json };
        line.field("time", time_text(time));
        line.field("level", level);
        line
    }

    /// A field that the server chooses, or whose length is limited elsewhere.
    pub(super) fn field(&mut self, key: &str, value: impl fmt::Display) {
        self.add(key, &value.to_string());
    }

    /// A field that a client chooses: at most so many bytes as they are written, which may be six
    /// for one that is escaped. A longer value ends with the mark `…`.
    pub(super) fn field_within(&mut self, most: usize, key: &str, value: &str) {
        match cut(value, most) {
            None => self.add(key, value),
            Some(start) => self.add(key, &format!("{start}…")),
        }
    }

    fn add(&mut self, key: &str, value: &str) {
        let separator = match (self.text.is_empty(), self.json) {
            (true, true) => "{",
            (true, false) => "",
            (false, true) => ",",
            (false, false) => " ",
        };
        self.text.push_str(separator);
        if self.json {
            quote(&mut self.text, key);
            self.text.push(':');
            quote(&mut self.text, value);
        } else {
            self.text.push_str(key);
            self.text.push('=');
            if is_word(value) {
                self.text.push_str(value);
            } else {
                quote(&mut self.text, value);
            }
        }
    }

    /// A field whose value is a number, which JSON does not quote.
    pub(super) fn number(&mut self, key: &str, value: u64) {
        if self.json {
            self.text.push(',');
            quote(&mut self.text, key);
            let _ = write!(self.text, ":{value}");
        } else {
            self.field(key, value);
        }
    }

    /// The line with its end.
    pub(super) fn finish(mut self) -> String {
        self.text.push_str(if self.json { "}\n" } else { "\n" });
        self.text
    }
}

fn is_word(value: &str) -> bool {
    !value.is_empty()
        && value
            .chars()
            .all(|c| !c.is_whitespace() && !is_hidden(c) && !matches!(c, '"' | '=' | '\\'))
}

/// The start of a value that takes more than so many bytes when it is written; `None` if it does
/// not.
fn cut(value: &str, most: usize) -> Option<&str> {
    // No character takes more than six times its bytes.
    if value.len() <= most / 6 {
        return None;
    }
    let mut written = 0;
    let end = value.char_indices().find_map(|(at, c)| {
        written += match c {
            '"' | '\\' => 2,
            c if is_hidden(c) => hidden::escaped_len(c),
            c => c.len_utf8(),
        };
        (written > most).then_some(at)
    });
    value.get(..end?)
}

/// Quotes a value as a JSON string, in text lines too. Hidden characters, which JSON permits, are
/// escaped as well.
fn quote(out: &mut String, value: &str) {
    let quoted = serde_json::to_string(value).unwrap_or_else(|_| "\"\"".to_owned());
    for c in quoted.chars() {
        if is_hidden(c) {
            hidden::escape_json(out, c);
        } else {
            out.push(c);
        }
    }
}

/// A time in UTC with milliseconds.
pub(super) fn time_text(time: Timestamp) -> impl fmt::Display {
    fmt::from_fn(move |f| {
        let second = Timestamp::from_unix(time.unix_seconds(), 0).unwrap_or(time).to_string();
        let second = second.trim_end_matches('Z');
        let millis = time.subsecond_nanos() / 1_000_000;
        write!(f, "{second}.{millis:03}Z")
    })
}

/// A duration as Go prints it: `2.437816ms`, `1.5s`, `812ns`.
pub(crate) fn go_duration(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    let (unit, scale) = match nanos {
        0 => return "0s".to_owned(),
        1..1_000 => return format!("{nanos}ns"),
        1_000..1_000_000 => ("µs", 1_000),
        1_000_000..1_000_000_000 => ("ms", 1_000_000),
        _ => ("s", 1_000_000_000),
    };
    let (minutes, nanos) = (nanos / 60_000_000_000, nanos % 60_000_000_000);
    let nanos = if minutes > 0 { nanos } else { duration.as_nanos() };
    let mut text = String::new();
    if minutes >= 60 {
        let _ = write!(text, "{}h", minutes / 60);
    }
    if minutes > 0 {
        let _ = write!(text, "{}m", minutes % 60);
    }
    let _ = write!(text, "{}", nanos / scale);
    if nanos % scale != 0 {
        let width = scale.ilog10() as usize;
        let fraction = format!("{:0width$}", nanos % scale);
        text.push('.');
        text.push_str(fraction.trim_end_matches('0'));
    }
    text.push_str(unit);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time() -> Timestamp {
        Timestamp::parse("2026-11-22T02:44:23.611999Z").unwrap()
    }

    #[test]
    fn text_of_the_contract() {
        let mut line = Line::new(false, time(), "INFO");
        line.field("msg", "secret key 'a1' created");
        line.field("req.method", "PUT");
        line.number("res.code", 200);
        let expected = "time=2026-11-22T02:44:23.611Z level=INFO msg=\"secret key 'a1' created\" \
                        req.method=PUT res.code=200\n";
        assert_eq!(line.finish(), expected);
    }

    #[test]
    fn the_same_fields_as_json() {
        let mut line = Line::new(true, time(), "INFO");
        line.field("msg", "a \"b\"\n");
        line.number("res.code", 200);
        let read: serde_json::Value = serde_json::from_str(&line.finish()).unwrap();
        assert_eq!(read["time"], "2026-11-22T02:44:23.611Z");
        assert_eq!(read["msg"], "a \"b\"\n");
        assert_eq!(read["res.code"], 200);
    }

    #[test]
    fn a_value_cannot_forge_a_field_or_a_line() {
        let mut line = Line::new(false, time(), "INFO");
        line.field("req.path", "/a level=ERROR\ntime=now");
        let line = line.finish();
        assert_eq!(line.matches('\n').count(), 1);
        assert!(line.contains(r#"req.path="/a level=ERROR\ntime=now""#), "{line}");
    }

    /// Invisible characters make a name look like another one.
    #[test]
    fn what_a_log_does_not_show_is_escaped() {
        for (value, shown) in [
            ("my\u{ad}key", r"my\u00adkey"),
            ("my\u{200b}key", r"my\u200bkey"),
            ("my\u{3164}key", r"my\u3164key"),
            ("my\u{e0041}key", r"my\udb40\udc41key"),
        ] {
            let mut text = Line::new(false, time(), "INFO");
            text.field("req.path", value);
            let text = text.finish();
            assert!(text.ends_with(&format!(" req.path=\"{shown}\"\n")), "{text}");
            let mut json = Line::new(true, time(), "INFO");
            json.field("req.path", value);
            let json = json.finish();
            assert!(json.contains(shown), "{json}");
            let read: serde_json::Value = serde_json::from_str(&json).unwrap();
            assert_eq!(read["req.path"], value);
        }
    }

    #[test]
    fn a_value_that_is_too_long_is_cut_and_says_so() {
        for (value, shown) in [
            ("x".repeat(10), "xxxxxxxxxx".to_owned()),
            ("x".repeat(11), "xxxxxxxxxx…".to_owned()),
            ("é".repeat(2000), "ééééé…".to_owned()),
            ("\0".repeat(2), "\0…".to_owned()),
            ("\"".repeat(5), "\"".repeat(5)),
            ("\"".repeat(6), "\"\"\"\"\"…".to_owned()),
            ("\u{202e}".repeat(6), "\u{202e}…".to_owned()),
            ("\u{e0041}".to_owned(), "…".to_owned()),
        ] {
            for json in [true, false] {
                let mut line = Line::new(json, time(), "INFO");
                line.field_within(10, "a", &value);
                let mut expected = Line::new(json, time(), "INFO");
                expected.field("a", &shown);
                assert_eq!(line.finish(), expected.finish());
            }
        }
    }

    #[test]
    fn durations_as_go_prints_them() {
        for (nanos, text) in [
            (0, "0s"),
            (812, "812ns"),
            (1_500, "1.5µs"),
            (2_437_816, "2.437816ms"),
            (15_000_000_000, "15s"),
            (90_500_000_000, "1m30.5s"),
            (3_600_000_000_000, "1h0m0s"),
        ] {
            assert_eq!(go_duration(Duration::from_nanos(nanos)), text);
        }
    }
}
