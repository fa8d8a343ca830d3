//! The system calls on the folder and its files. A call that a signal interrupts is repeated. In
//! tests each of them can be made to fail.

use std::io;

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, Mode, OFlags, RawDir, RawDirEntry, RenameFlags, Stat};
use rustix::path::Arg;

#[cfg(test)]
use super::faults::{self, Call};

/// Makes a call until no signal interrupts it; in tests, unless a test wants it to fail.
macro_rules! call {
    ($call:ident, $work:expr) => {
        rustix::io::retry_on_intr(|| {
            #[cfg(test)]
            faults::meet(Call::$call)?;
            $work
        })
        .map_err(io::Error::from)
    };
}

/// The mode of files with key material.
pub(super) const PRIVATE: Mode = Mode::RUSR.union(Mode::WUSR);

/// Opens a folder to act on what is in it.
pub(super) fn open_folder(at: impl AsFd, path: impl Arg + Copy) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    call!(OpenFolder, rustix::fs::openat(&at, path, flags, Mode::empty()))
}

/// Opens a file to read it. Does not wait for the other end of a named pipe.
pub(super) fn open_file(at: impl AsFd, name: &str) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    call!(OpenFile, rustix::fs::openat(&at, name, flags, Mode::empty()))
}

/// Makes a file that must not exist, to write it.
pub(super) fn create_file(at: impl AsFd, name: &str, mode: Mode) -> io::Result<OwnedFd> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    call!(CreateFile, rustix::fs::openat(&at, name, flags, mode))
}

/// What a path leads to.
pub(super) fn stat(at: impl AsFd, path: impl Arg + Copy) -> io::Result<Stat> {
    call!(Stat, rustix::fs::statat(&at, path, AtFlags::empty()))
}

/// An entry of a folder: of a link the link itself.
pub(super) fn stat_entry(at: impl AsFd, name: &str) -> io::Result<Stat> {
    call!(StatEntry, rustix::fs::statat(&at, name, AtFlags::SYMLINK_NOFOLLOW))
}

/// What an open file or folder is.
pub(super) fn stat_open(file: impl AsFd) -> io::Result<Stat> {
    call!(StatOpen, rustix::fs::fstat(&file))
}

/// Reads some bytes; none at the end.
pub(super) fn read(file: impl AsFd, buffer: &mut [u8]) -> io::Result<usize> {
    #[cfg(test)]
    let buffer = faults::shorten(buffer);
    call!(Read, rustix::io::read(&file, &mut *buffer))
}

/// Writes all bytes.
pub(super) fn write_all(file: impl AsFd, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        #[cfg(test)]
        let piece = faults::shorten(bytes);
        #[cfg(not(test))]
        let piece = bytes;
        match call!(Write, rustix::io::write(&file, piece))? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            written => bytes = bytes.get(written..).unwrap_or_default(),
        }
    }
    Ok(())
}

/// Makes the content of a file durable.
pub(super) fn sync_file(file: impl AsFd) -> io::Result<()> {
    call!(SyncFile, rustix::fs::fsync(&file).inspect(|()| noted(&file)))
}

/// Makes the entries of a folder durable.
pub(super) fn sync_folder(folder: impl AsFd) -> io::Result<()> {
    match call!(SyncFolder, rustix::fs::fsync(&folder).inspect(|()| noted(&folder))) {
        // The answer of a file system that does not support the call on folders.
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
        result => result,
    }
}

/// Renames an entry of a folder, unless the new name is taken.
pub(super) fn rename(at: impl AsFd, from: &str, to: &str) -> io::Result<()> {
    let flags = RenameFlags::NOREPLACE;
    call!(Rename, rustix::fs::renameat_with(&at, from, &at, to, flags))
}

/// Gives a file of a folder a second name, unless that is taken.
pub(super) fn link(at: impl AsFd, from: &str, to: &str) -> io::Result<()> {
    call!(Link, rustix::fs::linkat(&at, from, &at, to, AtFlags::empty()))
}

/// Removes an entry of a folder that is no folder.
pub(super) fn unlink(at: impl AsFd, name: &str) -> io::Result<()> {
    call!(Unlink, rustix::fs::unlinkat(&at, name, AtFlags::empty()))
}

/// The next entry of a folder.
pub(super) fn next_entry<'a, Fd: AsFd>(
    entries: &'a mut RawDir<'_, Fd>,
) -> Option<io::Result<RawDirEntry<'a>>> {
    #[cfg(test)]
    if entries.is_buffer_empty()
        && let Err(error) = faults::meet(Call::ReadFolder)
    {
        return Some(Err(error.into()));
    }
    entries.next().map(|entry| entry.map_err(io::Error::from))
}

/// Tells tests what was made durable.
#[cfg_attr(not(test), expect(clippy::missing_const_for_fn, unused_variables, reason = "for tests"))]
fn noted(synced: &impl AsFd) {
    #[cfg(test)]
    faults::note(synced);
}
