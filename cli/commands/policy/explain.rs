//! `kes policy explain`: which line decides on a request, and what would change that.

use anyhow::{Result, bail};
use kes_policy::{Change, Explanation, Grant, Refusal};
use serde::Serialize;

use super::request::{Asked, Fault};
use super::rules::{Caller, IsExempt, List, Role, Rules, Shown, Who};
use crate::args::ExplainArgs;
use crate::error::usage;
use crate::output::{self, BAD, GOOD, Output};

const COMMAND: &str = "kes policy explain";

/// The answer, as JSON.
#[derive(Serialize)]
struct Told {
    allowed: bool,
    /// What the server answers to a request that it refuses.
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    method: String,
    path: String,
    /// The path of the API.
    #[serde(skip_serializing_if = "Option::is_none")]
    api: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    identity: Option<String>,
    role: Fact,
    #[serde(skip_serializing_if = "Option::is_none")]
    policy: Option<String>,
    decided_by: Fact,
    /// What else would refuse the request, or allows it as well.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    also: Vec<Fact>,
    /// What would turn the decision into its opposite.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    changes: Vec<Fact>,
}

/// A sentence, and the line of the configuration that it is about.
#[derive(Clone, Serialize)]
pub(super) struct Fact {
    /// A word for programs.
    pub(super) kind: &'static str,
    pub(super) text: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) pattern: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) file: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) line: Option<usize>,
    /// What is to be said of it beside.
    #[serde(skip_serializing_if = "Option::is_none")]
    remark: Option<String>,
}

/// Explains a request. Returns whether it is allowed.
pub(crate) async fn run(args: ExplainArgs) -> Result<bool> {
    let given = |value: Option<String>, what: &str| {
        let value = value.filter(|value| !value.is_empty());
        value.ok_or_else(|| usage(format!("no {what} specified"), COMMAND))
    };
    let who = match &*given(args.identity, "identity")? {
        "self" => Who::Own,
        text => match text.parse() {
            Ok(identity) => Who::Identity(identity),
            // It is not shown: it may be an API key.
            Err(_) => {
                return Err(usage("the identity is neither 64 hex digits nor 'self'", COMMAND));
            }
        },
    };
    let (method, path) = (given(args.method, "method")?, given(args.path, "path")?);
    if !path.starts_with('/') {
        return Err(usage(format!("the path {path:?} does not begin with '/'"), COMMAND));
    }
    let mut rules = Rules::of(args.config, &args.connect)?;
    let Some(caller) = rules.caller(&who).await? else {
        bail!("a bug of kes: nobody is found for the identity")
    };
    let told = explain(&mut rules, &caller, method, path).await?;

    let mut output = Output::with_color(args.format.color);
    let printed = if args.format.json {
        output.json(&told)
    } else {
        output.print(&told.verdict()).and_then(|()| output.table(&told.rows()))
    };
    // The exit status is the answer, whether or not somebody reads the text.
    match printed {
        Err(error) if !error.is::<output::Closed>() => Err(error),
        _ => Ok(told.allowed),
    }
}

async fn explain(rules: &mut Rules, caller: &Caller, method: String, path: String) -> Result<Told> {
    let mut told = Told {
        allowed: false,
        status: None,
        method,
        path,
        api: None,
        identity: caller.identity.map(|identity| identity.to_string()),
        role: role(rules, caller),
        policy: match &caller.role {
            Role::Policy(policy) => Some(policy.name().to_owned()),
            _ => None,
        },
        decided_by: Fact::new("path", String::new()),
        also: Vec::new(),
        changes: Vec::new(),
    };
    // In the order in which a server checks.
    let mut faults = Vec::new();
    match Asked::of(&told.path) {
        Err(fault) => faults.push(("path", fault)),
        Ok(asked) => {
            told.api = Some(asked.operation.route().path);
            faults.extend(asked.method_fault(&told.method).map(|fault| ("method", fault)));
            let explained = rules.explain(caller, asked.operation, &asked.path).await?;
            let (explanation, is_exempt) = explained;
            let (decided_by, also) = reasons(rules, caller, &explanation);
            if explanation.is_allowed() {
                told.decided_by = decided_by;
            } else {
                let text = decided_by.text.clone();
                faults.push(("policy", Fault { status: 403, text }));
                told.decided_by = decided_by;
            }
            told.also = also;
            if is_exempt == IsExempt::Unknown {
                let text = "this client may not ask /v1/api whether the server's configuration \
                            exempts the API from policies (skip_auth)";
                told.also.push(Fact::new("unknown", text.to_owned()));
            }
            faults.extend(asked.name_fault().map(|fault| ("name", fault)));
            // Of a request that something else refuses it would change nothing.
            if faults.is_empty() || !explanation.is_allowed() {
                told.changes = changes(rules, caller, &explanation, &asked);
            }
        }
    }
    told.allowed = faults.is_empty();
    if let Some((first, fault)) = faults.first() {
        told.status = Some(fault.status);
        if *first != "policy" {
            // What the policies say comes after it.
            let policy = Fact { ..told.decided_by.clone() };
            told.decided_by = Fact::new(first, fault.text.clone());
            if policy.kind != "path" {
                told.also.insert(0, policy);
            }
        }
        let rest = faults.iter().skip(1).filter(|(kind, _)| *kind != "policy");
        told.also.extend(rest.map(|(kind, fault)| Fact::new(kind, fault.text.clone())));
    }
    Ok(told)
}

/// What the caller is.
fn role(rules: &Rules, caller: &Caller) -> Fact {
    let (kind, text) = match &caller.role {
        Role::Admin => ("admin", "the admin, who may do everything".to_owned()),
        Role::Policy(policy) => ("policy", format!("in policy '{}'", policy.name())),
        Role::Proxy => {
            ("proxy", "a TLS proxy, whose requests have the rights of its clients".to_owned())
        }
        Role::Unknown => ("none", "no policy names it".to_owned()),
    };
    Fact::new(kind, text).at(rules, caller.line)
}

/// What decides, and what would decide if that did not.
pub(super) fn reasons(
    rules: &Rules,
    caller: &Caller,
    explanation: &Explanation<'_>,
) -> (Fact, Vec<Fact>) {
    let pattern = |kind, policy, list, position| {
        let Shown { pattern, line } = rules.shown(policy, list, position);
        let fact = Fact::new(kind, format!("{kind} '{pattern}'"));
        Fact { pattern: Some(pattern), ..fact }.at(rules, line)
    };
    let mut also = Vec::new();
    let decided_by = match explanation.decision {
        Ok(Grant::Open) => Fact::new("open", "anybody may ask this API".to_owned()),
        Ok(Grant::Exempt) => {
            let text = "the API is exempt from policies (skip_auth)".to_owned();
            Fact::new("skip_auth", text).at(rules, rules.line_of_exemptions())
        }
        Ok(Grant::AnyIdentity) => {
            Fact::new("identity", "every client with an identity may ask this API".to_owned())
        }
        Ok(Grant::Admin) => {
            Fact::new("admin", "the admin may do everything".to_owned()).at(rules, caller.line)
        }
        Ok(Grant::Policy { policy, allow }) => {
            let others = explanation.allows.iter().filter(|one| **one != allow);
            also.extend(others.map(|one| pattern("allow", policy, List::Allow, *one)));
            pattern("allow", policy, List::Allow, allow)
        }
        Err(Refusal::OtherPath { .. }) => Fact::new("path", String::new()),
        Err(Refusal::NoIdentity) => {
            Fact::new("identity", "the API needs a client certificate".to_owned())
        }
        Err(Refusal::UnknownIdentity) => {
            let text = "an identity without a policy may not ask this API".to_owned();
            Fact::new("unknown_identity", text)
        }
        Err(Refusal::NotAllowed { policy }) => {
            let text = format!("no allow pattern of policy '{}' matches", policy.name());
            Fact::new("no_allow", text).at(rules, rules.line_of(policy.name()))
        }
        Err(Refusal::Denied { policy, deny }) => {
            let mut decided_by = None;
            for denial in &explanation.denials {
                let mut fact = pattern("deny", policy, List::Deny, denial.position);
                if denial.path != explanation.path() {
                    fact.remark =
                        Some(format!("it matches '{}', which gives the same", denial.path));
                }
                if denial.position == deny {
                    decided_by = Some(fact);
                } else {
                    also.push(fact);
                }
            }
            if explanation.allows.is_empty() {
                also.push(Fact::new("no_allow", "no allow pattern matches either".to_owned()));
            }
            decided_by.unwrap_or_else(|| pattern("deny", policy, List::Deny, deny))
        }
    };
    (decided_by, also)
}

/// What would turn the decision into its opposite, in words.
fn changes(
    rules: &Rules,
    caller: &Caller,
    explanation: &Explanation<'_>,
    asked: &Asked,
) -> Vec<Fact> {
    let (name, line) = match &caller.role {
        Role::Policy(policy) => (policy.name(), rules.line_of(policy.name())),
        _ => ("", None),
    };
    let of_change = |change| match change {
        Change::Identify => {
            Fact::new("identify", "show a client certificate that is not a CA's".to_owned())
        }
        Change::JoinPolicy { allow } => match &*rules.allowing(asked.operation, &asked.path) {
            _ if matches!(caller.role, Role::Proxy) => {
                let text = "the client's own certificate decides; a proxy can be in no policy";
                Fact::new("ask_as_client", text.to_owned())
            }
            [first, ..] => {
                let text = format!(
                    "add the identity to 'identities' of a policy that allows it, such as '{first}'"
                );
                Fact::new("add_identity", text).at(rules, rules.line_of(first))
            }
            [] => {
                let text = format!(
                    "add the identity to 'identities' of a policy, and '{allow}' to its 'allow'"
                );
                Fact { pattern: Some(allow), ..Fact::new("add_identity", text) }
            }
        },
        Change::AddAllow(allow) => {
            let text = format!("add '{allow}' to 'allow' of policy '{name}'");
            Fact { pattern: Some(allow), ..Fact::new("add_allow", text) }.at(rules, line)
        }
        Change::RemoveDeny(position) => {
            let Role::Policy(policy) = &caller.role else { return Fact::new("", String::new()) };
            let Shown { pattern, line } = rules.shown(policy, List::Deny, position);
            let text = format!("remove '{pattern}' from 'deny' of policy '{name}'");
            Fact { pattern: Some(pattern), ..Fact::new("remove_deny", text) }.at(rules, line)
        }
        Change::AddDeny(deny) => {
            let text = format!("to refuse it, add '{deny}' to 'deny' of policy '{name}'");
            Fact { pattern: Some(deny), ..Fact::new("add_deny", text) }.at(rules, line)
        }
        Change::RemoveExemption => {
            let path = asked.operation.route().path;
            let text = format!("to have policies decide, remove skip_auth of '{path}'");
            Fact::new("remove_skip_auth", text).at(rules, rules.line_of_exemptions())
        }
    };
    explanation.changes().into_iter().map(of_change).collect()
}

impl Fact {
    pub(super) const fn new(kind: &'static str, text: String) -> Self {
        Self { kind, text, pattern: None, file: None, line: None, remark: None }
    }

    /// The same, about a line of the file.
    pub(super) fn at(self, rules: &Rules, line: Option<usize>) -> Self {
        match (rules.file(), line) {
            (Some(file), Some(line)) => {
                Self { file: Some(file.display().to_string()), line: Some(line), ..self }
            }
            _ => self,
        }
    }

    /// `deny '/v1/key/*' (config.yml:12)`
    pub(super) fn sentence(&self) -> String {
        let place = match (&self.file, self.line) {
            (Some(file), Some(line)) => format!(" ({file}:{line})"),
            _ => String::new(),
        };
        let remark = self.remark.as_ref().map(|remark| format!("; {remark}"));
        format!("{}{place}{}", self.text, remark.unwrap_or_default())
    }
}

impl Told {
    /// The first line.
    fn verdict(&self) -> String {
        let Self { method, path, .. } = self;
        let request = format!("{} {}", output::clean(method), output::clean(path));
        match self.status {
            None => format!("{GOOD}allowed{GOOD:#}     {request}"),
            Some(status) => format!("{BAD}refused{BAD:#}     {request} ({status})"),
        }
    }

    fn rows(&self) -> Vec<(&'static str, String)> {
        let lines =
            |facts: &[Fact]| facts.iter().map(|fact| fact.sentence() + "\n").collect::<String>();
        let identity = match &self.identity {
            Some(identity) => format!("{identity}\n{}", self.role.sentence()),
            None => self.role.sentence(),
        };
        let mut rows = vec![("Identity", identity)];
        rows.extend(self.api.map(|api| ("API", api.to_owned())));
        rows.push(("Decided by", self.decided_by.sentence()));
        rows.push(("Also", lines(&self.also)));
        rows.push(("Change", lines(&self.changes)));
        rows.retain(|(_, text)| !text.is_empty());
        rows
    }
}
