//! `kes identity`.

use std::path::Path;
use std::str::FromStr as _;

use anyhow::{Context as _, Result, bail};
use kes_api::body::{DescribeIdentity, Limits, PolicyPatterns, SelfDescribe, SelfPolicy};
use kes_api::certificate::Certificate;
use kes_api::{Identity, Timestamp};
use kes_client::{ApiKey, InvalidApiKey};
use serde::Serialize;
use zeroize::Zeroizing;

use super::connect::client;
use super::explain::Subject;
use super::{list, policy};
use crate::args::{Connect, Format, IdentityArgs, IdentityCommand};
use crate::error::usage;
use crate::file;
use crate::input::{STDIN, Secrecy, Source};
use crate::output::{self, Output};
use crate::parse::near;
use crate::password;

mod new;

pub(super) async fn run(args: IdentityArgs) -> Result<()> {
    match args.command {
        Some(IdentityCommand::New(args)) => new::run(&args),
        Some(IdentityCommand::Of { source, .. }) => of(source),
        Some(IdentityCommand::Info { identity, connect, format }) => {
            info(identity, &connect, &format).await
        }
        Some(IdentityCommand::Ls { pattern, connect, format }) => {
            list::identities(&client(&connect)?, pattern.as_deref(), &format).await
        }
        None => convert(args.source),
    }
}

/// What is known of an identity, the client's own or another one.
#[derive(Serialize)]
struct Info {
    identity: Identity,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    admin: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    policy: Option<String>,
    created_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    created_by: Option<String>,
    /// Only for the client's own identity, like `deny`.
    #[serde(skip_serializing_if = "Option::is_none")]
    allow: Option<PolicyPatterns>,
    #[serde(skip_serializing_if = "Option::is_none")]
    deny: Option<PolicyPatterns>,
    #[serde(skip_serializing_if = "Option::is_none")]
    limits: Option<Limits>,
}

impl Info {
    fn of_other(identity: Identity, answer: DescribeIdentity) -> Self {
        Self {
            identity,
            admin: answer.admin,
            policy: answer.policy,
            created_at: answer.created_at,
            created_by: answer.created_by,
            allow: None,
            deny: None,
            limits: answer.limits,
        }
    }

    /// Servers differ in where the policy's name and patterns are in the answer.
    fn of_self(answer: SelfDescribe) -> Self {
        let (name, inner) = match answer.policy {
            Some(SelfPolicy::Object(policy)) => {
                (Some(policy.name), Some((policy.allow, policy.deny)))
            }
            Some(SelfPolicy::Name(name)) => (Some(name), None),
            None => (None, None),
        };
        let (allow, deny) = match inner {
            Some((allow, deny)) => (Some(allow), Some(deny)),
            None => (answer.allow, answer.deny),
        };
        Self {
            identity: answer.identity,
            admin: answer.admin,
            policy: answer.policy_name.or(name).filter(|name| !name.is_empty()),
            created_at: answer.created_at,
            created_by: answer.created_by,
            allow,
            deny,
            limits: answer.limits,
        }
    }

    fn rows(&self) -> Vec<(&'static str, String)> {
        let mut rows = vec![("Identity", self.identity.to_string())];
        rows.extend(self.policy.clone().map(|policy| ("Policy", policy)));
        rows.push(("Created At", self.created_at.to_table()));
        rows.push(("Role", if self.admin { "Admin" } else { "User" }.to_owned()));
        rows.extend(self.created_by.clone().map(|by| ("Created By", by)));
        rows.extend(self.allow.as_ref().map(|allow| ("Allow", policy::patterns(allow))));
        rows.extend(self.deny.as_ref().map(|deny| ("Deny", policy::patterns(deny))));
        rows.extend(self.limits.as_ref().map(|limits| ("Limits", policy::limits(limits))));
        rows
    }
}

async fn info(identity: Option<String>, connect: &Connect, format: &Format) -> Result<()> {
    let info = match identity.filter(|text| !text.is_empty()) {
        Some(text) => {
            let identity = Identity::from_str(&text).map_err(|error| {
                usage(format!("invalid identity: {error}"), "kes identity info")
            })?;
            let client = client(connect)?;
            let answer = client
                .describe_identity(identity.to_hex().as_str())
                .await
                .map_err(|error| client.explain(error, Subject::Identity(&text)));
            Info::of_other(identity, answer.context("failed to describe identity")?)
        }
        None => {
            let client = client(connect)?;
            let answer = client
                .self_describe()
                .await
                .map_err(|error| client.explain(error, Subject::Server));
            Info::of_self(answer.context("failed to describe identity")?)
        }
    };
    let mut output = Output::with_color(format.color);
    if format.json { output.json(&info) } else { output.table(&info.rows()) }
}

/// `kes identity of`
fn of(source: Option<String>) -> Result<()> {
    const COMMAND: &str = "kes identity of";
    let source = source
        .map(Zeroizing::new)
        .filter(|source| !source.is_empty())
        .ok_or_else(|| usage("no API key or certificate specified", COMMAND))?;
    match given(&source)? {
        Given::ApiKey(key) => print_identity(key.identity()),
        Given::Pem { bytes, name } => print_identity(of_certificates(&bytes, &name)?),
    }
}

/// `kes identity [<key | file>]`
fn convert(source: Option<String>) -> Result<()> {
    let Some(source) = source.map(Zeroizing::new) else { return new::api_key() };
    if source.is_empty() {
        return Err(usage("no API key or file specified: the argument is empty", "kes identity"));
    }
    let given = given(&source).map_err(|error| match near::meant(&source, "kes identity") {
        Some(meant) if !Path::new(&*source).exists() => {
            usage(format!("{error:#}; is 'kes identity {meant}' meant?"), "kes identity")
        }
        _ => error,
    })?;
    let (pem, name) = match given {
        Given::ApiKey(key) => return print_identity(key.identity()),
        Given::Pem { bytes, name } => (bytes, name),
    };
    // A certificate first: if a file has both, only the public half may be shown.
    if kes_tls::parse_certificates(&pem).is_ok() {
        return print_identity(of_certificates(&pem, &name)?);
    }
    let is_encrypted = kes_tls::is_encrypted(&pem);
    let password = if is_encrypted { Some(password::of(Path::new(&name))?) } else { None };
    let key = kes_tls::parse_private_key(&pem, password.as_ref().map(|text| text.as_str()))
        .with_context(|| name.clone())?;
    let key = ApiKey::from_pkcs8(&key).context(name)?;
    Output::new().secret(&[key.expose().as_bytes(), b"\n"])
}

/// What an argument stands for.
enum Given {
    ApiKey(ApiKey),
    /// The content of a file or of standard input, and its name.
    Pem {
        bytes: Zeroizing<Vec<u8>>,
        name: String,
    },
}

/// What an argument stands for: itself, a file, or standard input.
fn given(source: &str) -> Result<Given> {
    if source != STDIN {
        return Ok(match api_key(source)? {
            Some(key) => Given::ApiKey(key),
            None => Given::Pem { bytes: read(source)?, name: source.to_owned() },
        });
    }
    let bytes = Source::Stdin.read("API key", Secrecy::Secret)?;
    let key = str::from_utf8(&bytes).ok().map(api_key).transpose()?.flatten();
    Ok(match key {
        Some(key) => Given::ApiKey(key),
        None => Given::Pem { bytes, name: "standard input".to_owned() },
    })
}

/// The argument as an API key; `None` if it must be the name of a file.
fn api_key(text: &str) -> Result<Option<ApiKey>> {
    match ApiKey::parse(text) {
        Ok(key) => Ok(Some(key)),
        // The text is not quoted: most of it may be a secret.
        Err(error) if text.trim_start().starts_with("kes:") => Err(error.into()),
        Err(_) => Ok(None),
    }
}

/// Reads the file that an argument names.
fn read(source: &str) -> Result<Zeroizing<Vec<u8>>> {
    let path = Path::new(source);
    if !path.exists() && may_be_secret(source) {
        bail!("the argument is neither a file nor an API key: {}", InvalidApiKey::Encoding);
    }
    file::read(path)
}

/// Whether a text may be an API key with a mistake in it, which no error may quote.
fn may_be_secret(text: &str) -> bool {
    /// An API key has 44 characters; a text with fewer than this is rather a name.
    const LEAST: usize = 32;
    let is_digit = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=');
    let text = text.trim();
    text.len() >= LEAST && text.bytes().filter(|byte| is_digit(*byte)).count() + 2 >= text.len()
}

/// The identity of the first certificate, whose private key a client proves to have.
fn of_certificates(pem: &[u8], path: &str) -> Result<Identity> {
    let chain = kes_tls::parse_certificates(pem).with_context(|| path.to_owned())?;
    let leaf = chain.first().with_context(|| format!("{path} holds no certificate"))?;
    let certificate = Certificate::parse(leaf).with_context(|| path.to_owned())?;
    if certificate.is_ca() {
        output::warning(&format!(
            "{path} is a CA certificate: a server does not accept it as the identity of a client"
        ));
    }
    Ok(Identity::of_public_key(certificate.public_key()))
}

fn print_identity(identity: Identity) -> Result<()> {
    let mut output = Output::new();
    if output.is_terminal() {
        return output.table(&[("Identity", identity.to_string())]);
    }
    output.print(&identity.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_self(json: &str) -> Info {
        Info::of_self(serde_json::from_str(json).unwrap())
    }

    #[test]
    fn a_mistyped_api_key_is_not_taken_for_the_name_of_a_file() {
        for secret in [
            "AK0EMJSWF6MenFj6N2vWnwh1UXJUiYT9zkXjLedN/Pm",
            "AK0EMJSWF6MenFj6N2vWnwh1UXJUiYT9zkXjLedN-Pm8",
            " AK0EMJSWF6MenFj6N2vWnwh1UXJUiYT9zkXjLedN/Pm8x",
        ] {
            assert!(may_be_secret(secret), "{secret}");
            let error = of(Some(secret.to_owned())).unwrap_err().to_string();
            assert!(!error.contains("AK0E") && error.contains("44 base64"), "{error}");
        }
        for name in ["nope", "/etc/kes/tls/client-certificate.of-minio.example.com.crt"] {
            assert!(!may_be_secret(name), "{name}");
        }
    }

    #[test]
    fn every_servers_self_description_is_understood() {
        let identity = "f922df75bd46199c3542cb491dc2116f3c51c9e60f660da9858b361b8020f42e";
        let head = format!(
            r#""identity":"{identity}","created_at":"2026-11-22T02:24:08Z","created_by":"a""#
        );
        for (rest, policy, allow) in [
            (r#""policy_name":"minio","allow":{"/a":{}},"deny":{}"#, "minio", "/a"),
            (r#""policy":"minio","allow":{"/a":{}}"#, "minio", "/a"),
            (
                r#""policy":{"name":"minio","allow":{"/a":{}},"deny":{},"created_at":"2026-11-22T02:24:08Z","created_by":"a"}"#,
                "minio",
                "/a",
            ),
        ] {
            let info = of_self(&format!("{{{head},{rest}}}"));
            assert_eq!(info.policy.as_deref(), Some(policy), "{rest}");
            let rows = info.rows();
            assert!(rows.contains(&("Allow", format!("{allow}\n"))), "{rest}: {rows:?}");
            assert!(rows.contains(&("Role", "User".into())), "{rest}");
        }
        let admin = of_self(&format!(
            r#"{{"identity":"{identity}","admin":true,"created_at":"2026-11-22T02:24:08Z"}}"#
        ));
        assert_eq!(
            admin.rows(),
            [
                ("Identity", identity.to_owned()),
                ("Created At", "2026-11-22 02:24:08".into()),
                ("Role", "Admin".into())
            ]
        );
    }
}
