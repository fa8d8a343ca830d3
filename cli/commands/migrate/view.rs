use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError, Sender, SyncSender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use kes_migrate::{End, Existing, Options, Outcome, Report, Tally};

use crate::output::{self, Closed, Output, clean};

/// How many keys that were not migrated are named at the end. Further ones are named meanwhile, so
/// that memory stays bounded.
const MAX_KEPT: usize = 10_000;

/// How many of the further ones wait for standard error. If nobody reads it, those beyond are counted.
const MAX_WAITING: usize = 1_000;

/// How often the bar of a terminal is drawn. A line for a script is printed every tenth time.
const TICK: Duration = Duration::from_millis(100);

/// Ticks between two lines.
const LINE: u32 = 10;

/// The words for what is done with keys.
pub(in crate::commands) struct Words {
    /// The first line.
    pub(in crate::commands) begin: &'static str,
    /// As in `Would migrate`.
    pub(in crate::commands) verb: &'static str,
    /// As in `Migrated 2 keys`.
    pub(in crate::commands) begun: &'static str,
    /// As in `was not migrated`.
    pub(in crate::commands) done: &'static str,
    /// The last line, if there was nothing to do.
    pub(in crate::commands) nothing: &'static str,
}

/// Those of `kes migrate` (contract `migrate.md`).
pub(super) const MIGRATE: Words = Words {
    begin: "Starting key migration:",
    verb: "migrate",
    begun: "Migrated",
    done: "migrated",
    nothing: "Migration succeeded! No keys migrated.",
};

/// What a person or a script reads of a migration.
pub(super) struct View {
    words: &'static Words,
    output: Output,
    /// Whether standard output takes nothing more: it is closed, or its disk is full. The migration
    /// goes on.
    is_ended: bool,
    /// Why something that was to be shown was not, unless the reader has gone away.
    unshown: Option<String>,
    quiet: bool,
    dry_run: bool,
    bar: Option<ProgressBar>,
    /// Why keys were not migrated.
    reasons: Vec<String>,
    /// The same of further keys.
    warnings: Warnings,
    /// Whether the target has another value for a key that was to be copied.
    has_other: bool,
}

/// Shows progress on a thread of its own: an output that stalls, such as a pipe that nobody reads or a
/// terminal after Ctrl-S, must not hold the migration between the deletion of a key and its creation.
/// Warnings that are printed meanwhile have another thread for the same reason.
pub(super) struct Progress {
    stop: Sender<()>,
    thread: JoinHandle<()>,
}

impl Progress {
    /// Ends it. Waits for an output that stalls.
    pub(super) fn end(self) {
        drop(self.stop);
        // A panic of the thread has been told on standard error.
        let _ = self.thread.join();
    }
}

impl View {
    pub(super) fn new(words: &'static Words, quiet: bool, dry_run: bool) -> Self {
        let output = Output::new();
        // The lines of a dry run are printed meanwhile.
        let bar = (output.is_terminal() && !quiet && !dry_run).then(|| {
            let style = ProgressStyle::with_template("[{bar:40}] {pos}/{len} keys, {eta} left");
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stdout());
            let style = style.map(|style| style.progress_chars("=> "));
            style.into_iter().fold(bar, ProgressBar::with_style)
        });
        let warnings = Warnings::new(bar.clone());
        Self {
            words,
            output,
            is_ended: false,
            unshown: None,
            quiet,
            dry_run,
            bar,
            reasons: Vec::new(),
            warnings,
            has_other: false,
        }
    }

    pub(super) fn begin(&mut self) {
        if self.quiet {
            return;
        }
        let text = if self.dry_run { "Dry run, nothing is written:" } else { self.words.begin };
        self.print(&format!("{text}\n\n"));
    }

    /// Shows what became of a key.
    pub(super) fn key(&mut self, name: &str, outcome: &Outcome) {
        let name = clean(name).replace('\'', "\\'");
        if self.dry_run && !self.quiet {
            let (word, reason) = match outcome {
                Outcome::Migrated => ("copy", None),
                Outcome::Replaced => ("replace", None),
                Outcome::AlreadyThere => ("there", None),
                Outcome::Skipped(reason) => ("skip", Some(reason)),
                Outcome::Kept(reason) => ("keep", Some(reason)),
                Outcome::Failed(reason) => ("fail", Some(reason)),
            };
            let reason = reason.map(|reason| format!(": {}", clean(reason))).unwrap_or_default();
            self.print(&format!("{word:9}{name}{reason}"));
            self.has_other |= has_other(outcome);
            return;
        }
        let (Outcome::Skipped(reason) | Outcome::Kept(reason) | Outcome::Failed(reason)) = outcome
        else {
            return;
        };
        self.has_other |= has_other(outcome);
        let text = format!("'{name}' was not {}: {reason}", self.words.done);
        if self.reasons.len() < MAX_KEPT {
            self.reasons.push(text);
        } else {
            self.warnings.print(text);
        }
    }

    /// Shows how many keys are done, until the result is dropped or stopped.
    pub(super) fn progress(&self, tally: Arc<Tally>) -> Progress {
        let (stop, stopped) = mpsc::channel();
        let (bar, has_lines) = (self.bar.clone(), !self.quiet && !self.dry_run);
        let begun = self.words.begun;
        let thread = thread::spawn(move || {
            let mut output = Output::new();
            let mut ticks = 0_u32;
            while stopped.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
                ticks = ticks.wrapping_add(1);
                if let Some(bar) = &bar {
                    let number = |keys| u64::try_from(keys).unwrap_or(u64::MAX);
                    if tally.total() > 0 {
                        bar.set_length(number(tally.total().max(tally.done())));
                    }
                    bar.set_position(number(tally.done()));
                } else if has_lines && ticks.is_multiple_of(LINE) {
                    let line = format!("{begun} {} ...", keys(tally.migrated()));
                    if output.print(&line).is_err() {
                        return;
                    }
                }
            }
        });
        Progress { stop, thread }
    }

    /// Shows the totals, and why keys were not migrated. Returns what failed. Waits for an output that
    /// stalls.
    pub(super) fn end(mut self, report: &Report, tally: &Tally, options: &Options) -> Vec<String> {
        let unread = self.warnings.end();
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
        let mut faults = self.faults(report, tally, options);
        for (count, what) in [
            (tally.replaced(), "replaced"),
            (tally.already_there(), "already there"),
            (tally.skipped(), "skipped, no stored key"),
            (tally.kept(), "left alone, the target has another value"),
            (tally.failed(), "failed"),
        ] {
            if count > 0 {
                self.print(&format!("{} {what}", keys(count)));
            }
        }
        let migrated = tally.migrated();
        let Words { verb, begun, nothing, .. } = self.words;
        self.print(&match (options.dry_run, faults.is_empty(), migrated) {
            (true, _, _) => format!("Would {verb} {}.", keys(migrated)),
            (false, true, 0) => (*nothing).to_owned(),
            (false, true, _) => format!("{begun} {} successfully!", keys(migrated)),
            (false, false, _) => format!("{begun} {}.", keys(migrated)),
        });
        for reason in &self.reasons {
            output::warning(reason);
        }
        if let Some(warning) = report.warning() {
            output::warning(&warning);
        }
        for (count, what) in [
            (report.unnamed, "entries have names that no key can have"),
            (unread, "keys were not migrated, of which standard error could not be told in time"),
        ] {
            if count > 0 {
                output::warning(&format!("{count} more {what}, and are not named here"));
            }
        }
        faults.extend(self.unshown);
        faults
    }

    /// What failed.
    fn faults(&self, report: &Report, tally: &Tally, options: &Options) -> Vec<String> {
        let mut faults = Vec::new();
        match &report.end {
            End::Complete => {}
            End::Stopped => faults.push(format!(
                "stopped by a signal after {} of {} keys; run it again to complete it",
                tally.done(),
                tally.total()
            )),
            End::Broken(trouble) if tally.total() > tally.done() => {
                faults.push(trouble.to_string());
                faults.push(format!(
                    "ended after {} of {} keys; run it again to complete it",
                    tally.done() - tally.failed(),
                    tally.total()
                ));
                // Those that were at work are a part of what is missing.
                return faults;
            }
            End::Broken(trouble) => faults.push(trouble.to_string()),
        }
        if tally.failed() > 0 {
            let are = if tally.failed() == 1 {
                "1 key was"
            } else {
                &format!("{} keys were", tally.failed())
            };
            let hint = match options.existing {
                Existing::Refuse if self.has_other && options.rate.is_some() => {
                    " (--merge leaves alone what the target has)"
                }
                Existing::Refuse if self.has_other => {
                    " (--merge leaves alone what the target has, --force replaces it)"
                }
                _ => "",
            };
            faults.push(format!("{are} not {}{hint}", self.words.done));
        }
        faults.extend(report.disagreement.clone());
        faults
    }

    fn print(&mut self, text: &str) {
        if self.is_ended {
            return;
        }
        if let Err(error) = self.output.print(text) {
            self.is_ended = true;
            self.unshown = (!error.is::<Closed>()).then(|| format!("{error:#}"));
        }
    }
}

/// Warnings that are printed by a thread of its own while the migration runs.
struct Warnings {
    /// `None` before the first.
    thread: Option<(SyncSender<String>, JoinHandle<()>)>,
    bar: Option<ProgressBar>,
    /// How many found no room.
    lost: usize,
}

impl Warnings {
    fn new(bar: Option<ProgressBar>) -> Self {
        Self { thread: None, bar, lost: 0 }
    }

    /// Prints a warning, or counts it if so many wait already.
    fn print(&mut self, text: String) {
        let (sender, _) = self.thread.get_or_insert_with(|| {
            let (sender, texts) = mpsc::sync_channel::<String>(MAX_WAITING);
            let bar = self.bar.clone();
            let print = move || {
                for text in texts {
                    match &bar {
                        Some(bar) => bar.suspend(|| output::warning(&text)),
                        None => output::warning(&text),
                    }
                }
            };
            (sender, thread::spawn(print))
        });
        if sender.try_send(text).is_err() {
            self.lost += 1;
        }
    }

    /// Waits until all are printed; how many are not.
    fn end(&mut self) -> usize {
        if let Some((sender, thread)) = self.thread.take() {
            drop(sender);
            // A panic of the thread has been told on standard error.
            let _ = thread.join();
        }
        self.lost
    }
}

/// Whether a key has failed because the target has another value.
fn has_other(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Failed(reason) if reason.starts_with("the target has another value"))
}

/// `     2 keys`
fn keys(count: usize) -> String {
    format!("{count:6} {}", if count > 1 { "keys" } else { "key" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stand_in_columns() {
        assert_eq!(keys(0), "     0 key");
        assert_eq!(keys(1), "     1 key");
        assert_eq!(keys(1_234_567), "1234567 keys");
    }
}
