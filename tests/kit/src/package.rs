//! Programs of the machine's distribution: the installed one, or that of the distribution's package,
//! unpacked into the target folder. `apt` checks the package by the distribution's signature.
//! Nothing is installed, and nobody needs to be root.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::{Process, fetch};

/// Where servers stand when they are installed, though seldom on the path of an ordinary user.
const INSTALLED: &str = "/usr/sbin";

/// A package of Debian and Ubuntu with a program.
#[derive(Clone, Copy)]
pub(crate) struct Package {
    /// That of the package.
    pub(crate) name: &'static str,
    /// That of the program, where it is another one.
    pub(crate) program: Option<&'static str>,
    /// The folder in the package where the program is, below the root.
    pub(crate) folder: &'static str,
    /// Further packages that it needs at run time, beside libraries.
    pub(crate) with: &'static [&'static str],
    /// The environment variable that names a binary to use before any other.
    pub(crate) env: &'static str,
}

/// A binary, and where the libraries are that the machine does not have.
pub(crate) struct Program {
    binary: PathBuf,
    libraries: Option<OsString>,
}

impl Package {
    /// Finds the program on this machine, or fetches it. The first caller of any test process
    /// fetches it, others wait.
    pub(crate) fn program(self) -> Program {
        if let Some(binary) = std::env::var_os(self.env) {
            return Program { binary: binary.into(), libraries: None };
        }
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders = std::env::split_paths(&path).chain([PathBuf::from(INSTALLED)]);
        let installed =
            folders.map(|folder| folder.join(self.binary())).find(|file| file.is_file());
        match installed {
            Some(binary) => Program { binary, libraries: None },
            None => self.unpacked(&fetch::once(self.name, |work, ready| {
                Source::find(self, work).fetch(work, ready);
            })),
        }
    }

    /// A file of this package that needs no library: the installed one, or that of the unpacked
    /// package.
    pub(crate) fn file(self, path: &str) -> PathBuf {
        let installed = Path::new("/").join(path);
        if installed.is_file() {
            return installed;
        }
        let folder = fetch::once(self.name, |work, ready| {
            let source = Source::find(self, work);
            source.unpack(&source.archive(work, self.name), ready);
        });
        folder.join(path)
    }

    /// The libraries that this package depends on, with names that begin so: those that are not
    /// installed, unpacked.
    pub(crate) fn libraries(self, start: &str) -> Option<OsString> {
        let folder = fetch::once(self.name, |work, ready| {
            let source = Source::find(self, work);
            for library in source.depends(&source.archive(work, self.name)) {
                if library.starts_with(start) && !is_installed(&library) {
                    source.unpack(&source.archive(work, &library), ready);
                }
            }
        });
        self.unpacked(&folder).libraries.filter(|folders| !folders.is_empty())
    }

    fn binary(self) -> &'static str {
        self.program.unwrap_or(self.name)
    }

    /// What was unpacked into a folder.
    fn unpacked(self, folder: &Path) -> Program {
        let mut libraries = BTreeSet::new();
        let mut folders = vec![folder.to_path_buf()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).expect("a folder can be read") {
                let path = entry.expect("a folder can be read").path();
                if path.is_dir() {
                    folders.push(path);
                } else if is_library(&path) {
                    libraries.insert(folder.clone());
                }
            }
        }
        let libraries = std::env::join_paths(libraries).expect("a path has no colon");
        // `/bin` is `/usr/bin`, and a package may have its program in either.
        let places = [self.folder, self.folder.trim_start_matches("usr/")];
        let [binary, other] = places.map(|place| folder.join(place).join(self.binary()));
        let binary = if binary.is_file() { binary } else { other };
        Program { binary, libraries: Some(libraries) }
    }

    fn run(self, command: &mut Command) -> Output {
        let output = command.output();
        self.check(&format!("{command:?}"), &output);
        output.expect("it was checked")
    }

    fn check(self, command: &str, output: &std::io::Result<Output>) {
        let Self { name, env, .. } = self;
        let advice = format!(
            "{name} is needed for this test. Install it, name a binary in {env}, or see why its \
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
}

impl Program {
    /// The same, which finds these libraries too, such as those that it opens while it runs.
    pub(crate) fn with(mut self, libraries: Option<OsString>) -> Self {
        let all: Vec<_> = [self.libraries.take(), libraries].into_iter().flatten().collect();
        self.libraries = (!all.is_empty()).then(|| all.join(OsStr::new(":")));
        self
    }

    /// A command for it that dies with the test process.
    pub(crate) fn command(&self) -> Command {
        let mut command = Process::command(&self.binary);
        self.add_libraries(&mut command);
        command
    }

    /// Says which libraries it finds, and which it does not.
    fn ldd(&self) -> Command {
        let mut ldd = Command::new("ldd");
        self.add_libraries(ldd.arg(&self.binary));
        ldd
    }

    fn add_libraries(&self, command: &mut Command) {
        if let Some(libraries) = &self.libraries {
            command.env("LD_LIBRARY_PATH", libraries);
        }
    }
}

/// The package source of a Debian or Ubuntu, as `apt` is set up.
struct Source {
    /// What is wanted.
    package: Package,
    /// Options for package lists of our own, where the machine's are missing or old.
    options: Vec<String>,
}

impl Source {
    fn find(package: Package, work: &Path) -> Self {
        let mut source = Self { package, options: vec!["APT::Sandbox::User=root".to_owned()] };
        if source.download(work, package.name).is_ok_and(|output| output.status.success()) {
            return source;
        }
        for (option, folder) in [("Dir::State::Lists", "lists"), ("Dir::Cache", "cache")] {
            let folder = work.join(folder);
            for partial in ["partial", "archives/partial"] {
                fs::create_dir_all(folder.join(partial)).expect("a folder can be made");
            }
            source.options.push(format!("{option}={}", folder.display()));
        }
        package.run(source.apt().args(["--quiet", "update"]));
        source
    }

    fn apt(&self) -> Command {
        let mut apt = Command::new("apt-get");
        apt.args(self.options.iter().flat_map(|option| ["-o", option]));
        apt
    }

    /// Unpacks the program and each library that is not installed.
    fn fetch(&self, work: &Path, ready: &Path) {
        let is_complete = || {
            let libraries = self.package.run(&mut self.package.unpacked(ready).ldd());
            !String::from_utf8_lossy(&libraries.stdout).contains("not found")
        };
        let mut seen = BTreeSet::new();
        let mut wanted = vec![self.package.name.to_owned()];
        for package in self.package.with {
            self.unpack(&self.archive(work, package), ready);
        }
        while let Some(package) = wanted.pop() {
            let archive = self.archive(work, &package);
            self.unpack(&archive, ready);
            if wanted.is_empty() && is_complete() {
                return;
            }
            for library in self.depends(&archive) {
                if seen.insert(library.clone()) && !is_installed(&library) {
                    wanted.push(library);
                }
            }
        }
        let name = self.package.name;
        panic!("{name} is needed for this test, and its libraries cannot all be found");
    }

    fn unpack(&self, archive: &Path, folder: &Path) {
        self.package.run(Command::new("dpkg-deb").arg("-x").arg(archive).arg(folder));
    }

    /// The libraries that a package depends on.
    fn depends(&self, archive: &Path) -> Vec<String> {
        let mut command = Command::new("dpkg-deb");
        let fields = self.package.run(command.arg("-f").arg(archive).arg("Depends"));
        libraries(&String::from_utf8_lossy(&fields.stdout))
    }

    /// Downloads a package into a folder of its own.
    fn archive(&self, work: &Path, package: &str) -> PathBuf {
        let folder = work.join(package);
        fs::create_dir_all(&folder).expect("a folder can be made");
        let output = self.download(&folder, package);
        self.package.check(&format!("apt-get download {package}"), &output);
        fetch::find(&folder, |path| path.extension().is_some_and(|ext| ext == "deb"))
    }

    fn download(&self, folder: &Path, package: &str) -> std::io::Result<Output> {
        self.apt().args(["--quiet", "download", package]).current_dir(folder).output()
    }
}

/// The libraries among what a package depends on: the first of each choice, without versions.
fn libraries(depends: &str) -> Vec<String> {
    depends
        .split(',')
        .filter_map(|choice| choice.split(['|', '(']).next())
        .map(|name| name.trim().to_owned())
        .filter(|name| name.starts_with("lib") || name.ends_with("-libs"))
        .collect()
}

/// Whether a file is a library, such as `libfoo.so.1.2`.
fn is_library(file: &Path) -> bool {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    name.ends_with(".so") || name.contains(".so.")
}

fn is_installed(package: &str) -> bool {
    let mut query = Command::new("dpkg-query");
    query.args(["--show", "--showformat=${db:Status-Status}", package]);
    query.output().is_ok_and(|output| output.stdout.starts_with(b"installed"))
}
