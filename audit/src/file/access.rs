use std::fs::{File, Metadata, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, FlockOperation, OFlags};
use rustix::process::geteuid;

use crate::segment::{beside, folder_of};

/// Why a file is not written.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The system does not let it.
    #[error("'{}': {reason}", path.display())]
    System {
        /// What of.
        path: PathBuf,
        /// Why.
        reason: io::Error,
    },
    /// Others could change what is written.
    #[error("'{}' {what}", path.display())]
    Unsafe {
        /// The file or its folder.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// It has other contents.
    #[error("'{}' is not an audit file of kes: {what}; name another file, or move this one away", path.display())]
    Other {
        /// The file.
        path: PathBuf,
        /// How that is known.
        what: &'static str,
    },
}

impl OpenError {
    pub(crate) fn system(path: &Path) -> impl Fn(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |reason| Self::System { path: path.clone(), reason }
    }
}

/// Checks the folder of a file: nobody but root and this process may replace what is in it.
pub(super) fn check_folder(path: &Path) -> Result<(), OpenError> {
    let folder = folder_of(path);
    let found = std::fs::metadata(folder).map_err(OpenError::system(folder))?;
    let refuse = |what: String| Err(OpenError::Unsafe { path: folder.to_owned(), what });
    if !found.is_dir() {
        return refuse("is no folder".to_owned());
    }
    if !is_trusted(&found) {
        let user = found.uid();
        return refuse(format!("belongs to user {user}, who could replace the audit file in it"));
    }
    // In a sticky folder nobody else may rename or remove a file.
    if found.mode() & 0o002 != 0 && found.mode() & 0o1000 == 0 {
        return refuse(
            "may be written by everybody, who could replace the audit file in it".to_owned(),
        );
    }
    Ok(())
}

/// Opens the file to add to it; `None` if there is none.
pub(super) fn open(path: &Path) -> Result<Option<File>, OpenError> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    let opened = OpenOptions::new()
        .read(true)
        .append(true)
        .custom_flags(flags.bits().cast_signed())
        .open(path);
    let file = match opened {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => {
            let what = "is a symbolic link; name the file itself".to_owned();
            return Err(OpenError::Unsafe { path: path.to_owned(), what });
        }
        Err(error) => return Err(OpenError::system(path)(error)),
    };
    let found = file.metadata().map_err(OpenError::system(path))?;
    let refuse = |what: String| Err(OpenError::Unsafe { path: path.to_owned(), what });
    if !found.is_file() {
        return refuse("is no regular file".to_owned());
    }
    if !is_trusted(&found) {
        return refuse(format!("belongs to user {}, who could change it", found.uid()));
    }
    if found.mode() & 0o022 != 0 {
        let mode = found.mode() & 0o777;
        return refuse(format!(
            "has mode {mode:03o}, with which others could change it; make it 0600"
        ));
    }
    Ok(Some(file))
}

/// Root may check what belongs to the user of a server.
fn is_trusted(found: &Metadata) -> bool {
    let own = geteuid();
    found.uid() == 0 || found.uid() == own.as_raw() || own.is_root()
}

/// Whether files can be made in the folder of a file.
pub(super) fn check_writable(path: &Path) -> Result<(), OpenError> {
    let folder = folder_of(path);
    rustix::fs::access(folder, Access::WRITE_OK | Access::EXEC_OK)
        .map_err(|error| OpenError::system(folder)(error.into()))
}

/// Locks the file: no two processes write it. `None` while another one does.
pub(super) fn lock(path: &Path) -> Result<Option<File>, OpenError> {
    let path = beside(path, "lock");
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let lock = OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(flags.bits().cast_signed())
        .open(&path)
        .map_err(OpenError::system(&path))?;
    match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(lock)),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(OpenError::system(&path)(error.into())),
    }
}

/// Makes a file that only this process has, in place of one that an earlier process has left. Its
/// group may read it if it may read `like`.
pub(super) fn create(path: &Path, like: Option<&Metadata>) -> io::Result<File> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let file =
        OpenOptions::new().read(true).append(true).create_new(true).mode(0o600).open(path)?;
    if let Some(like) = like {
        let mode = 0o600 | like.mode() & 0o040;
        file.set_permissions(Permissions::from_mode(mode))?;
    }
    Ok(file)
}

/// Puts bytes in the place of a file, by way of another one.
pub(super) fn replace(new: &Path, path: &Path, bytes: &[u8], like: &Metadata) -> io::Result<()> {
    let mut file = create(new, Some(like))?;
    file.write_all(bytes)?;
    std::fs::rename(new, path)
}

/// Has the disk take the names in the folder of a file.
pub(super) fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(folder_of(path))?.sync_all()
}

/// Whether both are of one file, under whichever names.
pub(super) fn is_same(one: &Metadata, other: &Metadata) -> bool {
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}
