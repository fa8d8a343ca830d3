//! From the environment and the flags to a client.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use kes_client::tls::{self, Trust};
use kes_client::{ApiKey, Client, Endpoints};
use rustls::sign::CertifiedKey;

use crate::args::Connect;
use crate::env::{self, Credentials};
use crate::{file, password};

/// A client of the servers of the environment.
pub(super) fn client(connect: &Connect) -> Result<Client> {
    client_with(connect, None, None)
}

/// A client; a server and an API key of the command line win over those of the environment.
pub(super) fn client_with(
    connect: &Connect,
    server: Option<&str>,
    api_key: Option<&str>,
) -> Result<Client> {
    let identity = identity(api_key)?;
    let server = server.map_or_else(|| env::process().server(), str::to_owned);
    make(&server, connect, identity)
}

/// A client for each of the servers of the environment, with the server's text.
pub(super) fn clients(connect: &Connect) -> Result<Vec<Client>> {
    let identity = identity(None)?;
    let servers = env::process().server();
    // What stands between commas may be nothing; all of it together must name a server.
    let _: Endpoints = servers.parse()?;
    servers
        .split(',')
        .filter(|server| !server.trim().is_empty())
        .map(|server| make(server, connect, Arc::clone(&identity)))
        .collect()
}

fn make(servers: &str, connect: &Connect, identity: Arc<CertifiedKey>) -> Result<Client> {
    let trust = match env::process().ca_path() {
        _ if connect.insecure => Trust::DangerAny,
        Some(path) => {
            file::check(&path)?;
            Trust::SystemAnd(path)
        }
        None => Trust::System,
    };
    let endpoints: Endpoints = servers.parse()?;
    Ok(Client::new(endpoints, tls::config(&trust, Some(identity))?)?)
}

fn identity(api_key: Option<&str>) -> Result<Arc<CertifiedKey>> {
    match env::process().credentials(api_key)? {
        Credentials::ApiKey(text) => {
            let key = ApiKey::parse(&text).context("invalid API key")?;
            Ok(tls::identity_of(&key)?)
        }
        Credentials::Files { key, cert } => {
            let encrypted = kes_tls::is_encrypted(&file::read(&key)?);
            file::check(&cert)?;
            let password = if encrypted { Some(password::of(&key)?) } else { None };
            let password = password.as_ref().map(|password| password.as_str());
            Ok(tls::identity_from_files(&cert, &key, password)?)
        }
    }
}
