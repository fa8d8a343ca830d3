use std::sync::Mutex;

use aws_lc_rs::digest::{Context, SHA256};
use kes_api::{Fingerprint, KeyName};
use zeroize::Zeroizing;

use super::blocks::Blocks;
use super::line::{self, Buffer, Line, MAX_LEN, hex};
use super::{Error, FORMAT, Fault, Header, Summary, VERSION};
use crate::age::{CHUNK, Opened, Opening, ReadAt};

/// A backup that was checked from its beginning to its end. It is a key store that is only read.
pub struct Archive<R> {
    pub(super) opened: Opened<R>,
    /// The first key of every 64 KiB, and where its line begins.
    pub(super) index: Vec<(KeyName, u64)>,
    /// Where the last line begins.
    pub(super) end: u64,
    pub(super) blocks: Mutex<Blocks>,
    header: Header,
    summary: Summary,
}

impl<R: ReadAt> Archive<R> {
    /// Opens a backup, reads all of it, and checks each line. Nothing of it is kept but its index.
    ///
    /// # Errors
    /// [`Error`] for anything that is not a whole backup.
    pub fn open(file: R, opening: &Opening) -> Result<Self, Error> {
        Self::open_and_see(file, opening, |_, _| Ok(()))
    }

    /// The same, and each key is told to `see`.
    ///
    /// # Errors
    /// As [`Archive::open`], and those of `see`.
    pub fn open_and_see<E: From<Error>>(
        file: R,
        opening: &Opening,
        mut see: impl FnMut(&KeyName, Fingerprint) -> Result<(), E>,
    ) -> Result<Self, E> {
        let opened = Opened::new(file, opening).map_err(Error::from)?;
        let mut lines = Lines::new(&opened, 0);
        let (_, first) = lines.next()?.ok_or(Error::Other)?;
        let header = header(&first)?;
        let mut hash = Context::new(&SHA256);
        hash.update(&first);
        hash.update(b"\n");
        let (mut index, mut keys, mut number) = (Vec::<(KeyName, u64)>::new(), 0, 1);
        let mut last: Option<KeyName> = None;
        let (end, summary) = loop {
            let (at, text) = lines.next()?.ok_or(Error::Incomplete(number))?;
            number += 1;
            let damaged = |fault| Error::Line { line: number, fault };
            match line::parse(&text).map_err(damaged)? {
                Line::Key { name, fingerprint, value } => {
                    if last.is_some_and(|last| last >= name) {
                        return Err(damaged(Fault::Order).into());
                    }
                    line::check(fingerprint, &value).map_err(damaged)?;
                    if index.last().is_none_or(|(_, before)| at - before >= CHUNK as u64) {
                        index.push((name, at));
                    }
                    see(&name, fingerprint)?;
                    keys += 1;
                    last = Some(name);
                }
                Line::End(summary) => break (at, summary),
            }
            hash.update(&text);
            hash.update(b"\n");
        };
        if lines.next()?.is_some() {
            return Err(Error::Line { line: number + 1, fault: Fault::AfterEnd }.into());
        }
        if summary.keys != keys {
            return Err(Error::Count { found: keys, told: summary.keys }.into());
        }
        if summary.sha256 != hex(hash.finish().as_ref()) {
            return Err(Error::Hash.into());
        }
        drop(lines);
        Ok(Self { opened, index, end, blocks: Mutex::default(), header, summary })
    }

    /// What its first line says.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// What its last line says.
    pub fn summary(&self) -> &Summary {
        &self.summary
    }
}

fn header(line: &[u8]) -> Result<Header, Error> {
    /// What every version has.
    #[derive(serde::Deserialize)]
    struct Any {
        format: String,
        version: u32,
    }
    let any: Any = serde_json::from_slice(line).map_err(|_| Error::Other)?;
    if any.format != FORMAT {
        return Err(Error::Other);
    }
    if any.version != VERSION {
        return Err(Error::Version(any.version));
    }
    serde_json::from_slice(line).map_err(|_| Error::Line { line: 1, fault: Fault::Json })
}

/// The lines of the content from a place on.
pub(super) struct Lines<'a, R> {
    opened: &'a Opened<R>,
    /// The chunk that is being read, and its number.
    chunk: Zeroizing<Vec<u8>>,
    next: u64,
    /// How much of the chunk was read.
    at: usize,
    /// How much of the content.
    offset: u64,
}

impl<'a, R: ReadAt> Lines<'a, R> {
    pub(super) fn new(opened: &'a Opened<R>, offset: u64) -> Self {
        let (next, at) = (offset / CHUNK as u64, offset % CHUNK as u64);
        // It is below the size of a chunk.
        let at = usize::try_from(at).unwrap_or_default();
        Self { opened, chunk: Zeroizing::default(), next, at, offset }
    }

    /// The next line without its line break, and where it begins; `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<(u64, Buffer)>, Error> {
        let begin = self.offset;
        let mut line: Buffer = Zeroizing::default();
        loop {
            if self.at >= self.chunk.len() {
                let skip = if self.chunk.is_empty() { self.at } else { 0 };
                let Some(chunk) = self.opened.chunk(self.next)? else {
                    let is_end = line.is_empty() && self.offset == begin;
                    return if is_end {
                        Ok(None)
                    } else {
                        Err(crate::age::Error::Truncated.into())
                    };
                };
                (self.chunk, self.at) = (chunk, skip);
                self.next += 1;
            }
            let rest = self.chunk.get(self.at..).unwrap_or_default();
            if rest.is_empty() {
                // The chunk is the last, and has nothing.
                return Ok(None);
            }
            let end = rest.iter().position(|byte| *byte == b'\n');
            let piece = rest.get(..end.unwrap_or(rest.len())).unwrap_or_default();
            if line.len() + piece.len() > MAX_LEN {
                // Counting lines is the caller's: what is read of such a file is of no use.
                return Err(Error::Line { line: 0, fault: Fault::TooLong });
            }
            append(&mut line, piece);
            let used = piece.len() + usize::from(end.is_some());
            self.at += used;
            self.offset += used as u64;
            if end.is_some() {
                return Ok(Some((begin, line)));
            }
        }
    }
}

/// Appends, and leaves no copy behind where the buffer grows.
fn append(line: &mut Buffer, piece: &[u8]) {
    if line.capacity() < line.len() + piece.len() {
        let mut grown: Buffer = Zeroizing::new(Vec::with_capacity(line.len() + piece.len()));
        grown.extend_from_slice(line);
        *line = grown;
    }
    line.extend_from_slice(piece);
}
