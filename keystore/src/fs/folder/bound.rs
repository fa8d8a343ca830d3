use std::ffi::CStr;
use std::io;
use std::path::Path;

use rustix::fd::OwnedFd;
use rustix::fs::{CWD, FileType, RawDir, Stat};

use super::marker::Marker;
use super::sys;

/// The bytes of entries that are read from a folder with one call.
const ENTRIES: usize = 64 * 1024;

/// A folder that is open. Whatever its path leads to later, all calls act on this folder. Its device
/// and inode belong to no other folder as long as it is open.
pub(super) struct Bound {
    pub(super) handle: OwnedFd,
    place: Place,
    pub(super) marker: Option<Marker>,
}

/// Device and inode.
pub(super) type Place = (u64, u64);

impl Bound {
    /// Opens the folder that a path leads to, and reads its marker.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let handle = sys::open_folder(CWD, path)?;
        let place = place(&sys::stat_open(&handle)?);
        let marker = Marker::read(&handle)?;
        Ok(Self { handle, place, marker })
    }

    pub(super) const fn place(&self) -> Place {
        self.place
    }

    /// Whether something is this folder.
    pub(super) fn is(&self, found: &Stat) -> bool {
        self.place == place(found)
    }

    /// Whether another open folder is this one: the same, or the same of a file system that was
    /// mounted again. A copy is not: its marker is another file.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        let same_inode = self.place.1 == other.place.1;
        let same_marker = self.marker.is_some() && self.marker == other.marker;
        // A file system may give a folder another inode number while it is open.
        let is_open = || sys::stat_open(&self.handle).is_ok_and(|found| other.is(&found));
        self.place == other.place || same_inode && same_marker || is_open()
    }

    /// As [`Bound::all_entries`]. Names that are not text are no names of keys, and are left out.
    pub(super) fn entries(
        &self,
        mut next: impl FnMut(&str, FileType) -> io::Result<bool>,
    ) -> io::Result<()> {
        self.all_entries(|name, kind| match name.to_str() {
            Ok(name) => next(name, kind),
            Err(_) => Ok(true),
        })
    }

    /// Gives the entries to a function until it returns false, without `.` and `..`.
    pub(super) fn all_entries(
        &self,
        mut next: impl FnMut(&CStr, FileType) -> io::Result<bool>,
    ) -> io::Result<()> {
        // A handle of its own: a listing changes the position of the one it reads.
        let handle = sys::open_folder(&self.handle, c".")?;
        let mut buffer = Vec::with_capacity(ENTRIES);
        let mut entries = RawDir::new(handle, buffer.spare_capacity_mut());
        while let Some(entry) = sys::next_entry(&mut entries) {
            let entry = match entry {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                entry => entry?,
            };
            let name = entry.file_name();
            if name != c"." && name != c".." && !next(name, entry.file_type())? {
                break;
            }
        }
        Ok(())
    }
}

pub(super) fn place(found: &Stat) -> Place {
    (found.st_dev, found.st_ino)
}

#[cfg(test)]
impl Bound {
    /// As if the folder had had another device and inode when it was opened.
    pub(super) fn renumber(&mut self, place: Place) {
        self.place = place;
    }
}
