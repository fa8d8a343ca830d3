//! The commit that this binary is built from, as `KES_BUILD_COMMIT`, and the compiler, as
//! `KES_BUILD_RUSTC`, for `kes --version` and the `/version` API. For the tests, whether MinIO is
//! there.

use std::path::PathBuf;
use std::process::Command;

fn main() {
    println!("cargo::rustc-env=KES_BUILD_COMMIT={}", commit());
    println!("cargo::rustc-env=KES_BUILD_RUSTC={}", rustc());
    println!("cargo::rerun-if-env-changed=KES_COMMIT");
    println!("cargo::rerun-if-changed=cli/build.rs");
    minio();
}

/// Sets `has_minio`, without which the test runner says that the test with MinIO is ignored: it
/// has to know before it runs.
fn minio() {
    println!("cargo::rustc-check-cfg=cfg(has_minio)");
    let is_set = |name| {
        println!("cargo::rerun-if-env-changed={name}");
        std::env::var_os(name).is_some_and(|value| !value.is_empty())
    };
    // Both are looked at, so that a change of either is seen.
    if ["MINIO_BIN", "MC_BIN"].map(is_set) == [true, true] {
        println!("cargo::rustc-cfg=has_minio");
    }
}

/// `KES_COMMIT` wins, for builds from an archive; then what git says; a build needs neither.
fn commit() -> String {
    if let Some(commit) = std::env::var("KES_COMMIT").ok().filter(|commit| is_word(commit)) {
        return commit;
    }
    watch_head();
    output("git", &["rev-parse", "HEAD"])
        .filter(|commit| is_word(commit))
        .unwrap_or_else(|| "unknown".to_owned())
}

/// Builds again when another commit is checked out or made.
fn watch_head() {
    let Some(git) = output("git", &["rev-parse", "--git-dir"]).map(PathBuf::from) else { return };
    let shared = output("git", &["rev-parse", "--git-common-dir"]).map(PathBuf::from);
    // The log of HEAD grows with each commit, also while the branch itself has no file yet.
    let mut paths = vec![git.join("HEAD"), git.join("logs/HEAD")];
    if let Some(reference) = output("git", &["symbolic-ref", "--quiet", "HEAD"]) {
        let shared = shared.unwrap_or_else(|| git.clone());
        paths.extend([shared.join(reference), shared.join("packed-refs")]);
    }
    // Cargo takes a file that does not exist for one that changed, each time.
    for path in paths.iter().filter(|path| path.exists()) {
        println!("cargo::rerun-if-changed={}", path.display());
    }
}

/// `rustc 1.95.0 (…)` without what stands in brackets.
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

/// A value that goes into the binary in one line.
fn is_word(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())
}
