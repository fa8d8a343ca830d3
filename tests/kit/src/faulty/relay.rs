use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::port::Port;
use super::{TICK, lock, proper, reset};

/// What a [`Relay`] does with bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Passes them on.
    Pass,
    /// Keeps connections open, takes new ones, and passes nothing on in either direction.
    Hold,
    /// As `Hold` for the connections that are open; new ones pass.
    HoldOpen,
    /// Resets all connections, also those that come.
    Cut,
    /// Resets all connections, and those that come are refused as where nobody listens.
    Refuse,
    /// Answers each request by this status of HTTP, and passes nothing on.
    Answer(u16),
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
    mode: Mutex<Mode>,
    listening: AtomicBool,
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
        let port = Port::reserve();
        let address = port.address();
        let shared = Arc::new(Shared {
            ended: AtomicBool::new(false),
            mode: Mutex::new(Mode::Pass),
            listening: AtomicBool::new(true),
            accepted: AtomicUsize::new(0),
            answered: AtomicU64::new(0),
            epoch: AtomicUsize::new(0),
            delay: Mutex::new(Duration::ZERO),
        });
        let worker = Arc::clone(&shared);
        let listener = port.listen();
        std::thread::spawn(move || accept(&port, listener, server, &worker));
        Self { address, shared }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes what it does, for open connections too.
    pub fn set(&self, mode: Mode) {
        self.shared.epoch.fetch_add(1, Ordering::SeqCst);
        *lock(&self.shared.mode) = mode;
        let listens = mode != Mode::Refuse;
        while self.shared.listening.load(Ordering::SeqCst) != listens {
            self.wake();
            std::thread::sleep(TICK / 10);
        }
    }

    /// Wakes the accepting thread.
    fn wake(&self) {
        let _ = TcpStream::connect(self.address);
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
        self.wake();
    }
}

impl Shared {
    fn mode(&self) -> Mode {
        *lock(&self.mode)
    }

    fn is(&self, mode: Mode) -> bool {
        self.mode() == mode
    }

    /// Whether a connection of an epoch is held.
    fn holds(&self, epoch: usize) -> bool {
        self.is(Mode::Hold) || self.is(Mode::HoldOpen) && epoch < self.epoch.load(Ordering::SeqCst)
    }

    fn cuts(&self) -> bool {
        self.ended.load(Ordering::SeqCst) || matches!(self.mode(), Mode::Cut | Mode::Refuse)
    }
}

fn accept(port: &Port, listener: TcpListener, server: SocketAddr, shared: &Arc<Shared>) {
    let mut listener = Some(listener);
    while !shared.ended.load(Ordering::SeqCst) {
        if shared.is(Mode::Refuse) {
            listener = None;
            shared.listening.store(false, Ordering::SeqCst);
            std::thread::sleep(TICK / 10);
            continue;
        }
        let listens = listener.get_or_insert_with(|| port.listen());
        shared.listening.store(true, Ordering::SeqCst);
        let Ok((client, _)) = listens.accept() else { continue };
        shared.accepted.fetch_add(1, Ordering::Relaxed);
        let shared = Arc::clone(shared);
        std::thread::spawn(move || connect(&client, server, &shared));
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
    if let Mode::Answer(status) = shared.mode() {
        let _ = client.set_read_timeout(Some(Duration::from_secs(5)));
        let _ = answer(client, status);
        return;
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

/// Reads a piece of a request, and answers it by a status.
fn answer(mut client: &TcpStream, status: u16) -> io::Result<()> {
    let mut block = vec![0; 64 << 10];
    if client.read(&mut block)? > 0 { refuse(client, status) } else { Ok(()) }
}

fn refuse(mut client: &TcpStream, status: u16) -> io::Result<()> {
    let headers = [("Content-Type", "application/json"), ("Connection", "close")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
    client.write_all(&proper(status, &headers, br#"{"errors":["a bad moment"]}"#))?;
    client.shutdown(Shutdown::Both)
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
                if let (Mode::Answer(status), false) = (shared.mode(), is_answer) {
                    let _ = refuse(from, status);
                    let _ = to.shutdown(Shutdown::Both);
                    break;
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
