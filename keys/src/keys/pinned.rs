use kes_api::KeyName;
use kes_keystore::{KeyStore, StoreOperation};

use super::Keys;
use crate::{Clock, Error, Observer, Pin};

impl<S: KeyStore + 'static, O: Observer, C: Clock> Keys<S, O, C> {
    /// Pins these keys, and no others: from now on none of them is used or created with another
    /// fingerprint.
    pub fn pin(&self, pins: &[Pin]) {
        self.cache.pin(pins);
    }

    /// Reads a key from the key store, to find out whether it is the pinned one.
    ///
    /// # Errors
    /// [`Error::Store`] if it cannot be used, for whatever reason.
    pub async fn check_pin(&self, name: &KeyName) -> Result<(), Error> {
        let read = self.cache.records().read(name).await;
        read.map(drop).map_err(|source| Error::Store { operation: StoreOperation::Read, source })
    }

    /// How many pinned keys were found to be missing or wrong when they were last read.
    pub fn pin_faults(&self) -> usize {
        self.cache.records().pins().faults()
    }
}
