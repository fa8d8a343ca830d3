use std::collections::HashSet;
use std::time::Duration;

use kes_crypto::transfer::{Opener, Sealer, Unreadable};
use kes_keystore::KeyStore;
use kes_keystore::wrap::Underway;

use super::Keys;
use crate::cache::Copies;
use crate::{Clock, Observer};

impl<S: KeyStore + 'static, O: Observer, C: Clock> Keys<S, O, C> {
    /// The keys in memory, for the process that takes over, and how long the key store has been
    /// unreachable. Without those whose changes are `underway`.
    pub fn copies<'a>(
        &self,
        underway: &[Underway],
        sealer: &'a mut Sealer,
    ) -> (Copies<'a>, Option<Duration>) {
        let unsure: HashSet<_> = underway.iter().map(|change| change.name).collect();
        self.cache.copies(|name| !unsure.contains(name), sealer)
    }

    /// Takes over keys from the memory of the process before, which had them there `ago`. Returns how
    /// many they are.
    ///
    /// # Errors
    /// [`Unreadable`] if the message is not the next one of that process.
    pub fn take_over(
        &self,
        opener: &mut Opener,
        message: Vec<u8>,
        ago: Duration,
    ) -> Result<usize, Unreadable> {
        self.cache.take_over(opener, message, ago)
    }

    /// The key store had been unreachable for so long when the process before had these keys.
    pub fn was_unreachable(&self, duration: Duration) {
        self.cache.was_unreachable(duration);
    }

    /// Another process has used these keys until now, which has not told of it.
    pub fn know_uses_from_now(&self) {
        self.cache.ledger().know_from(self.clock.date());
    }
}
