//! The manifest of a backup: lines of JSON in the clear, with names and fingerprints, which are no secrets,
//! and the hash of the sealed file. With it anybody can tell that a backup is the one that was made, and
//! which keys it has, without what opens it.
//!
//! ```text
//! {"format":"kes-backup-manifest","version":1,"created":"2026-11-28T07:03:12Z","store":"filesystem: /keys"}
//! {"name":"my-key","fingerprint":"<32 digits>"}
//! {"keys":1,"size":1234,"sha256":"<of the sealed file>"}
//! ```

use std::io::{self, BufRead, Read as _, Write};

use aws_lc_rs::digest::{Context, SHA256};
use kes_api::{Fingerprint, KeyName, Timestamp};
use serde::{Deserialize, Serialize};

use crate::Header;
use crate::archive::line::hex;

/// What the first line says that it is.
const FORMAT: &str = "kes-backup-manifest";

/// The version that is written, and the only one so far.
const VERSION: u32 = 1;

/// The most bytes of a line: the description of a key store has the longest, a path.
const MAX_LINE: u64 = 64 * 1024;

/// The first line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    format: String,
    version: u32,
    created: Timestamp,
    store: String,
}

/// The line of a key.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    fingerprint: String,
}

/// The last line: the sealed file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sealed {
    /// How many keys are in it.
    pub keys: u64,
    /// Its bytes.
    pub size: u64,
    /// Its SHA-256, in hexadecimal digits.
    pub sha256: String,
}

/// Why a manifest cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is something else.
    #[error("it is no manifest of a backup of kes")]
    Other,

    /// A later program has written it.
    #[error("it is a manifest of version {0}, which this program does not know: use a later one")]
    Version(u32),

    /// A line is not what it should be.
    #[error("line {0} of it is damaged")]
    Line(u64),

    /// It ends before its last line.
    #[error("it is not complete: it ends after line {0}")]
    Incomplete(u64),

    /// The last line does not fit the others.
    #[error("it names {found} keys, and its last line tells of {told}")]
    Count {
        /// How many were read.
        found: u64,
        /// How many there should be.
        told: u64,
    },

    /// It cannot be read.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Writes a manifest, key by key.
pub struct Writer<W>(W);

impl<W: Write> Writer<W> {
    /// Begins the manifest of a backup.
    ///
    /// # Errors
    /// The system's.
    pub fn new(to: W, header: &Header) -> io::Result<Self> {
        let Header { created, store, .. } = header.clone();
        let mut writer = Self(to);
        writer.line(&Head { format: FORMAT.to_owned(), version: VERSION, created, store })?;
        Ok(writer)
    }

    /// Adds a key. Keys come in the order of their names.
    ///
    /// # Errors
    /// The system's.
    pub fn add(&mut self, name: &KeyName, fingerprint: Fingerprint) -> io::Result<()> {
        let entry = Entry { name: name.to_string(), fingerprint: fingerprint.to_string() };
        self.line(&entry)
    }

    /// Ends it.
    ///
    /// # Errors
    /// The system's.
    pub fn finish(mut self, sealed: &Sealed) -> io::Result<W> {
        self.line(sealed)?;
        Ok(self.0)
    }

    fn line(&mut self, line: &impl Serialize) -> io::Result<()> {
        let mut text = serde_json::to_vec(line)?;
        text.push(b'\n');
        self.0.write_all(&text)
    }
}

/// Reads a manifest, key by key.
pub struct Reader<B> {
    from: B,
    head: Head,
    number: u64,
    keys: u64,
    last: Option<KeyName>,
    end: Option<Sealed>,
}

impl<B: BufRead> Reader<B> {
    /// Reads the first line.
    ///
    /// # Errors
    /// [`Error`] if it is not that of a manifest.
    pub fn new(mut from: B) -> Result<Self, Error> {
        /// What every version has.
        #[derive(Deserialize)]
        struct Any {
            format: String,
            version: u32,
        }
        let line = line(&mut from, 0)?.ok_or(Error::Other)?;
        let any: Any = serde_json::from_slice(&line).map_err(|_| Error::Other)?;
        if any.format != FORMAT {
            return Err(Error::Other);
        }
        if any.version != VERSION {
            return Err(Error::Version(any.version));
        }
        let head = serde_json::from_slice(&line).map_err(|_| Error::Line(1))?;
        Ok(Self { from, head, number: 1, keys: 0, last: None, end: None })
    }

    /// When the backup was begun.
    pub fn created(&self) -> Timestamp {
        self.head.created
    }

    /// Kind and place of the key store.
    pub fn store(&self) -> &str {
        &self.head.store
    }

    /// The next key; `None` after the last.
    ///
    /// # Errors
    /// [`Error`] if the next line is not what it should be, or the last one does not fit the others.
    pub fn next_key(&mut self) -> Result<Option<(KeyName, Fingerprint)>, Error> {
        if self.end.is_some() {
            return Ok(None);
        }
        let line = line(&mut self.from, self.number)?.ok_or(Error::Incomplete(self.number))?;
        self.number += 1;
        let damaged = || Error::Line(self.number);
        if line.starts_with(b"{\"keys\":") {
            let sealed: Sealed = serde_json::from_slice(&line).map_err(|_| damaged())?;
            if sealed.keys != self.keys {
                return Err(Error::Count { found: self.keys, told: sealed.keys });
            }
            if self::line(&mut self.from, self.number)?.is_some() {
                return Err(Error::Line(self.number + 1));
            }
            self.end = Some(sealed);
            return Ok(None);
        }
        let entry: Entry = serde_json::from_slice(&line).map_err(|_| damaged())?;
        let name = KeyName::parse(&entry.name).map_err(|_| damaged())?;
        let fingerprint = entry.fingerprint.parse().map_err(|_| damaged())?;
        if self.last.is_some_and(|last| last >= name) {
            return Err(damaged());
        }
        self.keys += 1;
        self.last = Some(name);
        Ok(Some((name, fingerprint)))
    }

    /// Reads what is left; the last line.
    ///
    /// # Errors
    /// As [`Reader::next_key`].
    pub fn finish(mut self) -> Result<Sealed, Error> {
        while self.next_key()?.is_some() {}
        self.end.ok_or(Error::Incomplete(self.number))
    }
}

/// The next line without its line break; `None` at the end. `number` is that of the line before.
fn line(from: &mut impl BufRead, number: u64) -> Result<Option<Vec<u8>>, Error> {
    let mut line = Vec::new();
    from.take(MAX_LINE).read_until(b'\n', &mut line)?;
    match line.pop() {
        None => Ok(None),
        Some(b'\n') => Ok(Some(line)),
        Some(_) => Err(Error::Line(number + 1)),
    }
}

/// Hashes and counts what is written through it.
pub struct Hashing<W> {
    to: W,
    hash: Context,
    size: u64,
}

impl<W> Hashing<W> {
    /// Nothing yet.
    pub fn new(to: W) -> Self {
        Self { to, hash: Context::new(&SHA256), size: 0 }
    }

    /// What it was written to, and the line of the manifest for it.
    pub fn finish(self, keys: u64) -> (W, Sealed) {
        let sha256 = hex(self.hash.finish().as_ref());
        (self.to, Sealed { keys, size: self.size, sha256 })
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.to.write(bytes)?;
        self.hash.update(bytes.get(..written).unwrap_or_default());
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> KeyName {
        KeyName::parse(text).unwrap()
    }

    fn written(names: &[&str]) -> Vec<u8> {
        let header = Header::new("filesystem: /keys\n\"x\"".to_owned());
        let mut writer = Writer::new(Vec::new(), &header).unwrap();
        for (at, text) in (0..).zip(names) {
            writer.add(&name(text), Fingerprint::new([at; 16])).unwrap();
        }
        let (_, sealed) = Hashing::new(io::sink()).finish(names.len() as u64);
        writer.finish(&sealed).unwrap()
    }

    #[test]
    fn what_is_written_is_read_back() {
        let text = written(&["a", "b-c"]);
        let mut reader = Reader::new(text.as_slice()).unwrap();
        assert_eq!(reader.store(), "filesystem: /keys\n\"x\"");
        assert_eq!(reader.next_key().unwrap(), Some((name("a"), Fingerprint::new([0; 16]))));
        assert_eq!(reader.next_key().unwrap(), Some((name("b-c"), Fingerprint::new([1; 16]))));
        assert_eq!(reader.next_key().unwrap(), None);
        let sealed = reader.finish().unwrap();
        assert_eq!((sealed.keys, sealed.size), (2, 0));
        // SHA-256 of nothing.
        assert!(sealed.sha256.starts_with("e3b0c44298fc1c14"), "{sealed:?}");
    }

    #[test]
    fn a_manifest_that_is_cut_or_out_of_order_is_refused() {
        let text = written(&["a", "b"]);
        for len in 0..text.len() {
            let cut = Reader::new(&text[..len]).and_then(Reader::finish);
            assert!(cut.is_err(), "{len}");
        }
        for names in [&["b", "a"][..], &["a", "a"]] {
            let text = written(names);
            assert!(matches!(Reader::new(text.as_slice()).unwrap().finish(), Err(Error::Line(3))));
        }
        let mut more = text.clone();
        more.extend_from_slice(b"{\"name\":\"c\"}\n");
        assert!(matches!(Reader::new(more.as_slice()).unwrap().finish(), Err(Error::Line(5))));
        let other = String::from_utf8(text).unwrap().replace("\"version\":1", "\"version\":2");
        assert!(matches!(Reader::new(other.as_bytes()), Err(Error::Version(2))));
        let fewer =
            other.replace("\"version\":2", "\"version\":1").replace("\"keys\":2", "\"keys\":3");
        let counted = Reader::new(fewer.as_bytes()).unwrap().finish();
        assert!(matches!(counted, Err(Error::Count { found: 2, told: 3 })), "{counted:?}");
    }
}
