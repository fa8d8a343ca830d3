//! Writes the segments of a log: records in, lines out, one write for all that were added.
//!
//! A line is never taken back or changed. What a failed write or a killed server has left of a line
//! stays where it is; the next line tells how many bytes it is and what their SHA-256 is, so that
//! whoever checks the file can tell it from a line that was damaged. If what a server finds there is
//! not the start of the next line, somebody else has written it, and the next line says so.

use std::fmt;
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::chain::{Chain, Head};
use crate::context::ContextMode;
use crate::json;
use crate::key::AuditKey;
use crate::note::{Checkpoint, LoggedHead};
use crate::record::{Clock, Gap, Request, Told, begin};
use crate::segment::{self, Begin, FOREIGN, REPAIR};
use crate::torn::Torn;

use self::compress::Compression;

/// Who may write the file, and opening it.
mod access;

/// What an existing file ends with.
mod recover;

/// The next segment.
mod rotate;

/// Compresses closed segments.
mod compress;

pub use access::OpenError;

/// How a file is written.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The file. Its folder has to exist.
    pub path: PathBuf,
    /// The key of the chain; without one whoever can write the file can make another chain.
    pub key: Option<Arc<AuditKey>>,
    /// A segment that is larger, in bytes, is closed.
    pub max_size: u64,
    /// A segment that is older is closed.
    pub max_age: Duration,
    /// How many closed segments are kept; `None` for all.
    pub keep: Option<u32>,
    /// How long closed segments are kept; `None` for ever.
    pub keep_for: Option<Duration>,
    /// What is told of the context of a request.
    pub context: ContextMode,
    /// The version of the server, which the file tells.
    pub version: &'static str,
}

/// A file that is being written. No other process writes it meanwhile.
pub struct AuditFile {
    settings: Settings,
    /// Held as long as the file is written, or a closed segment is compressed.
    lock: Arc<File>,
    file: File,
    /// The state after the lines of `buffer`.
    chain: Chain,
    /// The random name of the log, and the number of this segment.
    log: String,
    segment: u64,
    began: SystemTime,
    /// Of the file, in bytes.
    size: u64,
    clock: Clock,
    /// The head before the lines of `buffer`.
    before: Head,
    /// Lines that are not written yet.
    buffer: Vec<u8>,
    /// Where each of them ends, with the head after it.
    ends: Vec<(usize, Head)>,
    /// How many of them the caller has not added.
    own: usize,
    /// What was left of a line.
    torn: Option<Torn>,
    /// Whether the last line is whole but for its end.
    lacks_end: bool,
    is_unsynced: bool,
    /// Whether the segment has its last line, and the next one has to be made before another line.
    is_ended: bool,
    /// Why that failed.
    blocked: Option<io::Error>,
    compression: Compression,
    /// What went wrong beside the writing of records.
    problems: Vec<String>,
}

/// Not all that was added was written.
#[derive(Debug)]
pub struct CommitError {
    /// How many of the added records were written, from the first on.
    pub written: usize,
    /// Why the others were not; or, if all were, why it is not known that the disk has them.
    pub reason: io::Error,
}

impl fmt::Display for CommitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.reason.fmt(f)
    }
}

impl std::error::Error for CommitError {}

impl AuditFile {
    /// Where it is.
    pub fn path(&self) -> &std::path::Path {
        &self.settings.path
    }

    /// Adds a request.
    pub fn add(&mut self, request: &Request<'_>) {
        let (mode, key) = (self.settings.context, self.settings.key.clone());
        let told = match (mode, key.as_deref()) {
            (ContextMode::On, _) => Told::Names,
            (ContextMode::Hash, Some(key)) => Told::Hashes(key),
            (ContextMode::Hash, None) | (ContextMode::Off, _) => Told::Nothing,
        };
        self.line(|out, clock| request.write(out, clock, told));
    }

    /// Adds that records are missing here.
    pub fn add_gap(&mut self, gap: Gap, reason: &str) {
        self.mark("gap", |out| {
            json::number(out, "records", gap.records);
            json::number(out, "changes", gap.changes);
            json::text_within(out, "reason", reason, 512);
        });
    }

    /// How many bytes wait to be written.
    pub fn added(&self) -> usize {
        self.buffer.len()
    }

    fn mark(&mut self, kind: &str, fields: impl FnOnce(&mut Vec<u8>)) {
        self.line(|out, clock| {
            begin(out, clock, SystemTime::now(), kind);
            fields(out);
        });
    }

    fn line(&mut self, fields: impl FnOnce(&mut Vec<u8>, &mut Clock)) {
        if self.buffer.is_empty() {
            self.begin_batch();
        }
        self.chain.add(&mut self.buffer, |out| fields(out, &mut self.clock));
        self.ends.push((self.buffer.len(), self.chain.head));
    }

    /// Ends what is left of a line, and tells it.
    fn begin_batch(&mut self) {
        if self.is_ended {
            self.blocked = self.next_segment(Begin::Rotated).err();
        }
        self.before = self.chain.head;
        if self.lacks_end || self.torn.is_some() {
            self.buffer.push(b'\n');
        }
        if let Some(torn) = &self.torn {
            let (bytes, hash) = torn.told();
            let kind = if torn.is_foreign() { FOREIGN } else { REPAIR };
            self.chain.add(&mut self.buffer, |out| {
                begin(out, &mut self.clock, SystemTime::now(), kind);
                json::number(out, "bytes", bytes);
                json::text(out, "sha256", &hash);
            });
            self.ends.push((self.buffer.len(), self.chain.head));
            self.own = 1;
        }
    }

    /// Writes what was added. With `sync` waits until the disk has it.
    ///
    /// # Errors
    /// [`CommitError`]. What was not written is forgotten.
    pub fn commit(&mut self, sync: bool) -> Result<(), CommitError> {
        let buffer = std::mem::take(&mut self.buffer);
        let ends = std::mem::take(&mut self.ends);
        let own = std::mem::take(&mut self.own);
        let (at, failed) = match self.blocked.take() {
            Some(reason) => (0, Some(reason)),
            None => write_all(&self.file, &buffer),
        };
        self.size += u64::try_from(at).unwrap_or(u64::MAX);
        self.is_unsynced |= at > 0;
        let result = match failed {
            None => {
                if !buffer.is_empty() {
                    (self.torn, self.lacks_end) = (None, false);
                }
                self.sync_if(sync).map_err(|reason| (ends.len(), reason))
            }
            Some(reason) => Err((self.cut(&buffer, &ends, at), reason)),
        };
        // The memory of a usual batch is used again.
        self.buffer = buffer;
        self.buffer.clear();
        self.buffer.shrink_to(1024 * 1024);
        self.ends = ends;
        self.ends.clear();
        let written = |lines: usize| lines.saturating_sub(own);
        result.map_err(|(lines, reason)| CommitError { written: written(lines), reason })
    }

    /// Takes the state back to the last line that was written, and remembers what is left of the next
    /// one. Returns how many lines were written.
    fn cut(&mut self, buffer: &[u8], ends: &[(usize, Head)], at: usize) -> usize {
        let mut whole = ends.iter().take_while(|(end, _)| *end <= at).count();
        // All but its end is enough.
        let lacks_end = ends.get(whole).is_some_and(|(end, _)| at + 1 == *end);
        whole += usize::from(lacks_end);
        let last = whole.checked_sub(1).and_then(|last| ends.get(last));
        let mut rest = match last {
            Some((end, _)) => {
                (self.torn, self.lacks_end) = (None, lacks_end);
                buffer.get(*end..at).unwrap_or_default()
            }
            None => buffer.get(..at).unwrap_or_default(),
        };
        if last.is_none() && self.torn.is_none() && self.lacks_end && at > 0 {
            self.lacks_end = false;
            rest = rest.get(1..).unwrap_or_default();
        }
        if !rest.is_empty() {
            self.torn.get_or_insert_default().add(rest);
        }
        let lost = u64::try_from(ends.len() - whole).unwrap_or(u64::MAX);
        self.chain.size = self.chain.size.saturating_sub(lost);
        self.chain.head = last.map_or(self.before, |(_, head)| *head);
        whole
    }

    fn sync_if(&mut self, sync: bool) -> io::Result<()> {
        if sync && self.is_unsynced {
            rustix::fs::fdatasync(&self.file)?;
            self.is_unsynced = false;
        }
        Ok(())
    }
}

impl AuditFile {
    /// The head of the chain, after all that was committed.
    pub const fn head(&self) -> LoggedHead {
        LoggedHead { size: self.chain.size, head: self.chain.head }
    }

    /// The number of the segment.
    pub const fn segment(&self) -> u64 {
        self.segment
    }

    /// Has the disk take all that was written, and keeps the head in a file beside it, as a signed
    /// note. The name of that file ends with `.checkpoint`.
    ///
    /// # Errors
    /// As of the system.
    pub fn checkpoint(&mut self) -> io::Result<()> {
        self.sync_if(true)?;
        let LoggedHead { size, head } = self.head();
        let note = Checkpoint { log: self.log.clone(), size, head };
        let note = note.note(self.settings.key.as_deref());
        let (path, new) = (segment::checkpoint(self.path()), segment::beside(self.path(), "note"));
        access::replace(&new, &path, note.as_bytes(), &self.file.metadata()?)
    }

    /// What went wrong beside the writing of records since this was asked last. Nothing is lost by
    /// it.
    pub fn problems(&mut self) -> Vec<String> {
        self.problems.extend(self.compression.problem());
        std::mem::take(&mut self.problems)
    }

    /// Takes over other settings for the same file and the same key; `None` if either differs, and the
    /// file has to be opened anew.
    pub fn reconfigure(&mut self, settings: &Settings) -> Option<()> {
        let id = |settings: &Settings| settings.key.as_ref().map(|key| key.id().to_owned());
        let is_same = settings.path == self.settings.path && id(settings) == id(&self.settings);
        is_same.then(|| self.settings = settings.clone())
    }

    /// Writes that the server stops, and a checkpoint. Returns the last head.
    ///
    /// # Errors
    /// As of the system.
    pub fn close(mut self) -> io::Result<LoggedHead> {
        self.mark("stop", |_| ());
        self.commit(true).map_err(|error| error.reason)?;
        self.checkpoint()?;
        Ok(self.head())
    }
}

/// Writes bytes; returns how many were written, and why not all of them.
fn write_all(file: &File, bytes: &[u8]) -> (usize, Option<io::Error>) {
    let mut at = 0;
    while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
        match rustix::io::write(file, rest) {
            Ok(0) => return (at, Some(io::ErrorKind::WriteZero.into())),
            Ok(written) => at += written,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return (at, Some(error.into())),
        }
    }
    (at, None)
}

#[cfg(test)]
pub(crate) mod tests;
