//! Values that are secret or long. Everybody on the machine sees the arguments of a process, so
//! that a value may also come from standard input (`-`) or from a file (`--file`).

use std::fs::File;
use std::io::{self, IsTerminal as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use zeroize::Zeroizing;

use crate::error::usage;
use crate::insiders::Insiders;
use crate::output::warning;
use crate::{file, password};

/// The argument that stands for standard input.
pub(crate) const STDIN: &str = "-";

/// The most bytes of a value: no request has more.
const MAX_LEN: usize = 1_000_000;

/// Where a value comes from.
pub(crate) enum Source {
    /// The command line has it.
    Argument(Zeroizing<String>),
    /// Standard input.
    Stdin,
    /// A file.
    File(PathBuf),
}

/// Whether others may read a file with a value.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Secrecy {
    /// They may: it is a ciphertext, for example.
    Public,
    /// They may not, and a warning says so.
    Secret,
}

impl Source {
    /// The source that a command line names; `None` if it names none.
    ///
    /// # Errors
    /// If it names two.
    pub(crate) fn of(
        argument: Option<String>,
        file: Option<PathBuf>,
        command: &str,
    ) -> Result<Option<Self>> {
        let argument = argument.map(Zeroizing::new);
        Ok(Some(match (argument, file) {
            (None, None) => return Ok(None),
            (Some(_), Some(_)) => {
                return Err(usage("both an argument and --file are specified", command));
            }
            (Some(text), None) if text.as_str() == STDIN => Self::Stdin,
            (None, Some(path)) if path.as_os_str() == STDIN => Self::Stdin,
            (Some(text), None) => Self::Argument(text),
            (None, Some(path)) => Self::File(path),
        }))
    }

    /// The value, without one line break at the end of standard input or of the file. `what` is
    /// what a person is asked for at a terminal, such as `key in base64`.
    ///
    /// # Errors
    /// If it cannot be read or has more than a million bytes.
    pub(crate) fn read(self, what: &str, secrecy: Secrecy) -> Result<Zeroizing<Vec<u8>>> {
        match self {
            Self::Argument(text) => Ok(Zeroizing::new(text.as_bytes().to_vec())),
            Self::Stdin if io::stdin().is_terminal() => password::hidden(what),
            Self::Stdin => {
                const NAME: &str = "standard input";
                // The standard library's own buffer would keep a copy.
                let stdin = io::stdin().as_fd().try_clone_to_owned();
                let stdin = File::from(stdin.with_context(|| format!("failed to read {NAME}"))?);
                bounded(stdin, Path::new(NAME))
            }
            Self::File(path) => {
                let opened = file::open(&path)?;
                if secrecy == Secrecy::Secret {
                    warn_if_exposed(&opened, &path);
                }
                bounded(opened, &path)
            }
        }
    }
}

fn bounded(opened: File, path: &Path) -> Result<Zeroizing<Vec<u8>>> {
    let mut bytes = file::read_bounded(opened, path, MAX_LEN)?;
    // A line break may follow the last byte.
    let end = match bytes.as_slice() {
        [.., b'\r', b'\n'] => bytes.len() - 2,
        [.., b'\n'] => bytes.len() - 1,
        _ => bytes.len(),
    };
    bytes.truncate(end);
    if end > MAX_LEN {
        bail!("{} has more than a million bytes; no request takes more", path.display());
    }
    Ok(bytes)
}

/// Warns if others than this user and root can read a file.
fn warn_if_exposed(file: &File, path: &Path) {
    let Ok(found) = file.metadata() else { return };
    let insiders = Insiders::of_this_process();
    let (mode, path) = (found.mode() & 0o7777, path.display());
    let is_open = mode & 0o004 != 0 || mode & 0o040 != 0 && !insiders.has_group(found.gid());
    if found.is_file() && is_open {
        warning(&format!(
            "{path} can be read by others (mode {mode:04o}); `chmod go-rwx {path}` takes that away"
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("value");
        std::fs::write(&path, text).unwrap();
        Source::File(path).read("value", Secrecy::Public)
    }

    #[test]
    fn one_line_break_at_the_end_is_not_a_part_of_the_value() {
        for (text, value) in [
            ("", ""),
            ("a", "a"),
            ("a\n", "a"),
            ("a\r\n", "a"),
            ("a\n\n", "a\n"),
            ("\n", ""),
            ("a\nb", "a\nb"),
            ("a\r", "a\r"),
        ] {
            assert_eq!(**read(text.as_bytes()).unwrap(), *value.as_bytes(), "{text:?}");
        }
    }

    #[test]
    fn a_value_may_have_a_million_bytes_and_a_line_break() {
        let mut text = vec![b'a'; MAX_LEN];
        assert_eq!(read(&text).unwrap().len(), MAX_LEN);
        text.push(b'\n');
        assert_eq!(read(&text).unwrap().len(), MAX_LEN);
        text[MAX_LEN] = b'a';
        let error = read(&text).unwrap_err().to_string();
        assert!(error.contains("more than a million bytes"), "{error}");
    }

    #[test]
    fn a_value_has_one_source() {
        let of = |argument: Option<&str>, file: Option<&str>| {
            Source::of(argument.map(str::to_owned), file.map(PathBuf::from), "kes key import")
        };
        assert!(of(None, None).unwrap().is_none());
        assert!(matches!(of(Some("-"), None), Ok(Some(Source::Stdin))));
        assert!(matches!(of(None, Some("-")), Ok(Some(Source::Stdin))));
        assert!(matches!(of(None, Some("./-")), Ok(Some(Source::File(_)))));
        assert!(matches!(of(Some("a"), None), Ok(Some(Source::Argument(_)))));
        let error = of(Some("hunter2"), Some("f")).err().unwrap().to_string();
        assert!(error.contains("both an argument and --file") && !error.contains("hunter2"));
    }
}
