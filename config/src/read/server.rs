use std::collections::HashMap;

use kes_api::route::{Operation, ROUTES, Route};
use kes_api::{Fingerprint, KeyName};
use kes_keystore::config::Place;

use super::{audit_file, exposure, snapshot};
use crate::value::{AlreadyReported, Value, by_word};
use crate::{
    ApiOverride, ApiOverrides, Cache, ConfiguredAddress, Level, Log, LogFormat, PinnedKey,
    Snapshot, fields,
};

pub(super) fn address(value: &Value<'_>) -> Result<ConfiguredAddress, AlreadyReported> {
    let Some(text) = value.filled()? else { return Ok(ConfiguredAddress::default()) };
    match text.as_str().parse() {
        Ok(address) => Ok(ConfiguredAddress::new(address, value.place())),
        Err(error) => Err(text.mistake(format!("{}: {error}", text.shown()))),
    }
}

pub(super) fn cache(value: &Value<'_>) -> Result<(Cache, Option<Snapshot>), AlreadyReported> {
    let mut section = value.section("cache")?;
    let expiry = expiry(&section.take("expiry"));
    let snapshot = snapshot::read(&section.take("snapshot"));
    section.end();
    Ok((expiry?, snapshot?))
}

fn expiry(value: &Value<'_>) -> Result<Cache, AlreadyReported> {
    let default = Cache::default();
    let mut section = value.section("cache.expiry")?;
    let any = section.take("any").duration_or(default.any);
    let unused = section.take("unused").duration_or(default.unused);
    let offline = section.take("offline").duration();
    section.end();
    Ok(Cache { any: any?, unused: unused?, offline: offline?.unwrap_or(default.offline) })
}

pub(super) fn api(value: &Value<'_>) -> Result<ApiOverrides, AlreadyReported> {
    let mut overrides = ApiOverrides::default();
    let mut lines = HashMap::new();
    let mut result = Ok(());
    for (path, value) in value.entries("a map of API paths, such as '/v1/ready'")? {
        let Some(operation) = operation(path) else {
            value.warn(match meant(path) {
                Some(meant) => format!("no API has this path, ignored; is '{meant}' meant?"),
                None => "no API has this path, ignored".to_owned(),
            });
            continue;
        };
        // `/v1/key/create` and `/v1/key/create/` are the same API, but two keys for YAML.
        if let Some(line) = lines.insert(operation, value.line) {
            result = Err(value.mistake(format!("named twice, first in line {line}")));
            continue;
        }
        match single_api(&value, operation) {
            Ok(api) => overrides.set(operation, api),
            Err(noted) => result = Err(noted),
        }
    }
    result.map(|()| overrides)
}

fn operation(path: &str) -> Option<Operation> {
    let bare = |path: &'static str| path.strip_suffix('/').unwrap_or(path);
    let wanted = path.strip_suffix('/').unwrap_or(path);
    let route = ROUTES.iter().find(|route| bare(route.path) == wanted)?;
    (route.takes_name() || path == route.path).then_some(route.operation)
}

/// The API's path that an unknown path may mean.
fn meant(path: &str) -> Option<&'static str> {
    // Settings of an API are for all names.
    let named = ROUTES.iter().find(|route| route.takes_name() && path.starts_with(route.path));
    named.map(|route| route.path).or_else(|| {
        let near = |route: &Route| (strsim::osa_distance(path, route.path), route.path);
        let (distance, path) = ROUTES.iter().map(near).min()?;
        (distance <= 2).then_some(path)
    })
}

fn single_api(value: &Value<'_>, operation: Operation) -> Result<ApiOverride, AlreadyReported> {
    let mut section = value.section("api.*")?;
    let field = section.take("skip_auth");
    let skip_auth = field.boolean();
    if let (Ok(true), Some(power)) = (skip_auth, exposure::of_skip_auth(operation)) {
        field.warn(format!(
            "anybody who can connect may {power}, without a certificate and whatever the policies \
             say; remove it, and allow the API in the policies of those who need it"
        ));
    }
    let timeout = section.take("timeout").duration();
    section.end();
    // Zero means the route's own timeout, as in the reference server.
    Ok(ApiOverride { skip_auth: skip_auth?, timeout: timeout?.filter(|time| !time.is_zero()) })
}

pub(super) fn log(value: &Value<'_>) -> Result<Log, AlreadyReported> {
    let mut section = value.section("log")?;
    let error = level(&section.take("error"));
    let audit = level(&section.take("audit"));
    let format = format(&section.take("format"));
    let required = section.take("audit_required");
    let audit_required = required.boolean();
    let audit_file = audit_file::read(&section.take("audit_file"));
    section.end();
    let log = Log {
        error: error?,
        audit: audit?,
        format: format?,
        audit_required: audit_required?,
        audit_file: audit_file?,
    };
    let is_recorded = log.audit_file.is_some() || log.audit.number() <= Level::INFO.number();
    if log.audit_required && !is_recorded {
        return Err(required.mistake(format!(
            "with the level {} of 'log.audit' no change of a key is recorded, so none could be \
             made; write 'audit: on'",
            log.audit
        )));
    }
    Ok(log)
}

fn level(value: &Value<'_>) -> Result<Level, AlreadyReported> {
    let Some(text) = value.filled()? else { return Ok(Level::default()) };
    text.as_str().parse().map_err(|error| text.mistake(format!("{}: {error}", text.shown())))
}

fn format(value: &Value<'_>) -> Result<LogFormat, AlreadyReported> {
    let Some(text) = value.filled()? else { return Ok(LogFormat::Text) };
    by_word(&LogFormat::ALL, LogFormat::word, &text.as_str().to_ascii_lowercase())
        .ok_or_else(|| text.mistake(format!("{} is neither text nor json", text.shown())))
}

/// The names of the keys to create, and the pinned ones.
pub(super) fn keys(value: &Value<'_>) -> Result<(Vec<KeyName>, Vec<PinnedKey>), AlreadyReported> {
    let mut lines = HashMap::new();
    if value.is_map() {
        old_keystore(value)?;
    }
    let (mut names, mut pins) = (Vec::new(), Vec::new());
    for item in value.items("name: my-key", |item| key(&item, &mut lines))? {
        match item {
            (name, None) => names.push(name),
            (_, Some(pinned)) => pins.push(pinned),
        }
    }
    Ok((names, pins))
}

/// Reports the key store in `keys`, where old files have it.
fn old_keystore(value: &Value<'_>) -> Result<(), AlreadyReported> {
    let mut result = Ok(());
    for (name, store) in value.entries("a list")? {
        if let Some(known) = fields::below("keystore").into_iter().find(|known| *known == name) {
            result = Err(store.mistake(format!(
                "use 'keystore.{known}' instead; 'keys' lists the keys to create at start"
            )));
        }
    }
    result
}

fn key(
    value: &Value<'_>,
    lines: &mut HashMap<KeyName, usize>,
) -> Result<(KeyName, Option<PinnedKey>), AlreadyReported> {
    let mut section = value.section("keys.*")?;
    let name = section.take("name").required();
    let pinned = fingerprint(&section.take("fingerprint"));
    section.end();
    let text = name?;
    let name = KeyName::parse(text.as_str())
        .map_err(|error| text.mistake(format!("key name {}: {error}", text.shown())))?;
    if let Some(line) = lines.insert(name, value.line) {
        return Err(text.mistake(format!("key {} is named in line {line} already", text.shown())));
    }
    let pinned = pinned?.map(|(fingerprint, place)| PinnedKey { name, fingerprint, place });
    Ok((name, pinned))
}

fn fingerprint(value: &Value<'_>) -> Result<Option<(Fingerprint, Place)>, AlreadyReported> {
    // An empty one is no way to leave it out: the key would be created.
    if !value.is_written() {
        return Ok(None);
    }
    let text = value.required()?;
    match text.as_str().parse() {
        Ok(fingerprint) => Ok(Some((fingerprint, value.place()))),
        Err(error) => Err(text.mistake(format!("{}: {error}", text.shown()))),
    }
}
