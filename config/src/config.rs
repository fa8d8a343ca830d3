use std::fmt;
use std::time::Duration;

use kes_api::route::Operation;
use kes_api::{Fingerprint, Identity, KeyName};
use kes_keystore::config::{ConfiguredPath, Migration, Place, SecretText};
use kes_policy::{Policies, StartupPermit};
use url::Url;

use crate::{ConfiguredAddress, Level, Network, Variables};

/// A checked configuration. `Debug` shows no secret.
#[derive(Debug)]
pub struct Config {
    /// Where to listen; default `0.0.0.0:7373`.
    pub address: ConfiguredAddress,
    /// `proxy_protocol.from`: the load balancers whose connections begin with a header of the PROXY
    /// protocol; empty for none.
    pub proxy_protocol: Vec<Network>,
    /// `operations`; `None` for no such listener.
    pub operations: Option<Operations>,
    /// Who may do everything; `None` if nobody may. It is also in [`Config::policies`].
    pub admin: Option<Identity>,
    /// `tls`
    pub tls: Tls,
    /// `policy` and `limits`, the admin, and the APIs that skip authentication.
    pub policies: Policies,
    /// `cache.expiry`
    pub cache: Cache,
    /// `cache.snapshot`; `None` for none.
    pub snapshot: Option<Snapshot>,
    /// `api`
    pub api: ApiOverrides,
    /// `log`
    pub log: Log,
    /// `traces`; `None` if requests are not traced.
    pub traces: Option<Traces>,
    /// The keys to create at start when missing, in the order of the file.
    pub keys: Vec<StartupPermit>,
    /// The keys that have to exist, with their fingerprints, in the order of the file.
    pub pins: Vec<PinnedKey>,
    /// The key store.
    pub keystore: kes_keystore::Config,
    /// `migration`: the key store that the keys move to; `None` if they stay.
    pub migration: Option<Migration>,
    /// What of all this came from environment variables.
    pub variables: Variables,
}

/// An item of `keys` with a fingerprint.
#[derive(Clone, Debug)]
pub struct PinnedKey {
    /// The key.
    pub name: KeyName,
    /// What it must have.
    pub fingerprint: Fingerprint,
    /// Where the file says so.
    pub place: Place,
}

/// `operations`: a listener for probes, scrapers and people who look at its page, without keys behind it.
#[derive(Clone, Debug)]
pub struct Operations {
    /// Where it listens.
    pub address: OperationsAddress,
    /// Whether it speaks TLS, with the server's certificate.
    pub tls: bool,
    /// Whether it has a page that shows what the server does.
    pub page: bool,
    /// Whether the page shows names: of keys, identities, policies, files and hosts.
    pub details: bool,
}

/// `operations.address`
#[derive(Clone, Debug)]
pub enum OperationsAddress {
    /// `127.0.0.1:7374`
    Tcp(ConfiguredAddress),
    /// `unix:/run/kes/operations.sock`
    Unix(ConfiguredPath),
}

/// As in the file.
impl fmt::Display for OperationsAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// `tls`. Relative paths are relative to the working directory of the process.
#[derive(Debug)]
pub struct Tls {
    /// The file of the private key, PEM.
    pub key: ConfiguredPath,
    /// The file of the certificate chain, PEM.
    pub cert: ConfiguredPath,
    /// The password of the private key, if it is encrypted.
    pub password: Option<Password>,
    /// Which client certificates are accepted.
    pub auth: ClientAuth,
    /// A file or folder of CAs for client certificates, beside the system's.
    pub ca: Option<ConfiguredPath>,
    /// TLS proxies that forward the certificates of their clients.
    pub proxy: Proxy,
}

/// The password of an encrypted private key.
#[derive(Debug)]
pub enum Password {
    /// `tls.password`
    Literal(SecretText),
    /// `tls.password_file`: read again with the private key.
    File(ConfiguredPath),
}

/// `tls.auth`: which client certificates are accepted. The client always proves that it has the
/// private key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAuth {
    /// Any certificate: `off`, the default.
    Any,
    /// One whose chain verifies: `on`.
    Verify,
}

impl ClientAuth {
    /// All, in the order of the documentation.
    pub const ALL: [Self; 2] = [Self::Verify, Self::Any];

    /// The configuration's word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Verify => "on",
            Self::Any => "off",
        }
    }
}

/// `tls.proxy`
#[derive(Debug)]
pub struct Proxy {
    /// The identities of the proxies; empty for none.
    pub identities: Vec<Identity>,
    /// The header that holds the URL-escaped PEM of the client's certificate, as written;
    /// default `X-Tls-Client-Cert`. It is the name of an HTTP header.
    pub cert_header: String,
}

/// `cache.expiry`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cache {
    /// A key is dropped this long after it was read; default 5 min, never zero.
    pub any: Duration,
    /// A key is dropped this long after it was last used; default 30 s, never zero.
    pub unused: Duration,
    /// For how long keys are kept instead while the key store is unreachable; zero, the default,
    /// for no difference.
    pub offline: Duration,
}

impl Default for Cache {
    fn default() -> Self {
        Self {
            any: Duration::from_mins(5),
            unused: Duration::from_secs(30),
            offline: Duration::ZERO,
        }
    }
}

/// `cache.snapshot`: a file with the keys that are in use, sealed.
#[derive(Debug)]
pub struct Snapshot {
    /// The file.
    pub path: ConfiguredPath,
    /// What seals it.
    pub key: SnapshotKeySource,
    /// How long a key is used after the key store was last known to have it; default 24 h.
    pub max_age: Duration,
}

impl Snapshot {
    /// The default of `max_age`.
    pub const MAX_AGE: Duration = Duration::from_hours(24);
}

/// The key that seals a snapshot.
#[derive(Debug)]
pub enum SnapshotKeySource {
    /// `key`: a file with at least 32 bytes.
    File(ConfiguredPath),
    /// `key_text`: the same as a text.
    Literal(SecretText),
}

/// `api`: what the file changes for single APIs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ApiOverrides([ApiOverride; Operation::COUNT]);

/// What the file changes for one API.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ApiOverride {
    /// The API requires neither a certificate nor a policy.
    pub skip_auth: bool,
    /// A timeout in place of the route's; never zero.
    pub timeout: Option<Duration>,
}

impl ApiOverrides {
    /// What the file changes for an API.
    #[expect(clippy::indexing_slicing, reason = "there is one for each operation")]
    pub const fn of(&self, operation: Operation) -> ApiOverride {
        self.0[operation.index()]
    }

    /// Whether any API skips authentication. Then the handshake accepts clients without a
    /// certificate.
    pub fn any_skips_auth(&self) -> bool {
        self.0.iter().any(|api| api.skip_auth)
    }

    #[expect(clippy::indexing_slicing, reason = "there is one for each operation")]
    pub(crate) const fn set(&mut self, operation: Operation, api: ApiOverride) {
        self.0[operation.index()] = api;
    }
}

/// `log`
#[derive(Clone, Debug, Default)]
pub struct Log {
    /// Level of the error log; default info.
    pub error: Level,
    /// Level of the audit log; default info.
    pub audit: Level,
    /// The format of the lines of both logs.
    pub format: LogFormat,
    /// Whether a key is only changed if the audit log says so; default no.
    pub audit_required: bool,
    /// `log.audit_file`: the file that each request is recorded in; `None` for none.
    pub audit_file: Option<AuditFile>,
}

/// `log.audit_file`
#[derive(Clone, Debug)]
pub struct AuditFile {
    /// The file.
    pub path: ConfiguredPath,
    /// The file with the key of its chain.
    pub key: Option<ConfiguredPath>,
    /// A file that is larger is closed, in bytes; default 100 MiB.
    pub max_size: u64,
    /// A file that is older is closed; default 24 h.
    pub max_age: Duration,
    /// How many closed files are kept; `None`, the default, for all.
    pub keep: Option<u32>,
    /// How long closed files are kept; `None`, the default, for ever.
    pub keep_for: Option<Duration>,
    /// What is told of the context of a request.
    pub context: AuditContext,
}

impl AuditFile {
    /// The default of `max_size`.
    pub const MAX_SIZE: u64 = 100 << 20;
    /// The default of `max_age`.
    pub const MAX_AGE: Duration = Duration::from_hours(24);
}

/// `log.audit_file.context`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AuditContext {
    /// The bucket and the object that it names, the default.
    #[default]
    On,
    /// A keyed hash of either.
    Hash,
    /// Nothing.
    Off,
}

impl AuditContext {
    /// All, in the order of the documentation.
    pub const ALL: [Self; 3] = [Self::On, Self::Hash, Self::Off];

    /// The configuration's word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::On => "on",
            Self::Hash => "hash",
            Self::Off => "off",
        }
    }
}

/// `log.format`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// `key=value`, the default.
    #[default]
    Text,
    /// A JSON object a line.
    Json,
}

impl LogFormat {
    /// All, in the order of the documentation.
    pub const ALL: [Self; 2] = [Self::Text, Self::Json];

    /// The configuration's word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
        }
    }
}

/// `traces`: where spans of requests are sent, by OTLP over HTTP.
#[derive(Debug)]
pub struct Traces {
    /// The collector; scheme http or https. If it has no path, the usual one is meant.
    pub endpoint: Url,
    /// Headers of each request to it, with names in lower case.
    pub headers: Vec<(String, SecretText)>,
    /// A file or folder of CAs to trust instead of the system's.
    pub ca: Option<ConfiguredPath>,
    /// Which share of the requests that are part of no trace is traced, from 0 to 1.
    pub sample: f64,
}

impl Traces {
    /// The default of `sample`, which is that of OpenTelemetry.
    pub const SAMPLE: f64 = 1.0;
}
