//! A new configuration, or new certificates, for a server that goes on serving: all of it is
//! applied, or nothing.

use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use tokio::task::JoinHandle;

use super::blocking::blocking;
use super::error::SetupError;
use super::setup::{Prepared, Setup};
use super::state::Running;
use super::systemd;
use super::watch::{Fingerprint, changed};
use crate::service::generation::Generation;
use crate::transport::tls::{self, Loaded, expiry};

/// The reloads of a server: one after the other, each in a task of its own, since a file that it
/// reads may hang and the server has to react to signals meanwhile.
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
        self.task = Some(tokio::spawn(reload(Arc::clone(&self.running), path.clone())));
    }

    /// Waits for the end of the reload that runs, and starts the next one if it was requested.
    /// Dropping the future loses nothing.
    pub(super) async fn finished(&mut self) {
        let Some(task) = &mut self.task else { return std::future::pending().await };
        if task.await.is_err() {
            tracing::error!("a bug of the server: the reload panicked");
            self.running.status.reloaded(Some("a bug of the server: it panicked".to_owned()));
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
async fn reload(running: Arc<Running>, path: PathBuf) {
    let result = match apply(&running, path).await {
        Ok(()) => {
            tracing::info!("the configuration was read again");
            running.status.reloaded(None);
            "success"
        }
        Err(mut error) => {
            if let SetupError::Config(errors) = &mut error {
                for warning in errors.take_warnings() {
                    tracing::warn!("{warning}");
                }
            }
            tracing::error!("reload failed; still using the previous configuration: {error}");
            running.status.reloaded(Some(error.to_string()));
            "error"
        }
    };
    running.service.metrics.reloads.with_label_values(&[result]).inc();
}

async fn apply(running: &Running, path: PathBuf) -> Result<(), SetupError> {
    let _exclusive = running.replacing.lock().await;
    let setup = Setup::of_file(path).await?;
    let settings = setup.tls.clone();
    let tls = blocking(move || settings.load()).await.map_err(SetupError::Tls)?;
    let address = setup.address.clone();
    let successor = running.listening.prepare(&address).await;
    let successor = successor.map_err(|reason| SetupError::Listen { address, reason })?;
    let operations = running.operations.prepare(setup.operations.as_ref()).await?;
    let log = setup.log;
    let old = running.service.generation.load_full();
    let prepared = setup.open(&running.service.metrics, Some(&old)).await?;
    let Prepared { generation: new, reopened, pending } = prepared;

    warn_of_another_store(&old, &new);

    // Nothing below can fail. Requests that have begun keep the generation that they began with.
    if let Some((store, expiry)) = reopened {
        new.keys.reconfigure(store, expiry);
    }
    running.service.generation.store(Arc::new(new));
    running.service.readmit_followers();
    running.replace_tls(&tls);
    running.service.logs.set(log);
    running.check_certificates(&tls, true);
    if let Some(successor) = successor {
        running.listening.replace(successor);
    }
    if let Some(url) = running.operations.apply(operations) {
        tracing::info!("operations: listening on {url} from now on, as the configuration says");
    }
    pending.create(running);
    Ok(())
}

/// Warns that the keys are in another place now, or may be: the old ones can no longer be used.
fn warn_of_another_store(old: &Generation, new: &Generation) {
    if old.location == new.location {
        return;
    }
    let (from, to) = (old.keys.description(), new.keys.description());
    tracing::warn!("{}", another_store(&from, &to, &old.location.differences(&new.location)));
}

fn another_store(from: &str, to: &str, differences: &[&str]) -> String {
    let with = if differences.is_empty() { "" } else { ", with " };
    let differences = differences.join(" and ");
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
        let now = changed(files, &seen).await;
        // A reload meanwhile must not be undone with the settings that it has replaced.
        let _exclusive = running.replacing.lock().await;
        let settings = running.endpoint.tls.load().settings.clone();
        let loaded = blocking(move || settings.load()).await;
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

fn apply_certificates(
    running: &Running,
    loaded: Result<Arc<Loaded>, tls::Error>,
    has_changed: bool,
) {
    let result = match loaded {
        Ok(tls) => {
            running.replace_tls(&tls);
            running.check_certificates(&tls, has_changed);
            if has_changed {
                tracing::info!("the certificate files were read again");
            }
            running.status.read_certificates(None);
            "success"
        }
        Err(error) => {
            tracing::error!(
                "reload of the certificate files failed; still using the previous ones: {error}"
            );
            running.status.read_certificates(Some(error.to_string()));
            "error"
        }
    };
    running.service.metrics.reloads.with_label_values(&[result]).inc();
}

#[cfg(test)]
mod tests;
