/// `keystore.vault.endpoint`
mod endpoint;

/// Variables of Vault's client.
mod environment;

/// `keystore.vault.proxy`
mod proxy;

use std::time::Duration;

use kes_keystore::config::{
    AppRoleSecret, Jwt, KvVersion, Login, TlsName, Transit, Vault, VaultTls,
};

use super::super::{exposure, path, secret};
use crate::value::{AlreadyReported, Section, Text, Value, by_word};

/// The default interval of Vault's health check (contract `vault.md`, Settings).
const PING: Duration = Duration::from_secs(15);

pub(super) fn read(value: &Value<'_>) -> Result<Vault, AlreadyReported> {
    let mut section = value.section("keystore.vault")?;
    let endpoint = section.take("endpoint");
    let endpoints = endpoint::read(&endpoint);
    let engine_field = section.take("engine");
    let engine = engine(&engine_field, "kv");
    let version = kv_version(&section.take("version"));
    let namespace_field = section.take("namespace");
    let namespace = trimmed(&namespace_field).map(|namespace| {
        let of_variable = || environment::text(&namespace_field, "VAULT_NAMESPACE");
        namespace.or_else(|| Some(of_variable()?.trim_matches('/').to_owned()))
    });
    let prefix = folder(&section.take("prefix"));
    let transit = transit(&section.take("transit"));
    let login = login(&mut section);
    // Assumed if the endpoint is invalid.
    let is_encrypted =
        endpoints.as_ref().map_or(true, |urls| urls.iter().any(|url| url.scheme() == "https"));
    let tls = vault_tls(&section.take("tls"), is_encrypted);
    let proxy = section.take("proxy");
    let proxies = endpoints.as_ref().map_or(Ok(Vec::new()), |urls| proxy::read(&proxy, urls));
    if let (Ok(urls), Ok(proxies)) = (&endpoints, &proxies)
        && let Ok(Some(text)) = endpoint.text()
    {
        exposure::warn_of_plain_http(&text, urls, proxies);
    }
    let ping = status(&section.take("status"));
    environment::warn_of_others(section.value(), is_encrypted);
    section.end();

    Ok(Vault {
        endpoints: endpoints?,
        engine: engine?,
        engine_place: (!engine_field.is_blank()).then(|| engine_field.place()),
        version: version?,
        namespace: namespace?.unwrap_or_default(),
        prefix: prefix?.unwrap_or_default(),
        transit: transit?,
        login: login?,
        tls: tls?,
        proxies: proxies?,
        ping: ping?,
    })
}

fn kv_version(value: &Value<'_>) -> Result<KvVersion, AlreadyReported> {
    let Some(text) = value.filled()? else { return Ok(KvVersion::V1) };
    by_word(&KvVersion::ALL, KvVersion::word, text.as_str())
        .ok_or_else(|| text.mistake(format!("{} is unknown; use v1 or v2", text.shown())))
}

fn transit(value: &Value<'_>) -> Result<Option<Transit>, AlreadyReported> {
    if !value.is_given() {
        return Ok(None);
    }
    let mut section = value.section("keystore.vault.transit")?;
    let engine = engine(&section.take("engine"), "transit");
    let key = section.take("key").required().and_then(|key| is_path(&key).map(|()| key));
    section.end();
    Ok(Some(Transit { engine: engine?, key: key?.as_str().to_owned() }))
}

/// The login method. If there are two sections, one whose credentials are all empty, as in
/// templates, does not count.
fn login(vault: &mut Section<'_>) -> Result<Login, AlreadyReported> {
    let approle = vault.take("approle");
    let kubernetes = vault.take("kubernetes");
    let has_approle = has_credentials(&approle, &["id", "secret", "secret_file"]);
    let has_kubernetes = has_credentials(&kubernetes, &["role", "jwt"]);
    match (approle.is_given(), kubernetes.is_given()) {
        (true, true) if has_approle && has_kubernetes => {
            // Both are read, to report all mistakes at once.
            let _ = (read_approle(&approle), read_kubernetes(&kubernetes));
            let text = format!(
                "more than one login method: approle (line {}) and kubernetes (line {}); keep one \
                 of them",
                approle.line, kubernetes.line
            );
            Err(vault.value().mistake(text))
        }
        (true, true) if has_kubernetes => read_kubernetes(&kubernetes),
        (true, _) => read_approle(&approle),
        (false, true) => read_kubernetes(&kubernetes),
        (false, false) => Err(vault
            .value()
            .mistake("no login method; exactly one of approle and kubernetes is required")),
    }
}

/// Whether one of the fields has a value. A section that is not a map counts as having one, so that
/// it is read and reported.
fn has_credentials(value: &Value<'_>, names: &[&str]) -> bool {
    match value.peek() {
        Some(fields) => {
            fields.iter().any(|(name, field)| names.contains(name) && !field.is_blank())
        }
        None => value.is_given(),
    }
}

fn read_approle(value: &Value<'_>) -> Result<Login, AlreadyReported> {
    let mut section = value.section("keystore.vault.approle")?;
    let engine = engine(&section.take("engine"), "approle");
    let namespace = trimmed(&section.take("namespace"));
    let id = section.take("id").required();
    let literal = section.take("secret");
    let file = section.take("secret_file");
    let secret = approle_secret(&literal, &file);
    section.end();
    Ok(Login::AppRole {
        engine: engine?,
        namespace: namespace?,
        id: id?.as_str().to_owned(),
        secret: secret?,
    })
}

fn approle_secret(literal: &Value<'_>, file: &Value<'_>) -> Result<AppRoleSecret, AlreadyReported> {
    match (literal.is_blank(), file.filled()?) {
        (true, Some(file)) => Ok(AppRoleSecret::File(path(&file))),
        (_, None) => {
            let text = literal.required_or("is required, or secret_file instead")?;
            Ok(AppRoleSecret::Literal(secret(&text)))
        }
        (false, Some(file)) => Err(file.mistake("only one of secret and secret_file may be set")),
    }
}

fn read_kubernetes(value: &Value<'_>) -> Result<Login, AlreadyReported> {
    let mut section = value.section("keystore.vault.kubernetes")?;
    let engine = engine(&section.take("engine"), "kubernetes");
    let namespace = trimmed(&section.take("namespace"));
    let role = section.take("role").required();
    let jwt = section.take("jwt").required();
    section.end();
    let jwt = token(&jwt?);
    Ok(Login::Kubernetes {
        engine: engine?,
        namespace: namespace?,
        role: role?.as_str().to_owned(),
        jwt: jwt?,
    })
}

/// The token itself, or its file.
fn token(jwt: &Text<'_>) -> Result<Jwt, AlreadyReported> {
    // A token has no `/`, because it is URL-safe base64 (RFC 7519).
    if jwt.as_str().contains('/') {
        // Base64 of `{"`, as a token begins. No message may show it, as it does with a path.
        if jwt.as_str().trim_start().starts_with("eyJ") {
            return Err(jwt.mistake(
                "looks like a token that is damaged, since no token has a '/': copy it again, or \
                 name the file that holds it, as './eyJ…' if its name begins so",
            ));
        }
        return Ok(Jwt::File(path(jwt)));
    }
    // A token has three parts.
    if jwt.variable().is_none() && jwt.as_str().split('.').count() != 3 {
        jwt.warn("has no '/', so it is taken as the token itself; write a file as './jwt'");
    }
    Ok(Jwt::Literal(secret(jwt)))
}

fn vault_tls(value: &Value<'_>, is_encrypted: bool) -> Result<VaultTls, AlreadyReported> {
    let mut section = value.section("keystore.vault.tls")?;
    let fields = ["key", "cert", "ca", "server_name"].map(|name| section.take(name));
    section.end();
    if !is_encrypted {
        for field in fields.iter().filter(|field| !field.is_blank()) {
            field.warn("has no effect: no endpoint begins with https://");
        }
    }
    let [key, cert, ca, server_name] = fields.each_ref().map(Value::filled);
    let [key_field, cert_field, ca_field, name_field] = &fields;
    let mut tls = VaultTls::default();
    match (key?, cert?) {
        (None, None) if is_encrypted => environment::client(key_field, cert_field, &mut tls)?,
        (None, None) => {}
        (Some(key), Some(cert)) => tls.client = Some((path(&key), path(&cert))),
        (Some(_), None) => return Err(cert_field.mistake("is required because key is set")),
        (None, Some(_)) => return Err(key_field.mistake("is required because cert is set")),
    }
    match ca? {
        Some(ca) => tls.ca = Some(path(&ca)),
        None if is_encrypted => environment::authorities(ca_field, &mut tls),
        None => {}
    }
    let server_name = match server_name? {
        Some(name) => Some(name.as_str().to_owned()),
        None if is_encrypted => environment::text(name_field, "VAULT_TLS_SERVER_NAME"),
        None => None,
    };
    if let Some(name) = server_name {
        let name = TlsName::parse(&name);
        tls.server_name =
            Some(name.ok_or_else(|| name_field.mistake("neither a DNS name nor an IP address"))?);
    }
    Ok(tls)
}

fn status(value: &Value<'_>) -> Result<Duration, AlreadyReported> {
    let mut section = value.section("keystore.vault.status")?;
    let ping = section.take("ping").duration_or(PING);
    section.end();
    ping
}

fn engine(value: &Value<'_>, default: &str) -> Result<String, AlreadyReported> {
    Ok(folder(value)?.filter(|engine| !engine.is_empty()).unwrap_or_else(|| default.to_owned()))
}

/// As [`trimmed`], for a path that becomes a part of URLs.
fn folder(value: &Value<'_>) -> Result<Option<String>, AlreadyReported> {
    if let Some(text) = value.filled()? {
        is_path(&text)?;
    }
    trimmed(value)
}

/// Refuses parts of a path that URLs interpret or drop: keys would be stored elsewhere than the
/// file says.
fn is_path(text: &Text<'_>) -> Result<(), AlreadyReported> {
    let mut parts = text.as_str().split('/');
    if let Some(part) = parts.find(|part| matches!(*part, "." | "..")) {
        return Err(text.mistake(format!(
            "{} has the part '{part}', which no path in Vault has; write the path in full, without \
             it",
            text.shown()
        )));
    }
    if text.as_str().contains(char::is_control) {
        return Err(text.mistake(format!(
            "{} has a tab, a line break or another control character, which no path in Vault has; \
             write the path without it",
            text.shown()
        )));
    }
    Ok(())
}

/// A path without `/` at its ends; `Some("")` for `/` alone.
fn trimmed(value: &Value<'_>) -> Result<Option<String>, AlreadyReported> {
    Ok(value.filled()?.map(|text| text.as_str().trim_matches('/').to_owned()))
}
