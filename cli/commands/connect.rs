//! Makes a client from the environment and the flags.

use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result, anyhow};
use kes_client::tls::{self, Trust};
use kes_client::{ApiKey, Client, Endpoints, Error};
use rustls::sign::CertifiedKey;

use super::explain::{self, Caller, Subject};
use super::server::dev;
use crate::args::Connect;
use crate::env::{self, Credentials, Named};
use crate::output;
use crate::{file, password};

/// A client, and its identity to the server.
pub(super) struct Session {
    client: Client,
    pub(super) caller: Caller,
}

impl Session {
    /// Adds an explanation to the error of a request about a subject.
    pub(super) fn explain(&self, error: Error, subject: Subject<'_>) -> anyhow::Error {
        explain::explain(error, subject, &self.caller)
    }
}

impl Deref for Session {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

/// This client, as a server would see it.
pub(super) fn caller() -> Result<Caller> {
    identity(None).map(|(_, caller)| caller)
}

/// A client of the servers of the environment.
pub(super) fn client(connect: &Connect) -> Result<Session> {
    client_with(connect, None, None)
}

/// A client. A server and an API key from the command line win over those of the environment.
pub(super) fn client_with(
    connect: &Connect,
    server: Option<&str>,
    api_key: Option<&str>,
) -> Result<Session> {
    let (identity, caller) = identity(api_key)?;
    let server = server.map_or_else(
        || env::process().server(),
        |server| Named { name: "--server", value: server.to_owned() },
    );
    let endpoints = endpoints(&https(&server))?;
    Ok(Session { client: make(endpoints, connect, identity)?, caller })
}

/// A client for each of the servers of the environment.
pub(super) fn clients(connect: &Connect) -> Result<Vec<Session>> {
    client_and_each(connect).map(|(_, each)| each)
}

/// A client of the servers of the environment, and one for each of them.
pub(super) fn client_and_each(connect: &Connect) -> Result<(Session, Vec<Session>)> {
    let (identity, caller) = identity(None)?;
    let servers = https(&env::process().server());
    // Items may be empty, but there must be a server.
    let all = make(endpoints(&servers)?, connect, Arc::clone(&identity))?;
    let each: Result<Vec<Session>> = servers
        .value
        .split(',')
        .filter(|server| !server.trim().is_empty())
        .map(|server| {
            let endpoints = endpoints(&Named { name: servers.name, value: server.to_owned() })?;
            let client = make(endpoints, connect, Arc::clone(&identity))?;
            Ok(Session { client, caller: caller.clone() })
        })
        .collect();
    Ok((Session { client: all, caller: caller.clone() }, each?))
}

/// Replaces `http://` by `https://`, as the reference does.
fn https(servers: &Named<String>) -> Named<String> {
    const HTTP: &str = "http://";
    let mut is_changed = false;
    let items: Vec<String> = servers
        .value
        .split(',')
        .map(|item| match item.trim().split_at_checked(HTTP.len()) {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case(HTTP) => {
                is_changed = true;
                format!("https://{rest}")
            }
            _ => item.to_owned(),
        })
        .collect();
    if is_changed {
        // The value is not quoted: it may contain a password.
        output::warning(&format!(
            "{} says http://, https:// is used: key servers speak HTTPS only",
            servers.name
        ));
    }
    Named { name: servers.name, value: items.join(",") }
}

fn endpoints(servers: &Named<String>) -> Result<Endpoints> {
    servers.value.parse::<Endpoints>().context(servers.name)
}

fn make(endpoints: Endpoints, connect: &Connect, identity: Arc<CertifiedKey>) -> Result<Client> {
    let (trust, name) = trust(connect)?;
    let tls = tls::config(&trust, Some(identity));
    let tls = match name {
        Some(name) => tls.context(name)?,
        None => tls?,
    };
    Ok(Client::new(endpoints, tls))
}

/// Which servers are trusted, and the variable that says so, if one does.
pub(super) fn trust(connect: &Connect) -> Result<(Trust, Option<&'static str>)> {
    Ok(match env::process().ca_path() {
        _ if connect.insecure => (Trust::DangerAny, None),
        Some(path) => {
            check_ca(&path.value).context(path.name)?;
            (Trust::SystemAnd(path.value), Some(path.name))
        }
        None => (Trust::System, None),
    })
}

/// Checks that there is a file or folder of CAs. The certificate of a dev server goes with it.
fn check_ca(path: &Path) -> Result<()> {
    file::check(path).map_err(|error| {
        let is_of_dev_server = path.file_name().is_some_and(dev::is_certificate_file);
        if !is_of_dev_server || path.exists() {
            return error;
        }
        anyhow!("{error}; the dev server that made it has ended: paste the settings that the next one prints")
    })
}

/// The credential of the environment, or an API key of the command line.
pub(super) fn identity(api_key: Option<&str>) -> Result<(Arc<CertifiedKey>, Caller)> {
    match env::process().credentials(api_key)? {
        Credentials::ApiKey(text) => {
            let key = ApiKey::parse(&text.value).context(text.name)?;
            Ok((tls::identity_of(&key)?, Caller::of_api_key(key.identity(), text.name)))
        }
        Credentials::Files { key, cert } => {
            let encrypted = kes_tls::is_encrypted(&file::read(&key)?);
            file::check(&cert)?;
            let password = if encrypted { Some(password::of(&key)?) } else { None };
            let password = password.as_ref().map(|password| password.as_str());
            let identity = tls::identity_from_files(&cert, &key, password)?;
            let caller = Caller::of_chain(&identity.cert, &cert);
            Ok((identity, caller))
        }
    }
}
