//! `kes shadow`: parses, starts and ends. The shadow itself is a library (`shadow/`), and the
//! listener is that of the server.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use kes_client::ApiKey;
use kes_client::tls::{identity_from_files, identity_of};
use kes_server::Front;
use kes_shadow::{Clients, Options, Shadow, Side, Sides, Stores};
use rustls::sign::CertifiedKey;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use zeroize::Zeroizing;

use super::connect;
use crate::args::{AnswerOf, ShadowArgs, SharedOrNot};
use crate::error::usage;
use crate::output::{self, Output};
use crate::{file, password};

const COMMAND: &str = "kes shadow";

/// How an API key in a file begins.
const API_KEY: &[u8] = b"kes:v1:";

/// Passes requests on until it is told to stop.
pub(super) fn run(args: &ShadowArgs) -> Result<()> {
    let missing = |flag: &str, what: &str| usage(format!("no {what}: {flag}"), COMMAND);
    let old = args.to.clone().ok_or_else(|| missing("--to", "old server"))?;
    let new = args.new.clone().ok_or_else(|| missing("--new", "new server"))?;
    let key = args.key.clone().ok_or_else(|| missing("--key", "private key"))?;
    let cert = args.cert.clone().ok_or_else(|| missing("--cert", "certificate"))?;
    if args.proxy && !args.client.is_empty() {
        return Err(usage("--proxy and --client are both specified", COMMAND));
    }
    if args.summary.is_zero() {
        return Err(usage("--summary is 0", COMMAND));
    }
    // Before any secret is in memory.
    kes_server::harden();
    kes_server::check_files()?;
    let listener = Listener::new(key, cert)?;
    let certified = listener.load()?;
    let (trust, _) = connect::trust(&args.connect)?;
    let options = Options {
        servers: Sides { old, new },
        trust,
        clients: clients(args)?,
        answers: match args.answer {
            AnswerOf::Old => Side::Old,
            AnswerOf::New => Side::New,
        },
        stores: match args.stores {
            SharedOrNot::Shared => Stores::Shared,
            SharedOrNot::Separate => Stores::Separate,
        },
        names: args.names,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("failed to start")?;
    let result = runtime.block_on(serve(args, options, listener, certified));
    // Does not wait for threads that a name server blocks.
    runtime.shutdown_background();
    result
}

async fn serve(
    args: &ShadowArgs,
    options: Options,
    listener: Listener,
    certified: Arc<CertifiedKey>,
) -> Result<()> {
    const SIGNALS: &str = "failed to listen for signals";
    let [interrupt, terminate, hangup] =
        [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()].map(signal);
    let (mut interrupt, mut terminate, mut hangup) =
        (interrupt.context(SIGNALS)?, terminate.context(SIGNALS)?, hangup.context(SIGNALS)?);
    let mut out = Output::new();
    // A reader that has gone away ends nothing: clients use keys.
    let print = move |line: &str| {
        let _ = out.json_line(line);
    };
    let shadow = Shadow::new(options, print)?;
    let front = Front::start(&args.addr, certified, Arc::clone(&shadow)).await?;
    let (certificates, renewed) = mpsc::channel(1);
    let addresses = front.addresses()?;
    let begun = Arc::clone(&shadow);
    // The servers may be slow to say who they are.
    tokio::spawn(async move { begun.begin(&addresses).await });
    let mut summaries = tokio::time::interval(args.summary);
    summaries.tick().await;
    let stop = async {
        loop {
            tokio::select! {
                _ = interrupt.recv() => return,
                _ = terminate.recv() => return,
                _ = hangup.recv() => match listener.load() {
                    Ok(certified) => {
                        let _ = certificates.send(certified).await;
                    }
                    Err(error) => output::warning(&format!(
                        "the certificate was not read again, the old one stays in use: {error:#}"
                    )),
                },
                _ = summaries.tick() => shadow.summarize(),
            }
        }
    };
    front.run(renewed, stop).await;
    shadow.end().await;
    Ok(())
}

/// The files of the listener.
struct Listener {
    key: PathBuf,
    cert: PathBuf,
    /// Of an encrypted private key; asked for once.
    password: Option<Zeroizing<String>>,
}

impl Listener {
    fn new(key: PathBuf, cert: PathBuf) -> Result<Self> {
        let is_encrypted = kes_tls::is_encrypted(&file::read(&key)?);
        file::check(&cert)?;
        let password = if is_encrypted { Some(password::of(&key)?) } else { None };
        Ok(Self { key, cert, password })
    }

    fn load(&self) -> Result<Arc<CertifiedKey>> {
        let password = self.password.as_ref().map(|password| password.as_str());
        let certified = kes_tls::load_certified_key(&self.cert, &self.key, password)?;
        let leaf = certified.end_entity_cert()?;
        kes_tls::check_server_certificate(leaf).with_context(|| self.cert.display().to_string())?;
        Ok(certified)
    }
}

/// Whose requests are passed on, and with which credentials.
fn clients(args: &ShadowArgs) -> Result<Clients> {
    if args.proxy {
        return Ok(Clients::Any(connect::identity(None)?.0));
    }
    let mut listed = Vec::new();
    let mut own = None;
    for client in args.client.iter().flat_map(|list| &list.0) {
        let credential = match (&client.file, &own) {
            (Some(path), _) => credential(path)?,
            (None, Some(own)) => Arc::clone(own),
            (None, None) => Arc::clone(own.insert(connect::identity(None)?.0)),
        };
        listed.push((client.identity, credential));
    }
    if listed.is_empty() {
        let (own, caller) = connect::identity(None)?;
        let identity = caller.identity().context("the client certificate gives no identity")?;
        listed.push((identity, own));
    }
    Ok(Clients::Listed(listed))
}

/// The credential in a file: an API key, or a private key and its certificate.
fn credential(path: &Path) -> Result<Arc<CertifiedKey>> {
    let bytes = file::read(path)?;
    let name = || path.display().to_string();
    if bytes.trim_ascii_start().starts_with(API_KEY) {
        let text = std::str::from_utf8(&bytes).with_context(name)?;
        let key = ApiKey::parse(text.trim()).with_context(name)?;
        return Ok(identity_of(&key)?);
    }
    let password = if kes_tls::is_encrypted(&bytes) { Some(password::of(path)?) } else { None };
    let password = password.as_ref().map(|password| password.as_str());
    Ok(identity_from_files(path, path, password)?)
}
