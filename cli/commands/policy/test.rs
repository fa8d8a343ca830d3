//! `kes policy test`: compares policies with a table of what is to be allowed and refused.

use std::collections::HashMap;
use std::fmt::Write as _;

use anyhow::{Result, bail};
use kes_config::{Expectation, Expectations, ExpectedCaller, ProcessEnvironment};
use serde::Serialize;

use super::explain::reasons;
use super::request::Asked;
use super::rules::{Caller, IsExempt, Rules, Who};
use crate::args::TestArgs;
use crate::error::usage;
use crate::output::{self, Output, clean};

/// The result, as JSON.
#[derive(Serialize)]
struct Report {
    file: String,
    expectations: usize,
    failed: Vec<Failed>,
}

/// An expectation that does not hold.
#[derive(Serialize)]
struct Failed {
    line: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    identity: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    policy: Option<String>,
    method: String,
    path: String,
    /// `allow` or `deny`
    expected: &'static str,
    reason: String,
}

/// Compares. Returns whether all is as expected.
pub(crate) async fn run(args: TestArgs) -> Result<bool> {
    let file = args.file.filter(|file| !file.as_os_str().is_empty());
    let file = file.ok_or_else(|| usage("no file specified", "kes policy test"))?;
    let Expectations { all } = kes_config::load_expectations(&file, &ProcessEnvironment)?;
    let file = file.display().to_string();
    // A table whose requests no server serves would hold whatever the policies say.
    let asked = requests(&file, &all)?;
    let mut rules = Rules::of(args.config, &args.connect)?;

    let mut callers: HashMap<Who, Caller> = HashMap::new();
    let mut failed = Vec::new();
    for (expectation, asked) in all.iter().zip(asked) {
        let who = match &expectation.caller {
            ExpectedCaller::Identity(identity) => Who::Identity(*identity),
            ExpectedCaller::Policy(name) => Who::Member(name.clone()),
        };
        if !callers.contains_key(&who) {
            let Some(caller) = rules.caller(&who).await? else {
                let Who::Member(name) = &who else {
                    bail!("a bug of kes: nobody is found for the identity")
                };
                bail!("{file}:{}: there is no policy '{name}'", expectation.line);
            };
            callers.insert(who.clone(), caller);
        }
        let caller = &callers[&who];
        let (explanation, is_exempt) = rules.explain(caller, asked.operation, &asked.path).await?;
        if is_exempt == IsExempt::Unknown {
            bail!(
                "{file}:{}: this client may not ask the server whether the API is exempt from \
                 policies: its policy has to allow /v1/api",
                expectation.line
            );
        }
        if explanation.is_allowed() != expectation.is_allowed {
            let reason = reasons(&rules, caller, &explanation).0.sentence();
            failed.push(Failed::of(expectation, reason));
        }
    }

    let holds = failed.is_empty();
    let report = Report { file, expectations: all.len(), failed };
    let mut output = Output::with_color(args.format.color);
    let printed = match (args.format.json, holds && args.quiet) {
        (_, true) => Ok(()),
        (true, _) => output.json(&report),
        (false, _) => output.print(&report.text()),
    };
    // The exit status is the answer, whether or not somebody reads the text.
    match printed {
        Err(error) if !error.is::<output::Closed>() => Err(error),
        _ => Ok(holds),
    }
}

/// What the requests of a table ask for.
fn requests(file: &str, all: &[Expectation]) -> Result<Vec<Asked>> {
    let mut requests = Vec::new();
    let mut faults = Vec::new();
    for Expectation { line, method, path, .. } in all {
        let asked = Asked::of(path);
        let fault = match &asked {
            Ok(asked) => asked.method_fault(method).or_else(|| asked.name_fault()),
            Err(_) => None,
        };
        match (asked, fault) {
            (Ok(asked), None) => requests.push(asked),
            (Err(fault), _) | (_, Some(fault)) => {
                faults.push(format!("{file}:{line}: {method} {path}: {}", fault.text));
            }
        }
    }
    if faults.is_empty() { Ok(requests) } else { bail!(faults.join("\n")) }
}

impl Failed {
    fn of(expectation: &Expectation, reason: String) -> Self {
        let Expectation { line, caller, is_allowed, method, path } = expectation.clone();
        let (identity, policy) = match caller {
            ExpectedCaller::Identity(identity) => (Some(identity.to_string()), None),
            ExpectedCaller::Policy(name) => (None, Some(name)),
        };
        let expected = if is_allowed { "allow" } else { "deny" };
        Self { line, identity, policy, method, path, expected, reason }
    }
}

impl Report {
    fn text(&self) -> String {
        let mut text = String::new();
        for failed in &self.failed {
            let Failed { line, method, path, reason, .. } = failed;
            let who = match (&failed.identity, &failed.policy) {
                (Some(identity), _) => identity.clone(),
                (_, policy) => format!("policy '{}'", policy.as_deref().unwrap_or_default()),
            };
            let is = if failed.expected == "allow" { "is refused" } else { "is allowed" };
            let line = format!("{}:{line}: {method} {path} of {who} {is}: {reason}", self.file);
            let _ = writeln!(text, "{}", clean(&line));
        }
        let (all, failed) = (self.expectations, self.failed.len());
        let _ = match (all, failed) {
            (1, 0) => writeln!(text, "the expectation holds"),
            (_, 0) => writeln!(text, "all {all} expectations hold"),
            (_, 1) => writeln!(text, "1 of {all} expectations does not hold"),
            _ => writeln!(text, "{failed} of {all} expectations do not hold"),
        };
        text
    }
}
