//! What a snapshot holds before it is sealed: a head of fixed length, then the entries of
//! [`transfer`](super::super::transfer).
//!
//! ```text
//! head = identity (64) ‖ place (64) ‖ written (8) ‖ number (8) ‖ inode (8) ‖ born (8)
//! ```
//!
//! Numbers are big endian. The identity is that of the server's certificate and the place a hash of
//! where the keys are, both in hexadecimal digits; `written` is in seconds since 1970; inode and birth
//! are those of the file itself, which a copy of it does not have. The age of an entry is the time
//! from when the key store was last known to have the key until the snapshot was written.

use kes_api::{Identity, Timestamp};
use zeroize::Zeroizing;

use super::super::transfer::{Sent, parse};
use super::file::Mark;

const HEX: usize = 64;

/// The length of a head in bytes.
pub(super) const HEAD: usize = 2 * HEX + 4 * 8;

/// The head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) identity: String,
    pub(super) place: String,
    pub(super) written: i64,
    /// How many snapshots were written before this one in its place.
    pub(super) number: u64,
    pub(super) mark: Mark,
}

impl Head {
    pub(super) fn new(
        identity: Identity,
        place: &str,
        written: Timestamp,
        number: u64,
        mark: Mark,
    ) -> Self {
        let (identity, place) = (identity.to_string(), place.to_owned());
        Self { identity, place, written: written.unix_seconds(), number, mark }
    }

    /// The plaintext of a snapshot. `entries` are as [`transfer`](super::super::transfer) writes them.
    pub(super) fn plaintext<'a>(
        &self,
        entries: impl Iterator<Item = &'a [u8]> + Clone,
    ) -> Zeroizing<Vec<u8>> {
        let len = HEAD + entries.clone().map(<[u8]>::len).sum::<usize>();
        // Allocated at full size: a vector that grows leaves an unwiped copy behind.
        let mut bytes = Zeroizing::new(Vec::with_capacity(len));
        for text in [&self.identity, &self.place] {
            let text = text.as_bytes();
            bytes.extend((0..HEX).map(|at| text.get(at).copied().unwrap_or_default()));
        }
        bytes.extend_from_slice(&self.written.to_be_bytes());
        for number in [self.number, self.mark.inode, self.mark.born] {
            bytes.extend_from_slice(&number.to_be_bytes());
        }
        for entry in entries {
            bytes.extend_from_slice(entry);
        }
        bytes
    }
}

/// Head and entries of a plaintext; `None` if it is none.
pub(super) fn read(mut bytes: &[u8]) -> Option<(Head, Vec<Sent>)> {
    let mut text = || Some(str::from_utf8(bytes.split_off(..HEX)?).ok()?.to_owned());
    let (identity, place) = (text()?, text()?);
    let mut number = || bytes.split_off(..8)?.try_into().ok().map(u64::from_be_bytes);
    let written = number()?.cast_signed();
    let (number, mark) = (number()?, Mark { inode: number()?, born: number()? });
    let entries = parse(bytes).ok()?;
    Some((Head { identity, place, written, number, mark }, entries))
}

/// Reads head and entries of a plaintext, and writes them again; `None` if it is none. For the fuzz
/// targets, which are another crate.
#[cfg(feature = "fuzzing")]
pub fn rewritten(plaintext: &[u8]) -> Option<Vec<u8>> {
    let (head, entries) = read(plaintext)?;
    let entries: Vec<_> = entries
        .iter()
        .map(|Sent { name, record, age, unused }| {
            super::super::transfer::written(name, record, *age, *unused)
        })
        .collect();
    Some(head.plaintext(entries.iter().map(|entry| entry.as_slice())).to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_as_it_was_written_and_a_part_of_it_is_none() {
        let identity = Identity::of_public_key(b"key");
        let written = Timestamp::from_unix(1_700_000_000, 0).unwrap();
        let mark = Mark { inode: 7, born: u64::MAX };
        let head = Head::new(identity, &"a".repeat(HEX), written, 3, mark);
        let bytes = head.plaintext(std::iter::empty());
        assert_eq!(bytes.len(), HEAD);
        let (read_head, entries) = read(&bytes).unwrap();
        assert!(entries.is_empty());
        assert_eq!(read_head, head);
        for len in 0..bytes.len() {
            assert!(read(&bytes[..len]).is_none(), "{len}");
        }
        assert!(read(&[&bytes[..], b"x"].concat()).is_none());
    }
}
