//! `kes check` (contract `cli.md`, Check): a line for each check, in the order in which a server
//! needs the checked things.

use std::fmt::Write as _;
use std::path::Path;
use std::pin::pin;
use std::time::SystemTime;

use anyhow::{Context as _, Error, Result, bail};
use kes_api::Timestamp;
use kes_config::{ClientAuth, Loaded, LoadedKeystore, Operations, PinnedKey, Tls, Traces};
use kes_keystore::check::{Finding, Verdict};
use kes_keystore::config::Migration;
use kes_tls::{Life, Roots, Validity};
use tokio::signal::unix::{SignalKind, signal};

use crate::args::CheckArgs;
use crate::error::usage;
use crate::output::{BAD, GOOD, Output, WARN, clean};

/// Rights beside those of a file's mode.
mod acl;

/// Who can read and change the files.
pub(super) mod files;

/// How many keys a line names.
const MOST_NAMED: usize = 10;

/// Checks a configuration.
pub(super) fn run(args: CheckArgs) -> Result<()> {
    let Some(path) = args.config else {
        return Err(usage("no configuration file specified: --config", "kes check"));
    };
    // Before any secret is in memory.
    kes_server::harden();
    let Loaded { config, warnings } = kes_config::load(&path, &kes_config::ProcessEnvironment)?;
    let mut report = Report::new();
    report.line(Verdict::Ok, &format!("{}: can be read", path.display()));
    for warning in &warnings {
        report.line(Verdict::Warning, &warning.in_file(&path).to_string());
    }
    let exposed = files::findings(&path, &config);
    if exposed.is_empty() {
        let text = "files: nobody else can read the secrets, or change what the server trusts";
        report.line(Verdict::Ok, text);
    }
    for finding in exposed {
        report.line(Verdict::Warning, &finding);
    }
    if let Some(Operations { address, tls, page, details }) = &config.operations {
        let how = if *tls { "TLS" } else { "plain HTTP" };
        let what = match (page, details) {
            (false, _) => "health and metrics",
            (true, false) => "health, metrics and a page",
            (true, true) => "health, metrics and a page with names of keys and identities",
        };
        let text = format!(
            "operations: {what} at {address} over {how}, for clients without a certificate"
        );
        report.line(Verdict::Ok, &text);
    }
    if let Some(file) = &config.log.audit_file {
        match kes_server::check_audit_file(file) {
            Ok(_) => {
                let text = format!("log: the audit file {} can be written", file.path.display());
                report.line(Verdict::Ok, &text);
            }
            Err(error) => report.line(Verdict::Failed, &error),
        }
    }
    if let Some(snapshot) = &config.snapshot {
        match kes_server::check_snapshot(snapshot) {
            Ok(()) => {
                let path = snapshot.path.display();
                let text = format!("cache: the snapshot {path} can be written, and its key read");
                report.line(Verdict::Ok, &text);
            }
            Err(error) => report.line(Verdict::Failed, &error),
        }
    }
    if let Some(traces) = &config.traces {
        check_traces(traces, &mut report)?;
    }
    check_tls(config.tls, &mut report);
    check_keystores(&path, config.keystore, config.migration, &config.pins, &mut report)?;
    report.end(args.strict)
}

/// The files of `tls`.
pub(super) fn check_tls(tls: Tls, report: &mut Report) {
    let (cert, auth, ca) = (tls.cert.clone(), tls.auth, tls.ca.clone());
    match kes_server::check_tls(tls) {
        Ok(()) => report.line(Verdict::Ok, "tls: the private key belongs to the certificate"),
        Err(error) => report.line(Verdict::Failed, &error.to_string()),
    }
    // An unreadable file was just reported.
    let chain = kes_tls::load_certificates(&cert).unwrap_or_default();
    let now = SystemTime::now();
    for (index, certificate) in chain.iter().enumerate() {
        let name = match index {
            0 => format!("tls: {}", cert.display()),
            _ => format!("tls: certificate number {} of {}", index + 1, cert.display()),
        };
        match kes_tls::validity(certificate) {
            Ok(validity) => {
                let (verdict, text) = judge(validity, now);
                report.line(verdict, &format!("{name}: {text}"));
            }
            Err(_) => {
                report.line(Verdict::Warning, &format!("{name}: does not say how long it is valid"))
            }
        }
    }
    if let (ClientAuth::Any, Some(ca)) = (auth, ca) {
        let fault = match kes_tls::load_roots(Some(&ca), Roots::Only) {
            Ok(_) => String::new(),
            Err(error) => format!("; it could not be used: {error}"),
        };
        let text = format!("tls: ca is not used, since auth is off{fault}");
        report.line(Verdict::Warning, &text);
    }
}

/// The verdict on a server certificate's remaining life.
fn judge(validity: Validity, now: SystemTime) -> (Verdict, String) {
    let time = |time: SystemTime| Timestamp::from(time).to_table();
    let Validity { from, until } = validity;
    match validity.life(now) {
        Life::Over => {
            (Verdict::Failed, format!("expired at {} UTC; clients will refuse it", time(until)))
        }
        Life::NotYet => {
            let text =
                format!("not valid before {} UTC; the clock here says {}", time(from), time(now));
            (Verdict::Failed, text)
        }
        Life::Soon(_) => {
            (Verdict::Warning, format!("expires soon, at {} UTC; renew it", time(until)))
        }
        Life::Long => (Verdict::Ok, format!("valid until {} UTC", time(until))),
    }
}

/// The collector of traces, which is sent no spans. A server works without it.
fn check_traces(traces: &Traces, report: &mut Report) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .context("failed to start")?;
    match runtime.block_on(kes_server::check_traces(traces)) {
        Ok((place, Ok(()))) => {
            report.line(Verdict::Ok, &format!("traces: the collector at {place} takes spans"));
        }
        Ok((_, Err(fault))) => report.line(Verdict::Warning, &format!("traces: {fault}")),
        Err(fault) => report.line(Verdict::Failed, &fault),
    }
    // Does not wait for threads that a name server blocks.
    runtime.shutdown_background();
    Ok(())
}

/// The key store, the one that its keys move to, and the pinned keys if they work.
fn check_keystores(
    path: &Path,
    keystore: kes_keystore::Config,
    migration: Option<Migration>,
    pins: &[PinnedKey],
    report: &mut Report,
) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .context("failed to start")?;
    let checked = runtime.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut stop = pin!(async {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        });
        let failed = report.failed;
        let new = migration.map(|migration| ("migration.to", migration.to));
        for (section, keystore) in [Some(("keystore", keystore)), new].into_iter().flatten() {
            let mut sink = |Finding { step, verdict, text }: Finding| {
                report.line(verdict, &format!("{section}: {step}: {text}"));
            };
            kes_keystore::Store::check(keystore, stop.as_mut(), &mut sink).await;
        }
        if report.failed == failed && !pins.is_empty() {
            let (verdict, text) = tokio::select! {
                () = stop => (Verdict::Failed, "keys: the check was stopped".to_owned()),
                compared = compare_pins(path, pins) => compared,
            };
            report.line(verdict, &text);
        }
        Ok::<_, std::io::Error>(())
    });
    // Does not wait for threads that a hanging disk or name server blocks.
    runtime.shutdown_background();
    checked.context("failed to listen for signals")
}

/// What the key store has of the pinned keys.
async fn compare_pins(path: &Path, pins: &[PinnedKey]) -> (Verdict, String) {
    // The check of the key stores has used up their sections, which have secrets and are not copied.
    let (keystore, migration) =
        match kes_config::load_keystore(path, &kes_config::ProcessEnvironment) {
            Ok(LoadedKeystore { keystore, migration, .. }) => (keystore, migration),
            Err(error) => return (Verdict::Failed, error.to_string()),
        };
    let all = count(pins.len(), "pinned key");
    match kes_server::check_pins(pins, keystore, migration).await {
        Ok(unread) if unread.is_empty() => {
            (Verdict::Ok, format!("keys: the key store has what is pinned: {all}"))
        }
        Ok(unread) => {
            let names: Vec<_> = unread.iter().take(MOST_NAMED).map(ToString::to_string).collect();
            let more = if unread.len() > MOST_NAMED { ", ..." } else { "" };
            let names = names.join(", ");
            (Verdict::Warning, format!("keys: of {all} could not be read: {names}{more}"))
        }
        Err(reason) => (Verdict::Failed, reason),
    }
}

/// Prints the lines and counts them.
pub(super) struct Report {
    output: Output,
    pub(super) failed: usize,
    pub(super) warnings: usize,
    /// Why printing failed. The check continues, because it has to clean up.
    broken: Option<Error>,
}

impl Report {
    pub(super) fn new() -> Self {
        Self { output: Output::new(), failed: 0, warnings: 0, broken: None }
    }

    pub(super) fn line(&mut self, verdict: Verdict, text: &str) {
        let (word, style) = match verdict {
            Verdict::Ok => ("ok", GOOD),
            Verdict::Warning => ("warning", WARN),
            Verdict::Failed => ("FAILED", BAD),
        };
        match verdict {
            Verdict::Ok => {}
            Verdict::Warning => self.warnings += 1,
            Verdict::Failed => self.failed += 1,
        }
        if self.broken.is_none() {
            let line = format!("{style}{word:9}{style:#}{}", clean(text));
            self.broken = self.output.print(&line).err();
        }
    }

    /// Why printing failed.
    pub(super) fn broken(self) -> Result<()> {
        self.broken.map_or(Ok(()), Err)
    }

    /// The result of all checks.
    fn end(self, strict: bool) -> Result<()> {
        let mut text = String::new();
        if self.failed > 0 {
            let _ = write!(text, "{} failed", count(self.failed, "check"));
        }
        if strict && self.warnings > 0 {
            let and = if text.is_empty() { "" } else { ", and " };
            let _ = write!(text, "{and}--strict forbids {}", count(self.warnings, "warning"));
        }
        if !text.is_empty() {
            bail!(text);
        }
        self.broken()
    }
}

pub(super) fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_judged_by_what_is_left_of_its_life() {
        use std::time::Duration;

        const DAY: Duration = Duration::from_secs(24 * 60 * 60);
        let now = SystemTime::now();
        // Days since it began, days until it ends.
        for (age, left, verdict, word) in [
            (10, 355, Verdict::Ok, "valid until"),
            (340, 25, Verdict::Warning, "expires soon"),
            // A short-lived one as well.
            (1, 29, Verdict::Warning, "expires soon"),
            // It was just made for 30 days.
            (0, 30, Verdict::Ok, "valid until"),
            (1, 6, Verdict::Warning, "expires soon"),
        ] {
            let validity = Validity { from: now - DAY * age, until: now + DAY * left };
            let (found, text) = judge(validity, now);
            assert_eq!(found, verdict, "{age} {left}: {text}");
            assert!(text.starts_with(word), "{text}");
        }
        let past = Validity { from: now - DAY * 2, until: now - DAY };
        assert_eq!(judge(past, now).0, Verdict::Failed);
        let future = Validity { from: now + DAY, until: now + DAY * 2 };
        assert_eq!(judge(future, now).0, Verdict::Failed);
        assert!(judge(future, now).1.starts_with("not valid before"));
    }

    #[test]
    fn warnings_fail_where_they_are_forbidden() {
        let report = |failed, warnings| Report { failed, warnings, ..Report::new() };
        assert!(report(0, 2).end(false).is_ok());
        assert!(report(0, 0).end(true).is_ok());
        let text = |report: Report, strict| report.end(strict).unwrap_err().to_string();
        assert_eq!(text(report(0, 2), true), "--strict forbids 2 warnings");
        assert_eq!(text(report(1, 2), false), "1 check failed");
        assert_eq!(text(report(2, 1), true), "2 checks failed, and --strict forbids 1 warning");
    }
}
