//! Keys that the configuration pins: they are used only with the fingerprint that it demands
//! (contract `config.md`, Pinned keys).
//!
//! Each key that is read, created or taken over is compared, so that a wrong one is never used,
//! whenever it comes to be in the key store. What was found last is remembered for the status.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::time::Duration;

use arc_swap::ArcSwap;
use kes_api::{Fingerprint, KeyName};
use kes_keystore::{Error, KeyStore, Kind, Record};
use parking_lot::Mutex;
use tokio::time::Instant;

/// A key and the fingerprint that it must have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pin {
    /// The key.
    pub name: KeyName,
    /// Its fingerprint.
    pub fingerprint: Fingerprint,
}

/// A key in the key store that is not the pinned one. `Display` names the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PinFault {
    name: KeyName,
    kind: FaultKind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum FaultKind {
    /// There is no key of this name.
    Missing,
    /// It is another key.
    Differs { found: Fingerprint, pinned: Fingerprint },
    /// It is no key.
    Unreadable(String),
}

/// What a read tells of a pinned key.
enum Verdict {
    /// The key store has the pinned key.
    Pinned,
    /// It has not.
    Fault(PinFault),
    /// The key store failed, which tells nothing.
    Unread,
}

/// What a key store has of pinned keys.
#[derive(Debug, Default)]
pub struct Checked {
    /// The keys that are not the pinned ones.
    pub faults: Vec<PinFault>,
    /// The keys that could not be read, because the key store failed.
    pub unread: Vec<KeyName>,
}

/// The pinned keys of a server, and which of them are at fault.
#[derive(Default)]
pub(crate) struct Pins {
    pinned: ArcSwap<HashMap<KeyName, Fingerprint>>,
    faults: Mutex<BTreeMap<KeyName, PinFault>>,
}

/// Reads pinned keys, one after the other, for at most `limit`. Nothing is kept of them.
pub async fn check<S: KeyStore>(store: &S, pins: &[Pin], limit: Duration) -> Checked {
    let mut checked = Checked::default();
    let end = Instant::now() + limit;
    for Pin { name, fingerprint } in pins {
        let read = async { store.read(name).await.and_then(|value| decode(store, name, &value)) };
        match tokio::time::timeout_at(end, read).await {
            Ok(read) => match verdict(name, *fingerprint, &read) {
                Verdict::Pinned => {}
                Verdict::Fault(fault) => checked.faults.push(fault),
                Verdict::Unread => checked.unread.push(*name),
            },
            Err(_elapsed) => checked.unread.push(*name),
        }
    }
    checked
}

/// The record of a stored value.
pub(crate) fn decode<S: KeyStore>(
    store: &S,
    name: &KeyName,
    value: &kes_keystore::Value,
) -> Result<Record, Error> {
    Record::decode(value).map_err(|invalid| {
        let reason = invalid.to_string().into();
        Error::Corrupt { store: store.kind(), name: *name, reason }
    })
}

/// What a read tells of a pinned key.
fn verdict(name: &KeyName, pinned: Fingerprint, read: &Result<Record, Error>) -> Verdict {
    let kind = match read {
        Ok(record) => {
            let found = Fingerprint::new(record.key.fingerprint());
            if found == pinned {
                return Verdict::Pinned;
            }
            FaultKind::Differs { found, pinned }
        }
        Err(Error::NotFound { .. }) => FaultKind::Missing,
        Err(error @ (Error::Corrupt { .. } | Error::Foreign { .. })) => {
            FaultKind::Unreadable(error.to_string())
        }
        Err(
            Error::Exists { .. }
            | Error::Unusable { .. }
            | Error::Locked { .. }
            | Error::Unreachable { .. }
            | Error::Unavailable { .. },
        ) => return Verdict::Unread,
    };
    Verdict::Fault(PinFault { name: *name, kind })
}

impl Pins {
    /// Pins these keys, and no others. What was found of keys before is forgotten.
    pub(crate) fn set(&self, pins: &[Pin]) {
        let pinned: HashMap<_, _> = pins.iter().map(|pin| (pin.name, pin.fingerprint)).collect();
        self.pinned.store(pinned.into());
        self.faults.lock().clear();
    }

    /// How many pinned keys were found to be missing or wrong.
    pub(crate) fn faults(&self) -> usize {
        self.faults.lock().len()
    }

    /// Whether a key may be used under a name.
    pub(crate) fn admit(&self, name: &KeyName, record: &Record) -> bool {
        let found = Fingerprint::new(record.key.fingerprint());
        self.pinned.load().get(name).is_none_or(|pinned| *pinned == found)
    }

    /// The same read, unless it has found another key than the pinned one.
    ///
    /// # Errors
    /// That of the read; [`Error::Unusable`] for another key.
    pub(crate) fn checked(
        &self,
        store: Kind,
        name: &KeyName,
        read: Result<Record, Error>,
    ) -> Result<Record, Error> {
        let Some(pinned) = self.pinned.load().get(name).copied() else { return read };
        let fault = match verdict(name, pinned, &read) {
            Verdict::Unread => return read,
            Verdict::Pinned => None,
            Verdict::Fault(fault) => Some(fault),
        };
        let differs = match &fault {
            Some(fault @ PinFault { kind: FaultKind::Differs { .. }, .. }) => {
                Some(Error::Unusable { store, reason: fault.to_string() })
            }
            _ => None,
        };
        self.note(*name, fault);
        differs.map_or(read, Err)
    }

    /// Whether a key may be created under a name.
    ///
    /// # Errors
    /// [`Error::Unusable`] if another one is pinned.
    pub(crate) fn check_new(
        &self,
        store: Kind,
        name: &KeyName,
        record: &Record,
    ) -> Result<(), Error> {
        if self.admit(name, record) {
            return Ok(());
        }
        let reason = format!(
            "key '{name}' is pinned in 'keys' of the configuration, and the key to create has \
             another fingerprint"
        );
        Err(Error::Unusable { store, reason })
    }

    /// A key was created that may be used.
    pub(crate) fn was_created(&self, name: &KeyName) {
        if self.pinned.load().contains_key(name) {
            self.note(*name, None);
        }
    }

    /// Remembers what was found of a pinned key, and logs what is new.
    fn note(&self, name: KeyName, fault: Option<PinFault>) {
        let mut faults = self.faults.lock();
        let Some(fault) = fault else {
            if faults.remove(&name).is_some() {
                tracing::info!("pinned key: key '{name}' is the one of the configuration again");
            }
            return;
        };
        let is_new = faults.get(&name) != Some(&fault);
        if is_new {
            tracing::error!(
                detail = %fault,
                "pinned key: the key store does not have the key of the configuration; it is not used"
            );
            faults.insert(name, fault);
        }
    }
}

impl PinFault {
    /// The key.
    pub const fn name(&self) -> KeyName {
        self.name
    }
}

impl fmt::Display for PinFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, kind } = self;
        match kind {
            FaultKind::Missing => write!(f, "key '{name}' does not exist"),
            FaultKind::Differs { found, pinned } => {
                write!(f, "key '{name}' has the fingerprint {found}, and {pinned} is pinned")
            }
            FaultKind::Unreadable(reason) => f.write_str(reason),
        }
    }
}

#[cfg(test)]
mod tests;
