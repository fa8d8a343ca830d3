//! The accept loop: it survives every error of `accept`, holds as many connections as the process
//! may have files, and goes on at another address when a reload says so.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use kes_config::Address;
use kes_keystore::files_hint;
use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::lifecycle::process::max_connections;
use crate::lifecycle::state::Shared;
use crate::observe::logging::limit::Seldom;
use crate::transport::connection;

/// Sockets that listen.
mod bind;

/// How long to wait after an error of `accept`. Out of files or memory, it fails again at once.
const PAUSE: Duration = Duration::from_millis(50);

/// An error of `accept`, or that all connections are in use, is told at most this often.
const COMPLAIN: Duration = Duration::from_secs(60);

/// Fewer connections than this are told when the server starts. A MinIO server holds a few for
/// each of its nodes.
const FEW: u32 = 256;

/// Where the server listens, and what a reload replaces of that.
pub(crate) struct Listening {
    /// As the configuration says it.
    address: Mutex<Address>,
    /// Whether the command line says it: it wins over the file.
    fixed: bool,
    /// `None` once the server stops.
    socket: watch::Sender<Option<Arc<TcpListener>>>,
}

/// A socket that listens and takes over from the current one when it is told to.
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

    /// Where it listens.
    pub(crate) fn local(&self) -> io::Result<SocketAddr> {
        self.current()?.local_addr()
    }

    fn current(&self) -> io::Result<Arc<TcpListener>> {
        let stopped = || io::Error::other("the server stops");
        self.socket.borrow().clone().ok_or_else(stopped)
    }

    /// Binds another address, if it is another. The current one goes on until [`Self::take_over`].
    pub(crate) async fn prepare(&self, address: &Address) -> io::Result<Option<Successor>> {
        if self.fixed || bind::is_same(&self.address.lock().clone(), address) {
            return Ok(None);
        }
        let current = self.current()?;
        let overlaps = current.local_addr().is_ok_and(|local| local.port() == address.port());
        let socket = bind::listen(address, overlaps.then_some(&*current)).await?;
        Ok(Some(Successor { address: address.clone(), socket }))
    }

    /// New connections come to the successor from now on. Those that stand go on.
    pub(crate) fn take_over(&self, Successor { address, socket }: Successor) {
        if let Ok(local) = socket.local_addr() {
            tracing::info!("listening on https://{local} from now on, as the configuration says");
        }
        *self.address.lock() = address;
        self.socket.send_replace(Some(Arc::new(socket)));
    }

    /// Listens no more.
    pub(crate) fn close(&self) {
        self.socket.send_replace(None);
    }

    /// The accept loop of this address and all that follow.
    pub(crate) fn listener(&self) -> Listener {
        let max = u32::try_from(max_connections()).unwrap_or(u32::MAX).min(1 << 20);
        if max < FEW {
            tracing::warn!(
                "only {max} connections can be open at once, because the process may open few \
                 files; raise LimitNOFILE (systemd) or `ulimit -n`"
            );
        }
        let slots = Arc::new(Semaphore::new(max as usize));
        Listener { socket: self.socket.subscribe(), slots, max }
    }
}

/// Accepts connections.
pub(crate) struct Listener {
    socket: watch::Receiver<Option<Arc<TcpListener>>>,
    slots: Arc<Semaphore>,
    max: u32,
}

impl Listener {
    /// How many connections may be open at once.
    pub(crate) fn max(&self) -> u32 {
        self.max
    }

    /// Accepts connections until `stopping` turns true.
    pub(crate) async fn serve(
        mut self,
        shared: Arc<Shared>,
        mut stopping: watch::Receiver<bool>,
    ) -> Drain {
        let mut refused = Seldom::new(COMPLAIN);
        let mut full = Seldom::new(COMPLAIN);
        let connections = stopping.clone();
        let serve = |slot: OwnedSemaphorePermit, socket: TcpStream| {
            let (shared, stopping) = (Arc::clone(&shared), connections.clone());
            tokio::spawn(async move {
                connection::serve(shared, socket, stopping).await;
                drop(slot);
            });
        };
        let mut current = self.socket.borrow_and_update().clone();
        while let Some(socket) = &current {
            let accepted = tokio::select! {
                biased;
                _ = stopping.wait_for(|stopping| *stopping) => break,
                Ok(()) = self.socket.changed() => None,
                accepted = accept(&self.slots, self.max, socket, &mut full) => Some(accepted),
            };
            match accepted {
                Some(Ok((slot, connected))) => serve(slot, connected),
                Some(Err(error)) => {
                    if refused.is_due() {
                        let hint = files_hint(&error);
                        tracing::error!("a connection could not be accepted: {error}{hint}");
                    }
                    tokio::time::sleep(PAUSE).await;
                }
                None => {
                    let new = self.socket.borrow_and_update().clone();
                    // Whoever had connected is not to be reset by the end of the socket.
                    while let Some(Ok((connected, _))) = socket.accept().now_or_never()
                        && let Ok(slot) = Arc::clone(&self.slots).try_acquire_owned()
                    {
                        serve(slot, connected);
                    }
                    current = new;
                }
            }
        }
        Drain { slots: self.slots, max: self.max }
    }
}

/// Accepts a connection. With no slot left, new connections wait in the system's queue.
async fn accept(
    slots: &Arc<Semaphore>,
    max: u32,
    socket: &TcpListener,
    full: &mut Seldom,
) -> io::Result<(OwnedSemaphorePermit, TcpStream)> {
    let slots = Arc::clone(slots);
    let slot = match Arc::clone(&slots).try_acquire_owned() {
        Ok(slot) => slot,
        Err(_) => {
            if full.is_due() {
                tracing::error!(
                    "all {max} connections in use; new ones wait until one ends; \
                     raise LimitNOFILE (systemd) or `ulimit -n`"
                );
            }
            slots.acquire_owned().await.map_err(io::Error::other)?
        }
    };
    socket.accept().await.map(|(socket, _)| (slot, socket))
}

/// The connections of a listener that no longer listens.
pub(crate) struct Drain {
    slots: Arc<Semaphore>,
    max: u32,
}

impl Drain {
    /// Waits until all of them have ended.
    pub(crate) async fn ended(self) {
        let _ = self.slots.acquire_many(self.max).await;
    }
}
