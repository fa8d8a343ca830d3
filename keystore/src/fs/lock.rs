//! The lock that keeps a folder for one server. Each server has its own memory of keys and its own
//! order of changes: two on one folder would go on to use keys that the other one has deleted or
//! replaced.
//!
//! The lock is on the marker of the folder (flock(2)), and belongs to the open file: it ends with the
//! process, however that ends. A server that hands over passes the open file on, so that the new
//! process has the lock as well, and nobody else can get it in between.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{FlockOperation, Mode, OFlags, Stat, major, minor};
use rustix::io::Errno;

/// The locks that a process has. A folder that it opens again, at a reload, has the same lock.
#[derive(Default)]
pub(super) struct Locks {
    held: Mutex<HashMap<Place, Weak<FolderLock>>>,
    /// Those of the process that this one takes over from, until its folder is open.
    inherited: Mutex<Vec<Arc<FolderLock>>>,
}

/// Device and inode of a marker.
type Place = (u64, u64);

/// The lock of a folder, until it is dropped.
pub struct FolderLock {
    marker: OwnedFd,
}

impl AsFd for FolderLock {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.marker.as_fd()
    }
}

/// Why a folder was not locked.
#[derive(Debug)]
pub(super) enum NoLock {
    /// Another process has the lock; which one, if the system tells.
    Taken { process: Option<u32> },
    /// Whoever else may use it is not known: its file system has no locks, or the marker cannot be
    /// opened.
    Failed(io::Error),
}

impl Locks {
    /// Locks an open folder by its marker, a file in it.
    pub(super) fn lock(&self, folder: &OwnedFd, marker: &str) -> Result<Arc<FolderLock>, NoLock> {
        let marker = open_marker(folder, marker)?;
        let stat = rustix::fs::fstat(&marker)?;
        let mut locks = self.held.lock();
        locks.retain(|_, lock| lock.strong_count() > 0);
        if let Some(lock) = locks.get(&(stat.st_dev, stat.st_ino)).and_then(Weak::upgrade) {
            return Ok(lock);
        }
        lock_marker(&mut locks, marker, &stat)
    }

    /// All that this process has.
    pub(super) fn held(&self) -> Vec<Arc<FolderLock>> {
        self.held.lock().values().filter_map(Weak::upgrade).collect()
    }

    /// Takes over locks of another process, each as the open file that has it. What is no lock is left
    /// out: its folder is locked as any other then.
    pub(super) fn inherit(&self, markers: Vec<OwnedFd>) {
        let mut locks = self.held.lock();
        let lock = |marker: OwnedFd| {
            let stat = rustix::fs::fstat(&marker).ok()?;
            // The open file has the lock already, so that this changes nothing.
            lock_marker(&mut locks, marker, &stat).ok()
        };
        self.inherited.lock().extend(markers.into_iter().filter_map(lock));
    }

    /// Gives up what was inherited and is the lock of no open folder.
    pub(super) fn end_inheritance(&self) {
        self.inherited.lock().clear();
    }
}

fn lock_marker(
    locks: &mut HashMap<Place, Weak<FolderLock>>,
    marker: OwnedFd,
    stat: &Stat,
) -> Result<Arc<FolderLock>, NoLock> {
    let exclusive = FlockOperation::NonBlockingLockExclusive;
    match rustix::io::retry_on_intr(|| rustix::fs::flock(&marker, exclusive)) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => return Err(NoLock::Taken { process: holder(stat) }),
        Err(error) => return Err(error.into()),
    }
    let lock = Arc::new(FolderLock { marker });
    locks.insert((stat.st_dev, stat.st_ino), Arc::downgrade(&lock));
    Ok(lock)
}

impl From<Errno> for NoLock {
    fn from(error: Errno) -> Self {
        Self::Failed(error.into())
    }
}

/// Opens the marker to lock it. On NFS the lock of one server alone is for files that are open for
/// writing.
fn open_marker(folder: &OwnedFd, name: &str) -> Result<OwnedFd, Errno> {
    let open = |access| {
        let flags = access | OFlags::NONBLOCK | OFlags::CLOEXEC;
        rustix::io::retry_on_intr(|| rustix::fs::openat(folder, name, flags, Mode::empty()))
    };
    open(OFlags::RDWR).or_else(|_| open(OFlags::RDONLY))
}

/// The process that has the lock of a file, as far as the system tells. It tells the one that has
/// locked the file, which may have passed the lock on and ended.
fn holder(file: &Stat) -> Option<u32> {
    let locks = std::fs::read_to_string("/proc/locks").ok()?;
    let place = format!("{:02x}:{:02x}:{}", major(file.st_dev), minor(file.st_dev), file.st_ino);
    holder_in(&locks, &place).filter(|id| Path::new("/proc").join(id.to_string()).exists())
}

/// A line is `1: FLOCK  ADVISORY  WRITE 712 fd:01:523 0 EOF` (proc_locks(5)).
fn holder_in(locks: &str, file: &str) -> Option<u32> {
    locks.lines().find_map(|line| {
        let mut words = line.split_ascii_whitespace().skip(1);
        if words.next()? != "FLOCK" {
            return None;
        }
        let (process, place) = (words.nth(2)?, words.next()?);
        process.parse().ok().filter(|process| place == file && *process != 0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_with_a_lock_is_found_among_the_locks_of_the_machine() {
        let locks = "1: POSIX  ADVISORY  WRITE 11 fd:01:523 0 EOF\n\
                     2: FLOCK  ADVISORY  WRITE 12 fd:02:523 0 EOF\n\
                     2: -> FLOCK  ADVISORY  WRITE 13 fd:01:523 0 EOF\n\
                     3: FLOCK  ADVISORY  WRITE 14 fd:01:523 0 EOF\n\
                     4: FLOCK  ADVISORY  WRITE 0 fd:01:524 0 EOF\n";
        assert_eq!(holder_in(locks, "fd:01:523"), Some(14));
        assert_eq!(holder_in(locks, "fd:01:524"), None, "a process of another namespace");
        assert_eq!(holder_in(locks, "fd:01:525"), None);
    }
}
