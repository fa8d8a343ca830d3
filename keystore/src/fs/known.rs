use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::folder::Known;
use super::lock::Locks;

/// The key folders that a server has opened since its start, by their paths. A folder that is opened
/// again must be the same one, or a copy with its marker: a reload does not take an empty mount point
/// for a key store that had keys. It has an entry for each path that the configuration has named.
#[derive(Default)]
pub struct KnownFolders {
    known: Mutex<BTreeMap<PathBuf, Known>>,
    locks: Arc<Locks>,
}

impl KnownFolders {
    pub(super) fn get(&self, path: &Path) -> Option<Known> {
        self.known.lock().get(&absolute(path)).copied()
    }

    pub(super) fn insert(&self, path: &Path, known: Known) {
        self.known.lock().insert(absolute(path), known);
    }

    pub(super) fn locks(&self) -> Arc<Locks> {
        Arc::clone(&self.locks)
    }
}

/// So that `keys` and `./keys` are one path.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}
