//! When the file is written, and when it is removed.

use std::io;
use std::sync::Arc;

use kes_api::{Identity, KeyName};
use kes_keystore::{Error, KeyStore};

use super::super::{Cache, Entry};
use super::disk::{Content, Disk, Names, State, fingerprint};
use super::{INTERVAL, MAX_INTERVAL, Settings, count};
use crate::{Clock, Observer};

impl<S: KeyStore + 'static, O: Observer, C: Clock> Cache<S, O, C> {
    /// Removes a key from the snapshot, which is to be deleted. Returns once the disk does not have it.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the file can be neither written nor removed.
    pub(crate) async fn purge(self: &Arc<Self>, name: &KeyName) -> Result<(), Error> {
        if !self.snapshot.is_on() {
            return Ok(());
        }
        let name = *name;
        self.with_disk(move |cache, disk| {
            cache.snapshot.drop_kept(&name);
            let has_it = match &disk.state {
                State::Nothing => false,
                State::Unknown => true,
                State::Known(_) => cache.snapshot.names.read().contains_key(&name),
            };
            let Some(settings) = disk.settings.clone().filter(|_| has_it && !disk.is_released)
            else {
                return Ok(());
            };
            let identity = match &disk.state {
                State::Known(known) => Some(known.identity),
                State::Nothing | State::Unknown => None,
            };
            // What nobody knows is removed at once.
            let error = match identity.map(|identity| cache.write_snapshot(disk, identity, Some(&name))) {
                Some(Ok(())) => return Ok(()),
                Some(Err(error)) => Some(error),
                None => None,
            };
            let shown = &settings.shown;
            match disk.remove() {
                Ok(()) => {
                    cache.snapshot.wrote(Names::new(), cache.clock.date());
                    if let Some(error) = error {
                        tracing::warn!(
                            "snapshot: '{shown}' was removed: it held key '{name}', which is to be \
                             deleted, and could not be written without it: {error}"
                        );
                    }
                    Ok(())
                }
                Err(error) => Err(Error::Unavailable {
                    reason: format!(
                        "key '{name}' is not deleted: the snapshot '{shown}' may hold it, and can be \
                         neither written nor removed: {error}"
                    ),
                }),
            }
        })
        .await
        .unwrap_or_else(|| {
            let reason = format!("key '{name}' is not deleted: the write of the snapshot panicked");
            Err(Error::Unavailable { reason })
        })
    }

    /// The keys in memory.
    fn in_memory(&self) -> Vec<(KeyName, Arc<Entry>)> {
        let mut entries = Vec::with_capacity(self.len());
        for shard in &self.shards {
            let shard = shard.read();
            entries.extend(shard.iter().map(|(name, entry)| (*name, Arc::clone(entry))));
        }
        entries
    }

    pub(super) fn is_snapshot_due(&self, disk: &Disk, identity: Identity) -> bool {
        let Some(settings) = disk.settings.as_ref().filter(|_| !disk.is_released) else {
            return false;
        };
        let longest = (settings.max_age / 16).min(MAX_INTERVAL);
        let passed = disk.tried.map(|tried| self.clock.now().saturating_duration_since(tried));
        if passed.is_some_and(|passed| passed < INTERVAL.min(longest)) {
            return false;
        }
        let is_old = passed.is_some_and(|passed| passed >= longest);
        let is_other = match &disk.state {
            State::Known(known) => known.identity != identity,
            State::Nothing | State::Unknown => false,
        };
        let is_new = || {
            let names = self.snapshot.names.read();
            let is_new = |(name, entry): &(KeyName, Arc<Entry>)| {
                names.get(name) != Some(&fingerprint(entry.record()))
            };
            !disk.is_full && self.in_memory().iter().any(is_new)
        };
        let has_any = || !self.snapshot.names.read().is_empty() || self.len() > 0;
        let has_gone = !self.snapshot.gone.lock().is_empty();
        has_gone || is_other || (is_old && has_any()) || is_new()
    }

    /// Writes the file, without one of the keys. What is wrong is told.
    pub(super) fn write_snapshot(
        &self,
        disk: &mut Disk,
        identity: Identity,
        without: Option<&KeyName>,
    ) -> io::Result<()> {
        let Some(settings) = disk.settings.clone().filter(|_| !disk.is_released) else {
            return Ok(());
        };
        let gone = self.snapshot.gone.lock().clone();
        let was_full = disk.is_full;
        let is_deleted = |name: &KeyName| without == Some(name) || self.order.has_delete(name);
        // The keys are taken from memory after the disk was: a key whose delete begins later is removed
        // from the file after this.
        let memory = self.in_memory();
        let content = Content { memory, gone: &gone, is_deleted: &is_deleted, identity };
        let at = self.moment();
        let (written, refused) = disk.write(&content, at);
        if let Some(refused) = refused {
            self.refused(&settings, &refused);
        }
        let names = written.inspect_err(|error| self.failed(&settings, error))?;
        if disk.is_full && !was_full {
            tracing::warn!(
                "snapshot: '{}' has room for {} and leaves out those that were read before",
                settings.shown,
                count(names.len())
            );
        }
        self.snapshot.gone.lock().retain(|name| !gone.contains(name));
        self.snapshot.wrote(names, at.date);
        self.observer.snapshot_written();
        let fault = self.snapshot.shown.lock().fault.take();
        if fault.is_some_and(|fault| fault.starts_with("cannot")) {
            tracing::info!("snapshot: '{}' can be written again", settings.shown);
        }
        Ok(())
    }

    pub(super) fn failed(&self, settings: &Settings, error: &io::Error) {
        self.observer.snapshot_failed();
        let fault = format!("cannot be written: {error}");
        let mut shown = self.snapshot.shown.lock();
        if shown.fault.as_ref() != Some(&fault) {
            tracing::warn!("snapshot: '{}' {fault}", settings.shown);
            shown.fault = Some(fault);
        }
    }
}
