//! The three requests that get a token, renew it, and ask whether it is valid; each is sent once.
//!
//! `vaultrs` defines their bodies and those of the answers. Its own client does not send them: it
//! follows redirects with the token, has no limit for an answer, panics on a token that is not a
//! header value, and shows secrets in its `Debug` and error texts.

use std::io::Read;
use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::HeaderValue;
use http::{Method, StatusCode};
use rustify::Endpoint;
use vaultrs::api::auth::approle::requests::LoginWithApproleRequest;
use vaultrs::api::auth::kubernetes::requests::LoginWithKubernetesRequest;
use vaultrs::api::token::requests::RenewTokenSelfRequest;
use vaultrs::api::{AuthInfo, EndpointResult};
use zeroize::{Zeroize, Zeroizing};

use super::call::{Call, Capability};
use super::client::{Client, Credentials};
use super::fault::Fault;
use super::paths;
use crate::config::{AppRoleSecret, ConfiguredPath, Jwt, Login, SecretText};
use crate::files_hint;
use crate::remote::{self, ANSWER_LIMIT, Answer, Request, wiped_bytes};

/// The longest answer to a login; one with many policies and metadata has some KiB.
const MAX_LEN: usize = 256 * 1024;

/// A secret ID has 36 characters, a service account's token some KiB.
const MAX_SECRET_LEN: u64 = 64 * 1024;

/// A token, as Vault gave it.
pub(super) struct Grant {
    /// Marked as sensitive, so that it shows in no `Debug`, and wiped when the last user drops it.
    pub(super) header: HeaderValue,
    /// Zero for a token that does not expire.
    pub(super) ttl: Duration,
    pub(super) renewable: bool,
    pub(super) since: Instant,
}

/// Logs in.
pub(super) async fn log_in(
    client: &Client,
    login: &Login,
    namespace: Option<&HeaderValue>,
) -> Result<Grant, Fault> {
    let (path, body) = request(login).await?;
    let call = call(path, Some(body));
    let start = Instant::now();
    let role = match login {
        Login::Kubernetes { role, .. } => Some(role.as_str()),
        Login::AppRole { .. } => None,
    };
    let who = Credentials { token: None, namespace, role };
    match client.send(&call, who).await {
        Ok(answer) => grant(&answer, start),
        Err(fault) => Err(failed(login, &fault, namespace)),
    }
}

/// Renews a token.
pub(super) async fn renew(client: &Client, who: Credentials<'_>) -> Result<Grant, Fault> {
    let body = RenewTokenSelfRequest::default().body().ok().flatten().map(wiped_bytes);
    let call = call(paths::encode(&["auth/token/renew-self"]), body);
    let start = Instant::now();
    grant(&client.send(&call, who).await?, start)
}

/// Whether Vault knows a token. The policy `default` allows every token to ask this of itself;
/// without that policy Vault refuses the question with another text than for an unknown token.
pub(super) async fn knows(client: &Client, who: Credentials<'_>) -> Result<bool, Fault> {
    let mut call = call(paths::encode(&["auth/token/lookup-self"]), None);
    call.request.method = Method::GET;
    call.request.repeatable = true;
    match client.send(&call, who).await {
        Ok(_) => Ok(true),
        Err(fault) if fault.is_denied_by_policy() => Ok(true),
        Err(fault) if fault.status().is_some_and(|status| status.is_client_error()) => Ok(false),
        Err(fault) => Err(fault),
    }
}

/// Path and body of a login.
async fn request(login: &Login) -> Result<(String, Bytes), Fault> {
    let (engine, body) = match login {
        Login::AppRole { engine, id, secret, .. } => {
            let secret = match secret {
                AppRoleSecret::Literal(secret) => copy(secret),
                AppRoleSecret::File(path) => read("AppRole", path).await?,
            };
            let mut request = LoginWithApproleRequest {
                mount: engine.clone(),
                role_id: id.clone(),
                secret_id: secret.as_str().to_owned(),
            };
            let body = request.body();
            request.secret_id.zeroize();
            (engine, body)
        }
        Login::Kubernetes { engine, role, jwt, .. } => {
            let jwt = match jwt {
                Jwt::Literal(jwt) => copy(jwt),
                Jwt::File(path) => read("Kubernetes", path).await?,
            };
            let mut request = LoginWithKubernetesRequest {
                mount: engine.clone(),
                role: role.clone(),
                jwt: jwt.as_str().to_owned(),
            };
            let body = request.body();
            request.jwt.zeroize();
            (engine, body)
        }
    };
    #[expect(clippy::expect_used, reason = "texts are JSON")]
    let body = body.ok().flatten().expect("texts are JSON");
    Ok((paths::encode(&["auth", engine, "login"]), wiped_bytes(body)))
}

fn call(path: String, body: Option<Bytes>) -> Call {
    Call {
        request: Request {
            method: Method::POST,
            path,
            query: None,
            body,
            // A second login would leave a token that nobody uses, and a secret ID may be valid for
            // one login alone.
            repeatable: false,
            max_len: MAX_LEN,
            limit: ANSWER_LIMIT,
            sends: None,
        },
        right: Capability::Update,
        judges_denial: false,
        shown_path: None,
        // A node that lags behind does not know a secret ID that was just created.
        consistent: true,
    }
}

fn grant(answer: &Answer, since: Instant) -> Result<Grant, Fault> {
    let unusable = |reason: &str| Fault::BadAnswer {
        endpoint: answer.endpoint.clone(),
        reason: reason.to_owned(),
    };
    let result: EndpointResult<serde::de::IgnoredAny> = remote::from_json(answer.body.expose())
        .map_err(|bad| Fault::bad_answer(&answer.endpoint, bad))?;
    let AuthInfo { client_token, lease_duration, renewable, .. } =
        result.auth.ok_or_else(|| unusable("it holds no token"))?;
    let mut header = HeaderValue::from_maybe_shared(wiped_bytes(client_token.into_bytes()))
        .map_err(|_| unusable("the token contains characters that a token cannot have"))?;
    header.set_sensitive(true);
    Ok(Grant { header, ttl: Duration::from_secs(lease_duration), renewable, since })
}

/// The error of a login that failed, with what an operator can check.
fn failed(login: &Login, fault: &Fault, namespace: Option<&HeaderValue>) -> Fault {
    let (method, section, engine, hint, ranges) = match login {
        Login::AppRole { engine, secret, .. } => {
            let secret = match secret {
                AppRoleSecret::Literal(_) => "`approle.secret`".to_owned(),
                AppRoleSecret::File(path) => {
                    format!("file '{}' of `approle.secret_file`", path.display())
                }
            };
            let hint = format!(
                "check `approle.id` and {secret}: the role must exist, and the secret ID must be \
                 one of that role, not expired and not used up"
            );
            let ranges = "`secret_id_bound_cidrs` and `token_bound_cidrs`";
            ("AppRole", "approle", engine, hint, ranges)
        }
        Login::Kubernetes { engine, jwt, .. } => {
            let jwt = match jwt {
                Jwt::Literal(_) => "`kubernetes.jwt`".to_owned(),
                Jwt::File(path) => format!("file '{}' of `kubernetes.jwt`", path.display()),
            };
            let hint = format!(
                "check `kubernetes.role` and {jwt}: the role must exist and be bound to the \
                 service account, and the token must be valid"
            );
            ("Kubernetes", "kubernetes", engine, hint, "`token_bound_cidrs`")
        }
    };
    let reachable = !fault.is_unreachable();
    let reason = fault.to_string();
    let namespace = namespace.and_then(|namespace| namespace.to_str().ok()).unwrap_or_default();
    let or_elsewhere = if namespace.is_empty() {
        "; the login is in no namespace: if the role is in one, set `namespace`"
    } else {
        ""
    };
    let reason = match fault.status() {
        _ if fault.is_without_namespace() => {
            format!("auth/{engine}/login: {reason}: namespace '{namespace}' does not exist")
        }
        // AppRole says so; for the token of a Kubernetes login Vault says no more than 403.
        Some(status) if status.is_client_error() && reason.contains("CIDR") => {
            format!(
                "auth/{engine}/login: {reason}; the role is bound to addresses: {ranges} of the \
                 role must include the one that Vault sees of this server"
            )
        }
        Some(StatusCode::FORBIDDEN | StatusCode::NOT_FOUND) => {
            format!(
                "auth/{engine}/login: {reason}; check `{section}.engine`: a login engine must be \
                 mounted at auth/{engine}, in this namespace; if it is, {hint}; and where the role \
                 is bound to addresses, {ranges} must include that of this server{or_elsewhere}"
            )
        }
        Some(status) if status.is_client_error() => {
            format!("auth/{engine}/login: {reason}; {hint}{or_elsewhere}")
        }
        _ => reason,
    };
    refused_login(method, &reason, reachable, fault.may_pass())
}

fn refused_login(method: &str, reason: &str, reachable: bool, may_pass: bool) -> Fault {
    let reason = format!("login to Vault by {method} failed: {reason}");
    Fault::Login { reason, reachable, may_pass }
}

fn copy(secret: &SecretText) -> Zeroizing<String> {
    Zeroizing::new(secret.expose().to_owned())
}

/// Reads a secret from a file, without the line end.
async fn read(method: &'static str, path: &ConfiguredPath) -> Result<Zeroizing<String>, Fault> {
    let failed = |reason: String| {
        let fault = format!("cannot use file '{}': {reason}", path.display());
        refused_login(method, &path.blame(fault), true, false)
    };
    let file = path.to_path_buf();
    tokio::task::spawn_blocking(move || read_file(&file))
        .await
        .unwrap_or_else(|_| Err("the thread that reads it ended".to_owned()))
        .map_err(failed)
}

fn read_file(path: &Path) -> Result<Zeroizing<String>, String> {
    let file =
        kes_tls::open_file(path).map_err(|error| format!("{error}{}", files_hint(&error)))?;
    // Allocated at its full size: a buffer that grows leaves a copy of the secret behind.
    #[expect(clippy::expect_used, reason = "64 KiB is a size")]
    let limit = usize::try_from(MAX_SECRET_LEN).expect("64 KiB is a size") + 1;
    let mut bytes = Zeroizing::new(Vec::with_capacity(limit));
    file.take(MAX_SECRET_LEN + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if bytes.len() == limit {
        return Err(format!("it is longer than {MAX_SECRET_LEN} bytes"));
    }
    let text = std::str::from_utf8(&bytes).map_err(|_| "it is no text".to_owned())?.trim();
    if text.is_empty() {
        return Err("it is empty".to_owned());
    }
    Ok(Zeroizing::new(text.to_owned()))
}
