//! The operations listener (contract `config.md`, Operations): health and metrics for probes and
//! scrapers that have no certificate, and a page for people. No key is behind it.
//!
//! hyper serves it, as it serves the API: six paths need no web framework, and one would bring an
//! accept loop without limits.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use kes_config::{Operations, OperationsAddress};
use parking_lot::Mutex;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

use self::answer::answer;
use self::page::events::Reading;
use self::page::guard::Names;
use self::page::{Page, Shown};
use self::socket::{Socket, Stream};
use crate::observe::metrics::{Exposition, Format};

/// What each path answers.
mod answer;

/// The page.
pub(crate) mod page;

/// TCP and unix sockets.
mod socket;

/// Connections at one time. A probe and a scraper or two have one each, for milliseconds. One more
/// ends the oldest, so that clients that hold connections keep no probe away. Event streams of the page
/// do not count: they have places of their own.
const MAX_CONNECTIONS: usize = 16;

/// The files that it takes: one for each connection, and one for the socket.
pub(crate) const MAX_FILES: usize = MAX_CONNECTIONS + page::events::MAX_STREAMS + 1;

/// How long a connection may last, from its begin to the end of the one answer that it gets, unless
/// that is an event stream. Probes and scrapers wait for 10 s at most by default.
const LIFETIME: Duration = Duration::from_secs(10);

/// The largest head of a request in bytes: a browser's has 1 or 2 KiB.
const LARGEST_HEAD: usize = 16 * 1024;

/// How long to wait after an error of `accept`. Without files it would fail again at once.
const PAUSE: Duration = Duration::from_millis(50);

/// What the listener asks of the server.
pub(crate) trait Health: Shown {
    /// Waits until the accept loop of the API has answered.
    fn answers(&self) -> impl Future<Output = ()> + Send;

    /// Whether the key store can be used, as far as is known without asking it.
    fn is_store_reachable(&self) -> bool;

    /// All metrics.
    fn metrics(&self, format: Format) -> Exposition;
}

/// The listener, which a reload can start, move and stop.
pub(crate) struct Listener<H> {
    shared: Arc<Shared<H>>,
    serving: Mutex<Option<Serving>>,
}

/// What its connections share.
pub(crate) struct Shared<H> {
    /// The server, once it has started.
    server: OnceLock<Weak<H>>,
    is_stopping: AtomicBool,
    /// For the next connection, with the certificate of the API.
    tls: ArcSwap<ServerConfig>,
}

/// A socket, and the task that accepts from it.
struct Serving {
    configured: Operations,
    socket: Arc<Socket>,
    page: Option<Arc<Page>>,
    task: JoinHandle<()>,
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.task.abort();
        if let Some(page) = &self.page {
            page.end();
        }
    }
}

/// The listener cannot listen where it is to.
#[derive(Debug, thiserror::Error)]
#[error("{}", socket::cannot_listen(address, reason))]
pub struct Unbound {
    address: OperationsAddress,
    /// What the system says. Not a source, which would be told a second time.
    reason: io::Error,
}

/// What is to become of the listener. Nothing of it can fail.
pub(crate) enum Change {
    Keep,
    Stop,
    Start(Operations, Arc<Socket>),
}

impl<H: Health> Listener<H> {
    /// A listener that does not listen yet.
    pub(crate) fn new(tls: Arc<ServerConfig>) -> Self {
        let (server, is_stopping) = (OnceLock::new(), AtomicBool::new(false));
        let shared = Arc::new(Shared { server, is_stopping, tls: ArcSwap::new(tls) });
        Self { shared, serving: Mutex::new(None) }
    }

    /// Binds what a configuration asks for, unless it is bound already. The current socket stays in
    /// use until [`Self::apply`].
    pub(crate) async fn prepare(&self, wanted: Option<&Operations>) -> Result<Change, Unbound> {
        let current = self.serving.lock().as_ref().map(|serving| {
            let Serving { configured, socket, .. } = serving;
            (configured.clone(), Arc::clone(socket))
        });
        let Some(wanted) = wanted else {
            return Ok(if current.is_some() { Change::Stop } else { Change::Keep });
        };
        let socket = match &current {
            Some((old, socket)) if socket::is_same(&old.address, &wanted.address) => {
                if (old.tls, old.page, old.details) == (wanted.tls, wanted.page, wanted.details) {
                    return Ok(Change::Keep);
                }
                Arc::clone(socket)
            }
            _ => {
                let beside = current.as_ref().map(|(_, socket)| &**socket);
                let unbound = |reason| Unbound { address: wanted.address.clone(), reason };
                Arc::new(Socket::bind(&wanted.address, beside).await.map_err(unbound)?)
            }
        };
        Ok(Change::Start(wanted.clone(), socket))
    }

    /// The same for a process that takes over, which has the socket of the other one if that is bound
    /// for the same address. Whether it is.
    pub(crate) async fn inherit(
        &self,
        wanted: Option<&Operations>,
        inherited: Option<(String, OwnedFd)>,
    ) -> Result<(Change, bool), Unbound> {
        let Some(wanted) = wanted else { return Ok((Change::Keep, false)) };
        let unbound = |reason| Unbound { address: wanted.address.clone(), reason };
        let Some((bound_for, socket)) = inherited else {
            return Ok((self.prepare(Some(wanted)).await?, false));
        };
        let is_same = bound_for == socket::text(&wanted.address);
        let socket = if is_same {
            Socket::inherit(&wanted.address, socket)
        } else {
            let beside = Socket::inherit(&wanted.address, socket).ok();
            if let Some(beside) = &beside {
                beside.pass_on();
            }
            Socket::bind(&wanted.address, beside.as_ref()).await
        };
        let socket = Arc::new(socket.map_err(unbound)?);
        Ok((Change::Start(wanted.clone(), socket), is_same))
    }

    /// What a process that takes over gets: the socket, and the address that it is bound for.
    pub(crate) fn to_pass_on(&self) -> Option<(String, Arc<Socket>)> {
        let serving = self.serving.lock();
        let Serving { configured, socket, .. } = serving.as_ref()?;
        Some((socket::text(&configured.address), Arc::clone(socket)))
    }

    /// Stops listening. Another process may accept from the same socket.
    pub(crate) fn hand_over(&self, is_taken: bool) {
        if is_taken && let Some(serving) = &*self.serving.lock() {
            serving.socket.pass_on();
        }
        self.close();
    }

    /// Puts a change into use. Returns where it listens now, if that is new.
    pub(crate) fn apply(&self, change: Change) -> Option<String> {
        let mut serving = self.serving.lock();
        let new = match change {
            Change::Keep => return None,
            Change::Stop => None,
            Change::Start(configured, socket) => {
                let before = serving.as_ref().and_then(|serving| serving.page.as_deref());
                let weak = Arc::downgrade(&self.shared);
                let server = move || weak.upgrade()?.server.get()?.upgrade();
                let page = Page::of(&configured, before, server).map(Arc::new);
                let shared = Arc::clone(&self.shared);
                let (names, is_tls) = (Arc::new(Names::of(&configured)), configured.tls);
                let served = Served { shared, page: page.clone(), names, is_tls };
                let task = tokio::spawn(accept(Arc::clone(&socket), served));
                Some(Serving { configured, socket, page, task })
            }
        };
        *serving = new;
        serving.as_ref().map(Serving::url)
    }

    /// The certificate is another one.
    pub(crate) fn replace_tls(&self, tls: Arc<ServerConfig>) {
        self.shared.tls.store(tls);
    }

    /// The server has started.
    pub(crate) fn started(&self, server: &Arc<H>) {
        // It starts once.
        let _ = self.shared.server.set(Arc::downgrade(server));
    }

    /// The server stops: it ends its requests, and wants no new ones.
    pub(crate) fn stopping(&self) {
        self.shared.is_stopping.store(true, Ordering::Relaxed);
        if let Some(page) = self.serving.lock().as_ref().and_then(|serving| serving.page.as_ref()) {
            page.end();
        }
    }

    /// Stops listening.
    pub(crate) fn close(&self) {
        self.apply(Change::Stop);
    }
}

impl Change {
    /// Where it listens once the change is in use.
    pub(crate) fn url(&self) -> Option<String> {
        match self {
            Self::Keep | Self::Stop => None,
            Self::Start(configured, socket) => Some(socket.url(configured.tls)),
        }
    }
}

impl Serving {
    fn url(&self) -> String {
        self.socket.url(self.configured.tls)
    }
}

/// What is served to each connection.
struct Served<H> {
    shared: Arc<Shared<H>>,
    page: Option<Arc<Page>>,
    /// By which a browser may ask.
    names: Arc<Names>,
    is_tls: bool,
}

impl<H> Clone for Served<H> {
    fn clone(&self) -> Self {
        let Self { shared, page, names, is_tls } = self;
        let (shared, names) = (Arc::clone(shared), Arc::clone(names));
        Self { shared, page: page.clone(), names, is_tls: *is_tls }
    }
}

/// Accepts connections until the task is aborted. Those that are open go on.
async fn accept<H: Health>(socket: Arc<Socket>, served: Served<H>) {
    let mut open: VecDeque<(AbortHandle, Arc<Reading>)> = VecDeque::with_capacity(MAX_CONNECTIONS);
    loop {
        let Ok(stream) = socket.accept().await else {
            sleep(PAUSE).await;
            continue;
        };
        open.retain(|(connection, reading)| !connection.is_finished() && !reading.has_begun());
        if open.len() >= MAX_CONNECTIONS
            && let Some((oldest, _)) = open.pop_front()
        {
            oldest.abort();
        }
        let reading = Arc::new(Reading::default());
        let connection =
            bounded(serve(stream, served.clone(), Arc::clone(&reading)), Arc::clone(&reading));
        open.push_back((tokio::spawn(connection).abort_handle(), reading));
    }
}

/// Serves a connection for as long as it may last: until its time is over, or if it has an event stream,
/// until that ends or is not read.
async fn bounded(serving: impl Future<Output = ()>, reading: Arc<Reading>) {
    let mut serving = pin!(serving);
    if timeout(LIFETIME, serving.as_mut()).await.is_err() && reading.has_begun() {
        tokio::select! {
            () = serving => {}
            () = reading.stalls() => {}
        }
    }
}

/// Serves a connection.
async fn serve<H: Health>(stream: Stream, served: Served<H>, reading: Arc<Reading>) {
    match stream {
        Stream::Unix(stream) => http(stream, &served, &reading).await,
        Stream::Tcp(stream) if !served.is_tls => http(stream, &served, &reading).await,
        Stream::Tcp(stream) => {
            let acceptor = TlsAcceptor::from(served.shared.tls.load_full());
            // Without a log line: a probe may only look whether the port is open.
            if let Ok(stream) = acceptor.accept(stream).await {
                http(stream, &served, &reading).await;
            }
        }
    }
}

/// Answers one request. A connection that stayed open for the next one would need more limits, and
/// saves a probe nothing that it notices.
async fn http<H: Health>(
    io: impl AsyncRead + AsyncWrite + Unpin,
    served: &Served<H>,
    reading: &Arc<Reading>,
) {
    let page = served.page.as_deref().map(|page| (page, reading));
    let service = service_fn(|request| answer(request, &served.shared, page, &served.names));
    let connection = http1::Builder::new()
        .keep_alive(false)
        .header_read_timeout(None) // the connection's lifetime is shorter
        .max_buf_size(LARGEST_HEAD)
        .serve_connection(TokioIo::new(io), service);
    // An error is the client's: it went away, or speaks something else.
    let _ = connection.await;
}

#[cfg(test)]
mod tests;
