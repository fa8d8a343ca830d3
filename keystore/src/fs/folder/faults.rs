//! Faults of system calls, for tests: a test lets a call of its own thread fail. Also what the
//! thread made durable, and how it was at that moment: after the call nothing tells whether a file
//! was synced, until the power fails.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::fs;
use std::os::fd::AsRawFd;
use std::path::PathBuf;

use rustix::fd::AsFd;
use rustix::io::Errno;

/// A kind of system call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::fs) enum Call {
    CreateFile,
    Link,
    OpenFile,
    OpenFolder,
    Read,
    ReadFolder,
    Rename,
    Stat,
    StatEntry,
    StatOpen,
    SyncFile,
    SyncFolder,
    Unlink,
    Write,
}

/// A file or folder at the moment of its sync.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::fs) enum Synced {
    /// The content of a file.
    File(String),
    /// A folder, and the names in it.
    Folder(PathBuf, BTreeSet<String>),
}

/// Which calls fail.
#[derive(Clone, Copy)]
struct Plan {
    /// How many calls are made before.
    after: usize,
    /// How many fail.
    count: usize,
    errno: Errno,
}

thread_local! {
    static PLAN: Cell<Option<Plan>> = const { Cell::new(None) };
    static MADE: RefCell<Vec<Call>> = const { RefCell::new(Vec::new()) };
    static SYNCED: RefCell<Vec<Synced>> = const { RefCell::new(Vec::new()) };
    /// Whether reads and writes do one byte at a time.
    static SHORT: Cell<bool> = const { Cell::new(false) };
}

/// Is told of a call that is about to be made, and fails it if a test wants that.
pub(super) fn meet(call: Call) -> Result<(), Errno> {
    MADE.with_borrow_mut(|made| made.push(call));
    match PLAN.get() {
        Some(Plan { after: 0, count, errno }) if count > 0 => {
            PLAN.set(Some(Plan { after: 0, count: count - 1, errno }));
            Err(errno)
        }
        Some(plan @ Plan { after, .. }) if after > 0 => {
            PLAN.set(Some(Plan { after: after - 1, ..plan }));
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Lets calls of this thread fail, after some that do not. Forgets which were made.
pub(in crate::fs) fn fail(after: usize, count: usize, errno: Errno) {
    PLAN.set(Some(Plan { after, count, errno }));
    MADE.take();
}

/// Lets no more calls fail. Returns which were made.
pub(in crate::fs) fn end() -> Vec<Call> {
    PLAN.set(None);
    SHORT.set(false);
    MADE.take()
}

/// Lets reads and writes of this thread do one byte at a time.
pub(in crate::fs) fn short() {
    SHORT.set(true);
}

/// What of a buffer a call reads or writes.
pub(super) fn shorten<B: Shorten>(buffer: B) -> B {
    if SHORT.get() { buffer.first_byte() } else { buffer }
}

pub(super) trait Shorten {
    fn first_byte(self) -> Self;
}

impl Shorten for &[u8] {
    fn first_byte(self) -> Self {
        &self[..self.len().min(1)]
    }
}

impl Shorten for &mut [u8] {
    fn first_byte(self) -> Self {
        let len = self.len().min(1);
        &mut self[..len]
    }
}

/// Notes what was synced.
pub(super) fn note(synced: &impl AsFd) {
    let path = format!("/proc/self/fd/{}", synced.as_fd().as_raw_fd());
    let target = fs::read_link(&path).unwrap();
    let synced = if target.is_dir() {
        let entries = fs::read_dir(&target).unwrap();
        Synced::Folder(target, entries.map(|entry| name_of(&entry.unwrap())).collect())
    } else {
        Synced::File(fs::read_to_string(&path).unwrap())
    };
    SYNCED.with_borrow_mut(|noted| noted.push(synced));
}

fn name_of(entry: &fs::DirEntry) -> String {
    entry.file_name().display().to_string()
}

/// What this thread made durable since the last call.
pub(in crate::fs) fn synced() -> Vec<Synced> {
    SYNCED.take()
}
