use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use flate2::bufread::MultiGzDecoder;

use crate::MAX_LINE;
use crate::segment::{First, all_closed, number_in, number_of};

/// How many files are held open at once. The one that is written, and those that are not compressed
/// yet, are some few.
const MAX_HELD: usize = 64;

/// How often, and after which time, a file is looked for again that a server renames just now.
const RETRIES: usize = 100;
const RETRY: Duration = Duration::from_millis(10);

/// Where lines come from.
#[derive(Clone, Debug)]
pub enum Input {
    /// A file, compressed or not.
    File(PathBuf),
    /// The same, open: it stays the same file although a server renames or compresses it.
    Open(PathBuf, Arc<File>),
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
            Self::File(path) | Self::Open(path, _) => path.display().to_string(),
            Self::Bytes(name, _) => name.clone(),
        }
    }

    pub(crate) fn path(&self) -> Option<&Path> {
        match self {
            Self::File(path) | Self::Open(path, _) => Some(path),
            Self::Bytes(..) => None,
        }
    }

    pub(crate) fn lines(&self) -> io::Result<Lines<'_>> {
        let source: Box<dyn BufRead> = match self {
            Self::File(path) => inflated(BufReader::with_capacity(64 * 1024, open(path)?.1))?,
            Self::Open(_, file) => {
                let start = FromStart { file, at: 0 };
                inflated(BufReader::with_capacity(64 * 1024, start))?
            }
            Self::Bytes(_, bytes) => inflated(bytes.as_slice())?,
        };
        Ok(Lines { source, line: Vec::new(), number: 0 })
    }
}

/// Opens a file, or what a server that closes or compresses it meanwhile has made of it. Returns its
/// path as well.
///
/// # Errors
/// As of the system.
pub fn open(path: &Path) -> io::Result<(PathBuf, File)> {
    let mut retries = RETRIES;
    loop {
        let missing = match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => error,
            result => return Ok((path.to_owned(), result?)),
        };
        if number_of(path).is_some() {
            let mut compressed = path.as_os_str().to_owned();
            compressed.push(".gz");
            let compressed = PathBuf::from(compressed);
            return File::open(&compressed).map(|file| (compressed, file)).map_err(|_| missing);
        }
        // A server renames the file, and then makes the next one.
        let is_written = all_closed(path).is_ok_and(|closed| !closed.is_empty());
        if !is_written || retries == 0 {
            return Err(missing);
        }
        retries -= 1;
        std::thread::sleep(RETRY);
    }
}

/// Opens the files that a server may rename or compress while they are read, and adds those that it
/// has closed since the names of the files were listed. What cannot be opened stays as it is.
pub(crate) fn hold(inputs: &[Input]) -> Vec<Input> {
    let mut held = Vec::new();
    for input in inputs {
        add(&mut held, input);
    }
    let since: Vec<Input> = held.iter().flat_map(|input| closed_since(input, inputs)).collect();
    for input in &since {
        add(&mut held, input);
    }
    held
}

fn add(held: &mut Vec<Input>, input: &Input) {
    let Input::File(path) = input else { return held.push(input.clone()) };
    let Ok((path, file)) = open(path) else { return held.push(input.clone()) };
    // What was compressed meanwhile may be there under both names.
    if held.iter().any(|other| other.path() == Some(&*path)) {
        return;
    }
    let is_compressed = path.extension().is_some_and(|end| end == "gz");
    let open_files = held.iter().filter(|other| matches!(other, Input::Open(..))).count();
    held.push(if is_compressed || open_files >= MAX_HELD {
        Input::File(path)
    } else {
        Input::Open(path, Arc::new(file))
    });
}

/// The segments between the newest closed one that is given and the one that is written, if that is
/// held open.
fn closed_since(input: &Input, inputs: &[Input]) -> Vec<Input> {
    let none = Vec::new();
    let Input::Open(path, _) = input else { return none };
    if number_of(path).is_some() {
        return none;
    }
    let Some(own) = segment_of(input) else { return none };
    let Ok(mut all) = all_closed(path) else { return none };
    let given = inputs.iter().filter_map(Input::path);
    let Some(newest) = given.filter_map(|other| number_in(path, other)).max() else { return none };
    all.retain(|(number, _)| (newest + 1..own).contains(number));
    all.dedup_by_key(|(number, _)| *number);
    let named = |(_, other): (u64, PathBuf)| {
        // As the one that is written was named.
        Input::File(path.with_file_name(other.file_name().unwrap_or_default()))
    };
    all.into_iter().map(named).collect()
}

/// The number of a segment, by its first line.
pub(crate) fn segment_of(input: &Input) -> Option<u64> {
    match input.lines().ok()?.next() {
        Ok(Some(Read1::Line(line))) => First::parse(line).map(|(first, _)| first.segment),
        _ => None,
    }
}

/// Reads a file from its start, whoever else reads it.
struct FromStart<'a> {
    file: &'a File,
    at: u64,
}

impl Read for FromStart<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(buffer, self.at)?;
        self.at += u64::try_from(read).unwrap_or(u64::MAX);
        Ok(read)
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
