//! The configuration of a key store (contract `config.md`, Key stores), checked and typed. The
//! crate for the configuration reads it from the file; a backend opens a store with it.

use std::time::Duration;

use url::Url;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// The ID of a key folder.
mod folder_id;

/// Where the keys of a store are.
mod location;

/// Paths that know where the configuration names them.
mod place;

pub use folder_id::FolderId;
pub use location::Location;
pub use place::{ConfiguredPath, Place};

use crate::Stage;

/// The one key store of a configuration.
#[derive(Debug)]
pub enum Config {
    /// `keystore.fs`
    Fs(Fs),
    /// `keystore.vault`
    Vault(Box<Vault>),
}

impl Config {
    /// Where the keys of this store are, without credentials.
    pub fn location(&self) -> Location {
        match self {
            Self::Fs(Fs { path, id: _ }) => Location::new("fs").part("", (**path).display()),
            Self::Vault(vault) => {
                let Vault { endpoints, engine, version, namespace, prefix, transit, .. } = &**vault;
                // Their order only says which is asked first.
                let mut endpoints: Vec<_> = endpoints.iter().map(Url::as_str).collect();
                endpoints.sort_unstable();
                endpoints.dedup();
                Location::new("vault")
                    .part("other endpoints", format_args!("{endpoints:?}"))
                    .part("another engine", engine)
                    .part("another version of the engine", format_args!("{version:?}"))
                    .part("another namespace", namespace)
                    .part("another prefix", prefix)
                    .part("another transit key", format_args!("{transit:?}"))
            }
        }
    }
}

/// `migration`: a second key store beside that of the configuration, to which the keys move.
#[derive(Debug)]
pub struct Migration {
    /// The new key store.
    pub to: Config,
    /// Where the configuration names it.
    pub place: Place,
    /// What each of the two is used for.
    pub stage: Stage,
}

/// `keystore.fs`
#[derive(Debug)]
pub struct Fs {
    /// The folder; created when missing, unless `id` demands one that exists.
    pub path: ConfiguredPath,
    /// The ID that the folder must have.
    pub id: Option<FolderId>,
}

/// `keystore.vault`. Engines, namespaces and prefixes have no `/` at either end; an empty
/// namespace or prefix means none.
#[derive(Debug)]
pub struct Vault {
    /// The server, or several of one cluster, tried in turn. At least one; scheme http or https.
    pub endpoints: Vec<Url>,
    /// Path of the KV engine; default `kv`.
    pub engine: String,
    /// Where the configuration names the engine, if it does.
    pub engine_place: Option<Place>,
    /// Version of the KV engine; default v1.
    pub version: KvVersion,
    /// Namespace of every call but health; empty for none.
    pub namespace: String,
    /// Path of the keys below the engine; may contain `/`.
    pub prefix: String,
    /// Encryption of stored keys by the transit engine.
    pub transit: Option<Transit>,
    /// How the server logs in.
    pub login: Login,
    /// TLS to Vault.
    pub tls: VaultTls,
    /// The proxies of endpoints that are reached through one.
    pub proxies: Vec<Proxy>,
    /// How often Vault is asked for its health; default 15 s.
    pub ping: Duration,
}

/// Version of a KV engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KvVersion {
    /// One value a name.
    V1,
    /// Versioned values with compare-and-set.
    V2,
}

impl KvVersion {
    /// All, in the order of the documentation.
    pub const ALL: [Self; 2] = [Self::V1, Self::V2];

    /// The configuration's word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::V1 => "v1",
            Self::V2 => "v2",
        }
    }
}

/// `keystore.vault.transit`
#[derive(Debug)]
pub struct Transit {
    /// Path of the engine; default `transit`.
    pub engine: String,
    /// Name of the key in it.
    pub key: String,
}

/// How the server logs in.
#[derive(Debug)]
pub enum Login {
    /// `keystore.vault.approle`
    AppRole {
        /// Path of the engine; default `approle`.
        engine: String,
        /// Namespace of the login, where it differs; `Some("")` is the root namespace.
        namespace: Option<String>,
        /// The role ID.
        id: String,
        /// The secret ID, or the file that holds it.
        secret: AppRoleSecret,
    },
    /// `keystore.vault.kubernetes`
    Kubernetes {
        /// Path of the engine; default `kubernetes`.
        engine: String,
        /// Namespace of the login, where it differs; `Some("")` is the root namespace.
        namespace: Option<String>,
        /// The role.
        role: String,
        /// The service account's token.
        jwt: Jwt,
    },
}

/// The secret ID of an AppRole.
#[derive(Debug)]
pub enum AppRoleSecret {
    /// `secret`
    Literal(SecretText),
    /// `secret_file`: read again at each login.
    File(ConfiguredPath),
}

/// The token of a Kubernetes service account.
#[derive(Debug)]
pub enum Jwt {
    /// The token itself.
    Literal(SecretText),
    /// A file, read again at each login: the value contains a `/`.
    File(ConfiguredPath),
}

/// `keystore.vault.tls`
#[derive(Debug, Default)]
pub struct VaultTls {
    /// Private key and certificate of this client, in that order; PEM files.
    pub client: Option<(ConfiguredPath, ConfiguredPath)>,
    /// A file or folder of CAs to trust instead of the system's.
    pub ca: Option<ConfiguredPath>,
    /// CAs in PEM to trust instead of the system's, where no file or folder is named.
    pub ca_pem: Option<String>,
    /// The name that Vault's certificate must have; that of the endpoint if left out.
    pub server_name: Option<TlsName>,
}

/// A name that a server's certificate may have: a DNS name or an IP address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsName(pub(crate) rustls::pki_types::ServerName<'static>);

impl TlsName {
    /// `None` if it is neither.
    pub fn parse(text: &str) -> Option<Self> {
        text.to_owned().try_into().ok().map(Self)
    }
}

/// The proxy of an endpoint.
#[derive(Debug)]
pub struct Proxy {
    /// Scheme, host and port of the endpoint, as [`Url::origin`] has them.
    pub origin: String,
    /// The URL of the proxy: http, https, socks5 or socks5h. It may hold a password.
    pub url: SecretText,
}

/// A text that is secret: wiped when dropped, and `Debug` hides it.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct SecretText(String);

impl SecretText {
    /// Takes ownership of a text.
    pub const fn new(text: String) -> Self {
        Self(text)
    }

    /// The text.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for SecretText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[secret]")
    }
}
