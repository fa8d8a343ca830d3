//! Where policies are looked up: in a configuration file, or at a running server by the APIs that
//! tell its policies. Either way the decision is made here, by the code that a server uses.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use kes_api::body::{PolicyPatterns, SelfPolicy};
use kes_api::{Identity, Operation, message};
use kes_client::Error;
use kes_config::{LoadedPolicies, PatternPlace, ProcessEnvironment};
use kes_policy::{Explanation, Policy, Standing};

use crate::args::Connect;
use crate::commands::connect::{self, Session};
use crate::commands::explain::Subject;
use crate::output;

/// Where policies are looked up.
pub(super) enum Rules {
    File(FileRules),
    Server(ServerRules),
}

pub(super) struct FileRules {
    path: PathBuf,
    loaded: LoadedPolicies,
}

pub(super) struct ServerRules {
    client: Session,
    /// What was asked for already; `None` for a policy that does not exist.
    policies: HashMap<String, Option<Policy>>,
    /// By operation; `None` where the server does not tell.
    exempt: Option<Option<Vec<Operation>>>,
}

/// Who is meant.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) enum Who {
    /// This client.
    Own,
    Identity(Identity),
    /// A member of the policy with this name.
    Member(String),
}

/// A caller, and what it is to the policies.
pub(super) struct Caller {
    pub(super) identity: Option<Identity>,
    pub(super) role: Role,
    /// The line of the file that gives the role.
    pub(super) line: Option<usize>,
}

/// What a caller is.
pub(super) enum Role {
    Admin,
    Policy(Policy),
    /// Forwards the requests of others and has no rights.
    Proxy,
    Unknown,
}

/// A pattern of a policy, as it is shown, and its line.
pub(super) struct Shown {
    pub(super) pattern: String,
    pub(super) line: Option<usize>,
}

/// Which list of a policy a pattern is in.
#[derive(Clone, Copy)]
pub(super) enum List {
    Allow,
    Deny,
}

impl Role {
    pub(super) const fn standing(&self) -> Standing<'_> {
        match self {
            Self::Admin => Standing::Admin,
            Self::Policy(policy) => Standing::Policy(policy),
            Self::Proxy | Self::Unknown => Standing::Unknown,
        }
    }
}

impl Rules {
    /// The policies of a file, or of the servers of the environment.
    pub(super) fn of(config: Option<PathBuf>, connect: &Connect) -> Result<Self> {
        let Some(path) = config else {
            let client = connect::client(connect)?;
            let (policies, exempt) = (HashMap::new(), None);
            return Ok(Self::Server(ServerRules { client, policies, exempt }));
        };
        let loaded = kes_config::load_policies(&path, &ProcessEnvironment)?;
        for warning in &loaded.warnings {
            output::warning(&warning.in_file(&path).to_string());
        }
        Ok(Self::File(FileRules { path, loaded }))
    }

    /// The file.
    pub(super) fn file(&self) -> Option<&Path> {
        match self {
            Self::File(file) => Some(&file.path),
            Self::Server(_) => None,
        }
    }

    /// What somebody is to the policies; `None` if there is no such policy.
    pub(super) async fn caller(&mut self, who: &Who) -> Result<Option<Caller>> {
        match self {
            Self::File(file) => file.caller(who),
            Self::Server(server) => server.caller(who).await,
        }
    }

    /// Explains a decision, and says whether the API is exempt from policies. Where that is unknown the
    /// explanation is that of an API which is not.
    pub(super) async fn explain<'c>(
        &mut self,
        caller: &'c Caller,
        operation: Operation,
        path: &str,
    ) -> Result<(Explanation<'c>, IsExempt)> {
        let explain =
            |is_exempt| Explanation::of(caller.role.standing(), is_exempt, operation, path);
        let is_exempt = match self {
            Self::File(file) => IsExempt::of(file.loaded.policies.is_exempt(operation)),
            // Asked only if it matters.
            Self::Server(_) if explain(false).is_allowed() => IsExempt::No,
            Self::Server(server) => server.is_exempt(operation).await?,
        };
        Ok((explain(is_exempt == IsExempt::Yes), is_exempt))
    }

    /// A pattern of a policy. The value of an environment variable is not shown.
    pub(super) fn shown(&self, policy: &Policy, list: List, position: usize) -> Shown {
        let text = match list {
            List::Allow => policy.allow().nth(position),
            List::Deny => policy.deny().nth(position),
        };
        let text = text.unwrap_or_default().to_owned();
        let Self::File(file) = self else { return Shown { pattern: text, line: None } };
        let place = file.loaded.places.policy(policy.name());
        let place = place.and_then(|place| match list {
            List::Allow => place.allow.get(position),
            List::Deny => place.deny.get(position),
        });
        let pattern = match place {
            Some(PatternPlace { variable: Some(name), .. }) => format!("${{{name}}}"),
            _ => text,
        };
        Shown { pattern, line: place.map(|place| place.line) }
    }

    /// The line at which a policy begins.
    pub(super) fn line_of(&self, policy: &str) -> Option<usize> {
        let Self::File(file) = self else { return None };
        file.loaded.places.policy(policy).map(|place| place.line)
    }

    /// The line of the APIs that are exempt.
    pub(super) fn line_of_exemptions(&self) -> Option<usize> {
        let Self::File(file) = self else { return None };
        file.loaded.places.api()
    }

    /// The policies that allow a request to their members, as far as they are at hand.
    pub(super) fn allowing(&self, operation: Operation, path: &str) -> Vec<&str> {
        let Self::File(file) = self else { return Vec::new() };
        let policies = file.loaded.policies.policies();
        let allow = policies.filter(|policy| {
            Explanation::of(Standing::Policy(policy), false, operation, path).is_allowed()
        });
        allow.map(Policy::name).collect()
    }
}

/// Whether an API is exempt from policies.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum IsExempt {
    Yes,
    No,
    /// The server does not tell this client.
    Unknown,
}

impl IsExempt {
    const fn of(is_exempt: bool) -> Self {
        if is_exempt { Self::Yes } else { Self::No }
    }
}

impl FileRules {
    fn caller(&self, who: &Who) -> Result<Option<Caller>> {
        let identity = match who {
            Who::Own => match connect::caller()?.identity() {
                Some(identity) => identity,
                None => bail!("this client's certificate gives no identity"),
            },
            Who::Identity(identity) => *identity,
            Who::Member(name) => {
                let policy = self.loaded.policies.policy(name).cloned();
                let line = self.loaded.places.policy(name).map(|place| place.line);
                let caller = |policy| Caller { identity: None, role: Role::Policy(policy), line };
                return Ok(policy.map(caller));
            }
        };
        let role = match self.loaded.policies.standing(Some(&identity)) {
            Standing::Admin => Role::Admin,
            Standing::Policy(policy) => Role::Policy(policy.clone()),
            _ if self.loaded.proxies.contains(&identity) => Role::Proxy,
            _ => Role::Unknown,
        };
        let line = self.loaded.places.identity(&identity);
        Ok(Some(Caller { identity: Some(identity), role, line }))
    }
}

impl ServerRules {
    async fn caller(&mut self, who: &Who) -> Result<Option<Caller>> {
        let caller = |identity, role| Some(Caller { identity, role, line: None });
        match who {
            Who::Member(name) => {
                Ok(self.policy(name).await?.and_then(|policy| caller(None, Role::Policy(policy))))
            }
            Who::Own => {
                let (identity, role) = self.own().await?;
                Ok(caller(Some(identity), role))
            }
            // That takes no right.
            Who::Identity(identity) if self.client.caller.identity() == Some(*identity) => {
                let (identity, role) = self.own().await?;
                Ok(caller(Some(identity), role))
            }
            Who::Identity(identity) => {
                Ok(caller(Some(*identity), self.role_of(&identity.to_string()).await?))
            }
        }
    }

    /// What this client is.
    async fn own(&mut self) -> Result<(Identity, Role)> {
        let told = self.client.self_describe().await;
        let told = told.map_err(|error| self.client.explain(error, Subject::Server));
        let told = told.context("failed to describe this client")?;
        if told.admin {
            return Ok((told.identity, Role::Admin));
        }
        let role = match (told.policy_name, told.policy) {
            (Some(name), _) => {
                made(&name, &told.allow.unwrap_or_default(), &told.deny.unwrap_or_default())
            }
            // As other servers tell it.
            (None, Some(SelfPolicy::Object(policy))) => {
                made(&policy.name, &policy.allow, &policy.deny)
            }
            (None, Some(SelfPolicy::Name(name))) if !name.is_empty() => {
                made(&name, &told.allow.unwrap_or_default(), &told.deny.unwrap_or_default())
            }
            (None, _) => return Ok((told.identity, Role::Unknown)),
        };
        Ok((told.identity, Role::Policy(role)))
    }

    async fn role_of(&mut self, identity: &str) -> Result<Role> {
        let told = match self.client.describe_identity(identity).await {
            Err(error) if is(&error, &message::IDENTITY_NOT_FOUND) => return Ok(Role::Unknown),
            told => told,
        };
        let told = told.map_err(|error| self.client.explain(error, Subject::Identity(identity)));
        let told = told.context("failed to describe the identity")?;
        let Some(name) = told.policy.filter(|_| !told.admin) else { return Ok(Role::Admin) };
        match self.policy(&name).await? {
            Some(policy) => Ok(Role::Policy(policy)),
            None => {
                bail!("the server has no policy {name:?}, which it names; is it being reloaded?")
            }
        }
    }

    async fn policy(&mut self, name: &str) -> Result<Option<Policy>> {
        if let Some(known) = self.policies.get(name) {
            return Ok(known.clone());
        }
        let policy = match self.client.read_policy(name).await {
            Ok(told) => Some(made(name, &told.allow, &told.deny)),
            Err(error) if is(&error, &message::POLICY_NOT_FOUND) => None,
            Err(error) => {
                let error = self.client.explain(error, Subject::Policy(name));
                return Err(error.context("failed to read the policy"));
            }
        };
        self.policies.insert(name.to_owned(), policy.clone());
        Ok(policy)
    }

    async fn is_exempt(&mut self, operation: Operation) -> Result<IsExempt> {
        if self.exempt.is_none() {
            let exempt = match self.client.apis().await {
                Ok(apis) => {
                    let of = |operation: Operation| {
                        apis.iter().find(|api| api.path == operation.route().path)
                    };
                    // Older servers, and others, do not tell.
                    let tells = of(Operation::Refusals).is_some();
                    let all = kes_api::route::ROUTES.map(|route| route.operation).into_iter();
                    let exempt = all.filter(|one| of(*one).is_some_and(|api| api.skip_auth));
                    tells.then(|| exempt.collect())
                }
                Err(error) if is(&error, &message::NOT_AUTHORIZED) => None,
                Err(error) => {
                    let error = self.client.explain(error, Subject::Server);
                    return Err(error.context("failed to list the APIs"));
                }
            };
            self.exempt = Some(exempt);
        }
        Ok(match self.exempt.as_ref().and_then(Option::as_ref) {
            Some(exempt) => IsExempt::of(exempt.contains(&operation)),
            None => IsExempt::Unknown,
        })
    }
}

fn made(name: &str, allow: &PolicyPatterns, deny: &PolicyPatterns) -> Policy {
    Policy::new(name, allow.keys().map(String::as_str), deny.keys().map(String::as_str))
}

fn is(error: &Error, expected: &message::Message) -> bool {
    matches!(error, Error::Status { status, message }
        if *status == expected.status && *message == expected.text)
}
