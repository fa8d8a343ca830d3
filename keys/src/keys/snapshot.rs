use kes_api::{Identity, KeyName};
use kes_keystore::{Error, KeyStore};

use super::Keys;
use crate::cache::{SnapshotSettings, SnapshotStatus};
use crate::{Clock, Observer};

impl<S: KeyStore + 'static, O: Observer, C: Clock> Keys<S, O, C> {
    /// Keeps a snapshot of the keys in a file from now on, or none; one that is no longer kept is removed
    /// from the disk. One that is there is opened, if this server has written it (`identity` is that of
    /// its certificate) and its keys are of the same `place`, in 64 hexadecimal digits. What is wrong
    /// with it is logged.
    pub async fn configure_snapshot(
        &self,
        settings: Option<SnapshotSettings>,
        place: String,
        identity: Identity,
    ) {
        self.cache.configure_snapshot(settings, place, identity).await;
    }

    /// Writes the snapshot if that is due. Called once a second.
    pub async fn snapshot_round(&self, identity: Identity) {
        self.cache.snapshot_round(identity).await;
    }

    /// Writes the last snapshot before this process ends, or before another one takes over.
    pub async fn save_snapshot(&self, identity: Identity) {
        self.cache.save_snapshot(identity).await;
    }

    /// Leaves the snapshot to a process that takes over and has the order of all changes, or takes it
    /// back from one that failed.
    pub async fn release_snapshot(&self, is_released: bool) {
        self.cache.release_snapshot(is_released).await;
    }

    /// Removes a key from the snapshot, which another process is to delete.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if that cannot be done.
    pub async fn purge_snapshot(&self, name: &KeyName) -> Result<(), Error> {
        self.cache.purge(name).await
    }

    /// What is known of the snapshot; `None` if there is to be none.
    pub fn snapshot(&self) -> Option<SnapshotStatus> {
        self.cache.snapshot_status()
    }
}
