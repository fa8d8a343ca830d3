//! Files that a command reads or writes, with the contract's words for what goes wrong.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use anyhow::{Context as _, Result, anyhow, bail};
use zeroize::Zeroizing;

/// Who may read a file that is written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// The owner alone.
    Private,
    /// Everybody.
    Public,
}

/// Reads a file that may hold a private key.
///
/// # Errors
/// As `open nope: no such file or directory`.
pub(crate) fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>> {
    let file = File::open(path).map_err(|error| anyhow!(fault("open", path, &error)))?;
    // Reserved whole at first, one byte over the limit to see that a file goes beyond: a buffer
    // that grows leaves an unwiped copy behind.
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

/// Writes a file; one that exists only if `overwrite` says so.
///
/// # Errors
/// As [`read`].
pub(crate) fn write(path: &Path, bytes: &[u8], access: Access, overwrite: bool) -> Result<()> {
    let mode = match access {
        Access::Private => 0o600,
        Access::Public => 0o644,
    };
    let mut options = OpenOptions::new();
    options.write(true).mode(mode);
    if overwrite {
        options.create(true).truncate(true);
    } else {
        options.create_new(true);
    }
    let mut file = options.open(path).map_err(|error| anyhow!(fault("open", path, &error)))?;
    if access == Access::Private {
        // A file that stood there may be open to all.
        fs::set_permissions(path, fs::Permissions::from_mode(mode))
            .map_err(|error| anyhow!(fault("chmod", path, &error)))?;
    }
    file.write_all(bytes)
        .and_then(|()| file.sync_all())
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
    fn a_missing_file_is_told_as_scripts_know_it() {
        let error = read(Path::new("/nope/none")).unwrap_err();
        assert_eq!(format!("{error:#}"), "open /nope/none: no such file or directory");
    }
}
