//! What starts, what stops, and in which order.

use std::convert::Infallible;
use std::mem::take;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use kes_api::{Identity, Timestamp};
use kes_config::{ConfiguredAddress, Level};
use kes_keys::SnapshotSettings;
use rustls::sign::CertifiedKey;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::background::endless;
use super::blocking::blocking;
use super::error::{Error, SetupError};
use super::handover;
use super::handover::giver::HandOvers;
use super::handover::program::Program;
use super::handover::taker::{Predecessor, Sockets, Taken, Takeover};
use super::operations;
use super::passed::PassedSockets;
use super::pending::PendingKeys;
use super::process::max_connections;
use super::reads::Reads;
use super::reload::{self, Reloads};
use super::setup::{Prepared, Setup};
use super::signals::{Signal, Signals};
use super::snapshot;
use super::state::Running;
use super::status::Status;
use super::systemd;
use super::watch::Fingerprint;
use crate::observe::logging::Logs;
use crate::observe::logging::repeats::{self, Repeats};
use crate::observe::metrics::Metrics;
use crate::service::budget::Budgets;
use crate::service::denials::Denials;
use crate::service::proxies::ForwardedRequests;
use crate::service::refusals::Refusals;
use crate::service::reloads::{LastReloads, Subject};
use crate::service::store_calls::StoreCalls;
use crate::service::{ApiService, BuildInfo};
use crate::transport::listener::{Listener, Listening};
use crate::transport::tls::current::CurrentTls;
use crate::transport::tls::expiry::Expiry;
use crate::transport::{Ending, Endpoint};

/// How long running requests may go on when the server shuts down (contract `config.md`, While it
/// runs).
const DRAIN: Duration = Duration::from_secs(10);

/// How to run a server.
pub struct Options {
    /// What it is configured by.
    pub source: Source,
    /// Where to listen, instead of what the source says: `host:port`, or `:port`.
    pub address: Option<ConfiguredAddress>,
    /// Where to listen, instead of either: sockets that the service manager has opened.
    pub passed: PassedSockets,
    /// The server that hands over to this one.
    pub predecessor: Option<Predecessor>,
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

/// A server that listens and does not answer yet.
pub struct Server {
    signals: Signals,
    opened: Opened,
    program: Program,
    taken: Option<Taken>,
}

/// What a server has opened.
pub(super) struct Opened {
    pub(super) running: Arc<Running>,
    listener: Listener,
    source: Option<PathBuf>,
    info: Info,
    operations: operations::Change,
    pending: PendingKeys,
    snapshot: Option<SnapshotSettings>,
    pub(super) certificates: Fingerprint,
    /// At how many of the sockets of the server that hands over it listens, and whether at that of the
    /// operations listener.
    inherited: (usize, bool),
}

/// What the start-up message tells.
#[derive(Clone, Debug)]
pub struct Info {
    /// What the binary was built from.
    pub build: BuildInfo,
    /// Kind and place of the key store.
    pub keystore: String,
    /// Where the server listens: at one address, unless the service manager has passed sockets.
    pub addresses: Vec<SocketAddr>,
    /// Where the operations listener is found; `None` without one.
    pub operations: Option<String>,
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
    /// [`Error`] if the configuration is wrong, or something that it names cannot be used, or a
    /// signal asks to stop. A Vault that is away is no error: the server waits for it.
    pub async fn start(mut options: Options) -> Result<Self, Error> {
        let program = Program::of_this_process();
        // First of all: until then SIGHUP ends the process.
        let mut signals = Signals::listen().map_err(|reason| Error::System { reason })?;
        let metrics = Arc::new(Metrics::new());
        let logs = Logs::start(Arc::clone(&metrics));
        let mut takeover = match options.predecessor.take() {
            // The service manager listens to the other process.
            Some(predecessor) => Some(predecessor.greet(options.build.version).await?),
            None => {
                systemd::starting();
                None
            }
        };
        let sockets = takeover.as_mut().map(Takeover::sockets);
        let opened = tokio::select! {
            biased;
            () = signals.stop() => Err(Error::Stopped),
            opened = Opened::open(options, metrics, Arc::clone(&logs), sockets) => opened,
        };
        match (opened, takeover) {
            (Ok(mut opened), None) => {
                snapshot::begin(&opened.running, None, opened.snapshot.take()).await;
                Ok(Self { signals, opened, program, taken: None })
            }
            (Ok(mut opened), Some(takeover)) => {
                let (api, operations) = opened.inherited;
                let taken = Some(takeover.take(&opened.running, api, operations).await?);
                // The other process has written its last one.
                snapshot::begin(&opened.running, None, opened.snapshot.take()).await;
                Ok(Self { signals, opened, program, taken })
            }
            (Err(error), takeover) => {
                // The process is about to end: the warnings have to be written before the error.
                logs.flush();
                match takeover {
                    Some(takeover) => takeover.failed(&error).await,
                    None => systemd::failed(&error),
                }
                Err(error)
            }
        }
    }

    /// What the start-up message tells.
    pub fn info(&self) -> &Info {
        &self.opened.info
    }

    /// Serves until SIGTERM or SIGINT, or until another process has taken over. SIGHUP reads the
    /// configuration again, and SIGUSR2 hands over.
    pub async fn run(self) {
        let Self { mut signals, opened, program, taken } = self;
        let Opened { running, listener, source, operations, pending, certificates, .. } = opened;
        let (shutdown, is_set) = watch::channel(Ending::None);
        let accepting = tokio::spawn(listener.serve(Arc::clone(&running.endpoint), is_set));
        running.operations.apply(operations);
        running.operations.started(&running);
        let mut predecessor = None;
        if let Some(taken) = taken {
            let (told, ending) = taken.serving(Arc::clone(&running)).await;
            tracing::info!("{told}");
            running.service.reloads.record(Subject::HandOver, Ok(&told));
            predecessor = Some(ending);
        }
        let background = background(&running, certificates);
        pending.follow(&running);
        systemd::ready(&running.status_line());

        let mut reloads = Reloads::new(Arc::clone(&running), source.clone());
        let mut hand_overs = HandOvers::new(Arc::clone(&running), program, source, predecessor);
        // Whether a reload was asked for during a hand-over.
        let mut reload_after = false;
        let given = loop {
            tokio::select! {
                signal = signals.next() => match signal {
                    Signal::Stop => break None,
                    Signal::Reload if hand_overs.is_under_way() => reload_after = true,
                    Signal::Reload => reloads.request(),
                    Signal::HandOver => hand_overs.request(),
                },
                () = reloads.finished() => {}
                given = hand_overs.ended() => match given {
                    Some(given) => break Some(given),
                    None if take(&mut reload_after) => reloads.request(),
                    None => {}
                }
            }
        };
        drop(hand_overs);
        drop(reloads);
        for task in background {
            task.abort();
        }
        let limit = DRAIN.as_secs();
        let changes = match given {
            None => {
                let stopping = format!("stopping: running requests get up to {limit} s");
                running.operations.stopping();
                systemd::stopping(&stopping);
                tracing::info!("{stopping}");
                shutdown.send_replace(Ending::Stop);
                None
            }
            Some(given) => {
                systemd::handed_over(given.id());
                tracing::info!(
                    "handed over to process {}: running requests get up to {limit} s",
                    given.id()
                );
                if given.api {
                    running.listening.keep_open();
                }
                running.operations.hand_over(given.operations);
                let idle = handover::idle_time(running.service.logs.file.is_on());
                shutdown.send_replace(Ending::HandOver(idle));
                Some(given.release(&running, reload_after).await)
            }
        };
        running.listening.close();
        running.service.logs.close_streams();
        let drained = async {
            if let Ok(drain) = accepting.await {
                drain.ended().await;
            }
            // A change goes on without its client.
            let _none_goes_on = running.service.changing.write().await;
        };
        if tokio::time::timeout(DRAIN, drained).await.is_err() {
            tracing::warn!("some requests did not finish in time");
        }
        if let Some(changes) = changes {
            changes.end().await;
        } else {
            snapshot::save(&running).await;
        }
        if let Some(left) = running.service.metrics.migration.notes.left_unfinished() {
            tracing::warn!(
                "changes were made in one of the two key stores alone: {left}; this process no longer \
                 completes them: 'kes migrate --online' copies what was created, and a delete has to \
                 be repeated"
            );
        }
        if let Some(traces) = &running.service.generation.load_full().traces {
            traces.end().await;
        }
        running.operations.close();
        running.endpoint.repeats.log_all();
        running.service.refusals.write_due(&running.service.logs, true);
        running.service.logs.flush();
    }
}

impl Opened {
    pub(super) async fn open(
        options: Options,
        metrics: Arc<Metrics>,
        logs: Arc<Logs>,
        inherited: Option<&mut Sockets>,
    ) -> Result<Self, Error> {
        let (source, setup) = match options.source {
            Source::File(path) => {
                let setup = Setup::of_file(path.clone()).await?;
                (Some(path), setup)
            }
            Source::Dev { admin, certificate } => (None, Setup::dev(admin, certificate)),
        };
        logs.set(setup.log);
        let is_fixed = options.address.is_some();
        let address = options.address.unwrap_or_else(|| setup.address.clone());
        let settings = setup.tls.clone();
        // The fingerprint is taken before the files are read, so that a later change is seen.
        let (certificates, tls) =
            blocking(move || (Fingerprint::of(&settings.files()), settings.load())).await;
        let tls = tls.map_err(SetupError::Tls)?;
        let listen = |reason| Error::Listen { address: address.clone(), reason };
        let (listening, api_inherited, operations_inherited, locks) = match inherited {
            Some(sockets) => {
                let (api, locks) = (take(&mut sockets.api), take(&mut sockets.locks));
                let (old, passed) = (&sockets.address, sockets.passed);
                let inherited = Listening::inherit(api, old, passed, &address, is_fixed).await;
                let (listening, count) = inherited.map_err(listen)?;
                (listening, count, sockets.operations.take(), locks)
            }
            None => {
                let passed = Listening::on_passed(options.passed.api, &address).map_err(listen)?;
                let listening = match passed {
                    Some(listening) => listening,
                    None => Listening::start(&address, is_fixed).await.map_err(listen)?,
                };
                (listening, 0, None, Vec::new())
            }
        };
        let bound = listening.addresses().map_err(listen)?;
        let operations = operations::Listener::new(Arc::clone(&tls.without_clients));
        let wanted = setup.operations.as_ref();
        let change = operations.inherit(wanted, operations_inherited).await;
        let (change, is_inherited) = change.map_err(SetupError::from)?;
        let operations_url = change.url();
        let others = operations_url.as_ref().map_or(0, |_| operations::MAX_FILES);
        let listener = listening.listener(max_connections(others), Arc::clone(&metrics));
        metrics.max_connections.set(listener.max().into());

        let (log, balancers) = (setup.log, setup.balancers.clone());
        let prepared = setup.open(&metrics, None, locks).await?;
        let Prepared { generation, audit_file, snapshot, pending, .. } = prepared;
        logs.file.configure(audit_file);
        let info = Info {
            build: options.build,
            keystore: generation.keys.description(),
            addresses: bound,
            operations: operations_url,
            admin: generation.policies.admin().copied(),
            error_level: log.error,
            audit_level: log.audit,
        };
        let service = Arc::new(ApiService {
            generation: ArcSwap::from_pointee(generation),
            budgets: Budgets::new(Arc::clone(&metrics)),
            forwarded: ForwardedRequests::new(),
            store_calls: StoreCalls::new(Arc::clone(&metrics)),
            limited_waiting: AtomicUsize::new(0),
            requests: AtomicU64::new(0),
            metrics: Arc::clone(&metrics),
            logs,
            refusals: Arc::new(Refusals::new()),
            denials: Denials::new(),
            reloads: LastReloads::new(Arc::clone(&metrics)),
            changing: Arc::default(),
            started: Instant::now(),
            started_at: Timestamp::now(),
            build: options.build,
        });
        let endpoint = Arc::new(Endpoint {
            service: Arc::clone(&service),
            tls: CurrentTls::new(Arc::clone(&tls)),
            balancers: ArcSwap::from_pointee(balancers),
            metrics,
            repeats: Arc::new(Repeats::default()),
        });
        let running = Arc::new(Running {
            service,
            endpoint,
            listening,
            operations,
            replacing: tokio::sync::Mutex::new(()),
            reads: Reads::default(),
            watching: Reads::default(),
            expiry: Expiry::default(),
            status: Status::default(),
        });
        running.check_certificates(&tls, true);
        let (operations, inherited) = (change, (api_inherited, is_inherited));
        Ok(Self {
            running,
            listener,
            source,
            info,
            operations,
            pending,
            snapshot,
            certificates,
            inherited,
        })
    }
}

/// Starts the work beside the requests.
fn background(running: &Arc<Running>, seen: Fingerprint) -> [JoinHandle<()>; 6] {
    let [certificates, expiry, repeats, status, heartbeats, kept] = [running; 6].map(Arc::clone);
    [
        tokio::spawn(endless("the watch of the certificate files", move || {
            reload::follow_certificates(Arc::clone(&certificates), seen.clone())
        })),
        tokio::spawn(endless("the watch of the certificates' expiry", move || {
            reload::follow_expiry(Arc::clone(&expiry))
        })),
        tokio::spawn(endless("the log of repeated events", move || {
            log_repeats(Arc::clone(&repeats))
        })),
        tokio::spawn(endless("the status for the service manager", move || {
            systemd::follow_status(Arc::clone(&status))
        })),
        tokio::spawn(endless("the heartbeat for the service manager", move || {
            systemd::send_heartbeats(Arc::clone(&heartbeats))
        })),
        tokio::spawn(endless("the snapshot", move || snapshot::follow(Arc::clone(&kept)))),
    ]
}

/// Logs the events that were collected. Never returns.
async fn log_repeats(running: Arc<Running>) -> Infallible {
    let mut ticks = tokio::time::interval(repeats::CHECK_INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        running.endpoint.repeats.log_due();
        running.service.refusals.write_due(&running.service.logs, false);
    }
}
