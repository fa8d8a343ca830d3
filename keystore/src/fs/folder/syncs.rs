//! What a thread made durable, and how it was at that moment. After the call nothing tells whether a
//! file was synced: a test sees the same content either way, until the power fails.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

/// A file or folder at the moment of its sync.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Synced {
    /// The content of a file.
    File(String),
    /// A folder, and the names in it.
    Folder(PathBuf, BTreeSet<String>),
}

thread_local! {
    static NOTED: RefCell<Vec<Synced>> = const { RefCell::new(Vec::new()) };
    /// After how many syncs one fails, and how.
    static FAILURE: Cell<Option<(usize, Errno)>> = const { Cell::new(None) };
}

/// Notes a sync that is about to happen, or fails it.
pub(super) fn note(path: &Path) -> io::Result<()> {
    match FAILURE.take() {
        Some((0, errno)) => return Err(errno.into()),
        Some((left, errno)) => FAILURE.set(Some((left - 1, errno))),
        None => {}
    }
    let synced = if path.is_dir() {
        let entries = fs::read_dir(path)?;
        let names = entries.map(|entry| Ok(entry?.file_name().display().to_string()));
        Synced::Folder(path.to_owned(), names.collect::<io::Result<_>>()?)
    } else {
        Synced::File(fs::read_to_string(path)?)
    };
    NOTED.with_borrow_mut(|noted| noted.push(synced));
    Ok(())
}

/// What this thread made durable since the last call.
pub(super) fn take() -> Vec<Synced> {
    NOTED.take()
}

/// Lets a sync of this thread fail once, after `count` that do not.
pub(super) fn fail_after(count: usize) {
    fail_after_with(count, Errno::IO);
}

/// The same, with an error of the test's choice.
pub(super) fn fail_after_with(count: usize, errno: Errno) {
    FAILURE.set(Some((count, errno)));
}
