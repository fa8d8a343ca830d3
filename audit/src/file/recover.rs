//! What an existing file ends with, so that its chain can go on.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::MAX_LINE;
use crate::chain::{Head, Sealed};
use crate::entry::Entry;
use crate::key::AuditKey;
use crate::reader::{Input, Read1};
use crate::segment::First;
use crate::torn::Torn;

/// The longest first line.
const MAX_FIRST: usize = 4096;

/// A segment that was written before.
pub(super) struct Found {
    pub(super) log: String,
    pub(super) segment: u64,
    pub(super) began: SystemTime,
    /// The name of the key of its chain.
    pub(super) key: Option<String>,
    pub(super) last: Last,
}

/// The end of a segment.
pub(super) struct Last {
    pub(super) seq: u64,
    pub(super) head: Head,
    pub(super) kind: String,
    /// What comes after the last line.
    pub(super) torn: Option<Torn>,
    /// Whether the last line is whole but for its end.
    pub(super) lacks_end: bool,
}

/// Why a segment cannot be continued.
pub(super) enum Lost {
    System(io::Error),
    /// It does not begin as a segment does.
    Other,
    /// No line near its end is one.
    Damaged,
}

impl From<io::Error> for Lost {
    fn from(error: io::Error) -> Self {
        Self::System(error)
    }
}

/// Reads the first and the last line of the file that was written last.
pub(super) fn open_segment(file: &File, key: Option<&AuditKey>) -> Result<Found, Lost> {
    let length = file.metadata()?.len();
    let start = read_at(file, 0, MAX_FIRST)?;
    let (first, sealed) = first_of(&start)?;
    let window = u64::try_from(2 * MAX_LINE).unwrap_or(u64::MAX).min(length);
    let tail = read_at(file, length - window, 2 * MAX_LINE)?;
    let is_same_key = key.map(AuditKey::id) == first.key.as_deref();
    let last = last_of(&tail, window < length, is_same_key, key).ok_or(Lost::Damaged)?;
    debug_assert!(last.seq > first.seq || last.head == sealed.seal);
    Ok(found(&first, last))
}

/// Reads a closed segment from its start to its end.
pub(super) fn closed_segment(path: &Path) -> Result<Found, Lost> {
    let input = Input::File(path.to_owned());
    let mut lines = input.lines()?;
    let (mut found, mut last) = (None, None);
    while let Some(line) = lines.next()? {
        let (Read1::Line(line) | Read1::Partial(line)) = line;
        if found.is_none() {
            let (first, sealed) = First::parse(line).ok_or(Lost::Other)?;
            last = Some((first.seq, sealed.seal, first.kind.to_string()));
            found =
                Some((first.log.to_string(), first.segment, first.key.map(|key| key.to_string())));
        } else if let Some((entry, sealed)) = parse(line) {
            last = Some((entry.seq, sealed.seal, entry.kind.to_string()));
        }
    }
    let (Some((log, segment, key)), Some((seq, head, kind))) = (found, last) else {
        return Err(Lost::Other);
    };
    let last = Last { seq, head, kind, torn: None, lacks_end: false };
    Ok(Found { log, segment, began: SystemTime::now(), key, last })
}

fn found(first: &First<'_>, last: Last) -> Found {
    let since = u64::try_from(first.time.unix_seconds()).unwrap_or(0);
    Found {
        log: first.log.to_string(),
        segment: first.segment,
        began: UNIX_EPOCH + Duration::from_secs(since),
        key: first.key.as_deref().map(str::to_owned),
        last,
    }
}

fn first_of(start: &[u8]) -> Result<(First<'_>, Sealed<'_>), Lost> {
    let end = start.iter().position(|byte| *byte == b'\n').ok_or(Lost::Other)?;
    start.get(..end).and_then(First::parse).ok_or(Lost::Other)
}

fn parse(line: &[u8]) -> Option<(Entry<'_>, Sealed<'_>)> {
    Some((serde_json::from_slice(line).ok()?, Sealed::of_line(line)?))
}

/// The last line of a chain in the end of a file, and what comes after it. The first piece of a part
/// is left out.
fn last_of(tail: &[u8], is_part: bool, is_same_key: bool, key: Option<&AuditKey>) -> Option<Last> {
    // Where each line begins and ends; the last one is empty, or lacks its end.
    let mut starts = vec![0];
    starts
        .extend(tail.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1));
    let first = usize::from(is_part);
    let piece = |number: usize| {
        let start = *starts.get(number)?;
        let end = starts.get(number + 1).map_or(tail.len(), |next| next - 1);
        tail.get(start..end)
    };
    let (number, (entry, sealed)) = (first..starts.len() - 1)
        .rev()
        .find_map(|number| Some((number, parse(piece(number)?)?)))?;
    let after = tail.get(*starts.get(number + 1)?..).unwrap_or_default();
    if number + 2 == starts.len()
        && let Some((next, next_sealed)) = parse(after)
        && next.seq == entry.seq + 1
        && (!is_same_key || sealed.seal.after(next_sealed.text, key) == next_sealed.seal)
    {
        let (seq, head, kind) = (next.seq, next_sealed.seal, next.kind.to_string());
        return Some(Last { seq, head, kind, torn: None, lacks_end: true });
    }
    Some(Last {
        seq: entry.seq,
        head: sealed.seal,
        kind: entry.kind.to_string(),
        torn: (!after.is_empty()).then(|| Torn::found(after, entry.seq + 1)),
        lacks_end: false,
    })
}

fn read_at(file: &File, offset: u64, most: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; most];
    let mut read = 0;
    while let Some(rest) = bytes.get_mut(read..).filter(|rest| !rest.is_empty()) {
        let at = offset + u64::try_from(read).unwrap_or(u64::MAX);
        match file.read_at(rest, at) {
            Ok(0) => break,
            Ok(more) => read += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(read);
    Ok(bytes)
}
