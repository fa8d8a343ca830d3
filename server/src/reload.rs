//! A new configuration, or new certificates, for a server that goes on serving: all of it or
//! none of it.

use std::path::Path;
use std::sync::Arc;

use rustls::ServerConfig;

use crate::setup::{Setup, SetupError};
use crate::state::Shared;
use crate::tls::watch::{Fingerprint, changed};

/// Reads the configuration again and applies it. If anything is wrong with it, nothing changes.
pub(crate) async fn reload(shared: &Arc<Shared>, path: &Path) {
    let result = match apply(shared, path).await {
        Ok(()) => {
            tracing::info!("the configuration was read again");
            "success"
        }
        Err(error) => {
            tracing::error!("the configuration was not read again, the old one goes on: {error}");
            "error"
        }
    };
    shared.metrics.reloads.with_label_values(&[result]).inc();
}

async fn apply(shared: &Arc<Shared>, path: &Path) -> Result<(), SetupError> {
    let _alone = shared.replacing.lock().await;
    let setup = Setup::of_file(path)?;
    let tls = setup.tls.load().map_err(SetupError::Tls)?;
    let log = setup.log;
    let old = shared.state.load_full();
    let (state, pending) = setup.open(&shared.metrics, Some(&old)).await?;

    // Nothing below fails. Requests under way end with the state that they began with.
    shared.state.store(Arc::new(state));
    shared.tls.store(tls);
    shared.logs.set(log);
    pending.create(shared);
    Ok(())
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

fn apply_certificates(
    shared: &Shared,
    loaded: Result<Arc<ServerConfig>, crate::tls::Error>,
    has_changed: bool,
) {
    let result = match loaded {
        Ok(config) => {
            shared.tls.store(config);
            if has_changed {
                tracing::info!("the certificate files were read again");
            }
            "success"
        }
        Err(error) => {
            tracing::error!("the certificate files cannot be used, the old ones go on: {error}");
            "error"
        }
    };
    shared.metrics.reloads.with_label_values(&[result]).inc();
}
