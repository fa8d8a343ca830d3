//! What starts, what stops, and in which order.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use kes_api::{Identity, Timestamp};
use kes_config::Level;
use rustls::sign::CertifiedKey;
use sd_notify::NotifyState;
use tokio::sync::watch;

use crate::listener::Listener;
use crate::logging::Logs;
use crate::metrics::Metrics;
use crate::setup::{Setup, SetupError};
use crate::signals::{Signal, Signals};
use crate::state::{BuildInfo, Shared};
use crate::tls::watch::Fingerprint;
use crate::{reload, setup};

/// How long requests that run when the server is told to stop may go on (contract `config.md`,
/// While it runs).
const DRAIN: Duration = Duration::from_secs(10);

/// How a server is to be run.
pub struct Options {
    /// What it is configured by.
    pub source: Source,
    /// Where to listen, instead of what the source says: `host:port`, or `:port`.
    pub address: Option<kes_config::Address>,
    /// What the binary was built from.
    pub build: BuildInfo,
}

/// What a server is configured by.
pub enum Source {
    /// A file, read again on SIGHUP.
    File(PathBuf),
    /// A dev server: keys in memory, one admin, nothing else.
    Dev {
        /// Who may do everything.
        admin: Identity,
        /// The certificate to serve with.
        certificate: Arc<CertifiedKey>,
    },
}

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration, or something that it names.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// The address.
    #[error("cannot listen on {address}: {reason}")]
    Listen {
        /// Where the server was to listen.
        address: kes_config::Address,
        /// What the system says.
        reason: std::io::Error,
    },
    /// The system refuses something that every process may have.
    #[error("cannot start: {reason}")]
    System {
        /// What the system says.
        reason: std::io::Error,
    },
}

/// A server that listens and does not yet answer.
pub struct Server {
    shared: Arc<Shared>,
    listener: Listener,
    signals: Signals,
    source: Option<PathBuf>,
    info: Info,
    pending: setup::PendingKeys,
    certificates: Fingerprint,
}

/// What the start-up message tells.
#[derive(Clone, Debug)]
pub struct Info {
    /// What the binary was built from.
    pub build: BuildInfo,
    /// Kind and place of the key store.
    pub keystore: String,
    /// Where the server listens.
    pub address: SocketAddr,
    /// Who may do everything; `None` if nobody.
    pub admin: Option<Identity>,
    /// Level of the error log.
    pub error_level: Level,
    /// Level of the audit log.
    pub audit_level: Level,
}

impl Server {
    /// Reads the configuration, opens the key store and binds the address. Must be called within
    /// a tokio runtime.
    ///
    /// # Errors
    /// [`Error`] if the configuration is wrong, or something that it names cannot be used. A
    /// Vault that is away is no error: the server waits for it.
    pub async fn start(options: Options) -> Result<Self, Error> {
        let metrics = Arc::new(Metrics::new());
        let logs = Logs::start(Arc::clone(&metrics));
        let started = Self::open(options, metrics, Arc::clone(&logs)).await;
        if started.is_err() {
            // What was warned of belongs before the error, and the process is about to end.
            logs.flush();
        }
        started
    }

    async fn open(options: Options, metrics: Arc<Metrics>, logs: Arc<Logs>) -> Result<Self, Error> {
        let (source, setup) = match options.source {
            Source::File(path) => {
                let setup = Setup::of_file(&path)?;
                (Some(path), setup)
            }
            Source::Dev { admin, certificate } => (None, Setup::dev(admin, certificate)),
        };
        logs.set(setup.log);
        let address = options.address.unwrap_or_else(|| setup.address.clone());
        // Looked at before they are read: a change after that is seen.
        let certificates = Fingerprint::of(&setup.tls.files());
        let tls = setup.tls.load().map_err(SetupError::Tls)?;
        let listen = |reason| Error::Listen { address: address.clone(), reason };
        let listener = Listener::bind(&address).await.map_err(listen)?;
        let bound = listener.address().map_err(listen)?;
        let signals = Signals::listen().map_err(|reason| Error::System { reason })?;

        let log = setup.log;
        let (state, pending) = setup.open(&metrics, None).await?;
        let info = Info {
            build: options.build,
            keystore: state.keys.description(),
            address: bound,
            admin: state.policies.admin().copied(),
            error_level: log.error,
            audit_level: log.audit,
        };
        let shared = Arc::new(Shared {
            state: ArcSwap::from_pointee(state),
            tls: ArcSwap::new(tls),
            replacing: tokio::sync::Mutex::new(()),
            metrics,
            logs,
            started: Instant::now(),
            started_at: Timestamp::now(),
            build: options.build,
        });
        Ok(Self { shared, listener, signals, source, info, pending, certificates })
    }

    /// What the start-up message tells.
    pub fn info(&self) -> &Info {
        &self.info
    }

    /// Serves until SIGTERM or SIGINT. SIGHUP reads the configuration again.
    pub async fn run(self) {
        let Self { shared, listener, mut signals, source, pending, certificates, .. } = self;
        let (stop, stopping) = watch::channel(false);
        let accepting = tokio::spawn(listener.serve(Arc::clone(&shared), stopping));
        let following = reload::follow_certificates(Arc::clone(&shared), certificates);
        let certificates = tokio::spawn(following);
        pending.create(&shared);
        notify(&[NotifyState::Ready]);

        loop {
            match signals.next().await {
                Signal::Stop => break,
                Signal::Reload => {
                    let Some(path) = &source else {
                        tracing::warn!("a dev server has no configuration to read again");
                        continue;
                    };
                    let since = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
                    let micros =
                        i128::from(since.tv_sec) * 1_000_000 + i128::from(since.tv_nsec) / 1_000;
                    notify(&[NotifyState::Reloading, NotifyState::MonotonicUsec(micros)]);
                    reload::reload(&shared, path).await;
                    notify(&[NotifyState::Ready]);
                }
            }
        }

        notify(&[NotifyState::Stopping]);
        tracing::info!("stopping: running requests get up to {} s", DRAIN.as_secs());
        certificates.abort();
        stop.send_replace(true);
        shared.logs.close_streams();
        let drained = async {
            if let Ok(drain) = accepting.await {
                drain.ended().await;
            }
        };
        if tokio::time::timeout(DRAIN, drained).await.is_err() {
            tracing::warn!("some requests did not end in time");
        }
        shared.logs.flush();
    }
}

/// Tells systemd, where it is there.
fn notify(states: &[NotifyState<'_>]) {
    let _ = sd_notify::notify(states);
}
