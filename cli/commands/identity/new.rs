//! `kes identity new`.

use std::time::SystemTime;

use anyhow::{Result, bail};
use kes_api::Timestamp;
use kes_client::{ApiKey, SelfSigned, Usage, certificate_to_pem};

use crate::args::NewIdentity;
use crate::error::usage;
use crate::file::{self, Access};
use crate::output::{self, LABEL, Output};
use crate::password;

/// Makes an API key, and the requested files.
pub(super) fn run(args: &NewIdentity) -> Result<()> {
    check(args)?;
    let key = ApiKey::generate()?;
    let until = write_files(args, &key)?;
    print(&key)?;
    let mut output = Output::new();
    for (what, path) in [("private key", &args.key), ("certificate", &args.cert)] {
        if let Some(path) = path {
            output.print(&format!("\nThe {what} is stored at: {}", path.display()))?;
        }
    }
    if let (Some(path), Some(until)) = (&args.cert, until) {
        // Not on standard output, which scripts parse.
        output::note(&format!(
            "the certificate {} expires on {} UTC; --expiry sets another time",
            path.display(),
            Timestamp::from(until).to_table()
        ));
    }
    Ok(())
}

/// `kes identity` without an argument. Into a pipe it prints only the API key.
pub(super) fn api_key() -> Result<()> {
    let key = ApiKey::generate()?;
    let mut output = Output::new();
    if output.is_terminal() {
        return print(&key);
    }
    output.secret(&[key.expose().as_bytes(), b"\n"])
}

/// Checks the arguments before anything is written.
fn check(args: &NewIdentity) -> Result<()> {
    const COMMAND: &str = "kes identity new";
    if args.encrypt && args.key.is_none() {
        return Err(usage("no private key file specified to encrypt: --key", COMMAND));
    }
    if args.cert.is_none() && !(args.ips().is_empty() && args.domains().is_empty()) {
        return Err(usage("no certificate file specified: --cert", COMMAND));
    }
    if let (Some(key), Some(cert)) = (&args.key, &args.cert)
        && file::is_same(key, cert)
    {
        return Err(usage("--key and --cert name the same file", COMMAND));
    }
    for path in [&args.key, &args.cert].into_iter().flatten() {
        if !args.force && path.exists() {
            bail!("{} exists: --force overwrites it", path.display());
        }
    }
    Ok(())
}

/// Writes the requested files, or none of them. Returns when the certificate expires.
fn write_files(args: &NewIdentity, key: &ApiKey) -> Result<Option<SystemTime>> {
    let identity = key.identity().to_string();
    let (certificate, private) = key.certificate_with(&SelfSigned {
        subject: args.subject.as_deref().filter(|text| !text.is_empty()).unwrap_or(&identity),
        dns: &args.domains(),
        ips: &args.ips(),
        validity: args.expiry(),
        usage: Usage::ServerAndClient,
    })?;
    let mut staged = Vec::new();
    if let Some(path) = &args.key {
        let password = if args.encrypt { Some(password::new_for(path)?) } else { None };
        let pem = private.to_pem(password.as_ref().map(|password| password.as_str()))?;
        staged.push(file::stage(path, pem.as_bytes(), Access::Private, args.force)?);
    }
    if let Some(path) = &args.cert {
        let pem = certificate_to_pem(&certificate);
        staged.push(file::stage(path, pem.as_bytes(), Access::Public, args.force)?);
    }
    // The private key last: an old one is lost only when nothing can fail any more.
    while let Some(file) = staged.pop() {
        file.commit()?;
    }
    Ok(kes_tls::validity(&certificate).ok().map(|validity| validity.until))
}

fn print(key: &ApiKey) -> Result<()> {
    let mut output = Output::new();
    output.print("Your API key:\n\n")?;
    output.secret(&[b"   ", key.expose().as_bytes(), b"\n"])?;
    output.print(&format!(
        "
This is the only time it is shown. Keep it secret.

Your Identity:

   {LABEL}{}{LABEL:#}

The identity is not a secret: add it to a server's policy to grant this client access.
",
        key.identity()
    ))
}
