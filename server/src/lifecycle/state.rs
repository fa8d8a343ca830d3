//! The running server: what its requests and connections use, and what a reload replaces.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use kes_keystore::State;

use super::operations::page::Shown;
use super::operations::page::facts::Facts;
use super::operations::{self, Health};
use super::reads::Reads;
use super::shown;
use super::status::Status;
use crate::observe::metrics::{Audience, Exposition, Format, Readings};
use crate::service::ApiService;
use crate::transport::Endpoint;
use crate::transport::listener::Listening;
use crate::transport::tls::Loaded;
use crate::transport::tls::expiry::Expiry;

/// A server that runs. A reload replaces the generation of `service`, the TLS configuration of
/// `endpoint`, and the address of `listening`.
pub(crate) struct Running {
    pub(crate) service: Arc<ApiService>,
    pub(crate) endpoint: Arc<Endpoint<ApiService>>,
    pub(crate) listening: Listening,
    pub(crate) operations: operations::Listener<Self>,
    /// Held by a task that replaces one of these, from reading files to storing the result.
    pub(crate) replacing: tokio::sync::Mutex<()>,
    /// The reads of reloads, and those of the watch of the certificate files: neither stops the other.
    pub(crate) reads: Reads,
    pub(crate) watching: Reads,
    /// What was logged of the server's certificates.
    pub(crate) expiry: Expiry,
    /// What the service manager is told.
    pub(crate) status: Status,
}

impl Health for Running {
    fn answers(&self) -> impl Future<Output = ()> + Send {
        self.listening.answers()
    }

    fn is_store_reachable(&self) -> bool {
        matches!(self.service.generation.load().keys.state(), State::Reachable { .. })
    }

    fn metrics(&self, format: Format) -> Exposition {
        self.service.metrics_text(&self.service.generation.load(), Audience::Everything(format))
    }
}

impl Shown for Running {
    fn readings(&self) -> Readings {
        self.service.metrics.readings()
    }

    fn store_state(&self) -> State {
        self.service.generation.load().keys.state()
    }

    fn facts(&self, with_details: bool) -> Facts {
        shown::facts(&self.service, &self.endpoint.tls.load(), with_details)
    }
}

impl Running {
    /// Serves with these certificates from now on.
    pub(crate) fn replace_tls(&self, tls: &Arc<Loaded>) {
        self.endpoint.tls.replace(Arc::clone(tls));
        self.operations.replace_tls(Arc::clone(&tls.without_clients));
    }

    /// The state of the server in one line.
    pub(crate) fn status_line(&self) -> String {
        self.status.text(&self.service, &self.endpoint.tls.load())
    }

    /// Logs which of the server's certificates have expired or soon will: those that are due, or
    /// with `anew` all of them.
    pub(crate) fn check_certificates(&self, tls: &Loaded, anew: bool) {
        self.expiry.check(&tls.certificates, SystemTime::now(), anew);
        let end = tls.certificates.iter().map(|certificate| certificate.validity.until).min();
        let end = end.and_then(|end| end.duration_since(SystemTime::UNIX_EPOCH).ok());
        let end = end.and_then(|end| i64::try_from(end.as_secs()).ok()).unwrap_or_default();
        self.service.metrics.certificate_end.store(end, Ordering::Relaxed);
    }
}
