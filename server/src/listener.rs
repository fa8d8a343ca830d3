//! The accept loop: it survives every error of `accept`, and holds as many connections as the
//! process may have files.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use kes_config::Address;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};

use crate::connection;
use crate::process::max_connections;
use crate::state::Shared;

/// How long to wait after an error of `accept`. Out of files or memory, it fails again at once.
const PAUSE: Duration = Duration::from_millis(50);

/// An error of `accept` is told at most this often.
const COMPLAIN: Duration = Duration::from_secs(10);

/// A bound socket.
pub(crate) struct Listener {
    socket: TcpListener,
    slots: Arc<Semaphore>,
    max: u32,
}

impl Listener {
    /// Binds an address.
    pub(crate) async fn bind(address: &Address) -> io::Result<Self> {
        let (host, port) = (address.host(), address.port());
        let socket = if host.is_empty() {
            // IPv6 sockets take IPv4 as well, where the system has IPv6.
            match TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).await {
                Ok(socket) => socket,
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => return Err(error),
                Err(_) => TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await?,
            }
        } else {
            TcpListener::bind((host, port)).await?
        };
        let max = u32::try_from(max_connections()).unwrap_or(u32::MAX).min(1 << 20);
        let slots = Arc::new(Semaphore::new(max as usize));
        Ok(Self { socket, slots, max })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Accepts connections until `stopping` turns true.
    pub(crate) async fn serve(
        self,
        shared: Arc<Shared>,
        mut stopping: watch::Receiver<bool>,
    ) -> Drain {
        let mut complained: Option<Instant> = None;
        let connections = stopping.clone();
        loop {
            // With no slot left, new connections wait in the system's queue.
            let slot = Arc::clone(&self.slots).acquire_owned();
            let accepted = tokio::select! {
                biased;
                _ = stopping.wait_for(|stopping| *stopping) => break,
                accepted = async { (slot.await, self.socket.accept().await) } => accepted,
            };
            match accepted {
                (Ok(slot), Ok((socket, _))) => {
                    let (shared, stopping) = (Arc::clone(&shared), connections.clone());
                    tokio::spawn(async move {
                        connection::serve(shared, socket, stopping).await;
                        drop(slot);
                    });
                }
                (_, Err(error)) => {
                    if complained.is_none_or(|at| at.elapsed() >= COMPLAIN) {
                        complained = Some(Instant::now());
                        tracing::error!("a connection could not be accepted: {error}");
                    }
                    tokio::time::sleep(PAUSE).await;
                }
                (Err(_), _) => break,
            }
        }
        Drain { slots: self.slots, max: self.max }
    }
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
