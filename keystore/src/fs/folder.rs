//! The folder of keys: blocking calls, which are durable when they return.
//!
//! A key is written in two steps: first whole and synced under a name that no key can have, then
//! renamed to the name of the key in one step that fails if the key exists. So a file with the name
//! of a key is never empty or torn, whenever the process or the machine stops.
//!
//! All calls act on the folder that was opened. If its path leads to another folder, or to none, the
//! store is not available: an empty mount point must not become an empty key store. A change is
//! acknowledged only if the path still leads to the folder after it.

use std::io;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use arc_swap::{ArcSwap, Guard};
use kes_api::{KeyName, ListPattern};
use rustix::fs::{CWD, FileType};
use rustix::io::Errno;
use rustix::path::Arg;
use zeroize::{Zeroize, Zeroizing};

use self::bound::Bound;
use self::locked::Locked;
use self::temporary::Temporary;
use crate::config::FolderId;
use crate::inventory::{ForeignNames, KeyFile};
use crate::page::PageBuilder;
use crate::{Error, Limit, Page, State, Value, files_hint};

/// The folder that is open.
mod bound;

/// A folder that is locked.
mod locked;

/// The file that tells the folder from others.
mod marker;

/// How a folder is opened.
mod opening;

/// Files that are not keys yet.
mod temporary;

/// Keys that are of no use.
mod survey;

/// The system calls.
mod sys;

/// System calls that fail, for tests.
#[cfg(test)]
pub(super) mod faults;

pub use self::marker::MARKER;
pub(super) use self::opening::{Demands, Known, Opened};
pub(super) use self::survey::Survey;
pub(super) use self::temporary::Entries;

pub(super) struct Folder {
    path: Arc<Path>,
    /// How messages show the path.
    shown: String,
    /// Replaced by the same folder if its file system is mounted again.
    bound: ArcSwap<Bound>,
    /// Set once the folder is locked for this process.
    lock: OnceLock<Locked>,
}

/// Why the folder is not available.
struct Away {
    state: State,
    cause: String,
}

impl Folder {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn shown(&self) -> &str {
        &self.shown
    }

    /// The ID in its marker.
    pub(super) fn id(&self) -> Option<FolderId> {
        self.bound.load().marker.map(|marker| marker.id)
    }

    /// What differs in a copy of the folder, and is the same after its file system was mounted again.
    pub(super) fn inodes(&self) -> (u64, Option<u64>) {
        let bound = self.bound.load();
        (bound.place().1, bound.marker.map(|marker| marker.inode))
    }

    /// Checks the folder with cheap calls. Also returns the cause if it is not available.
    pub(super) fn check(&self) -> (State, Option<String>) {
        let start = Instant::now();
        let found = self.bound().and_then(|bound| match sys::stat_open(&bound.handle) {
            Ok(_) => Ok(()),
            // A network file system came back, and knows the old handle no more.
            Err(_) => self.rebind(),
        });
        match found {
            Ok(()) => (State::Reachable { latency: start.elapsed() }, None),
            Err(Away { state, cause }) => (state, Some(cause)),
        }
    }

    pub(super) fn create(&self, name: KeyName, value: &Value) -> Result<(), Error> {
        let create = |folder: &Bound| {
            // Only to give the right answer on a full disk as well: the rename decides.
            if sys::stat_entry(&folder.handle, name.as_str()).is_ok() {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            Temporary::write(folder, value.expose().as_bytes(), sys::PRIVATE)?
                .publish(name.as_str())?;
            sys::sync_folder(&folder.handle)
        };
        self.change(create, |error| match error.kind() {
            io::ErrorKind::AlreadyExists => Error::Exists { name },
            _ => self.failed("create", name, &error),
        })
    }

    pub(super) fn delete(&self, name: KeyName) -> Result<(), Error> {
        let delete = |folder: &Bound| {
            if is_no_key(folder, name.as_str()) {
                return Err(io::ErrorKind::NotFound.into());
            }
            sys::unlink(&folder.handle, name.as_str())?;
            sys::sync_folder(&folder.handle)
        };
        self.change(delete, |error| match error.kind() {
            io::ErrorKind::NotFound => Error::NotFound { name },
            _ => self.failed("remove", name, &error),
        })
    }

    pub(super) fn read(&self, name: KeyName) -> Result<Value, Error> {
        let corrupt =
            |reason: &str| Error::Corrupt { store: super::KIND, name, reason: reason.into() };
        let folder = self.bound().map_err(|away| self.away(&away))?;
        let file = match sys::open_file(&folder.handle, name.as_str()) {
            Ok(file) => file,
            // Nothing, or what cannot be opened, such as a socket.
            Err(error)
                if error.kind() == io::ErrorKind::NotFound || is_no_key(&folder, name.as_str()) =>
            {
                self.verify(&folder)?;
                return Err(Error::NotFound { name });
            }
            Err(error) => return Err(self.failed("open", name, &error)),
        };
        let stat = sys::stat_open(&file).map_err(|error| self.failed("look at", name, &error))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            // Not a key: a folder, or a pipe.
            self.verify(&folder)?;
            return Err(Error::NotFound { name });
        }
        let size = match usize::try_from(stat.st_size) {
            Ok(size) if size <= Value::MAX_LEN => size,
            _ => return Err(corrupt("its file is too big for a stored key")),
        };
        // One byte more, to see if the file has grown. It never grows itself, because that would
        // leave a copy behind.
        let mut bytes = Zeroizing::new(vec![0; size + 1]);
        let mut len = 0;
        while len < size {
            match sys::read(&file, bytes.get_mut(len..).unwrap_or_default()) {
                Ok(0) => return Err(corrupt("its file became shorter while it was read")),
                Ok(read) => len += read,
                Err(error) => return Err(self.failed("read", name, &error)),
            }
        }
        if len > size {
            return Err(corrupt("its file grew while it was read"));
        }
        bytes.truncate(len);
        String::from_utf8(std::mem::take(&mut *bytes)).map(Value::new).map_err(|error| {
            error.into_bytes().zeroize();
            corrupt("it is not text")
        })
    }

    pub(super) fn list(&self, pattern: &ListPattern<'_>, limit: Limit) -> Result<Page, Error> {
        let folder = self.bound().map_err(|away| self.away(&away))?;
        let mut page = PageBuilder::new(limit);
        let listed = folder.entries(|name, kind| {
            // The cheapest test first: most entries of a large folder are of other pages.
            if pattern.matches(name)
                && page.wants(name)
                && let Ok(key) = KeyName::parse(name)
                && is_file(&folder, name, kind)?
            {
                page.add(key);
            }
            Ok(true)
        });
        self.verify(&folder)?;
        listed.map_err(|error| failed("list", &self.shown, &error))?;
        Ok(page.finish())
    }

    /// The names of entries that are no keys, without what the server itself puts there. A folder or
    /// a link to nothing with the name of a key may stand for a key that is missing.
    pub(super) fn foreign(&self, names: &mut ForeignNames) -> Result<(), Error> {
        let folder = self.bound().map_err(|away| self.away(&away))?;
        let listed = folder.all_entries(|entry, kind| {
            let name = entry.to_string_lossy();
            let is_own = name == MARKER || temporary::is_temporary(&name);
            if is_own || !(names.wants(&name) || names.wants_no_file(&name)) {
                return Ok(true);
            }
            if is_file(&folder, entry, kind)? == names.wants(&name) {
                names.add(&name);
            }
            Ok(true)
        });
        self.verify(&folder)?;
        listed.map_err(|error| failed("list", &self.shown, &error))
    }

    /// The file that holds a key.
    pub(super) fn file(&self, name: KeyName) -> Result<Option<KeyFile>, Error> {
        let folder = self.bound().map_err(|away| self.away(&away))?;
        let found = sys::stat(&folder.handle, name.as_str())
            .and_then(|file| Ok((file, sys::stat_entry(&folder.handle, name.as_str())?)));
        match found {
            Ok((file, entry)) => Ok(Some(KeyFile {
                place: bound::place(&file),
                is_link: FileType::from_raw_mode(entry.st_mode) == FileType::Symlink,
            })),
            Err(_) if is_no_key(&folder, name.as_str()) => {
                self.verify(&folder)?;
                Ok(None)
            }
            Err(error) => Err(self.failed("look at", name, &error)),
        }
    }

    /// Whether a path leads to this folder.
    pub(super) fn is_at(&self, path: &Path) -> bool {
        let bound = self.bound.load();
        sys::stat(CWD, path).is_ok_and(|found| bound.is(&found))
    }

    /// Whether the folder takes two names for one that differ in the case of letters alone, as far
    /// as its marker shows it.
    pub(super) fn ignores_case(&self) -> bool {
        let bound = self.bound.load();
        let is_there = |name: &str| sys::stat_entry(&bound.handle, name).is_ok();
        is_there(MARKER) && is_there(&MARKER.to_ascii_uppercase())
    }

    /// Makes a change, and verifies that it was made where the path leads to.
    fn change(
        &self,
        work: impl FnOnce(&Bound) -> io::Result<()>,
        failure: impl FnOnce(io::Error) -> Error,
    ) -> Result<(), Error> {
        let folder = self.bound().map_err(|away| self.away(&away))?;
        let result = work(&folder);
        self.verify(&folder)?;
        result.map_err(failure)
    }

    /// The folder, if the path leads to it.
    fn bound(&self) -> Result<Guard<Arc<Bound>>, Away> {
        let bound = self.bound.load();
        if !sys::stat(CWD, &*self.path).is_ok_and(|found| bound.is(&found)) {
            self.rebind()?;
            return Ok(self.bound.load());
        }
        Ok(bound)
    }

    /// Fails if the path does not lead to a folder any more that a call has used.
    fn verify(&self, used: &Bound) -> Result<(), Error> {
        match sys::stat(CWD, &*self.path) {
            Ok(found) if used.is(&found) => Ok(()),
            _ => self.rebind().map_err(|away| self.away(&away)),
        }
    }

    /// Opens the folder again. It must be the same one, whose file system may have been mounted
    /// again.
    fn rebind(&self) -> Result<(), Away> {
        let found = Bound::open(&self.path).map_err(|error| Away {
            state: if is_away(&error) { State::Unreachable } else { State::Unavailable },
            cause: match error.kind() {
                io::ErrorKind::NotADirectory => "it is no folder; put the folder back".to_owned(),
                io::ErrorKind::NotFound => format!("{error}; mount it again or put it back"),
                _ => format!("{error}{}", files_hint(&error)),
            },
        })?;
        let bound = self.bound.load();
        if !bound.is_same(&found) {
            let is_copy = bound
                .marker
                .is_some_and(|ours| found.marker.is_some_and(|theirs| theirs.id == ours.id));
            let cause = if is_copy {
                "a copy of it is in its place; put the folder back, or reload the server (SIGHUP) \
                 to use the copy"
            } else {
                "another folder is in its place; mount the folder again or put it back, or restart \
                 the server to use the other one"
            };
            return Err(Away { state: State::Unreachable, cause: cause.to_owned() });
        }
        self.renew_lock(&found);
        self.bound.store(Arc::new(found));
        tracing::info!("key store: {}: opened folder '{}' again", super::KIND, self.shown);
        Ok(())
    }

    fn away(&self, away: &Away) -> Error {
        let Away { state, cause } = away;
        let reason = format!("folder '{}' is not available: {cause}", self.shown);
        match state {
            State::Unavailable => Error::Unavailable { reason },
            State::Unreachable | State::Reachable { .. } => Error::Unreachable { reason },
        }
    }

    fn failed(&self, action: &str, name: KeyName, error: &io::Error) -> Error {
        failed(action, &format!("{}/{name}", self.shown.trim_end_matches('/')), error)
    }
}

/// Whether an entry is a file, or a link to one: mounted secrets are links.
fn is_file(folder: &Bound, name: impl Arg + Copy, kind: FileType) -> io::Result<bool> {
    match kind {
        FileType::RegularFile => Ok(true),
        FileType::Symlink | FileType::Unknown => match sys::stat(&folder.handle, name) {
            Ok(found) => Ok(FileType::from_raw_mode(found.st_mode) == FileType::RegularFile),
            // A link to nothing or in a circle, or a file that was deleted meanwhile.
            Err(error) if is_away(&error) => Ok(false),
            Err(error) if Errno::from_io_error(&error) == Some(Errno::LOOP) => Ok(false),
            Err(error) => Err(error),
        },
        _ => Ok(false),
    }
}

/// Whether an entry is there and is surely no key: neither a file nor a link to one. A fault of the
/// system says nothing of that: it must not make a key missing.
fn is_no_key(folder: &Bound, name: &str) -> bool {
    match sys::stat(&folder.handle, name) {
        Ok(found) => FileType::from_raw_mode(found.st_mode) != FileType::RegularFile,
        Err(error) => matches!(
            Errno::from_io_error(&error),
            // A link to nothing, through a file, or in a circle.
            Some(Errno::NOENT | Errno::NOTDIR | Errno::LOOP)
        ),
    }
}

fn failed(action: &str, path: &str, error: &io::Error) -> Error {
    let hint = match error.kind() {
        io::ErrorKind::PermissionDenied => {
            "; the user of the server must be able to read and write it"
        }
        _ => files_hint(error),
    };
    let reason = format!("cannot {action} '{path}': {error}{hint}");
    if is_away(error) { Error::Unreachable { reason } } else { Error::Unavailable { reason } }
}

/// Whether the folder is not there, rather than there and failing.
fn is_away(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    matches!(
        error.kind(),
        Kind::NotFound
            | Kind::NotADirectory
            | Kind::StaleNetworkFileHandle
            | Kind::TimedOut
            | Kind::HostUnreachable
            | Kind::NetworkUnreachable
            | Kind::NotConnected
    )
}

#[cfg(test)]
mod tests;
