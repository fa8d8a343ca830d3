//! `kes migrate` (contract `migrate.md`): parses, shows and ends. The migration itself is a library.

use std::cell::{Cell, RefCell};
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;

use anyhow::{Context as _, Error, Result, bail};
use kes_keystore::{Config, Store, Target, TargetError};
use kes_migrate::{Existing, Migration, Options, Pattern, Tally};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::args::MigrateArgs;
use crate::error::usage;
use crate::output;

use self::view::View;

/// What is shown.
mod view;

const COMMAND: &str = "kes migrate";

/// Copies keys from one key store to another.
pub(super) fn run(args: MigrateArgs, enclave: Option<&str>) -> Result<()> {
    let options = options(&args, enclave)?;
    let file = |path: Option<std::path::PathBuf>, flag: &str, what: &str| {
        path.ok_or_else(|| usage(format!("no configuration file of the {what}: {flag}"), COMMAND))
    };
    let (from, to) = (file(args.from, "--from", "source")?, file(args.to, "--to", "target")?);
    // Before any secret is in memory.
    kes_server::harden();
    let (from, to) = (load(&from)?, load(&to)?);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("failed to start")?;
    let result = runtime.block_on(migrate(from, to, &options, args.quiet));
    // Does not wait for threads that a hanging disk or name server blocks.
    runtime.shutdown_background();
    result
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
    let existing = match (args.merge, args.force) {
        (true, true) => {
            return Err(usage("--merge and --force are both specified", COMMAND));
        }
        (true, false) => Existing::Keep,
        (false, true) => Existing::Replace,
        (false, false) => Existing::Refuse,
    };
    let pattern = match args.pattern.as_deref() {
        None | Some("") => Pattern::all(),
        Some(text) => Pattern::parse(text).map_err(|error| usage(error.to_string(), COMMAND))?,
    };
    Ok(Options { pattern, existing, dry_run: args.dry_run, strict: args.strict })
}

/// Reads the key store of a file.
fn load(path: &Path) -> Result<Config> {
    match kes_config::load_keystore(path, &kes_config::ProcessEnvironment) {
        Ok(loaded) => {
            for warning in &loaded.warnings {
                output::warning(&warning.in_file(path).to_string());
            }
            Ok(loaded.keystore)
        }
        Err(errors) => {
            if matches!(errors, kes_config::Errors::Mistakes { .. }) {
                output::note("a file with the section 'keystore' alone will do for 'kes migrate'");
            }
            Err(errors.into())
        }
    }
}

async fn migrate(from: Config, to: Config, options: &Options, quiet: bool) -> Result<()> {
    let mut signals = Signals::new().context("failed to listen for signals")?;
    let source = Store::open_source(from).await.context("source")?;
    let Target { store: target, is_missing } =
        source.open_target(to, !options.dry_run).await.map_err(|error| match error {
            TargetError::Open(error) => Error::from(error).context("target"),
            refused => refused.into(),
        })?;
    if is_missing {
        output::note("the folder of the target does not exist, and would be made");
    }
    let tally = Arc::new(Tally::default());
    let stopped = Cell::new(false);
    let view = RefCell::new(View::new(quiet, options.dry_run));
    view.borrow_mut().begin();
    let progress = view.borrow().progress(Arc::clone(&tally));
    let report = {
        let migration = Migration { source: &source, target: &target, options, tally: &tally };
        let stop = || stopped.get();
        let mut sink = |name: &str, outcome: &_| view.borrow_mut().key(name, outcome);
        let mut running = pin!(migration.run(&stop, &mut sink));
        loop {
            tokio::select! {
                report = &mut running => break report,
                () = signals.next() => stopped.set(true),
            }
        }
    };
    progress.end();
    let faults = view.into_inner().end(&report, &tally, options);
    if faults.is_empty() { Ok(()) } else { bail!(faults.join("; ")) }
}

/// The signals that end a migration: the keys at work are completed first. A terminal that is closed
/// sends SIGHUP.
struct Signals([Signal; 3]);

impl Signals {
    fn new() -> std::io::Result<Self> {
        let [interrupt, terminate, hangup] =
            [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()].map(signal);
        Ok(Self([interrupt?, terminate?, hangup?]))
    }

    async fn next(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}
