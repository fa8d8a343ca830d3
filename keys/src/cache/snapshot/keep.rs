//! The keys of the file while the key store is away.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use kes_api::{Identity, KeyName, Timestamp};
use kes_keystore::{KeyStore, State as StoreState};

use super::super::transfer::Sent;
use super::super::{Cache, Entry};
use super::disk::{Disk, Moment, Names, Opened, Refused, State, fingerprint};
use super::{Kept, Settings, count, file};
use crate::{Clock, Observer};

impl<S: KeyStore + 'static, O: Observer, C: Clock> Cache<S, O, C> {
    /// A key of the snapshot, if the key store was found to be unreachable and still is.
    pub(crate) fn kept(&self, name: &KeyName) -> Option<Arc<Entry>> {
        let is_used = self.snapshot.is_on() && self.snapshot.is_used.load(Ordering::Relaxed);
        let is_away = || self.records.store().state() == StoreState::Unreachable;
        if is_used && is_away() { self.kept_entry(name) } else { None }
    }

    /// A key of the snapshot in place of one that could not be read.
    pub(in crate::cache) fn stand_in(&self, name: &KeyName) -> Option<Arc<Entry>> {
        let entry = self.kept_entry(name)?;
        if !self.snapshot.is_used.swap(true, Ordering::Relaxed) {
            tracing::warn!("snapshot: the key store is unreachable; keys come from the snapshot");
        }
        Some(entry)
    }

    fn kept_entry(&self, name: &KeyName) -> Option<Arc<Entry>> {
        let entry = {
            let kept = self.snapshot.kept.read();
            let Kept { entry, until, until_date } = kept.as_ref()?.get(name)?;
            let is_valid = self.clock.now() < *until && self.clock.second() < *until_date;
            is_valid.then(|| Arc::clone(entry))?
        };
        if self.order.is_unsure(name) || !self.records.pins().admit(name, entry.record()) {
            return None;
        }
        self.observer.snapshot_hit();
        Some(entry)
    }

    /// Opens the file, and has its keys ready while the key store is away.
    pub(super) fn open_snapshot(&self, disk: &mut Disk, identity: Identity) {
        let Some(settings) = disk.settings.clone() else { return };
        let is_first = !matches!(disk.state, State::Known(_));
        if is_first && let Err(error) = file::remove_left(&settings.path) {
            self.failed(&settings, &error);
        }
        let at = self.moment();
        match disk.open(identity, at) {
            Ok(None) => {
                if is_first {
                    tracing::info!("snapshot: there is no '{}' yet", settings.shown);
                }
                self.snapshot.wrote(Names::new(), at.date);
            }
            Ok(Some(opened)) => self.opened(&settings, opened, is_first, at),
            Err(refused) => self.refused(&settings, &refused),
        }
        if let State::Known(known) = &disk.state {
            self.snapshot.shown.lock().written = Timestamp::from_unix(known.written, 0).ok();
        }
    }

    fn opened(&self, settings: &Settings, opened: Opened, is_first: bool, at: Moment) {
        let Opened { entries, age: since } = opened;
        let (mut names, mut kept) = (Names::new(), HashMap::new());
        for Sent { name, record, age, unused: _ } in entries {
            names.insert(name, fingerprint(&record));
            let left = settings.max_age.saturating_sub(age.saturating_add(since));
            let Some(until) = at.now.checked_add(left).filter(|_| !left.is_zero()) else {
                continue;
            };
            let seconds = i64::try_from(left.as_secs()).unwrap_or(i64::MAX);
            let until_date = at.date.unix_seconds().saturating_add(seconds).saturating_add(1);
            let entry = Arc::new(self.entry(name, record, at.now));
            kept.insert(name, Kept { entry, until, until_date });
        }
        if is_first {
            tracing::info!(
                "snapshot: '{}' has {} for use while the key store is unreachable; written {} s ago",
                settings.shown,
                count(kept.len()),
                since.as_secs()
            );
        }
        *self.snapshot.names.write() = names;
        *self.snapshot.kept.write() = Some(kept);
    }

    pub(super) fn refused(&self, settings: &Settings, refused: &Refused) {
        let shown = &settings.shown;
        tracing::warn!(
            "snapshot: '{shown}' is not used: {refused}; the server goes on without it, and the next \
             snapshot replaces it"
        );
        self.observer.snapshot_refused();
        self.snapshot.wrote(Names::new(), self.clock.date());
        self.snapshot.shown.lock().fault = Some(format!("not used: {refused}"));
    }
}
