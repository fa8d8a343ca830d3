use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;

use aws_lc_rs::aead::{LessSafeKey, NONCE_LEN};
use zeroize::Zeroizing;

use super::header::{self, Header, MAX_LEN, WORK};
use super::primitives::{FileKey, TAG, cipher, derive, open, seal};
use super::{CHUNK, Error, Opening, Sealing};

/// The bytes of the salt before the content.
const SALT: usize = 16;

/// The bytes of a chunk in the file.
const SEALED: u64 = (CHUNK + TAG) as u64;

/// Seals what is written to it.
pub struct Sealer<W> {
    to: W,
    key: LessSafeKey,
    /// The chunk that is being filled.
    chunk: Zeroizing<Vec<u8>>,
    number: u64,
}

impl<W: Write> Sealer<W> {
    /// Begins a file.
    ///
    /// # Errors
    /// [`Error`] if it cannot be sealed so, or not be written.
    pub fn new(to: W, sealing: &Sealing<'_>) -> Result<Self, Error> {
        Self::with_work(to, sealing, WORK)
    }

    /// With another work factor for a passphrase.
    pub(super) fn with_work(mut to: W, sealing: &Sealing<'_>, work: u8) -> Result<Self, Error> {
        let mut file_key: FileKey = Zeroizing::new([0; 16]);
        kes_crypto::random::fill(file_key.as_mut_slice());
        let mut salt = [0; SALT];
        kes_crypto::random::fill(&mut salt);
        to.write_all(&header::write(&file_key, sealing, work)?)?;
        to.write_all(&salt)?;
        let key = cipher(&derive(&salt, file_key.as_slice(), "payload")?)?;
        // At full size: a buffer that grows leaves a copy behind.
        let chunk = Zeroizing::new(Vec::with_capacity(CHUNK + TAG));
        Ok(Self { to, key, chunk, number: 0 })
    }

    /// Appends to the content.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be written.
    pub fn write_all(&mut self, mut bytes: &[u8]) -> Result<(), Error> {
        while !bytes.is_empty() {
            if self.chunk.len() == CHUNK {
                self.seal(false)?;
            }
            let room = CHUNK - self.chunk.len();
            let (now, rest) = bytes.split_at(room.min(bytes.len()));
            self.chunk.extend_from_slice(now);
            bytes = rest;
        }
        Ok(())
    }

    /// Ends the content. Without this the file cannot be opened.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be written.
    pub fn finish(mut self) -> Result<W, Error> {
        self.seal(true)?;
        Ok(self.to)
    }

    fn seal(&mut self, is_last: bool) -> Result<(), Error> {
        seal(&self.key, nonce(self.number, is_last), &mut self.chunk)?;
        self.to.write_all(&self.chunk)?;
        self.chunk.clear();
        self.number += 1;
        Ok(())
    }
}

/// A chunk's number, and whether it is the last.
fn nonce(number: u64, is_last: bool) -> [u8; NONCE_LEN] {
    let mut nonce = [0; NONCE_LEN];
    let bytes = number.to_be_bytes().into_iter().chain([u8::from(is_last)]);
    nonce.iter_mut().skip(3).zip(bytes).for_each(|(to, from)| *to = from);
    nonce
}

/// Bytes that are read at any place.
pub trait ReadAt {
    /// How many there are.
    ///
    /// # Errors
    /// The system's.
    fn size(&self) -> io::Result<u64>;

    /// Fills a buffer with those at a place.
    ///
    /// # Errors
    /// The system's; also if there are not so many.
    fn read_exact_at(&self, buffer: &mut [u8], at: u64) -> io::Result<()>;
}

impl ReadAt for File {
    fn size(&self) -> io::Result<u64> {
        let found = self.metadata()?;
        if found.is_file() {
            return Ok(found.len());
        }
        Err(io::Error::other("it is no file, and is read more than once"))
    }

    fn read_exact_at(&self, buffer: &mut [u8], at: u64) -> io::Result<()> {
        FileExt::read_exact_at(self, buffer, at)
    }
}

impl ReadAt for Vec<u8> {
    fn size(&self) -> io::Result<u64> {
        Ok(self.len() as u64)
    }

    fn read_exact_at(&self, buffer: &mut [u8], at: u64) -> io::Result<()> {
        let found = usize::try_from(at).ok().and_then(|at| self.get(at..)?.get(..buffer.len()));
        buffer.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

/// A file whose chunks can be opened in any order.
pub struct Opened<R> {
    file: R,
    key: LessSafeKey,
    /// Where the first chunk begins.
    start: u64,
    /// The bytes of all chunks.
    len: u64,
}

impl<R: ReadAt> Opened<R> {
    /// Opens a file: reads its header. No chunk has been looked at yet.
    ///
    /// # Errors
    /// [`Error`] if it is no age file, or cannot be opened so.
    pub fn new(file: R, opening: &Opening) -> Result<Self, Error> {
        let size = file.size()?;
        let mut first = vec![0; usize::try_from(size).unwrap_or(MAX_LEN).min(MAX_LEN)];
        file.read_exact_at(&mut first, 0)?;
        let header = Header::parse(&first)?;
        let file_key = header.file_key(&first, opening)?;
        let mut salt = [0; SALT];
        let begin = header.len as u64;
        let start = begin + SALT as u64;
        let len =
            size.checked_sub(start).filter(|len| *len >= TAG as u64).ok_or(Error::Truncated)?;
        file.read_exact_at(&mut salt, begin)?;
        let key = cipher(&derive(&salt, file_key.as_slice(), "payload")?)?;
        Ok(Self { file, key, start, len })
    }

    /// How many chunks there are.
    pub fn chunks(&self) -> u64 {
        self.len.div_ceil(SEALED)
    }

    /// The content of a chunk; `None` behind the last.
    ///
    /// # Errors
    /// [`Error::Damaged`] if it is not what was written there.
    pub fn chunk(&self, number: u64) -> Result<Option<Zeroizing<Vec<u8>>>, Error> {
        let chunks = self.chunks();
        if number >= chunks {
            return Ok(None);
        }
        let (from, is_last) = (number * SEALED, number + 1 == chunks);
        let len = (self.len - from).min(SEALED);
        let damaged = Error::Damaged { from: self.start + from, to: self.start + from + len };
        let size = usize::try_from(len).map_err(|_| Error::Truncated)?;
        let mut chunk = Zeroizing::new(vec![0; size]);
        self.file.read_exact_at(&mut chunk, self.start + from)?;
        let opened = open(&self.key, nonce(number, is_last), &mut chunk);
        // An empty chunk is the only one.
        match opened.filter(|len| *len > 0 || number == 0) {
            Some(len) => {
                chunk.truncate(len);
                Ok(Some(chunk))
            }
            None => Err(damaged),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Identity, Recipient};
    use super::*;

    fn content(len: usize) -> Vec<u8> {
        (0..len).map(|at| u8::try_from(at * 31 % 251).unwrap()).collect()
    }

    fn sealed(content: &[u8], to: &[Recipient]) -> Vec<u8> {
        let mut sealer = Sealer::new(Vec::new(), &Sealing::Recipients(to)).unwrap();
        // In pieces that do not end where chunks do.
        for piece in content.chunks(50_001) {
            sealer.write_all(piece).unwrap();
        }
        sealer.finish().unwrap()
    }

    fn all(opened: &Opened<Vec<u8>>) -> Result<Vec<u8>, Error> {
        let mut content = Vec::new();
        for number in 0..opened.chunks() {
            content.extend_from_slice(&opened.chunk(number)?.unwrap());
        }
        assert!(opened.chunk(opened.chunks())?.is_none());
        Ok(content)
    }

    #[test]
    fn what_is_sealed_for_two_is_opened_by_each_and_by_nobody_else() {
        let identities = [Identity::generate(), Identity::generate(), Identity::generate()];
        let [a, b, other] = identities;
        let to = [a.recipient().unwrap(), b.recipient().unwrap()];
        for len in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 3 * CHUNK + 7] {
            let (text, content) = (sealed(&content(len), &to), content(len));
            for identity in [&a, &b] {
                let identity = Identity::parse(&identity.expose()).unwrap();
                let opening = Opening::Identities(vec![Identity::generate(), identity]);
                let opened = Opened::new(text.clone(), &opening).unwrap();
                assert_eq!(all(&opened).unwrap(), content, "{len}");
            }
            let opening = Opening::Identities(vec![Identity::parse(&other.expose()).unwrap()]);
            let error = Opened::new(text.clone(), &opening).err().unwrap();
            assert!(matches!(error, Error::WrongIdentity), "{error}");
            let error =
                Opened::new(text, &Opening::Passphrase(Zeroizing::new("a".to_owned()))).err();
            assert!(matches!(error, Some(Error::NeedsIdentity)), "{error:?}");
        }
        let nobody = Sealer::new(Vec::new(), &Sealing::Recipients(&[])).err();
        assert!(matches!(nobody, Some(Error::Recipients)));
    }

    #[test]
    fn what_is_sealed_with_a_passphrase_is_opened_with_it_alone() {
        let passphrase = |text: &str| Zeroizing::new(text.to_owned());
        let right = passphrase("correct horse");
        let mut sealer = Sealer::with_work(Vec::new(), &Sealing::Passphrase(&right), 10).unwrap();
        sealer.write_all(b"content").unwrap();
        let text = sealer.finish().unwrap();
        let opened = Opened::new(text.clone(), &Opening::Passphrase(right)).unwrap();
        assert_eq!(all(&opened).unwrap(), b"content");
        let error = |opening: &Opening| Opened::new(text.clone(), opening).err().unwrap();
        let wrong = error(&Opening::Passphrase(passphrase("correct horse ")));
        assert!(matches!(wrong, Error::WrongPassphrase), "{wrong}");
        let other = error(&Opening::Identities(vec![Identity::generate()]));
        assert!(matches!(other, Error::NeedsPassphrase), "{other}");
    }

    #[test]
    fn no_byte_can_be_changed_and_none_be_missing() {
        let identity = Identity::generate();
        let opening = Opening::Identities(vec![Identity::parse(&identity.expose()).unwrap()]);
        let content = content(300);
        let text = sealed(&content, &[identity.recipient().unwrap()]);
        let try_open = |text: Vec<u8>| Opened::new(text, &opening).and_then(|opened| all(&opened));
        assert_eq!(try_open(text.clone()).unwrap(), content);
        for at in 0..text.len() {
            let mut changed = text.clone();
            changed[at] ^= 1;
            assert!(try_open(changed).is_err(), "byte {at}");
            assert!(try_open(text[..at].to_vec()).is_err(), "cut at {at}");
        }
        let mut longer = text;
        longer.push(0);
        assert!(try_open(longer).is_err());
    }

    #[test]
    fn a_file_that_is_cut_between_two_chunks_is_not_opened_to_its_end() {
        let identity = Identity::generate();
        let opening = Opening::Identities(vec![Identity::parse(&identity.expose()).unwrap()]);
        let text = sealed(&content(3 * CHUNK), &[identity.recipient().unwrap()]);
        let len = text.len() - (CHUNK + TAG);
        let opened = Opened::new(text[..len].to_vec(), &opening).unwrap();
        assert_eq!(opened.chunks(), 2);
        assert!(opened.chunk(0).is_ok());
        assert!(matches!(opened.chunk(1), Err(Error::Damaged { .. })));
    }
}
