//! A segment is a file. The one that is written has the configured name; one that is closed has its
//! number behind that name, and `.gz` once it is compressed: `audit.jsonl.00000007.gz`.

use std::borrow::Cow;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use kes_api::Timestamp;
use serde::Deserialize;

use crate::chain::{Chain, Head, Sealed};
use crate::json;
use crate::record::{Clock, begin};

/// The version of the format.
pub(crate) const FORMAT: u64 = 1;

/// The kind of the first line of a segment, and of the last.
pub(crate) const FIRST: &str = "segment";
pub(crate) const LAST: &str = "end";

/// The kind of a line after the start of one that was not written whole, and of a line after bytes
/// that no server has left.
pub(crate) const REPAIR: &str = "repair";
pub(crate) const FOREIGN: &str = "foreign";

/// Why a segment begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Begin {
    /// There was none before.
    New,
    /// The one before was large or old enough, and has its last line.
    Rotated,
    /// The one before goes on under another key, so that its last line could not be written.
    OtherKey,
    /// The file of the one before was taken away or cut from outside. The chain goes on.
    Displaced,
    /// What was before could not be read: the chain begins anew.
    Anew,
}

impl Begin {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Rotated => "rotated",
            Self::OtherKey => "other key",
            Self::Displaced => "displaced",
            Self::Anew => "anew",
        }
    }
}

/// The first line of a segment.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct First<'a> {
    pub(crate) seq: u64,
    pub(crate) time: Timestamp,
    #[serde(borrow)]
    pub(crate) kind: Cow<'a, str>,
    pub(crate) format: u64,
    /// The random name of the log.
    #[serde(borrow)]
    pub(crate) log: Cow<'a, str>,
    pub(crate) segment: u64,
    #[serde(borrow)]
    pub(crate) previous: Cow<'a, str>,
    /// The name of the key.
    #[serde(borrow)]
    pub(crate) key: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(crate) begin: Cow<'a, str>,
}

impl<'a> First<'a> {
    /// Parses the first line of a file; `None` if it is not one.
    pub(crate) fn parse(line: &'a [u8]) -> Option<(Self, Sealed<'a>)> {
        let sealed = Sealed::of_line(line)?;
        let first: Self = serde_json::from_slice(line).ok()?;
        (first.kind == FIRST && first.format == FORMAT).then_some((first, sealed))
    }

    /// The head that the segment goes on from.
    pub(crate) fn previous(&self) -> Option<Head> {
        self.previous.parse().ok()
    }
}

/// Adds the first line of a segment.
pub(crate) fn add_first(
    chain: &mut Chain,
    out: &mut Vec<u8>,
    clock: &mut Clock,
    (log, segment, why): (&str, u64, Begin),
) {
    let previous = chain.head.to_string();
    let key = chain.key().map(|key| key.id().to_owned());
    chain.add(out, |out| {
        begin(out, clock, SystemTime::now(), FIRST);
        json::number(out, "format", FORMAT);
        json::text(out, "log", log);
        json::number(out, "segment", segment);
        json::text(out, "previous", &previous);
        match &key {
            Some(key) => {
                json::text(out, "chain", "HMAC-SHA-256");
                json::text(out, "key", key);
            }
            None => json::text(out, "chain", "SHA-256, unkeyed"),
        }
        json::text(out, "begin", why.as_str());
    });
}

/// The path of a closed segment.
pub(crate) fn closed(path: &Path, segment: u64) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{segment:08}"));
    name.into()
}

/// A path beside the file, whose name begins with a dot so that `audit.jsonl*` does not match it.
pub(crate) fn beside(path: &Path, end: &str) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{end}"))
}

/// The file of the last checkpoint.
pub(crate) fn checkpoint(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".checkpoint");
    name.into()
}

/// The number in the name of a closed segment.
pub(crate) fn number_of(path: &Path) -> Option<u64> {
    let name = path.file_name()?.to_str()?;
    let name = name.strip_suffix(".gz").unwrap_or(name);
    let (_, digits) = name.rsplit_once('.')?;
    (digits.len() >= 8 && digits.bytes().all(|digit| digit.is_ascii_digit()))
        .then(|| digits.parse().ok())?
}

/// The closed segments of a file, in their order: number and path. One that is being compressed may
/// be there twice.
pub(crate) fn all_closed(path: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder_of(path))? {
        let other = entry?.path();
        if let Some(number) = number_in(path, &other) {
            found.push((number, other));
        }
    }
    found.sort();
    Ok(found)
}

/// The number of a closed segment of a file, by its name alone: the same folder may be written in
/// several ways.
pub(crate) fn number_in(path: &Path, other: &Path) -> Option<u64> {
    let name = path.file_name()?.to_str()?;
    let rest = other.file_name()?.to_str()?.strip_prefix(name)?;
    if rest.starts_with('.') { number_of(other) } else { None }
}

/// The folder that a file is in.
pub(crate) fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_closed_segments_have_their_number() {
        let path = Path::new("/a/audit.jsonl");
        assert_eq!(closed(path, 7), Path::new("/a/audit.jsonl.00000007"));
        for (name, number) in [
            ("audit.jsonl.00000007", Some(7)),
            ("/a/audit.jsonl.00000007.gz", Some(7)),
            ("audit.jsonl.123456789", Some(123_456_789)),
            ("audit.jsonl", None),
            ("audit.jsonl.7", None),
            ("audit.jsonl.0000000x", None),
            ("audit.jsonl.checkpoint", None),
        ] {
            assert_eq!(number_of(Path::new(name)), number, "{name}");
        }
        let folder = tempfile::tempdir().unwrap();
        for name in ["a.00000002.gz", "a.00000001", "a", "ab.00000003", "b.00000004", ".a.lock"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        let found = all_closed(&folder.path().join("a")).unwrap();
        let numbers: Vec<u64> = found.iter().map(|(number, _)| *number).collect();
        assert_eq!(numbers, [1, 2]);
    }
}
