use std::fmt::Write as _;

use super::{At, Before, Verifier};
use crate::chain::{Head, Sealed};
use crate::entry::Entry;
use crate::key::AuditKey;
use crate::reader::{Input, Read1};
use crate::segment::{Begin, FOREIGN, First, LAST, REPAIR};
use crate::torn::Torn;

/// A segment that is being read.
pub(super) struct Scan<'v, 'a> {
    pub(super) verifier: &'v mut Verifier<'a>,
    pub(super) file: &'v str,
    pub(super) before: Option<Before>,
}

/// How the hashes of a segment are checked.
#[derive(Clone, Copy)]
enum Check<'a> {
    With(Option<&'a AuditKey>),
    /// Its key was not given.
    Not,
}

/// The last line that has a place in the chain.
struct Last {
    seq: u64,
    head: Head,
    /// Whether nothing can follow it.
    is_end: bool,
}

/// What is between two lines and is none.
struct Junk {
    torn: Torn,
    lines: u64,
    /// The number of its first line.
    at: u64,
    is_after_end: bool,
}

impl<'a> Scan<'_, 'a> {
    pub(super) fn run(mut self, input: &Input) -> Option<Before> {
        let mut lines = match input.lines() {
            Ok(lines) => lines,
            Err(error) => {
                self.tell(None, None, format!("cannot be read: {error}"));
                return None;
            }
        };
        let (place, mut last, check) = match lines.next() {
            Ok(Some(Read1::Line(line))) => self.first(line)?,
            _ => return None,
        };
        let (mut junk, mut is_partial) = (None, false);
        loop {
            let number = lines.number + 1;
            let line = match lines.next() {
                Ok(Some(Read1::Line(line))) => line,
                Ok(Some(Read1::Partial(line))) => {
                    is_partial = true;
                    line
                }
                Ok(None) => {
                    match &junk {
                        Some(junk) if is_partial => self.ends_with(junk, &last),
                        Some(junk) => self.junk(junk),
                        None => {}
                    }
                    break;
                }
                Err(error) => {
                    let text = format!(
                        "cannot be read after line {}: {error}: the file was damaged or cut",
                        number - 1
                    );
                    self.tell(Some(number), None, text);
                    break;
                }
            };
            match parse(line) {
                None => Junk::add(&mut junk, number, line, &last),
                Some((entry, sealed)) => {
                    self.after_junk(junk.take(), number, &entry);
                    self.line(number, &entry, &sealed, &mut last, check);
                }
            }
        }
        let (log, segment) = place;
        let Last { seq, head, is_end: has_end } = last;
        Some(Before { file: self.file.to_owned(), log, segment, seq, head, has_end })
    }

    fn tell(&mut self, line: Option<u64>, seq: Option<u64>, text: impl Into<String>) {
        self.verifier.finding(At { file: self.file, line, seq }, text);
    }

    fn note(&mut self, line: u64, seq: u64, text: impl Into<String>) {
        self.verifier.note(At { file: self.file, line: Some(line), seq: Some(seq) }, text);
    }

    /// Checks the first line, and how it follows the segment before.
    fn first(&mut self, line: &[u8]) -> Option<((String, u64), Last, Check<'a>)> {
        let (first, sealed) = First::parse(line)?;
        let seq = Some(first.seq);
        let check = match &first.key {
            None => {
                self.verifier.report.keyed = false;
                if !self.verifier.keys.is_empty() {
                    self.tell(Some(1), seq, "the chain of this segment has no key, though a key is given: whoever could write the file could have made it");
                }
                Check::With(None)
            }
            Some(id) => match self.verifier.key(id) {
                Some(key) => Check::With(Some(key)),
                None => {
                    let text = format!("cannot be checked: its key is {id}, which was not given");
                    self.tell(None, None, text);
                    Check::Not
                }
            },
        };
        let previous = first.previous().unwrap_or(Head::NONE);
        if let Check::With(key) = check {
            let is_right =
                sealed.is_keyed == key.is_some() && previous.after(sealed.text, key) == sealed.seal;
            if !is_right {
                self.tell(Some(1), seq, "was edited or forged: its hash is wrong");
            }
        }
        match self.before.take() {
            Some(before) => self.follows(&first, previous, &before),
            None if first.begin == Begin::Anew.as_str() => {
                self.note(
                    1,
                    first.seq,
                    "a new chain begins here: what was there before could not be continued",
                );
            }
            None if first.segment == 1 && (first.seq != 1 || previous != Head::NONE) => {
                self.tell(Some(1), seq, "the first segment does not begin with line 1");
            }
            None => {}
        }
        self.verifier.line(At { file: self.file, line: Some(1), seq }, first.seq, sealed.seal);
        self.verifier.report.lines += 1;
        let last = Last { seq: first.seq, head: sealed.seal, is_end: false };
        Some(((first.log.to_string(), first.segment), last, check))
    }

    fn follows(&mut self, first: &First<'_>, previous: Head, before: &Before) {
        let seq = Some(first.seq);
        if first.log != before.log {
            let text = if first.begin == Begin::Anew.as_str() {
                format!("a new chain begins here: nothing ties it to '{}' before it", before.file)
            } else {
                format!(
                    "is a segment of another log than '{}' before it: the file was replaced",
                    before.file
                )
            };
            return self.tell(Some(1), seq, text);
        }
        let missing = first.segment.saturating_sub(before.segment + 1);
        if missing > 0 {
            let mut text = format!("segment {}", before.segment + 1);
            if missing > 1 {
                let _ = write!(text, " to {}", first.segment - 1);
            }
            let lines = first.seq.saturating_sub(before.seq + 1);
            let s = if lines == 1 { "" } else { "s" };
            let _ = write!(
                text,
                " is missing before this one, with {lines} line{s}: after line {} comes line {}",
                before.seq, first.seq
            );
            self.tell(Some(1), seq, text);
        } else if first.seq > before.seq + 1 {
            let file = before.file.clone();
            let text = format!(
                "lines {} to {} are missing: the end of '{file}' was cut off",
                before.seq + 1,
                first.seq - 1
            );
            self.tell(Some(1), seq, text);
        } else if first.seq != before.seq + 1 || previous != before.head {
            let text = format!(
                "does not follow '{}', whose last line is {}: one of them was replaced or changed",
                before.file, before.seq
            );
            self.tell(Some(1), seq, text);
        } else if !before.has_end && first.begin == Begin::Rotated.as_str() {
            let text = format!("'{}' before it lacks its last line", before.file);
            self.tell(Some(1), seq, text);
        } else if first.begin == Begin::Displaced.as_str() {
            self.note(
                1,
                first.seq,
                "the file before was moved or cut by somebody else while it was written",
            );
        }
    }

    fn line(
        &mut self,
        number: u64,
        entry: &Entry<'_>,
        sealed: &Sealed<'_>,
        last: &mut Last,
        check: Check<'_>,
    ) {
        let seq = Some(entry.seq);
        let expected = last.seq + 1;
        let is_next = entry.seq == expected;
        if last.is_end {
            self.tell(Some(number), seq, "stands after the last line of its segment: it was added");
        } else if entry.seq > expected {
            let text = match entry.seq - expected {
                1 => format!(
                    "line {expected} of the chain is missing before this one: it was removed, or moved"
                ),
                _ => format!(
                    "lines {expected} to {} of the chain are missing before this one: they were removed, or moved",
                    entry.seq - 1
                ),
            };
            self.tell(Some(number), seq, text);
        } else if !is_next {
            let text = format!(
                "line {} stands after line {}: it was moved, repeated or added",
                entry.seq, last.seq
            );
            self.tell(Some(number), seq, text);
        }
        let is_right = match check {
            Check::Not => true,
            Check::With(key) => {
                sealed.is_keyed == key.is_some() && last.head.after(sealed.text, key) == sealed.seal
            }
        };
        if !is_right && is_next && !last.is_end {
            self.tell(
                Some(number),
                seq,
                "was edited, or its hash was: the line does not follow the one before",
            );
        }
        if is_right && is_next {
            self.verifier.report.lines += u64::from(!matches!(check, Check::Not));
            self.remark(number, entry);
        }
        self.verifier.line(At { file: self.file, line: Some(number), seq }, entry.seq, sealed.seal);
        *last = Last { seq: entry.seq, head: sealed.seal, is_end: entry.kind == LAST };
    }

    /// What the server itself says of its file.
    fn remark(&mut self, number: u64, entry: &Entry<'_>) {
        match &*entry.kind {
            "gap" => {
                let text = format!(
                    "the server lost {} records here, {} of them about changes of keys: {}",
                    entry.records.unwrap_or_default(),
                    entry.changes.unwrap_or_default(),
                    entry.reason.as_deref().unwrap_or_default()
                );
                self.note(number, entry.seq, text);
            }
            "removed" => {
                let text = format!(
                    "the server removed '{}', as it is configured to",
                    entry.file.as_deref().unwrap_or_default()
                );
                self.note(number, entry.seq, text);
            }
            "start" => {
                if let Some(warning) = &entry.warning {
                    let text = format!("when the server started, it found: {warning}");
                    self.tell(Some(number), Some(entry.seq), text);
                }
            }
            _ => {}
        }
    }

    /// Ends what is no line, before a line that tells of it or does not.
    fn after_junk(&mut self, junk: Option<Junk>, number: u64, entry: &Entry<'_>) {
        let tells = matches!(&*entry.kind, REPAIR | FOREIGN);
        let Some(junk) = junk else {
            if tells {
                let text =
                    "the bytes before this line that it tells of are not there: they were removed";
                self.tell(Some(number), Some(entry.seq), text);
            }
            return;
        };
        let (bytes, sha256) = junk.torn.told();
        if !tells || entry.bytes != Some(bytes) || entry.sha256.as_deref() != Some(&*sha256) {
            self.junk(&junk);
        } else if entry.kind == FOREIGN || junk.is_foreign() {
            let text = format!(
                "{bytes} bytes from here on were not written by a server: they were added, or lines were changed, before the server went on after them"
            );
            self.tell(Some(junk.at), None, text);
        } else {
            let text = format!(
                "the server found {bytes} bytes of a line that was not written whole, and went on after them"
            );
            self.note(number, entry.seq, text);
        }
    }

    fn junk(&mut self, junk: &Junk) {
        let text = match junk.lines {
            1 => "is no line of an audit file: it was damaged or added".to_owned(),
            lines => format!(
                "{lines} lines from here on are none of an audit file: they were damaged or added"
            ),
        };
        self.tell(Some(junk.at), None, text);
    }

    /// The end of a file whose last bytes are no line and lack its end.
    fn ends_with(&mut self, junk: &Junk, last: &Last) {
        if junk.is_foreign() {
            return match junk.lines {
                1 => self.tell(Some(junk.at), None, "is no line of an audit file, nor the start of the next one: it was damaged or added"),
                _ => self.junk(junk),
            };
        }
        let seq = last.seq + 1;
        let text = format!(
            "the file ends within line {seq} of the chain: the server is writing it, or was killed, or the end was cut off"
        );
        self.note(junk.at, seq, text);
    }
}

impl Junk {
    fn add(junk: &mut Option<Self>, number: u64, line: &[u8], last: &Last) {
        let new =
            || Self { torn: Torn::default(), lines: 0, at: number, is_after_end: last.is_end };
        let junk = junk.get_or_insert_with(new);
        if junk.lines > 0 {
            junk.torn.add(b"\n");
        }
        junk.lines += 1;
        junk.torn.add_found(line, last.seq + 1);
    }

    /// Whether no server has left it.
    const fn is_foreign(&self) -> bool {
        self.torn.is_foreign() || self.is_after_end
    }
}

fn parse(line: &[u8]) -> Option<(Entry<'_>, Sealed<'_>)> {
    Some((serde_json::from_slice(line).ok()?, Sealed::of_line(line)?))
}
