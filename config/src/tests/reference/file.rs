use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::super::{ADMIN, ONES};
use super::TWOS;

/// A configuration file of which each field stands in a line of its own.
#[derive(Default)]
pub(super) struct File {
    /// The value of a field, as YAML.
    value: Option<String>,
    below: BTreeMap<String, Self>,
}

/// Where a field stands: names that operators choose are chosen.
pub(super) fn chosen(field: &str) -> String {
    let names =
        [("policy.*", "policy.p"), ("api.*", "api./v1/ready"), ("headers.*", "headers.x-k")];
    names.iter().fold(field.to_owned(), |field, (any, one)| field.replace(any, one))
}

impl File {
    /// A file with the section of this field and all that have nothing to do with it, each with what
    /// it requires.
    pub(super) fn usual(field: &str) -> Self {
        const VAULT: (&str, &str) = ("keystore.vault.endpoint", "https://v:8200");
        let keystore: &[(&str, &str)] = match field {
            _ if field.starts_with("keystore.vault.kubernetes.") => &[
                VAULT,
                ("keystore.vault.kubernetes.role", "r"),
                ("keystore.vault.kubernetes.jwt", "/token"),
            ],
            _ if field.starts_with("keystore.vault.") => &[
                VAULT,
                ("keystore.vault.transit.key", "t"),
                ("keystore.vault.approle.id", "i"),
                ("keystore.vault.approle.secret", "s"),
            ],
            _ => &[("keystore.fs.path", "keys")],
        };
        let rest = [
            ("admin.identity", ADMIN),
            ("tls.key", "server.key"),
            ("tls.cert", "server.crt"),
            ("proxy_protocol.from", "[10.0.0.9]"),
            ("operations.address", "127.0.0.1:7374"),
            ("cache.snapshot.path", "keys.snapshot"),
            ("cache.snapshot.key", "snapshot.key"),
            ("log.audit_file.path", "audit.jsonl"),
            ("traces.endpoint", "http://127.0.0.1:4318"),
            ("keys.*.name", "k"),
            ("migration.to.fs.path", "new-keys"),
        ];
        let mut file = Self::default();
        for (field, value) in rest.iter().chain(keystore) {
            file.set(field, value);
        }
        if field.starts_with("policy.") {
            file.place("policy.p");
        }
        file
    }

    /// The same for a value of this field: with what goes with it, and without what it replaces.
    pub(super) fn of(field: &str) -> Self {
        let mut file = Self::usual(field);
        let identities = format!("[{ONES}, {TWOS}]");
        match field {
            "keystore.vault.tls.key" => file.set("keystore.vault.tls.cert", "c"),
            "keystore.vault.tls.cert" => file.set("keystore.vault.tls.key", "k"),
            "keystore.vault.approle.secret_file" => file.remove("keystore.vault.approle.secret"),
            "cache.snapshot.key_text" => file.remove("cache.snapshot.key"),
            "log.audit_file.context" => file.set("log.audit_file.key", "k"),
            "policy.*.limits.overrides.*.identities" => {
                file.set("policy.p.identities", &identities);
                file.set("policy.p.limits.overrides.*.requests_at_once", "5");
            }
            _ if field.starts_with("policy.*.limits.") => {
                file.set("policy.p.identities", &identities);
                if field.starts_with("policy.*.limits.overrides.") {
                    file.set("policy.p.limits.overrides.*.identities", &identities);
                }
            }
            _ => {}
        }
        file
    }

    /// The same with a value of the field.
    pub(super) fn with(field: &str, value: &str) -> Self {
        let mut file = Self::of(field);
        file.set(&chosen(field), value);
        file
    }

    /// Sets a field to a text, or to a list or a map if it begins as such.
    pub(super) fn set(&mut self, field: &str, value: &str) {
        let is_list_or_map = [('[', ']'), ('{', '}')]
            .iter()
            .any(|(first, last)| value.starts_with(*first) && value.ends_with(*last));
        let value = if is_list_or_map { value.to_owned() } else { format!("'{value}'") };
        *self.place(field) = Self { value: Some(value), below: BTreeMap::new() };
    }

    pub(super) fn remove(&mut self, field: &str) {
        let (section, name) = field.rsplit_once('.').unwrap();
        self.place(section).below.remove(name);
    }

    fn place(&mut self, field: &str) -> &mut Self {
        field.split('.').fold(self, |file, name| file.below.entry(name.to_owned()).or_default())
    }

    pub(super) fn has(&self, field: &str) -> bool {
        field.split('.').try_fold(self, |file, name| file.below.get(name)).is_some()
    }

    /// The text, in which a comment names the field of each line that has one.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        self.write(&mut text, "");
        text
    }

    fn write(&self, text: &mut String, path: &str) {
        if let Some(value) = &self.value {
            writeln!(text, "{value} # {path}").unwrap();
            return;
        }
        let is_list = self.below.contains_key("*");
        text.push_str(if is_list { "[\n" } else { "{\n" });
        for (number, (name, file)) in self.below.iter().enumerate() {
            if number > 0 {
                text.push_str(", ");
            }
            if !is_list {
                write!(text, "'{name}': ").unwrap();
            }
            let dot = if path.is_empty() { "" } else { "." };
            file.write(text, &format!("{path}{dot}{name}"));
        }
        text.push_str(if is_list { "]\n" } else { "}\n" });
    }
}

/// The line of a text where this field stands.
pub(super) fn line(text: &str, field: &str) -> usize {
    let end = format!(" # {field}");
    1 + text.lines().position(|line| line.ends_with(&end)).unwrap()
}
