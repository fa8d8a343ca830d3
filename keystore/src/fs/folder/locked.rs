use std::sync::Arc;

use parking_lot::Mutex;

use super::Folder;
use super::bound::Bound;
use super::marker::MARKER;
use crate::fs::lock::{FolderLock, Locks, NoLock};

/// The lock of a folder, and where it was taken from.
pub(super) struct Locked {
    lock: Mutex<Arc<FolderLock>>,
    locks: Arc<Locks>,
}

impl Folder {
    /// Locks the folder for this process, until the last store of it that the process has is
    /// dropped. A folder that has no marker because nobody can write it needs no lock: it is only
    /// read.
    pub(in crate::fs) fn lock(&self, locks: Arc<Locks>) -> Result<(), NoLock> {
        let bound = self.bound.load();
        if bound.marker.is_some() {
            let lock = Mutex::new(locks.lock(&bound.handle, MARKER)?);
            let _ = self.lock.set(Locked { lock, locks });
        }
        Ok(())
    }

    /// The same folder was opened again: its file system may know nothing of the lock.
    pub(super) fn renew_lock(&self, found: &Bound) {
        if let Some(Locked { lock, locks }) = self.lock.get()
            && let Ok(renewed) = locks.lock(&found.handle, MARKER)
        {
            *lock.lock() = renewed;
        }
    }
}
