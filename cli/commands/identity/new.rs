//! `kes identity new`.

use anyhow::{Result, bail};
use kes_client::{ApiKey, SelfSigned, Usage, certificate_to_pem};
use zeroize::Zeroizing;

use crate::args::NewIdentity;
use crate::error::usage;
use crate::file::{self, Access};
use crate::output::{LABEL, Output};
use crate::password;

/// Makes an API key, and what files are asked for.
pub(super) fn run(args: &NewIdentity) -> Result<()> {
    check(args)?;
    let key = ApiKey::generate()?;
    write_files(args, &key)?;
    print(&key)?;
    let mut output = Output::new();
    for (what, path) in [("private key", &args.key), ("certificate", &args.cert)] {
        if let Some(path) = path {
            output.print(&format!("\nThe {what} is stored at: {}", path.display()))?;
        }
    }
    Ok(())
}

/// `kes identity` without an argument: into a pipe, the API key alone.
pub(super) fn api_key() -> Result<()> {
    let key = ApiKey::generate()?;
    let mut output = Output::new();
    if output.is_terminal() {
        return print(&key);
    }
    output.secret(Zeroizing::new(format!("{}\n", *key.expose())).as_bytes())
}

/// All that can be wrong is found before anything is written.
fn check(args: &NewIdentity) -> Result<()> {
    const COMMAND: &str = "kes identity new";
    if args.encrypt && args.key.is_none() {
        return Err(usage("no private key file specified to encrypt: --key", COMMAND));
    }
    if args.cert.is_none() && !(args.ip.is_empty() && args.dns.is_empty()) {
        return Err(usage("no certificate file specified: --cert", COMMAND));
    }
    if args.key.is_some() && args.key == args.cert {
        return Err(usage("--key and --cert name the same file", COMMAND));
    }
    for path in [&args.key, &args.cert].into_iter().flatten() {
        if !args.force && path.exists() {
            bail!("{} exists: --force overwrites it", path.display());
        }
    }
    Ok(())
}

fn write_files(args: &NewIdentity, key: &ApiKey) -> Result<()> {
    let identity = key.identity().to_string();
    let (certificate, private) = key.certificate_with(&SelfSigned {
        subject: args.subject.as_deref().unwrap_or(&identity),
        dns: &args.dns,
        ips: &args.ip,
        validity: args.expiry,
        usage: Usage::ServerAndClient,
    })?;
    if let Some(path) = &args.key {
        let password = if args.encrypt { Some(password::new_for(path)?) } else { None };
        let pem = private.to_pem(password.as_ref().map(|password| password.as_str()))?;
        file::write(path, pem.as_bytes(), Access::Private, args.force)?;
    }
    if let Some(path) = &args.cert {
        let pem = certificate_to_pem(&certificate);
        file::write(path, pem.as_bytes(), Access::Public, args.force)?;
    }
    Ok(())
}

fn print(key: &ApiKey) -> Result<()> {
    let mut output = Output::new();
    output.print("Your API key:\n\n")?;
    output.secret(Zeroizing::new(format!("   {}\n", *key.expose())).as_bytes())?;
    output.print(&format!(
        "
This is the only time it is shown. Keep it secret.

Your Identity:

   {LABEL}{}{LABEL:#}

The identity is not a secret: servers are told by it whom to let in.
",
        key.identity()
    ))
}
