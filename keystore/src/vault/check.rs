//! Proof that a server could work with Vault as it is configured: connection, login, engine, and
//! each right alone, so that all that are missing are named at once.
//!
//! No right is taken on trust from a list of capabilities, and proving it writes nothing: what is
//! not there is read and deleted, and a create without a value is refused only after Vault has
//! looked at the rights.

use std::sync::Arc;
use std::time::Duration;

use http::{Method, StatusCode};
use kes_api::KeyName;
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;
use url::Url;

use super::body::{self, text_at};
use super::client::{Call, Client, Credentials};
use super::engine::{read, write};
use super::fault::Fault;
use super::{Vault, VaultStore, paths, tls};
use crate::check::{Report, Right, SCRATCH_VALUE, Step};
use crate::config::{self, KvVersion, Login};

/// Health is answered from memory; a node that takes longer hangs.
const HEALTH_LIMIT: Duration = Duration::from_secs(2);

/// A check under way.
#[derive(Default)]
pub(crate) struct Check {
    store: Option<VaultStore>,
}

/// A place in the KV engine where a server has to have rights.
struct Place {
    /// What may be read, deleted and created.
    data: String,
    /// The same as [`Place::data`], or what version 2 has beside it.
    metadata: String,
    /// What may be listed.
    folder: String,
    /// What a policy calls all that stands below [`Place::data`], and below the others.
    grants: [String; 2],
}

/// A request that shows whether a right is there.
struct Probe {
    right: Right,
    act: Act,
    /// What a policy has to grant.
    grant: String,
}

#[derive(Clone)]
enum Act {
    Read(String),
    List(String),
    Delete(String),
    Create(String),
}

/// How a probe ended.
enum Proof {
    Granted,
    Missing,
    Trouble(Fault),
}

impl Check {
    /// The store, once it is open.
    pub(crate) fn store(&self) -> Option<&VaultStore> {
        self.store.as_ref()
    }

    /// Goes as far as something works, up to the rights.
    pub(crate) async fn prepare(
        &mut self,
        config: config::Vault,
        scratch: &KeyName,
        report: &mut Report<'_>,
    ) {
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
        let vault = Arc::clone(&store.vault);

        report.begin(Step::Login);
        let answer = vault.session.call(&read(vault.paths.mount())).await;
        let version = match answer {
            Err(fault @ Fault::Login { .. }) => return report.failed(fault.to_string()),
            Err(fault) if fault.is_unreachable() => return report.failed(fault.to_string()),
            Err(fault) => Err(fault),
            Ok(answer) => text_at(answer.body.as_slice(), &["data", "options", "version"])
                .map_err(|bad| Fault::bad_answer(&answer.endpoint, bad)),
        };
        report.ok(facts.login(store.logins().token_life));

        report.begin(Step::Engine);
        let is_known = match version {
            Ok(version) => {
                // An engine of version 1 may have no options at all.
                let found = if version.is_some_and(|version| *version == "2") { 2 } else { 1 };
                if !facts.engine(found, report) {
                    return;
                }
                true
            }
            // Nobody may ask, so nobody knows.
            Err(_) => false,
        };
        prove_rights(&vault, &facts, is_known, report).await;
        prove_transit(&vault, &facts, report).await;
    }

    /// Takes away all that a check has written.
    pub(crate) async fn clean(&self, scratch: &KeyName) -> Result<(), String> {
        let Some(VaultStore { vault, .. }) = &self.store else { return Ok(()) };
        vault.remove_all(scratch).await.map_err(|fault| fault.to_string())
    }

    /// Gives the token back.
    pub(crate) async fn log_out(&self) {
        let Some(VaultStore { vault, .. }) = &self.store else { return };
        if !vault.session.logins().token_life.is_zero() {
            let call = write(paths::encode(&["auth/token/revoke-self"]), &Nothing {});
            // Not every kind of token can be given back, and this one ends by itself.
            let _ = vault.session.call(&call).await;
        }
    }
}

impl Vault {
    /// Deletes a scratch key, and whatever claims its creator left.
    async fn remove_all(&self, scratch: &KeyName) -> Result<(), Fault> {
        self.remove(self.paths.metadata(scratch)).await?;
        if self.version == KvVersion::V1 {
            let folder = self.paths.claims(scratch);
            for claim in self.names(&folder).await? {
                self.remove(format!("{folder}/{claim}")).await?;
            }
        }
        Ok(())
    }

    async fn remove(&self, path: String) -> Result<(), Fault> {
        self.session.call(&Call { method: Method::DELETE, ..read(path) }).await.map(drop)
    }

    async fn prove(&self, act: Act) -> Proof {
        let result = match act {
            Act::Read(path) => self.session.call(&read(path)).await.map(drop),
            Act::List(path) => self.names(&path).await.map(drop),
            Act::Delete(path) => self.remove(path).await,
            Act::Create(path) => {
                let result = self.session.call(&write(path.clone(), &Nothing {})).await;
                match result {
                    // Somebody takes a secret without a field: it goes at once.
                    Ok(_) => self.remove(path).await,
                    Err(fault) if fault.status() == Some(StatusCode::BAD_REQUEST) => Ok(()),
                    Err(fault) => Err(fault),
                }
            }
        };
        match result {
            Ok(()) => Proof::Granted,
            Err(fault) if fault.is_not_found() => Proof::Granted,
            Err(fault) if fault.is_forbidden() => Proof::Missing,
            Err(fault) => Proof::Trouble(fault),
        }
    }
}

/// What a check has to know of the configuration, for its texts.
struct Facts {
    engine: String,
    version: KvVersion,
    method: &'static str,
    transit: Option<[String; 3]>,
    scratch: KeyName,
    prefix: String,
}

impl Facts {
    fn new(config: &config::Vault, scratch: &KeyName) -> Self {
        let transit = config.transit.as_ref().map(|config::Transit { engine, key }| {
            [format!("{engine}/encrypt/{key}"), format!("{engine}/decrypt/{key}"), key.clone()]
        });
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
            return format!("by {method}; the token has no end");
        }
        format!("by {method}; the token lives {} s", (life.as_secs_f64()).round())
    }

    /// Compares the version of the engine with the configuration's.
    fn engine(&self, found: u8, report: &mut Report<'_>) -> bool {
        let engine = &self.engine;
        let wanted = match self.version {
            KvVersion::V1 => 1,
            KvVersion::V2 => 2,
        };
        if found == wanted {
            report.ok(format!("'{engine}' is KV version {found}"));
        } else {
            report.failed(format!(
                "'{engine}' is KV version {found}, and the configuration says v{wanted}: set \
                 `version` to v{found}"
            ));
        }
        found == wanted
    }

    fn probes(&self, vault: &Vault) -> Vec<Probe> {
        let paths = &vault.paths;
        let below = |parts: &[&str]| {
            let parts = parts.iter().copied().filter(|part| !part.is_empty());
            parts.chain(["*"]).collect::<Vec<_>>().join("/")
        };
        let (engine, prefix, name) = (self.engine.as_str(), self.prefix.as_str(), &self.scratch);
        let grants = match self.version {
            KvVersion::V1 => [below(&[engine, prefix]), below(&[engine, prefix])],
            KvVersion::V2 => {
                [below(&[engine, "data", prefix]), below(&[engine, "metadata", prefix])]
            }
        };
        let keys = Place {
            data: paths.data(name),
            metadata: paths.metadata(name),
            folder: paths.all().to_owned(),
            grants,
        };
        let mut probes = keys.probes();
        if self.version == KvVersion::V1 {
            let folder = paths.claims(name);
            let claim = format!("{folder}/{name}");
            let grant = below(&[engine, prefix, paths::CLAIMS]);
            let grants = [grant.clone(), grant];
            let claims = Place { data: claim.clone(), metadata: claim, folder, grants };
            probes.extend(claims.probes());
        }
        probes
    }
}

impl Place {
    fn probes(&self) -> Vec<Probe> {
        let [data, metadata] = &self.grants;
        let mut probes = vec![
            (Right::Read, Act::Read(self.data.clone()), data),
            (Right::List, Act::List(self.folder.clone()), metadata),
            (Right::Delete, Act::Delete(self.metadata.clone()), metadata),
            (Right::Create, Act::Create(self.data.clone()), data),
        ];
        if self.metadata != self.data {
            probes.push((Right::Read, Act::Read(self.metadata.clone()), metadata));
        }
        let probe =
            |(right, act, grant): (Right, Act, &String)| Probe { right, act, grant: grant.clone() };
        probes.into_iter().map(probe).collect()
    }
}

/// Looks who answers at each endpoint. Fails if nobody does who can serve.
async fn connect(config: &config::Vault, report: &mut Report<'_>) {
    let mut asked = JoinSet::new();
    for (at, endpoint) in config.endpoints.iter().cloned().enumerate() {
        let Ok(client) = tls::load(&config.tls).map(|tls| Client::new(vec![endpoint.clone()], tls))
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
    let call =
        Call { query: Some(query), limit: HEALTH_LIMIT, ..read("/v1/sys/health".to_owned()) };
    let answer = client.send(&call, Credentials::default()).await.map_err(|fault| {
        let hint = match fault.status() {
            Some(StatusCode::BAD_REQUEST) if endpoint.scheme() == "http" => {
                ": if it speaks TLS, write https://"
            }
            _ => "",
        };
        format!("{fault}{hint}")
    })?;
    let health: Health = body::from_json(answer.body.as_slice())
        .map_err(|bad| format!("{name} is no Vault: its answer is {bad}"))?;
    if !health.initialized {
        return Err(format!("{name} is not initialised: `vault operator init`"));
    }
    if health.sealed {
        return Err(format!("{name} is sealed: `vault operator unseal`"));
    }
    let trusted = if endpoint.scheme() == "https" { ", its certificate is trusted" } else { "" };
    let standby = if health.standby { " as standby" } else { "" };
    let version: String =
        health.version.chars().filter(|c| c.is_ascii_graphic()).take(40).collect();
    Ok(format!("{name} serves{standby}{trusted}; version {version}"))
}

/// Proves each right on keys, all at once: a token that Vault does not tell about makes each
/// refusal take seconds.
async fn prove_rights(vault: &Arc<Vault>, facts: &Facts, is_known: bool, report: &mut Report<'_>) {
    let mut proving = JoinSet::new();
    for probe in facts.probes(vault) {
        let vault = Arc::clone(vault);
        proving.spawn(async move { (vault.prove(probe.act.clone()).await, probe) });
    }
    let proofs = proving.join_all().await;
    let none = proofs.iter().all(|(proof, _)| matches!(proof, Proof::Missing));
    if none && !is_known {
        report.failed(format!(
            "no right to do anything with '{}', or no such engine in this namespace",
            facts.engine
        ));
    }
    for right in [Right::Read, Right::List, Right::Delete, Right::Create] {
        report.begin(Step::Right(right));
        let of_right = || proofs.iter().filter(|(_, probe)| probe.right == right);
        let trouble = of_right().find_map(|(proof, _)| match proof {
            Proof::Trouble(fault) => Some(fault),
            Proof::Granted | Proof::Missing => None,
        });
        let missing = of_right().filter(|(proof, _)| matches!(proof, Proof::Missing));
        let missing: Vec<_> = missing.map(|(_, probe)| probe.grant.as_str()).collect();
        if !missing.is_empty() {
            report.failed(missing_right(word(right), &missing));
        } else if let Some(fault) = trouble {
            report.failed(fault.to_string());
        } else {
            let mut places: Vec<_> = of_right().map(|(_, probe)| probe.grant.as_str()).collect();
            report.ok(list(&mut places));
        }
    }
}

/// Proves that keys can be wrapped, and that they can be unwrapped.
async fn prove_transit(vault: &Vault, facts: &Facts, report: &mut Report<'_>) {
    let (Some(transit), Some([encrypt, decrypt, key])) = (&vault.transit, &facts.transit) else {
        return;
    };
    report.begin(Step::Right(Right::Encrypt));
    // Who may create a transit key would do so by wrapping with one that is missing.
    if let Err(fault) = transit.unwrap(&vault.session, "vault:v1:AAAA").await
        && fault.status() == Some(StatusCode::BAD_REQUEST)
        && fault.to_string().contains("not found")
    {
        return report.failed(format!("there is no transit key '{key}': {fault}"));
    }
    let no_key = format!(", or there is no transit key '{key}'");
    let wrapped = match transit.wrap(&vault.session, SCRATCH_VALUE).await {
        Ok(wrapped) => {
            report.ok(encrypt);
            Some(wrapped)
        }
        Err(fault) if fault.is_forbidden() => {
            report.failed(format!("{}{no_key}", missing_right("update", &[encrypt])));
            None
        }
        Err(fault) => {
            report.failed(fault.to_string());
            None
        }
    };
    report.begin(Step::Right(Right::Decrypt));
    // Without something to unwrap, whether the refusal is about the right.
    let text = wrapped.as_ref().map_or("vault:v1:AAAA", |wrapped| wrapped.as_str());
    match transit.unwrap(&vault.session, text).await {
        Ok(text) if *text == SCRATCH_VALUE => report.ok(decrypt),
        Ok(_) => report.failed("what was unwrapped is not what was wrapped"),
        Err(fault) if fault.is_forbidden() => {
            report.failed(missing_right("update", &[decrypt]));
        }
        Err(fault) if wrapped.is_none() && !fault.is_unreachable() => report.ok(decrypt),
        Err(fault) => report.failed(fault.to_string()),
    }
}

fn missing_right(capability: &str, paths: &[&str]) -> String {
    let mut paths = paths.to_vec();
    format!("missing: in the policy of the role, grant \"{capability}\" on {}", list(&mut paths))
}

/// Paths of a policy, without those that another one covers.
fn list(paths: &mut Vec<&str>) -> String {
    let all = paths.clone();
    let covers = |one: &str, other: &str| {
        one != other && one.strip_suffix('*').is_some_and(|prefix| other.starts_with(prefix))
    };
    paths.retain(|path| !all.iter().any(|other| covers(other, path)));
    paths.sort_unstable();
    paths.dedup();
    let quoted: Vec<_> = paths.iter().map(|path| format!("\"{path}\"")).collect();
    quoted.join(" and ")
}

/// What a policy of Vault calls a right on keys.
fn word(right: Right) -> &'static str {
    match right {
        Right::Read => "read",
        Right::List => "list",
        Right::Delete => "delete",
        Right::Create => "create",
        Right::Encrypt | Right::Decrypt => "update",
    }
}

/// A JSON object without a field.
#[derive(Serialize)]
struct Nothing {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_to_grant_is_told_once() {
        let told = |paths: &[&str]| list(&mut paths.to_vec());
        assert_eq!(told(&["kv/*", "kv/*"]), "\"kv/*\"");
        assert_eq!(told(&["kv/.kes-claims/*", "kv/*"]), "\"kv/*\"");
        assert_eq!(told(&["kv/.kes-claims/*"]), "\"kv/.kes-claims/*\"");
        assert_eq!(told(&["kv/metadata/*", "kv/data/*"]), "\"kv/data/*\" and \"kv/metadata/*\"");
    }
}
