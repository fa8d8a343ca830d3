//! A new configuration, or new certificates, for a server that goes on serving: all of it is
//! applied, or nothing.

use std::convert::Infallible;
use std::io::Read as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use kes_config::Change;
use kes_keystore::Side;
use tokio::task::JoinHandle;

use super::blocking::blocking;
use super::changes::Changes;
use super::error::SetupError;
use super::reads::Reading;
use super::setup::{Prepared, Setup};
use super::snapshot;
use super::state::Running;
use super::systemd;
use super::watch::{Fingerprint, changed};
use crate::service::generation::Generation;
use crate::service::reloads::Subject;
use crate::transport::tls::{self, Loaded, expiry};

/// The reloads of a server: one after the other, each in a task of its own, since a file that it
/// reads may hang and the server has to react to signals meanwhile. A reload whose files hang fails
/// after a limit ([`Reads`](super::reads::Reads)), so that the next one can read what is there then.
pub(super) struct Reloads {
    running: Arc<Running>,
    /// `None` for a dev server.
    path: Option<PathBuf>,
    task: Option<JoinHandle<()>>,
    /// Whether another reload was requested while one runs.
    is_requested: bool,
}

impl Reloads {
    pub(super) fn new(running: Arc<Running>, path: Option<PathBuf>) -> Self {
        Self { running, path, task: None, is_requested: false }
    }

    /// Starts a reload, or has another one follow the one that runs.
    pub(super) fn request(&mut self) {
        let Some(path) = &self.path else {
            tracing::warn!("a dev server has no configuration to read again");
            // The service manager waits for both.
            systemd::reloading();
            systemd::ready(&self.running.status_line());
            return;
        };
        if self.task.is_some() {
            self.is_requested = true;
            tracing::info!(
                "the configuration is still being read; it will be read once more after that"
            );
            return;
        }
        systemd::reloading();
        self.task = Some(tokio::spawn(reload(Arc::clone(&self.running), read_file(path.clone()))));
    }

    /// Waits for the end of the reload that runs, and starts the next one if it was requested.
    /// Dropping the future loses nothing.
    pub(super) async fn finished(&mut self) {
        let Some(task) = &mut self.task else { return std::future::pending().await };
        if task.await.is_err() {
            tracing::error!("a bug of the server: the reload panicked");
            let reloads = &self.running.service.reloads;
            reloads.record(Subject::Configuration, Err("a bug of the server: it panicked"));
        }
        self.task = None;
        systemd::ready(&self.running.status_line());
        if std::mem::take(&mut self.is_requested) {
            self.request();
        }
    }
}

impl Drop for Reloads {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

/// Reads the configuration again and applies it. If anything is wrong with it, nothing changes.
async fn reload<F>(running: Arc<Running>, read: impl FnOnce(Reading) -> F + Send + 'static)
where
    F: Future<Output = Result<Setup, SetupError>> + Send + 'static,
{
    let reloads = &running.service.reloads;
    match apply(&running, read).await {
        Ok(changes) => {
            let summary = changes.summary();
            reloads.record(Subject::Configuration, Ok(&summary));
            changes.log();
            tracing::info!(detail = %summary, "the configuration was read again");
        }
        Err(mut error) => {
            if let SetupError::Config(errors) = &mut error {
                for warning in errors.take_warnings() {
                    tracing::warn!(detail = %warning);
                }
            }
            let error = error.to_string();
            reloads.record(Subject::Configuration, Err(&error));
            tracing::error!(detail = %error, "reload failed; still using the previous configuration");
        }
    }
}

/// Reads the file of a configuration.
fn read_file(
    path: PathBuf,
) -> impl FnOnce(Reading) -> BoxFuture<'static, Result<Setup, SetupError>> + Send + 'static {
    move |reading| {
        reading.at(format_args!("'{}'", path.display()));
        Setup::of_file_again(path).boxed()
    }
}

async fn apply<F>(
    running: &Arc<Running>,
    read: impl FnOnce(Reading) -> F + Send + 'static,
) -> Result<Changes, SetupError>
where
    F: Future<Output = Result<Setup, SetupError>> + Send + 'static,
{
    let _exclusive = running.replacing.lock().await;
    let old = running.service.generation.load_full();
    let (reader, before) = (Arc::clone(running), Arc::clone(&old));
    let opened = running.reads.run(move |reading| async move {
        let setup = read(reading.clone()).await?;
        let settings = setup.tls.clone();
        let files = reading.clone();
        let tls = blocking(move || load_noting(&settings, &files)).await;
        let tls = tls.map_err(SetupError::Tls)?;
        let address = setup.address.clone();
        reading.at(format_args!("the system's answer about the address {address}"));
        let successor = reader.listening.prepare(&address).await;
        let successor = successor.map_err(|reason| SetupError::Listen { address, reason })?;
        let operations = reader.operations.prepare(setup.operations.as_ref()).await?;
        let (log, balancers) = (setup.log, setup.balancers.clone());
        reading.at("what `log.audit_file` and the section `keystore` name");
        let prepared = setup.open(&reader.service.metrics, Some(&before), Vec::new()).await?;
        let (new, loaded) = (prepared, Arc::clone(&tls));
        let compared = blocking(move || (compare(&reader, &before, &new.generation, &loaded), new));
        let (changes, prepared) = compared.await;
        Ok::<_, SetupError>((tls, successor, operations, log, balancers, prepared, changes))
    });
    let (tls, successor, operations, log, balancers, prepared, changes) =
        opened.await.map_err(|hangs| SetupError::Hangs { reason: hangs.to_string() })??;
    let Prepared { generation: new, reopened, audit_file, snapshot, pending } = prepared;

    warn_of_another_store(&old, &new);
    warn_of_keys_left_behind(&old, &new);

    // Nothing below can fail. Requests that have begun keep the generation that they began with.
    if let Some(reopened) = reopened {
        reopened.apply(&new.keys);
    }
    running.service.generation.store(Arc::new(new));
    running.service.readmit_followers();
    running.endpoint.balancers.store(Arc::new(balancers));
    running.replace_tls(&tls);
    running.service.logs.file.configure(audit_file);
    running.service.logs.set(log);
    running.check_certificates(&tls, true);
    if let Some(successor) = successor {
        running.listening.replace(successor);
    }
    if let Some(url) = running.operations.apply(operations) {
        tracing::info!("operations: listening on {url} from now on, as the configuration says");
    }
    snapshot::begin(running, Some(old), snapshot).await;
    pending.follow(running);
    Ok(changes)
}

/// What a configuration changes that is ready to be put into use. With ten thousand policies this
/// takes some milliseconds.
fn compare(running: &Running, old: &Generation, new: &Generation, tls: &Loaded) -> Changes {
    let mut policies = new.policies.changes_since(&old.policies);
    let variables = [&old.settings, &new.settings].map(kes_config::Settings::variables);
    for text in policies.patterns_mut() {
        // No message shows the value of a variable.
        if let Some(name) = variables.iter().find_map(|variables| variables.name_of(text)) {
            *text = format!("${{{name}}}").into();
        }
    }
    let mut settings = new.settings.changes_since(&old.settings);
    if let Some(fixed) = running.listening.fixed()
        && let Some(address) = settings.iter_mut().find(|change| change.field == "address")
    {
        address.text += &format!("; it takes effect after a restart without {fixed}");
    }
    if old.location != new.location && !settings.iter().any(Change::is_of_key_stores) {
        let text = "leads to another folder with the same marker, such as a copy".to_owned();
        settings.push(Change { field: "keystore.fs.path".into(), text });
    }
    let certificates = tls.changes_since(&running.endpoint.tls.load());
    Changes::new(&policies, &settings, &certificates)
}

/// Loads the TLS configuration. Notes each file before it is read for the first time.
fn load_noting(settings: &tls::Settings, reading: &Reading) -> Result<Arc<Loaded>, tls::Error> {
    for file in settings.files() {
        reading.at(format_args!("'{}'", file.display()));
        // Whatever is wrong with it is found again.
        let _ = kes_tls::open_file(&file).and_then(|mut opened| opened.read_exact(&mut [0]));
    }
    settings.load()
}

/// Warns that the keys are in another place now, or may be: the old ones can no longer be used.
fn warn_of_another_store(old: &Generation, new: &Generation) {
    if old.location == new.location {
        return;
    }
    let description = |generation: &Generation| {
        let variables = generation.settings.variables();
        let is_hidden = |section| {
            let fields = ["fs.path", "vault.endpoint"];
            fields.iter().any(|field| variables.set(&format!("{section}.{field}")))
        };
        if is_hidden("keystore") || is_hidden("migration.to") {
            "one that a variable names".to_owned()
        } else {
            generation.keys.description().to_string()
        }
    };
    let (from, to) = (description(old), description(new));
    let text = another_store(&from, &to, &old.location.differences(&new.location));
    tracing::warn!(detail = %text);
}

/// Warns of keys that are in one of two key stores alone, of which the other one is used from now on.
fn warn_of_keys_left_behind(old: &Generation, new: &Generation) {
    let (Some(report), None) = (old.keys.pair(), new.keys.pair()) else { return };
    let (Some(count), place) = (report.count, new.keys.description()) else { return };
    let [in_old, in_new] = report.stores;
    for (side, store, keys, names) in [
        (Side::Old, in_old, count.only_old, count.named_old),
        (Side::New, in_new, count.only_new, count.named_new),
    ] {
        if keys > 0 && store.description != place {
            let (side, names) = (side.word(), kes_config::listed(names));
            tracing::warn!(
                "{keys} keys were in the {side} key store alone when they were counted last, such as \
                 {names}, and it is not used any more: to use them, configure 'migration' again and \
                 run 'kes migrate --online'"
            );
        }
    }
}

fn another_store(from: &str, to: &str, differences: &[&str]) -> String {
    let with = if differences.is_empty() { "" } else { ", with " };
    let differences = differences.join(" and ");
    if from == to && differences.is_empty() {
        return format!(
            "key store changed: another folder is in the place of {from}, such as a copy; the keys in \
             memory are dropped"
        );
    }
    format!(
        "key store changed from {from} to {to}{with}{differences}; the keys in memory are dropped"
    )
}

/// Applies the certificate files whenever they differ from what was `seen`. Never returns.
pub(crate) async fn follow_certificates(
    running: Arc<Running>,
    mut seen: Fingerprint,
) -> Infallible {
    let files = || running.endpoint.tls.load().settings.files();
    loop {
        let now = changed(files, &seen, &running.watching).await;
        // A reload meanwhile must not be undone with the settings that it has replaced.
        let _exclusive = running.replacing.lock().await;
        let settings = running.endpoint.tls.load().settings.clone();
        let loaded =
            running.watching.run(|reading| blocking(move || load_noting(&settings, &reading)));
        let loaded = loaded.await.map_err(|hangs| hangs.to_string());
        let loaded = loaded.and_then(|loaded| loaded.map_err(|error| error.to_string()));
        apply_certificates(&running, loaded, now != seen);
        seen = now;
    }
}

/// Logs when a certificate expires, and daily in its last 30 days. Never returns.
pub(crate) async fn follow_expiry(running: Arc<Running>) -> Infallible {
    loop {
        let tls = running.endpoint.tls.load_full();
        tokio::time::sleep(expiry::next_check(&tls.certificates, SystemTime::now())).await;
        running.check_certificates(&running.endpoint.tls.load(), false);
    }
}

fn apply_certificates(running: &Running, loaded: Result<Arc<Loaded>, String>, has_changed: bool) {
    let reloads = &running.service.reloads;
    match loaded {
        Ok(tls) => {
            let changes = tls.changes_since(&running.endpoint.tls.load());
            let changes = Changes::of_certificates(&changes);
            running.replace_tls(&tls);
            running.check_certificates(&tls, has_changed);
            let summary = changes.summary();
            reloads.record(Subject::Certificates, Ok(&summary));
            // Every 15 min they are read without a reason to.
            if has_changed || !changes.are_none() {
                changes.log();
                tracing::info!(detail = %summary, "the certificate files were read again");
            }
        }
        Err(error) => {
            tracing::error!(
                detail = %error,
                "reload of the certificate files failed; still using the previous ones"
            );
            reloads.record(Subject::Certificates, Err(&error));
        }
    }
}

#[cfg(test)]
mod tests;
