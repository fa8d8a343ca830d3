//! Configurations: those of the server load without a warning, those of HAProxy and the policies
//! of Vault are accepted by the real programs.

use kes_testkit::{Bao, Haproxy};

use super::Runner;
use super::book::Book;

/// What a configuration needs beside the section that a document shows.
pub(super) const REST: [(&str, &str); 3] = [
    ("admin:", "admin: { identity: disabled }\n"),
    ("tls:", "tls: { key: server.key, cert: server.crt }\n"),
    ("keystore:", "keystore: { fs: { path: keys } }\n"),
];

/// A configuration with the sections that it does not show.
pub(super) fn completed(text: &str) -> String {
    let is_there = |section: &str| text.lines().any(|line| line.starts_with(section));
    let rest = REST.iter().filter(|(section, _)| !is_there(section));
    rest.map(|(_, text)| *text).chain([text]).collect()
}

#[test]
fn every_configuration_loads_without_a_warning() {
    let env = |name: &str| {
        // What the files name; what stands in for a field that is left out is not set.
        if name.starts_with("VAULT_") || name.to_ascii_uppercase().ends_with("_PROXY") {
            return None;
        }
        let uuid = "0b5d6c2e-0000-4000-8000-000000000001".to_owned();
        Some(if name.ends_with("IDENTITY") { "0".repeat(64) } else { uuid })
    };
    for block in Book::read().blocks_of(Runner::Configuration) {
        let loaded = kes_config::parse(&completed(&block.text), &env)
            .unwrap_or_else(|error| panic!("{}: {error}", block.place()));
        let warnings: Vec<_> = loaded.warnings.iter().map(ToString::to_string).collect();
        assert_eq!(warnings, [""; 0], "{}", block.place());
    }
}

#[test]
fn every_policy_of_vault_is_accepted() {
    let bao = Bao::start_in_memory();
    for block in Book::read().blocks_of(Runner::Policy) {
        bao.root().write_policy("kes", &block.text);
        let policy = bao.root().must("GET", "sys/policies/acl/kes", None).json();
        assert_eq!(policy["data"]["policy"], block.text.as_str(), "{}", block.place());
    }
}

#[test]
fn every_configuration_of_haproxy_is_accepted() {
    for block in Book::read().blocks_of(Runner::Haproxy) {
        let said = Haproxy::check(&block.text);
        assert_eq!(said, Ok(()), "{}", block.place());
    }
}
