use std::collections::HashMap;

use kes_api::Identity;

/// Where a file states its policies. For an alias it is the line of its anchor.
#[derive(Debug, Default)]
pub struct PolicyPlaces {
    policies: HashMap<String, PolicyPlace>,
    identities: HashMap<Identity, usize>,
    api: Option<usize>,
}

/// Where a file states one policy.
#[derive(Debug)]
pub struct PolicyPlace {
    /// The line of its name.
    pub line: usize,
    /// Its allow patterns, in the order of the policy.
    pub allow: Vec<PatternPlace>,
    /// Its deny patterns.
    pub deny: Vec<PatternPlace>,
}

/// Where a file states one pattern.
#[derive(Clone, Debug)]
pub struct PatternPlace {
    /// The line.
    pub line: usize,
    /// The environment variable whose value it is. Such a value is not to be shown.
    pub variable: Option<String>,
}

impl PolicyPlaces {
    /// The place of the policy with a name.
    pub fn policy(&self, name: &str) -> Option<&PolicyPlace> {
        self.policies.get(name)
    }

    /// The line that gives an identity its role: admin, TLS proxy, or in a policy.
    pub fn identity(&self, identity: &Identity) -> Option<usize> {
        self.identities.get(identity).copied()
    }

    /// The line of the section `api`, which exempts APIs.
    pub const fn api(&self) -> Option<usize> {
        self.api
    }

    pub(crate) fn add(&mut self, name: &str, place: PolicyPlace) {
        self.policies.insert(name.to_owned(), place);
    }

    pub(crate) fn add_identities(&mut self, lines: impl IntoIterator<Item = (Identity, usize)>) {
        self.identities.extend(lines);
    }

    pub(crate) const fn set_api(&mut self, line: usize) {
        self.api = Some(line);
    }
}
