use std::collections::{BTreeMap, BTreeSet};

use kes_api::{Fingerprint, KeyName};
use kes_config::PinnedKey;
use kes_crypto::Cipher;
use kes_keystore::check::Verdict;
use kes_keystore::{Form, Record, Value};
use kes_migrate::{Entry, Outcome};

use super::super::check::{Report, count};

/// How many entries of a kind have a line each. Further ones are counted.
const MOST_NAMED: usize = 20;

/// The most names that a listing of the reference has.
const REFERENCE_PAGE: usize = 1024;

/// What was found in a key store.
pub(super) struct Stock {
    keys: usize,
    /// How many are for a cipher.
    ciphers: BTreeMap<&'static str, usize>,
    /// How many are stored as JSON of the oldest servers.
    json: usize,
    /// How many have no secret for HMACs.
    without_hmac: usize,
    /// The entries that no client could use, and why.
    useless: Named,
    /// Keys that cannot be read.
    unread: Named,
    /// Keys that are created at a start, unless they are there.
    at_start: BTreeSet<KeyName>,
    /// Keys that have to be there.
    pinned: BTreeMap<KeyName, Fingerprint>,
    /// Of those the ones that are others.
    differing: Vec<KeyName>,
}

/// Entries of one kind, of which the first are named.
#[derive(Default)]
struct Named {
    count: usize,
    texts: Vec<String>,
}

impl Named {
    fn add(&mut self, name: &str, reason: &str) {
        self.count += 1;
        if self.texts.len() < MOST_NAMED {
            self.texts.push(format!("'{name}' {reason}"));
        }
    }

    fn tell(&self, verdict: Verdict, more: usize, report: &mut Report) {
        for text in &self.texts {
            report.line(verdict, &format!("keys: {text}"));
        }
        let more = self.count - self.texts.len() + more;
        if more > 0 {
            report
                .line(verdict, &format!("keys: {more} more of the same, which are not named here"));
        }
    }
}

impl Stock {
    /// Nothing yet. `at_start` and `pins` are what the configuration says of keys.
    pub(super) fn new(at_start: BTreeSet<KeyName>, pins: &[PinnedKey]) -> Self {
        Self {
            keys: 0,
            ciphers: Cipher::ALL.iter().map(|cipher| (cipher.name(), 0)).collect(),
            json: 0,
            without_hmac: 0,
            useless: Named::default(),
            unread: Named::default(),
            at_start,
            pinned: pins.iter().map(|pin| (pin.name, pin.fingerprint)).collect(),
            differing: Vec::new(),
        }
    }

    /// Takes note of an entry.
    pub(super) fn add(&mut self, entry: &Entry<'_>) {
        match entry {
            Entry::Key { name, value, record } => self.key(name, value, record),
            Entry::Other { name, outcome: Outcome::Failed(reason) } => {
                self.unread.add(name, reason)
            }
            Entry::Other { name, outcome: Outcome::Skipped(reason) } => {
                self.useless.add(name, reason);
            }
            Entry::Other { .. } => {}
        }
    }

    fn key(&mut self, name: &KeyName, value: &Value, record: &Record) {
        self.keys += 1;
        *self.ciphers.entry(record.key.cipher().name()).or_default() += 1;
        match Form::of(value) {
            Form::Json => self.json += 1,
            Form::Protobuf if record.key.hmac_secret().is_none() => self.without_hmac += 1,
            Form::Protobuf => {}
        }
        self.at_start.remove(name);
        if let Some(pin) = self.pinned.remove(name)
            && pin != Fingerprint::new(record.key.fingerprint())
        {
            self.differing.push(*name);
        }
    }

    /// Tells it. So many entries more have names that no key can have.
    pub(super) fn tell(&self, place: &str, unnamed: usize, report: &mut Report) {
        let Self { keys, json, without_hmac, .. } = self;
        let text = format!("keystore: {place}: {} can be read by a server", count(*keys, "key"));
        report.line(Verdict::Ok, &text);
        if *keys > 0 {
            let ciphers: Vec<String> = self
                .ciphers
                .iter()
                .filter(|(_, keys)| **keys > 0)
                .map(|(cipher, keys)| format!("{keys} for {cipher}"))
                .collect();
            report.line(Verdict::Ok, &format!("keys: {}", ciphers.join(", ")));
            let current = keys - json - without_hmac;
            let forms: Vec<String> = [
                (current, "as servers write them today"),
                (*without_hmac, "without a key for HMACs"),
                (*json, "as JSON of the oldest servers"),
            ]
            .into_iter()
            .filter(|(keys, _)| *keys > 0)
            .map(|(keys, form)| format!("{keys} {form}"))
            .collect();
            report.line(Verdict::Ok, &format!("keys: stored: {}", forms.join(", ")));
        }
        self.unread.tell(Verdict::Failed, 0, report);
        self.useless.tell(Verdict::Warning, unnamed, report);
        for name in &self.differing {
            let text =
                format!("keys: '{name}' has another fingerprint than the configuration demands");
            report.line(Verdict::Failed, &text);
        }
        for name in self.pinned.keys() {
            let text = format!("keys: '{name}' is pinned by the configuration and is not there");
            report.line(Verdict::Failed, &text);
        }
        for name in self.at_start.iter().filter(|name| !self.pinned.contains_key(*name)) {
            let text = format!("keys: '{name}' is not there, and a start creates it");
            report.line(Verdict::Ok, &text);
        }
        self.tell_differences(report);
    }

    /// What clients will notice, as far as the keys show it. `docs/differences.md` has all of it.
    fn tell_differences(&self, report: &mut Report) {
        if self.keys > REFERENCE_PAGE {
            let text = format!(
                "differs: a listing has all {} names; that of MinIO's KES ends after {REFERENCE_PAGE}",
                self.keys
            );
            report.line(Verdict::Ok, &text);
        }
        let without = self.json + self.without_hmac;
        if without > 0 {
            let text = format!(
                "same: {} cannot compute HMACs, here as with MinIO's KES",
                count(without, "key")
            );
            report.line(Verdict::Ok, &text);
        }
    }
}
