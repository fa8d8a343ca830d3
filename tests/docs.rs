//! The documentation does what it says: every block of it is run or checked, every command in
//! its tables and sentences exists, every link leads somewhere.
//!
//! [`book::Book`] reads all documents, and [`runner`] says for each block which test runs it. A
//! block that no test runs fails [`every_block_has_a_runner`], so a new one cannot go untested.
//!
//! Commands run one by one as they are printed, by `/bin/sh`, in a temporary folder
//! ([`session::Session`]). Only the programs of [`stand_ins`] are there: the real `kes`, the real
//! OpenBao as `vault`, a few tools of the system, and stand-ins for what needs root, systemd or
//! minutes. Anything else is `not found`, which fails the test.

mod ansible;
mod assurance;
mod away;
mod backup;
mod book;
mod citations;
mod claims;
mod commands;
mod compose;
mod configurations;
mod from_kes;
mod guide;
mod kubernetes;
mod links;
mod messages;
mod migrate;
mod operate;
mod operations;
mod pains;
mod policies;
mod reference;
mod session;
mod shadow;
mod site;
mod stand_ins;
mod start;
mod systemd;
mod tour;
mod troubleshooting;
mod two_stores;
mod unit;
mod vault;

use book::{Block, Book};

/// The test that runs or checks a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Runner {
    /// A server with keys in a folder, in five minutes.
    Start,
    /// The README from its start: the dev server and its clients.
    DevTour,
    /// The README's server with keys in Vault.
    VaultTour,
    /// The service, made after the README's server with keys in Vault.
    Systemd,
    /// What is typed with a package: `tests/packages.rs` runs it.
    Packages,
    /// The ways to set up an engine in Vault, each followed by what comes after it.
    VaultEngine,
    VaultLogin,
    VaultKubernetes,
    VaultTransit,
    VaultNamespace,
    VaultProof,
    /// The server and MinIO after MinIO's guide.
    Guide,
    /// The exchange of the reference for this server.
    FromKes,
    /// What an operator does to a service that runs.
    Operate,
    /// The chart and its values.
    Kubernetes,
    /// The compose file.
    Compose,
    /// The service as a playbook.
    Ansible,
    /// Keys moved from a folder to Vault.
    Migration,
    /// Two servers and the shadow in front of them.
    Shadow,
    /// A backup, a drill and a restore.
    Backup,
    /// A configuration that loads without a warning.
    Configuration,
    /// Probes of Kubernetes and scrapes of Prometheus.
    Probes,
    /// A part of a unit.
    Unit,
    /// A policy of Vault.
    Policy,
    /// A configuration of HAProxy.
    Haproxy,
    /// A configuration of a proxy that ends TLS: `tests/proxies.rs` runs it.
    TlsProxy,
    /// One of a load balancer that passes TLS through: `tests/proxy_protocol.rs` runs it.
    Balancer,
    /// What an operator types to find out why something was refused.
    Refused,
    /// A table of what is expected of policies.
    Expectations,
    /// What the program prints of a command: `reference.rs` compares the whole page.
    Help,
    /// Figures that a bench printed: its lines are those that it prints today.
    Figures,
}

fn runner(block: &Block) -> Option<Runner> {
    let section: Vec<&str> = block.section.iter().map(String::as_str).collect();
    Some(match (block.document, &*block.language, &section[..]) {
        ("docs/operations.md", "yaml", _)
            if !["operations:", "traces:"]
                .iter()
                .any(|section| block.text.starts_with(section)) =>
        {
            Runner::Probes
        }
        ("docs/kubernetes.md", "yaml" | "sh", _) => Runner::Kubernetes,
        ("deploy/README.md", "sh", _) => Runner::Compose,
        ("docs/operate.md", "yaml", [_, "Ansible"]) => Runner::Ansible,
        ("docs/policies.md", "yaml", [_, "A test for CI"]) => Runner::Expectations,
        (_, "yaml", _) => Runner::Configuration,
        ("docs/guide.md", "ini", _) => Runner::Guide,
        (_, "ini", _) => Runner::Unit,
        (_, "hcl", _) => Runner::Policy,
        ("docs/proxies.md", "haproxy" | "nginx", [_, "The PROXY protocol", _]) => Runner::Balancer,
        ("docs/proxies.md", "haproxy" | "nginx", _) => Runner::TlsProxy,
        (_, "haproxy", _) => Runner::Haproxy,
        ("docs/start.md", "sh", _) => Runner::Start,
        ("README.md", "sh", [_, "Two commands"] | [_, "A tour"]) => Runner::DevTour,
        ("README.md", "sh", [_, "A tour", "With Vault or OpenBao"]) => Runner::VaultTour,
        ("docs/vault.md", "sh", [_, "Set-up", "Engine and policy"]) => Runner::VaultEngine,
        ("docs/vault.md", "sh", [_, "Set-up", "Login by AppRole"]) => Runner::VaultLogin,
        ("docs/vault.md", "sh", [_, "Set-up", "Login by Kubernetes"]) => Runner::VaultKubernetes,
        ("docs/vault.md", "sh", [_, "Set-up", "Transit"]) => Runner::VaultTransit,
        ("docs/vault.md", "sh", [_, "Set-up", "Namespaces"]) => Runner::VaultNamespace,
        ("docs/vault.md", "sh", [_, "Set-up", "Proof"]) => Runner::VaultProof,
        ("docs/guide.md", "sh", _) => Runner::Guide,
        ("docs/from-kes.md", "sh", _) => Runner::FromKes,
        ("docs/operate.md", "sh", _) => Runner::Operate,
        ("docs/shadow.md", "sh", _) => Runner::Shadow,
        ("docs/backup.md", "sh", _) => Runner::Backup,
        ("docs/migrate.md" | "docs/two-stores.md", "sh", _) => Runner::Migration,
        ("docs/policies.md", "sh", _) => Runner::Refused,
        ("systemd/README.md", "sh", _) => Runner::Systemd,
        ("docs/install.md", "sh", _) => Runner::Packages,
        ("docs/commands.md", "text", _) => Runner::Help,
        ("docs/performance.md", "text", _) => Runner::Figures,
        _ => return None,
    })
}

/// The configuration of a proxy that ends TLS, in its own language.
pub(crate) fn tls_proxy(language: &str) -> String {
    of_language(Runner::TlsProxy, language)
}

/// The lines that a section of `docs/install.md` shows.
pub(crate) fn of_packages(heading: &str) -> Vec<String> {
    let book = Book::read();
    let blocks = book.blocks_of(Runner::Packages).into_iter();
    let blocks = blocks.filter(|block| block.heading() == heading);
    blocks.flat_map(|block| block.text.lines().map(str::to_owned)).collect()
}

/// The same of a load balancer that passes TLS through and tells the addresses of its clients.
pub(crate) fn balancer(language: &str) -> String {
    of_language(Runner::Balancer, language)
}

fn of_language(runner: Runner, language: &str) -> String {
    let book = Book::read();
    let blocks = book.blocks_of(runner).into_iter();
    let blocks: Vec<_> = blocks.filter(|block| block.language == language).collect();
    assert_eq!(blocks.len(), 1, "one configuration of {language}");
    blocks[0].text.clone()
}

#[test]
fn every_block_has_a_runner() {
    let book = Book::read();
    assert!(book.blocks().count() > 20, "the documents have blocks");
    let without: Vec<String> = book
        .blocks()
        .filter(|block| runner(block).is_none())
        .map(|block| format!("{}: '{}' in {:?}", block.place(), block.language, block.section))
        .collect();
    assert_eq!(without, [""; 0], "no test runs these blocks: see `runner` in tests/docs.rs");
}
