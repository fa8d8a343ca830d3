//! `kes policy suggest`: what to add to the policies for what was refused of late, as YAML.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::{Context as _, Result, bail};
use kes_api::body::{Refusals, RefusedRequest};
use kes_api::{Identity, ListPattern, Route, Timestamp};
use kes_policy::allow_pattern;
use serde::Serialize;

use crate::args::SuggestArgs;
use crate::commands::connect::clients;
use crate::commands::explain::Subject;
use crate::error::usage;
use crate::output::{self, Output, clean};

const COMMAND: &str = "kes policy suggest";

/// Remarks are aligned behind patterns of at most this many characters.
const ALIGNED: usize = 48;

/// Asks all servers of the environment: each knows what it has refused itself.
pub(super) async fn run(args: SuggestArgs) -> Result<()> {
    let given = args.prefix.iter().filter(|prefix| !prefix.is_empty());
    let prefixes = given.map(|prefix| prefix_of(prefix, COMMAND)).collect::<Result<Vec<_>>>()?;
    let clients = clients(&args.connect)?;
    let total = clients.len();
    let asked: Vec<_> = clients
        .into_iter()
        .map(|client| {
            let endpoint: String = client.endpoints().iter().map(ToString::to_string).collect();
            let ask = async move {
                client.refusals().await.map_err(|error| client.explain(error, Subject::Server))
            };
            (endpoint, tokio::spawn(ask))
        })
        .collect();
    let mut told = Vec::new();
    for (endpoint, answer) in asked {
        match answer.await? {
            Ok(refusals) => told.push(refusals),
            Err(error) if total == 1 => {
                return Err(error).context("failed to read what was refused");
            }
            Err(error) => output::warning(&format!("nothing from {endpoint}: {error:#}")),
        }
    }
    if told.is_empty() {
        bail!("none of {total} servers told what it refused");
    }
    let merged = merged(told);
    let mut output = Output::with_color(args.format.color);
    if args.format.json { output.json(&merged) } else { output.print(&yaml(&merged, &prefixes)) }
}

/// What several servers have refused, in one. Patterns and paths of a server that make no sense are
/// left out: what is printed goes into a configuration.
fn merged(told: Vec<Refusals>) -> Refusals {
    let since = told.iter().map(|one| one.since).min().unwrap_or_else(Timestamp::now);
    let forgotten = told.iter().map(|one| one.forgotten).fold(0, u64::saturating_add);
    let mut requests: BTreeMap<(Identity, String), RefusedRequest> = BTreeMap::new();
    for one in told.into_iter().flat_map(|one| one.refusals) {
        let is_request = Route::find(&one.path)
            .is_some_and(|(route, resource)| route.is_valid_resource(resource));
        if !is_request {
            continue;
        }
        let known = requests.entry((one.identity, one.path.clone()));
        known
            .and_modify(|known| {
                known.count = known.count.saturating_add(one.count);
                known.first = known.first.min(one.first);
                known.last = known.last.max(one.last);
                // Servers may be at different configurations.
                known.denied_by = known.denied_by.take().or_else(|| one.denied_by.clone());
                known.policy = known.policy.take().or_else(|| one.policy.clone());
            })
            .or_insert(one);
    }
    Refusals { since, forgotten, refusals: requests.into_values().collect() }
}

/// A pattern to add, and what it stands for.
#[derive(Default, Serialize)]
struct Wanted {
    count: u64,
    last: Option<Timestamp>,
    identities: Vec<Identity>,
}

type Patterns = BTreeMap<String, Wanted>;

fn yaml(told: &Refusals, prefixes: &[String]) -> String {
    let mut policies: BTreeMap<&str, Patterns> = BTreeMap::new();
    let mut strangers: BTreeMap<Identity, Patterns> = BTreeMap::new();
    let mut denied = Vec::new();
    for one in &told.refusals {
        let wanted = match (&one.policy, &one.denied_by) {
            (Some(policy), Some(pattern)) => {
                denied.push((policy, pattern, one));
                continue;
            }
            (Some(policy), None) => policies.entry(policy).or_default(),
            (None, _) => strangers.entry(one.identity).or_default(),
        };
        wanted.entry(pattern_for(&one.path, prefixes)).or_default().add(one);
    }

    policies.values_mut().chain(strangers.values_mut()).for_each(drop_covered);

    let since = told.since.to_table();
    let mut text = format!("# What policies have refused since {since} UTC and refuse still.\n");
    if told.forgotten > 0 {
        let _ = writeln!(text, "# {} more requests are forgotten.", told.forgotten);
    }
    if told.refusals.is_empty() {
        text.push_str("# Nothing.\n");
    }
    if !policies.is_empty() {
        text.push_str("policy:\n");
    }
    for (policy, patterns) in &policies {
        let _ = writeln!(text, "  {}:\n    allow:", key(policy));
        write_patterns(&mut text, "    ", patterns, true);
    }
    if !denied.is_empty() {
        text.push_str("# Not suggested, because a deny pattern refuses it:\n");
        for (policy, pattern, one) in denied {
            let RefusedRequest { path, count, identity, .. } = one;
            let line = format!(
                "{path} in policy '{policy}' by '{pattern}', {} ({identity})",
                times(*count)
            );
            let _ = writeln!(text, "# - {}", clean(&line));
        }
    }
    if !strangers.is_empty() {
        text.push_str(
            "# No policy names these identities, and anybody can make one. To let one in that you \
             know, add it to\n# 'identities' of a policy, or give it a policy of its own:\n",
        );
    }
    for (number, (identity, patterns)) in (1..).zip(&strangers) {
        let _ = writeln!(text, "#  new-policy-{number}:\n#    allow:");
        write_patterns(&mut text, "#    ", patterns, false);
        let _ = writeln!(text, "#    identities:\n#    - {identity}");
    }
    text
}

/// Drops patterns that another one covers, such as `/v1/key/list/a*` beside `/v1/key/list/*`.
fn drop_covered(patterns: &mut Patterns) {
    let mut kept: Patterns = BTreeMap::new();
    // '*' sorts before all that a name may have: a pattern comes after those that cover it.
    for (pattern, wanted) in std::mem::take(patterns) {
        let covering = kept.iter_mut().find(|(one, _)| {
            one.strip_suffix('*').is_some_and(|prefix| pattern.starts_with(prefix))
        });
        match covering {
            Some((_, covering)) => covering.join(wanted),
            None => drop(kept.insert(pattern, wanted)),
        }
    }
    *patterns = kept;
}

fn write_patterns(text: &mut String, indent: &str, patterns: &Patterns, with_identities: bool) {
    // One long pattern, such as that of an identity, does not move all the others' remarks.
    let lengths = patterns.keys().map(String::len).filter(|length| *length <= ALIGNED);
    let width = lengths.max().unwrap_or_default();
    for (pattern, wanted) in patterns {
        let last = wanted.last.map(|last| format!(", last {} UTC", last.to_table()));
        let who = match &*wanted.identities {
            _ if !with_identities => String::new(),
            [one] => format!(", by {one}"),
            several => format!(", by {} identities", several.len()),
        };
        let _ = writeln!(
            text,
            "{indent}- {pattern:width$}  # {}{}{who}",
            times(wanted.count),
            last.unwrap_or_default()
        );
    }
}

impl Wanted {
    fn add(&mut self, one: &RefusedRequest) {
        let identities = vec![one.identity];
        self.join(Self { count: one.count, last: Some(one.last), identities });
    }

    fn join(&mut self, other: Self) {
        self.count = self.count.saturating_add(other.count);
        self.last = self.last.max(other.last);
        for identity in other.identities {
            if !self.identities.contains(&identity) {
                self.identities.push(identity);
            }
        }
    }
}

/// The pattern that allows a path: for its name alone, unless the operator gave a prefix of it.
fn pattern_for(path: &str, prefixes: &[String]) -> String {
    let Some((route, resource)) = Route::find(path) else { return path.to_owned() };
    let name = match ListPattern::parse(resource) {
        Ok(pattern) if route.operation.lists() => pattern.prefix(),
        _ => resource,
    };
    // Names of keys alone have prefixes that mean something.
    let is_of_keys = route.takes_name() && route.path.starts_with("/v1/key/");
    let fitting = prefixes.iter().filter(|prefix| is_of_keys && name.starts_with(prefix.as_str()));
    match fitting.max_by_key(|prefix| prefix.len()) {
        Some(prefix) => format!("{}{prefix}*", route.path),
        None => allow_pattern(route.operation, resource),
    }
}

/// A prefix of names, with or without a `*` at its end.
pub(super) fn prefix_of(text: &str, command: &str) -> Result<String> {
    let prefix = text.strip_suffix('*').unwrap_or(text);
    match ListPattern::parse(prefix) {
        Ok(pattern) if pattern.prefix() == prefix => Ok(prefix.to_owned()),
        _ => Err(usage(format!("{text:?} is not the beginning of a name"), command)),
    }
}

fn times(count: u64) -> String {
    if count == 1 { "once".to_owned() } else { format!("{count} times") }
}

/// The name of a policy as a key of YAML.
fn key(name: &str) -> String {
    let is_plain = name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
        && !["y", "n", "yes", "no", "on", "off", "true", "false", "null"]
            .contains(&&*name.to_ascii_lowercase());
    // JSON is YAML.
    if is_plain {
        name.to_owned()
    } else {
        clean(&serde_json::json!(name).to_string()).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(
        identity: u8,
        policy: Option<&str>,
        path: &str,
        denied_by: Option<&str>,
    ) -> RefusedRequest {
        let time = |second| Timestamp::from_unix(second, 0).unwrap();
        RefusedRequest {
            identity: Identity::of_public_key(&[identity]),
            policy: policy.map(str::to_owned),
            method: "PUT".to_owned(),
            path: path.to_owned(),
            denied_by: denied_by.map(str::to_owned),
            count: 2,
            first: time(60),
            last: time(120),
        }
    }

    fn told(refusals: Vec<RefusedRequest>) -> Refusals {
        Refusals { since: Timestamp::from_unix(0, 0).unwrap(), forgotten: 0, refusals }
    }

    #[test]
    fn names_are_generalised_as_far_as_the_operator_says() {
        let prefixes = |prefixes: &[&str]| -> Vec<String> {
            prefixes.iter().map(|prefix| prefix_of(prefix, "").unwrap()).collect()
        };
        for (given, path, expected) in [
            (&[][..], "/v1/key/create/my-key", "/v1/key/create/my-key"),
            (&["my-"], "/v1/key/create/my-key", "/v1/key/create/my-*"),
            (&["my-", "my-k*"], "/v1/key/create/my-key", "/v1/key/create/my-k*"),
            (&["other"], "/v1/key/create/my-key", "/v1/key/create/my-key"),
            (&["*"], "/v1/key/create/my-key", "/v1/key/create/*"),
            (&["*"], "/v1/status", "/v1/status"),
            (&["*"], "/v1/policy/read/minio", "/v1/policy/read/minio"),
            (&["my-"], "/v1/key/list/", "/v1/key/list/*"),
            (&["my-"], "/v1/key/list/my-k*my-key", "/v1/key/list/my-*"),
        ] {
            assert_eq!(pattern_for(path, &prefixes(given)), expected, "{path}");
        }
        for bad in ["a b", "a/b", "a*b", "**"] {
            assert!(prefix_of(bad, "").is_err(), "{bad}");
        }
    }

    #[test]
    fn what_a_server_says_cannot_become_something_else_in_the_file() {
        let evil = "p:\n    allow: ['*']\n#";
        let path = "/v1/key/create/a\n    - '*'";
        let told = merged(vec![told(vec![
            refused(1, Some(evil), "/v1/key/create/a", None),
            refused(1, Some("p"), path, None),
            refused(2, Some("p"), "/v1/key/create/b", Some("/v1/\n- '*'")),
        ])]);
        let text = yaml(&told, &[]);
        let lines: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(lines.len(), 4, "{text}");
        assert_eq!(lines[1], "  \"p:\\n    allow: ['*']\\n#\":");
        assert!(
            lines[3].starts_with("    - /v1/key/create/a  # 2 times, last 1970-01-01"),
            "{text}"
        );
    }

    #[test]
    fn what_another_pattern_covers_is_left_out() {
        let listings = ["/v1/key/list/", "/v1/key/list/x*", "/v1/key/list/x", "/v1/key/create/x"];
        let refusals = listings.map(|path| refused(1, Some("p"), path, None)).to_vec();
        let text = yaml(&merged(vec![told(refusals)]), &[]);
        let lines: Vec<_> = text.lines().skip(4).collect();
        assert!(lines[0].starts_with("    - /v1/key/create/x  # 2 times"), "{text}");
        assert!(lines[1].starts_with("    - /v1/key/list/*    # 6 times"), "{text}");
        assert_eq!(lines.len(), 2, "{text}");
    }

    #[test]
    fn servers_are_taken_together() {
        let one = refused(1, Some("p"), "/v1/status", None);
        let told = merged(vec![told(vec![one.clone()]), told(vec![one])]);
        assert_eq!(told.refusals.len(), 1);
        assert_eq!(told.refusals[0].count, 4);
    }
}
