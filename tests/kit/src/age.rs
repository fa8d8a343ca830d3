use std::path::{Path, PathBuf};
use std::process::Command;

use crate::package::Package;
use crate::{Process, fetch};

const PACKAGE: Package =
    Package { name: "age", program: None, folder: "usr/bin", with: &[], env: "AGE_BIN" };

/// A second implementation of the format, which takes passphrases without a terminal.
const PYRAGE: &str = "pyrage==1.4.0";

/// SHA-256 of its wheels: Linux on x86-64 and on AArch64.
const WHEELS: [&str; 2] = [
    "7f4eb0cbc2b4aee5deac9862c47b3895866df5554153951af822e9c581e68558",
    "f868b360ccd3f836326d42b532fae3e8eb8340a88cca0a39c0ae10fce68f6cc5",
];

/// A command for the program `age`.
///
/// # Panics
/// If it is not on this machine and cannot be fetched.
pub fn age() -> Command {
    PACKAGE.program().command()
}

/// The program `age-keygen`.
///
/// # Panics
/// As [`age`].
pub fn keygen() -> PathBuf {
    PACKAGE.file("usr/bin/age-keygen")
}

/// Makes an identity in a file; its recipient.
///
/// # Panics
/// As [`age`].
pub fn identity(file: &Path) -> String {
    let output = Process::command(&keygen()).arg("-o").arg(file).output();
    let output = output.expect("age-keygen starts");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    let recipient = told.trim().rsplit(' ').next().unwrap_or_default().to_owned();
    assert!(output.status.success() && recipient.starts_with("age1"), "{told}");
    recipient
}

/// A command for a Python that has the module `pyrage`, of another implementation than `age`.
///
/// # Panics
/// If it cannot be fetched.
pub fn pyrage() -> Command {
    let folder = fetch::once("pyrage-1.4.0", |work, ready| {
        fetch::wheels(work, &[(PYRAGE, &WHEELS)]);
        fetch::unpack("zipfile", &fetch::find(work, fetch::is_wheel), ready);
    });
    let mut python = Process::command(Path::new("python3"));
    python.env("PYTHONPATH", folder);
    python
}
