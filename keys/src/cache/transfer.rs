//! The keys in memory of a server that hands over to its successor, and their ages, in messages that
//! the successor alone can open ([`kes_crypto::transfer`]). A message has whole entries:
//!
//! ```text
//! entry = length of the name (1 byte) ‖ name ‖ length of the value (4) ‖ value ‖ age (8) ‖ unused (8)
//! ```
//!
//! Numbers are big endian. The value is the text that a key store has, `age` the time since the key
//! was read and `unused` that since it was used last, in nanoseconds.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use kes_api::KeyName;
use kes_crypto::transfer::{MAX_PLAINTEXT, Opener, Sealer, Unreadable};
use kes_keystore::{KeyStore, Record, Value};
use zeroize::Zeroizing;

use super::{Cache, Entry};
use crate::{Clock, Observer};

/// The longest entry in bytes beside its name and value.
const NUMBERS: usize = 1 + 4 + 8 + 8;

/// A key from the memory of another process, or from a snapshot.
pub(super) struct Sent {
    pub(super) name: KeyName,
    pub(super) record: Record,
    pub(super) age: Duration,
    pub(super) unused: Duration,
}

/// The keys of a cache, as messages. What it yields was in memory at one moment.
pub struct Copies<'a> {
    entries: std::vec::IntoIter<(KeyName, Arc<Entry>)>,
    at: Instant,
    sealer: &'a mut Sealer,
    /// The first of the next message.
    next: Option<Zeroizing<Vec<u8>>>,
}

impl<S: KeyStore + 'static, O: Observer, C: Clock> Cache<S, O, C> {
    /// The keys of which the key store has what is in memory, as far as this process knows, and how
    /// long the store has been unreachable.
    pub(crate) fn copies<'a>(
        &self,
        is_sure: impl Fn(&KeyName) -> bool,
        sealer: &'a mut Sealer,
    ) -> (Copies<'a>, Option<Duration>) {
        let mut entries = Vec::with_capacity(self.len());
        for shard in &self.shards {
            let shard = shard.read();
            let sure = shard.iter().filter(|(name, _)| is_sure(name));
            entries.extend(sure.map(|(name, entry)| (*name, Arc::clone(entry))));
        }
        let at = self.clock.now();
        let since = *self.unreachable_since.lock();
        let unreachable = since.map(|since| at.saturating_duration_since(since));
        (Copies { entries: entries.into_iter(), at, sealer, next: None }, unreachable)
    }

    /// Takes over keys that another process had in memory `ago`. Returns how many they are. Those of
    /// names whose changes are not settled are left out.
    pub(crate) fn take_over(
        &self,
        opener: &mut Opener,
        message: Vec<u8>,
        ago: Duration,
    ) -> Result<usize, Unreadable> {
        let entries = parse(&opener.open(message)?)?;
        let now = self.clock.now();
        let mut taken = 0;
        for Sent { name, record, age, unused } in entries {
            // A time before the machine was started: as long as this is not, the key is not known to
            // be that young.
            let at = |age: Duration| now.checked_sub(age.checked_add(ago)?);
            let (Some(read_at), Some(used_at)) = (at(age), at(unused)) else { continue };
            if self.order.is_unsure(&name) || !self.records.pins().admit(&name, &record) {
                continue;
            }
            let entry = self.entry(name, record, read_at);
            entry.used.store(false, Ordering::Relaxed);
            *entry.last_used.lock() = used_at;
            self.shard(&name).write().insert(name, Arc::new(entry));
            taken += 1;
        }
        Ok(taken)
    }

    /// The key store was unreachable for the other process for so long.
    pub(crate) fn was_unreachable(&self, duration: Duration) {
        *self.unreachable_since.lock() = self.clock.now().checked_sub(duration);
    }
}

impl Iterator for Copies<'_> {
    type Item = Result<Vec<u8>, Unreadable>;

    fn next(&mut self) -> Option<Self::Item> {
        // Allocated at full size: a vector that grows leaves an unwiped copy behind.
        let mut message = Zeroizing::new(Vec::with_capacity(MAX_PLAINTEXT));
        if let Some(first) = self.next.take() {
            message.extend_from_slice(&first);
        }
        for (name, entry) in self.entries.by_ref() {
            let age = self.at.saturating_duration_since(entry.read_at);
            let written = write(&name, &entry, age, self.at);
            if message.len() + written.len() > MAX_PLAINTEXT {
                self.next = Some(written);
                break;
            }
            message.extend_from_slice(&written);
        }
        (!message.is_empty()).then(|| self.sealer.seal(message))
    }
}

pub(super) fn write(
    name: &KeyName,
    entry: &Entry,
    age: Duration,
    now: Instant,
) -> Zeroizing<Vec<u8>> {
    let used_at = if entry.used.load(Ordering::Relaxed) { now } else { *entry.last_used.lock() };
    written(name, entry.record(), age, now.saturating_duration_since(used_at))
}

pub(super) fn written(
    name: &KeyName,
    record: &Record,
    age: Duration,
    unused: Duration,
) -> Zeroizing<Vec<u8>> {
    let value = record.encode();
    let (name, value) = (name.as_str().as_bytes(), value.expose().as_bytes());
    let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX).to_be_bytes();
    let mut bytes = Zeroizing::new(Vec::with_capacity(name.len() + value.len() + NUMBERS));
    // A name has at most 80 bytes, and a value less than 64 KiB.
    bytes.push(u8::try_from(name.len()).unwrap_or(u8::MAX));
    bytes.extend_from_slice(name);
    bytes.extend_from_slice(&u32::try_from(value.len()).unwrap_or(u32::MAX).to_be_bytes());
    bytes.extend_from_slice(value);
    bytes.extend_from_slice(&nanos(age));
    bytes.extend_from_slice(&nanos(unused));
    bytes
}

/// The entries of a message.
pub(super) fn parse(mut bytes: &[u8]) -> Result<Vec<Sent>, Unreadable> {
    let mut entries = Vec::new();
    while !bytes.is_empty() {
        entries.push(entry(&mut bytes).ok_or(Unreadable)?);
    }
    Ok(entries)
}

fn entry(bytes: &mut &[u8]) -> Option<Sent> {
    let len = bytes.split_off(..1)?.first().copied()?;
    let name = str::from_utf8(bytes.split_off(..usize::from(len))?).ok()?;
    let name = KeyName::parse(name).ok()?;
    let len = u32::from_be_bytes(bytes.split_off(..4)?.try_into().ok()?);
    let len = usize::try_from(len).ok().filter(|len| *len <= Value::MAX_LEN)?;
    let value = Value::new(str::from_utf8(bytes.split_off(..len)?).ok()?.to_owned());
    let record = Record::decode(&value).ok()?;
    let mut duration = || {
        let nanos = bytes.split_off(..8)?.try_into().ok()?;
        Some(Duration::from_nanos(u64::from_be_bytes(nanos)))
    };
    Some(Sent { name, record, age: duration()?, unused: duration()? })
}

/// Reads the entries of a message, and writes them again; `None` if it is refused. For the fuzz
/// targets, which are another crate.
#[cfg(feature = "fuzzing")]
pub fn rewritten(message: &[u8]) -> Option<Vec<u8>> {
    let write = |Sent { name, record, age, unused }| written(&name, &record, age, unused).to_vec();
    Some(parse(message).ok()?.into_iter().flat_map(write).collect())
}

#[cfg(test)]
mod tests {
    use kes_api::Timestamp;
    use kes_crypto::{Key, Plaintext};

    use super::*;

    fn entry_of(name: &str, read: u64, used: u64, now: Instant) -> (Key, Zeroizing<Vec<u8>>) {
        let record = || Record {
            key: Key::generate(),
            created_at: Timestamp::from_unix(1, 0).unwrap(),
            created_by: "somebody".to_owned(),
        };
        let record = record();
        let copy = Record::decode(&record.encode()).unwrap();
        let ago = |seconds| now.checked_sub(Duration::from_secs(seconds)).unwrap();
        let entry = Entry::new(record, ago(read), 0, Arc::default());
        entry.used.store(used == 0, Ordering::Relaxed);
        *entry.last_used.lock() = ago(used);
        let age = Duration::from_secs(read);
        let written = write(&KeyName::parse(name).unwrap(), &entry, age, now);
        (copy.key, written)
    }

    #[test]
    fn entries_are_read_as_they_were_written() {
        let now = Instant::now();
        let longest = "k".repeat(80);
        let entries = [("a", 9, 4), (&*longest, 5, 0)]
            .map(|(name, read, used)| (name, read, used, entry_of(name, read, used, now)));
        let message: Vec<u8> = entries.iter().flat_map(|entry| entry.3.1.to_vec()).collect();
        let read = parse(&message).unwrap();
        assert_eq!(read.len(), 2);
        for ((name, age, unused, (key, _)), sent) in entries.iter().zip(&read) {
            assert_eq!(sent.name.as_str(), *name);
            assert_eq!((sent.age.as_secs(), sent.unused.as_secs()), (*age, *unused));
            assert_eq!(sent.record.created_by, "somebody");
            let mut sealed = b"text".to_vec();
            key.seal_in_place(&mut sealed, b"context");
            let opened: Plaintext = sent.record.key.open(&sealed, b"context").ok().unwrap();
            assert_eq!(opened.expose(), b"text");
        }
    }

    #[test]
    fn a_message_that_is_cut_or_changed_is_refused_as_a_whole() {
        let (_, written) = entry_of("k", 1, 1, Instant::now());
        assert!(parse(&written).is_ok() && parse(&[]).is_ok());
        for len in 1..written.len() {
            assert!(parse(&written[..len]).is_err(), "{len}");
        }
        for (at, byte) in [(0, 0), (0, 81), (1, b'/'), (2, 1), (5, 0), (6, b'!')] {
            let mut changed = written.clone();
            changed[at] = byte;
            assert!(parse(&changed).is_err(), "{at}");
        }
    }
}
