//! Files that a command reads or writes, with errors in the words of the reference.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, bail};
use zeroize::Zeroizing;

/// Who may read a file that is written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Only the owner.
    Private,
    /// Everybody.
    Public,
}

impl Access {
    fn mode(self) -> u32 {
        match self {
            Self::Private => 0o600,
            Self::Public => 0o644,
        }
    }
}

/// Reads a file that may contain a private key.
///
/// # Errors
/// As `open nope: no such file or directory`.
pub(crate) fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>> {
    let file = File::open(path).map_err(|error| anyhow!(fault("open", path, &error)))?;
    // Allocated at full size, because a buffer that grows leaves an unwiped copy behind; one byte
    // above the limit, to detect a larger file.
    let mut bytes = Zeroizing::new(Vec::with_capacity(kes_tls::MAX_FILE_LEN + 1));
    file.take(u64::try_from(kes_tls::MAX_FILE_LEN + 1)?)
        .read_to_end(&mut bytes)
        .map_err(|error| anyhow!(fault("read", path, &error)))?;
    if bytes.len() > kes_tls::MAX_FILE_LEN {
        bail!("read {}: file is too large", path.display());
    }
    Ok(bytes)
}

/// Checks that a file can be opened.
///
/// # Errors
/// As [`read`].
pub(crate) fn check(path: &Path) -> Result<()> {
    File::open(path).map(drop).map_err(|error| anyhow!(fault("open", path, &error)))
}

/// Writes a file; an existing one only with `overwrite`. An existing file is replaced by a new one
/// instead of being written to: its owner, or a process that has it open, cannot read the new
/// content, and a link is replaced, not followed.
///
/// # Errors
/// As [`read`].
pub(crate) fn write(path: &Path, bytes: &[u8], access: Access, overwrite: bool) -> Result<()> {
    let replaces = overwrite
        && fs::symlink_metadata(path).is_ok_and(|found| found.is_file() || found.is_symlink());
    if replaces {
        return replace(path, bytes, access);
    }
    let mut options = OpenOptions::new();
    options.write(true).mode(access.mode());
    if overwrite && path.exists() {
        // A device or a pipe, such as /dev/stdout.
        options.truncate(false);
    } else {
        options.create_new(true);
    }
    let mut file = options.open(path).map_err(|error| anyhow!(fault("open", path, &error)))?;
    fill(&mut file, path, bytes)
}

/// Writes a new file beside the old one and renames it over that.
fn replace(path: &Path, bytes: &[u8], access: Access) -> Result<()> {
    let (beside, mut file) = create_beside(path, access)?;
    let result = fill(&mut file, &beside, bytes).and_then(|()| {
        fs::rename(&beside, path).map_err(|error| anyhow!(fault("replace", path, &error)))
    });
    if result.is_err() {
        // Leave no private key behind.
        let _ = fs::remove_file(&beside);
    }
    result
}

/// Creates a file in the same folder under an unused name.
fn create_beside(path: &Path, access: Access) -> Result<(PathBuf, File)> {
    /// How many names are tried. More leftover files of one process are not an accident.
    const TRIES: u32 = 100;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let mut last = None;
    for number in 0..TRIES {
        let beside = path.with_file_name(format!(".{name}.{}-{number}", std::process::id()));
        let mut options = OpenOptions::new();
        match options.write(true).create_new(true).mode(access.mode()).open(&beside) {
            Ok(file) => return Ok((beside, file)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => last = Some(error),
            Err(error) => bail!(fault("create", &beside, &error)),
        }
    }
    bail!(fault("replace", path, &last.unwrap_or_else(|| io::ErrorKind::AlreadyExists.into())))
}

fn fill(file: &mut File, path: &Path, bytes: &[u8]) -> Result<()> {
    file.write_all(bytes)
        // A device or a pipe cannot be synchronised.
        .and_then(|()| match file.metadata()?.is_file() {
            true => file.sync_all(),
            false => Ok(()),
        })
        .map_err(|error| anyhow!(fault("write", path, &error)))
        .with_context(|| format!("failed to write {}", path.display()))
}

/// `open nope: no such file or directory`
fn fault(what: &str, path: &Path, error: &io::Error) -> String {
    let reason = error.to_string();
    let reason = reason.split(" (os error").next().unwrap_or(&reason);
    let mut letters = reason.chars();
    let first = letters.next().map(|letter| letter.to_ascii_lowercase());
    format!("{what} {}: {}{}", path.display(), first.unwrap_or_default(), letters.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_file_is_overwritten_only_if_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        write(&path, b"one", Access::Private, false).unwrap();
        let error = write(&path, b"two", Access::Private, false).unwrap_err();
        assert_eq!(format!("{error:#}"), format!("open {}: file exists", path.display()));
        assert_eq!(**read(&path).unwrap(), *b"one");
        write(&path, b"two", Access::Private, true).unwrap();
        assert_eq!(**read(&path).unwrap(), *b"two");
    }

    #[test]
    fn a_private_file_is_the_owners_alone_even_if_it_was_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        fs::write(&path, "").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        write(&path, b"secret", Access::Private, true).unwrap();
        assert_eq!(mode(&path), 0o600);
    }

    #[test]
    fn who_held_the_old_file_gets_nothing_of_the_new_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        fs::write(&path, "old").unwrap();
        let mut held = File::open(&path).unwrap();
        write(&path, b"secret", Access::Private, true).unwrap();
        let mut text = String::new();
        held.read_to_string(&mut text).unwrap();
        assert_eq!(text, "old");
        assert_eq!(**read(&path).unwrap(), *b"secret");

        // A link is replaced, and what it leads to stays.
        let (link, target) = (folder.path().join("link"), folder.path().join("target"));
        fs::write(&target, "precious").unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        write(&link, b"secret", Access::Private, true).unwrap();
        assert_eq!(fs::read_to_string(&target).unwrap(), "precious");
        assert!(fs::symlink_metadata(&link).unwrap().is_file());
        let error = write(&target.join("x"), b"", Access::Public, true).unwrap_err();
        assert!(format!("{error:#}").contains("target/x"), "{error:#}");

        // Nothing but these three files is left, and a device stays a device.
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3);
        write(Path::new("/dev/null"), b"secret", Access::Public, true).unwrap();
        assert!(!fs::symlink_metadata("/dev/null").unwrap().is_file());
    }

    #[test]
    fn a_missing_file_is_told_as_scripts_know_it() {
        let error = read(Path::new("/nope/none")).unwrap_err();
        assert_eq!(format!("{error:#}"), "open /nope/none: no such file or directory");
    }
}
