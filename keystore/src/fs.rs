//! Keys as files of one folder: the name of a file is the name of the key, and its content is the
//! stored key (contract `crypto-and-storage.md`, In a key store).
//!
//! A disk may hang, above all one on a network. So its blocking calls run on threads outside of
//! the runtime's workers, a bounded number at a time, and a caller does not wait for them beyond
//! a deadline.

/// Proof that a folder can be used.
pub(crate) mod check;

/// The blocking calls on the folder.
mod folder;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use kes_api::{KeyName, ListPattern};
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::task::{self, JoinHandle};
use tokio::time::{self, Instant};

use self::folder::{Entries, Folder, Opened};
use crate::config::ConfiguredPath;
use crate::wrap::Deadline;
use crate::{Error, KeyStore, Kind, Limit, OpenError, Page, State, Value};

/// How long a caller waits for the disk: less than the 15 s of its route, so that its client gets
/// an answer.
const DEADLINE: Duration = Duration::from_secs(10);

/// How many calls may be at the disk at once. Each occupies a thread of the runtime's blocking pool
/// for as long as the disk hangs; the pool is shared and has 512 threads.
const MAX_CALLS: usize = 64;

/// How often the folder is checked.
const CHECK_INTERVAL: Duration = Duration::from_secs(5);

/// A check of the folder that takes longer counts as failed.
const CHECK_DEADLINE: Duration = Duration::from_secs(5);

/// How many entries of the folder are searched for unfinished files before a pause.
const SWEEP_ENTRIES: usize = 200;

/// The length of that pause, in which requests use the disk. To search a folder of a million keys
/// takes a minute: neither a start nor a reload waits for it.
const SWEEP_PAUSE: Duration = Duration::from_millis(10);

/// The kind of this store.
const KIND: Kind = Kind::Fs;

/// A folder of keys, with a deadline for every call.
pub type FsStore = Deadline<FsBackend>;

/// A folder of keys.
pub struct FsBackend {
    folder: Arc<Folder>,
    calls: Arc<Semaphore>,
    health: Arc<Mutex<Health>>,
    watch: JoinHandle<()>,
}

/// What the last check of the folder found, and since when the next one is under way.
struct Health {
    state: State,
    /// Why the folder is not available.
    cause: Option<String>,
    checking_since: Option<Instant>,
}

impl Deadline<FsBackend> {
    /// Opens a folder; creates it for this user alone if it is missing. A background task removes
    /// unfinished files that a crashed server left over an hour ago. Must be called within a tokio
    /// runtime.
    ///
    /// # Errors
    /// [`OpenError::Folder`] if it cannot be created or read, or does not answer.
    pub async fn open(path: impl Into<ConfiguredPath>) -> Result<Self, OpenError> {
        let path = path.into();
        let opened = task::spawn_blocking({
            let path = path.to_path_buf();
            move || Folder::open(path)
        });
        let opened = match time::timeout(DEADLINE, opened).await {
            Ok(Ok(opened)) => opened,
            Ok(Err(ended)) => Err(io::Error::other(ended)),
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        };
        let Opened { folder, state, entries, is_new } = match opened {
            Ok(opened) => opened,
            Err(reason) => return Err(OpenError::Folder { path, reason }),
        };
        if is_new {
            // A mistyped path looks the same as a new key store.
            tracing::warn!(
                "{}",
                path.blame(format_args!(
                    "folder '{}' did not exist and was made; it is empty, so the key store has no \
                     keys: correct the path if it has a mistake",
                    path.display()
                ))
            );
        }
        let folder = Arc::new(folder);
        let health = Arc::new(Mutex::new(Health { state, cause: None, checking_since: None }));
        let watch = watch(Arc::clone(&folder), Arc::clone(&health));
        let watch = task::spawn(async { tokio::join!(sweep(entries), watch).1 });
        let late = format!("folder '{}' did not answer", folder.path().display());
        let calls = Arc::new(Semaphore::new(MAX_CALLS));
        Ok(Self::new(FsBackend { folder, calls, health, watch }, DEADLINE, late))
    }
}

impl FsBackend {
    /// The folder, as it was configured.
    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Does blocking work on a thread for it. Work that has begun completes, also when its caller
    /// has gone, and counts among the calls at the disk until then.
    async fn call<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Folder) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let call = Arc::clone(&self.calls).acquire_owned().await;
        let call = call.expect("the semaphore is never closed");
        let folder = Arc::clone(&self.folder);
        let work = task::spawn_blocking(move || {
            let result = work(&folder);
            drop(call);
            result
        });
        work.await.unwrap_or_else(|ended| {
            Err(Error::Unavailable { reason: format!("'{}': {ended}", self.path().display()) })
        })
    }
}

impl KeyStore for FsBackend {
    async fn create(&self, name: &KeyName, value: &Value) -> Result<(), Error> {
        let (name, value) = (*name, value.copy());
        self.call(move |folder| folder.create(name, &value)).await
    }

    async fn read(&self, name: &KeyName) -> Result<Value, Error> {
        let name = *name;
        self.call(move |folder| folder.read(name)).await
    }

    async fn delete(&self, name: &KeyName) -> Result<(), Error> {
        let name = *name;
        self.call(move |folder| folder.delete(name)).await
    }

    async fn list(&self, pattern: &ListPattern<'_>, limit: Limit) -> Result<Page, Error> {
        let pattern = pattern.continue_at(pattern.from());
        self.call(move |folder| {
            let pattern = ListPattern::parse(&pattern).expect("the text of a pattern is one");
            folder.list(&pattern, limit)
        })
        .await
    }

    /// What the last check found: at most some seconds old.
    fn state(&self) -> State {
        let health = self.health.lock();
        match health.checking_since {
            Some(since) if since.elapsed() > CHECK_DEADLINE => State::Unreachable,
            _ => health.state,
        }
    }

    fn kind(&self) -> Kind {
        KIND
    }

    fn description(&self) -> String {
        format!("filesystem: {}", self.path().display())
    }

    /// Why the folder is not available, if the last check found that.
    fn trouble(&self) -> Option<String> {
        let cause = self.health.lock().cause.clone()?;
        Some(format!("folder '{}' is not available: {cause}", self.path().display()))
    }
}

impl Drop for FsBackend {
    fn drop(&mut self) {
        self.watch.abort();
    }
}

/// Removes unfinished files of long ago.
async fn sweep(entries: Entries) {
    let mut left = Some(entries);
    while let Some(entries) = left.take() {
        let piece = task::spawn_blocking(move || entries.remove_stale(SWEEP_ENTRIES));
        left = piece.await.ok().flatten();
        time::sleep(SWEEP_PAUSE).await;
    }
}

/// Checks the folder at intervals until it is aborted, and logs when it goes away, why, and when it
/// is back.
async fn watch(folder: Arc<Folder>, health: Arc<Mutex<Health>>) {
    let mut told = None;
    loop {
        time::sleep(CHECK_INTERVAL).await;
        health.lock().checking_since = Some(Instant::now());
        let looking = Arc::clone(&folder);
        let look = async {
            task::spawn_blocking(move || looking.check())
                .await
                .unwrap_or_else(|ended| (State::Unavailable, Some(ended.to_string())))
        };
        let mut look = std::pin::pin!(look);
        let (state, cause) = match time::timeout(CHECK_DEADLINE, look.as_mut()).await {
            Ok(found) => found,
            Err(_) => {
                let hangs = format!("it did not answer within {} s", CHECK_DEADLINE.as_secs());
                health.lock().cause = Some(hangs.clone());
                tell(&folder, &mut told, Some(hangs));
                look.await
            }
        };
        *health.lock() = Health { state, cause: cause.clone(), checking_since: None };
        tell(&folder, &mut told, cause);
    }
}

/// Logs why the folder is not available, or that it is available again, unless that was logged last.
fn tell(folder: &Folder, told: &mut Option<String>, cause: Option<String>) {
    let path = folder.path().display();
    match &cause {
        same if same == told => {}
        Some(cause) => tracing::warn!("key store: fs: folder '{path}' is not available: {cause}"),
        None => tracing::info!("key store: fs: folder '{path}' is available again"),
    }
    *told = cause;
}

#[cfg(test)]
mod tests;
