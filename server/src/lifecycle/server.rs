//! What starts, what stops, and in which order.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use kes_api::{Identity, Timestamp};
use kes_config::{ConfiguredAddress, Level};
use rustls::sign::CertifiedKey;
use sd_notify::NotifyState;
use tokio::sync::watch;

use crate::lifecycle::setup::{Prepared, Setup, SetupError};
use crate::lifecycle::signals::{Signal, Signals};
use crate::lifecycle::state::{BuildInfo, Shared};
use crate::lifecycle::{reload, setup};
use crate::observe::logging::Logs;
use crate::observe::logging::repeats::{self, Repeats};
use crate::observe::metrics::Metrics;
use crate::transport::listener::{Listener, Listening};
use crate::transport::tls::expiry::Expiry;
use crate::transport::tls::watch::Fingerprint;

/// How long requests that run when the server is told to stop may go on (contract `config.md`,
/// While it runs).
const DRAIN: Duration = Duration::from_secs(10);

/// How a server is to be run.
pub struct Options {
    /// What it is configured by.
    pub source: Source,
    /// Where to listen, instead of what the source says: `host:port`, or `:port`.
    pub address: Option<ConfiguredAddress>,
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
    #[error("{}", cannot_listen(address, reason))]
    Listen {
        /// Where the server was to listen.
        address: ConfiguredAddress,
        /// What the system says.
        reason: std::io::Error,
    },
    /// The limit of open files is too low for any server.
    #[error(
        "the process may open only {limit} files, and a server needs at least {needed}; raise \
         LimitNOFILE (systemd) or `ulimit -n`"
    )]
    Files {
        /// The limit.
        limit: u64,
        /// The smallest limit that works.
        needed: u64,
    },
    /// The system refuses something that every process may have.
    #[error("cannot start: {reason}")]
    System {
        /// What the system says.
        reason: std::io::Error,
    },
}

/// Says which address cannot be bound, where it was set, and what to do.
pub(crate) fn cannot_listen(address: &ConfiguredAddress, reason: &std::io::Error) -> String {
    let hint = listen_hint(address, reason);
    address.blame(format_args!("cannot listen on {address}: {reason}{hint}"))
}

/// What to do where a port may not be bound.
fn listen_hint(address: &kes_config::Address, reason: &std::io::Error) -> &'static str {
    match reason.kind() {
        std::io::ErrorKind::PermissionDenied if address.port() < 1024 => {
            "; ports below 1024 need CAP_NET_BIND_SERVICE: add it to AmbientCapabilities and \
             CapabilityBoundingSet of the systemd unit, or use another port such as 7373"
        }
        std::io::ErrorKind::AddrNotAvailable => "; no interface of this machine has that address",
        _ => "",
    }
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
        // Before all else: until then a SIGHUP ends the process.
        let signals = Signals::listen().map_err(|reason| Error::System { reason })?;
        let metrics = Arc::new(Metrics::new());
        let logs = Logs::start(Arc::clone(&metrics));
        let started = Self::open(options, signals, metrics, Arc::clone(&logs)).await;
        if started.is_err() {
            // What was warned of belongs before the error, and the process is about to end.
            logs.flush();
        }
        started
    }

    async fn open(
        options: Options,
        signals: Signals,
        metrics: Arc<Metrics>,
        logs: Arc<Logs>,
    ) -> Result<Self, Error> {
        let (source, setup) = match options.source {
            Source::File(path) => {
                let setup = Setup::of_file(&path)?;
                (Some(path), setup)
            }
            Source::Dev { admin, certificate } => (None, Setup::dev(admin, certificate)),
        };
        logs.set(setup.log);
        let is_fixed = options.address.is_some();
        let address = options.address.unwrap_or_else(|| setup.address.clone());
        // Looked at before they are read: a change after that is seen.
        let certificates = Fingerprint::of(&setup.tls.files());
        let tls = setup.tls.load().map_err(SetupError::Tls)?;
        let listen = |reason| Error::Listen { address: address.clone(), reason };
        let listening = Listening::start(&address, is_fixed).await.map_err(listen)?;
        let bound = listening.local().map_err(listen)?;
        let listener = listening.listener();
        metrics.max_connections.set(listener.max().into());

        let log = setup.log;
        let Prepared { state, pending, .. } = setup.open(&metrics, None).await?;
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
            listening,
            tls: ArcSwap::new(Arc::clone(&tls)),
            replacing: tokio::sync::Mutex::new(()),
            metrics,
            logs,
            repeats: Repeats::default(),
            expiry: Expiry::default(),
            started: Instant::now(),
            started_at: Timestamp::now(),
            build: options.build,
        });
        shared.check_certificates(&tls, true);
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
        let expiring = tokio::spawn(reload::follow_expiry(Arc::clone(&shared)));
        let telling = tokio::spawn(log_repeats(Arc::clone(&shared)));
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
        expiring.abort();
        telling.abort();
        stop.send_replace(true);
        shared.listening.close();
        shared.logs.close_streams();
        let drained = async {
            if let Ok(drain) = accepting.await {
                drain.ended().await;
            }
        };
        if tokio::time::timeout(DRAIN, drained).await.is_err() {
            tracing::warn!("some requests did not finish in time");
        }
        shared.repeats.log_all();
        shared.logs.flush();
    }
}

/// Tells what clients caused again and again. Never returns.
async fn log_repeats(shared: Arc<Shared>) {
    let mut ticks = tokio::time::interval(repeats::CHECK_INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        shared.repeats.log_due();
    }
}

/// Tells systemd, where it is there.
fn notify(states: &[NotifyState<'_>]) {
    let _ = sd_notify::notify(states);
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use super::*;

    #[test]
    fn what_to_do_about_a_port_is_told() {
        let hint = |address: &str, kind: ErrorKind| {
            let address: kes_config::Address = address.parse().unwrap();
            listen_hint(&address, &kind.into())
        };
        let denied = hint("0.0.0.0:443", ErrorKind::PermissionDenied);
        assert!(denied.contains("CAP_NET_BIND_SERVICE"), "{denied}");
        assert_eq!(hint("0.0.0.0:7373", ErrorKind::PermissionDenied), "");
        let elsewhere = hint("192.0.2.1:7373", ErrorKind::AddrNotAvailable);
        assert!(elsewhere.contains("no interface"), "{elsewhere}");
        assert_eq!(hint("0.0.0.0:443", ErrorKind::AddrInUse), "");
    }
}
