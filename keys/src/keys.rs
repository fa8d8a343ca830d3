use std::sync::Arc;
use std::time::{Duration, Instant};

use kes_api::body::DecryptRequest;
use kes_api::{KeyName, ListPattern, SecretBytes, Timestamp};
use kes_crypto::{Cipher, Key, Plaintext, Secret};
use kes_keystore::{KeyStore, Limit, Logins, Page, Record, State, Store};
use kes_policy::Permit;

use crate::cache::{self, Cache, Entry, Settings};
use crate::{Error, Observer, StoreOperation};

/// Ciphertexts of one request that are decrypted before others have their turn: some ten
/// microseconds of work.
const OPEN_AT_ONCE: usize = 32;

/// The keys of a server: a key store behind a cache. Every method takes a [`Permit`], so that no
/// operation compiles without a decision.
pub struct Keys<S, O> {
    cache: Arc<Cache<S, O>>,
    store: Arc<S>,
    observer: Arc<O>,
}

/// A new data key: itself, and encrypted.
pub struct DataKey {
    /// The key.
    pub plaintext: Secret,
    /// The same, encrypted.
    pub ciphertext: Vec<u8>,
}

impl<S: KeyStore + 'static, O: Observer> Keys<S, O> {
    /// Puts a cache in front of a key store. Its upkeep runs on the current runtime until this
    /// is dropped.
    pub fn new(store: S, settings: Settings, observer: Arc<O>, warm: Option<&Self>) -> Self {
        let store = Arc::new(store);
        let cache = Cache::new(Arc::clone(&store), settings, Arc::clone(&observer));
        if let Some(warm) = warm {
            cache.take_over(&warm.cache);
        }
        cache::upkeep::start(&cache);
        Self { cache, store, observer }
    }

    /// Makes a key.
    pub async fn create(&self, permit: &Permit, name: KeyName) -> Result<(), Error> {
        self.store(name, Key::generate(), created_by(permit)).await
    }

    /// Makes a key that the configuration wants to exist, in the name of its author.
    pub async fn create_by_configuration(
        &self,
        _: &Permit,
        name: KeyName,
        author: String,
    ) -> Result<(), Error> {
        self.store(name, Key::generate(), author).await
    }

    /// Stores a key that the caller brings; it gets a fresh HMAC key.
    pub async fn import(
        &self,
        permit: &Permit,
        name: KeyName,
        cipher: &str,
        key: &SecretBytes,
    ) -> Result<(), Error> {
        let Some(known) = Cipher::parse(cipher) else {
            return Err(Error::Cipher { name: cipher.to_owned() });
        };
        let Some(secret) = Secret::from_slice(key.expose()) else {
            return Err(Error::KeySize { cipher: cipher.to_owned() });
        };
        self.store(name, Key::import(known, secret), created_by(permit)).await
    }

    /// Fields of a key that are not secret. A cached key is told from memory: MinIO describes
    /// its default key to keep it there.
    pub async fn describe(&self, _: &Permit, name: KeyName) -> Result<Arc<Entry>, Error> {
        self.key(name).await
    }

    /// Removes a key from the key store, and from memory at once.
    pub async fn delete(&self, _: &Permit, name: KeyName) -> Result<(), Error> {
        let (cache, store, observer) = self.parts();
        to_the_end(StoreOperation::Delete, async move {
            // Before, so that no request uses it while it goes; and after, since a request may
            // have read it in between.
            cache.forget(&name);
            let deleted = observed(&*observer, StoreOperation::Delete, store.delete(&name)).await;
            cache.forget(&name);
            deleted
        })
        .await
    }

    /// A page of the names that match.
    pub async fn list(
        &self,
        _: &Permit,
        pattern: &ListPattern<'_>,
        limit: Limit,
    ) -> Result<Page, Error> {
        let list = self.store.list(pattern, limit);
        let page = observed(&*self.observer, StoreOperation::List, list).await;
        page.map_err(|source| Error::Store { operation: StoreOperation::List, source })
    }

    /// Makes a data key: 32 random bytes, and the same encrypted.
    pub async fn generate(
        &self,
        _: &Permit,
        name: KeyName,
        context: &[u8],
    ) -> Result<DataKey, Error> {
        let (plaintext, ciphertext) = self.key(name).await?.key().data_key(context);
        Ok(DataKey { plaintext, ciphertext })
    }

    /// Encrypts a plaintext where it stands.
    pub async fn encrypt(
        &self,
        _: &Permit,
        name: KeyName,
        plaintext: SecretBytes,
        context: &[u8],
    ) -> Result<Vec<u8>, Error> {
        let entry = self.key(name).await?;
        let mut body = plaintext.into_inner();
        entry.key().seal_in_place(&mut body, context);
        Ok(body)
    }

    /// Decrypts.
    pub async fn decrypt(
        &self,
        _: &Permit,
        name: KeyName,
        ciphertext: &[u8],
        context: &[u8],
    ) -> Result<Plaintext, Error> {
        let entry = self.key(name).await?;
        entry.key().open(ciphertext, context).map_err(|_| Error::NotAuthentic)
    }

    /// Decrypts several ciphertexts of one key; fails if one of them does.
    pub async fn bulk_decrypt(
        &self,
        _: &Permit,
        name: KeyName,
        requests: &[DecryptRequest],
    ) -> Result<Vec<Plaintext>, Error> {
        let entry = self.key(name).await?;
        let mut plaintexts = Vec::with_capacity(requests.len());
        for some in requests.chunks(OPEN_AT_ONCE) {
            for DecryptRequest { ciphertext, context } in some {
                let plaintext = entry.key().open(ciphertext.expose(), context.expose());
                plaintexts.push(plaintext.map_err(|_| Error::NotAuthentic)?);
            }
            if plaintexts.len() < requests.len() {
                tokio::task::yield_now().await;
            }
        }
        Ok(plaintexts)
    }

    /// Computes an HMAC with the key's own HMAC key.
    pub async fn hmac(&self, _: &Permit, name: KeyName, message: &[u8]) -> Result<[u8; 32], Error> {
        self.key(name).await?.key().hmac(message).ok_or(Error::NoHmac)
    }

    /// What is known of the key store's health; costs nothing.
    pub fn state(&self) -> State {
        self.store.state()
    }

    /// How many keys are held in memory.
    pub fn cached(&self) -> usize {
        self.cache.len()
    }

    /// The age of the oldest key in memory.
    pub fn cache_age(&self) -> Duration {
        self.cache.oldest()
    }

    async fn key(&self, name: KeyName) -> Result<Arc<Entry>, Error> {
        let found = match self.cache.get(&name) {
            Some(entry) => return Ok(entry),
            None => Box::pin(self.cache.read(name)).await,
        };
        found.map_err(|source| Error::Store { operation: StoreOperation::Read, source })
    }

    async fn store(&self, name: KeyName, key: Key, created_by: String) -> Result<(), Error> {
        let record = Record { key, created_at: Timestamp::now(), created_by };
        let (cache, store, observer) = self.parts();
        to_the_end(StoreOperation::Create, async move {
            let value = record.encode();
            observed(&*observer, StoreOperation::Create, store.create(&name, &value)).await?;
            cache.insert(name, record);
            Ok(())
        })
        .await
    }

    fn parts(&self) -> (Arc<Cache<S, O>>, Arc<S>, Arc<O>) {
        (Arc::clone(&self.cache), Arc::clone(&self.store), Arc::clone(&self.observer))
    }
}

impl<O: Observer> Keys<Store, O> {
    /// Kind and place of the key store.
    pub fn description(&self) -> String {
        self.store.description()
    }

    /// Why the key store is not reachable, for the log.
    pub fn trouble(&self) -> Option<String> {
        self.store.trouble()
    }

    /// How the key store was logged in to, if it wants logins.
    pub fn logins(&self) -> Option<Logins> {
        self.store.logins()
    }
}

/// Runs what changes the key store in a task of its own. A request is dropped where it stands
/// when its client goes away or its time is over; a change is not left half done.
fn to_the_end(
    operation: StoreOperation,
    change: impl Future<Output = Result<(), kes_keystore::Error>> + Send + 'static,
) -> impl Future<Output = Result<(), Error>> {
    let task = tokio::spawn(change);
    async move {
        match task.await {
            Ok(changed) => changed.map_err(|source| Error::Store { operation, source }),
            Err(_) => Err(Error::Panicked),
        }
    }
}

/// Times a call to the key store.
pub(crate) async fn observed<T>(
    observer: &impl Observer,
    operation: StoreOperation,
    call: impl Future<Output = Result<T, kes_keystore::Error>>,
) -> Result<T, kes_keystore::Error> {
    let start = Instant::now();
    let result = call.await;
    observer.store_call(operation, start.elapsed(), result.as_ref().err());
    result
}

fn created_by(permit: &Permit) -> String {
    permit.identity().map(|by| by.to_string()).unwrap_or_default()
}
