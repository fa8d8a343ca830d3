//! The accept loop: it survives every error of `accept`, limits the connections to the files that
//! the process may open, and moves to another address when a reload asks for it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use kes_config::Address;
use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::connection;
use super::endpoint::{Endpoint, Service};
use super::slots::{Slot, Slots};
use crate::observe::logging::rate_limit::RateLimit;
use crate::observe::metrics::Metrics;
use crate::observe::process::files_hint;

/// Listening sockets.
mod bind;

pub(crate) use self::bind::hint as bind_hint;

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

/// The address that the server listens on, which a reload can replace.
pub(crate) struct Listening {
    /// As it is configured.
    address: Mutex<Address>,
    /// Whether the command line names the address, which overrides the file.
    fixed: bool,
    /// `None` once the server shuts down.
    socket: watch::Sender<Option<Arc<TcpListener>>>,
}

/// A bound socket that is to replace the current one.
pub(crate) struct Successor {
    address: Address,
    socket: TcpListener,
}

impl Listening {
    /// Binds an address.
    pub(crate) async fn start(address: &Address, fixed: bool) -> io::Result<Self> {
        let socket = bind::listen(address, None).await?;
        let (socket, _) = watch::channel(Some(Arc::new(socket)));
        Ok(Self { address: Mutex::new(address.clone()), fixed, socket })
    }

    /// The bound address.
    pub(crate) fn local(&self) -> io::Result<SocketAddr> {
        self.current()?.local_addr()
    }

    fn current(&self) -> io::Result<Arc<TcpListener>> {
        let stopped = || io::Error::other("the server stops");
        self.socket.borrow().clone().ok_or_else(stopped)
    }

    /// Binds an address if it differs from the current one, which stays in use until
    /// [`Self::replace`].
    pub(crate) async fn prepare(&self, address: &Address) -> io::Result<Option<Successor>> {
        if self.fixed || bind::is_same(&self.address.lock().clone(), address) {
            return Ok(None);
        }
        let current = self.current()?;
        let overlaps = current.local_addr().is_ok_and(|local| local.port() == address.port());
        let socket = bind::listen(address, overlaps.then_some(&*current)).await?;
        Ok(Some(Successor { address: address.clone(), socket }))
    }

    /// Accepts new connections on the successor from now on. Open connections stay open.
    pub(crate) fn replace(&self, Successor { address, socket }: Successor) {
        if let Ok(local) = socket.local_addr() {
            tracing::info!("listening on https://{local} from now on, as the configuration says");
        }
        *self.address.lock() = address;
        self.socket.send_replace(Some(Arc::new(socket)));
    }

    /// Stops listening.
    pub(crate) fn close(&self) {
        self.socket.send_replace(None);
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
        Listener { socket: self.socket.subscribe(), slots: Slots::new(max, metrics) }
    }
}

/// Accepts connections.
pub(crate) struct Listener {
    socket: watch::Receiver<Option<Arc<TcpListener>>>,
    slots: Arc<Slots>,
}

impl Listener {
    /// How many connections may be open at once.
    pub(crate) fn max(&self) -> u32 {
        self.slots.max()
    }

    /// Accepts connections until `shutdown` turns true.
    pub(crate) async fn serve<S: Service>(
        mut self,
        endpoint: Arc<Endpoint<S>>,
        mut shutdown: watch::Receiver<bool>,
    ) -> Drain {
        let mut refused = RateLimit::new(LOG_INTERVAL);
        let mut full = RateLimit::new(LOG_INTERVAL);
        let connections = shutdown.clone();
        let serve = |mut slot: Slot, socket: TcpStream| {
            slot.begin();
            let (endpoint, shutdown) = (Arc::clone(&endpoint), connections.clone());
            tokio::spawn(connection::serve(endpoint, socket, slot, shutdown));
        };
        let mut current = self.socket.borrow_and_update().clone();
        while let Some(socket) = &current {
            let accepted = tokio::select! {
                biased;
                _ = shutdown.wait_for(|is_set| *is_set) => break,
                Ok(()) = self.socket.changed() => None,
                accepted = accept(&self.slots, socket, &mut full) => Some(accepted),
            };
            match accepted {
                Some(Ok((slot, connected))) => serve(slot, connected),
                Some(Err(error)) => {
                    if refused.allows() {
                        let hint = files_hint(&error);
                        tracing::error!("a connection could not be accepted: {error}{hint}");
                    }
                    tokio::time::sleep(PAUSE).await;
                }
                None => {
                    let new = self.socket.borrow_and_update().clone();
                    // Clients that have connected already would be reset when the socket closes.
                    while let Some(slot) = self.slots.try_take()
                        && let Some(connected) = bind::queued(socket)
                    {
                        serve(slot, connected);
                    }
                    current = new;
                }
            }
        }
        Drain { slots: self.slots }
    }
}

/// Accepts a connection. Without a free slot, new connections wait in the system's queue.
async fn accept(
    slots: &Arc<Slots>,
    socket: &TcpListener,
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
            take_for_waiting(slots, socket).await
        }
    };
    socket.accept().await.map(|(socket, _)| (slot, socket))
}

/// Waits for a slot, and displaces other connections as long as a client waits.
async fn take_for_waiting(slots: &Arc<Slots>, socket: &TcpListener) -> Slot {
    loop {
        if bind::has_queued(socket) {
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
