use std::sync::Arc;

use http::StatusCode;
use tokio::task::JoinSet;

use super::super::Vault;
use super::super::engine::{read, write};
use super::super::fault::Fault;
use super::super::paths;
use super::{Facts, Nothing};
use crate::check::{Report, Right, SCRATCH_VALUE, Step};
use crate::config::KvVersion;

/// Proves each right on keys, all at once: a token that Vault does not tell about makes each
/// refusal take seconds.
pub(super) async fn prove_keys(
    vault: &Arc<Vault>,
    facts: &Facts,
    is_known: bool,
    report: &mut Report<'_>,
) {
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
pub(super) async fn prove_transit(vault: &Vault, facts: &Facts, report: &mut Report<'_>) {
    let (Some(transit), Some([engine, key])) = (&vault.transit, &facts.transit) else {
        return;
    };
    let space = vault.session.space.prefix();
    let [encrypt, decrypt] =
        ["encrypt", "decrypt"].map(|verb| format!("{space}{engine}/{verb}/{key}"));
    report.begin(Step::Right(Right::Encrypt));
    // Who may create a transit key would do so by wrapping with one that is missing.
    if let Err(fault) = transit.unwrap(&vault.session, "vault:v1:AAAA").await
        && fault.status() == Some(StatusCode::BAD_REQUEST)
        && fault.to_string().contains("not found")
    {
        return report.failed(format!("there is no transit key '{key}': {fault}"));
    }
    let no_key = format!(", or there is no transit key '{key}', or no engine '{engine}'");
    let wrapped = match transit.wrap(&vault.session, SCRATCH_VALUE).await {
        Ok(wrapped) => {
            report.ok(encrypt);
            Some(wrapped)
        }
        Err(fault) if fault.is_forbidden() => {
            report.failed(format!("{}{no_key}", missing_right("update", &[&encrypt])));
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
            report.failed(missing_right("update", &[&decrypt]));
        }
        Err(fault) if wrapped.is_none() && !fault.is_unreachable() => report.ok(decrypt),
        Err(fault) => report.failed(fault.to_string()),
    }
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

impl Facts {
    fn probes(&self, vault: &Vault) -> Vec<Probe> {
        let paths = &vault.paths;
        let below = |parts: &[&str]| {
            let parts = parts.iter().copied().filter(|part| !part.is_empty());
            let path = parts.chain(["*"]).collect::<Vec<_>>().join("/");
            format!("{}{path}", vault.session.space.prefix())
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

impl Vault {
    async fn prove(&self, act: Act) -> Proof {
        let result = match act {
            Act::Read(path) => self.session.call(&read(path)).await.map(drop),
            Act::List(path) => self.may_list(&path).await,
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
