use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use rustix::fs::{CWD, RenameFlags};

use super::access::{self, OpenError};
use super::compress::Compression;
use super::recover::{self, Found, Lost};
use super::{AuditFile, Settings};
use crate::chain::{Chain, Head};
use crate::json;
use crate::key::{AuditKey, hex};
use crate::note::Checkpoint;
use crate::record::Clock;
use crate::segment::{self, Begin, LAST};

/// Where a chain goes on.
struct State {
    log: String,
    /// The number of the last segment.
    segment: u64,
    seq: u64,
    head: Head,
}

impl AuditFile {
    /// Checks that the file can be written, without changing it.
    ///
    /// # Errors
    /// [`OpenError`]
    pub fn check(settings: &Settings) -> Result<(), OpenError> {
        let path = &settings.path;
        access::check_folder(path)?;
        access::check_writable(path)?;
        match access::open(path)? {
            Some(file) if length(&file, path)? > 0 => match recover::open_segment(&file, None) {
                Err(Lost::Other) => Err(other(path)),
                Err(Lost::System(reason)) => Err(OpenError::system(path)(reason)),
                Ok(_) | Err(Lost::Damaged) => Ok(()),
            },
            _ => Ok(()),
        }
    }

    /// Opens the file, or makes it; `None` while another process writes it.
    ///
    /// # Errors
    /// [`OpenError`]
    pub fn open(settings: Settings) -> Result<Option<Self>, OpenError> {
        let path = settings.path.clone();
        access::check_folder(&path)?;
        let Some(lock) = access::lock(&path)? else { return Ok(None) };
        let system = OpenError::system(&path);
        let existing = match access::open(&path)? {
            Some(file) if length(&file, &path)? > 0 => Some(file),
            _ => None,
        };
        let mut opened = match existing {
            None => Self::after_closed(settings, lock).map_err(&system)?,
            Some(file) => match recover::open_segment(&file, settings.key.as_deref()) {
                Ok(found) => Self::go_on(settings, lock, file, found).map_err(&system)?,
                Err(Lost::System(reason)) => return Err(system(reason)),
                Err(Lost::Other) => return Err(other(&path)),
                Err(Lost::Damaged) => {
                    let number = last_number(&path).map_err(&system)? + 1;
                    let damaged = segment::closed(&path, number);
                    std::fs::rename(&path, damaged).map_err(&system)?;
                    Self::anew(settings, lock, number).map_err(&system)?
                }
            },
        };
        let warning = opened.compare_with_checkpoint();
        let version = opened.settings.version;
        opened.mark("start", |out| {
            json::text(out, "version", version);
            json::number(out, "pid", std::process::id().into());
            if let Some(warning) = &warning {
                json::text(out, "warning", warning);
            }
        });
        opened.problems.extend(warning);
        opened.commit(true).map_err(|error| system(error.reason))?;
        opened.compress();
        Ok(Some(opened))
    }

    /// Goes on with a file.
    fn go_on(settings: Settings, lock: File, file: File, found: Found) -> io::Result<Self> {
        let Found { log, segment, began, key, last } = found;
        let size = file.metadata()?.len();
        let is_same_key = is_key(&settings, key.as_deref());
        let chain = Chain::new(settings.key.clone(), last.seq, last.head);
        let mut opened = Self::with(settings, lock, (log, segment), (file, chain, size));
        opened.began = began;
        opened.problems.extend(last.torn.as_ref().and_then(|torn| torn.warning(last.seq)));
        (opened.torn, opened.lacks_end) = (last.torn, last.lacks_end);
        if last.kind == LAST {
            opened.next_segment(Begin::Rotated)?;
        } else if !is_same_key {
            opened.next_segment(Begin::OtherKey)?;
        }
        Ok(opened)
    }

    /// Makes the file, after the segments that are there.
    fn after_closed(settings: Settings, lock: File) -> io::Result<Self> {
        let path = settings.path.clone();
        let Some((number, newest)) = segment::all_closed(&path)?.pop() else {
            let is_known = std::fs::exists(segment::checkpoint(&path))?;
            let begin = if is_known { Begin::Anew } else { Begin::New };
            let state = State { log: random_name(), segment: 0, seq: 0, head: Head::NONE };
            return Self::begin(settings, lock, state, begin);
        };
        match recover::closed_segment(&newest) {
            Ok(Found { log, segment, key, last, .. }) => {
                let is_same_key = is_key(&settings, key.as_deref());
                let begin = match &*last.kind {
                    _ if !is_same_key => Begin::OtherKey,
                    LAST => Begin::Rotated,
                    _ => Begin::Displaced,
                };
                let state = State { log, segment, seq: last.seq, head: last.head };
                Self::begin(settings, lock, state, begin)
            }
            Err(_) => Self::anew(settings, lock, number),
        }
    }

    /// Begins another chain, with a segment after that of a number.
    fn anew(settings: Settings, lock: File, segment: u64) -> io::Result<Self> {
        let state = State { log: random_name(), segment, seq: 0, head: Head::NONE };
        let mut begun = Self::begin(settings, lock, state, Begin::Anew)?;
        begun
            .problems
            .push("what was there before cannot be continued: a new chain begins".to_owned());
        Ok(begun)
    }

    fn begin(settings: Settings, lock: File, state: State, begin: Begin) -> io::Result<Self> {
        let State { log, segment, seq, head } = state;
        let chain = Chain::new(settings.key.clone(), seq, head);
        let segment = segment + 1;
        let written = first_segment(&settings.path, chain, (&log, segment, begin))?;
        Ok(Self::with(settings, lock, (log, segment), written))
    }

    /// Goes on after what was written: a segment that has begun now, is whole, and ends with the head
    /// of the chain. Its size is in bytes.
    fn with(
        settings: Settings,
        lock: File,
        (log, segment): (String, u64),
        (file, chain, size): (File, Chain, u64),
    ) -> Self {
        Self {
            lock: Arc::new(lock),
            file,
            before: chain.head,
            chain,
            log,
            segment,
            began: SystemTime::now(),
            size,
            clock: Clock::default(),
            buffer: Vec::new(),
            ends: Vec::new(),
            own: 0,
            torn: None,
            lacks_end: false,
            is_unsynced: true,
            is_ended: false,
            blocked: None,
            compression: Compression::default(),
            problems: Vec::new(),
            settings,
        }
    }

    /// Closes the segment if it is large or old enough, or if something outside has moved or cut the
    /// file. To be called when all was committed.
    ///
    /// # Errors
    /// As of the system. The segment is then written on.
    pub fn rotate_if_due(&mut self) -> io::Result<()> {
        if self.is_displaced()? {
            let text = "the file was moved, removed or cut by somebody else; the chain goes on in a new one";
            self.problems.push(text.to_owned());
            return self.leave();
        }
        let age = SystemTime::now().duration_since(self.began).unwrap_or_default();
        if self.size > self.settings.max_size || age > self.settings.max_age {
            self.rotate()?;
        }
        Ok(())
    }

    /// Closes the segment, and begins the next one.
    ///
    /// # Errors
    /// As of the system. The segment is then written on.
    pub fn rotate(&mut self) -> io::Result<()> {
        self.end()?;
        self.next_segment(Begin::Rotated)?;
        self.remove_old()?;
        self.compress();
        Ok(())
    }

    /// Leaves a file that is no longer in its place.
    fn leave(&mut self) -> io::Result<()> {
        let found = self.file.metadata()?;
        if found.len() >= self.size {
            // Whoever has moved it gets a whole segment.
            self.end()?;
        }
        self.next_segment(Begin::Displaced)
    }

    /// Writes the last line of the segment, unless it is there. No other one may follow it.
    fn end(&mut self) -> io::Result<()> {
        if !self.is_ended {
            self.mark(LAST, |_| ());
            self.commit(true).map_err(|error| error.reason)?;
            self.is_ended = true;
        }
        Ok(())
    }

    /// Whether the file is no longer the one at its path, or is shorter than what was written.
    fn is_displaced(&self) -> io::Result<bool> {
        let own = self.file.metadata()?;
        match std::fs::symlink_metadata(self.path()) {
            Ok(found) => Ok(!access::is_same(&found, &own) || own.len() < self.size),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// Begins the next segment, in a new file that takes the place of this one. A process that is
    /// killed here leaves either this segment or the next one in its place, or neither; each of them
    /// can be continued.
    pub(super) fn next_segment(&mut self, begin: Begin) -> io::Result<()> {
        let path = self.settings.path.clone();
        let own = self.file.metadata()?;
        match std::fs::symlink_metadata(&path) {
            Ok(found) if found.len() == 0 => {}
            Ok(found) if access::is_same(&found, &own) => {
                put_away(&path, self.segment)?;
            }
            Ok(_) => {
                let text = "another file is in its place; move it away";
                return Err(io::Error::new(io::ErrorKind::AlreadyExists, text));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let chain = Chain::new(self.settings.key.clone(), self.chain.size, self.chain.head);
        let place = (&*self.log, self.segment + 1, begin);
        let (file, chain, size) = first_segment(&path, chain, place)?;
        (self.file, self.before, self.chain, self.size) = (file, chain.head, chain, size);
        self.segment += 1;
        (self.torn, self.lacks_end, self.began) = (None, false, SystemTime::now());
        self.is_ended = false;
        Ok(())
    }

    /// Removes the closed segments that are too many or too old, and records each.
    fn remove_old(&mut self) -> io::Result<()> {
        let segments = segment::all_closed(self.path())?;
        let numbers: BTreeSet<u64> = segments.iter().map(|(number, _)| *number).collect();
        let keep = self
            .settings
            .keep
            .map_or(usize::MAX, |keep| usize::try_from(keep).unwrap_or(usize::MAX));
        let too_many = numbers.len().saturating_sub(keep);
        let first_kept = numbers.into_iter().nth(too_many).unwrap_or(u64::MAX);
        let now = SystemTime::now();
        let mut removed = Vec::new();
        for (number, path) in segments {
            let is_old = self.settings.keep_for.is_some_and(|keep_for| {
                let written = std::fs::metadata(&path).and_then(|found| found.modified());
                written.is_ok_and(|at| now.duration_since(at).is_ok_and(|age| age > keep_for))
            });
            if is_old || number < first_kept {
                removed.push((number, path));
            }
        }
        for (number, path) in &removed {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let number = *number;
            self.mark("removed", |out| {
                json::number(out, "segment", number);
                json::text(out, "file", &name);
            });
        }
        self.commit(true).map_err(|error| error.reason)?;
        for (_, path) in removed {
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    pub(super) fn compress(&mut self) {
        let problem = self.compression.start(&self.settings.path, &self.lock, &self.file);
        self.problems.extend(problem);
    }

    /// What the last checkpoint knows of the file that is not in it.
    fn compare_with_checkpoint(&self) -> Option<String> {
        let note = std::fs::read_to_string(segment::checkpoint(self.path())).ok()?;
        let key = self.settings.key.as_deref();
        let keys: Vec<_> = key.into_iter().collect();
        let (checkpoint, _) = Checkpoint::parse(&note, &keys).ok()?;
        let size = self.chain.size;
        let named = format!("the checkpoint beside it has {} lines", checkpoint.size);
        if checkpoint.log != self.log {
            return Some(format!("{named} of another log, whose files are not there"));
        }
        (checkpoint.size > size).then(|| {
            let (first, last) = (size + 1, checkpoint.size);
            format!("lines {first} to {last} are missing: {named}, and the file ends before")
        })
    }
}

/// Renames a file as a closed segment. Whatever somebody has put there under that name stays.
fn put_away(path: &Path, segment: u64) -> io::Result<()> {
    let closed = segment::closed(path, segment);
    let mut to = closed.clone();
    for number in 1.. {
        match rustix::fs::renameat_with(CWD, path, CWD, &to, RenameFlags::NOREPLACE) {
            Err(rustix::io::Errno::EXIST) if number < 1000 => {
                let mut other = closed.as_os_str().to_owned();
                other.push(format!(".again-{number}"));
                to = other.into();
            }
            result => return Ok(result?),
        }
    }
    Ok(())
}

/// Makes the file of a segment with its first line. The file appears whole.
fn first_segment(
    path: &Path,
    mut chain: Chain,
    place: (&str, u64, Begin),
) -> io::Result<(File, Chain, u64)> {
    let new = segment::beside(path, "new");
    let like = segment::all_closed(path)?.pop().and_then(|(_, path)| path.metadata().ok());
    let file = access::create(&new, like.as_ref())?;
    let mut line = Vec::new();
    segment::add_first(&mut chain, &mut line, &mut Clock::default(), place);
    if let (_, Some(error)) = super::write_all(&file, &line) {
        return Err(error);
    }
    file.sync_all()?;
    std::fs::rename(&new, path)?;
    access::sync_folder(path)?;
    Ok((file, chain, u64::try_from(line.len()).unwrap_or(u64::MAX)))
}

/// Whether a segment was written with the key of the settings, or both have none.
fn is_key(settings: &Settings, id: Option<&str>) -> bool {
    settings.key.as_deref().map(AuditKey::id) == id
}

fn length(file: &File, path: &Path) -> Result<u64, OpenError> {
    Ok(file.metadata().map_err(OpenError::system(path))?.len())
}

fn last_number(path: &Path) -> io::Result<u64> {
    Ok(segment::all_closed(path)?.pop().map_or(0, |(number, _)| number))
}

fn other(path: &Path) -> OpenError {
    OpenError::Other { path: path.to_owned(), what: "its first line is not that of a segment" }
}

/// The name of a log.
#[expect(clippy::expect_used, reason = "the system's generator does not fail once it has started")]
fn random_name() -> String {
    let mut bytes = [0; 16];
    aws_lc_rs::rand::fill(&mut bytes).expect("random bytes");
    hex(&bytes)
}
