//! All output of the command line (contract `cli.md`, Output). The rules:
//!
//! - Answers go to standard output. Errors, warnings, prompts and usage go to standard error, as
//!   `Error: …`, `Warning: …` and `Note: …`, in lower case and without a full stop, unless a
//!   reference to help follows (`. See 'kes key ls --help'`).
//! - An answer has up to three forms: for a person at a terminal; plain, into a pipe or a file, for
//!   scripts; and JSON, with `--json`, when nothing else is printed.
//! - Every output ends with a newline.
//! - Colour is used only on a terminal, unless `--color` says otherwise; `NO_COLOR` turns it off.
//!   It never has information that the text lacks.
//! - Control characters are escaped in text from elsewhere: whoever sends a request chooses the
//!   path in the audit log.
//! - API keys, plaintexts and data keys are printed only as answers, never in an error or a
//!   warning.
//! - If the reader of standard output goes away, the command ends silently and successfully.

use std::borrow::Cow;
use std::fmt::{self, Write as _};
use std::fs::File;
use std::io::{self, IsTerminal as _, Write as _};
use std::os::fd::AsFd as _;

use anstream::{AutoStream, ColorChoice};
use anstyle::{AnsiColor, Style};
use anyhow::{Context as _, Result};
use base64_simd::STANDARD;
use clap::builder::StyledStr;
use kes_api::SecretBytes;
use kes_api::hidden::{self, is_hidden};
use serde::Serialize;
use zeroize::Zeroizing;

use crate::args::Color;

/// The heading of a list.
pub(crate) const HEADING: Style = Style::new().bold().underline();
/// The label of a line.
pub(crate) const LABEL: Style = Style::new().bold();
/// Something works.
pub(crate) const GOOD: Style = AnsiColor::Green.on_default();
/// Something works in part.
pub(crate) const WARN: Style = AnsiColor::Yellow.on_default();
/// Something fails.
pub(crate) const BAD: Style = AnsiColor::Red.on_default().bold();

/// The column of values in a table.
const VALUE_COLUMN: usize = 12;

/// Standard output.
pub(crate) struct Output {
    stream: AutoStream<io::Stdout>,
    terminal: bool,
}

/// The reader of standard output closed it.
#[derive(Debug)]
pub(crate) struct Closed;

impl Output {
    /// Standard output, in colour if it is a terminal.
    pub(crate) fn new() -> Self {
        Self::with_color(Color::Auto)
    }

    /// Standard output, in colour as requested.
    pub(crate) fn with_color(color: Color) -> Self {
        let stdout = io::stdout();
        let terminal = stdout.is_terminal();
        let choice = match color {
            Color::Auto => AutoStream::choice(&stdout),
            Color::Always => ColorChoice::Always,
            Color::Never => ColorChoice::Never,
        };
        Self { stream: AutoStream::new(stdout, choice), terminal }
    }

    /// Whether standard output is a terminal.
    pub(crate) fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// Whether there is colour.
    pub(crate) fn has_color(&self) -> bool {
        self.stream.current_choice() != ColorChoice::Never
    }

    /// Whether standard output is a terminal that can move its cursor.
    pub(crate) fn is_screen(&self) -> bool {
        let moves = std::env::var_os("TERM").is_some_and(|term| !term.is_empty() && term != "dumb");
        self.terminal && moves
    }

    /// Prints text and flushes it; adds a newline if there is none at its end.
    ///
    /// # Errors
    /// [`Closed`] if the reader closed it, otherwise the system's error.
    pub(crate) fn print(&mut self, text: &str) -> Result<()> {
        let end = if text.ends_with('\n') { "" } else { "\n" };
        written(
            self.stream
                .write_all(text.as_bytes())
                .and_then(|()| self.stream.write_all(end.as_bytes()))
                .and_then(|()| self.stream.flush()),
        )
    }

    /// Prints a value as one line of JSON.
    ///
    /// # Errors
    /// As [`Self::print`].
    pub(crate) fn json(&mut self, value: &impl Serialize) -> Result<()> {
        self.json_line(&serde_json::to_string(value)?)
    }

    /// Prints a line that is JSON already.
    ///
    /// # Errors
    /// As [`Self::print`].
    pub(crate) fn json_line(&mut self, json: &str) -> Result<()> {
        self.print(&clean_json(json))
    }

    /// Prints the parts of a secret text that ends with a newline. They bypass the buffer of
    /// standard output, which is not wiped.
    ///
    /// # Errors
    /// As [`Self::print`].
    pub(crate) fn secret(&mut self, parts: &[&[u8]]) -> Result<()> {
        written(self.stream.flush())?;
        let stdout = io::stdout().as_fd().try_clone_to_owned()?;
        let mut stdout = File::from(stdout);
        parts.iter().try_for_each(|part| written(stdout.write_all(part)))
    }

    /// Prints a line `label: base64` for each of these, as [`Self::secret`] does.
    ///
    /// # Errors
    /// As [`Self::print`].
    pub(crate) fn secret_fields(&mut self, fields: &[(&str, &SecretBytes)]) -> Result<()> {
        for (label, bytes) in fields {
            let text = Zeroizing::new(STANDARD.encode_to_string(bytes.expose()));
            self.secret(&[label.as_bytes(), b": ", text.as_bytes(), b"\n"])?;
        }
        Ok(())
    }

    /// Prints a list under its heading.
    ///
    /// # Errors
    /// As [`Self::print`].
    pub(crate) fn list(&mut self, heading: &str, names: &[String]) -> Result<()> {
        let mut text = format!("{HEADING}{heading}{HEADING:#}\n");
        for name in names {
            let _ = writeln!(text, "{}", clean(name));
        }
        self.print(&text)
    }

    /// Prints labels and their values.
    ///
    /// # Errors
    /// As [`Self::print`].
    pub(crate) fn table(&mut self, rows: &[(&str, String)]) -> Result<()> {
        self.print(&table(rows))
    }
}

/// A line for each row: the padded label and the value. Further lines of a value are aligned below
/// the first.
fn table(rows: &[(&str, String)]) -> String {
    let mut text = String::new();
    for (label, value) in rows {
        let mut label = *label;
        for line in value.lines() {
            let _ =
                writeln!(text, "{LABEL}{label:VALUE_COLUMN$}{LABEL:#}{line}", line = clean(line));
            label = "";
        }
    }
    text
}

/// Escapes control characters and characters that change the direction of writing, which a terminal
/// would obey, and characters that cannot be seen.
pub(crate) fn clean(text: &str) -> Cow<'_, str> {
    if !text.contains(is_hidden) {
        return Cow::Borrowed(text);
    }
    let mut clean = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        if is_hidden(character) {
            clean.extend(character.escape_default());
        } else {
            clean.push(character);
        }
    }
    Cow::Owned(clean)
}

/// The same for a line of JSON, whose meaning does not change: such characters only occur in
/// strings.
fn clean_json(json: &str) -> Cow<'_, str> {
    if !json.contains(is_hidden) {
        return Cow::Borrowed(json);
    }
    let mut clean = String::with_capacity(json.len() + 16);
    for character in json.chars() {
        if is_hidden(character) {
            hidden::escape_json(&mut clean, character);
        } else {
            clean.push(character);
        }
    }
    Cow::Owned(clean)
}

/// Prints why a command failed.
pub(crate) fn error(error: &anyhow::Error) {
    to_stderr("Error", BAD, &format!("{error:#}"));
}

/// Prints a warning.
pub(crate) fn warning(text: &str) {
    to_stderr("Warning", WARN, text);
}

/// Prints a note.
pub(crate) fn note(text: &str) {
    to_stderr("Note", LABEL, text);
}

/// Asks a person at a terminal, whose answer is yes if it says so.
///
/// # Errors
/// If standard input cannot be read.
pub(crate) fn ask(text: &str) -> Result<bool> {
    let lines: Vec<Cow<'_, str>> = text.lines().map(clean).collect();
    let mut stderr = anstream::stderr();
    let _ = write!(stderr, "{} ", lines.join("\n").trim_end());
    let _ = stderr.flush();
    let mut answer = String::new();
    io::stdin().read_line(&mut answer).context("failed to read standard input")?;
    if !answer.ends_with('\n') {
        // The end of the input (Ctrl-D) has left the cursor in the line of the question.
        let _ = writeln!(stderr);
    }
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}

/// Prints how a command is used.
pub(crate) fn usage(text: &StyledStr) {
    // If standard error is closed, nobody can be told.
    let _ = writeln!(anstream::stderr(), "{}", text.ansi().to_string().trim_end());
}

fn to_stderr(kind: &str, style: Style, text: &str) {
    let lines: Vec<Cow<'_, str>> = text.lines().map(clean).collect();
    let _ = writeln!(anstream::stderr(), "{style}{kind}:{style:#} {}", lines.join("\n"));
}

fn written(result: io::Result<()>) -> Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(Closed.into()),
        other => other.context("failed to write to standard output"),
    }
}

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("standard output is closed")
    }
}

impl std::error::Error for Closed {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_padded_to_twelve_columns() {
        let rows = [("Name", "k1".to_owned()), ("Allow", "/a\n/b\n".to_owned())];
        let text = anstream::adapter::strip_str(&table(&rows)).to_string();
        assert_eq!(text, "Name        k1\nAllow       /a\n            /b\n");
    }

    #[test]
    fn what_a_terminal_obeys_is_spelled_out() {
        assert_eq!(clean("/v1/key/ümlaut"), "/v1/key/ümlaut");
        assert_eq!(clean("a\u{1b}[2Jb\r\n\u{9b}1m"), "a\\u{1b}[2Jb\\r\\n\\u{9b}1m");
        assert_eq!(clean("a\u{202e}b"), "a\\u{202e}b");
        for hidden in ['\u{ad}', '\u{61c}', '\u{200b}', '\u{2060}', '\u{feff}', '\u{e0041}'] {
            let escaped = format!("a{}b", hidden.escape_unicode());
            assert_eq!(clean(&format!("a{hidden}b")), escaped);
        }
        assert_eq!(clean("é ü 漢字 क्षि 🙂 –"), "é ü 漢字 क्षि 🙂 –");

        let json = serde_json::to_string("a\u{1b}\u{9b}1m\u{202e}\"é").unwrap();
        let cleaned = clean_json(&json);
        assert_eq!(cleaned, "\"a\\u001b\\u009b1m\\u202e\\\"é\"");
        assert_eq!(serde_json::from_str::<String>(&cleaned).unwrap(), "a\u{1b}\u{9b}1m\u{202e}\"é");
    }
}
