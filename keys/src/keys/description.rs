use std::sync::Arc;

use kes_api::{Fingerprint, KeyName, Timestamp};
use kes_crypto::Cipher;
use kes_keystore::Record;

use crate::cache::Entry;
use crate::uses::Uses;

/// What is known of a key, without its secrets.
#[derive(Clone, Debug)]
pub struct Description {
    /// What the key encrypts with.
    pub cipher: Cipher,
    /// When it was created, by the clock of the server that did.
    pub created_at: Timestamp,
    /// The identity that created it; empty if it is not known.
    pub created_by: String,
    /// What tells it from other keys.
    pub fingerprint: Fingerprint,
    /// Of which key this is.
    pub(super) name: KeyName,
    /// Where its uses are noted.
    pub(super) uses: Arc<Uses>,
}

impl Description {
    pub(super) fn new(name: KeyName, entry: &Entry) -> Self {
        let Record { key, created_at, created_by } = entry.record();
        Self {
            cipher: key.cipher(),
            created_at: *created_at,
            created_by: created_by.clone(),
            fingerprint: Fingerprint::new(key.fingerprint()),
            name,
            uses: Arc::clone(entry.uses()),
        }
    }
}
