//! Files that are written whole before they are in their place.
//!
//! An existing file is replaced by a new one instead of being written to: its owner, or a process
//! that has it open, cannot read the new content; a link is replaced, not followed.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, bail};
use rustix::process::geteuid;

use super::fault;

/// Who may read a file that is written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Only the owner.
    Private,
    /// Everybody.
    Public,
}

impl Access {
    const fn mode(self) -> u32 {
        match self {
            Self::Private => 0o600,
            Self::Public => 0o644,
        }
    }
}

/// A file that is written, and not in its place yet. Dropping it leaves everything as it was.
#[must_use]
pub(crate) struct Staged {
    path: PathBuf,
    state: State,
}

enum State {
    /// A new file beside the old one, to be renamed over that.
    Beside(PathBuf),
    /// A new file beside the place where none may be.
    Hidden(PathBuf),
    /// A new file where none was.
    New,
    /// In its place. A device or a pipe is from the beginning.
    Done,
}

/// How a path is written.
enum Way {
    /// By a new file, which must not exist yet.
    New,
    /// By a new file in the place of another one.
    Replace,
    /// Through a device or a pipe that stands there.
    Through,
}

/// Writes a file; an existing one only with `overwrite`.
///
/// # Errors
/// As [`super::read`].
pub(crate) fn stage(path: &Path, bytes: &[u8], access: Access, overwrite: bool) -> Result<Staged> {
    let mut staged = Staged { path: path.to_owned(), state: State::Done };
    let mut file = match if overwrite { way(path) } else { Way::New } {
        Way::New => {
            let mut options = OpenOptions::new();
            options.write(true).create_new(true).mode(access.mode());
            let file = options.open(path).map_err(|error| anyhow!(fault("open", path, &error)))?;
            staged.state = State::New;
            file
        }
        Way::Replace => {
            let (beside, file) = create_beside(path, access)?;
            staged.state = State::Beside(beside);
            file
        }
        Way::Through => open_through(path).map_err(|error| anyhow!(fault("open", path, &error)))?,
    };
    fill(&mut file, path, bytes)?;
    Ok(staged)
}

/// Begins a file that is written piece by piece. It gets its name once it is whole: until then another one
/// stands beside the place, which stays there if the process is killed. An existing file is replaced only with
/// `overwrite`, and what is no file never.
///
/// # Errors
/// As [`super::read`].
pub(crate) fn begin(path: &Path, access: Access, overwrite: bool) -> Result<(Staged, File)> {
    if let Ok(found) = fs::symlink_metadata(path) {
        let kind = found.file_type();
        if !overwrite {
            bail!(fault("open", path, &io::ErrorKind::AlreadyExists.into()));
        }
        if !kind.is_file() && !kind.is_symlink() {
            bail!("{} is no file, and is not replaced", path.display());
        }
    }
    let (beside, file) = create_beside(path, access)?;
    let state = if overwrite { State::Beside(beside) } else { State::Hidden(beside) };
    Ok((Staged { path: path.to_owned(), state }, file))
}

/// Whether two paths lead to the same place, of which one file at most is left.
pub(crate) fn is_same(a: &Path, b: &Path) -> bool {
    let place = |path: &Path| {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = fs::canonicalize(folder.unwrap_or_else(|| Path::new("."))).ok()?;
        Some(folder.join(path.file_name()?))
    };
    a == b || place(a).is_some_and(|a| place(b) == Some(a))
}

impl Staged {
    /// Puts the file into its place.
    ///
    /// # Errors
    /// If the old file cannot be replaced, because it is another user's in a folder such as `/tmp`,
    /// for example. Then it stays.
    pub(crate) fn commit(mut self) -> Result<()> {
        match &self.state {
            State::Beside(beside) => fs::rename(beside, &self.path)
                .map_err(|error| anyhow!(fault("replace", &self.path, &error)))?,
            State::Hidden(beside) => rename_to_new(beside, &self.path)
                .map_err(|error| anyhow!(fault("open", &self.path, &error)))?,
            State::New | State::Done => {}
        }
        self.state = State::Done;
        Ok(())
    }

    /// The same for a file that was written piece by piece: it is on the disk, under its name, afterwards.
    ///
    /// # Errors
    /// As [`Staged::commit`], and those of the disk.
    pub(crate) fn commit_synced(self, file: &File) -> Result<()> {
        let path = self.path.clone();
        let on_disk =
            |result: io::Result<()>| result.map_err(|error| anyhow!(fault("write", &path, &error)));
        on_disk(file.sync_all())?;
        self.commit()?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        on_disk(File::open(folder.unwrap_or_else(|| Path::new("."))).and_then(|f| f.sync_all()))
    }
}

/// Renames a file to a name that nothing has.
fn rename_to_new(from: &Path, to: &Path) -> io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // A file system that does not know it, such as NFS.
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS | rustix::io::Errno::NOTSUP) => {
            fs::hard_link(from, to)?;
            fs::remove_file(from)
        }
        result => Ok(result?),
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        // No private key is left behind.
        let _ = match &self.state {
            State::Beside(beside) | State::Hidden(beside) => fs::remove_file(beside),
            State::New => fs::remove_file(&self.path),
            State::Done => Ok(()),
        };
    }
}

fn way(path: &Path) -> Way {
    // Links that the system itself makes, to what the caller has opened.
    let is_stream = ["/dev/stdout", "/dev/stderr"].iter().any(|name| path == Path::new(name))
        || path.starts_with("/dev/fd")
        || path.starts_with("/proc/self/fd");
    if is_stream {
        return Way::Through;
    }
    let Ok(found) = fs::symlink_metadata(path) else { return Way::New };
    let kind = found.file_type();
    // Root alone makes devices. Anybody can make a pipe in a shared folder and read it.
    let is_device = kind.is_char_device() || kind.is_block_device();
    let is_own_pipe = kind.is_fifo() && [0, geteuid().as_raw()].contains(&found.uid());
    if is_device || is_own_pipe || kind.is_dir() { Way::Through } else { Way::Replace }
}

/// Opens what the path leads to. Standard output is the one of this process, so that what it writes
/// later follows.
fn open_through(path: &Path) -> io::Result<File> {
    if path == Path::new("/dev/stdout") {
        return io::stdout().as_fd().try_clone_to_owned().map(File::from);
    }
    OpenOptions::new().append(true).open(path)
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
            Err(error) => bail!(fault("create a file beside", path, &error)),
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

#[cfg(test)]
mod tests {
    use super::super::read;
    use super::*;
    use std::io::Read as _;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    fn write(path: &Path, bytes: &[u8], access: Access, overwrite: bool) -> Result<()> {
        stage(path, bytes, access, overwrite)?.commit()
    }

    fn names(folder: &Path) -> Vec<String> {
        let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<_> = names.map(|name| name.into_string().unwrap()).collect();
        names.sort();
        names
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
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn who_held_the_old_file_gets_nothing_of_the_new_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        fs::write(&path, "old").unwrap();
        fs::hard_link(&path, folder.path().join("other")).unwrap();
        let mut held = File::open(&path).unwrap();
        write(&path, b"secret", Access::Private, true).unwrap();
        let mut text = String::new();
        held.read_to_string(&mut text).unwrap();
        assert_eq!(text, "old");
        assert_eq!(fs::read_to_string(folder.path().join("other")).unwrap(), "old");
        assert_eq!(**read(&path).unwrap(), *b"secret");

        // A link is replaced, and what it leads to stays; so is one to nothing, and to a device.
        let (link, target) = (folder.path().join("link"), folder.path().join("target"));
        for to in [target.as_path(), Path::new("nowhere"), Path::new("/dev/null"), folder.path()] {
            fs::write(&target, "precious").unwrap();
            let _ = fs::remove_file(&link);
            symlink(to, &link).unwrap();
            write(&link, b"secret", Access::Private, true).unwrap();
            assert_eq!(fs::read_to_string(&target).unwrap(), "precious");
            assert!(fs::symlink_metadata(&link).unwrap().is_file(), "{}", to.display());
        }
        assert_eq!(names(folder.path()), ["key", "link", "other", "target"]);
    }

    #[test]
    fn what_cannot_be_written_stays_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let (path, inner) = (folder.path().join("key"), folder.path().join("folder"));
        fs::write(&path, "old").unwrap();
        fs::create_dir(&inner).unwrap();
        let refused = |path: &Path| {
            let error = write(path, b"secret", Access::Private, true).unwrap_err();
            format!("{error:#}").replace(&folder.path().display().to_string(), "")
        };
        assert_eq!(refused(&inner), "open /folder: is a directory");
        assert_eq!(refused(&path.join("x")), "open /key/x: not a directory");
        assert_eq!(
            refused(&folder.path().join("no/key")),
            "open /no/key: no such file or directory"
        );

        // What was not put into its place.
        drop(stage(&path, b"secret", Access::Private, true).unwrap());
        drop(stage(&folder.path().join("new"), b"secret", Access::Private, true).unwrap());
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
        assert_eq!(names(folder.path()), ["folder", "key"]);

        // Root may write into any folder.
        if !geteuid().is_root() {
            fs::write(inner.join("key"), "old").unwrap();
            fs::set_permissions(&inner, fs::Permissions::from_mode(0o500)).unwrap();
            let told = refused(&inner.join("key"));
            assert_eq!(told, "create a file beside /folder/key: permission denied");
            fs::set_permissions(&inner, fs::Permissions::from_mode(0o700)).unwrap();
            assert_eq!(names(&inner), ["key"]);
        }
    }

    #[test]
    fn devices_and_own_pipes_are_written_through() {
        write(Path::new("/dev/null"), b"secret", Access::Public, true).unwrap();
        assert!(!fs::symlink_metadata("/dev/null").unwrap().is_file());
        assert!(matches!(way(Path::new("/dev/stdout")), Way::Through));
        assert!(matches!(way(Path::new("/dev/fd/63")), Way::Through));

        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        let make = |path: &Path| {
            let mode = rustix::fs::Mode::from_raw_mode(0o666);
            rustix::fs::mkfifoat(rustix::fs::CWD, path, mode).unwrap();
        };
        make(&pipe);
        assert!(matches!(way(&pipe), Way::Through));
        // Somebody else's is replaced.
        if geteuid().is_root() {
            std::os::unix::fs::chown(&pipe, Some(65_534), None).unwrap();
            write(&pipe, b"secret", Access::Private, true).unwrap();
            let found = fs::symlink_metadata(&pipe).unwrap();
            assert!(found.is_file() && found.uid() == 0);
        }
    }

    #[test]
    fn a_file_in_pieces_has_its_name_once_it_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("backup");
        let (staged, mut file) = begin(&path, Access::Private, false).unwrap();
        file.write_all(b"one").unwrap();
        assert!(!path.exists());
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        staged.commit_synced(&file).unwrap();
        assert_eq!(**read(&path).unwrap(), *b"one");
        assert_eq!(names(folder.path()), ["backup"]);

        let error = begin(&path, Access::Private, false).err().unwrap().to_string();
        assert!(error.starts_with("open ") && error.contains("exists"), "{error}");
        let (staged, _) = begin(&path, Access::Private, true).unwrap();
        drop(staged);
        assert_eq!(names(folder.path()), ["backup"]);
        assert!(begin(folder.path(), Access::Private, true).is_err());

        // Another program makes the file meanwhile.
        let path = folder.path().join("late");
        let (staged, file) = begin(&path, Access::Private, false).unwrap();
        fs::write(&path, "other").unwrap();
        assert!(staged.commit_synced(&file).is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "other");
        assert_eq!(names(folder.path()), ["backup", "late"]);
    }

    #[test]
    fn two_names_of_one_place_are_seen() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("a")).unwrap();
        symlink("a", at("b")).unwrap();
        for (one, two, same) in [
            ("a/k", "a/k", true),
            ("a/k", "a/./k", true),
            ("a/k", "b/k", true),
            ("a/k", "a/../a/k", true),
            ("a/k", "a/c", false),
            ("a/k", "k", false),
            ("no/k", "no/../no/k", false),
        ] {
            assert_eq!(is_same(&at(one), &at(two)), same, "{one} {two}");
        }
        assert!(is_same(Path::new("k"), Path::new("./k")));
    }
}
