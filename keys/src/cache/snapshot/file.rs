//! The file of a snapshot. It is replaced as a whole: whoever reads it finds one of those that were
//! written to their end, whenever the server or the machine stops.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustix::fs::{Mode, OFlags};

/// The largest file in bytes: some 50,000 keys.
pub(super) const MAX_SIZE: usize = 16 << 20;

/// What tells a file from each copy of it: no program can choose either number. `born` is 0 where the
/// file system does not know when a file was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) inode: u64,
    /// Nanoseconds since 1970.
    pub(super) born: u64,
}

impl Mark {
    fn of(file: &File) -> io::Result<Self> {
        let found = file.metadata()?;
        let born = found.created().ok();
        let born = born.and_then(|born| born.duration_since(SystemTime::UNIX_EPOCH).ok());
        let born = born.and_then(|born| u64::try_from(born.as_nanos()).ok()).unwrap_or_default();
        Ok(Self { inode: found.ino(), born })
    }
}

/// A file that is to replace another one; removed if it does not.
pub(super) struct Draft<'a> {
    path: &'a Path,
    temporary: PathBuf,
    file: File,
    is_published: bool,
}

impl<'a> Draft<'a> {
    /// Creates an empty file beside the one at the path, which only the user of the server can read.
    pub(super) fn create(path: &'a Path) -> io::Result<Self> {
        let temporary = temporary(path);
        // Left by a server that was killed.
        remove_if_there(&temporary)?;
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
        Ok(Self { path, temporary, file, is_published: false })
    }

    pub(super) fn mark(&self) -> io::Result<Mark> {
        Mark::of(&self.file)
    }

    /// Writes it, and puts it in the place of the other one. Both are on the disk when this returns.
    pub(super) fn publish(mut self, contents: &[u8]) -> io::Result<()> {
        self.file.write_all(contents)?;
        self.file.sync_all()?;
        fs::rename(&self.temporary, self.path)?;
        self.is_published = true;
        sync_folder(self.path)
    }
}

impl Drop for Draft<'_> {
    fn drop(&mut self) {
        if !self.is_published {
            let _ = fs::remove_file(&self.temporary);
        }
    }
}

/// Reads a file; `None` if there is none.
pub(super) fn read(path: &Path) -> io::Result<Option<(Vec<u8>, Mark)>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file: OwnedFd = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(file) => file,
        Err(rustix::io::Errno::NOENT) => {
            // Without its folder, it may come back with that.
            open_folder(path)?;
            return Ok(None);
        }
        Err(rustix::io::Errno::LOOP) => return Err(io::Error::other("it is a symbolic link")),
        Err(error) => return Err(error.into()),
    };
    let file = File::from(file);
    let found = file.metadata()?;
    if !found.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    let mark = Mark::of(&file)?;
    let most = u64::try_from(MAX_SIZE).unwrap_or(u64::MAX);
    let mut contents = Vec::with_capacity(usize::try_from(found.len().min(most)).unwrap_or(0));
    file.take(most + 1).read_to_end(&mut contents)?;
    if contents.len() > MAX_SIZE {
        return Err(io::Error::other("it is larger than any snapshot"));
    }
    Ok(Some((contents, mark)))
}

/// Removes a file, and what a killed server left beside it. Both are gone from the disk when this
/// returns.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    let removed = [remove_if_there(path), remove_if_there(&temporary(path))];
    removed.into_iter().collect::<io::Result<()>>()?;
    sync_folder(path)
}

/// Removes what a killed server left beside the file.
pub(super) fn remove_left(path: &Path) -> io::Result<()> {
    remove_if_there(&temporary(path))
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        // A folder holds no key of ours.
        Err(error) if error.kind() == io::ErrorKind::IsADirectory => Ok(()),
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// One name, so that what killed servers leave does not grow.
fn temporary(path: &Path) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".new");
    path.with_file_name(name)
}

fn open_folder(path: &Path) -> io::Result<File> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or_else(|| Path::new(".")))
}

fn sync_folder(path: &Path) -> io::Result<()> {
    open_folder(path)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    fn write(path: &Path, text: &[u8]) -> io::Result<Mark> {
        let draft = Draft::create(path)?;
        let mark = draft.mark()?;
        draft.publish(text)?;
        Ok(mark)
    }

    #[test]
    fn a_file_is_replaced_as_a_whole_and_told_from_a_copy() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("snapshot");
        assert!(read(&path).unwrap().is_none());
        // As a killed server leaves it.
        fs::write(temporary(&path), "half").unwrap();
        let first = write(&path, b"one").unwrap();
        assert_eq!(read(&path).unwrap().unwrap(), (b"one".to_vec(), first));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let copy = folder.path().join("copy");
        fs::copy(&path, &copy).unwrap();
        let second = write(&path, b"two").unwrap();
        assert_eq!(read(&path).unwrap().unwrap(), (b"two".to_vec(), second));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "nothing is left beside it");

        fs::rename(&copy, &path).unwrap();
        assert_ne!(read(&path).unwrap().unwrap().1, first);
        fs::write(&path, "two").unwrap();
        assert_ne!(read(&path).unwrap().unwrap().1, second);
        remove(&path).unwrap();
        remove(&path).unwrap();
        assert!(read(&path).unwrap().is_none());
    }

    #[test]
    fn a_draft_that_is_given_up_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        drop(Draft::create(&folder.path().join("snapshot")).unwrap());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        let none = folder.path().join("none/snapshot");
        assert!(Draft::create(&none).is_err() && read(&none).is_err() && remove(&none).is_err());
    }

    #[test]
    fn what_is_no_snapshot_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("snapshot");
        File::create(&path).unwrap().set_len(u64::try_from(MAX_SIZE).unwrap() + 1).unwrap();
        assert_eq!(read(&path).unwrap_err().to_string(), "it is larger than any snapshot");
        let link = folder.path().join("link");
        symlink(&path, &link).unwrap();
        assert_eq!(read(&link).unwrap_err().to_string(), "it is a symbolic link");
        assert_eq!(read(folder.path()).unwrap_err().to_string(), "it is no regular file");
    }
}
