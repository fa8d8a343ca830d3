//! The HAProxy binary: the machine's own, or that of its distribution's package, unpacked into
//! the target folder. Nothing is installed, and nobody needs to be root.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::{Process, fetch};

/// Names a binary to use before any other.
const ENV: &str = "HAPROXY_BIN";

/// Where HAProxy stands when it is installed, though seldom on the path of an ordinary user.
const INSTALLED: &str = "/usr/sbin";

/// A binary, and where the libraries are that the machine does not have.
pub(super) struct Program {
    binary: PathBuf,
    libraries: Option<OsString>,
}

impl Program {
    /// Finds HAProxy on this machine, or fetches it. The first caller of any test process
    /// fetches it, others wait.
    pub(super) fn find() -> Self {
        if let Some(binary) = std::env::var_os(ENV) {
            return Self { binary: binary.into(), libraries: None };
        }
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders = std::env::split_paths(&path).chain([PathBuf::from(INSTALLED)]);
        let installed = folders.map(|folder| folder.join("haproxy")).find(|file| file.is_file());
        match installed {
            Some(binary) => Self { binary, libraries: None },
            None => Self::unpacked(&fetch::once("haproxy", |work, ready| {
                Source::find(work).fetch(work, ready);
            })),
        }
    }

    /// What was unpacked into a folder.
    fn unpacked(folder: &Path) -> Self {
        let mut libraries = BTreeSet::new();
        let mut folders = vec![folder.to_path_buf()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).expect("a folder can be read") {
                let path = entry.expect("a folder can be read").path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.to_string_lossy().contains(".so") {
                    libraries.insert(folder.clone());
                }
            }
        }
        let libraries = std::env::join_paths(libraries).expect("a path has no colon");
        Self { binary: folder.join("usr/sbin/haproxy"), libraries: Some(libraries) }
    }

    /// A command for it that dies with the test process.
    pub(super) fn command(&self) -> Command {
        let mut command = Process::command(&self.binary);
        self.add_libraries(&mut command);
        command
    }

    /// Whether the machine has all the libraries that it lacks.
    fn is_complete(&self) -> bool {
        let mut ldd = Command::new("ldd");
        self.add_libraries(ldd.arg(&self.binary));
        !String::from_utf8_lossy(&run(&mut ldd).stdout).contains("not found")
    }

    fn add_libraries(&self, command: &mut Command) {
        if let Some(libraries) = &self.libraries {
            command.env("LD_LIBRARY_PATH", libraries);
        }
    }
}

/// The package source of a Debian or Ubuntu, as `apt` is set up.
struct Source {
    /// Options for package lists of our own, where the machine's are missing or old.
    options: Vec<String>,
}

impl Source {
    fn find(work: &Path) -> Self {
        let mut source = Self { options: vec!["APT::Sandbox::User=root".to_owned()] };
        if download(&source, work, "haproxy").is_ok_and(|output| output.status.success()) {
            return source;
        }
        for (option, folder) in [("Dir::State::Lists", "lists"), ("Dir::Cache", "cache")] {
            let folder = work.join(folder);
            for partial in ["partial", "archives/partial"] {
                fs::create_dir_all(folder.join(partial)).expect("a folder can be made");
            }
            source.options.push(format!("{option}={}", folder.display()));
        }
        run(source.apt().args(["--quiet", "update"]));
        source
    }

    fn apt(&self) -> Command {
        let mut apt = Command::new("apt-get");
        apt.args(self.options.iter().flat_map(|option| ["-o", option]));
        apt
    }

    /// Unpacks HAProxy and each library that is not installed.
    fn fetch(&self, work: &Path, ready: &Path) {
        let mut seen = BTreeSet::new();
        let mut wanted = vec!["haproxy".to_owned()];
        while let Some(package) = wanted.pop() {
            let archive = self.package(work, &package);
            run(Command::new("dpkg-deb").arg("-x").arg(&archive).arg(ready));
            if wanted.is_empty() && Program::unpacked(ready).is_complete() {
                return;
            }
            let fields = run(Command::new("dpkg-deb").arg("-f").arg(&archive).arg("Depends"));
            for library in libraries(&String::from_utf8_lossy(&fields.stdout)) {
                if seen.insert(library.clone()) && !is_installed(&library) {
                    wanted.push(library);
                }
            }
        }
        panic!("HAProxy is needed for this test, and its libraries cannot all be found");
    }

    /// Downloads a package into a folder of its own.
    fn package(&self, work: &Path, package: &str) -> PathBuf {
        let folder = work.join(package);
        fs::create_dir_all(&folder).expect("a folder can be made");
        let output = download(self, &folder, package);
        check(&format!("apt-get download {package}"), &output);
        fetch::find(&folder, |path| path.extension().is_some_and(|ext| ext == "deb"))
    }
}

fn download(source: &Source, folder: &Path, package: &str) -> std::io::Result<Output> {
    source.apt().args(["--quiet", "download", package]).current_dir(folder).output()
}

/// The libraries among what a package depends on: the first of each choice, without versions.
fn libraries(depends: &str) -> Vec<String> {
    depends
        .split(',')
        .filter_map(|choice| choice.split(['|', '(']).next())
        .map(|name| name.trim().to_owned())
        .filter(|name| name.starts_with("lib"))
        .collect()
}

fn is_installed(package: &str) -> bool {
    let mut query = Command::new("dpkg-query");
    query.args(["--show", "--showformat=${db:Status-Status}", package]);
    query.output().is_ok_and(|output| output.stdout.starts_with(b"installed"))
}

fn run(command: &mut Command) -> Output {
    let output = command.output();
    check(&format!("{command:?}"), &output);
    output.expect("it was checked")
}

fn check(command: &str, output: &std::io::Result<Output>) {
    let advice = format!(
        "HAProxy is needed for this test. Install it, name a binary in {ENV}, or see why its \
         package cannot be fetched"
    );
    match output {
        Err(error) => panic!("{advice}: {command} does not start: {error}"),
        Ok(output) => assert!(
            output.status.success(),
            "{advice}: {command} fails: {}",
            String::from_utf8_lossy(&output.stderr)
        ),
    }
}
