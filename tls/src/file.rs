//! Bounded reads of files that may hold a private key.

use std::fs::{File, FileType, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::Path;

use rustix::fs::OFlags;
use rustix::io::Errno;

use zeroize::Zeroizing;

use crate::MAX_FILE_LEN;
use crate::error::Fault;

/// Opens a file of a configuration to read it. It has to be a regular file, or a link to one: whoever
/// opens a named pipe waits for its other end, and what a device does is not known.
///
/// # Errors
/// As of the system; for another kind of entry, which one it is.
pub fn open_file(path: &Path) -> io::Result<File> {
    // Looked at before it is opened, because opening may wait or have an effect.
    regular(std::fs::metadata(path)?.file_type())?;
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path)?;
    // It may have been replaced since.
    regular(file.metadata()?.file_type())?;
    Ok(file)
}

fn regular(kind: FileType) -> io::Result<()> {
    if kind.is_file() {
        return Ok(());
    }
    if kind.is_dir() {
        return Err(Errno::ISDIR.into());
    }
    let what = if kind.is_fifo() {
        "it is a pipe"
    } else if kind.is_socket() {
        "it is a socket"
    } else {
        "it is a device"
    };
    let text = format!("{what}; put a regular file, or a link to one, in its place");
    Err(io::Error::new(io::ErrorKind::InvalidInput, text))
}

/// The whole file of a configuration, in a buffer that is wiped.
pub(crate) fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, Fault> {
    whole(open_file(path))
}

/// The same for a file that a person names, which may be a pipe.
pub(crate) fn read_any(path: &Path) -> Result<Zeroizing<Vec<u8>>, Fault> {
    whole(File::open(path))
}

fn whole(opened: io::Result<File>) -> Result<Zeroizing<Vec<u8>>, Fault> {
    opened
        .and_then(read_to_limit)
        .map_err(|error| Fault::Read { error })
        .and_then(|bytes| if bytes.len() > MAX_FILE_LEN { Err(Fault::TooLarge) } else { Ok(bytes) })
}

/// Reads at most one byte more than the limit, to detect a file that is too large.
fn read_to_limit(file: File) -> io::Result<Zeroizing<Vec<u8>>> {
    const LIMIT: u64 = MAX_FILE_LEN as u64 + 1;

    let metadata = file.metadata()?;
    let len = if metadata.is_file() { LIMIT.min(metadata.len() + 1) } else { LIMIT };
    // Allocated at full size: a buffer that grows leaves an unwiped copy behind. The length of a
    // pipe is not known.
    let capacity = usize::try_from(len).unwrap_or(MAX_FILE_LEN);
    let mut bytes = Zeroizing::new(Vec::with_capacity(capacity));
    file.take(LIMIT).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    use rustix::fs::{CWD, FileType, Mode};

    use super::*;

    #[test]
    fn what_is_no_regular_file_is_refused_and_never_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("file"), "text").unwrap();
        rustix::fs::mknodat(CWD, path("pipe"), FileType::Fifo, Mode::RWXU, 0).unwrap();
        let _socket = UnixListener::bind(path("socket")).unwrap();
        for name in ["file", "pipe"] {
            symlink(name, path(&format!("link-to-{name}"))).unwrap();
        }
        for name in ["file", "link-to-file"] {
            assert_eq!(read(&path(name)).unwrap().as_slice(), b"text");
        }
        for (name, text) in [
            ("pipe", "it is a pipe; put a regular file, or a link to one, in its place"),
            ("link-to-pipe", "it is a pipe"),
            ("socket", "it is a socket"),
            ("/dev/null", "it is a device"),
            (".", "Is a directory"),
        ] {
            let error = open_file(&path(name)).unwrap_err().to_string();
            assert!(error.starts_with(text), "{name}: {error}");
        }
    }
}
