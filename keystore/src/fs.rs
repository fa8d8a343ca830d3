//! Keys as files of one folder: the name of a file is the name of the key, and its content is the
//! stored key (contract `crypto-and-storage.md`, In a key store).
//!
//! A disk may hang, above all one on a network. So its blocking calls run on threads outside of
//! the runtime's workers, and a call keeps its slot in the limit of calls as long as its thread
//! works, whether or not its caller still waits.

/// Proof that a folder can be used.
pub(crate) mod check;

/// The blocking calls on the folder.
mod folder;

/// The folders that a server has opened.
mod known;

/// A folder is for one server.
mod lock;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use kes_api::{KeyName, ListPattern};
use tokio::task::{self, JoinHandle};
use tokio::time;

pub use self::folder::MARKER;
use self::folder::{Demands, Entries, Folder, Opened};
pub use self::known::KnownFolders;
pub use self::lock::FolderLock;
use self::lock::{Locks, NoLock};
use crate::config::{self, ConfiguredPath, Location};
use crate::inventory::{ForeignNames, Inventory, KeyFile, NameRules};
use crate::wrap::{Budgets, Check, ConcurrencyLimit, Deadline, Health, Monitor, Slot, Unsettled};
use crate::{Error, KeyStore, Kind, Limit, OpenError, Page, State, Value};

/// How long a caller waits for the disk: less than the 15 s of its route, so that its client gets
/// an answer.
const DEADLINE: Duration = Duration::from_secs(10);

/// How many calls may be at the disk at once. Each occupies a thread of the runtime's blocking pool
/// for as long as the disk hangs; the pool is shared and has 512 threads. A listing goes through
/// the whole folder and keeps a processor busy meanwhile: a few are as fast as many, and leave the
/// processors to reads. The server lets its callers have fewer calls under way at a time, so that
/// none of them waits here for another one.
const BUDGETS: Budgets = Budgets { reads: 96, changes: 64, listings: 8 };

/// How many entries of the folder are searched for unfinished files before a pause.
const SWEEP_ENTRIES: usize = 200;

/// The length of that pause, in which requests use the disk. To search a folder of a million keys
/// takes a minute: neither a start nor a reload waits for it.
const SWEEP_PAUSE: Duration = Duration::from_millis(10);

/// How long a start waits for the lock of its folder: a server that was killed has to end first.
const LOCK_PATIENCE: Duration = Duration::from_secs(4);

/// How often a lock is tried meanwhile.
const LOCK_INTERVAL: Duration = Duration::from_millis(100);

/// The kind of this store.
const KIND: Kind = Kind::new(&"fs");

/// Why a server opens a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opening {
    /// It starts.
    Start,
    /// It has read its configuration again.
    Reload,
}

/// A folder of keys, with regular checks, a limit of calls at one time, and a deadline for every
/// call.
pub type FsStore = Deadline<ConcurrencyLimit<Health<FsBackend>>>;

/// A folder of keys.
pub struct FsBackend {
    folder: Arc<Folder>,
    /// How the folder was when it was opened.
    state: State,
    /// Removes unfinished files; `None` where nothing may be changed.
    sweeper: Option<JoinHandle<()>>,
}

impl Deadline<ConcurrencyLimit<Health<FsBackend>>> {
    /// Opens a folder, and locks it; creates it for this user alone if it is missing, unless this is a
    /// reload, it was opened before, or the configuration demands an ID. A background task removes
    /// unfinished files that a crashed server left over an hour ago. Must be called within a tokio
    /// runtime.
    ///
    /// # Errors
    /// [`OpenError::Folder`] if it cannot be created or read, does not answer, is another one than
    /// the configuration demands or was opened before, or another process has its lock.
    pub async fn open(
        fs: config::Fs,
        known: &KnownFolders,
        opening: Opening,
    ) -> Result<Self, OpenError> {
        let config::Fs { path, id } = fs;
        let (is_reload, locks) = (opening == Opening::Reload, known.locks());
        let demands = Demands { id, known: known.get(&path), is_reload, ..Demands::default() };
        let is_demanded = demands.id.is_some() || demands.known.is_some();
        let opened = open_folder(&path, demands).await?;
        let folder = Arc::clone(&opened.folder);
        if let Err(reason) = lock(&folder, &locks).await {
            return Err(OpenError::Folder { path, reason });
        }
        known.insert(&path, opened.known);
        tell(&path, &opened, is_demanded);
        Ok(Self::of(&path, opened, true))
    }

    /// Opens a folder as a server would at its start, to check it: it gets no marker.
    async fn open_untouched(fs: &config::Fs) -> Result<(Self, Found), OpenError> {
        let demands = Demands { id: fs.id, untouched: true, ..Demands::default() };
        let opened = open_folder(&fs.path, demands).await?;
        let found = Found { id: opened.folder.id(), is_empty: opened.is_empty };
        Ok((Self::of(&fs.path, opened, true), found))
    }

    /// Opens a folder that exists, to read keys: nothing is written into it, and nothing removed.
    ///
    /// # Errors
    /// As [`FsStore::open`]; also if the folder is missing.
    pub async fn open_to_read(fs: config::Fs) -> Result<Self, OpenError> {
        let demands = Demands { id: fs.id, exists: true, untouched: true, ..Demands::default() };
        let opened = open_folder(&fs.path, demands).await?;
        Ok(Self::of(&fs.path, opened, false))
    }

    /// Adds to a location which folder was found there.
    pub(crate) fn located(&self, location: Location) -> Location {
        let (folder, marker) = self.backend().folder.inodes();
        location.part("", format_args!("{folder} {marker:?}"))
    }

    /// The path of the folder. No message shows it.
    pub(crate) fn path(&self) -> &Path {
        self.backend().folder.path()
    }

    /// Whether a path leads to this folder.
    pub(crate) async fn is_at(&self, path: &Path) -> bool {
        let (folder, path) = (Arc::clone(&self.backend().folder), path.to_owned());
        task::spawn_blocking(move || folder.is_at(&path)).await.unwrap_or(false)
    }

    /// The store within all wrappers.
    fn backend(&self) -> &FsBackend {
        self.inner().inner().inner()
    }

    fn of(path: &ConfiguredPath, opened: Opened, sweeps: bool) -> Self {
        let Opened { folder, state, entries, .. } = opened;
        let sweeper = sweeps.then(|| task::spawn(sweep(entries)));
        let backend = FsBackend { folder, state, sweeper };
        let name = format!("folder '{}'", path.display());
        let late = format!("{name} did not answer");
        let monitor = Arc::new(Monitor::opened(KIND, &name, state));
        let store = ConcurrencyLimit::new(Health::new(backend, monitor), BUDGETS);
        Self::new(store, DEADLINE, late)
    }
}

/// What a check finds in a folder.
struct Found {
    id: Option<config::FolderId>,
    is_empty: bool,
}

async fn open_folder(path: &ConfiguredPath, demands: Demands) -> Result<Opened, OpenError> {
    let demands = Demands { shown: Some(path.display().to_string()), ..demands };
    let opened = task::spawn_blocking({
        let path = path.to_path_buf();
        move || Folder::open(&path, &demands)
    });
    let opened = match time::timeout(DEADLINE, opened).await {
        Ok(Ok(opened)) => opened,
        Ok(Err(ended)) => Err(io::Error::other(ended)),
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    };
    opened.map_err(|reason| OpenError::Folder { path: path.clone(), reason })
}

/// Locks a folder. Waits as long as another process has the lock, but not longer than
/// [`LOCK_PATIENCE`]. Where there are no locks it warns and goes on.
async fn lock(folder: &Arc<Folder>, locks: &Arc<Locks>) -> io::Result<()> {
    let end = time::Instant::now() + LOCK_PATIENCE;
    loop {
        let (locked, locks) = (Arc::clone(folder), Arc::clone(locks));
        let result = task::spawn_blocking(move || locked.lock(locks)).await;
        match result.unwrap_or_else(|ended| Err(NoLock::Failed(io::Error::other(ended)))) {
            Ok(()) => return Ok(()),
            Err(NoLock::Failed(error)) => {
                tracing::warn!(
                    "cannot lock folder '{}': {error}; nothing keeps another server from using it as \
                     well, and no two servers may",
                    folder.shown()
                );
                return Ok(());
            }
            Err(NoLock::Taken { .. }) if time::Instant::now() < end => {
                time::sleep(LOCK_INTERVAL).await;
            }
            Err(NoLock::Taken { process }) => {
                let process = process.map(|id| format!(" (process {id})")).unwrap_or_default();
                return Err(io::Error::other(format!(
                    "another server, or `kes migrate`, is using it{process}; a folder is for one \
                     server: stop that one, or let each have a folder of its own"
                )));
            }
        }
    }
}

/// Logs what an operator has to know of a folder that was opened.
fn tell(path: &ConfiguredPath, opened: &Opened, is_demanded: bool) {
    let name = path.display();
    // A mistyped path, or a file system that is not mounted, looks the same as a new key store.
    if opened.is_new {
        let text = format_args!(
            "folder '{name}' did not exist and was made; it is empty, so the key store has no keys: \
             correct the path if it has a mistake"
        );
        tracing::warn!(detail = %path.blame(text));
    } else if opened.is_empty && !is_demanded {
        let text = format_args!(
            "folder '{name}' has no keys; if keys are expected, stop the server, and mount or \
             restore the folder"
        );
        tracing::warn!(detail = %path.blame(text));
    }
    match (&opened.marked, opened.folder.id()) {
        (Some(Ok(())), Some(id)) => tracing::info!(
            "key store: {KIND}: folder '{name}' has the marker '{MARKER}' now, with the ID {id}; \
             `keystore.fs.id: {id}` makes the server refuse any other folder"
        ),
        (Some(Err(error)), _) => {
            let text = format_args!(
                "cannot write the marker '{MARKER}' into folder '{name}': {error}; if the folder is \
                 mounted again while the server runs, the server has to be restarted"
            );
            tracing::warn!(detail = %path.blame(text));
        }
        _ => {}
    }
}

impl FsBackend {
    /// Does blocking work on a thread for it. Work that has begun completes, also when its caller
    /// has gone, and keeps the slot of the call until then. So does a change of a key its place in
    /// the line of the key.
    async fn call<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Folder) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let kept = (Slot::current(), Unsettled::current());
        let folder = Arc::clone(&self.folder);
        let work = task::spawn_blocking(move || {
            let result = work(&folder);
            // The call may have been given up.
            if let (Ok(_), (_, Some(change))) = (&result, &kept) {
                change.carried_out();
            }
            drop(kept);
            result
        });
        work.await.unwrap_or_else(|ended| {
            Err(Error::Unavailable { reason: format!("'{}': {ended}", self.folder.shown()) })
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
            #[expect(clippy::expect_used, reason = "it is the text of a pattern")]
            let pattern = ListPattern::parse(&pattern).expect("the text of a pattern is one");
            folder.list(&pattern, limit)
        })
        .await
    }

    fn state(&self) -> State {
        self.state
    }

    fn kind(&self) -> Kind {
        KIND
    }

    fn description(&self) -> String {
        format!("filesystem: {}", self.folder.shown())
    }
}

impl Inventory for FsBackend {
    async fn foreign(&self, mut names: ForeignNames) -> Result<ForeignNames, Error> {
        self.call(move |folder| folder.foreign(&mut names).map(|()| names)).await
    }

    async fn name_rules(&self) -> Result<NameRules, Error> {
        self.call(|folder| Ok(NameRules { ignores_case: folder.ignores_case(), ..NameRules::ANY }))
            .await
    }

    async fn file(&self, name: &KeyName) -> Result<Option<KeyFile>, Error> {
        let name = *name;
        self.call(move |folder| folder.file(name)).await
    }
}

impl Check for FsBackend {
    async fn check(&self) -> (State, Option<String>) {
        let folder = Arc::clone(&self.folder);
        task::spawn_blocking(move || folder.check())
            .await
            .unwrap_or_else(|ended| (State::Unavailable, Some(ended.to_string())))
    }
}

impl Drop for FsBackend {
    fn drop(&mut self) {
        if let Some(sweeper) = &self.sweeper {
            sweeper.abort();
        }
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

#[cfg(test)]
mod tests;
