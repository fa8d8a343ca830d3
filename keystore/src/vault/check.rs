//! Proof that a server could work with Vault as it is configured: connection, login, engine, and
//! each right (`rights`).

/// Each right alone, so that all that are missing are named at once.
///
/// None is taken on trust from a list of capabilities, and proving it writes nothing: what is
/// not there is read and deleted, and a create without a value is refused only after Vault has
/// looked at the rights.
mod rights;

use std::time::Duration;

use http::StatusCode;
use kes_api::KeyName;
use serde::Deserialize;
use tokio::task::JoinSet;
use tokio::time;
use url::Url;

use super::call::{Nothing, delete, read, write};
use super::client::{Client, Credentials};
use super::engine::Engine;
use super::fault::Fault;
use super::health::release;
use super::listing::names_in;
use super::paths::Form;
use super::{VaultBackend, VaultStore, paths, tls};
use crate::check::{CLEAN_LIMIT, Report, Step, clean, scratch_name, use_scratch_key, within};
use crate::config::{self, KvVersion, Login};
use crate::remote::from_json;

/// Health is answered from memory; a node that takes longer hangs.
const HEALTH_LIMIT: Duration = Duration::from_secs(2);

/// Proves connection, login, engine and rights, and then uses a scratch key.
pub(crate) async fn check(
    config: config::Vault,
    stop: impl Future<Output = ()>,
    report: &mut Report<'_>,
) {
    let scratch = scratch_name();
    let mut check = Check::default();
    within(stop, report, async |report| check.prepare(config, &scratch, report).await).await;
    if let Some(store) = &check.store {
        // Without the right to delete, the scratch key would stay.
        if !report.has_failed() {
            use_scratch_key(store, &scratch, check.lists, report).await;
            clean(check.clean(&scratch), &scratch, report).await;
        }
        let _ = time::timeout(CLEAN_LIMIT / 4, check.log_out()).await;
    }
}

/// A check under way.
#[derive(Default)]
struct Check {
    /// The store, once it is open.
    store: Option<VaultStore>,
    /// Whether the policy allows to list keys.
    lists: bool,
}

impl Check {
    /// Goes as far as something works, up to the rights.
    async fn prepare(&mut self, config: config::Vault, scratch: &KeyName, report: &mut Report<'_>) {
        report.begin(Step::Open);
        if let Err(error) = tls::load(&config.tls) {
            return report.failed(error.to_string());
        }
        report.begin(Step::Connection);
        connect(&config, report).await;
        if report.has_failed() {
            return;
        }
        let facts = Facts::new(&config, scratch);
        report.begin(Step::Open);
        let store = match VaultStore::open(config).await {
            Ok(store) => self.store.insert(store),
            Err(error) => return report.failed(error.to_string()),
        };
        let VaultBackend { session, engine, transit, .. } = store.backend();

        report.begin(Step::Login);
        let form = match engine.ask_form().await {
            Err(fault @ Fault::Login { .. }) => return report.failed(fault.to_string()),
            Err(fault) if fault.is_unreachable() => return report.failed(fault.to_string()),
            Err(fault) if fault.is_without_namespace() => {
                report.ok(facts.login(session.logins().token_life));
                report.begin(Step::Engine);
                return report.failed(fault.to_string());
            }
            // Nobody may ask, so nobody knows.
            Err(_) => None,
            Ok(form) => Some(form),
        };
        report.ok(facts.login(session.logins().token_life));

        report.begin(Step::Engine);
        if let Some(reason) = engine.within_another(form) {
            return report.failed(reason);
        }
        match (facts.version, form) {
            (KvVersion::V1, Some(Form::Versioned)) => {
                return report.failed(engine.versioned_and_not_plain());
            }
            (KvVersion::V2, Some(Form::Plain)) => report.warning(engine.paths.plain_below_data()),
            (_, Some(form)) => report.ok(facts.engine(form)),
            (_, None) => {}
        }
        self.lists = rights::prove_keys(engine, &facts, form, report).await;
        if let Some(transit) = transit {
            rights::prove_transit(session, transit, &facts, report).await;
        }
    }

    /// Takes away all that a check has written.
    async fn clean(&self, scratch: &KeyName) -> Result<(), String> {
        let Some(store) = &self.store else { return Ok(()) };
        store.backend().engine.remove_all(scratch).await.map_err(|fault| fault.to_string())
    }

    /// Gives the token back.
    async fn log_out(&self) {
        let Some(store) = &self.store else { return };
        let session = &store.backend().session;
        if !session.logins().token_life.is_zero() {
            let call = write(paths::encode(&["auth/token/revoke-self"]), &Nothing {});
            // Not every kind of token can be given back, and this one ends by itself.
            let _ = session.call(&call).await;
        }
    }
}

impl Engine {
    /// Deletes a scratch key, and the claims to create it.
    async fn remove_all(&self, scratch: &KeyName) -> Result<(), Fault> {
        let form = self.form_of_keys().await?.unwrap_or(Form::Versioned);
        self.remove(self.paths.whole(scratch, form)).await?;
        if form == Form::Plain {
            let folder = self.paths.claims(scratch);
            let claims = match names_in(&self.session, &folder).await {
                // Without the right the create lock was not used.
                Err(fault) if fault.is_forbidden() => Vec::new(),
                claims => claims?,
            };
            for claim in claims {
                let call = delete(format!("{folder}/{claim}")).of_listed(&folder);
                self.session.call(&call).await?;
            }
        }
        Ok(())
    }

    pub(super) async fn remove(&self, path: String) -> Result<(), Fault> {
        self.session.call(&delete(path)).await.map(drop)
    }
}

/// What a check has to know of the configuration, for its texts.
struct Facts {
    engine: String,
    version: KvVersion,
    method: &'static str,
    /// Engine and key.
    transit: Option<[String; 2]>,
    scratch: KeyName,
    prefix: String,
}

impl Facts {
    fn new(config: &config::Vault, scratch: &KeyName) -> Self {
        let transit = config.transit.as_ref();
        let transit = transit.map(|config::Transit { engine, key }| [engine.clone(), key.clone()]);
        Self {
            engine: config.engine.clone(),
            version: config.version,
            method: match config.login {
                Login::AppRole { .. } => "AppRole",
                Login::Kubernetes { .. } => "Kubernetes",
            },
            transit,
            scratch: *scratch,
            prefix: config.prefix.clone(),
        }
    }

    fn login(&self, life: Duration) -> String {
        let method = self.method;
        if life == Duration::MAX {
            return format!("by {method}; the token does not expire");
        }
        format!("by {method}; the token lives {} s", (life.as_secs_f64()).round())
    }

    fn engine(&self, form: Form) -> String {
        let version = match form {
            Form::Plain => 1,
            Form::Versioned => 2,
        };
        format!("'{}' is KV version {version}", self.engine)
    }
}

/// Looks who answers at each endpoint. Fails if nobody does who can serve.
async fn connect(config: &config::Vault, report: &mut Report<'_>) {
    let mut asked = JoinSet::new();
    for (at, endpoint) in config.endpoints.iter().cloned().enumerate() {
        let Ok(client) = tls::load(&config.tls)
            .map(|(tls, _)| Client::new(vec![endpoint.clone()], tls, &config.proxies))
        else {
            continue;
        };
        asked.spawn(async move {
            let health = match client {
                Ok(client) => ask(&client, &endpoint).await,
                Err(error) => Err(format!("no HTTP client: {error}")),
            };
            (at, health)
        });
    }
    let mut answers = asked.join_all().await;
    answers.sort_by_key(|(at, _)| *at);
    let serves = answers.iter().any(|(_, health)| health.is_ok());
    for (_, health) in answers {
        match health {
            Ok(text) => report.ok(text),
            // The others serve until it is mended.
            Err(text) if serves => report.warning(text),
            Err(text) => report.failed(text),
        }
    }
}

/// Asks one endpoint for its health.
async fn ask(client: &Client, endpoint: &Url) -> Result<String, String> {
    #[derive(Deserialize)]
    struct Health {
        initialized: bool,
        sealed: bool,
        #[serde(default)]
        standby: bool,
        #[serde(default)]
        version: String,
    }
    let name = endpoint.origin().ascii_serialization();
    // Whatever state it is in, it is to say so in words.
    let query = "standbyok=true&perfstandbyok=true&sealedcode=200&uninitcode=200";
    let mut call = read("/v1/sys/health".to_owned());
    call.request.query = Some(query.into());
    call.request.limit = HEALTH_LIMIT;
    let answer = client.send(&call, Credentials::default()).await.map_err(|fault| {
        let hint = match fault.status() {
            Some(StatusCode::BAD_REQUEST) if endpoint.scheme() == "http" => {
                ": if it speaks TLS, write https://"
            }
            _ => "",
        };
        format!("{fault}{hint}")
    })?;
    let health: Health = from_json(answer.body.expose())
        .map_err(|bad| format!("{name} is not a Vault server: its answer is {bad}"))?;
    if !health.initialized {
        return Err(format!("{name} is not initialised: `vault operator init`"));
    }
    if health.sealed {
        return Err(format!("{name} is sealed: `vault operator unseal`"));
    }
    let trusted = if endpoint.scheme() == "https" { ", its certificate is trusted" } else { "" };
    let standby = if health.standby { " as standby" } else { "" };
    let version = release(&health.version).map(|version| format!("; version {version}"));
    Ok(format!("{name} serves{standby}{trusted}{}", version.unwrap_or_default()))
}
