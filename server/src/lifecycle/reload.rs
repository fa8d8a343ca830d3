//! A new configuration, or new certificates, for a server that goes on serving: all of it or
//! none of it.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use crate::lifecycle::setup::{Prepared, Setup, SetupError};
use crate::lifecycle::state::{Shared, State};
use crate::transport::tls::Loaded;
use crate::transport::tls::expiry;
use crate::transport::tls::watch::{Fingerprint, changed};

/// Reads the configuration again and applies it. If anything is wrong with it, nothing changes.
pub(crate) async fn reload(shared: &Arc<Shared>, path: &Path) {
    let result = match apply(shared, path).await {
        Ok(()) => {
            tracing::info!("the configuration was read again");
            "success"
        }
        Err(mut error) => {
            if let SetupError::Config(errors) = &mut error {
                for warning in errors.take_warnings() {
                    tracing::warn!("{warning}");
                }
            }
            tracing::error!("reload failed; still using the previous configuration: {error}");
            "error"
        }
    };
    shared.metrics.reloads.with_label_values(&[result]).inc();
}

async fn apply(shared: &Arc<Shared>, path: &Path) -> Result<(), SetupError> {
    let _alone = shared.replacing.lock().await;
    let setup = Setup::of_file(path)?;
    let tls = setup.tls.load().map_err(SetupError::Tls)?;
    let address = setup.address.clone();
    let successor = shared.listening.prepare(&address).await;
    let successor = successor.map_err(|reason| SetupError::Listen { address, reason })?;
    let log = setup.log;
    let old = shared.state.load_full();
    let prepared = setup.open(&shared.metrics, Some(&old)).await?;
    let Prepared { state, reopened, pending } = prepared;

    tell_store(&old, &state);

    // Nothing below fails. Requests under way end with the state that they began with.
    if let Some((store, expiry)) = reopened {
        state.keys.reconfigure(store, expiry);
    }
    shared.state.store(Arc::new(state));
    shared.tls.store(Arc::clone(&tls));
    shared.logs.set(log);
    shared.check_certificates(&tls, true);
    if let Some(successor) = successor {
        shared.listening.replace(successor);
    }
    pending.create(shared);
    Ok(())
}

/// Tells that the keys now live elsewhere: the old ones can no longer be used.
fn tell_store(old: &State, new: &State) {
    if old.location == new.location {
        return;
    }
    let (from, to) = (old.keys.description(), new.keys.description());
    let other =
        if from == to { ", with another engine, namespace, prefix or transit key" } else { "" };
    tracing::warn!("key store changed from {from} to {to}{other}");
}

/// Applies certificate files as they change from what was `seen`. Never returns.
pub(crate) async fn follow_certificates(shared: Arc<Shared>, mut seen: Fingerprint) {
    let files = || shared.state.load().tls.files();
    loop {
        let now = changed(files, &seen).await;
        // A reload that came between must not be undone with what stood before it.
        let _alone = shared.replacing.lock().await;
        let settings = shared.state.load().tls.clone();
        let loaded = tokio::task::spawn_blocking(move || settings.load()).await;
        let Ok(loaded) = loaded else { continue };
        apply_certificates(&shared, loaded, now != seen);
        seen = now;
    }
}

/// Tells when a certificate comes to its end, and daily while fewer than 30 days are left.
/// Never returns.
pub(crate) async fn follow_expiry(shared: Arc<Shared>) {
    loop {
        let tls = shared.tls.load_full();
        tokio::time::sleep(expiry::next_check(&tls.certificates, SystemTime::now())).await;
        shared.check_certificates(&shared.tls.load(), false);
    }
}

impl Shared {
    /// Tells which of the server's certificates have expired or soon will: all of them `anew`, or
    /// those of which that has to be told now.
    pub(crate) fn check_certificates(&self, tls: &Loaded, anew: bool) {
        self.expiry.check(&tls.certificates, SystemTime::now(), anew);
        let end = tls.certificates.iter().map(|certificate| certificate.validity.until).min();
        let end = end.and_then(|end| end.duration_since(SystemTime::UNIX_EPOCH).ok());
        let end = end.and_then(|end| i64::try_from(end.as_secs()).ok()).unwrap_or_default();
        self.metrics.certificate_end.store(end, Ordering::Relaxed);
    }
}

fn apply_certificates(
    shared: &Shared,
    loaded: Result<Arc<Loaded>, crate::transport::tls::Error>,
    has_changed: bool,
) {
    let result = match loaded {
        Ok(config) => {
            shared.tls.store(Arc::clone(&config));
            shared.check_certificates(&config, has_changed);
            if has_changed {
                tracing::info!("the certificate files were read again");
            }
            "success"
        }
        Err(error) => {
            tracing::error!(
                "reload of the certificate files failed; still using the previous ones: {error}"
            );
            "error"
        }
    };
    shared.metrics.reloads.with_label_values(&[result]).inc();
}
