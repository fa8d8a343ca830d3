//! Detects changes of the certificate files by polling, through symbolic links: Kubernetes swaps
//! the folder that a link of a mounted volume points to, and change notifications for the link's
//! own folder do not report that.

use std::path::PathBuf;
use std::time::Duration;

use rustix::fs::Stat;
use tokio::time::Instant;

use super::blocking::blocking;
use super::reads::Reads;

/// How often the files' metadata is compared. A stat of three files costs some microseconds.
const INTERVAL: Duration = Duration::from_secs(2);

/// How often the files are read again even if they look unchanged (contract `config.md`, While it
/// runs).
const REREAD: Duration = Duration::from_secs(15 * 60);

/// The metadata of a set of files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fingerprint(Vec<Option<FileState>>);

/// Device, inode, size, and the times at which content and inode changed.
type FileState = (u64, u64, i64, (i64, u64), (i64, u64));

impl Fingerprint {
    /// Reads the metadata of the files; of a folder, that of the files in it too.
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

/// Waits until the files' metadata differs from `seen`, or until it is time to read them anyway.
/// Returns the metadata of that moment. A reload may name other files meanwhile, so `files` is
/// called each time.
pub(crate) async fn changed(
    files: impl Fn() -> Vec<PathBuf>,
    seen: &Fingerprint,
    reads: &Reads,
) -> Fingerprint {
    let reread = Instant::now() + REREAD;
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.tick().await; // the first is immediate
    loop {
        ticks.tick().await;
        let files = files();
        let now = reads.run(|_| blocking(move || Fingerprint::of(&files))).await;
        // If the files cannot be looked at in time, reading them says so.
        let now = match now {
            Ok(now) => now,
            Err(_) if Instant::now() < reread => continue,
            Err(_) => return seen.clone(),
        };
        if now != *seen || Instant::now() >= reread {
            return now;
        }
    }
}
