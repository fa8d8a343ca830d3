//! `kes inspect`: what a ciphertext is, and which key opens it.

use anyhow::{Context as _, Result, bail};
use kes_api::body::DecryptRequest;
use kes_api::{SecretBytes, message};
use kes_client::Error;
use kes_crypto::{Cipher, Format, Inspected, inspect};
use serde::Serialize;

use super::connect::{Session, client};
use super::explain::Subject::{Key, Pattern};
use crate::args::{Connect, InspectArgs};
use crate::base64;
use crate::error::usage;
use crate::input::{Secrecy, Source};
use crate::output::{Output, clean};

const COMMAND: &str = "kes inspect";

/// The most keys that are tried. Each is a request, a line of the server's audit log, and for a key
/// that is not in its memory a call to the key store.
const MOST_TRIED: usize = 1_000;

/// The most keys that the key store may fail to give. One of them may be damaged; if it is more, all
/// others may fail too, and each takes its time.
const MOST_FAILED: usize = 3;

/// What is printed.
#[derive(Serialize)]
struct Report {
    format: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    algorithm: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_id: Option<String>,
    plaintext_size: usize,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    search: Option<Search>,
}

/// What the server said.
#[derive(Default, Serialize)]
struct Search {
    /// What opened it.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fingerprint: Option<String>,
    /// How many keys were tried, with the one that opened it.
    tried: usize,
    /// Keys that could not be tried.
    not_tried: Vec<NotTried>,
    /// Whether there are keys beyond [`MOST_TRIED`].
    has_more: bool,
}

#[derive(Serialize)]
struct NotTried {
    name: String,
    /// The server's.
    reason: String,
}

pub(super) async fn run(args: InspectArgs) -> Result<()> {
    // With the file, the first argument is the context.
    let (ciphertext, context) = match (&args.file, args.ciphertext, args.context) {
        (Some(_), context, None) => (None, context),
        (_, ciphertext, context) => (ciphertext, context),
    };
    let source = Source::of(ciphertext, args.file, COMMAND)?;
    let source = source.ok_or_else(|| usage("no ciphertext specified", COMMAND))?;
    let text = source.read("ciphertext in base64", Secrecy::Public)?;
    let decode = |what: &str, text: &[u8]| {
        base64::decode(text).map_err(|fault| usage(format!("invalid {what}: {fault}"), COMMAND))
    };
    let ciphertext = decode("ciphertext", &text)?;
    let context = decode("context", context.unwrap_or_default().as_bytes())?;
    let Some(found) = inspect(ciphertext.expose()) else {
        bail!(
            "it is no ciphertext: one has at least 44 bytes, and this has {}",
            ciphertext.expose().len()
        );
    };
    let mut report = Report::of(found);
    let asked = match args.offline {
        true => Ok(()),
        false => ask(&args.connect, &args.keys, (&ciphertext, &context), &mut report).await,
    };
    let mut output = Output::with_color(args.format.color);
    if args.format.json {
        output.json(&report)?;
    } else {
        output.table(&report.rows())?;
    }
    asked?;
    match &report.search {
        Some(Search { key: None, .. }) if context.expose().is_empty() => bail!(
            "no key that was tried opens it without a context; MinIO's ciphertexts have one, which is \
             needed to open them"
        ),
        Some(Search { key: None, .. }) => {
            bail!("no key that was tried opens it with this context")
        }
        _ => Ok(()),
    }
}

/// Asks the server which key opens the ciphertext. The report has what was found, also if it fails.
async fn ask(
    connect: &Connect,
    keys: &[String],
    sealed: (&SecretBytes, &SecretBytes),
    report: &mut Report,
) -> Result<()> {
    let client = client(connect)?;
    let mut search = Search::default();
    let names = if keys.is_empty() { listed(&client, &mut search).await? } else { keys.to_vec() };
    let search = report.search.insert(search);
    let mut failed = 0;
    for name in names {
        match open(&client, &name, sealed).await {
            Ok(true) => {
                search.tried += 1;
                // Who may decrypt need not be allowed to describe.
                if let Ok(described) = client.describe_key(&name).await {
                    report.algorithm = Some(described.algorithm);
                    search.fingerprint = described.fingerprint;
                }
                search.key = Some(name);
                break;
            }
            Ok(false) => search.tried += 1,
            Err(Error::Status { status: 400 | 403 | 404, message: reason }) => {
                search.not_tried.push(NotTried { name, reason });
            }
            Err(Error::Status { status: 502, message: reason }) if failed < MOST_FAILED => {
                failed += 1;
                search.not_tried.push(NotTried { name, reason });
            }
            // All others would fail as well, or be refused by a limit.
            Err(error) => {
                return Err(client.explain(error, Key(&name)))
                    .with_context(|| format!("failed to try key {name:?}"));
            }
        }
    }
    Ok(())
}

/// The names of the first keys.
async fn listed(client: &Session, search: &mut Search) -> Result<Vec<String>> {
    let (mut names, mut pattern) = (Vec::new(), String::new());
    loop {
        let page = client
            .list_keys_page(&pattern)
            .await
            .map_err(|error| client.explain(error, Pattern))
            .context("failed to list keys; --key names those to try")?;
        // A server that sends pages without names would go on for ever.
        let is_empty = page.names.is_empty();
        names.extend(page.names);
        let next = page.continue_at.filter(|next| !next.is_empty());
        search.has_more = names.len() > MOST_TRIED || next.is_some();
        match next {
            Some(next) if names.len() < MOST_TRIED && !is_empty => pattern = next,
            _ => break,
        }
    }
    names.truncate(MOST_TRIED);
    Ok(names)
}

/// Whether a key opens the ciphertext. The plaintext is wiped unseen.
async fn open(
    client: &Session,
    name: &str,
    (ciphertext, context): (&SecretBytes, &SecretBytes),
) -> Result<bool, Error> {
    let copy = |bytes: &SecretBytes| SecretBytes::new(bytes.expose().to_vec());
    let request = DecryptRequest { ciphertext: copy(ciphertext), context: copy(context) };
    match client.decrypt(name, &request).await {
        Ok(_) => Ok(true),
        Err(Error::Status { message, .. }) if message == message::NOT_AUTHENTIC.text => Ok(false),
        Err(error) => Err(error),
    }
}

impl Report {
    fn of(found: Inspected) -> Self {
        let Inspected { format, cipher, key_id, plaintext_len } = found;
        let format = match format {
            Format::Current => "current",
            Format::MessagePack => "MessagePack",
            Format::Json => "JSON",
        };
        let algorithm = cipher.map(|cipher: Cipher| cipher.name().to_owned());
        Self { format, algorithm, key_id, plaintext_size: plaintext_len, search: None }
    }

    /// Nothing in the current form says that it is a ciphertext: any bytes that are long enough may be.
    fn format_told(&self) -> String {
        let is_opened = self.search.as_ref().is_some_and(|search| search.key.is_some());
        let is_certain = is_opened || self.algorithm.is_some();
        format!("{}{}", self.format, if is_certain { "" } else { ", if it is a ciphertext" })
    }

    fn rows(&self) -> Vec<(&'static str, String)> {
        let unknown = || "AES256 or ChaCha20; the format does not tell".to_owned();
        let mut rows = vec![
            ("Format", self.format_told()),
            ("Algorithm", self.algorithm.clone().unwrap_or_else(unknown)),
        ];
        // Whoever made the ciphertext chose it: it stays in its row.
        let key_id = self.key_id.as_deref().map(clean);
        rows.extend(key_id.map(|id| ("Key ID", format!("{id} (not a name)"))));
        rows.push(("Plaintext", format!("{} bytes", self.plaintext_size)));
        let Some(search) = &self.search else { return rows };
        let key = match &search.key {
            Some(key) => key.clone(),
            None => format!("none of {} that were tried", search.tried),
        };
        rows.push(("Key", key));
        rows.extend(search.fingerprint.clone().map(|text| ("Fingerprint", text)));
        if search.key.is_none() {
            const MOST_NAMED: usize = 10;
            let mut not_tried: Vec<_> = search
                .not_tried
                .iter()
                .take(MOST_NAMED)
                .map(|NotTried { name, reason }| format!("{name}: {reason}"))
                .collect();
            if search.not_tried.len() > MOST_NAMED {
                not_tried.push(format!("and {} more keys", search.not_tried.len() - MOST_NAMED));
            }
            if search.has_more {
                not_tried
                    .push(format!("keys after the first {MOST_TRIED}; --key names those to try"));
            }
            if !not_tried.is_empty() {
                rows.push(("Not tried", not_tried.join("\n")));
            }
        }
        rows
    }
}
