use std::env;
use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use super::VARIABLE;

/// The program of this process, where an upgrade replaces it: the path by which it was started. The
/// path of the file that runs (`/proc/self/exe`) is another one if the first leads there by a link,
/// and none at all once the file is replaced.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    path: PathBuf,
    name: OsString,
    args: Vec<OsString>,
}

impl Program {
    /// To be called when the process starts: later the file may be another one.
    pub(crate) fn of_this_process() -> Self {
        let mut args = env::args_os();
        let name = args.next().unwrap_or_default();
        let running = env::current_exe().unwrap_or_default();
        let path = started_by(&name).filter(|path| is_same_file(path, &running));
        Self { path: path.unwrap_or(running), name, args: args.collect() }
    }

    /// The path.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Starts it with the same arguments and variables, and this standard input.
    pub(super) fn start(&self, input: UnixStream) -> std::io::Result<Child> {
        use std::os::unix::process::CommandExt as _;
        let mut command = Command::new(&self.path);
        command
            .arg0(&self.name)
            .args(&self.args)
            .stdin(OwnedFd::from(input))
            .env(VARIABLE, std::process::id().to_string());
        // They name this process. The new one gets its sockets from here.
        for other in ["WATCHDOG_PID", "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"] {
            command.env_remove(other);
        }
        command.spawn()
    }
}

/// The path that a shell or a service manager has started.
fn started_by(name: &std::ffi::OsStr) -> Option<PathBuf> {
    let name = Path::new(name);
    if name.components().count() > 1 || name.is_absolute() {
        return std::path::absolute(name).ok();
    }
    let folders = env::var_os("PATH")?;
    let mut files = env::split_paths(&folders).map(|folder| folder.join(name));
    std::path::absolute(files.find(|file| file.is_file())?).ok()
}

fn is_same_file(one: &Path, other: &Path) -> bool {
    let file = |path: &Path| path.metadata().ok().map(|file| (file.dev(), file.ino()));
    file(one).is_some_and(|one| Some(one) == file(other))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_to_the_program_stays_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let [program, link] = ["kes-1", "kes"].map(|name| folder.path().join(name));
        std::fs::write(&program, "").unwrap();
        std::os::unix::fs::symlink(&program, &link).unwrap();
        assert_eq!(started_by(link.as_os_str()), Some(link.clone()));
        assert!(is_same_file(&link, &program));
        assert!(!is_same_file(&link, folder.path()));
        assert!(!is_same_file(&folder.path().join("none"), &folder.path().join("none")));
    }

    #[test]
    fn a_name_without_a_folder_is_that_of_a_program_of_the_path() {
        let shell = started_by("sh".as_ref()).unwrap();
        assert!(shell.is_absolute() && shell.ends_with("sh"), "{}", shell.display());
        assert_eq!(started_by("no-such-program-anywhere".as_ref()), None);
    }
}
