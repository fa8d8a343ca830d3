//! `kes restore` (contract `cli.md`, Backup): keys of a backup into a key store. No server runs.

use anyhow::{Context as _, Result};
use kes_backup::Archive;
use kes_migrate::Options;

use crate::args::RestoreArgs;
use crate::error::usage;
use crate::file;

use super::migrate::{self, Words, copy_from};
use super::seal::{opening, refuse_in_fips};

const COMMAND: &str = "kes restore";

const WORDS: Words = Words {
    begin: "Restoring keys:",
    verb: "restore",
    begun: "Restored",
    done: "restored",
    nothing: "Restore succeeded! No keys restored.",
};

/// Copies the keys of a backup into a key store.
pub(super) fn run(args: &RestoreArgs) -> Result<()> {
    let Some(path) = &args.file else { return Err(usage("no backup is named", COMMAND)) };
    let Some(config) = &args.config else {
        return Err(usage("no configuration file of the key store: --config", COMMAND));
    };
    let options = Options {
        pattern: migrate::pattern(args.pattern.as_deref(), COMMAND)?,
        existing: migrate::existing(args.merge, args.force, COMMAND)?,
        dry_run: args.dry_run,
        strict: true,
        rate: None,
    };
    refuse_in_fips()?;
    // Before any secret is in memory.
    kes_server::harden();
    let config = migrate::load(config, COMMAND)?;
    let Some(opening) = opening(&args.open, path, COMMAND)? else {
        return Err(usage("nothing opens it: specify --identity or --passphrase", COMMAND));
    };
    // All of it is read and checked before the key store is touched.
    let archive = Archive::open(file::open(path)?, &opening);
    let archive = archive.with_context(|| path.display().to_string())?;
    drop(opening);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("failed to start")?;
    let result = runtime.block_on(copy_from(&archive, config, &options, (&WORDS, args.quiet)));
    // Does not wait for threads that a hanging disk or name server blocks.
    runtime.shutdown_background();
    result
}
