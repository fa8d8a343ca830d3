//! The accept loop: it survives every error of `accept`, limits the connections to the files that
//! the process may open, and moves to another address when a reload asks for it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use kes_config::Address;
use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot, watch};

use super::connection;
use super::ending::Ending;
use super::endpoint::{Endpoint, Service};
use super::slots::{Slot, Slots};
use crate::observe::logging::rate_limit::RateLimit;
use crate::observe::metrics::Metrics;
use crate::observe::process::files_hint;

/// Binds addresses.
mod bind;

/// What is accepted from.
mod sockets;

pub(crate) use self::bind::{hint as bind_hint, listen};
use self::sockets::Sockets;

/// How long to wait after an error of `accept`. Without files or memory it would fail again at
/// once.
const PAUSE: Duration = Duration::from_millis(50);

/// How often an error of `accept`, or that all connections are in use, is logged at most.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// How often to look for waiting clients while all connections are in use: not accepting them, the
/// runtime does not report them.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// With a limit below this the server warns when it starts. A MinIO server holds a few connections
/// for each of its nodes.
const FEW: u32 = 256;

/// What decides on the address if the service manager has passed sockets.
const PASSED: &str = "the sockets that the service manager passes";

/// The address that the server listens on, which a reload can replace.
pub(crate) struct Listening {
    /// As it is configured.
    address: Mutex<Address>,
    /// What decides on the address in place of the file: a flag of the command line, or sockets that
    /// the service manager has passed.
    fixed: Option<&'static str>,
    /// `None` once the server shuts down.
    sockets: watch::Sender<Option<Arc<Sockets>>>,
    /// Asks the accept loop to answer from a task of its own.
    questions: mpsc::Sender<oneshot::Sender<()>>,
    /// Until the accept loop begins.
    asked: Mutex<Option<mpsc::Receiver<oneshot::Sender<()>>>>,
}

/// What a process that takes over gets.
pub(crate) struct PassedOn {
    pub(crate) sockets: Arc<Sockets>,
    /// The address that they are bound for.
    pub(crate) address: String,
    /// Whether the service manager has passed them.
    pub(crate) passed: bool,
}

/// A bound socket that is to replace the current one.
pub(crate) struct Successor {
    address: Address,
    socket: TcpListener,
}

impl Listening {
    /// Binds an address.
    pub(crate) async fn start(address: &Address, fixed: bool) -> io::Result<Self> {
        let socket = listen(address, None).await?;
        Ok(Self::with(Sockets::one(socket), address, fixed.then_some("--addr")))
    }

    /// Listens on the sockets that the service manager has passed, whatever the configured address;
    /// `None` if it has passed none.
    pub(crate) fn on_passed(
        passed: Vec<std::net::TcpListener>,
        address: &Address,
    ) -> io::Result<Option<Self>> {
        let Some(sockets) = Sockets::of(passed)? else { return Ok(None) };
        sockets.keep_open();
        let listening = Self::with(sockets, address, Some(PASSED));
        let bound = listening.addresses()?;
        let bound: Vec<String> = bound.iter().map(|bound| format!("https://{bound}")).collect();
        tracing::info!(
            "listening on {}, which the service manager has opened; the address {address} is not \
             used",
            bound.join(" and ")
        );
        Ok(Some(listening))
    }

    /// Listens as [`Self::start`] does, at the sockets of the server that hands over if they are bound
    /// for this address; if the service manager had opened them, whatever the address. Returns at how
    /// many of them this is.
    pub(crate) async fn inherit(
        inherited: Vec<std::net::TcpListener>,
        bound_for: &Address,
        passed: bool,
        address: &Address,
        fixed: bool,
    ) -> io::Result<(Self, usize)> {
        let count = inherited.len();
        if passed {
            let listening = Self::on_passed(inherited, address)?;
            return Ok((listening.ok_or(io::ErrorKind::InvalidInput)?, count));
        }
        let sockets = Sockets::of(inherited)?.ok_or(io::ErrorKind::InvalidInput)?;
        let fixed = fixed.then_some("--addr");
        if bind::is_same(bound_for, address) {
            return Ok((Self::with(sockets, address, fixed), count));
        }
        let old = sockets.first();
        let overlaps = old.local_addr().is_ok_and(|local| local.port() == address.port());
        let socket = listen(address, overlaps.then_some(old)).await?;
        Ok((Self::with(Sockets::one(socket), address, fixed), 0))
    }

    /// What a process that takes over gets: the sockets, and the address that they are bound for.
    pub(crate) fn to_pass_on(&self) -> io::Result<PassedOn> {
        let (sockets, address) = (self.current()?, self.address.lock().to_string());
        Ok(PassedOn { sockets, address, passed: self.fixed == Some(PASSED) })
    }

    /// Notes that another process accepts from the sockets from now on.
    pub(crate) fn keep_open(&self) {
        if let Ok(sockets) = self.current() {
            sockets.keep_open();
        }
    }

    fn with(sockets: Sockets, address: &Address, fixed: Option<&'static str>) -> Self {
        let (sockets, _) = watch::channel(Some(Arc::new(sockets)));
        let (questions, asked) = mpsc::channel(1);
        let (address, asked) = (Mutex::new(address.clone()), Mutex::new(Some(asked)));
        Self { address, fixed, sockets, questions, asked }
    }

    /// The bound addresses.
    pub(crate) fn addresses(&self) -> io::Result<Vec<SocketAddr>> {
        self.current()?.addresses()
    }

    /// What decides on the address in place of the file, until a restart without it.
    pub(crate) const fn fixed(&self) -> Option<&'static str> {
        self.fixed
    }

    fn current(&self) -> io::Result<Arc<Sockets>> {
        let stopped = || io::Error::other("the server stops");
        self.sockets.borrow().clone().ok_or_else(stopped)
    }

    /// Waits until the accept loop has started a task, as it does for a connection, and the task has
    /// run.
    pub(crate) async fn answers(&self) {
        let (answer, answered) = oneshot::channel();
        if self.questions.send(answer).await.is_err() || answered.await.is_err() {
            // The loop has ended: the server shuts down, or there is a bug.
            std::future::pending().await
        }
    }

    /// Binds an address if it differs from the current one, which stays in use until
    /// [`Self::replace`].
    pub(crate) async fn prepare(&self, address: &Address) -> io::Result<Option<Successor>> {
        if self.fixed.is_some() || bind::is_same(&self.address.lock().clone(), address) {
            return Ok(None);
        }
        let current = self.current()?;
        let current = current.first();
        let overlaps = current.local_addr().is_ok_and(|local| local.port() == address.port());
        let socket = listen(address, overlaps.then_some(current)).await?;
        Ok(Some(Successor { address: address.clone(), socket }))
    }

    /// Accepts new connections on the successor from now on. Open connections stay open.
    pub(crate) fn replace(&self, Successor { address, socket }: Successor) {
        if let Ok(local) = socket.local_addr() {
            tracing::info!("listening on https://{local} from now on, as the configuration says");
        }
        *self.address.lock() = address;
        self.sockets.send_replace(Some(Arc::new(Sockets::one(socket))));
    }

    /// Stops listening.
    pub(crate) fn close(&self) {
        self.sockets.send_replace(None);
    }

    /// The accept loop for this address and its successors, with at most `max` open connections.
    pub(crate) fn listener(&self, max: usize, metrics: Arc<Metrics>) -> Listener {
        let max = u32::try_from(max).unwrap_or(u32::MAX).min(1 << 20);
        if max < FEW {
            tracing::warn!(
                "only {max} connections can be open at once, because the process may open few \
                 files; raise LimitNOFILE (systemd) or `ulimit -n`"
            );
        }
        // Only the first accept loop is asked, and there is one.
        let asked = self.asked.lock().take().unwrap_or_else(|| mpsc::channel(1).1);
        Listener { sockets: self.sockets.subscribe(), slots: Slots::new(max, metrics), asked }
    }
}

/// Accepts connections.
pub(crate) struct Listener {
    sockets: watch::Receiver<Option<Arc<Sockets>>>,
    slots: Arc<Slots>,
    asked: mpsc::Receiver<oneshot::Sender<()>>,
}

/// What the accept loop waits for.
enum Event {
    Accepted(io::Result<(Slot, TcpStream)>),
    /// There are other sockets now.
    Moved,
    /// Somebody wants to know whether the loop runs.
    Asked(oneshot::Sender<()>),
}

impl Listener {
    /// How many connections may be open at once.
    pub(crate) fn max(&self) -> u32 {
        self.slots.max()
    }

    /// Accepts connections until `shutdown` says that they are to end.
    pub(crate) async fn serve<S: Service>(
        mut self,
        endpoint: Arc<Endpoint<S>>,
        mut shutdown: watch::Receiver<Ending>,
    ) -> Drain {
        let mut refused = RateLimit::new(LOG_INTERVAL);
        let mut full = RateLimit::new(LOG_INTERVAL);
        let connections = shutdown.clone();
        let serve = |mut slot: Slot, socket: TcpStream| {
            slot.begin();
            let (endpoint, shutdown) = (Arc::clone(&endpoint), connections.clone());
            tokio::spawn(connection::serve(endpoint, socket, slot, shutdown));
        };
        let mut current = self.sockets.borrow_and_update().clone();
        while let Some(sockets) = &current {
            let event = tokio::select! {
                biased;
                _ = shutdown.wait_for(Ending::has_begun) => break,
                Ok(()) = self.sockets.changed() => Event::Moved,
                Some(asked) = self.asked.recv() => Event::Asked(asked),
                accepted = accept(&self.slots, sockets, &mut full) => Event::Accepted(accepted),
            };
            match event {
                Event::Accepted(Ok((slot, connected))) => serve(slot, connected),
                Event::Asked(asked) => {
                    // The task runs as that of a connection does.
                    tokio::spawn(async move { asked.send(()) });
                }
                Event::Accepted(Err(error)) => {
                    if refused.allows() {
                        let hint = files_hint(&error);
                        tracing::error!("a connection could not be accepted: {error}{hint}");
                    }
                    tokio::time::sleep(PAUSE).await;
                }
                Event::Moved => {
                    let new = self.sockets.borrow_and_update().clone();
                    accept_queued(&self.slots, sockets, &serve);
                    current = new;
                }
            }
        }
        if let Some(sockets) = current.filter(|sockets| !sockets.stay_open()) {
            accept_queued(&self.slots, &sockets, &serve);
        }
        Drain { slots: self.slots }
    }
}

/// Accepts what waits: clients that have connected already would be reset when the socket closes.
fn accept_queued(slots: &Arc<Slots>, sockets: &Sockets, serve: &impl Fn(Slot, TcpStream)) {
    while let Some(slot) = slots.try_take()
        && let Some(connected) = sockets.queued()
    {
        serve(slot, connected);
    }
}

/// Accepts a connection. Without a free slot, new connections wait in the system's queue.
async fn accept(
    slots: &Arc<Slots>,
    sockets: &Sockets,
    full: &mut RateLimit,
) -> io::Result<(Slot, TcpStream)> {
    let slot = match slots.try_take() {
        Some(slot) => slot,
        None => {
            if full.allows() {
                tracing::error!(
                    "all {} connections in use; a new one waits until one ends, or takes the place \
                     of a client that no policy names; raise LimitNOFILE (systemd) or `ulimit -n`",
                    slots.max()
                );
            }
            take_for_waiting(slots, sockets).await
        }
    };
    sockets.accept().await.map(|socket| (slot, socket))
}

/// Waits for a slot, and displaces other connections as long as a client waits.
async fn take_for_waiting(slots: &Arc<Slots>, sockets: &Sockets) -> Slot {
    loop {
        if sockets.has_queued() {
            slots.displace();
        }
        tokio::select! {
            biased;
            slot = slots.take() => return slot,
            () = tokio::time::sleep(LOOK_INTERVAL) => {}
        }
    }
}

/// The open connections of a listener that has stopped.
pub(crate) struct Drain {
    slots: Arc<Slots>,
}

impl Drain {
    /// Waits until all of them have ended.
    pub(crate) async fn ended(self) {
        self.slots.all_free().await;
    }
}
