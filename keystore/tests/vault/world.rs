//! A real server with all that a store needs, and stores that use it.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use kes_api::{KeyName, ListPattern};
use kes_keystore::config::{AppRoleSecret, KvVersion, Login, SecretText, Transit, Vault, VaultTls};
use kes_keystore::vault::VaultStore;
use kes_keystore::{Error, KeyStore, Limit, State, Value};
use kes_testkit::bao::RoleCredentials;
use kes_testkit::{Authority, Bao, Space};

/// A server with a KV engine at `kv`, a transit key, and a role with the rights that the
/// documentation lists.
pub(crate) struct World {
    pub(crate) bao: Bao,
    pub(crate) role: RoleCredentials,
    version: KvVersion,
}

impl World {
    pub(crate) fn new(version: KvVersion) -> Self {
        Self::on(Bao::start_in_memory(), version, Duration::ZERO)
    }

    /// A server whose data survive when it is killed.
    pub(crate) fn durable(version: KvVersion) -> Self {
        Self::on(Bao::start(), version, Duration::ZERO)
    }

    /// A server whose tokens live for `ttl`.
    pub(crate) fn with_ttl(ttl: Duration) -> Self {
        Self::on(Bao::start_in_memory(), KvVersion::V2, ttl)
    }

    pub(crate) fn with_tls(authority: &Authority, mutual: bool) -> Self {
        Self::on(Bao::start_tls(authority, mutual), KvVersion::V1, Duration::ZERO)
    }

    fn on(bao: Bao, version: KvVersion, ttl: Duration) -> Self {
        let role = set_up(&bao.root(), version, ttl);
        Self { bao, role, version }
    }

    /// The configuration of a key store on the server.
    pub(crate) fn config(&self) -> Vault {
        config(&self.bao.url(), self.version, &self.role)
    }

    pub(crate) async fn open(&self) -> VaultStore {
        open(self.config()).await
    }

    /// A store below a prefix of the engine.
    pub(crate) async fn open_at(&self, prefix: &str) -> VaultStore {
        open(Vault { prefix: prefix.to_owned(), ..self.config() }).await
    }

    /// A store below a prefix of the engine that no other store uses.
    pub(crate) async fn open_empty(&self, transit: bool) -> VaultStore {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let prefix = format!("empty/{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let transit = transit.then(transit_key);
        open(Vault { prefix, transit, ..self.config() }).await
    }
}

/// Sets up the engines and the role.
pub(crate) fn set_up(space: &Space<'_>, version: KvVersion, ttl: Duration) -> RoleCredentials {
    let engines = space.set_up().kv("kv", number(version)).transit("transit", "wrap");
    engines.token_ttl(ttl).app_role()
}

pub(crate) fn number(version: KvVersion) -> u8 {
    match version {
        KvVersion::V1 => 1,
        KvVersion::V2 => 2,
    }
}

pub(crate) fn transit_key() -> Transit {
    Transit { engine: "transit".to_owned(), key: "wrap".to_owned() }
}

pub(crate) fn config(url: &str, version: KvVersion, role: &RoleCredentials) -> Vault {
    Vault {
        endpoints: vec![url.parse().unwrap()],
        engine: "kv".to_owned(),
        engine_place: None,
        version,
        namespace: String::new(),
        prefix: String::new(),
        transit: None,
        login: app_role(role),
        tls: VaultTls::default(),
        proxies: Vec::new(),
        ping: Duration::from_secs(15),
    }
}

pub(crate) fn app_role(role: &RoleCredentials) -> Login {
    Login::AppRole {
        engine: "approle".to_owned(),
        namespace: None,
        id: role.role_id.clone(),
        secret: AppRoleSecret::Literal(SecretText::new(role.secret_id.clone())),
    }
}

pub(crate) async fn open(config: Vault) -> VaultStore {
    VaultStore::open(config).await.unwrap()
}

pub(crate) fn name(text: &str) -> KeyName {
    KeyName::parse(text).unwrap()
}

pub(crate) fn value(text: &str) -> Value {
    Value::new(text.to_owned())
}

/// A text that looks like a stored key.
pub(crate) const STORED: &str = "CjUKBQECAwQFEhhzb21lIGJ5dGVzIG9mIGEgc3RvcmVkIGtleQ==";

pub(crate) async fn create(store: &impl KeyStore, key: &str) -> Result<(), Error> {
    store.create(&name(key), &value(STORED)).await
}

pub(crate) async fn read(store: &impl KeyStore, key: &str) -> Result<String, Error> {
    store.read(&name(key)).await.map(|value| value.expose().to_owned())
}

pub(crate) async fn delete(store: &impl KeyStore, key: &str) -> Result<(), Error> {
    store.delete(&name(key)).await
}

pub(crate) async fn list(store: &impl KeyStore) -> Vec<String> {
    list_of(store).await.unwrap()
}

pub(crate) async fn list_of(store: &impl KeyStore) -> Result<Vec<String>, Error> {
    let page = store.list(&ListPattern::ALL, Limit::names(1024)).await?;
    Ok(page.names.iter().map(str::to_owned).collect())
}

pub(crate) fn is_reachable(store: &impl KeyStore) -> bool {
    matches!(store.state(), State::Reachable { .. })
}
