//! Sets `KES_BUILD_COMMIT` to the commit that is built and `KES_BUILD_RUSTC` to the compiler, for
//! `kes --version` and the `/version` API. Tells the tests whether MinIO is available.

use std::path::PathBuf;
use std::process::Command;

fn main() {
    println!("cargo::rustc-env=KES_BUILD_COMMIT={}", commit());
    println!("cargo::rustc-env=KES_BUILD_RUSTC={}", rustc());
    println!("cargo::rerun-if-env-changed=KES_COMMIT");
    println!("cargo::rerun-if-changed=cli/build.rs");
    minio();
}

/// Sets `has_minio`. Without it the test runner reports the test with MinIO as ignored, which it
/// has to know at compile time.
fn minio() {
    println!("cargo::rustc-check-cfg=cfg(has_minio)");
    let is_set = |name| {
        println!("cargo::rerun-if-env-changed={name}");
        std::env::var_os(name).is_some_and(|value| !value.is_empty())
    };
    // Reads both, so that a change of either one triggers a build.
    if ["MINIO_BIN", "MC_BIN"].map(is_set) == [true, true] {
        println!("cargo::rustc-cfg=has_minio");
    }
}

/// The commit: `KES_COMMIT`, for builds from an archive, or else what git says. A build needs
/// neither.
fn commit() -> String {
    if let Some(commit) = std::env::var("KES_COMMIT").ok().filter(|commit| is_word(commit)) {
        return commit;
    }
    watch_head();
    output("git", &["rev-parse", "HEAD"])
        .filter(|commit| is_word(commit))
        .unwrap_or_else(|| "unknown".to_owned())
}

/// Triggers a build when another commit is checked out or made.
fn watch_head() {
    let Some(git) = output("git", &["rev-parse", "--git-dir"]).map(PathBuf::from) else { return };
    let shared = output("git", &["rev-parse", "--git-common-dir"]).map(PathBuf::from);
    // The log of HEAD grows with each commit, even if the branch has no file of its own yet.
    let mut paths = vec![git.join("HEAD"), git.join("logs/HEAD")];
    if let Some(reference) = output("git", &["symbolic-ref", "--quiet", "HEAD"]) {
        let shared = shared.unwrap_or_else(|| git.clone());
        paths.extend([shared.join(reference), shared.join("packed-refs")]);
    }
    // Cargo would treat a missing file as changed in each build.
    for path in paths.iter().filter(|path| path.exists()) {
        println!("cargo::rerun-if-changed={}", path.display());
    }
}

/// `rustc 1.95.0 (…)` without the part in brackets.
fn rustc() -> String {
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    output(&rustc, &["--version"])
        .and_then(|text| text.split(' ').nth(1).map(str::to_owned))
        .unwrap_or_else(|| "unknown".to_owned())
}

fn output(program: &str, args: &[&str]) -> Option<String> {
    let output = Command::new(program).args(args).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    (output.status.success() && !text.trim().is_empty()).then(|| text.trim().to_owned())
}

/// Whether a text is one printable word, which can go into the binary.
fn is_word(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())
}
