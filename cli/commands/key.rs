//! `kes key`.

use std::io::{self, IsTerminal as _};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use kes_api::SecretBytes;
use kes_api::body::{
    DecryptRequest, DescribeKey, EncryptRequest, GenerateRequest, ImportRequest, ciphertext_json,
    generate_json, plaintext_json,
};
use kes_client::Error;
use tokio::time::timeout;

use super::connect::{Session, client, client_and_each};
use super::explain::Subject::{Import, Key};
use super::list;
use crate::args::{Connect, Format, KeyCommand, Names};
use crate::base64;
use crate::error::usage;
use crate::input::{Secrecy, Source};
use crate::output::{self, Output, clean};

/// How long `kes key rm` waits for each server to tell when a key was last used.
const DESCRIBE_LIMIT: Duration = Duration::from_secs(5);

pub(super) async fn run(command: KeyCommand) -> Result<()> {
    match command {
        KeyCommand::Create(names) => create(names).await,
        KeyCommand::Import { name, key, file, connect } => import(name, key, file, &connect).await,
        KeyCommand::Info { name, connect, format } => info(name, &connect, &format).await,
        KeyCommand::Ls { pattern, connect, format } => {
            list::keys(&client(&connect)?, pattern.as_deref(), &format).await
        }
        KeyCommand::Rm { names, force } => rm(names, force).await,
        KeyCommand::Encrypt { name, message, file, connect } => {
            encrypt(name, message, file, &connect).await
        }
        KeyCommand::Decrypt { name, ciphertext, context, file, connect } => {
            // With the file, the first argument after the name is the context.
            let (ciphertext, context) = match (&file, ciphertext, context) {
                (Some(_), context, None) => (None, context),
                (_, ciphertext, context) => (ciphertext, context),
            };
            decrypt(name, (ciphertext, file), context, &connect).await
        }
        KeyCommand::Dek { name, context, connect } => dek(name, context, &connect).await,
    }
}

async fn create(Names { names, connect }: Names) -> Result<()> {
    let names = given(names, "kes key create")?;
    let client = client(&connect)?;
    for name in &names {
        client
            .create_key(name)
            .await
            .map_err(|error| client.explain(error, Key(name)))
            .with_context(|| format!("failed to create key {name:?}"))?;
    }
    Ok(())
}

async fn import(
    name: Option<String>,
    key: Option<String>,
    file: Option<PathBuf>,
    connect: &Connect,
) -> Result<()> {
    const COMMAND: &str = "kes key import";
    let name = one(name, COMMAND)?;
    let source = Source::of(key, file, COMMAND)?;
    let source = source.ok_or_else(|| usage("no crypto key specified", COMMAND))?;
    let key = source.read("key in base64", Secrecy::Secret)?;
    let key = base64::decode(&*key);
    let key = key.map_err(|fault| usage(format!("invalid key: {fault}"), COMMAND))?;
    let client = client(connect)?;
    let len = key.expose().len();
    client
        .import_key(&name, &ImportRequest { key, cipher: "AES256".to_owned() })
        .await
        .map_err(|error| client.explain(error, Import(&name, len)))
        .with_context(|| format!("failed to import key {name:?}"))
}

async fn info(name: Option<String>, connect: &Connect, format: &Format) -> Result<()> {
    let name = one(name, "kes key info")?;
    let client = client(connect)?;
    let key = client
        .describe_key(&name)
        .await
        .map_err(|error| client.explain(error, Key(&name)))
        .context("failed to describe keys")?;
    let mut output = Output::with_color(format.color);
    if format.json {
        return output.json(&key);
    }
    let used = last_use_there(&key);
    let mut rows = vec![
        ("Name", key.name),
        ("Algorithm", key.algorithm),
        ("Date", key.created_at.to_table()),
        ("Owner", key.created_by),
    ];
    rows.extend(key.fingerprint.map(|fingerprint| ("Fingerprint", fingerprint)));
    rows.extend(used.map(|used| ("Last used", used)));
    output.table(&rows)
}

async fn rm(Names { names, connect }: Names, force: bool) -> Result<()> {
    let names = given(names, "kes key rm")?;
    let asks = !force && io::stdin().is_terminal() && io::stderr().is_terminal();
    let (client, servers) = match asks {
        true => client_and_each(&connect)?,
        false => (client(&connect)?, Vec::new()),
    };
    for name in &names {
        if asks && !confirm(&client, &servers, name).await? {
            bail!("key {name:?} was not removed");
        }
        client.delete_key(name).await.map_err(|error| not_removed(&client, error, name))?;
    }
    Ok(())
}

fn not_removed(client: &Session, error: Error, name: &str) -> anyhow::Error {
    client.explain(error, Key(name)).context(format!("failed to remove key {name:?}"))
}

/// Shows when a key was last used, and asks whether it is to be deleted. Each server knows its own uses
/// alone, so that all of them are asked.
async fn confirm(client: &Session, servers: &[Session], name: &str) -> Result<bool> {
    let (mut uses, mut fault, mut has_answer) = (Vec::new(), None, false);
    for server in servers {
        let used = match timeout(DESCRIBE_LIMIT, server.describe_key(name)).await {
            Ok(Ok(key)) => {
                let used = if servers.len() == 1 { last_use_there(&key) } else { last_use(&key) };
                used.unwrap_or_else(|| "the server does not tell".to_owned())
            }
            // Who may delete it need not be allowed to describe it, and it may be damaged.
            Ok(Err(Error::Status { status, message })) if status != 404 => {
                format!("not known: {message}")
            }
            Ok(Err(error)) => {
                uses.push(format!("not known: {error}"));
                fault.get_or_insert(error);
                continue;
            }
            Err(_) => format!("not known: no answer within {} s", DESCRIBE_LIMIT.as_secs()),
        };
        has_answer = true;
        uses.push(used);
    }
    if let Some(error) = fault.filter(|_| !has_answer) {
        return Err(not_removed(client, error, name));
    }
    let used = match &uses[..] {
        [used] => used.clone(),
        _ => {
            let of = |(server, used): (&Session, &String)| {
                let names: Vec<_> = server.endpoints().iter().map(ToString::to_string).collect();
                // A server chooses its messages: they stay in its row.
                format!("{}: {}", names.join(", "), clean(used))
            };
            servers.iter().zip(&uses).map(of).collect::<Vec<_>>().join("\n           ")
        }
    };
    output::ask(&format!(
        "Key        {name}\nLast used  {used}\nWhat it encrypted cannot be read without it. Delete it? [y/N] "
    ))
}

/// When a key was last used, and by whom. `None` from older servers and the reference, and for those
/// who may not delete the key. Each server knows its own uses alone.
fn last_use(key: &DescribeKey) -> Option<String> {
    let since = key.uses_known_since?.to_table();
    Some(match (&key.last_used_at, &key.last_used_by) {
        (None, _) => format!("not since {since} UTC"),
        (Some(at), Some(by)) => format!("{} UTC by {by}", at.to_table()),
        (Some(at), None) => format!("{} UTC by a client without an identity", at.to_table()),
    })
}

/// The same where one server of several may have been asked.
fn last_use_there(key: &DescribeKey) -> Option<String> {
    last_use(key).map(|used| format!("{used}, on the server that was asked"))
}

async fn encrypt(
    name: Option<String>,
    message: Option<String>,
    file: Option<PathBuf>,
    connect: &Connect,
) -> Result<()> {
    const COMMAND: &str = "kes key encrypt";
    let name = one(name, COMMAND)?;
    let source = Source::of(message, file, COMMAND)?;
    let source = source.ok_or_else(|| usage("no message specified", COMMAND))?;
    let mut message = source.read("message", Secrecy::Secret)?;
    let plaintext = SecretBytes::new(std::mem::take(&mut *message));
    let request = EncryptRequest { plaintext, context: SecretBytes::default() };
    let client = client(connect)?;
    let answer = client
        .encrypt(&name, &request)
        .await
        .map_err(|error| client.explain(error, Key(&name)))
        .context("failed to encrypt message")?;
    let mut output = Output::new();
    if output.is_terminal() {
        return output.secret_fields(&[("ciphertext", &answer.ciphertext)]);
    }
    output.secret(&[&ciphertext_json(answer.ciphertext.expose())])
}

async fn decrypt(
    name: Option<String>,
    (ciphertext, file): (Option<String>, Option<PathBuf>),
    context: Option<String>,
    connect: &Connect,
) -> Result<()> {
    const COMMAND: &str = "kes key decrypt";
    let name = one(name, COMMAND)?;
    let source = Source::of(ciphertext, file, COMMAND)?;
    let source = source.ok_or_else(|| usage("no ciphertext specified", COMMAND))?;
    let ciphertext = source.read("ciphertext in base64", Secrecy::Public)?;
    let ciphertext = base64::decode(&*ciphertext)
        .map_err(|fault| usage(format!("invalid ciphertext: {fault}"), COMMAND))?;
    let context = decode_context(context, COMMAND)?;
    let client = client(connect)?;
    let answer = client
        .decrypt(&name, &DecryptRequest { ciphertext, context })
        .await
        .map_err(|error| client.explain(error, Key(&name)))
        .context("failed to decrypt ciphertext")?;
    let mut output = Output::new();
    if output.is_terminal() {
        return output.secret_fields(&[("plaintext", &answer.plaintext)]);
    }
    output.secret(&[plaintext_json(answer.plaintext.expose()).expose()])
}

async fn dek(name: Option<String>, context: Option<String>, connect: &Connect) -> Result<()> {
    const COMMAND: &str = "kes key dek";
    let name = one(name, COMMAND)?;
    let context = decode_context(context, COMMAND)?;
    let client = client(connect)?;
    let answer = client
        .generate(&name, &GenerateRequest { context })
        .await
        .map_err(|error| client.explain(error, Key(&name)))
        .context("failed to generate data key")?;
    let mut output = Output::new();
    if output.is_terminal() {
        return output.secret_fields(&[
            ("plaintext", &answer.plaintext),
            ("ciphertext", &answer.ciphertext),
        ]);
    }
    let json = generate_json(answer.plaintext.expose(), answer.ciphertext.expose());
    output.secret(&[json.expose()])
}

fn decode_context(context: Option<String>, command: &str) -> Result<SecretBytes> {
    let Some(context) = context else { return Ok(SecretBytes::default()) };
    base64::decode(&context).map_err(|fault| usage(format!("invalid context: {fault}"), command))
}

/// A name. An empty one, as from a variable that is not set, counts as missing.
fn one(name: Option<String>, command: &str) -> Result<String> {
    name.filter(|name| !name.is_empty()).ok_or_else(|| usage("no key name specified", command))
}

/// At least one name.
fn given(names: Vec<String>, command: &str) -> Result<Vec<String>> {
    let names: Vec<String> = names.into_iter().filter(|name| !name.is_empty()).collect();
    if names.is_empty() { Err(usage("no key name specified", command)) } else { Ok(names) }
}
