use kes_api::{Fingerprint, KeyName, Operation, Timestamp};
use kes_crypto::Cipher;
use kes_keystore::Record;
use kes_policy::Permit;

use crate::{Error, LastUse};

/// What is known of a key, without its secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// What the key encrypts with.
    pub cipher: Cipher,
    /// When it was created, by the clock of the server that did.
    pub created_at: Timestamp,
    /// The identity that created it; empty if it is not known.
    pub created_by: String,
    /// What tells it from other keys.
    pub fingerprint: Fingerprint,
    name: KeyName,
    last_use: LastUse,
}

impl Description {
    pub(super) fn new(name: KeyName, record: &Record, last_use: LastUse) -> Self {
        let Record { key, created_at, created_by } = record;
        Self {
            cipher: key.cipher(),
            created_at: *created_at,
            created_by: created_by.clone(),
            fingerprint: Fingerprint::new(key.fingerprint()),
            name,
            last_use,
        }
    }

    /// When the key was last used for something else than a description, by this process, and by
    /// whom. It is for those who may delete the key, whom it would harm: who may describe it alone
    /// learns nothing of others who use it.
    ///
    /// # Errors
    /// [`Error::WrongPermit`] if the permit is not for the delete of this key.
    pub fn last_use(&self, permit: &Permit<'_>) -> Result<LastUse, Error> {
        permit.check(Operation::DeleteKey, &self.name)?;
        Ok(self.last_use)
    }
}
