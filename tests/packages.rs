//! The packages, as `deploy/packages/build` makes them: installed, upgraded, removed and purged in a root of
//! their own.
//!
//! They hold the program under test, without its symbols.

mod debian;
mod rpm;
mod scratch;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use scratch::Scratch;

use crate::docs;
use crate::harness::program;

/// Files that both kinds of package have at the same place.
const FILES: [&str; 15] = [
    "usr/bin/kes",
    "usr/lib/systemd/system/kes.service",
    "usr/lib/systemd/system/kes.socket",
    "usr/lib/systemd/system/kes@.service",
    "usr/lib/sysusers.d/kes.conf",
    "usr/lib/tmpfiles.d/kes.conf",
    "usr/share/bash-completion/completions/kes",
    "usr/share/doc/kes/examples/config.yml",
    "usr/share/doc/kes/examples/environment",
    "usr/share/fish/vendor_completions.d/kes.fish",
    "usr/share/kes/before-253.conf",
    "usr/share/kes/systemd",
    "usr/share/man/man1/kes-key-create.1.gz",
    "usr/share/man/man1/kes-server.1.gz",
    "usr/share/man/man1/kes.1.gz",
];

/// The links that the packages make where systemd needs them.
const DROP_INS: [&str; 2] = [
    "usr/lib/systemd/system/kes.service.d/before-253.conf",
    "usr/lib/systemd/system/kes@.service.d/before-253.conf",
];

/// Two packages of one kind: the second one is newer.
struct Packages {
    kind: &'static str,
    folder: tempfile::TempDir,
    files: [PathBuf; 2],
}

impl Packages {
    fn build(kind: &'static str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        must(Command::new("strip").arg("-o").arg(folder.path().join("stripped")).arg(program()));
        let mut packages = Self { kind, folder, files: [PathBuf::new(), PathBuf::new()] };
        packages.files = ["1", "2"].map(|revision| packages.build_again(revision));
        packages
    }

    fn build_again(&self, revision: &str) -> PathBuf {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| env!("CARGO").into());
        let output = must(
            Command::new("bash")
                .arg(repository().join("deploy/packages/build"))
                .args([self.kind, "--fast", "--revision", revision, "--program"])
                .args([self.folder.path().join("stripped"), self.built()])
                .env("CARGO", cargo)
                .current_dir("/"),
        );
        String::from_utf8(output.stdout).unwrap().lines().last().unwrap().into()
    }

    /// The folder in which everything stands together.
    fn built(&self) -> PathBuf {
        self.folder.path().join("built")
    }
}

/// A tool that `.ci/tools` finds or fetches.
fn tool(name: &str) -> PathBuf {
    let output = must(Command::new("bash").arg(repository().join(".ci/tools")).arg(name));
    let folder = String::from_utf8(output.stdout).unwrap();
    Path::new(folder.trim_end()).join("bin").join(name)
}

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn must(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {output:?}");
    output
}

/// What an installation has to have, whichever package it came from.
fn is_installed(root: &Scratch, completion_of_zsh: &str) {
    for file in FILES.iter().chain(&DROP_INS).chain([&completion_of_zsh]) {
        assert!(root.has(file), "{file} is missing: {:#?}", root.files());
    }
    let version = root.in_it("kes --version");
    assert!(version.contains(env!("CARGO_PKG_VERSION")), "{version}");

    for unit in ["kes.service", "kes@.service"] {
        let unit = root.read(&format!("usr/lib/systemd/system/{unit}"));
        assert!(unit.contains("\nExecStart=/usr/bin/kes server --config /etc/kes/"), "{unit}");
        assert!(!unit.contains("/usr/local"), "{unit}");
    }
    let drop_in = fs::read_link(root.path(DROP_INS[0])).unwrap();
    assert!(root.has(drop_in.strip_prefix("/").unwrap().to_str().unwrap()), "{drop_in:?}");

    // The user, and the folders of configuration and keys, which others cannot read.
    let passwd = root.read("etc/passwd");
    assert!(passwd.lines().any(|line| line.starts_with("kes:x:")), "{passwd}");
    root.is_folder("etc/kes", 0o750, "root:kes");
    root.is_folder("var/lib/kes", 0o700, "kes:kes");

    // No server is started or enabled: a new one has no configuration.
    let notes = root.take_notes();
    assert!(!notes.contains("start") && !notes.contains("enable"), "{notes}");
    assert!(notes.contains("daemon-reload"), "{notes}");

    let page = must(Command::new("gzip").arg("-dc").arg(root.path("usr/share/man/man1/kes.1.gz")));
    assert!(String::from_utf8(page.stdout).unwrap().contains("kes\\-server(1)"));
    for (file, mark) in [
        ("usr/share/bash-completion/completions/kes", "complete -F _kes"),
        (completion_of_zsh, "#compdef kes"),
        ("usr/share/fish/vendor_completions.d/kes.fish", "complete -c kes"),
    ] {
        assert!(root.read(file).contains(mark), "{file}");
    }
}

/// The steps of the documentation after an installation lead to a server that finds its files.
fn start_first(root: &Scratch) {
    let lines = docs::of_packages("First start");
    root.in_it(&lines.join("\n"));
    for name in ["etc/kes/config.yml", "etc/kes/server.key", "etc/kes/server.crt"] {
        root.is_file(name, 0o640, "root:kes");
    }
    root.is_file("etc/kes/environment", 0o600, "root:root");
    assert_eq!(root.take_notes(), "systemctl enable --now kes\n");

    // The pages of a program that no package brought.
    root.in_it(
        "sudo install -d /usr/local/share/man/man1\n\
         sudo kes --manual-pages /usr/local/share/man/man1",
    );
    assert!(root.has("usr/local/share/man/man1/kes.1"), "{:#?}", root.files());
    fs::remove_dir_all(root.path("usr/local")).unwrap();
}

/// What an operator has put there.
fn configure(root: &Scratch) {
    root.write("etc/kes/config.yml", "address: 0.0.0.0:7373\n");
    root.write("etc/kes/environment", "APPROLE_ID=1\n");
    root.write("var/lib/kes/my-key", "a key");
}

/// Nothing of the operator is lost.
fn is_configured(root: &Scratch) {
    assert_eq!(root.read("etc/kes/config.yml"), "address: 0.0.0.0:7373\n");
    assert_eq!(root.read("etc/kes/environment"), "APPROLE_ID=1\n");
    assert_eq!(root.read("var/lib/kes/my-key"), "a key");
}

/// The program is gone with all that came with it.
fn is_removed(root: &Scratch) {
    let left: Vec<String> = root
        .files()
        .into_iter()
        .filter(|file| file.starts_with("usr/") || file.contains("systemd"))
        .collect();
    assert_eq!(left, [""; 0]);
}

#[test]
fn the_example_is_a_configuration() {
    let text = fs::read_to_string(repository().join("deploy/packages/config.yml")).unwrap();
    let environment = fs::read_to_string(repository().join("systemd/environment.example")).unwrap();
    let variable = |name: &str| {
        let lines = environment.lines().filter_map(|line| line.split_once('='));
        lines.into_iter().find(|(key, _)| *key == name).map(|(_, value)| value.to_owned())
    };
    let loaded = kes_config::parse(&text, &variable).unwrap_or_else(|error| panic!("{error}"));
    let warnings: Vec<_> = loaded.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(warnings, [""; 0]);
    // The other key store that it shows.
    let (before, _) = text.split_once("  vault:\n").unwrap();
    let (_, folder) = text.split_once("ReadWritePaths=/var/lib/kes.\n").unwrap();
    let folder = before.to_owned() + &folder.replace('#', "");
    assert!(folder.contains("\n    path: /var/lib/kes\n"), "{folder}");
    kes_config::parse(&folder, &variable).unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn a_package_is_named_after_its_processor_and_tells_who_answers_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let other = folder.path().join("other");
    fs::write(&other, "a program").unwrap();
    let built = |kind: &str| {
        let mut build = Command::new("bash");
        build.arg(repository().join("deploy/packages/build")).args([kind, "--arch", "aarch64"]);
        build.arg("--program").arg(&other).arg("--texts").arg(program());
        build.args(["--maintainer", "A. Publisher <packages@example.com>"]);
        must(build.arg(folder.path().join("built")));
        let version = env!("CARGO_PKG_VERSION");
        let name = match kind {
            "deb" => format!("kes_{version}-1_arm64.deb"),
            _ => format!("kes-{version}-1.aarch64.rpm"),
        };
        folder.path().join("built").join(name)
    };
    let deb = built("deb");
    for (field, value) in
        [("Architecture", "arm64\n"), ("Maintainer", "A. Publisher <packages@example.com>\n")]
    {
        let said = must(Command::new("dpkg-deb").arg("-f").arg(&deb).arg(field));
        assert_eq!(String::from_utf8(said.stdout).unwrap(), value);
    }
    let rpm = built("rpm");
    let said = must(Command::new(tool("rpm")).args(["-qp", "--qf", "%{arch} %{vendor}"]).arg(rpm));
    assert_eq!(said.stdout, b"aarch64 A. Publisher");
}

/// What a release promises of its program is checked at its end; the program of the tests is none.
#[test]
fn a_program_that_is_no_release_is_told_why() {
    let check = repository().join(".ci/released");
    let output = Command::new(&check).arg(env!("CARGO_BIN_EXE_kes")).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    for fault in [
        "is not stripped: it has .symtab",
        "holds no list of its crates",
        "tells a folder of this machine: ",
        "bytes, more than 15000000",
    ] {
        assert!(said.contains(fault), "{fault}: {said}");
    }
    let output =
        Command::new(&check).arg("--static").arg(env!("CARGO_BIN_EXE_kes")).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("is not static: it needs "), "{said}");
}
