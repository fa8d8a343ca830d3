use std::sync::Arc;
use std::time::Duration;

use kes_api::{Identity, KeyName, ListPattern, Operation};
use kes_crypto::{Cipher, Key, Plaintext, Secret};
use kes_keystore::wrap::{Change, Course, Late, Order, Turn};
use kes_keystore::{
    CertificateEnds, KeyStore, Limit, Logins, Page, PairReport, Record, State, StoreOperation,
};
use kes_policy::{Permit, StartupPermit, StorePlace};
use zeroize::Zeroizing;

use crate::cache::{Cache, Entry, Expiry, refresh};
use crate::traced::{Trace, traced};
use crate::{Clock, Error, LastUse, Observer, SystemClock};

pub use self::description::Description;

/// What is told of a key.
mod description;

/// The keys of one process after another.
mod handover;

/// The pinned ones.
mod pinned;

/// Those in a file.
mod snapshot;

/// How many ciphertexts of one request are decrypted before other tasks may run: about ten
/// microseconds of work.
const OPEN_AT_ONCE: usize = 32;

/// The keys of a server: a key store behind a cache. Every operation takes a [`Permit`], so that
/// none compiles without a decision, and checks that the permit is for that operation on that key:
/// with another one it does nothing and fails with [`Error::WrongPermit`]. An operation that calls
/// the key store passes the gate of its permit first, and fails with [`Error::StoreLimited`] if
/// that does not let it through; one whose key is in memory does not.
///
/// `S` is the key store, `O` counts what happens, and `C` tells the time.
pub struct Keys<S, O, C = SystemClock> {
    cache: Arc<Cache<S, O, C>>,
    clock: C,
}

/// A new data key: itself, and encrypted.
pub struct DataKey {
    /// The key.
    pub plaintext: Secret,
    /// The same, encrypted.
    pub ciphertext: Vec<u8>,
}

impl<S: KeyStore + 'static, O: Observer, C: Clock> Keys<S, O, C> {
    /// Puts a cache in front of a key store. A task on the current runtime refreshes and evicts
    /// its entries until this is dropped. The keys of one server all have the same `order`, one
    /// after the other.
    pub fn new(store: S, order: Order, expiry: Expiry, observer: Arc<O>, clock: C) -> Self {
        let cache = Cache::new(store, order, expiry, observer, clock.clone());
        refresh::start(&cache);
        Self { cache, clock }
    }

    /// The order of all changes, for the keys of another key store that follow these.
    pub fn order(&self) -> Order {
        self.cache.order().clone()
    }

    /// Goes on with another key store that has the same keys, such as the same Vault with another
    /// login, and with other times of expiry. The keys in memory stay.
    pub fn reconfigure(&self, store: S, expiry: Expiry) {
        self.cache.reconfigure(store, expiry);
    }

    /// Creates a key. `begin` is called once the change begins, and what it returns is told how the
    /// change ended, by whoever performs it: the caller may have gone away by then. So it is with
    /// all changes.
    ///
    /// # Errors
    /// [`Error::Store`]
    pub async fn create<E: Ended>(
        &self,
        permit: &Permit<'_>,
        name: KeyName,
        begin: impl FnOnce() -> E,
    ) -> Result<(), Error> {
        permit.check(Operation::CreateKey, &name)?;
        let by = created_by(permit.identity());
        let caller = (permit.enter_store().await?, permit.trace());
        self.store(name, Key::generate(), by, caller, begin).await
    }

    /// Creates a key that the configuration lists, in the name of its author.
    ///
    /// # Errors
    /// [`Error::Store`]
    pub async fn create_at_startup<E: Ended>(
        &self,
        permit: &StartupPermit,
        begin: impl FnOnce() -> E,
    ) -> Result<(), Error> {
        let by = created_by(permit.author());
        self.store(*permit.name(), Key::generate(), by, (None, None), begin).await
    }

    /// Stores a key that the caller brings; it gets a fresh HMAC key.
    ///
    /// # Errors
    /// [`Error::Cipher`], [`Error::UnapprovedCipher`], [`Error::KeySize`], [`Error::Store`]
    pub async fn import<E: Ended>(
        &self,
        permit: &Permit<'_>,
        name: KeyName,
        cipher: &str,
        key: &[u8],
        begin: impl FnOnce() -> E,
    ) -> Result<(), Error> {
        permit.check(Operation::ImportKey, &name)?;
        let Some(known) = Cipher::parse(cipher) else {
            let name = cipher.to_owned();
            return Err(if Cipher::is_unapproved(cipher) {
                Error::UnapprovedCipher { name }
            } else {
                Error::Cipher { name }
            });
        };
        let Some(secret) = Secret::from_slice(key) else {
            return Err(Error::KeySize { cipher: cipher.to_owned() });
        };
        let by = created_by(permit.identity());
        let caller = (permit.enter_store().await?, permit.trace());
        self.store(name, Key::import(known, secret), by, caller, begin).await
    }

    /// Describes a key. A cached key is described from memory, and this counts as a use: MinIO
    /// describes its default key every 10 s to keep it cached.
    ///
    /// # Errors
    /// [`Error::Store`]
    pub async fn describe(&self, permit: &Permit<'_>, name: KeyName) -> Result<Description, Error> {
        permit.check(Operation::DescribeKey, &name)?;
        let entry = self.key(permit, &name).await?;
        Ok(Description::new(name, &entry))
    }

    /// When a described key was last used for something else than a description, by this process, and
    /// by whom. It is for those who may delete the key, whom it would harm: who may describe it alone
    /// learns nothing of others who use it.
    ///
    /// # Errors
    /// [`Error::WrongPermit`] if the permit is not for the delete of this key.
    pub fn last_use(&self, permit: &Permit<'_>, key: &Description) -> Result<LastUse, Error> {
        permit.check(Operation::DeleteKey, &key.name)?;
        Ok(self.cache.ledger().last(&key.uses))
    }

    /// Deletes a key from the key store, and from memory at once. Before that it is gone from the
    /// snapshot.
    ///
    /// # Errors
    /// [`Error::Store`]
    pub async fn delete<E: Ended>(
        &self,
        permit: &Permit<'_>,
        name: KeyName,
        begin: impl FnOnce() -> E,
    ) -> Result<(), Error> {
        permit.check(Operation::DeleteKey, &name)?;
        let (place, trace) = (permit.enter_store().await?, permit.trace());
        let cache = Arc::clone(&self.cache);
        let change = async move {
            let _place = place;
            // From now on no request uses the key from memory, and none puts it there until no part
            // of the delete can be carried out any more.
            cache.order().forget(&name);
            let turn = match cache.order().turn(&name, Change::Delete).await {
                Ok(turn) => cache.purge(&name).await.map(|()| turn),
                Err(error) => Err(error),
            };
            perform(turn, async {
                cache.order().forget(&name);
                traced(&trace, StoreOperation::Delete, cache.records().delete(&name)).await
            })
            .await
        };
        run_to_completion(StoreOperation::Delete, change, begin()).await
    }

    /// Checks the permit of a listing that is answered with the page of another one.
    ///
    /// # Errors
    /// [`Error::WrongPermit`]
    pub fn check_list(&self, permit: &Permit<'_>, pattern: &ListPattern<'_>) -> Result<(), Error> {
        Ok(permit.check_pattern(Operation::ListKeys, pattern)?)
    }

    /// A page of the names that match. The caller passes the gate of its permit itself
    /// ([`Permit::enter_store`]), before it takes what others wait for as well: one of the few places
    /// in which pages are made, or the duty to make a page for others.
    ///
    /// # Errors
    /// [`Error::Store`]
    pub async fn list(
        &self,
        permit: &Permit<'_>,
        pattern: &ListPattern<'_>,
        limit: Limit,
    ) -> Result<Page, Error> {
        permit.check_pattern(Operation::ListKeys, pattern)?;
        let (trace, records) = (permit.trace(), self.cache.records());
        let page = traced(&trace, StoreOperation::List, records.list(pattern, limit)).await;
        page.map_err(|source| Error::Store { operation: StoreOperation::List, source })
    }

    /// Makes a data key: 32 random bytes, and the same encrypted.
    ///
    /// # Errors
    /// [`Error::Store`]
    pub async fn generate(
        &self,
        permit: &Permit<'_>,
        name: KeyName,
        context: &[u8],
    ) -> Result<DataKey, Error> {
        permit.check(Operation::GenerateKey, &name)?;
        let entry = self.key(permit, &name).await?;
        let (plaintext, ciphertext) = entry.key().data_key(context);
        self.note_use(&entry, permit);
        Ok(DataKey { plaintext, ciphertext })
    }

    /// Encrypts a plaintext. The ciphertext is written into the memory of the plaintext.
    ///
    /// # Errors
    /// [`Error::Store`]
    pub async fn encrypt(
        &self,
        permit: &Permit<'_>,
        name: KeyName,
        mut plaintext: Zeroizing<Vec<u8>>,
        context: &[u8],
    ) -> Result<Vec<u8>, Error> {
        permit.check(Operation::EncryptKey, &name)?;
        let entry = self.key(permit, &name).await?;
        let mut body = std::mem::take(&mut *plaintext);
        entry.key().seal_in_place(&mut body, context);
        self.note_use(&entry, permit);
        Ok(body)
    }

    /// Decrypts a ciphertext.
    ///
    /// # Errors
    /// [`Error::NotAuthentic`], [`Error::Store`]
    pub async fn decrypt(
        &self,
        permit: &Permit<'_>,
        name: KeyName,
        ciphertext: &[u8],
        context: &[u8],
    ) -> Result<Plaintext, Error> {
        permit.check(Operation::DecryptKey, &name)?;
        let entry = self.key(permit, &name).await?;
        let opened = entry.key().open(ciphertext, context).map_err(|_| Error::NotAuthentic)?;
        self.note_use(&entry, permit);
        Ok(opened)
    }

    /// Decrypts several ciphertexts of one key; fails if one of them fails. `parts` tells the
    /// ciphertext and the context of a request.
    ///
    /// # Errors
    /// [`Error::NotAuthentic`], [`Error::Store`]
    pub async fn bulk_decrypt<R: Sync>(
        &self,
        permit: &Permit<'_>,
        name: KeyName,
        requests: &[R],
        parts: fn(&R) -> (&[u8], &[u8]),
    ) -> Result<Vec<Plaintext>, Error> {
        permit.check(Operation::BulkDecrypt, &name)?;
        let entry = self.key(permit, &name).await?;
        let mut plaintexts = Vec::with_capacity(requests.len());
        for some in requests.chunks(OPEN_AT_ONCE) {
            for (ciphertext, context) in some.iter().map(parts) {
                let plaintext = entry.key().open(ciphertext, context);
                plaintexts.push(plaintext.map_err(|_| Error::NotAuthentic)?);
            }
            if plaintexts.len() < requests.len() {
                tokio::task::yield_now().await;
            }
        }
        if !requests.is_empty() {
            self.note_use(&entry, permit);
        }
        Ok(plaintexts)
    }

    /// Computes an HMAC with the key's own HMAC key.
    ///
    /// # Errors
    /// [`Error::NoHmac`], [`Error::Store`]
    pub async fn hmac(
        &self,
        permit: &Permit<'_>,
        name: KeyName,
        message: &[u8],
    ) -> Result<[u8; 32], Error> {
        permit.check(Operation::Hmac, &name)?;
        let entry = self.key(permit, &name).await?;
        let hmac = entry.key().hmac(message).ok_or(Error::NoHmac)?;
        self.note_use(&entry, permit);
        Ok(hmac)
    }

    /// What is known of the key store's health; costs nothing.
    pub fn state(&self) -> State {
        self.cache.records().store().state()
    }

    /// Kind and place of the key store.
    pub fn description(&self) -> String {
        self.cache.records().store().description()
    }

    /// Why the key store is not reachable, for the log.
    pub fn trouble(&self) -> Option<String> {
        self.cache.records().store().trouble()
    }

    /// How the key store was logged in to, if it wants logins.
    pub fn logins(&self) -> Option<Logins> {
        self.cache.records().store().logins()
    }

    /// How many keys are in memory.
    pub fn cached(&self) -> usize {
        self.cache.len()
    }

    /// How many names are remembered that were missing just now.
    pub fn missing(&self) -> usize {
        self.cache.missing()
    }

    /// When the certificates that the key store is called with expire.
    pub fn store_certificates(&self) -> CertificateEnds {
        self.cache.records().store().certificates()
    }

    /// The release of the server behind the key store, as it was told last.
    pub fn store_version(&self) -> Option<String> {
        self.cache.records().store().version()
    }

    /// What is known of two key stores that are used at once; `None` if there is one.
    pub fn pair(&self) -> Option<PairReport> {
        self.cache.records().store().pair()
    }

    /// The age of the oldest key in memory.
    pub fn cache_age(&self) -> Duration {
        self.cache.oldest()
    }

    /// An operation with the key has succeeded.
    fn note_use(&self, entry: &Entry, permit: &Permit<'_>) {
        entry.uses().note(self.clock.second(), permit.identity());
    }

    /// The key of a name: from memory, or else from the key store.
    async fn key(&self, permit: &Permit<'_>, name: &KeyName) -> Result<Arc<Entry>, Error> {
        match self.cache.lookup(name) {
            Some(entry) => Ok(entry),
            // Boxed: the future of a request has room for it, and is moved several times.
            None => Box::pin(self.read(permit, *name)).await,
        }
    }

    async fn read(&self, permit: &Permit<'_>, name: KeyName) -> Result<Arc<Entry>, Error> {
        if let Some(entry) = self.cache.kept(&name) {
            return Ok(entry);
        }
        let mut place = None;
        if self.cache.would_call_store(&name) {
            place = permit.enter_store().await?;
            // Another request may have read it while this one waited.
            if let Some(entry) = self.cache.get(&name) {
                return Ok(entry);
            }
        }
        let read = self.cache.read(name, place, permit.trace()).await;
        read.map_err(|source| Error::Store { operation: StoreOperation::Read, source })
    }

    async fn store<E: Ended>(
        &self,
        name: KeyName,
        key: Key,
        created_by: String,
        (place, trace): (Option<StorePlace>, Trace),
        begin: impl FnOnce() -> E,
    ) -> Result<(), Error> {
        let record = Record { key, created_at: self.clock.date(), created_by };
        let cache = Arc::clone(&self.cache);
        let change = async move {
            let _place = place;
            let turn = match cache.order().try_turn(&name, Change::Create) {
                Some(turn) => Ok(turn),
                // A key that exists is not created, whatever creates are in the line: a cluster
                // that starts need not wait for them. If it may be deleted, nobody must rely on it.
                None if !cache.order().has_delete(&name)
                    && traced(&trace, StoreOperation::Read, cache.records().read(&name))
                        .await
                        .is_ok() =>
                {
                    Err(kes_keystore::Error::Exists { name })
                }
                None => cache.order().turn(&name, Change::Create).await,
            };
            perform(turn, async {
                let create = cache.records().create(&name, &record);
                traced(&trace, StoreOperation::Create, create).await?;
                cache.insert(name, record);
                Ok(())
            })
            .await
        };
        run_to_completion(StoreOperation::Create, change, begin()).await
    }
}

/// Is told how a change ended, before anybody else is. If the change panics, this is dropped. What
/// it returns for a change that has failed is called if the key store carries it out later.
pub trait Ended: FnOnce(&Result<(), Error>) -> Option<Late> + Send + 'static {}

impl<F: FnOnce(&Result<(), Error>) -> Option<Late> + Send + 'static> Ended for F {}

/// The result of a change, and what becomes of it later if it had a turn.
type Performed = (Result<(), kes_keystore::Error>, Option<Course>);

/// Performs a change in its turn, if that has come.
async fn perform(
    turn: Result<Turn, kes_keystore::Error>,
    change: impl Future<Output = Result<(), kes_keystore::Error>>,
) -> Performed {
    match turn {
        Ok(turn) => {
            let course = turn.course();
            (turn.run(change).await, Some(course))
        }
        Err(error) => (Err(error), None),
    }
}

/// Runs a change of the key store in a task of its own. A request is dropped when its client goes
/// away or its time is over, wherever it is; a change must not be left half done.
fn run_to_completion(
    operation: StoreOperation,
    change: impl Future<Output = Performed> + Send + 'static,
    ended: impl Ended,
) -> impl Future<Output = Result<(), Error>> {
    let task = tokio::spawn(async move {
        let (changed, course) = change.await;
        let changed = changed.map_err(|source| Error::Store { operation, source });
        if let (Some(late), Some(course)) = (ended(&changed), course) {
            course.on_late(late);
        }
        changed
    });
    async move { task.await.unwrap_or(Err(Error::Panicked)) }
}

fn created_by(identity: Option<Identity>) -> String {
    identity.map(|identity| identity.to_string()).unwrap_or_default()
}

#[cfg(test)]
mod tests;
