use std::sync::Arc;

use http::StatusCode;
use tokio::task::JoinSet;

use super::super::call::{Nothing, read, write};
use super::super::engine::Engine;
use super::super::fault::Fault;
use super::super::listing::may_list;
use super::super::paths;
use super::super::paths::Form;
use super::super::session::Session;
use super::super::transit::Transit;
use super::Facts;
use crate::check::{Report, Right, SCRATCH_VALUE, Step};
use crate::config::KvVersion;

/// Proves each right on keys, all at once: a token that Vault does not tell about makes each
/// refusal take seconds. Whether keys may be listed.
pub(super) async fn prove_keys(
    engine: &Arc<Engine>,
    facts: &Facts,
    form: Option<Form>,
    report: &mut Report<'_>,
) -> bool {
    let mut proving = JoinSet::new();
    for (at, probe) in facts.probes(engine, form).into_iter().enumerate() {
        let engine = Arc::clone(engine);
        proving.spawn(async move { (at, engine.prove(probe.act.clone()).await, probe) });
    }
    let mut proofs = proving.join_all().await;
    proofs.sort_by_key(|(at, ..)| *at);
    let proofs = proofs.into_iter().map(|(_, proof, probe)| (proof, probe));
    let (keys, claims): (Vec<_>, Vec<_>) = proofs.partition(|(_, probe)| probe.of == Of::Keys);
    if keys.iter().all(|(proof, _)| matches!(proof, Proof::Missing)) && form.is_none() {
        report.failed(facts.nothing_granted(&engine.session));
    }
    let mut lists = true;
    for right in [Right::Read, Right::List, Right::Delete, Right::Create] {
        report.begin(Step::Right(right));
        let (missing, granted, trouble) = sorted(&keys, |probe| probe.right == right);
        if let Some(fault) = trouble {
            report.failed(fault.to_string());
        } else if missing.is_empty() {
            report.ok(granted.iter().map(|probe| probe.quoted()).collect::<Vec<_>>().join(" and "));
        } else if right == Right::List {
            lists = false;
            report.warning(format!("keys cannot be listed; for that, {}", to_grant(&missing)));
        } else {
            report.failed(format!("missing: {}", to_grant(&missing)));
        }
    }
    if !claims.is_empty() {
        report.begin(Step::OneCreator);
        let (missing, _, trouble) = sorted(&claims, |_| true);
        let (missing_keys, ..) = sorted(&keys, |_| true);
        if let Some(fault) = trouble {
            report.failed(fault.to_string());
        } else if missing.is_empty() {
            report.ok("servers that create a key at the same time agree on one");
        } else {
            // Where a right is missing for keys as well, one line of the policy grants both.
            let covering =
                |probe: &&Probe| missing_keys.iter().find(|key| key.right == probe.right).copied();
            let wanted: Vec<_> =
                missing.iter().map(|probe| covering(probe).unwrap_or(*probe)).collect();
            report.warning(format!(
                "with several servers, two that create the same key in the same instant may both \
                 succeed, and one of the two keys is lost; to have them agree on one, {}",
                to_grant(&wanted)
            ));
        }
    }
    lists
}

/// Probes by how they ended: missing, granted, and the first trouble.
fn sorted(
    proofs: &[(Proof, Probe)],
    wanted: impl Fn(&Probe) -> bool,
) -> (Vec<&Probe>, Vec<&Probe>, Option<&Fault>) {
    let (mut missing, mut granted, mut trouble) = (Vec::new(), Vec::new(), None);
    for (proof, probe) in proofs.iter().filter(|(_, probe)| wanted(probe)) {
        match proof {
            Proof::Missing => missing.push(probe),
            Proof::Granted => granted.push(probe),
            Proof::Trouble(fault) => trouble = trouble.or(Some(fault)),
        }
    }
    (missing, granted, trouble)
}

/// Proves that keys can be wrapped, and that they can be unwrapped.
pub(super) async fn prove_transit(
    session: &Session,
    transit: &Transit,
    facts: &Facts,
    report: &mut Report<'_>,
) {
    let Some([engine, key]) = &facts.transit else { return };
    let space = session.space.prefix();
    let [encrypt, decrypt] =
        ["encrypt", "decrypt"].map(|verb| format!("{space}{engine}/{verb}/{key}"));
    report.begin(Step::Right(Right::Encrypt));
    // Who may create a transit key would do so by wrapping with one that is missing.
    if let Err(fault) = transit.unwrap("vault:v1:AAAA").await {
        match fault.status() {
            Some(StatusCode::BAD_REQUEST) if fault.to_string().contains("not found") => {
                return report.failed(format!("there is no transit key '{key}': {fault}"));
            }
            Some(StatusCode::NOT_FOUND) => {
                return report.failed(format!("there is no engine '{engine}': {fault}"));
            }
            _ => {}
        }
    }
    let no_key = format!(", or there is no transit key '{key}', or no engine '{engine}'");
    let wrapped = match transit.wrap(SCRATCH_VALUE).await {
        Ok(wrapped) => {
            report.ok(encrypt);
            Some(wrapped)
        }
        Err(fault) if fault.is_forbidden() => {
            report.failed(format!("{}{no_key}", missing_right("update", &encrypt)));
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
    match transit.unwrap(text).await {
        Ok(text) if *text == SCRATCH_VALUE => report.ok(decrypt),
        Ok(_) => report.failed("decrypting did not give back what was encrypted"),
        Err(fault) if fault.is_forbidden() => {
            report.failed(missing_right("update", &decrypt));
        }
        Err(fault) if wrapped.is_none() && !fault.is_unreachable() => report.ok(decrypt),
        Err(fault) => report.failed(fault.to_string()),
    }
}

/// A request that shows whether a right is there.
struct Probe {
    of: Of,
    right: Right,
    act: Act,
    /// The path that a policy has to name.
    grant: String,
}

/// What a right is needed for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Of {
    Keys,
    /// The create lock.
    Claims,
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

impl Probe {
    fn quoted(&self) -> String {
        format!("\"{}\"", self.grant)
    }
}

impl Facts {
    fn probes(&self, kv: &Engine, form: Option<Form>) -> Vec<Probe> {
        let paths = &kv.paths;
        let form = match self.version {
            KvVersion::V1 => Form::Plain,
            KvVersion::V2 => form.unwrap_or(Form::Versioned),
        };
        let (engine, prefix, name) = (self.engine.as_str(), self.prefix.as_str(), &self.scratch);
        let below = |middle: &str, end: &str| {
            let parts = [engine, middle, prefix, end, "*"];
            let parts: Vec<_> = parts.into_iter().filter(|part| !part.is_empty()).collect();
            format!("{}{}", kv.session.space.prefix(), parts.join("/"))
        };
        let (data, whole) = match (self.version, form) {
            (KvVersion::V1, _) => ("", ""),
            (KvVersion::V2, Form::Plain) => ("data", "data"),
            (KvVersion::V2, Form::Versioned) => ("data", "metadata"),
        };
        let (data_grant, whole_grant) = (below(data, ""), below(whole, ""));
        let probe = |of, right, act, grant: &String| Probe { of, right, act, grant: grant.clone() };
        let (data_path, whole_path) = (paths.data(name), paths.whole(name, form));
        let folder = paths.folder(form).to_owned();
        let mut probes = vec![
            probe(Of::Keys, Right::Read, Act::Read(data_path.clone()), &data_grant),
            probe(Of::Keys, Right::List, Act::List(folder), &whole_grant),
            probe(Of::Keys, Right::Delete, Act::Delete(whole_path), &whole_grant),
            probe(Of::Keys, Right::Create, Act::Create(data_path), &data_grant),
        ];
        if form == Form::Plain {
            let folder = paths.claims(name);
            let (claim, grant) = (format!("{folder}/{name}"), below(data, paths::CLAIMS));
            for (right, act) in [
                (Right::Read, Act::Read(claim.clone())),
                (Right::List, Act::List(folder)),
                (Right::Delete, Act::Delete(claim.clone())),
                (Right::Create, Act::Create(claim)),
            ] {
                probes.push(probe(Of::Claims, right, act, &grant));
            }
        }
        probes
    }

    /// What is wrong where nothing is granted and nobody knows of the engine.
    fn nothing_granted(&self, session: &Session) -> String {
        let engine = &self.engine;
        match session.space.out_of_reach() {
            Some((login, namespace)) => format!(
                "the login is in namespace '{login}', and its token has no rights in namespace \
                 '{namespace}', which is not below that one"
            ),
            None => format!(
                "no right to do anything with '{engine}', or no such engine in this namespace"
            ),
        }
    }
}

impl Engine {
    async fn prove(&self, act: Act) -> Proof {
        let result = match act {
            Act::Read(path) => self.session.call(&read(path)).await.map(drop),
            Act::List(path) => may_list(&self.session, &path).await,
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

fn missing_right(capability: &str, path: &str) -> String {
    format!("missing: in the policy of the role, grant \"{capability}\" on \"{path}\"")
}

/// What to write into the policy: `grant "read" and "list" on "kv/*"`.
fn to_grant(probes: &[&Probe]) -> String {
    let mut paths: Vec<&str> = probes.iter().map(|probe| probe.grant.as_str()).collect();
    paths.dedup();
    let of = |path: &str| {
        let words = probes.iter().filter(|probe| probe.grant == path);
        let words: Vec<_> = words.map(|probe| format!("\"{}\"", word(probe.right))).collect();
        let words = match words.split_last() {
            Some((last, others)) if !others.is_empty() => {
                format!("{} and {last}", others.join(", "))
            }
            _ => words.concat(),
        };
        format!("{words} on \"{path}\"")
    };
    let all: Vec<_> = paths.into_iter().map(of).collect();
    format!("in the policy of the role, grant {}", all.join(", and "))
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
    fn what_to_grant_is_told_by_path() {
        let probe = |right, grant: &str| Probe {
            of: Of::Claims,
            right,
            act: Act::Read(String::new()),
            grant: grant.to_owned(),
        };
        let probes = [
            probe(Right::Read, "kv/.kes-claims/*"),
            probe(Right::Create, "kv/.kes-claims/*"),
            probe(Right::Delete, "kv/.kes-claims/*"),
            probe(Right::List, "kv/*"),
        ];
        let told = |probes: &[Probe]| to_grant(&probes.iter().collect::<Vec<_>>());
        assert_eq!(told(&probes[3..]), "in the policy of the role, grant \"list\" on \"kv/*\"");
        assert_eq!(
            told(&probes),
            "in the policy of the role, grant \"read\", \"create\" and \"delete\" on \
             \"kv/.kes-claims/*\", and \"list\" on \"kv/*\""
        );
    }
}
