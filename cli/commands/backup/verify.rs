use std::cell::{Cell, RefCell};
use std::cmp::Ordering;
use std::fs::File;
use std::io::{BufReader, Read as _, Write as _};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Error, Result, bail};
use kes_api::{Fingerprint, KeyName};
use kes_backup::Archive;
use kes_backup::age::Opening;
use kes_backup::manifest::{Hashing, Reader, Sealed};
use kes_keystore::check::Verdict;
use kes_keystore::config::Migration;
use kes_keystore::{Config, KeyStore as _, Stores};
use kes_migrate::{Entry, Outcome, Pattern, Reading, ReadingEnd, Tally};

use crate::args::VerifyBackup;
use crate::error::usage;
use crate::file;
use crate::progress::Progress;
use crate::signals::Signals;

use super::super::check::{Report, count};
use super::super::migrate::load_source;
use super::super::seal::{opening, refuse_in_fips};
use super::{beside, of_file};

const COMMAND: &str = "kes backup verify";

/// How many keys are named that differ. Further ones are counted.
const MOST_NAMED: usize = 20;

/// Checks a backup.
pub(super) fn run(args: &VerifyBackup) -> Result<()> {
    let Some(path) = &args.file else {
        return Err(usage("no backup is named", COMMAND));
    };
    kes_server::harden();
    let opening = opening(&args.open, path, COMMAND)?;
    if opening.is_some() {
        refuse_in_fips()?;
    }
    let config = args.config.as_deref().map(|config| load_source(config, COMMAND)).transpose()?;
    let manifest = args.manifest.clone().unwrap_or_else(|| beside(path));
    let mut report = Report::new();
    compare_file(path, &manifest, &mut report)?;
    if let Some(opening) = opening {
        open(path, &manifest, &opening, &mut report)?;
    }
    if let Some(config) = config {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .context("failed to start")?;
        let compared = runtime.block_on(compare_store(config, &manifest, args.quiet, &mut report));
        runtime.shutdown_background();
        compared?;
    }
    let failed = report.failed;
    report.broken()?;
    if failed > 0 {
        bail!("{} failed", count(failed, "check"));
    }
    Ok(())
}

fn reader(path: &Path) -> Result<Reader<BufReader<File>>> {
    Reader::new(BufReader::new(file::open(path)?)).map_err(|error| of_file(path, error))
}

/// Whether the sealed file is that of the manifest.
fn compare_file(path: &Path, manifest: &Path, report: &mut Report) -> Result<()> {
    let reader = reader(manifest)?;
    let (created, store) = (reader.created(), reader.store().to_owned());
    let told = reader.finish().map_err(|error| of_file(manifest, error))?;
    let keys = count(usize::try_from(told.keys).unwrap_or(usize::MAX), "key");
    let text = format!(
        "{}: {keys} of {store}, backed up at {} UTC",
        manifest.display(),
        created.to_table()
    );
    report.line(Verdict::Ok, &text);
    let found = hash(path)?;
    let path = path.display();
    if (found.size, &found.sha256) == (told.size, &told.sha256) {
        let text = format!("{path}: is the file that the manifest is of, SHA-256 {}", found.sha256);
        report.line(Verdict::Ok, &text);
    } else {
        let text = format!(
            "{path}: is not the file that the manifest is of: it has {} bytes and SHA-256 {}, and the manifest \
             has {} and {}",
            found.size, found.sha256, told.size, told.sha256
        );
        report.line(Verdict::Failed, &text);
    }
    Ok(())
}

/// Size and hash of a file.
fn hash(path: &Path) -> Result<Sealed> {
    let mut from = file::open(path)?;
    let mut hashing = Hashing::new(std::io::sink());
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let read = from.read(&mut buffer).map_err(|error| of_file(path, error))?;
        let Some(piece) = buffer.get(..read).filter(|piece| !piece.is_empty()) else { break };
        hashing.write_all(piece)?;
    }
    Ok(hashing.finish(0).1)
}

/// Opens it, and compares each key with the manifest.
fn open(path: &Path, manifest: &Path, opening: &Opening, report: &mut Report) -> Result<()> {
    let mut reader = reader(manifest)?;
    let mut differing = 0_usize;
    let see = |name: &KeyName, fingerprint: Fingerprint| {
        let told = reader.next_key().map_err(|error| of_file(manifest, error))?;
        differing += usize::from(told != Some((*name, fingerprint)));
        Ok::<_, Error>(())
    };
    let opened = Archive::open_and_see(file::open(path)?, opening, see);
    let path = path.display();
    match opened {
        Ok(archive) => {
            let keys = usize::try_from(archive.summary().keys).unwrap_or(usize::MAX);
            let rest = reader.next_key().map_err(|error| of_file(manifest, error))?;
            if differing == 0 && rest.is_none() {
                let text =
                    format!("{path}: can be opened, and has each of the {}", count(keys, "key"));
                report.line(Verdict::Ok, &text);
            } else {
                let text = format!("{path}: its keys are not those of the manifest");
                report.line(Verdict::Failed, &text);
            }
        }
        Err(error) => report.line(Verdict::Failed, &format!("{path}: {error:#}")),
    }
    Ok(())
}

/// The keys of a manifest beside those of a key store.
struct Comparison<'a> {
    reader: Reader<BufReader<File>>,
    manifest: &'a Path,
    /// The next key of the manifest.
    next: Option<(KeyName, Fingerprint)>,
    same: usize,
    /// Keys that the store has and the backup has not.
    newer: usize,
    /// What is wrong with keys of the backup.
    wrong: usize,
    texts: Vec<String>,
}

impl Comparison<'_> {
    fn step(&mut self) -> Result<()> {
        let next = self.reader.next_key();
        self.next = next.map_err(|error| of_file(self.manifest, error))?;
        Ok(())
    }

    /// Takes a key of the store, or the end.
    fn add(&mut self, name: Option<&KeyName>, found: Result<Fingerprint, String>) -> Result<()> {
        while let Some((next, fingerprint)) = self.next {
            match name.map_or(Ordering::Greater, |name| name.cmp(&next)) {
                Ordering::Less => break,
                Ordering::Equal => {
                    match found {
                        Ok(found) if found == fingerprint => self.same += 1,
                        Ok(_) => self.wrong(&next, "is another key in the key store"),
                        Err(reason) => self.wrong(&next, &reason),
                    }
                    return self.step();
                }
                Ordering::Greater => {
                    self.wrong(&next, "is not in the key store");
                    self.step()?;
                }
            }
        }
        self.newer += usize::from(name.is_some() && found.is_ok());
        Ok(())
    }

    fn wrong(&mut self, name: &KeyName, reason: &str) {
        self.wrong += 1;
        if self.texts.len() < MOST_NAMED {
            self.texts.push(format!("'{name}' {reason}"));
        }
    }

    fn tell(&self, place: &str, report: &mut Report) {
        let Self { same, newer, wrong, .. } = self;
        report.line(Verdict::Ok, &format!("{place}: has {} of the backup", count(*same, "key")));
        for text in &self.texts {
            report.line(Verdict::Failed, &format!("{place}: {text}"));
        }
        if *wrong > self.texts.len() {
            let more = *wrong - self.texts.len();
            report.line(
                Verdict::Failed,
                &format!("{place}: {more} more differ, and are not named here"),
            );
        }
        if *newer > 0 {
            let text = format!("{place}: has {} that the backup lacks", count(*newer, "key"));
            report.line(Verdict::Warning, &text);
        }
    }
}

/// Compares the manifest with a key store.
async fn compare_store(
    (config, migration): (Config, Option<Migration>),
    manifest: &Path,
    quiet: bool,
    report: &mut Report,
) -> Result<()> {
    let mut signals = Signals::new().context("failed to listen for signals")?;
    let store = Stores::open_source(config, migration).await?;
    let (pattern, tally) = (Pattern::all(), Arc::new(Tally::default()));
    let mut comparison = Comparison {
        reader: reader(manifest)?,
        manifest,
        next: None,
        same: 0,
        newer: 0,
        wrong: 0,
        texts: Vec::new(),
    };
    comparison.step()?;
    let (stopped, comparison) = (Cell::new(false), RefCell::new(comparison));
    let progress = Progress::of(&tally, quiet);
    let end = {
        let reading = Reading { store: &store, pattern: &pattern, tally: &tally };
        let stop = || stopped.get();
        let mut sink = |entry: Entry<'_>| {
            let (name, found) = match &entry {
                Entry::Key { name, record, .. } => {
                    (**name, Ok(Fingerprint::new(record.key.fingerprint())))
                }
                Entry::Other {
                    name,
                    outcome: Outcome::Skipped(reason) | Outcome::Failed(reason),
                } => {
                    // A name that no key can have is in no backup.
                    let Ok(name) = KeyName::parse(name) else { return Ok(()) };
                    (name, Err(reason.clone()))
                }
                Entry::Other { .. } => return Ok(()),
            };
            comparison.borrow_mut().add(Some(&name), found)
        };
        signals.watch(&stopped, Box::pin(reading.run(&stop, &mut sink))).await
    };
    progress.end();
    let mut comparison = comparison.into_inner();
    match end {
        ReadingEnd::Complete(_) => {
            comparison.add(None, Err(String::new()))?;
            comparison.tell(&store.description(), report);
            Ok(())
        }
        ReadingEnd::Stopped => bail!("stopped by a signal"),
        ReadingEnd::Broken(trouble) => bail!(trouble),
        ReadingEnd::Refused(error) => Err(error),
    }
}
