//! Files that a command reads or writes, with errors in the words of the reference.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;

use anyhow::{Result, anyhow, bail};
use zeroize::Zeroizing;

mod staged;

pub(crate) use staged::{Access, begin, is_same, stage};

/// Reads a file that may contain a private key.
///
/// # Errors
/// As `open nope: no such file or directory`.
pub(crate) fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>> {
    let bytes = read_bounded(open(path)?, path, kes_tls::MAX_FILE_LEN)?;
    if bytes.len() > kes_tls::MAX_FILE_LEN {
        bail!("read {}: file is too large", path.display());
    }
    Ok(bytes)
}

/// Reads what may be secret from a file or stream: at most `max` bytes, and one more if there are
/// more, by which its caller finds that it is too large. `path` is its name in errors.
///
/// # Errors
/// As `read nope: is a directory`.
pub(crate) fn read_bounded(opened: File, path: &Path, max: usize) -> Result<Zeroizing<Vec<u8>>> {
    // Allocated at full size, because a buffer that grows leaves an unwiped copy behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(max + 1));
    opened
        .take(u64::try_from(max + 1)?)
        .read_to_end(&mut bytes)
        .map_err(|error| anyhow!(fault("read", path, &error)))?;
    Ok(bytes)
}

/// Opens a file.
///
/// # Errors
/// As [`read`].
pub(crate) fn open(path: &Path) -> Result<File> {
    File::open(path).map_err(|error| anyhow!(fault("open", path, &error)))
}

/// Checks that a file can be opened.
///
/// # Errors
/// As [`read`].
pub(crate) fn check(path: &Path) -> Result<()> {
    open(path).map(drop)
}

/// The same, without opening a pipe, which can be read only once.
pub(crate) fn check_unless_pipe(path: &Path) -> Result<()> {
    if std::fs::metadata(path).is_ok_and(|found| found.file_type().is_fifo()) {
        return Ok(());
    }
    check(path)
}

/// `open nope: no such file or directory`
pub(crate) fn fault(what: &str, path: &Path, error: &io::Error) -> String {
    let reason = error.to_string();
    let reason = reason.split(" (os error").next().unwrap_or(&reason);
    let mut letters = reason.chars();
    let first = letters.next().map(|letter| letter.to_ascii_lowercase());
    format!("{what} {}: {}{}", path.display(), first.unwrap_or_default(), letters.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_file_is_told_as_scripts_know_it() {
        let error = read(Path::new("/nope/none")).unwrap_err();
        assert_eq!(format!("{error:#}"), "open /nope/none: no such file or directory");
    }
}
