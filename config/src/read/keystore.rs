use std::time::Duration;

use kes_keystore::Config;
use kes_keystore::config::{AppRoleSecret, Fs, Jwt, KvVersion, Login, Transit, Vault, VaultTls};
use url::Url;

use super::tls::{path, secret};
use crate::value::{Noted, Section, Text, Value};

/// Key stores of the reference server that this one does not have.
const UNSUPPORTED: [(&str, &str); 6] = [
    ("fortanix", "sdkms"),
    ("gemalto", "keysecure"),
    ("gcp", "secretmanager"),
    ("aws", "secretsmanager"),
    ("azure", "keyvault"),
    ("entrust", "keycontrol"),
];

/// How often Vault's health is asked (contract `vault.md`).
const PING: Duration = Duration::from_secs(15);

pub(super) fn read(value: &Value<'_>) -> Result<Config, Noted> {
    let mut section = value.section()?;
    let fs = section.take("fs");
    let vault = section.take("vault");
    let unsupported = unsupported(&mut section);
    section.end();

    // What is given is looked at even if it is one too many: all mistakes at once.
    let read = [
        fs.is_given().then(|| read_fs(&fs).map(Config::Fs)),
        vault.is_given().then(|| read_vault(&vault).map(Box::new).map(Config::Vault)),
    ];
    let unsupported = unsupported?;
    let supported = [("fs".to_owned(), fs), ("vault".to_owned(), vault)];
    let given: Vec<_> = supported
        .iter()
        .chain(&unsupported)
        .filter(|(_, store)| store.is_given())
        .map(|(name, store)| format!("{name} (line {})", store.line))
        .collect();
    if given.len() > 1 {
        return Err(value.mistake(format!("more than one key store: {}", given.join(", "))));
    }
    match read.into_iter().flatten().next() {
        Some(store) => store,
        None if unsupported.is_empty() => {
            Err(value.mistake("no key store; fs and vault are supported"))
        }
        None => Err(Noted),
    }
}

/// The key stores of the file that are refused by their names.
fn unsupported<'a>(section: &mut Section<'a>) -> Result<Vec<(String, Value<'a>)>, Noted> {
    let mut found = Vec::new();
    let mut result = Ok(());
    for (group, member) in UNSUPPORTED {
        match section.section(group) {
            Ok(mut group_section) => {
                let store = group_section.take(member);
                group_section.end();
                if store.is_given() {
                    let name = format!("{group}.{member}");
                    let text = format!("key store {name} is not supported; fs and vault are");
                    store.mistake(text);
                    found.push((name, store));
                }
            }
            Err(noted) => result = Err(noted),
        }
    }
    result.map(|()| found)
}

fn read_fs(value: &Value<'_>) -> Result<Fs, Noted> {
    let mut section = value.section()?;
    let folder = section.take("path").required();
    section.end();
    Ok(Fs { path: path(&folder?) })
}

fn read_vault(value: &Value<'_>) -> Result<Vault, Noted> {
    let mut section = value.section()?;
    let endpoints = endpoints(&section.take("endpoint"));
    let engine = engine(&section.take("engine"), "kv");
    let version = kv_version(&section.take("version"));
    let namespace = trimmed(&section.take("namespace"));
    let prefix = trimmed(&section.take("prefix"));
    let transit = transit(&section.take("transit"));
    let login = login(&mut section);
    let tls = vault_tls(&section.take("tls"));
    let ping = status(&section.take("status"));
    section.end();

    Ok(Vault {
        endpoints: endpoints?,
        engine: engine?,
        version: version?,
        namespace: namespace?.unwrap_or_default(),
        prefix: prefix?.unwrap_or_default(),
        transit: transit?,
        login: login?,
        tls: tls?,
        ping: ping?,
    })
}

/// URLs with commas between them.
fn endpoints(value: &Value<'_>) -> Result<Vec<Url>, Noted> {
    let text = value.required()?;
    let urls: Result<Vec<_>, _> = text
        .as_str()
        .split(',')
        .map(str::trim)
        .filter(|url| !url.is_empty())
        .map(|url| endpoint(url, &text))
        .collect();
    match urls?.as_slice() {
        [] => Err(text.mistake("is required")),
        urls => Ok(urls.to_vec()),
    }
}

/// The messages do not show the URL: it may hold a password.
fn endpoint(url: &str, text: &Text<'_>) -> Result<Url, Noted> {
    let url = Url::parse(url).map_err(|error| text.mistake(format!("not a URL: {error}")))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err(text.mistake("not a URL that begins with https:// or http://"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(text.mistake("user and password in the URL would not be used"));
    }
    Ok(url)
}

fn kv_version(value: &Value<'_>) -> Result<KvVersion, Noted> {
    let Some(text) = value.filled()? else { return Ok(KvVersion::V1) };
    match text.as_str() {
        "v1" => Ok(KvVersion::V1),
        "v2" => Ok(KvVersion::V2),
        _ => Err(text.mistake(format!("{} is unknown, there are v1 and v2", text.shown()))),
    }
}

fn transit(value: &Value<'_>) -> Result<Option<Transit>, Noted> {
    if !value.is_given() {
        return Ok(None);
    }
    let mut section = value.section()?;
    let engine = engine(&section.take("engine"), "transit");
    let key = section.take("key").required();
    section.end();
    Ok(Some(Transit { engine: engine?, key: key?.as_str().to_owned() }))
}

/// The one login method. A section whose credentials are all empty, as in templates, does not
/// count beside one that has some.
fn login(vault: &mut Section<'_>) -> Result<Login, Noted> {
    let approle = vault.take("approle");
    let kubernetes = vault.take("kubernetes");
    if !approle.is_given() && !kubernetes.is_given() {
        return Err(vault
            .value()
            .mistake("no login method; exactly one of approle and kubernetes is required"));
    }
    let has_approle = has_credentials(&approle, &["id", "secret", "secret_file"])?;
    let has_kubernetes = has_credentials(&kubernetes, &["role", "jwt"])?;
    match (has_approle, has_kubernetes) {
        (true, true) => {
            let text = format!(
                "more than one login method: approle (line {}) and kubernetes (line {})",
                approle.line, kubernetes.line
            );
            Err(vault.value().mistake(text))
        }
        (true, false) => read_approle(&approle),
        (false, true) => read_kubernetes(&kubernetes),
        (false, false) if approle.is_given() => read_approle(&approle),
        (false, false) => read_kubernetes(&kubernetes),
    }
}

fn has_credentials(value: &Value<'_>, names: &[&str]) -> Result<bool, Noted> {
    let mut fields = value.entries()?.into_iter();
    Ok(fields.any(|(name, field)| names.contains(&name) && !field.is_blank()))
}

fn read_approle(value: &Value<'_>) -> Result<Login, Noted> {
    let mut section = value.section()?;
    let engine = engine(&section.take("engine"), "approle");
    let namespace = trimmed(&section.take("namespace"));
    let id = section.take("id").required();
    let literal = section.take("secret");
    let file = section.take("secret_file");
    let secret = approle_secret(&literal, &file);
    section.retired("retry", "no longer needed, a login is repeated by itself");
    section.end();
    Ok(Login::AppRole {
        engine: engine?,
        namespace: namespace?,
        id: id?.as_str().to_owned(),
        secret: secret?,
    })
}

fn approle_secret(literal: &Value<'_>, file: &Value<'_>) -> Result<AppRoleSecret, Noted> {
    match (literal.filled()?, file.filled()?) {
        (Some(text), None) => Ok(AppRoleSecret::Literal(secret(&text))),
        (None, Some(file)) => Ok(AppRoleSecret::File(path(&file))),
        (Some(_), Some(file)) => Err(file.mistake("only one of secret and secret_file is taken")),
        (None, None) => Err(literal.mistake("is required, or secret_file instead")),
    }
}

fn read_kubernetes(value: &Value<'_>) -> Result<Login, Noted> {
    let mut section = value.section()?;
    let engine = engine(&section.take("engine"), "kubernetes");
    let namespace = trimmed(&section.take("namespace"));
    let role = section.take("role").required();
    let jwt = section.take("jwt").required();
    section.retired("retry", "no longer needed, a login is repeated by itself");
    section.end();
    let jwt = jwt?;
    // No token holds a `/`: its base64 is that of URLs (RFC 7519).
    let jwt =
        if jwt.as_str().contains('/') { Jwt::File(path(&jwt)) } else { Jwt::Literal(secret(&jwt)) };
    Ok(Login::Kubernetes {
        engine: engine?,
        namespace: namespace?,
        role: role?.as_str().to_owned(),
        jwt,
    })
}

fn vault_tls(value: &Value<'_>) -> Result<VaultTls, Noted> {
    let mut section = value.section()?;
    let key_field = section.take("key");
    let cert_field = section.take("cert");
    let (key, cert) = (key_field.filled(), cert_field.filled());
    let ca = section.take("ca").filled();
    section.end();
    let client = match (key?, cert?) {
        (None, None) => None,
        (Some(key), Some(cert)) => Some((path(&key), path(&cert))),
        (Some(_), None) => return Err(cert_field.mistake("is required where a key is")),
        (None, Some(_)) => return Err(key_field.mistake("is required where a cert is")),
    };
    Ok(VaultTls { client, ca: ca?.as_ref().map(path) })
}

fn status(value: &Value<'_>) -> Result<Duration, Noted> {
    let mut section = value.section()?;
    let ping = section.take("ping").duration_or(PING);
    section.end();
    ping
}

fn engine(value: &Value<'_>, default: &str) -> Result<String, Noted> {
    Ok(trimmed(value)?.filter(|engine| !engine.is_empty()).unwrap_or_else(|| default.to_owned()))
}

/// A path without `/` at its ends; `Some("")` for one of `/` alone.
fn trimmed(value: &Value<'_>) -> Result<Option<String>, Noted> {
    Ok(value.filled()?.map(|text| text.as_str().trim_matches('/').to_owned()))
}
