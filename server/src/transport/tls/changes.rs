//! In what one set of loaded certificates differs from an earlier one.

use std::collections::BTreeSet;

use kes_api::Timestamp;
use kes_config::{Change, listed};
use rustls::pki_types::CertificateDer;

use super::Loaded;

impl Loaded {
    /// What is served or trusted now and was not before. A change of the settings that name the
    /// files is told elsewhere.
    pub(crate) fn changes_since(&self, before: &Self) -> Vec<Change> {
        let own = self.own_change(before).map(|text| ("tls.cert", text));
        let trusted = match (before.clients.trusted(), self.clients.trusted()) {
            (Some(before), Some(now)) => trusted_change(&before, &now),
            _ => None,
        };
        let trusted = trusted.map(|text| ("tls.ca", text));
        let changes = own.into_iter().chain(trusted);
        changes.map(|(field, text)| Change { field: field.into(), text }).collect()
    }

    fn own_change(&self, before: &Self) -> Option<String> {
        if self.chain.first() == before.chain.first() {
            let others = "is served with other intermediate certificates";
            return (self.chain != before.chain).then(|| others.to_owned());
        }
        let name = self.chain.first().map(|leaf| name(leaf)).unwrap_or_default();
        let until = self.certificates.first().map(|leaf| Timestamp::from(leaf.validity.until));
        let until = until.map(|until| format!(", valid until {} UTC", until.to_table()));
        let until = until.unwrap_or_default();
        Some(format!("is another certificate ({}){until}", listed([name])))
    }
}

/// Which CAs for client certificates came and went. Those of the system are among them.
fn trusted_change(before: &[&CertificateDer<'_>], now: &[&CertificateDer<'_>]) -> Option<String> {
    let [before, now] =
        [before, now].map(|list| list.iter().map(|der| der.as_ref()).collect::<BTreeSet<_>>());
    let mut parts = Vec::new();
    for (list, what) in [(now.difference(&before), "added"), (before.difference(&now), "removed")] {
        let names: Vec<_> = list.map(|der| name(der)).collect();
        if !names.is_empty() {
            parts.push(format!("{} {what} ({})", names.len(), listed(&names)));
        }
    }
    (!parts.is_empty()).then(|| format!("trusts other CAs: {}", parts.join(", ")))
}

/// The subject of a certificate.
fn name(certificate: &[u8]) -> String {
    let subject = kes_tls::subject(certificate).filter(|subject| !subject.is_empty());
    subject.unwrap_or_else(|| "no subject".to_owned())
}
