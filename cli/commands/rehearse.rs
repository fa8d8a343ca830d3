//! `kes rehearse` (contract `cli.md`, Rehearsal): what an exchange of MinIO's KES for this server would meet,
//! found out from its configuration and by reading its key store. Nothing is written.

use std::cell::{Cell, RefCell};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use kes_config::{Config, Loaded};
use kes_keystore::check::Verdict;
use kes_keystore::config::Migration;
use kes_keystore::{KeyStore as _, Stores};
use kes_migrate::{Pattern, Reading, ReadingEnd, Tally};
use kes_policy::Policies;

use crate::args::RehearseArgs;
use crate::error::usage;
use crate::progress::Progress;
use crate::signals::Signals;

use super::check::{Report, check_tls, count, files};

use self::stock::Stock;

/// What is in the key store.
mod stock;

const COMMAND: &str = "kes rehearse";

/// Reads a configuration and the keys of its key store, and tells what is to be seen to before the exchange.
pub(super) fn run(args: RehearseArgs) -> Result<()> {
    let Some(path) = args.config else {
        return Err(usage("no configuration file specified: --config", COMMAND));
    };
    // Before any secret is in memory.
    kes_server::harden();
    let Loaded { config, warnings } = kes_config::load(&path, &kes_config::ProcessEnvironment)?;
    let mut report = Report::new();
    report.line(Verdict::Ok, &format!("{}: can be read", path.display()));
    for warning in &warnings {
        report.line(Verdict::Warning, &warning.in_file(&path).to_string());
    }
    tell_policies(&config.policies, &mut report);
    tell_files(&path, &config, &mut report);
    let Config { tls, keys, pins, keystore, migration, .. } = config;
    check_tls(tls, &mut report);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("failed to start")?;
    let start = keys.iter().map(|key| *key.name()).collect();
    let stock = Stock::new(start, &pins);
    let result = runtime.block_on(read((keystore, migration), stock, args.quiet, &mut report));
    // Does not wait for threads that a hanging disk or name server blocks.
    runtime.shutdown_background();
    result?;
    end(report)
}

/// Who has which rights.
fn tell_policies(policies: &Policies, report: &mut Report) {
    let admin = policies.identities().filter(|identity| policies.is_admin(identity)).count();
    let text = format!(
        "policies: {} for {}{}",
        match policies.policies().len() {
            1 => "1 policy".to_owned(),
            number => format!("{number} policies"),
        },
        match policies.identities().len() - admin {
            1 => "1 identity".to_owned(),
            number => format!("{number} identities"),
        },
        if admin > 0 { ", and an admin" } else { "" },
    );
    report.line(Verdict::Ok, &text);
    for policy in policies.policies() {
        let is_of =
            |identity| policies.policy_of(identity).map(|of| of.name()) == Some(policy.name());
        if !policies.identities().any(is_of) {
            let text =
                format!("policies: '{}' is for no identity: nobody has its rights", policy.name());
            report.line(Verdict::Warning, &text);
        }
    }
}

/// Who can read and change the files.
fn tell_files(path: &Path, config: &Config, report: &mut Report) {
    for finding in files::findings(path, config) {
        report.line(Verdict::Warning, &finding);
    }
}

/// Reads all keys.
async fn read(
    (keystore, migration): (kes_keystore::Config, Option<Migration>),
    stock: Stock,
    quiet: bool,
    report: &mut Report,
) -> Result<()> {
    let mut signals = Signals::new().context("failed to listen for signals")?;
    let store = match Stores::open_source(keystore, migration).await {
        Ok(store) => store,
        Err(error) => {
            report.line(Verdict::Failed, &format!("keystore: {error}"));
            return Ok(());
        }
    };
    let (pattern, tally) = (Pattern::all(), Arc::new(Tally::default()));
    let (stopped, stock) = (Cell::new(false), RefCell::new(stock));
    let progress = Progress::of(&tally, quiet);
    let end = {
        let reading = Reading { store: &store, pattern: &pattern, tally: &tally };
        let stop = || stopped.get();
        let mut sink = |entry: kes_migrate::Entry<'_>| {
            stock.borrow_mut().add(&entry);
            Ok::<_, std::convert::Infallible>(())
        };
        signals.watch(&stopped, Box::pin(reading.run(&stop, &mut sink))).await
    };
    progress.end();
    let stock = stock.into_inner();
    match end {
        ReadingEnd::Complete(unnamed) => {
            stock.tell(&store.description(), unnamed, report);
            Ok(())
        }
        ReadingEnd::Stopped => {
            bail!("stopped by a signal after {} of {} keys", tally.done(), tally.total())
        }
        ReadingEnd::Broken(trouble) => {
            report.line(Verdict::Failed, &format!("keystore: {trouble}"));
            Ok(())
        }
        ReadingEnd::Refused(never) => match never {},
    }
}

/// The result: whether something is to be seen to.
fn end(report: Report) -> Result<()> {
    let (failed, warnings) = (report.failed, report.warnings);
    report.broken()?;
    match (failed, warnings) {
        (0, 0) => Ok(()),
        (0, _) => bail!("{} to be seen to before the exchange", count(warnings, "warning")),
        (_, 0) => bail!("{} to be mended before the exchange", count(failed, "failure")),
        _ => bail!(
            "{} to be mended and {} to be seen to before the exchange",
            count(failed, "failure"),
            count(warnings, "warning")
        ),
    }
}
