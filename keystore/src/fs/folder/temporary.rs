use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustix::fs::{Dir, FileType, Mode, Stat};
use rustix::io::Errno;

use super::bound::Bound;
use super::sys;

/// The names of unfinished files start with this. The name of a key has no `.`.
const TEMPORARY: &str = ".new-";

/// An unfinished file that is older than this was left by a server that crashed. Well above the time
/// that a create waits for a slow disk, and the difference between the clocks of two machines.
const STALE: Duration = Duration::from_secs(60 * 60);

/// Whether a file has the name of an unfinished one.
pub(super) fn is_temporary(name: &str) -> bool {
    name.starts_with(TEMPORARY)
}

/// A file that is to become a key or the marker; removed when dropped.
pub(super) struct Temporary<'a> {
    folder: &'a Bound,
    pub(super) name: String,
    renamed: bool,
}

impl<'a> Temporary<'a> {
    /// Writes a file under a name that no key can have, and syncs it.
    pub(super) fn write(folder: &'a Bound, bytes: &[u8], mode: Mode) -> io::Result<Self> {
        // Random, because servers on several machines may share the folder and a process ID.
        let mut random = [0; 16];
        kes_crypto::random::fill(&mut random);
        let name = format!("{TEMPORARY}{:032x}", u128::from_ne_bytes(random));
        let file = sys::create_file(&folder.handle, &name, mode)?;
        let temporary = Self { folder, name, renamed: false };
        sys::write_all(&file, bytes)?;
        sys::sync_file(&file)?;
        Ok(temporary)
    }

    /// Gives the file its name, unless that is taken.
    pub(super) fn publish(mut self, name: &str) -> io::Result<()> {
        let renamed = sys::rename(&self.folder.handle, &self.name, name);
        match renamed.as_ref().err().map(Errno::from_io_error) {
            None => {
                self.renamed = true;
                Ok(())
            }
            // Some file systems do not support it, such as NFS.
            Some(Some(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP)) => self.link(name),
            Some(_) => renamed,
        }
    }

    /// The same in two steps: with either name alone, or with both, the file is whole.
    pub(super) fn link(self, name: &str) -> io::Result<()> {
        sys::link(&self.folder.handle, &self.name, name)
    }
}

impl Drop for Temporary<'_> {
    fn drop(&mut self) {
        if !self.renamed {
            remove_unfinished(self.folder, &self.name);
        }
    }
}

fn remove_unfinished(folder: &Bound, name: &str) {
    if let Err(error) = sys::unlink(&folder.handle, name) {
        tracing::warn!(
            "key store: {}: cannot remove unfinished file '{name}', which holds key material: \
             {error}",
            super::super::KIND
        );
    }
}

/// The entries of a folder that were not searched yet. An unfinished file holds key material.
pub(in crate::fs) struct Entries {
    folder: Arc<Bound>,
    left: Dir,
}

impl Entries {
    pub(super) fn of(folder: Arc<Bound>) -> io::Result<Self> {
        let left = Dir::new(sys::open_folder(&folder.handle, c".")?)?;
        Ok(Self { folder, left })
    }

    /// Removes unfinished and stale files among the next `count` entries. Returns the entries that
    /// remain, if any.
    pub(in crate::fs) fn remove_stale(mut self, count: usize) -> Option<Self> {
        for _ in 0..count {
            let entry = match self.left.read()? {
                Ok(entry) => entry,
                Err(error) => {
                    let error = io::Error::from(error);
                    tracing::warn!(
                        "cannot look for unfinished files, which hold key material: {error}"
                    );
                    return None;
                }
            };
            let Ok(name) = entry.file_name().to_str() else { continue };
            if is_temporary(name)
                && sys::stat_entry(&self.folder.handle, name).is_ok_and(|found| is_stale(&found))
            {
                remove_unfinished(&self.folder, name);
            }
        }
        Some(self)
    }
}

/// Whether a file is old. A time in the future comes from another clock.
fn is_stale(found: &Stat) -> bool {
    let is_file = FileType::from_raw_mode(found.st_mode) == FileType::RegularFile;
    let modified = u64::try_from(found.st_mtime).unwrap_or(0);
    let modified = SystemTime::UNIX_EPOCH + Duration::from_secs(modified);
    is_file && modified.elapsed().is_ok_and(|age| age > STALE)
}
