use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::{TICK, lock, reset};

/// What a [`Relay`] does with bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Mode {
    /// Passes them on.
    Pass,
    /// Keeps connections open, takes new ones, and passes nothing on in either direction.
    Hold,
    /// As `Hold` for the connections that are open; new ones pass.
    HoldOpen,
    /// Resets all connections, also those that come.
    Cut,
}

/// A TCP relay in front of a real server, which works for TLS too.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    ended: AtomicBool,
    mode: AtomicU8,
    accepted: AtomicUsize,
    answered: AtomicU64,
    /// Raised by each change of mode.
    epoch: AtomicUsize,
    delay: Mutex<Duration>,
}

impl Relay {
    /// Starts a relay to a server.
    ///
    /// # Panics
    /// If there is no free port.
    pub fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
        let address = listener.local_addr().expect("a bound socket has an address");
        let shared = Arc::new(Shared {
            ended: AtomicBool::new(false),
            mode: AtomicU8::new(Mode::Pass as u8),
            accepted: AtomicUsize::new(0),
            answered: AtomicU64::new(0),
            epoch: AtomicUsize::new(0),
            delay: Mutex::new(Duration::ZERO),
        });
        let worker = Arc::clone(&shared);
        std::thread::spawn(move || {
            for client in listener.incoming() {
                if worker.ended.load(Ordering::Relaxed) {
                    return;
                }
                let Ok(client) = client else { continue };
                worker.accepted.fetch_add(1, Ordering::Relaxed);
                let shared = Arc::clone(&worker);
                std::thread::spawn(move || connect(&client, server, &shared));
            }
        });
        Self { address, shared }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes what it does, for open connections too.
    pub fn set(&self, mode: Mode) {
        self.shared.epoch.fetch_add(1, Ordering::SeqCst);
        self.shared.mode.store(mode as u8, Ordering::SeqCst);
    }

    /// Delays each piece of a server's answer.
    pub fn set_delay(&self, delay: Duration) {
        *lock(&self.shared.delay) = delay;
    }

    /// How many connections it has taken.
    pub fn connections(&self) -> usize {
        self.shared.accepted.load(Ordering::Relaxed)
    }

    /// How many bytes of the server's answers it has passed on.
    pub fn answered(&self) -> u64 {
        self.shared.answered.load(Ordering::Relaxed)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        // Wakes the accepting thread.
        let _ = TcpStream::connect(self.address);
    }
}

impl Shared {
    fn is(&self, mode: Mode) -> bool {
        self.mode.load(Ordering::SeqCst) == mode as u8
    }

    /// Whether a connection of an epoch is held.
    fn holds(&self, epoch: usize) -> bool {
        self.is(Mode::Hold) || self.is(Mode::HoldOpen) && epoch < self.epoch.load(Ordering::SeqCst)
    }

    fn cuts(&self) -> bool {
        self.ended.load(Ordering::SeqCst) || self.is(Mode::Cut)
    }
}

fn connect(client: &TcpStream, server: SocketAddr, shared: &Shared) {
    let Some(server) = wait_to_connect(server, shared) else {
        let _ = reset(client);
        return;
    };
    for stream in [client, &server] {
        let _ = stream.set_nodelay(true);
        let _ = stream.set_read_timeout(Some(TICK));
    }
    let epoch = shared.epoch.load(Ordering::SeqCst);
    std::thread::scope(|scope| {
        scope.spawn(|| pump(client, &server, false, epoch, shared));
        pump(&server, client, true, epoch, shared);
    });
    if shared.cuts() {
        let _ = reset(client);
    }
}

fn wait_to_connect(server: SocketAddr, shared: &Shared) -> Option<TcpStream> {
    while shared.is(Mode::Hold) && !shared.cuts() {
        std::thread::sleep(TICK);
    }
    if shared.cuts() { None } else { TcpStream::connect(server).ok() }
}

fn pump(mut from: &TcpStream, mut to: &TcpStream, is_answer: bool, epoch: usize, shared: &Shared) {
    let mut block = vec![0; 64 << 10];
    while !shared.cuts() {
        if shared.holds(epoch) {
            std::thread::sleep(TICK);
            continue;
        }
        match from.read(&mut block) {
            Ok(0) => break,
            Ok(read) => {
                if is_answer {
                    std::thread::sleep(*lock(&shared.delay));
                }
                // What was read just before the relay was told to hold is held too.
                while shared.holds(epoch) && !shared.cuts() {
                    std::thread::sleep(TICK);
                }
                if is_answer {
                    shared.answered.fetch_add(read as u64, Ordering::Relaxed);
                }
                if shared.cuts() || to.write_all(&block[..read]).is_err() {
                    break;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => break,
        }
    }
    let _ = to.shutdown(Shutdown::Write);
    if shared.cuts() {
        let _ = from.shutdown(Shutdown::Both);
    }
}
