use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::bufread::MultiGzDecoder;

use crate::MAX_LINE;

/// Where lines come from.
#[derive(Clone, Debug)]
pub enum Input {
    /// A file, compressed or not.
    File(PathBuf),
    /// What was read elsewhere, under a name.
    Bytes(String, Vec<u8>),
}

/// The lines of an input, with their numbers.
pub(crate) struct Lines<'a> {
    source: Box<dyn BufRead + 'a>,
    line: Vec<u8>,
    /// The number of the line that was read last.
    pub(crate) number: u64,
}

/// A line that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Read1<'a> {
    Line(&'a [u8]),
    /// The last one, without an end.
    Partial(&'a [u8]),
}

impl Input {
    /// The name in messages.
    pub fn name(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Bytes(name, _) => name.clone(),
        }
    }

    pub(crate) fn path(&self) -> Option<&Path> {
        match self {
            Self::File(path) => Some(path),
            Self::Bytes(..) => None,
        }
    }

    pub(crate) fn lines(&self) -> io::Result<Lines<'_>> {
        let source: Box<dyn BufRead> = match self {
            Self::File(path) => inflated(BufReader::with_capacity(64 * 1024, File::open(path)?))?,
            Self::Bytes(_, bytes) => inflated(bytes.as_slice())?,
        };
        Ok(Lines { source, line: Vec::new(), number: 0 })
    }
}

/// What is in a file, decompressed if it begins as gzip does.
fn inflated<'a>(mut raw: impl BufRead + 'a) -> io::Result<Box<dyn BufRead + 'a>> {
    if raw.fill_buf()?.starts_with(&[0x1f, 0x8b]) {
        Ok(Box::new(BufReader::with_capacity(64 * 1024, MultiGzDecoder::new(raw))))
    } else {
        Ok(Box::new(raw))
    }
}

impl Lines<'_> {
    /// The next line without its end; `None` at the end.
    ///
    /// # Errors
    /// As of the system; a compressed file that is damaged; a line that is too long.
    pub(crate) fn next(&mut self) -> io::Result<Option<Read1<'_>>> {
        self.line.clear();
        let limit = u64::try_from(MAX_LINE).unwrap_or(u64::MAX);
        let read = self.source.by_ref().take(limit).read_until(b'\n', &mut self.line)?;
        if read == 0 {
            return Ok(None);
        }
        self.number += 1;
        match self.line.strip_suffix(b"\n") {
            Some(line) => Ok(Some(Read1::Line(line))),
            None if read == MAX_LINE => {
                let text = format!("a line has more than {MAX_LINE} bytes");
                Err(io::Error::new(io::ErrorKind::InvalidData, text))
            }
            None => Ok(Some(Read1::Partial(&self.line))),
        }
    }
}
