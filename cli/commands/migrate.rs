//! `kes migrate` (contract `migrate.md`): parses, shows and ends. The migration itself is a library.

use std::cell::{Cell, RefCell};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Error, Result, bail};
use kes_config::LoadedKeystore;
use kes_keystore::config::Migration;
use kes_keystore::{Config, Inventory, Store, Target, TargetError, TargetUse};
use kes_migrate::{Existing, Options, Pattern, Tally};

use crate::args::MigrateArgs;
use crate::error::usage;
use crate::output;
use crate::signals::Signals;

use self::view::View;

/// What is shown.
mod view;

pub(super) use self::view::Words;

const COMMAND: &str = "kes migrate";

/// How many keys are copied a second beside servers, unless it is said: each is some five requests to a
/// Vault, which serves thousands.
const RATE: u32 = 100;

/// Copies keys from one key store to another.
pub(super) fn run(args: MigrateArgs, enclave: Option<&str>) -> Result<()> {
    let options = options(&args, enclave)?;
    let quiet = args.quiet;
    let files = Files::of(args)?;
    // Before any secret is in memory.
    kes_server::harden();
    let (from, to) = files.load()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("failed to start")?;
    let result = runtime.block_on(migrate(from, to, &options, quiet));
    // Does not wait for threads that a hanging disk or name server blocks.
    runtime.shutdown_background();
    result
}

/// The files that name the two key stores.
enum Files {
    /// One for each.
    Two { from: PathBuf, to: PathBuf },
    /// That of servers which use both.
    One { config: PathBuf, back: bool },
}

impl Files {
    fn of(args: MigrateArgs) -> Result<Self> {
        let MigrateArgs { online, config, back, rate, from, to, .. } = args;
        let alone = [(config.is_some(), "--config"), (back, "--back"), (rate.is_some(), "--rate")];
        if !online && let Some((_, flag)) = alone.into_iter().find(|(given, _)| *given) {
            return Err(usage(format!("{flag} is for --online"), COMMAND));
        }
        if let Some(config) = config {
            if from.is_some() || to.is_some() {
                let text = "--config names both key stores: leave out --from and --to";
                return Err(usage(text, COMMAND));
            }
            return Ok(Self::One { config, back });
        }
        if back {
            return Err(usage("--back is for --config; else change --from and --to", COMMAND));
        }
        let file = |path: Option<PathBuf>, flag: &str, what: &str| {
            let missing = || format!("no configuration file of the {what}: {flag}");
            path.ok_or_else(|| usage(missing(), COMMAND))
        };
        if online && from.is_none() && to.is_none() {
            return Err(usage("no configuration file of the servers: --config", COMMAND));
        }
        Ok(Self::Two { from: file(from, "--from", "source")?, to: file(to, "--to", "target")? })
    }

    /// The source and the target.
    fn load(self) -> Result<(Config, Config)> {
        match self {
            Self::Two { from, to } => Ok((load(&from, COMMAND)?, load(&to, COMMAND)?)),
            Self::One { config, back } => {
                let LoadedKeystore { keystore, migration, .. } = load_all(&config, COMMAND)?;
                let Some(Migration { to, .. }) = migration else {
                    bail!(
                        "{} has no section 'migration', which names the key store to copy to",
                        config.display()
                    );
                };
                Ok(if back { (to, keystore) } else { (keystore, to) })
            }
        }
    }
}

/// How keys are to be copied.
fn options(args: &MigrateArgs, enclave: Option<&str>) -> Result<Options> {
    let of_min_kms = [
        (args.old.server.is_some(), "--server"),
        (enclave.is_some(), "--enclave"),
        (args.old.api_key.is_some(), "--api-key"),
        (args.old.insecure, "--insecure"),
    ];
    if let Some((_, flag)) = of_min_kms.into_iter().find(|(given, _)| *given) {
        let text = format!(
            "{flag} is for a target that is a MinKMS server, which is not supported: keys are copied \
             to the key store of the file that --to names"
        );
        return Err(usage(text, COMMAND));
    }
    if args.online && args.force {
        let text = "--force is not for --online: servers use the keys of the target";
        return Err(usage(text, COMMAND));
    }
    let existing = existing(args.merge, args.force, COMMAND)?;
    let pattern = pattern(args.pattern.as_deref(), COMMAND)?;
    let rate = args.online.then(|| args.rate.map_or(RATE, NonZeroU32::get));
    Ok(Options { pattern, existing, dry_run: args.dry_run, strict: args.strict, rate })
}

/// What becomes of a key for which the target has another value.
///
/// # Errors
/// If both flags are given.
pub(super) fn existing(merge: bool, force: bool, command: &str) -> Result<Existing> {
    match (merge, force) {
        (true, true) => Err(usage("--merge and --force are both specified", command)),
        (true, false) => Ok(Existing::Keep),
        (false, true) => Ok(Existing::Replace),
        (false, false) => Ok(Existing::Refuse),
    }
}

/// Which keys a command is for: all, if it does not say.
///
/// # Errors
/// If the pattern is malformed.
pub(super) fn pattern(text: Option<&str>, command: &str) -> Result<Pattern> {
    match text {
        None | Some("") => Ok(Pattern::all()),
        Some(text) => Pattern::parse(text).map_err(|error| usage(error.to_string(), command)),
    }
}

/// Reads the key store of a file. It must be the only one: a command that knows one of two would lose
/// keys, or give a name to two.
///
/// # Errors
/// All mistakes of the file.
pub(super) fn load(path: &Path, command: &str) -> Result<Config> {
    let LoadedKeystore { keystore, migration, .. } = load_all(path, command)?;
    if migration.is_some() {
        bail!(
            "{} names two key stores, and '{command}' is for one: name that in a file with the section \
             'keystore' alone",
            path.display()
        );
    }
    Ok(keystore)
}

/// Reads the key stores of a file, of which all keys are to be read: those of both, if it names two. One
/// that they have with different values cannot be read.
///
/// # Errors
/// All mistakes of the file.
pub(super) fn load_source(path: &Path, command: &str) -> Result<(Config, Option<Migration>)> {
    let LoadedKeystore { keystore, mut migration, .. } = load_all(path, command)?;
    if let Some(migration) = &mut migration {
        migration.stage.compare = true;
    }
    Ok((keystore, migration))
}

/// Reads the key stores of a file.
fn load_all(path: &Path, command: &str) -> Result<LoadedKeystore> {
    match kes_config::load_keystore(path, &kes_config::ProcessEnvironment) {
        Ok(loaded) => {
            for warning in &loaded.warnings {
                output::warning(&warning.in_file(path).to_string());
            }
            Ok(loaded)
        }
        Err(errors) => {
            if matches!(errors, kes_config::Errors::Mistakes { .. }) {
                output::note(&format!(
                    "a file with the section 'keystore' alone will do for '{command}'"
                ));
            }
            Err(errors.into())
        }
    }
}

async fn migrate(from: Config, to: Config, options: &Options, quiet: bool) -> Result<()> {
    let mut signals = Signals::new().context("failed to listen for signals")?;
    let source = Store::open_source(from).await.context("source")?;
    let target_use = match (options.dry_run, options.rate) {
        (true, _) => TargetUse::Look,
        (false, None) => TargetUse::Write,
        (false, Some(_)) => TargetUse::WriteBeside,
    };
    let Target { store: target, is_missing } =
        source.open_target(to, target_use).await.map_err(|error| match error {
            TargetError::Open(error) => Error::from(error).context("target"),
            refused => refused.into(),
        })?;
    tell_missing(is_missing);
    copy(&source, &target, options, View::new(&view::MIGRATE, quiet, options.dry_run), &mut signals)
        .await
}

/// Copies keys, and shows that.
async fn copy<S: Inventory, T: Inventory>(
    source: &S,
    target: &T,
    options: &Options,
    view: View,
    signals: &mut Signals,
) -> Result<()> {
    let tally = Arc::new(Tally::default());
    let stopped = Cell::new(false);
    let view = RefCell::new(view);
    view.borrow_mut().begin();
    let progress = view.borrow().progress(Arc::clone(&tally));
    let report = {
        let migration = kes_migrate::Migration { source, target, options, tally: &tally };
        let stop = || stopped.get();
        let mut sink = |name: &str, outcome: &_| view.borrow_mut().key(name, outcome);
        signals.watch(&stopped, Box::pin(migration.run(&stop, &mut sink))).await
    };
    progress.end();
    let faults = view.into_inner().end(&report, &tally, options);
    if faults.is_empty() { Ok(()) } else { bail!(faults.join("; ")) }
}

/// Copies keys from a store of another kind, with other words.
///
/// # Errors
/// What failed.
pub(super) async fn copy_from<S: Inventory>(
    source: &S,
    to: Config,
    options: &Options,
    (words, quiet): (&'static Words, bool),
) -> Result<()> {
    let mut signals = Signals::new().context("failed to listen for signals")?;
    let Target { store: target, is_missing } = Target::open(to, !options.dry_run).await?;
    tell_missing(is_missing);
    copy(source, &target, options, View::new(words, quiet, options.dry_run), &mut signals).await
}

fn tell_missing(is_missing: bool) {
    if is_missing {
        output::note("the folder of the target does not exist, and would be made");
    }
}
