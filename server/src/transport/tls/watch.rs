//! Looks at the certificate files every few seconds, and through symbolic links: a mounted
//! volume swaps the folder that a link points to, which no change notification of the link's own
//! folder tells.

use std::path::PathBuf;
use std::time::Duration;

use rustix::fs::Stat;
use tokio::time::Instant;

/// How often the files' states are compared. A stat of three files costs some microseconds.
const INTERVAL: Duration = Duration::from_secs(2);

/// How often the files are read again even if they look unchanged (contract `config.md`, While it
/// runs).
const REREAD: Duration = Duration::from_secs(15 * 60);

/// The states of a set of files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fingerprint(Vec<Option<FileState>>);

/// Device, inode, size, and the times of change of content and of inode.
type FileState = (u64, u64, i64, (i64, u64), (i64, u64));

impl Fingerprint {
    /// Looks at the files, and at the files in a folder.
    pub(crate) fn of(files: &[PathBuf]) -> Self {
        let mut states = Vec::with_capacity(files.len());
        for file in files {
            states.push(state(file));
            let mut entries: Vec<PathBuf> = std::fs::read_dir(file)
                .map(|entries| entries.flatten().map(|entry| entry.path()).collect())
                .unwrap_or_default();
            entries.sort();
            states.extend(entries.iter().map(|entry| state(entry)));
        }
        Self(states)
    }
}

fn state(file: &std::path::Path) -> Option<FileState> {
    // Field widths differ between architectures.
    #[allow(clippy::useless_conversion, clippy::unnecessary_cast, reason = "see above")]
    fn fields(stat: &Stat) -> FileState {
        let modified = (i64::from(stat.st_mtime), stat.st_mtime_nsec as u64);
        let changed = (i64::from(stat.st_ctime), stat.st_ctime_nsec as u64);
        (u64::from(stat.st_dev), stat.st_ino, i64::from(stat.st_size), modified, changed)
    }
    rustix::fs::stat(file).ok().as_ref().map(fields)
}

/// Waits until the files' states differ from `seen`, or until it is time to read them anyway.
/// Returns what was seen then. A reload may name other files while this waits: it asks each time.
pub(crate) async fn changed(files: impl Fn() -> Vec<PathBuf>, seen: &Fingerprint) -> Fingerprint {
    let reread = Instant::now() + REREAD;
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.tick().await; // the first is immediate
    loop {
        ticks.tick().await;
        let files = files();
        // A network mount may hang; the runtime must not.
        let now = tokio::task::spawn_blocking(move || Fingerprint::of(&files)).await;
        let now = now.unwrap_or_default();
        if now != *seen || Instant::now() >= reread {
            return now;
        }
    }
}
