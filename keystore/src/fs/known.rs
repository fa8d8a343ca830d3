use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use rustix::fd::OwnedFd;

use super::folder::Known;
use super::lock::{FolderLock, Locks};

/// The key folders that a server has opened since its start, by their paths. A folder that is opened
/// again must be the same one, or a copy with its marker: a reload does not take an empty mount point
/// for a key store that had keys. It has an entry for each path that the configuration has named.
#[derive(Default)]
pub struct KnownFolders {
    known: Mutex<BTreeMap<PathBuf, Known>>,
    locks: Arc<Locks>,
}

impl KnownFolders {
    pub(super) fn get(&self, path: &Path) -> Option<Known> {
        self.known.lock().get(&absolute(path)).copied()
    }

    pub(super) fn insert(&self, path: &Path, known: Known) {
        self.known.lock().insert(absolute(path), known);
    }

    /// The locks of the open folders, for a process that takes over from this one: each is an open file,
    /// and a process that has it as well has the lock.
    pub fn locks_to_pass_on(&self) -> Vec<Arc<FolderLock>> {
        self.locks.held()
    }

    /// Takes over the locks of the process that this one takes over from.
    pub fn inherit(&self, locks: Vec<OwnedFd>) {
        self.locks.inherit(locks);
    }

    /// Gives up the locks that were taken over and are those of no open folder.
    pub fn end_inheritance(&self) {
        self.locks.end_inheritance();
    }

    pub(super) fn locks(&self) -> Arc<Locks> {
        Arc::clone(&self.locks)
    }
}

/// So that `keys` and `./keys` are one path.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}
