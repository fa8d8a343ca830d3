//! What seals and opens a backup, as a command line names it.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, bail};
use kes_backup::age::{self, Opening, Recipient, Sealing};
use zeroize::Zeroizing;

use crate::args::{BackupArgs, OpenBackup, Passphrase};
use crate::error::usage;
use crate::input::{STDIN, Secrecy, Source};
use crate::password;

/// For whom a new backup is sealed.
pub(super) enum Seal {
    Recipients(Vec<Recipient>),
    Passphrase(Zeroizing<String>),
}

impl Seal {
    /// As the command line says; asks for a passphrase.
    ///
    /// # Errors
    /// If it says nothing or two things, or a recipient is none.
    pub(super) fn of(args: &BackupArgs, file: &Path, command: &str) -> Result<Self> {
        let has_recipients = !args.recipients.is_empty() || args.recipients_file.is_some();
        match (has_recipients, &args.passphrase) {
            (false, Passphrase { passphrase: false, passphrase_file: None }) => {
                let text =
                    "nobody could open it: specify --recipient, --recipients-file or --passphrase";
                Err(usage(text, command))
            }
            (true, Passphrase { passphrase: false, passphrase_file: None }) => {
                recipients(args, command).map(Self::Recipients)
            }
            (true, _) => Err(usage(
                "a recipient and a passphrase are specified: age files have one of both",
                command,
            )),
            (false, passphrase) => read(passphrase, file, true).map(Self::Passphrase),
        }
    }

    pub(super) fn sealing(&self) -> Sealing<'_> {
        match self {
            Self::Recipients(recipients) => Sealing::Recipients(recipients),
            Self::Passphrase(passphrase) => Sealing::Passphrase(passphrase),
        }
    }
}

fn recipients(args: &BackupArgs, command: &str) -> Result<Vec<Recipient>> {
    let mut recipients = Vec::new();
    for text in &args.recipients {
        // The text is not quoted: it may be an identity.
        let parsed = text.parse().map_err(|error| usage(format!("--recipient: {error}"), command));
        recipients.push(parsed?);
    }
    if let Some(path) = &args.recipients_file {
        let text = Source::File(path.clone()).read("recipients", Secrecy::Public)?;
        recipients.extend(lines(path, &text, age::recipients)?);
    }
    if recipients.len() > age::MAX_RECIPIENTS {
        bail!(age::Error::Recipients);
    }
    Ok(recipients)
}

/// What opens a backup; `None` if the command line does not say.
///
/// # Errors
/// If it says two things, or an identity is none.
pub(super) fn opening(args: &OpenBackup, file: &Path, command: &str) -> Result<Option<Opening>> {
    match (&args.identity, &args.passphrase) {
        (None, Passphrase { passphrase: false, passphrase_file: None }) => Ok(None),
        (Some(path), Passphrase { passphrase: false, passphrase_file: None }) => {
            let source = match path.as_os_str() == STDIN {
                true => Source::Stdin,
                false => Source::File(path.clone()),
            };
            let text = source.read("identity", Secrecy::Secret)?;
            lines(path, &text, age::identities).map(|found| Some(Opening::Identities(found)))
        }
        (Some(_), _) => Err(usage("an identity and a passphrase are specified", command)),
        (None, passphrase) => {
            read(passphrase, file, false).map(|text| Some(Opening::Passphrase(text)))
        }
    }
}

/// A passphrase, from a file or the terminal.
fn read(args: &Passphrase, file: &Path, is_new: bool) -> Result<Zeroizing<String>> {
    let Some(path) = &args.passphrase_file else { return password::passphrase(file, is_new) };
    let source = Source::of(None, Some(PathBuf::clone(path)), "")?;
    let source = source.ok_or_else(|| anyhow!("no file is named"))?;
    let bytes = source.read("passphrase", Secrecy::Secret)?;
    let text = std::str::from_utf8(&bytes).context("the passphrase is not UTF-8")?;
    if text.is_empty() {
        bail!("the passphrase is empty");
    }
    Ok(Zeroizing::new(text.to_owned()))
}

/// The keys in a file. No part of it is shown.
fn lines<T>(
    path: &Path,
    text: &[u8],
    parse: impl Fn(&str) -> Result<Vec<T>, (usize, age::InvalidKey)>,
) -> Result<Vec<T>> {
    let path = path.display();
    let text = std::str::from_utf8(text).map_err(|_| anyhow!("{path} is not UTF-8"))?;
    parse(text).map_err(|(line, error)| match line {
        0 => anyhow!("{path}: {error}"),
        line => anyhow!("{path}: line {line}: {error}"),
    })
}

/// Refuses what a FIPS build may not do.
///
/// # Errors
/// In a FIPS build.
pub(super) fn refuse_in_fips() -> Result<()> {
    if cfg!(feature = "fips") {
        bail!(
            "age files need X25519, ChaCha20-Poly1305 and scrypt, which are not approved (FIPS 140-3) and this \
             FIPS build refuses; 'kes migrate' copies keys to a folder or another key store"
        );
    }
    Ok(())
}
