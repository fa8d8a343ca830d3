use std::future::Future;
use std::time::Duration;

use kes_api::{KeyName, ListPattern};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::{Error, fs, memory, vault};

/// The text that stands in a key store for one key: standard base64 of a protobuf message, or
/// the JSON of older versions. It holds key material: it is wiped when dropped, and has neither
/// `Debug` nor `Clone`.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct Value(String);

impl Value {
    /// Takes a text over.
    pub const fn new(text: String) -> Self {
        Self(text)
    }

    /// The text.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

/// A page of a listing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Names in the order of their bytes.
    pub names: Vec<KeyName>,
    /// The first name of the next page; `None` after the last.
    pub next: Option<KeyName>,
}

/// What is known of a key store's health. Asking costs nothing: a store that lives elsewhere is
/// watched in the background.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It answers; the last check took this long.
    Reachable {
        /// Time of the last check.
        latency: Duration,
    },
    /// It answers with errors.
    Unavailable,
    /// No connection, sealed, or not initialised.
    Unreachable,
}

/// What every backend owes its caller.
///
/// - `create` never overwrites and is durable when it returns: of any number of creators of one
///   name exactly one succeeds.
/// - No call takes longer than the deadline of a route (15 s); most fail sooner.
/// - Dropping a returned future abandons the call; the store stays sound.
pub trait KeyStore: Send + Sync {
    /// Stores a value under a name that is free.
    ///
    /// # Errors
    /// [`Error::Exists`] if the name is taken.
    fn create(
        &self,
        name: &KeyName,
        value: &Value,
    ) -> impl Future<Output = Result<(), Error>> + Send;

    /// The value under a name.
    ///
    /// # Errors
    /// [`Error::NotFound`] if there is none.
    fn read(&self, name: &KeyName) -> impl Future<Output = Result<Value, Error>> + Send;

    /// Removes a name, with all that stands under it.
    ///
    /// # Errors
    /// [`Error::NotFound`] if there is nothing.
    fn delete(&self, name: &KeyName) -> impl Future<Output = Result<(), Error>> + Send;

    /// The names that match, sorted by bytes, at most `limit` of them.
    ///
    /// # Errors
    /// The store's own.
    fn list(
        &self,
        pattern: &ListPattern<'_>,
        limit: usize,
    ) -> impl Future<Output = Result<Page, Error>> + Send;

    /// What is known of the store's health.
    fn state(&self) -> State;
}

/// The key store of a server. An enum, not a trait object: the set of backends is closed.
pub enum Store {
    /// Keys in memory.
    Memory(memory::MemoryStore),
    /// One file a key.
    Fs(fs::FsStore),
    /// Vault or OpenBao.
    Vault(vault::VaultStore),
}
