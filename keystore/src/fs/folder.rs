//! The folder of keys: blocking calls, which are durable when they return.
//!
//! A key is written in two steps: first whole and synced under a name that no key can have, then
//! renamed to the name of the key in one step that fails if the key exists. So a file with the name
//! of a key is never empty or torn, whenever the process or the machine stops.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use kes_api::{KeyName, ListPattern};
use rustix::fs::{CWD, OFlags, RenameFlags};
use rustix::io::Errno;
use zeroize::{Zeroize, Zeroizing};

use crate::page::PageBuilder;
use crate::{Error, Limit, Page, State, Value, files_hint};

/// The names of unfinished files start with this. The name of a key has no `.`.
const TEMPORARY: &str = ".new-";

/// An unfinished file that is older than this was left by a server that crashed. Well above the time
/// that a create waits for a slow disk, and the difference between the clocks of two machines.
const STALE: Duration = Duration::from_secs(60 * 60);

pub(super) struct Folder {
    path: PathBuf,
}

/// A folder that was just opened.
pub(super) struct Opened {
    pub(super) folder: Folder,
    pub(super) state: State,
    /// The entries to search for unfinished files.
    pub(super) entries: Entries,
    /// Whether it did not exist before.
    pub(super) is_new: bool,
}

impl Folder {
    /// Opens the folder; creates it if it is missing.
    pub(super) fn open(path: PathBuf) -> io::Result<Opened> {
        let start = Instant::now();
        let is_new = make_folder(&path)?;
        let entries = Entries(fs::read_dir(&path)?);
        let state = State::Reachable { latency: start.elapsed() };
        Ok(Opened { folder: Self { path }, state, entries, is_new })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Checks the folder with one cheap call. Also returns the cause if it is not available.
    pub(super) fn check(&self) -> (State, Option<String>) {
        let start = Instant::now();
        let (state, cause) = match fs::metadata(&self.path) {
            Ok(folder) if folder.is_dir() => {
                return (State::Reachable { latency: start.elapsed() }, None);
            }
            Ok(_) => (State::Unreachable, "it is no folder".to_owned()),
            Err(error) if is_away(&error) => (State::Unreachable, error.to_string()),
            Err(error) => (State::Unavailable, format!("{error}{}", files_hint(&error))),
        };
        (state, Some(cause))
    }

    pub(super) fn create(&self, name: KeyName, value: &Value) -> Result<(), Error> {
        let target = self.path.join(name.as_str());
        // Only to give the right answer on a full disk as well: the rename decides.
        if fs::symlink_metadata(&target).is_ok() {
            return Err(Error::Exists { name });
        }
        let result = Temporary::write(&self.path, value.expose().as_bytes())
            .and_then(|temporary| temporary.publish(&target))
            .and_then(|()| self.sync());
        result.map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => Error::Exists { name },
            _ => failed("create", &target, &error),
        })
    }

    pub(super) fn read(&self, name: KeyName) -> Result<Value, Error> {
        let path = self.path.join(name.as_str());
        let corrupt =
            |reason: &str| Error::Corrupt { store: super::KIND, name, reason: reason.into() };
        let mut file = OpenOptions::new()
            .read(true)
            // Keeps a named pipe from blocking.
            .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
            .open(&path)
            .map_err(|error| self.missing_or_failed("open", name, &error))?;
        let metadata = file.metadata().map_err(|error| failed("look at", &path, &error))?;
        if !metadata.is_file() {
            return Err(corrupt("it is not a regular file"));
        }
        let size = match usize::try_from(metadata.len()) {
            Ok(size) if size <= Value::MAX_LEN => size,
            _ => return Err(corrupt("its file is too big for a stored key")),
        };
        // One byte more, to see the end. It never grows, because that would leave a copy behind.
        let mut bytes = Zeroizing::new(vec![0; size + 1]);
        let mut len = 0;
        while len < bytes.len() {
            match file.read(&mut bytes[len..]) {
                Ok(0) => break,
                Ok(read) => len += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(failed("read", &path, &error)),
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

    pub(super) fn delete(&self, name: KeyName) -> Result<(), Error> {
        let path = self.path.join(name.as_str());
        fs::remove_file(&path).map_err(|error| self.missing_or_failed("remove", name, &error))?;
        self.sync().map_err(|error| failed("remove", &path, &error))
    }

    pub(super) fn list(&self, pattern: &ListPattern<'_>, limit: Limit) -> Result<Page, Error> {
        let mut page = PageBuilder::new(limit);
        let entries =
            fs::read_dir(&self.path).map_err(|error| failed("list", &self.path, &error))?;
        for entry in entries {
            let entry = entry.map_err(|error| failed("list", &self.path, &error))?;
            let name = entry.file_name();
            // The cheapest test first: most entries of a large folder are of other pages.
            let wanted = |name: &&str| pattern.matches(name) && page.wants(name);
            let Some(name) = name.to_str().filter(wanted) else { continue };
            if let Ok(name) = KeyName::parse(name)
                && is_file(&entry)
            {
                page.add(name);
            }
        }
        Ok(page.finish())
    }

    /// Makes the last rename or removal durable.
    fn sync(&self) -> io::Result<()> {
        sync_folder(&self.path)
    }

    /// The error of a call on a file. A missing file is a missing key, unless the whole folder is
    /// missing.
    fn missing_or_failed(&self, action: &str, name: KeyName, error: &io::Error) -> Error {
        if error.kind() == io::ErrorKind::NotFound {
            match fs::metadata(&self.path) {
                Ok(_) => Error::NotFound { name },
                Err(error) => failed("look at", &self.path, &error),
            }
        } else {
            failed(action, &self.path.join(name.as_str()), error)
        }
    }
}

/// The entries of a folder that were not searched yet. An unfinished file holds key material.
pub(super) struct Entries(fs::ReadDir);

impl Entries {
    /// Removes unfinished and stale files among the next `count` entries. Returns the entries that
    /// remain, if any.
    pub(super) fn remove_stale(mut self, count: usize) -> Option<Self> {
        for _ in 0..count {
            let entry = match self.0.next()? {
                Ok(entry) => entry,
                Err(error) => {
                    tracing::warn!(
                        "cannot look for unfinished files, which hold key material: {error}"
                    );
                    return None;
                }
            };
            let unfinished = entry.file_name().as_encoded_bytes().starts_with(TEMPORARY.as_bytes());
            if unfinished && is_stale(&entry) {
                remove_unfinished(&entry.path());
            }
        }
        Some(self)
    }
}

/// A file that is to become a key; removed when dropped.
struct Temporary {
    path: PathBuf,
    renamed: bool,
}

impl Temporary {
    /// Writes a file under a name that no key can have, and syncs it.
    fn write(folder: &Path, bytes: &[u8]) -> io::Result<Self> {
        // Random, because servers on several machines may share the folder and a process ID.
        let mut random = [0; 16];
        kes_crypto::random::fill(&mut random);
        let path = folder.join(format!("{TEMPORARY}{:032x}", u128::from_ne_bytes(random)));
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        let temporary = Self { path, renamed: false };
        file.write_all(bytes)?;
        sync(&file, &temporary.path)?;
        Ok(temporary)
    }

    /// Gives the file the key's name, unless that is taken.
    fn publish(mut self, target: &Path) -> io::Result<()> {
        let renamed = rustix::io::retry_on_intr(|| {
            rustix::fs::renameat_with(CWD, &self.path, CWD, target, RenameFlags::NOREPLACE)
        });
        match renamed {
            Ok(()) => {
                self.renamed = true;
                Ok(())
            }
            // Some file systems do not support it, such as NFS.
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => self.link(target),
            Err(error) => Err(error.into()),
        }
    }

    /// The same in two steps: with either name alone, or with both, the file is whole.
    fn link(self, target: &Path) -> io::Result<()> {
        fs::hard_link(&self.path, target)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.renamed {
            remove_unfinished(&self.path);
        }
    }
}

fn remove_unfinished(path: &Path) {
    if let Err(error) = fs::remove_file(path) {
        tracing::warn!(
            "cannot remove unfinished file '{}', which holds key material: {error}",
            path.display()
        );
    }
}

fn is_stale(entry: &fs::DirEntry) -> bool {
    // This is not the metadata of a link's target. A time in the future comes from another clock.
    let Ok(metadata) = entry.metadata() else { return false };
    let age = metadata.modified().ok().and_then(|time| time.elapsed().ok());
    metadata.is_file() && age.is_some_and(|age| age > STALE)
}

/// Whether an entry is a file, or a link to one: mounted secrets are links.
fn is_file(entry: &fs::DirEntry) -> bool {
    match entry.file_type() {
        Ok(kind) if kind.is_symlink() => {
            fs::metadata(entry.path()).is_ok_and(|target| target.is_file())
        }
        Ok(kind) => kind.is_file(),
        Err(_) => false,
    }
}

/// Creates a folder and those above it, as far as they are missing, for this user alone. Returns
/// whether it was missing.
fn make_folder(path: &Path) -> io::Result<bool> {
    let missing: Vec<&Path> =
        path.ancestors().take_while(|path| matches!(path.try_exists(), Ok(false))).collect();
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    let is_new = !missing.is_empty();
    for made in missing {
        // The folder above a relative path of one part is the current one.
        match made.parent() {
            Some(above) if above.as_os_str().is_empty() => sync_folder(Path::new("."))?,
            Some(above) => sync_folder(above)?,
            None => {}
        }
    }
    Ok(is_new)
}

fn sync_folder(path: &Path) -> io::Result<()> {
    match sync(&File::open(path)?, path) {
        // The answer of a file system that does not support the call on folders.
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
        result => result,
    }
}

/// Makes the content of a file, or the entries of a folder, durable.
#[cfg_attr(not(test), expect(unused_variables, reason = "tests note the path"))]
fn sync(file: &File, path: &Path) -> io::Result<()> {
    #[cfg(test)]
    syncs::note(path)?;
    file.sync_all()
}

fn failed(action: &str, path: &Path, error: &io::Error) -> Error {
    let reason = format!("cannot {action} '{}': {error}{}", path.display(), files_hint(error));
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

/// What was made durable, for tests.
#[cfg(test)]
mod syncs;

#[cfg(test)]
mod tests {
    use super::syncs::Synced;
    use super::*;

    #[test]
    fn a_file_system_without_exclusive_renaming_is_served_by_links() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("key");
        let write = |bytes| Temporary::write(folder.path(), bytes).unwrap();
        write(b"first").link(&target).unwrap();
        let second = write(b"second").link(&target).unwrap_err();
        assert_eq!(second.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&target).unwrap(), b"first");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no unfinished file is left");
    }

    #[test]
    fn an_unfinished_file_is_for_this_user_alone_and_goes_with_its_creator() {
        use std::os::unix::fs::PermissionsExt;

        let folder = tempfile::tempdir().unwrap();
        let temporary = Temporary::write(folder.path(), b"value").unwrap();
        let path = temporary.path.clone();
        assert!(KeyName::parse(path.file_name().unwrap().to_str().unwrap()).is_err());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        drop(temporary);
        assert!(!path.exists());
    }

    #[test]
    fn a_renaming_does_not_replace() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("key");
        let publish = |bytes| Temporary::write(folder.path(), bytes).unwrap().publish(&target);
        publish(b"first").unwrap();
        assert_eq!(publish(b"second").unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&target).unwrap(), b"first");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn an_error_tells_the_path_and_the_systems_words() {
        let of = |errno: Errno| failed("create", Path::new("/keys/key"), &errno.into());
        for errno in [Errno::NOSPC, Errno::IO, Errno::ACCESS, Errno::ROFS] {
            let Error::Unavailable { reason } = of(errno) else { panic!("{errno:?}") };
            let said = io::Error::from(errno).to_string();
            assert_eq!(reason, format!("cannot create '/keys/key': {said}"));
        }
        let Error::Unavailable { reason } = of(Errno::MFILE) else { panic!() };
        assert!(reason.ends_with("; raise LimitNOFILE (systemd) or `ulimit -n`"), "{reason}");
        for errno in [Errno::NOENT, Errno::NOTDIR, Errno::STALE, Errno::TIMEDOUT] {
            assert!(matches!(of(errno), Error::Unreachable { .. }), "{errno:?}");
        }
    }

    fn name(text: &str) -> KeyName {
        KeyName::parse(text).unwrap()
    }

    fn open(path: &Path) -> Folder {
        Folder::open(path.to_owned()).unwrap().folder
    }

    /// A file or folder at the moment of its sync.
    fn file(content: &str) -> Synced {
        Synced::File(content.to_owned())
    }

    fn folder(path: &Path, names: &[&str]) -> Synced {
        let names = names.iter().map(|&name| name.to_owned()).collect();
        Synced::Folder(path.to_owned(), names)
    }

    #[test]
    fn a_create_is_durable_when_it_returns() {
        let temporary = tempfile::tempdir().unwrap();
        let (path, value) = (temporary.path(), Value::new("value".to_owned()));
        let keys = open(path);
        syncs::take();
        keys.create(name("key"), &value).unwrap();
        // First the whole content, then the name that leads to it.
        assert_eq!(syncs::take(), [file("value"), folder(path, &["key"])]);
        assert!(keys.create(name("key"), &value).is_err());
        assert_eq!(syncs::take(), []);
    }

    #[test]
    fn a_create_by_links_is_durable_when_it_returns() {
        let temporary = tempfile::tempdir().unwrap();
        let path = temporary.path();
        Temporary::write(path, b"value").unwrap().link(&path.join("key")).unwrap();
        assert_eq!(syncs::take(), [file("value")]);
    }

    #[test]
    fn a_delete_is_durable_when_it_returns() {
        let temporary = tempfile::tempdir().unwrap();
        let path = temporary.path();
        fs::write(path.join("key"), "value").unwrap();
        let keys = open(path);
        syncs::take();
        keys.delete(name("key")).unwrap();
        assert_eq!(syncs::take(), [folder(path, &[])]);
        assert!(keys.delete(name("key")).is_err());
        assert_eq!(syncs::take(), []);
    }

    #[test]
    fn a_folder_that_is_made_is_durable_with_all_above_it() {
        let temporary = tempfile::tempdir().unwrap();
        let path = temporary.path();
        syncs::take();
        open(&path.join("a/b"));
        assert_eq!(syncs::take(), [folder(&path.join("a"), &["b"]), folder(path, &["a"])]);
        open(&path.join("a/b"));
        assert_eq!(syncs::take(), []);
    }

    #[test]
    fn what_cannot_be_made_durable_is_an_error() {
        let temporary = tempfile::tempdir().unwrap();
        let (path, value) = (temporary.path(), Value::new("value".to_owned()));
        let keys = open(path);
        let left = || fs::read_dir(path).unwrap().count();
        let broken = |result: Result<(), Error>| {
            let Err(Error::Unavailable { reason }) = result else { panic!("{result:?}") };
            assert!(reason.ends_with(&io::Error::from(Errno::IO).to_string()), "{reason}");
        };
        // Without its content on the disk a file gets no name.
        syncs::fail_after(0);
        broken(keys.create(name("key"), &value));
        assert_eq!(left(), 0);
        syncs::fail_after(1);
        broken(keys.create(name("key"), &value));
        keys.delete(name("key")).unwrap();

        keys.create(name("key"), &value).unwrap();
        syncs::fail_after(0);
        broken(keys.delete(name("key")));
        syncs::fail_after(0);
        let made = Folder::open(path.join("a")).err().unwrap();
        assert_eq!(made.raw_os_error(), Some(Errno::IO.raw_os_error()));
    }

    #[test]
    fn a_file_system_that_syncs_no_folders_is_served() {
        let temporary = tempfile::tempdir().unwrap();
        syncs::fail_after_with(0, Errno::INVAL);
        sync_folder(temporary.path()).unwrap();
    }
}
