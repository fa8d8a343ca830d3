//! What a configuration says, field by field and without its secrets, so that a reload can tell in
//! what the new file differs from the one before.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::hash::Hash;
use std::path::{Path, PathBuf};

use kes_api::route::ROUTES;
use kes_keystore::config::{ConfiguredPath, SecretText};
use kes_policy::{Limit, Policies};
use zeroize::Zeroizing;

use crate::digest::Digest;
use crate::listing::{listed, shown};
use crate::{
    AuditFile, Cache, Config, Log, Operations, Password, Proxy, Snapshot, SnapshotKeySource, Tls,
    Traces, Variables,
};

/// Those of `keystore` and `migration`.
mod keystore;

/// The settings of a configuration except its policies and their identities.
#[derive(Debug, Default)]
pub struct Settings {
    fields: BTreeMap<Field, Value>,
    /// Files from which the key store, or the way to the collector, is opened, by the field that names
    /// them.
    files: Vec<(Field, PathBuf)>,
    /// What has the values of environment variables, which are not shown.
    variables: Variables,
}

type Field = Cow<'static, str>;

#[derive(Debug, PartialEq, Eq)]
enum Value {
    Shown(String),
    /// A secret, or what an operator may take for one.
    Hidden(Digest),
    /// The contents of a file that the field names.
    Contents(Digest),
    /// Names whose order means nothing.
    Names(BTreeSet<String>),
}

/// A field that another configuration sets to something else.
#[derive(Debug, PartialEq, Eq)]
pub struct Change {
    /// The field, as it is written in the file.
    pub field: Cow<'static, str>,
    /// What became of it, as a text that follows the field.
    pub text: String,
}

impl Change {
    /// Whether it is of what keys are stored in.
    pub fn is_of_key_stores(&self) -> bool {
        self.field.starts_with("keystore.") || self.field.starts_with("migration.")
    }

    /// Whether it is of `traces`.
    pub fn is_of_traces(&self) -> bool {
        self.field.starts_with("traces.")
    }
}

impl Settings {
    /// Those of a configuration. Nothing is opened.
    pub fn of(config: &Config) -> Self {
        let Config {
            address,
            proxy_protocol,
            operations,
            admin,
            tls,
            policies,
            cache,
            snapshot,
            api: _, // told with the defaults of the routes
            log,
            traces,
            keys,
            pins,
            keystore,
            migration,
            variables,
        } = config;
        let mut settings = Self { variables: variables.clone(), ..Self::default() };
        settings.show("address", address);
        let balancers = proxy_protocol.iter().map(ToString::to_string);
        settings.names("proxy_protocol.from", balancers);
        settings.operations(operations.as_ref());
        if let Some(admin) = admin {
            settings.show("admin.identity", admin);
        }
        settings.tls(tls);
        settings.limits(policies);
        let Cache { any, unused, offline } = cache;
        for (field, time) in [("any", any), ("unused", unused), ("offline", offline)] {
            settings.show(format!("cache.expiry.{field}"), format_args!("{time:?}"));
        }
        settings.snapshot(snapshot.as_ref());
        settings.apis(config);
        let Log { error, audit, format, audit_required, audit_file } = log;
        settings.show("log.error", error);
        settings.show("log.audit", audit);
        settings.show("log.format", format.word());
        settings.show("log.audit_required", audit_required);
        settings.audit_file(audit_file.as_ref());
        settings.traces(traces.as_ref());
        let pinned = pins.iter().map(|pin| format!("{} = {}", pin.name, pin.fingerprint));
        settings.names("keys", keys.iter().map(|key| key.name().to_string()).chain(pinned));
        settings.keystore("keystore", keystore);
        settings.migration(migration.as_ref());
        settings
    }

    /// Takes the contents of the files into account from which the key store and the way to the
    /// collector of traces are opened; `None` for one that cannot be read. Files that are read again while the store is in use, such as that of
    /// a secret ID, are none of them: they need no reload.
    pub fn note_contents(
        &mut self,
        mut read: impl FnMut(&Path) -> Option<Vec<Zeroizing<Vec<u8>>>>,
    ) {
        for (field, path) in &self.files {
            if let Some(contents) = read(path) {
                let field = if self.variables.set(field) {
                    format!("{field} (the file)")
                } else {
                    format!("{field} ({})", shown(&path.display().to_string()))
                };
                let parts: Vec<_> = contents.iter().map(|part| part.as_slice()).collect();
                self.fields.insert(field.into(), Value::Contents(Digest::of(parts)));
            }
        }
    }

    /// What of the configuration came from environment variables.
    pub const fn variables(&self) -> &Variables {
        &self.variables
    }

    /// The fields that differ from those of earlier settings, sorted. What came from a variable is
    /// told without its value.
    pub fn changes_since(&self, before: &Self) -> Vec<Change> {
        let fields: BTreeSet<_> = self.fields.keys().chain(before.fields.keys()).collect();
        let changed = fields.into_iter().filter_map(|field| {
            let is_hidden = self.variables.set(field) || before.variables.set(field);
            let shown = |value: &Value| value.shown().filter(|_| !is_hidden);
            let text = match (before.fields.get(field), self.fields.get(field)) {
                (before, now) if before == now => return None,
                // Another file: the path tells it.
                (None, Some(Value::Contents(_))) | (Some(Value::Contents(_)), None) => return None,
                (Some(_), Some(_)) if is_hidden => "changed".to_owned(),
                (Some(before), Some(now)) => between(before, now),
                (None, Some(now)) => {
                    shown(now).map_or_else(|| "set".to_owned(), |now| format!("set to {now}"))
                }
                (Some(before), None) => shown(before).map_or_else(
                    || "no longer set".to_owned(),
                    |before| format!("no longer set; it was {before}"),
                ),
                (None, None) => return None,
            };
            Some(Change { field: field.clone(), text })
        });
        changed.collect()
    }

    /// A field that is no secret.
    #[cfg(test)]
    pub(crate) fn shown(&self, field: &str) -> Option<String> {
        self.fields.get(field)?.shown()
    }

    fn set(&mut self, field: impl Into<Field>, value: Value) {
        self.fields.insert(field.into(), value);
    }

    fn show(&mut self, field: impl Into<Field>, value: impl Display) {
        self.set(field, Value::Shown(value.to_string()));
    }

    fn hide(&mut self, field: impl Into<Field>, value: impl Hash) {
        self.set(field, Value::Hidden(Digest::of(value)));
    }

    fn secret(&mut self, field: impl Into<Field>, secret: &SecretText) {
        self.hide(field, secret.expose());
    }

    fn path(&mut self, field: impl Into<Field>, path: &ConfiguredPath) {
        // Not as messages show it: values are compared.
        self.show(field, (**path).display());
    }

    /// A file from which the key store, or the way to the collector, is opened.
    fn file(&mut self, field: impl Into<Field>, path: &ConfiguredPath) {
        let field = field.into();
        self.path(field.clone(), path);
        self.files.push((field, path.to_path_buf()));
    }

    fn names(&mut self, field: impl Into<Field>, names: impl Iterator<Item = String>) {
        self.set(field, Value::Names(names.collect()));
    }

    fn audit_file(&mut self, file: Option<&AuditFile>) {
        let Some(AuditFile { path, key, max_size, max_age, keep, keep_for, context }) = file else {
            return;
        };
        self.path("log.audit_file.path", path);
        if let Some(key) = key {
            self.path("log.audit_file.key", key);
        }
        self.show("log.audit_file.max_size", max_size);
        self.show("log.audit_file.max_age", format_args!("{max_age:?}"));
        if let Some(keep) = keep {
            self.show("log.audit_file.keep", keep);
        }
        if let Some(keep_for) = keep_for {
            self.show("log.audit_file.keep_for", format_args!("{keep_for:?}"));
        }
        self.show("log.audit_file.context", context.word());
    }

    fn snapshot(&mut self, snapshot: Option<&Snapshot>) {
        let Some(Snapshot { path, key, max_age }) = snapshot else { return };
        self.path("cache.snapshot.path", path);
        match key {
            SnapshotKeySource::File(path) => self.path("cache.snapshot.key", path),
            SnapshotKeySource::Literal(text) => self.secret("cache.snapshot.key_text", text),
        }
        self.show("cache.snapshot.max_age", format_args!("{max_age:?}"));
    }

    fn traces(&mut self, traces: Option<&Traces>) {
        let Some(Traces { endpoint, headers, ca, sample }) = traces else { return };
        self.show("traces.endpoint", endpoint);
        for (name, value) in headers {
            self.secret(format!("traces.headers.{name}"), value);
        }
        if let Some(ca) = ca {
            self.file("traces.ca", ca);
        }
        self.show("traces.sample", sample);
    }

    fn operations(&mut self, operations: Option<&Operations>) {
        let Some(Operations { address, tls, page, details }) = operations else { return };
        self.show("operations.address", address);
        self.show("operations.tls", tls);
        self.show("operations.page", page);
        self.show("operations.details", details);
    }

    fn tls(&mut self, tls: &Tls) {
        let Tls { key, cert, password, auth, ca, proxy } = tls;
        self.path("tls.key", key);
        self.path("tls.cert", cert);
        match password {
            Some(Password::Literal(password)) => self.secret("tls.password", password),
            Some(Password::File(path)) => self.path("tls.password_file", path),
            None => {}
        }
        self.show("tls.auth", auth.word());
        if let Some(ca) = ca {
            self.path("tls.ca", ca);
        }
        let Proxy { identities, cert_header } = proxy;
        self.names("tls.proxy.identities", identities.iter().map(ToString::to_string));
        self.show("tls.proxy.header.cert", cert_header);
    }

    fn limits(&mut self, policies: &Policies) {
        let limits = policies.general_limits();
        for (field, limit) in [
            ("limits.requests_per_second", limits.requests_per_second),
            ("limits.requests_at_once", limits.requests_at_once),
            ("limits.store_calls_per_second", limits.store_calls_per_second),
        ] {
            match limit {
                None => {}
                Some(Limit::Unlimited) => self.show(field, "unlimited"),
                Some(Limit::AtMost(most)) => self.show(field, most),
            }
        }
    }

    fn apis(&mut self, config: &Config) {
        for route in &ROUTES {
            let api = config.api.of(route.operation);
            self.show(format!("api.{}.skip_auth", route.path), api.skip_auth);
            if let Some(usual) = route.timeout {
                let timeout = api.timeout.unwrap_or(usual);
                self.show(format!("api.{}.timeout", route.path), format_args!("{timeout:?}"));
            }
        }
    }
}

impl Value {
    fn shown(&self) -> Option<String> {
        match self {
            Self::Shown(text) => Some(shown(text)),
            Self::Names(names) => Some(listed(names)),
            Self::Hidden(_) | Self::Contents(_) => None,
        }
    }
}

/// What became of a field that was set before and still is.
fn between(before: &Value, now: &Value) -> String {
    match (before, now) {
        (Value::Shown(before), Value::Shown(now)) => {
            format!("changed from {} to {}", shown(before), shown(now))
        }
        (Value::Names(before), Value::Names(now)) => {
            let [added, removed]: [Vec<_>; 2] =
                [now.difference(before).collect(), before.difference(now).collect()];
            let mut parts = Vec::new();
            for (names, what) in [(added, "added"), (removed, "removed")] {
                if !names.is_empty() {
                    parts.push(format!("{} {what} ({})", names.len(), listed(names)));
                }
            }
            parts.join(", ")
        }
        (Value::Contents(_), Value::Contents(_)) => "has other contents".to_owned(),
        _ => "changed".to_owned(),
    }
}
