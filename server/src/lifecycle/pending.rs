//! Keys that a configuration lists: those that are created if they are missing, and those that are
//! pinned and have to be there (contract `config.md`, Pinned keys).

use std::sync::{Arc, Weak};
use std::time::Duration;

use kes_api::KeyName;
use kes_config::PinnedKey;
use kes_keys::Pin;
use kes_keys::pins::{Checked, check};
use kes_keystore::Stores;
use kes_keystore::config::Migration;
use kes_policy::StartupPermit;

use super::error::SetupError;
use super::state::Running;
use crate::service::error::Error;
use crate::service::generation::Generation;
use crate::service::{ApiService, change};

/// How long a start or a reload waits for the key store to tell what it has of the pinned keys. A
/// call waits up to 4.5 s for a Vault that is away; a reload has 10 s in all.
const CHECK_LIMIT: Duration = Duration::from_secs(4);

/// How many keys at fault a message names.
const MOST_NAMED: usize = 10;

/// The pinned keys of a configuration, none of which is known to be wrong.
pub(super) struct Pins {
    pub(super) all: Vec<Pin>,
    /// Those that could not be read.
    pub(super) unread: Vec<KeyName>,
}

impl Pins {
    /// Compares them with what a key store has.
    ///
    /// # Errors
    /// [`SetupError::Pins`] if it has other keys, or not all of them.
    pub(super) async fn check(
        pinned: &[PinnedKey],
        store: &impl kes_keystore::KeyStore,
    ) -> Result<Self, SetupError> {
        let all: Vec<_> = pinned
            .iter()
            .map(|&PinnedKey { name, fingerprint, .. }| Pin { name, fingerprint })
            .collect();
        let Checked { faults, unread } = check(store, &all, CHECK_LIMIT).await;
        if faults.is_empty() {
            return Ok(Self { all, unread });
        }
        let count = faults.len();
        let mut lines: Vec<_> = faults.iter().take(MOST_NAMED).map(ToString::to_string).collect();
        if let more @ 1.. = count.saturating_sub(MOST_NAMED) {
            lines.push(format!("and {more} more"));
        }
        // The first one has the line to look at.
        let first = faults.first().map(|fault| fault.name());
        let place =
            pinned.iter().find(|pinned| first == Some(pinned.name)).map(|pinned| &pinned.place);
        let place = place.map(|place| format!("{place}: ")).unwrap_or_default();
        let reason = format!(
            "{place}the key store does not have the pinned keys: {}. A wrong prefix, namespace, engine \
             or folder looks so, and so does a backup that was restored; nothing was written",
            lines.join("; ")
        );
        Err(SetupError::Pins { reason })
    }
}

/// Compares pinned keys with a key store as a server does at its start, and changes nothing. Returns the
/// keys that could not be read, which keep no server from starting.
///
/// # Errors
/// Why a server would not start.
pub async fn check_pins(
    pinned: &[PinnedKey],
    store: kes_keystore::Config,
    migration: Option<Migration>,
) -> Result<Vec<KeyName>, String> {
    let opened = Stores::open_source(store, migration).await.map_err(SetupError::Store);
    let checked = match opened {
        Ok(store) => Pins::check(pinned, &store).await,
        Err(error) => Err(error),
    };
    checked.map(|pins| pins.unread).map_err(|error| error.to_string())
}

/// The keys of a configuration that are still to be looked after.
pub(crate) struct PendingKeys {
    /// They may have to be created.
    pub(super) missing: Vec<StartupPermit>,
    /// They are pinned, and could not be read.
    pub(super) unread: Vec<KeyName>,
}

impl PendingKeys {
    /// How long to wait before a key store that fails is tried again.
    pub(super) const RETRY_INTERVAL: Duration = Duration::from_secs(2);

    /// How long to wait before a pinned key that is missing or wrong is read again: whoever mends the
    /// key store should see that it is mended.
    const FAULT_INTERVAL: Duration = Duration::from_secs(15);

    /// Creates the missing keys and checks the pinned ones in the background, so that the server
    /// starts while Vault is away. Ends when another configuration replaces this one.
    pub(crate) fn follow(self, running: &Running) {
        let service = Arc::downgrade(&running.service);
        let generation = Arc::downgrade(&running.service.generation.load_full());
        if !self.unread.is_empty() {
            let names = kes_config::listed(&self.unread);
            tracing::warn!(
                detail = %names,
                "pinned keys could not be checked, because the key store cannot be read; the server \
                 keeps trying"
            );
            for name in self.unread {
                let generation = Weak::clone(&generation);
                tokio::spawn(async move { check_until_done(&generation, &name).await });
            }
        }
        if !self.missing.is_empty() {
            tokio::spawn(async move {
                for permit in self.missing {
                    create_until_done(&service, &generation, &permit).await;
                }
            });
        }
    }
}

/// Reads a pinned key until it is the right one. What is found is logged where it is read.
async fn check_until_done(generation: &Weak<Generation>, name: &KeyName) {
    while let Some(generation) = generation.upgrade() {
        use kes_keys::Error as Keys;
        use kes_keystore::Error as Store;
        let wait = match generation.keys.check_pin(name).await {
            Ok(()) => return,
            Err(Keys::Store {
                source: Store::NotFound { .. } | Store::Corrupt { .. } | Store::Unusable { .. },
                ..
            }) => PendingKeys::FAULT_INTERVAL,
            Err(_) => PendingKeys::RETRY_INTERVAL,
        };
        drop(generation);
        tokio::time::sleep(wait).await;
    }
}

pub(super) async fn create_until_done(
    service: &Weak<ApiService>,
    generation: &Weak<Generation>,
    permit: &StartupPermit,
) {
    let name = permit.name();
    let (mut is_announced, mut is_logged) = (false, false);
    while let (Some(service), Some(generation)) = (service.upgrade(), generation.upgrade()) {
        use kes_keys::Error as Keys;
        use kes_keystore::Error as Store;
        let created = async {
            if !is_announced {
                let announced = change::announce_at_startup(&service, permit).await;
                announced.map_err(Error::NotRecorded)?;
                is_announced = true;
            }
            let begin = || change::begin_at_startup(&service, permit);
            Ok(generation.keys.create_at_startup(permit, begin).await?)
        };
        match created.await {
            Ok(()) => return tracing::info!("secret key '{name}' created"),
            Err(Error::Keys(Keys::Store { source: Store::Exists { .. }, .. })) => return,
            Err(error) if !is_logged => {
                let cause = error.cause().map(|cause| format!(": {cause}")).unwrap_or_default();
                tracing::error!(
                    "failed to create key '{name}' of the configuration{cause}; \
                     the server keeps trying"
                );
                is_logged = true;
            }
            Err(_) => {}
        }
        drop((service, generation));
        tokio::time::sleep(PendingKeys::RETRY_INTERVAL).await;
    }
}
