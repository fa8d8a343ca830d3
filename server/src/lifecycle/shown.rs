//! What the page of the operations listener is told of the running server. Whoever can connect reads
//! it, so that names are left out here, at the source, unless the configuration says `details`: of
//! keys, identities, policies, files and hosts.

use std::time::SystemTime;

use kes_keystore::State;

use super::operations::page::facts::{Certificate, Facts};
use crate::service::ApiService;
use crate::service::generation::Generation;
use crate::service::reloads::Subject;
use crate::transport::tls::Loaded;

/// What the policies refused.
mod refusals;

/// The state of the server.
pub(super) fn facts(service: &ApiService, tls: &Loaded, with_details: bool) -> Facts {
    let generation = service.generation.load();
    let keys = &generation.keys;
    let state = keys.state();
    let details = |text: String| with_details.then_some(text);
    let is_known = |identity: &_| generation.knows(identity);
    let due = service.metrics.client_certificates.due(is_known, SystemTime::now());
    let expiring_clients = due.len();
    let of_client = |(identity, until): (kes_api::Identity, _)| Certificate {
        name: identity.to_string(),
        until,
    };
    let (denied, _) = service.denials.under(&generation.policies);
    Facts {
        version: service.build.version,
        commit: service.build.commit,
        is_fips: cfg!(feature = "fips"),
        uptime: service.started.elapsed(),
        state,
        trouble: match state {
            State::Reachable { .. } => None,
            State::Unreachable | State::Unavailable => keys.trouble().and_then(details),
        },
        place: Some(place(&keys.description(), with_details)),
        store_version: keys.store_version(),
        cached_keys: keys.cached(),
        pin_faults: keys.pin_faults(),
        failed_reloads: failed_reloads(service, with_details),
        policies: generation.policies.policies().len(),
        identities: generation.policies.identities().len(),
        certificates: certificates(&generation, tls, with_details),
        clients: with_details.then(|| due.into_iter().map(of_client).collect()),
        expiring_clients,
        refusals: refusals::of(&denied, with_details),
    }
}

/// Kind and place of the key store, or its kind.
fn place(description: &str, with_details: bool) -> String {
    let kind = description.split_once(':').map_or(description, |(kind, _)| kind);
    if with_details { description } else { kind }.to_owned()
}

fn failed_reloads(
    service: &ApiService,
    with_details: bool,
) -> Vec<(&'static str, kes_api::Timestamp, Option<String>)> {
    let subjects = [
        (Subject::Configuration, "The last reload failed"),
        (Subject::Certificates, "The certificate files could not be read again"),
        (Subject::HandOver, "The last hand-over failed"),
    ];
    let failed = subjects.into_iter().filter_map(|(subject, what)| {
        let outcome = service.reloads.last(subject)?;
        let reason = outcome.result.err()?;
        Some((what, outcome.at, with_details.then_some(reason)))
    });
    failed.collect()
}

/// Those of the server's own chain, and those that the key store is called with.
fn certificates(generation: &Generation, tls: &Loaded, with_details: bool) -> Vec<Certificate> {
    let own = tls.certificates.iter().enumerate().map(|(number, certificate)| {
        let name = match number {
            _ if with_details => certificate.name.clone(),
            0 => "Server".to_owned(),
            _ => "Server, intermediate CA".to_owned(),
        };
        Certificate { name, until: certificate.validity.until }
    });
    let ends = generation.keys.store_certificates();
    let of_store = [("Key store, CA", ends.ca), ("Key store, client", ends.client)];
    let of_store = of_store
        .into_iter()
        .filter_map(|(name, until)| Some(Certificate { name: name.to_owned(), until: until? }));
    own.chain(of_store).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_details_the_key_store_has_its_kind_alone() {
        for (description, kind) in [
            ("vault: https://vault.example:8200", "vault"),
            ("filesystem: /srv/keys", "filesystem"),
            ("memory", "memory"),
        ] {
            assert_eq!(place(description, false), kind);
            assert_eq!(place(description, true), description);
        }
    }
}
