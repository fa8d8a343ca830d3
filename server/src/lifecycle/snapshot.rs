//! The snapshot of the keys in use (contract `config.md`, Cache): when it is opened and written.

use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use kes_config::SnapshotKeySource;
use kes_keys::SnapshotSettings;
use kes_keys::snapshot::{InvalidKey, MAX_KEY, SnapshotKey};
use rustix::fs::{Access, access};
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::error::SetupError;
use super::state::Running;
use crate::service::generation::Generation;

/// How often it is seen to. Each time costs some microseconds unless it is written.
const TICK: Duration = Duration::from_secs(1);

/// How long a start or a reload waits for a disk that hangs.
const OPEN_LIMIT: Duration = Duration::from_secs(10);

/// How long a server that ends waits for the disk. systemd kills it 5 s after its last request.
const SAVE_LIMIT: Duration = Duration::from_secs(3);

/// Reads the key of a snapshot.
///
/// # Errors
/// [`SetupError::Snapshot`] if it cannot be read, or is none.
pub(super) fn settings(
    configured: Option<kes_config::Snapshot>,
) -> Result<Option<SnapshotSettings>, SetupError> {
    let Some(configured) = configured else { return Ok(None) };
    let key = key(&configured).map_err(|reason| SetupError::Snapshot { reason })?;
    let kes_config::Snapshot { path, key: _, max_age } = configured;
    Ok(Some(SnapshotSettings {
        shown: path.display().to_string(),
        path: path.to_path_buf(),
        key: Arc::new(key),
        max_age,
    }))
}

fn key(configured: &kes_config::Snapshot) -> Result<SnapshotKey, String> {
    match &configured.key {
        SnapshotKeySource::Literal(text) => SnapshotKey::of_bytes(text.expose().as_bytes())
            .map_err(|error: InvalidKey| format!("cache.snapshot.key_text: {error}")),
        SnapshotKeySource::File(path) => {
            let blame = |fault: &dyn std::fmt::Display| {
                path.blame(format_args!("{}: {fault}", path.display()))
            };
            // One byte more than a key may have, and a line end.
            let read = kes_tls::open_file(path).and_then(|file| read_key(file, MAX_KEY + 3));
            let bytes = read.map_err(|error| blame(&error))?;
            SnapshotKey::of_bytes(&bytes).map_err(|error| blame(&error))
        }
    }
}

fn read_key(file: std::fs::File, most: usize) -> std::io::Result<zeroize::Zeroizing<Vec<u8>>> {
    use std::io::Read as _;
    // Allocated at full size: a buffer that grows leaves a copy behind.
    let mut bytes = zeroize::Zeroizing::new(Vec::with_capacity(most + 1));
    file.take(u64::try_from(most).unwrap_or(u64::MAX)).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Whether a snapshot could be kept. Nothing is written.
///
/// # Errors
/// Why it could not, with the field that names it.
pub fn check_snapshot(configured: &kes_config::Snapshot) -> Result<(), String> {
    key(configured)?;
    let path = &configured.path;
    let blame =
        |fault: &dyn std::fmt::Display| path.blame(format_args!("{}: {fault}", path.display()));
    if path.is_dir() {
        return Err(blame(&"it is a folder; name a file in it"));
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or_else(|| Path::new("."));
    if !folder.is_dir() {
        return Err(blame(&"its folder does not exist"));
    }
    access(folder, Access::WRITE_OK | Access::EXEC_OK)
        .map_err(|error| blame(&format_args!("its folder cannot be written: {error}")))
}

/// Keeps the snapshot of a configuration from now on, or none. `old` is the generation before this one.
pub(super) async fn begin(
    running: &Running,
    old: Option<Arc<Generation>>,
    settings: Option<SnapshotSettings>,
) {
    let identity = running.endpoint.tls.load().identity();
    let generation = running.service.generation.load_full();
    // In a task of its own: it goes on if the disk hangs.
    let beginning = tokio::spawn(async move {
        // Those of another key store.
        if let Some(old) = old.filter(|old| !Arc::ptr_eq(&old.keys, &generation.keys)) {
            old.keys.configure_snapshot(None, String::new(), identity).await;
        }
        let place = generation.location.fingerprint();
        generation.keys.configure_snapshot(settings, place, identity).await;
    });
    if timeout(OPEN_LIMIT, beginning).await.is_err() {
        tracing::warn!(
            "snapshot: the disk does not answer within {} s; the server goes on without a snapshot \
             until it does",
            OPEN_LIMIT.as_secs()
        );
    }
}

/// Writes it whenever that is due. Never returns.
pub(super) async fn follow(running: Arc<Running>) -> Infallible {
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let identity = running.endpoint.tls.load().identity();
        let keys = Arc::clone(&running.service.generation.load().keys);
        keys.snapshot_round(identity).await;
    }
}

/// Writes the last one of this process, before it ends or another one takes over.
pub(super) async fn save(running: &Running) {
    let identity = running.endpoint.tls.load().identity();
    let keys = Arc::clone(&running.service.generation.load().keys);
    if timeout(SAVE_LIMIT, keys.save_snapshot(identity)).await.is_err() {
        tracing::warn!("snapshot: the last one was not written within {} s", SAVE_LIMIT.as_secs());
    }
}
