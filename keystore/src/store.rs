//! What every key store does: the trait and its types, and nothing that knows a backend.

use std::time::{Duration, SystemTime};

use kes_api::{KeyName, ListPattern};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::{Count, Error, Kind, Limit, Page, Stage};

/// The text that a key store holds for one key: standard base64 of a protobuf message, or the
/// JSON of older versions. It contains key material: it is wiped when dropped, and has neither
/// `Debug` nor `Clone`.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct Value(String);

impl Value {
    /// The longest text that a store returns, in bytes. A stored key has less than 1 KiB even
    /// where a transit engine wraps it. A longer text is not a stored key, and is not read into
    /// memory.
    pub const MAX_LEN: usize = 64 * 1024;

    /// Takes ownership of a text.
    pub const fn new(text: String) -> Self {
        Self(text)
    }

    /// The text.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// A second value with the same text. A method of its own instead of `Clone`, so that no copy
    /// is made by accident.
    pub(crate) fn copy(&self) -> Self {
        Self(self.0.clone())
    }
}

/// What is known of a key store's health. [`KeyStore::state`] sends no request: a remote store is
/// watched by a background task.
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

/// The logins of a store that requires them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Logins {
    /// Logins that succeeded.
    pub succeeded: u64,
    /// Logins that were refused or had no answer.
    pub failed: u64,
    /// How long the token remains valid: zero if there is none, [`Duration::MAX`] for ever.
    pub token_life: Duration,
}

/// When the certificates expire that a store is called with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CertificateEnds {
    /// Of the CAs that the configuration names, the first that expires among those that had not
    /// expired when they were loaded; if all had, the last.
    pub ca: Option<SystemTime>,
    /// The client certificate.
    pub client: Option<SystemTime>,
}

/// What is known of two stores that are used at once.
#[derive(Clone, Debug)]
pub struct PairReport {
    /// What each is used for.
    pub stage: Stage,
    /// The old one and the new one.
    pub stores: [MemberReport; 2],
    /// How many keys stand where; `None` until both were listed.
    pub count: Option<Count>,
    /// Why the last attempt to count them failed.
    pub uncounted: Option<String>,
    /// Reads since the start that found different values in the two.
    pub differences: u64,
    /// The keys that were found so, the first few.
    pub differing: Vec<KeyName>,
    /// Reads since the start that were answered by the store that is asked second.
    pub from_second: u64,
    /// Changes that were made in one store and are still to be made in the other one.
    pub unfinished: usize,
}

/// One of two stores that are used at once.
#[derive(Clone, Debug)]
pub struct MemberReport {
    /// Kind and place.
    pub description: String,
    /// Its health.
    pub state: State,
    /// Why it is not reachable.
    pub trouble: Option<String>,
}

/// What a key store is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreOperation {
    /// Store a new key.
    Create,
    /// Read a key.
    Read,
    /// Remove a key.
    Delete,
    /// List names.
    List,
}

impl StoreOperation {
    /// The word for it in metrics and traces.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Read => "read",
            Self::Delete => "delete",
            Self::List => "list",
        }
    }
}

/// A key store. Backends implement it, and so do the wrappers around them (`wrap`).
///
/// - `create` never overwrites and is durable when it returns: of any number of creators of one
///   name exactly one succeeds.
/// - A store that was opened with its wrappers completes every call within the deadline of a
///   route (15 s); most calls fail sooner.
/// - Dropping a returned future abandons the call; the store stays usable.
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

    /// Removes a name and everything stored under it.
    ///
    /// # Errors
    /// [`Error::NotFound`] if there is nothing, from a store that can tell. Vault cannot: it
    /// answers the deletion of a missing secret with success.
    fn delete(&self, name: &KeyName) -> impl Future<Output = Result<(), Error>> + Send;

    /// The names that match, sorted by bytes, as many as a page may hold.
    ///
    /// # Errors
    /// The store's own.
    fn list(
        &self,
        pattern: &ListPattern<'_>,
        limit: Limit,
    ) -> impl Future<Output = Result<Page, Error>> + Send;

    /// What is known of the store's health.
    fn state(&self) -> State;

    /// The kind of store.
    fn kind(&self) -> Kind;

    /// Kind and place of the store, as the start-up message prints it; no secret.
    fn description(&self) -> String {
        self.kind().to_string()
    }

    /// Why the store is not [`State::Reachable`], as far as that is known, for the log; no secret.
    fn trouble(&self) -> Option<String> {
        None
    }

    /// The logins of the store; `None` for a store that requires no login.
    fn logins(&self) -> Option<Logins> {
        None
    }

    /// When the certificates expire that the store is called with, as far as the configuration names
    /// any.
    fn certificates(&self) -> CertificateEnds {
        CertificateEnds::default()
    }

    /// The release of the server behind the store, such as `1.18.3`, as it was told last.
    fn version(&self) -> Option<String> {
        None
    }

    /// What is known of the two stores that this one consists of; `None` if it is one.
    fn pair(&self) -> Option<PairReport> {
        None
    }
}
