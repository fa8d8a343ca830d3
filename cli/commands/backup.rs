//! `kes backup` (contract `cli.md`, Backup): all keys of a key store in one sealed file.

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Error, Result, bail};
use kes_api::Fingerprint;
use kes_backup::manifest::{self, Hashing, Sealed};
use kes_backup::{Header, Writer};
use kes_keystore::config::Migration;
use kes_keystore::{Config, KeyStore as _, Stores};
use kes_migrate::{Entry, Outcome, Pattern, Reading, ReadingEnd, Tally};

use crate::args::{BackupArgs, BackupCommand};
use crate::error::usage;
use crate::file::{self, Access};
use crate::output::{self, Output, clean};
use crate::progress::Progress;
use crate::signals::Signals;

use super::check::count;
use super::migrate::{load_source, pattern};
use super::seal::{Seal, refuse_in_fips};

/// `kes backup verify`.
mod verify;

const COMMAND: &str = "kes backup";

/// How many entries that are no keys are named. Further ones are counted.
const MOST_NAMED: usize = 1_000;

/// Makes or checks a backup.
pub(super) fn run(args: BackupArgs) -> Result<()> {
    if let Some(BackupCommand::Verify(args)) = args.command {
        return verify::run(&args);
    }
    let Some(config) = &args.config else {
        return Err(usage("no configuration file of the key store: --config", COMMAND));
    };
    let Some(output) = args.output.clone() else {
        return Err(usage("no file to write: --output", COMMAND));
    };
    let pattern = pattern(args.pattern.as_deref(), COMMAND)?;
    refuse_in_fips()?;
    // Before any secret is in memory.
    kes_server::harden();
    let config = load_source(config, COMMAND)?;
    let seal = Seal::of(&args, &output, COMMAND)?;
    let job = Job { pattern, seal, manifest: beside(&output), output, args: &args };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("failed to start")?;
    let result = runtime.block_on(job.run(config));
    // Does not wait for threads that a hanging disk or name server blocks.
    runtime.shutdown_background();
    result
}

/// The manifest of a backup.
fn beside(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".manifest");
    name.into()
}

/// A backup to be made.
struct Job<'a> {
    pattern: Pattern,
    seal: Seal,
    output: PathBuf,
    manifest: PathBuf,
    args: &'a BackupArgs,
}

/// What takes the keys.
struct Files {
    backup: Writer<Hashing<BufWriter<File>>>,
    manifest: manifest::Writer<BufWriter<File>>,
}

/// What was no key.
#[derive(Default)]
struct Others {
    skipped: usize,
    failed: usize,
    texts: Vec<String>,
}

impl Job<'_> {
    async fn run(&self, (config, migration): (Config, Option<Migration>)) -> Result<()> {
        let mut signals = Signals::new().context("failed to listen for signals")?;
        let store = Stores::open_source(config, migration).await?;
        let force = self.args.force;
        let (backup, sealed_file) = file::begin(&self.output, Access::Private, force)?;
        let (manifest, manifest_file) = file::begin(&self.manifest, Access::Private, force)?;
        let header = Header::new(store.description());
        let to = |file: &File| file.try_clone().map(BufWriter::new).context("failed to write");
        let hashing = Hashing::new(to(&sealed_file)?);
        let mut files = Files {
            backup: Writer::new(hashing, &self.seal.sealing(), &header)?,
            manifest: manifest::Writer::new(to(&manifest_file)?, &header)?,
        };
        self.read(&store, &mut files, &mut signals).await?;
        let Files { backup: writer, manifest: of } = files;
        let (hashing, summary) = writer.finish().context("failed to write the backup")?;
        if summary.keys == 0 {
            bail!("no key was found, and no backup was written");
        }
        let (mut to, sealed) = hashing.finish(summary.keys);
        to.flush().context("failed to write the backup")?;
        of.finish(&sealed).and_then(|mut to| to.flush()).context("failed to write the manifest")?;
        backup.commit_synced(&sealed_file)?;
        manifest.commit_synced(&manifest_file)?;
        self.tell(&sealed)
    }

    /// Reads all keys into the files.
    async fn read(&self, store: &Stores, files: &mut Files, signals: &mut Signals) -> Result<()> {
        let tally = Arc::new(Tally::default());
        let (stopped, others) = (Cell::new(false), RefCell::new(Others::default()));
        let progress = Progress::of(&tally, self.args.quiet);
        let end = {
            let reading = Reading { store, pattern: &self.pattern, tally: &tally };
            let stop = || stopped.get();
            let mut sink = |entry: Entry<'_>| match entry {
                Entry::Key { name, value, record } => {
                    let fingerprint = Fingerprint::new(record.key.fingerprint());
                    files
                        .backup
                        .add(name, fingerprint, &value)
                        .context("failed to write the backup")?;
                    files.manifest.add(name, fingerprint).context("failed to write the manifest")
                }
                Entry::Other { name, outcome } => {
                    others.borrow_mut().add(name, &outcome);
                    Ok(())
                }
            };
            signals.watch(&stopped, Box::pin(reading.run(&stop, &mut sink))).await
        };
        progress.end();
        let others = others.into_inner();
        let unnamed = if let ReadingEnd::Complete(unnamed) = end { unnamed } else { 0 };
        others.tell(unnamed);
        match end {
            ReadingEnd::Complete(_) if others.failed > 0 => {
                bail!(
                    "{} could not be read, and no backup was written",
                    count(others.failed, "key")
                )
            }
            ReadingEnd::Complete(unnamed) if self.args.strict && others.skipped + unnamed > 0 => {
                bail!("--strict forbids entries that are no keys, and no backup was written")
            }
            ReadingEnd::Complete(_) => Ok(()),
            ReadingEnd::Stopped => bail!("stopped by a signal, and no backup was written"),
            ReadingEnd::Broken(trouble) => bail!("{trouble}; no backup was written"),
            ReadingEnd::Refused(error) => Err(error),
        }
    }

    fn tell(&self, sealed: &Sealed) -> Result<()> {
        if self.args.quiet {
            return Ok(());
        }
        let keys = usize::try_from(sealed.keys).unwrap_or(usize::MAX);
        let text = format!("{} backed up", count(keys, "key"));
        let mut output = Output::new();
        output.print(&text)?;
        output.table(&[
            ("Backup", self.output.display().to_string()),
            ("Manifest", self.manifest.display().to_string()),
            ("SHA-256", sealed.sha256.clone()),
        ])
    }
}

impl Others {
    fn add(&mut self, name: &str, outcome: &Outcome) {
        let reason = match outcome {
            Outcome::Skipped(reason) => {
                self.skipped += 1;
                reason
            }
            Outcome::Failed(reason) => {
                self.failed += 1;
                reason
            }
            _ => return,
        };
        if self.texts.len() < MOST_NAMED {
            let name = clean(name).replace('\'', "\\'");
            self.texts.push(format!("'{name}' is not in the backup: {reason}"));
        }
    }

    /// Names them; so many more have names that no key can have.
    fn tell(&self, unnamed: usize) {
        for text in &self.texts {
            output::warning(text);
        }
        let more = self.skipped + self.failed - self.texts.len() + unnamed;
        if more > 0 {
            output::warning(&format!("{more} more are not in the backup, and are not named here"));
        }
    }
}

/// An error of a backup's format, with the file that it is about.
fn of_file(path: &Path, error: impl Into<Error>) -> Error {
    error.into().context(path.display().to_string())
}
