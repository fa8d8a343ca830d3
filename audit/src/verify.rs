//! Checks segments: that each line follows the one before, and each segment the one before.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::chain::Head;
use crate::key::AuditKey;
use crate::note::{Checkpoint, InvalidNote, LoggedHead, Signed};
use crate::reader::{Input, Read1, hold};
use crate::segment::{First, number_of};

use self::scan::Scan;

/// The lines of a segment.
mod scan;

/// How many findings, and how many notes, are told. Further ones are counted.
const MAX_TOLD: usize = 1000;

/// What a check is made with.
#[derive(Default)]
pub struct Known {
    /// Keys of the chain.
    pub keys: Vec<AuditKey>,
    /// Heads that somebody has kept.
    pub heads: Vec<LoggedHead>,
    /// The texts of checkpoints that somebody has kept, under names for messages.
    pub checkpoints: Vec<(String, String)>,
}

/// What a check has found.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// What shows that something was changed, or may have been.
    pub findings: Vec<Finding>,
    /// What is unusual and no sign of a change.
    pub notes: Vec<Finding>,
    /// How many more there are than are told.
    pub more: usize,
    /// How many segments were read.
    pub segments: usize,
    /// How many lines fit into the chain.
    pub lines: u64,
    /// The numbers of the first and the last line that was read.
    pub first: u64,
    /// See `first`.
    pub last: u64,
    /// The head of the chain after the last line.
    pub head: String,
    /// The random name of the log.
    pub log: String,
    /// Whether all of it has a key: without one, whoever can write the files can make another chain.
    pub keyed: bool,
    /// The latest line that a kept head or checkpoint vouches for; 0 for none. Lines after it could
    /// have been cut off without a trace.
    pub vouched: u64,
}

/// Something about a place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The file.
    pub file: String,
    /// The line in it, from 1 on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
    /// The number of the line in the chain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
    /// What.
    pub text: String,
}

impl Report {
    /// Whether nothing was changed, as far as can be told.
    pub const fn is_good(&self) -> bool {
        self.findings.is_empty()
    }
}

/// The place of a finding.
#[derive(Clone, Copy)]
struct At<'a> {
    file: &'a str,
    line: Option<u64>,
    seq: Option<u64>,
}

/// The segment before.
struct Before {
    file: String,
    log: String,
    segment: u64,
    seq: u64,
    head: Head,
    has_end: bool,
}

struct Verifier<'a> {
    keys: &'a [AuditKey],
    /// What is known of lines: the head, and who says so.
    heads: BTreeMap<u64, Vec<(Head, String)>>,
    report: Report,
}

/// Checks segments, in the order of their numbers and whatever the order of the inputs.
pub fn verify(inputs: &[Input], known: &Known) -> Report {
    let mut verifier =
        Verifier { keys: &known.keys, heads: BTreeMap::new(), report: Report::default() };
    verifier.report.keyed = true;
    for LoggedHead { size, head } in &known.heads {
        let kept = verifier.heads.entry(*size).or_default();
        kept.push((*head, "a kept head".to_owned()));
    }
    let inputs = hold(inputs);
    let mut segments = Vec::new();
    for input in &inputs {
        segments.extend(verifier.first_of(input));
    }
    verifier.checkpoints(&known.checkpoints, &segments);
    // A log that begins anew goes on with the numbers of its files.
    segments.sort_by_key(|(_, first)| first.segment);
    let (mut before, mut last) = (None, None);
    for (input, first) in &segments {
        before = verifier.segment(input, first, before, last);
        last = Some(*input);
    }
    verifier.end(before)
}

/// What is needed of a first line before the lines are read.
#[derive(Clone, Debug)]
struct Start {
    log: String,
    segment: u64,
    is_keyed: bool,
}

impl<'a> Verifier<'a> {
    fn finding(&mut self, at: At<'_>, text: impl Into<String>) {
        tell(&mut self.report.findings, &mut self.report.more, at, text.into());
    }

    fn note(&mut self, at: At<'_>, text: impl Into<String>) {
        tell(&mut self.report.notes, &mut self.report.more, at, text.into());
    }

    fn first_of<'i>(&mut self, input: &'i Input) -> Option<(&'i Input, Start)> {
        let name = input.name();
        let at = At { file: &name, line: None, seq: None };
        let mut lines = match input.lines() {
            Ok(lines) => lines,
            Err(error) => {
                self.finding(at, format!("cannot be read: {error}"));
                return None;
            }
        };
        match lines.next() {
            Ok(Some(Read1::Line(line))) => {
                if let Some((first, _)) = First::parse(line) {
                    return Some((
                        input,
                        Start {
                            log: first.log.to_string(),
                            segment: first.segment,
                            is_keyed: first.key.is_some(),
                        },
                    ));
                }
                self.finding(At { line: Some(1), ..at }, "is not the first line of a segment: the file is no audit file, or was damaged or replaced");
            }
            Ok(Some(Read1::Partial(_)) | None) => {
                self.finding(at, "has no whole line: the file was cut, or is no audit file");
            }
            Err(error) => self.finding(at, format!("cannot be read: {error}")),
        }
        None
    }

    /// What checkpoints know. That of a chain with a key has to be signed with one that is given.
    fn checkpoints(&mut self, texts: &[(String, String)], segments: &[(&Input, Start)]) {
        let keys: Vec<_> = self.keys.iter().collect();
        for (name, text) in texts {
            let at = At { file: name, line: None, seq: None };
            match Checkpoint::parse(text, &keys) {
                Ok((checkpoint, signed)) => {
                    let own = || {
                        segments.iter().map(|(_, start)| start).filter(|s| s.log == checkpoint.log)
                    };
                    let is_keyed = own().any(|start| start.is_keyed);
                    let why = match signed {
                        Signed::Yes => None,
                        Signed::No => Some(
                            "this checkpoint is not signed: whoever can write it could have changed it",
                        ),
                        Signed::ByOthers => Some(
                            "the signature of this checkpoint cannot be checked with the given keys",
                        ),
                    };
                    match why {
                        Some(why) if is_keyed && !keys.is_empty() => self.finding(at, why),
                        Some(why) => self.note(at, why),
                        None => {}
                    }
                    if own().next().is_none() {
                        self.finding(at, format!("this checkpoint is of another log, {}: the files were replaced, or are not those that it belongs to", checkpoint.log));
                    } else if why.is_none() || !is_keyed {
                        let kept = self.heads.entry(checkpoint.size).or_default();
                        kept.push((checkpoint.head, format!("the checkpoint '{name}'")));
                    }
                }
                Err(error @ (InvalidNote::Form | InvalidNote::Signature)) => {
                    self.finding(at, error.to_string());
                }
            }
        }
    }

    /// Checks a segment, and how it follows the one before. `last` is the input before.
    fn segment(
        &mut self,
        input: &Input,
        start: &Start,
        before: Option<Before>,
        last: Option<&Input>,
    ) -> Option<Before> {
        let name = input.name();
        let at = At { file: &name, line: None, seq: None };
        let named = input.path().and_then(number_of);
        if let Some(named) = named.filter(|named| *named != start.segment) {
            self.finding(at, format!("holds segment {}, and its name is that of segment {named}: files were renamed or replaced", start.segment));
        }
        let is_twin = |before: &Before| before.segment == start.segment && before.log == start.log;
        if let (Some(before), Some(last)) = (before.as_ref().filter(|b| is_twin(b)), last) {
            self.twin(input, last, start.segment);
            return Some(Before { file: before.file.clone(), log: before.log.clone(), ..*before });
        }
        self.report.segments += 1;
        let is_first = before.is_none();
        let scan = Scan { verifier: self, file: &name, before };
        let after = scan.run(input);
        if is_first && after.is_some() && start.segment > 1 {
            let text = format!(
                "is segment {}; what was before it was not given, and is not checked",
                start.segment
            );
            self.note(at, text);
        }
        after
    }

    /// A segment that is there twice: a server that is killed while it compresses one leaves both. The
    /// lines of the other one were checked, and these have to be the same.
    fn twin(&mut self, input: &Input, other: &Input, segment: u64) {
        let (name, other_name) = (input.name(), other.name());
        match first_difference(input, other) {
            Ok(None) => {
                let at = At { file: &name, line: None, seq: None };
                self.note(at, format!("is segment {segment} once more, as '{other_name}'"));
            }
            Ok(Some(line)) => {
                let text = format!(
                    "is another segment {segment} than '{other_name}', from this line on: one of them was changed, cut or replaced"
                );
                self.finding(At { file: &name, line: Some(line), seq: None }, text);
            }
            Err(error) => {
                let text = format!("cannot be read, or '{other_name}' cannot: {error}");
                self.finding(At { file: &name, line: None, seq: None }, text);
            }
        }
    }

    /// A line fits into the chain, or has its number at least.
    fn line(&mut self, at: At<'_>, seq: u64, head: Head) {
        if self.report.first == 0 {
            self.report.first = seq;
        }
        let Some(kept) = self.heads.remove(&seq) else { return };
        for (expected, who) in kept {
            if expected == head {
                self.report.vouched = seq;
            } else {
                let text = format!(
                    "is not the line that {who} knows: the chain was made anew at this line or before it"
                );
                self.finding(at, text);
            }
        }
    }

    fn end(mut self, before: Option<Before>) -> Report {
        let Some(before) = before else {
            let at = At { file: "-", line: None, seq: None };
            if self.report.findings.is_empty() {
                self.finding(at, "no segment was given");
            }
            return self.report;
        };
        self.report.last = before.seq;
        self.report.head = before.head.to_string();
        self.report.log.clone_from(&before.log);
        let at = At { file: &before.file, line: None, seq: Some(before.seq) };
        for (size, kept) in std::mem::take(&mut self.heads) {
            for (_, who) in kept {
                if size > before.seq {
                    let text = format!(
                        "ends with line {}, and {who} knows line {size}: lines {} to {size} were cut off",
                        before.seq,
                        before.seq + 1
                    );
                    self.finding(at, text);
                } else {
                    let text =
                        format!("{who} of line {size} cannot be compared: the line is not there");
                    self.note(at, text);
                }
            }
        }
        self.report
    }

    /// The key with a name.
    fn key(&self, id: &str) -> Option<&'a AuditKey> {
        self.keys.iter().find(|key| key.id() == id)
    }
}

/// The first line in which two inputs differ.
fn first_difference(one: &Input, other: &Input) -> std::io::Result<Option<u64>> {
    let (mut one, mut other) = (one.lines()?, other.lines()?);
    loop {
        match (one.next()?, other.next()?) {
            (None, None) => return Ok(None),
            (first, second) if first != second => return Ok(Some(other.number.max(1))),
            _ => {}
        }
    }
}

fn tell(to: &mut Vec<Finding>, more: &mut usize, at: At<'_>, text: String) {
    if to.len() < MAX_TOLD {
        to.push(Finding { file: at.file.to_owned(), line: at.line, seq: at.seq, text });
    } else {
        *more += 1;
    }
}

#[cfg(test)]
mod tests;
