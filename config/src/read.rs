/// `log.audit_file`
mod audit_file;

/// What a file opens to people who were hardly meant.
mod exposure;

/// Identities and their roles.
mod identity;

/// `keystore`
mod keystore;

/// `limits`
mod limits;

/// `migration`
mod migration;

/// `operations`
mod operations;

/// `policy`
mod policy;

/// `address`, `cache`, `api`, `log`, `keys`
mod server;

/// `proxy_protocol`
mod proxy_protocol;

/// `cache.snapshot`
mod snapshot;

/// `tls`
mod tls;

/// `traces`
mod traces;

use std::path::Path;
use std::sync::Arc;

use kes_api::Identity;
use kes_api::route::ROUTES;
use kes_keystore::config::{ConfiguredPath, SecretText};
use kes_policy::{Policies, Policy};

use self::identity::Roles;
use crate::value::{AlreadyReported, Context, Section, Text, Value};
use crate::yaml::Document;
use crate::{
    ApiOverrides, Config, Environment, Errors, Loaded, LoadedKeystore, LoadedPolicies, Mistake,
    PolicyPlaces, Variables, Warning,
};

/// Checks a whole file. Every section is read, whatever is wrong with those before it.
pub(crate) fn config(
    document: &Document,
    env: &dyn Environment,
    file: Option<&Path>,
    pause: &dyn Fn(),
) -> Result<Loaded, Errors> {
    let context = Context::new(env, file.map(Arc::from), pause);
    let config = context.root(&document.root).section("").and_then(root);
    let config = config.map(|config| Config { variables: context.variables(), ..config });
    checked(document, &context, config).map(|(config, warnings)| Loaded { config, warnings })
}

/// Checks the key store of a file that has no other section; else the whole file.
pub(crate) fn keystore(
    document: &Document,
    env: &dyn Environment,
    file: Option<&Path>,
) -> Result<LoadedKeystore, Errors> {
    let context = Context::new(env, file.map(Arc::from), &|| ());
    let section = context.root(&document.root).section("");
    let is_alone =
        section.as_ref().is_ok_and(|file| file.has_only(&["version", "keystore", "migration"]));
    if !is_alone {
        drop(section);
        let Loaded { config, warnings } = config(document, env, file, &|| ())?;
        let Config { keystore, migration, .. } = config;
        return Ok(LoadedKeystore { keystore, migration, warnings });
    }
    let keystore = section.and_then(|mut file| {
        let version = version(&file.take("version"));
        let keystore = keystore::read(&file.take("keystore"));
        let migration = migration::read(&file.take("migration"), keystore.as_ref().ok());
        file.end_early();
        version?;
        Ok((keystore?, migration?))
    });
    let ((keystore, migration), warnings) = checked(document, &context, keystore)?;
    Ok(LoadedKeystore { keystore, migration, warnings })
}

/// Checks what decides on requests: `policy`, `admin`, `api` and `tls.proxy`.
pub(crate) fn policies(
    document: &Document,
    env: &dyn Environment,
    file: Option<&Path>,
) -> Result<LoadedPolicies, Errors> {
    let context = Context::new(env, file.map(Arc::from), &|| ());
    let read = context.root(&document.root).section("").and_then(policies_of);
    let ((policies, proxies, places), warnings) = checked(document, &context, read)?;
    Ok(LoadedPolicies { policies, proxies, places, warnings })
}

fn policies_of(
    mut file: Section<'_>,
) -> Result<(Policies, Vec<Identity>, PolicyPlaces), AlreadyReported> {
    let mut roles = Roles::default();
    let mut places = PolicyPlaces::default();
    let admin = file.take("admin");
    let admin = if admin.is_given() { identity::admin(&admin, &mut roles) } else { Ok(None) };
    let mut tls = file.take("tls").section("tls");
    let proxy = match &mut tls {
        Ok(tls) => tls::proxy(&tls.take("proxy"), &mut roles),
        Err(noted) => Err(*noted),
    };
    let policies = policy::read(&file.take("policy"), &mut roles, Some(&mut places));
    let section = file.take("api");
    if section.is_given() {
        places.set_api(section.line);
    }
    let api = server::api(&section);
    if let Ok(tls) = tls {
        tls.end_early();
    }
    let place = file.value().clone();
    file.end_early();

    let admin = admin?;
    let policy::Section { policies, .. } = policies?;
    let policies = exempting(made(admin, policies, &place)?, &api?);
    places.add_identities(roles.lines());
    Ok((policies, proxy?.identities, places))
}

fn made(
    admin: Option<Identity>,
    policies: Vec<(Policy, Vec<Identity>)>,
    place: &Value<'_>,
) -> Result<Policies, AlreadyReported> {
    Policies::new(admin, policies).map_err(|conflict| place.mistake(conflict.to_string()))
}

fn exempting(policies: Policies, api: &ApiOverrides) -> Policies {
    let operations = ROUTES.iter().map(|route| route.operation);
    policies.exempting(operations.filter(|operation| api.of(*operation).skip_auth))
}

/// The result of a walk through a document, with its warnings, or all mistakes.
fn checked<T>(
    document: &Document,
    context: &Context<'_>,
    result: Result<T, AlreadyReported>,
) -> Result<(T, Vec<Warning>), Errors> {
    if let Some(line) = document.next {
        context.warn(line, "a second document begins here; it is ignored, with all that follows");
    }
    let (mut mistakes, warnings) = context.end();
    match result {
        Ok(read) if mistakes.is_empty() => Ok((read, warnings)),
        Ok(_) => Err(Errors::new(mistakes, warnings)),
        Err(AlreadyReported) => {
            if mistakes.is_empty() {
                mistakes.push(Mistake::of_file(
                    None,
                    "a bug of kes: a mistake was found and is not told",
                ));
            }
            Err(Errors::new(mistakes, warnings))
        }
    }
}

fn root(mut file: Section<'_>) -> Result<Config, AlreadyReported> {
    let version = version(&file.take("version"));
    let address = server::address(&file.take("address"));
    let balancers = proxy_protocol::read(&file.take("proxy_protocol"));
    let api_address = address.as_ref().ok().map(|address| &**address);
    let for_probes = operations::read(&file.take("operations"), api_address);

    let mut roles = Roles::default();
    let admin = identity::admin(&file.take("admin"), &mut roles);
    let tls = tls::read(&file.take("tls"), &mut roles);
    let policies = policy::read(&file.take("policy"), &mut roles, None);
    let limits = limits::general(&file.take("limits"));

    let cache = server::cache(&file.take("cache"));
    let api = server::api(&file.take("api"));
    let log = server::log(&file.take("log"));
    let traces = traces::read(&file.take("traces"));
    let keys = server::keys(&file.take("keys"));
    let keystore = keystore::read(&file.take("keystore"));
    let migration = migration::read(&file.take("migration"), keystore.as_ref().ok());

    let place = file.value().clone();
    file.end();

    version?;
    let admin = admin?;
    let policy::Section { policies, own_limits } = policies?;
    let policies = made(admin, policies, &place)?.limiting(limits?, own_limits);
    let api = api?;
    let policies = exempting(policies, &api);
    let (names, pins) = keys?;
    let (cache, snapshot) = cache?;
    let (policies, keys) = policies.with_startup_keys(names);
    Ok(Config {
        address: address?,
        proxy_protocol: balancers?,
        operations: for_probes?,
        admin,
        tls: tls?,
        policies,
        cache,
        snapshot,
        api,
        log: log?,
        traces: traces?,
        keys,
        pins,
        keystore: keystore?,
        migration: migration?,
        variables: Variables::default(), // they are known when all is read
    })
}

fn version(value: &Value<'_>) -> Result<(), AlreadyReported> {
    match value.filled()? {
        Some(version) if version.as_str() != "v1" => {
            Err(version.mistake(format!("{} is unknown; the only version is v1", version.shown())))
        }
        _ => Ok(()),
    }
}

/// The path of a file or folder.
fn path(text: &Text<'_>) -> ConfiguredPath {
    if text.as_str().starts_with("~/") {
        text.warn("'~' is not expanded; write the full path");
    }
    path_of(text, text.as_str())
}

/// A path that is a text, or a part of one.
fn path_of(text: &Text<'_>, path: &str) -> ConfiguredPath {
    let place = text.value.place();
    match text.variable() {
        Some(name) => ConfiguredPath::of_variable_at(path.into(), place, name),
        None => ConfiguredPath::new(path.into(), place),
    }
}

fn secret(text: &Text<'_>) -> SecretText {
    SecretText::new(text.as_str().to_owned())
}
