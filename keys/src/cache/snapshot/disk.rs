use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kes_api::{Fingerprint, Identity, KeyName, Timestamp};
use kes_crypto::snapshot::{NotOpened, OVERHEAD};
use zeroize::Zeroizing;

use super::super::Entry;
use super::super::transfer::{Sent, write, written};
use super::Settings;
use super::contents::{HEAD, Head, read};
use super::file::{self, Draft, MAX_SIZE};

/// How far the clock of the machine may have been set back since a snapshot was written.
const CLOCK_ERROR: i64 = 60;

/// Why a snapshot is not used. The texts hold no secret.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refused {
    /// The file cannot be read, or is none.
    #[error("{0}")]
    File(#[from] io::Error),
    /// The key does not open it.
    #[error(transparent)]
    NotOpened(#[from] NotOpened),
    /// It was sealed as it is, and is none.
    #[error("it is damaged")]
    Contents,
    #[error("it is that of a server with another TLS private key (identity {0})")]
    Identity(String),
    #[error("it has the keys of another key store")]
    Place,
    /// Copied back, or written over.
    #[error(
        "it is a copy: not the file that the server wrote, as after a backup was restored or an older \
         snapshot was put back"
    )]
    Copy,
    #[error("it was written at {0} UTC, which has not come yet; check the clock of the machine")]
    Future(String),
    #[error("it was written at {0} UTC, longer ago than cache.snapshot.max_age")]
    Old(String),
    /// It is not the one that this process has written or read last.
    #[error("another one was put in its place while the server ran")]
    Replaced,
}

/// What is at the path of the snapshot, as this process knows it.
#[derive(Default)]
pub(super) enum State {
    #[default]
    Nothing,
    /// A file that this process has not written and cannot use.
    Unknown,
    Known(Known),
}

/// A snapshot that this process has written or read.
pub(super) struct Known {
    /// The last bytes of the file.
    tag: [u8; 16],
    pub(super) identity: Identity,
    pub(super) written: i64,
    /// How old it was at a time of the monotonic clock, which nobody sets.
    age: (Duration, Instant),
}

/// The snapshot on the disk. All that reads or writes it has this to itself.
#[derive(Default)]
pub(super) struct Disk {
    pub(super) settings: Option<Settings>,
    pub(super) place: String,
    pub(super) state: State,
    /// That of the next one.
    number: u64,
    /// When the last one was written, or could not be.
    pub(super) tried: Option<Instant>,
    /// Whether some keys in memory did not fit.
    pub(super) is_full: bool,
    /// Whether another process writes it from now on.
    pub(super) is_released: bool,
}

/// An opened snapshot.
pub(super) struct Opened {
    pub(super) entries: Vec<Sent>,
    /// How long ago it was written.
    pub(super) age: Duration,
}

/// What is written.
pub(super) struct Content<'a> {
    pub(super) memory: Vec<(KeyName, Arc<Entry>)>,
    /// Keys that the key store no longer has.
    pub(super) gone: &'a HashSet<KeyName>,
    /// Whether a key is being deleted.
    pub(super) is_deleted: &'a dyn Fn(&KeyName) -> bool,
    pub(super) identity: Identity,
}

/// An entry to be written.
struct Item {
    name: KeyName,
    fingerprint: Fingerprint,
    age: Duration,
    bytes: Zeroizing<Vec<u8>>,
}

/// The keys of a snapshot that was written.
pub(super) type Names = HashMap<KeyName, Fingerprint>;

/// A moment on both clocks.
#[derive(Clone, Copy)]
pub(super) struct Moment {
    pub(super) now: Instant,
    pub(super) date: Timestamp,
}

impl Entry {
    /// How long ago it was read, by the clock that says more: the one stands while the machine sleeps, and
    /// the other one may be set back.
    fn age(&self, at: Moment) -> Duration {
        // Of both seconds only the beginning is known.
        let seconds = at.date.unix_seconds().saturating_sub(self.read_second).saturating_sub(1);
        let wall = Duration::from_secs(u64::try_from(seconds).unwrap_or_default());
        wall.max(at.now.saturating_duration_since(self.read_at))
    }
}

impl Known {
    fn age(&self, at: Moment) -> Duration {
        let (age, since) = self.age;
        let wall = since_date(self.written, at.date).unwrap_or_default();
        wall.max(age + at.now.saturating_duration_since(since))
    }
}

impl Disk {
    /// Of which nothing is known yet.
    pub(super) fn new(settings: Option<Settings>, place: String) -> Self {
        Self { settings, place, ..Self::default() }
    }

    /// Opens what is at the path; `None` if nothing is. From then on it is known, unless it is refused.
    pub(super) fn open(
        &mut self,
        identity: Identity,
        at: Moment,
    ) -> Result<Option<Opened>, Refused> {
        let opened = self.open_unchanged(identity, at);
        match (&opened, &self.state) {
            (Ok(Some(_)), _) => {}
            (Ok(None), State::Nothing) => {}
            // One that went away may come back.
            (Ok(None), _) | (Err(_), _) => self.state = State::Unknown,
        }
        opened
    }

    fn open_unchanged(
        &mut self,
        identity: Identity,
        at: Moment,
    ) -> Result<Option<Opened>, Refused> {
        let Some(settings) = &self.settings else { return Ok(None) };
        let Some((bytes, mark)) = file::read(&settings.path)? else { return Ok(None) };
        let tag = bytes.last_chunk().copied().unwrap_or_default();
        if let State::Known(known) = &self.state
            && known.tag != tag
        {
            return Err(Refused::Replaced);
        }
        let plaintext = settings.key.open(bytes)?;
        let (head, entries) = read(&plaintext).ok_or(Refused::Contents)?;
        if let State::Known(known) = &self.state {
            return Ok(Some(Opened { entries, age: known.age(at) }));
        }
        if head.identity != identity.to_string() {
            return Err(Refused::Identity(head.identity));
        }
        if head.place != self.place {
            return Err(Refused::Place);
        }
        if head.mark != mark {
            return Err(Refused::Copy);
        }
        let age = since_date(head.written, at.date);
        let age = age.ok_or_else(|| Refused::Future(table(head.written)))?;
        if age >= settings.max_age {
            return Err(Refused::Old(table(head.written)));
        }
        let (written, number) = (head.written, head.number);
        self.state = State::Known(Known { tag, identity, written, age: (age, at.now) });
        self.number = number.saturating_add(1);
        Ok(Some(Opened { entries, age }))
    }

    /// Writes a new snapshot in place of the old one: the keys in memory, and those of the old one that
    /// are not there. Without any there is no file. Returns its keys, and why the old one was not used,
    /// if that was so.
    pub(super) fn write(
        &mut self,
        content: &Content<'_>,
        at: Moment,
    ) -> (io::Result<Names>, Option<Refused>) {
        self.tried = Some(at.now);
        let (old, refused) = match self.state {
            State::Known(_) => match self.open(content.identity, at) {
                Ok(opened) => (opened, None),
                Err(refused) => (None, Some(refused)),
            },
            State::Nothing | State::Unknown => (None, None),
        };
        let Some(settings) = self.settings.clone() else { return (Ok(Names::new()), refused) };
        let items = self.items(content, old, settings.max_age, at);
        let identity = content.identity;
        (self.write_items(&settings, &items, identity, at), refused)
    }

    /// What is to be written, what the key store was asked for last at first. What does not fit is left
    /// out.
    fn items(
        &mut self,
        content: &Content<'_>,
        old: Option<Opened>,
        max_age: Duration,
        at: Moment,
    ) -> Vec<Item> {
        let Content { memory, gone, is_deleted, identity: _ } = content;
        let in_memory = memory.iter().filter(|(name, _)| !is_deleted(name));
        let mut items: Vec<_> = in_memory
            .map(|(name, entry)| {
                let (fingerprint, age) = (fingerprint(entry.record()), entry.age(at));
                Item { name: *name, fingerprint, age, bytes: write(name, entry, age, at.now) }
            })
            .collect();
        let names: HashSet<_> = items.iter().map(|item| item.name).collect();
        if let Some(Opened { entries, age: since }) = old {
            let kept = entries.into_iter().filter(|Sent { name, .. }| {
                !names.contains(name) && !gone.contains(name) && !is_deleted(name)
            });
            items.extend(kept.map(|Sent { name, record, age, unused }| {
                let (age, unused) = (age.saturating_add(since), unused.saturating_add(since));
                let bytes = written(&name, &record, age, unused);
                Item { name, fingerprint: fingerprint(&record), age, bytes }
            }));
        }
        items.retain(|item| item.age < max_age);
        items.sort_by_key(|item| item.age);
        let mut left = MAX_SIZE - OVERHEAD - HEAD;
        let fitting = items.iter().take_while(|item| {
            let rest = left.checked_sub(item.bytes.len());
            left = rest.unwrap_or(left);
            rest.is_some()
        });
        let fitting = fitting.count();
        self.is_full = fitting < items.len();
        items.truncate(fitting);
        items
    }

    fn write_items(
        &mut self,
        settings: &Settings,
        items: &[Item],
        identity: Identity,
        at: Moment,
    ) -> io::Result<Names> {
        if items.is_empty() {
            self.remove()?;
            return Ok(Names::new());
        }
        let draft = Draft::create(&settings.path)?;
        let head = Head::new(identity, &self.place, at.date, self.number, draft.mark()?);
        let plaintext = head.plaintext(items.iter().map(|item| item.bytes.as_slice()));
        let sealed = settings.key.seal(plaintext);
        // Even if publishing fails, the new one may be in its place.
        self.state = State::Unknown;
        draft.publish(&sealed)?;
        let tag = sealed.last_chunk().copied().unwrap_or_default();
        let age = (Duration::ZERO, at.now);
        self.state = State::Known(Known { tag, identity, written: head.written, age });
        self.number = self.number.saturating_add(1);
        Ok(items.iter().map(|item| (item.name, item.fingerprint)).collect())
    }

    /// Removes the file.
    pub(super) fn remove(&mut self) -> io::Result<()> {
        if let Some(settings) = &self.settings {
            file::remove(&settings.path)?;
        }
        self.state = State::Nothing;
        Ok(())
    }
}

pub(super) fn fingerprint(record: &kes_keystore::Record) -> Fingerprint {
    Fingerprint::new(record.key.fingerprint())
}

/// The time since a date; `None` if that has not come. A clock that was set back a little does not
/// count.
fn since_date(written: i64, now: Timestamp) -> Option<Duration> {
    let age = now.unix_seconds().saturating_sub(written);
    if age < -CLOCK_ERROR {
        return None;
    }
    Some(Duration::from_secs(u64::try_from(age).unwrap_or_default()))
}

fn table(seconds: i64) -> String {
    Timestamp::from_unix(seconds, 0)
        .map_or_else(|_| format!("{seconds} s after 1970"), |time| time.to_table())
}
