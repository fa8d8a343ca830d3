use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream as Pair;
use std::path::PathBuf;
use std::process::Child;
use std::sync::Arc;
use std::time::Duration;

use kes_keys::transfer::Sealer;
use kes_keystore::wrap::Succession;
use rustix::process::{Pid, Signal, kill_process};
use tokio::net::UnixStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::super::blocking::blocking;
use super::super::snapshot;
use super::super::state::Running;
use super::changes::{self, Halves};
use super::message::{Change, FromNew, FromOld, Hello, MOST_CHANGES, PROTOCOL, monotonic};
use super::pair::{receive, send, send_files, send_sealed};
use super::program::Program;
use super::taker::EndingProcess;
use super::{OUTLAST_LIMIT, PREPARE_LIMIT, TAKE_LIMIT};
use crate::service::reloads::Subject;

/// The hand-overs of a server: one at a time, each in a task of its own.
pub(crate) struct HandOvers {
    running: Arc<Running>,
    program: Program,
    /// `None` for a dev server.
    source: Option<PathBuf>,
    /// `None` if this process has not taken over from another one.
    predecessor: Option<EndingProcess>,
    task: Option<JoinHandle<Result<Given, String>>>,
}

/// A process that serves from now on in place of this one.
pub(crate) struct Given {
    child: Option<New>,
    stream: UnixStream,
    succession: Succession,
    /// Whether it accepts from the sockets of this process.
    pub(crate) api: bool,
    pub(crate) operations: bool,
}

/// The new process. It is killed when this is dropped.
struct New(Option<Child>);

/// What is told of changes to the process that has taken over.
pub(crate) struct Changes {
    task: JoinHandle<()>,
    end: oneshot::Sender<()>,
}

impl HandOvers {
    pub(crate) const fn new(
        running: Arc<Running>,
        program: Program,
        source: Option<PathBuf>,
        predecessor: Option<EndingProcess>,
    ) -> Self {
        Self { running, program, source, predecessor, task: None }
    }

    /// Starts a hand-over.
    pub(crate) fn request(&mut self) {
        if self.task.is_some() {
            tracing::info!("a hand-over is under way already");
            return;
        }
        let refused = if self.source.is_none() {
            Some("a dev server has its keys in memory alone, and hands nothing over")
        } else if std::process::id() == 1 {
            Some(
                "this is process 1 of its container, which ends with it; replace the container \
                 instead",
            )
        } else {
            None
        };
        match (&self.source, refused) {
            (Some(source), None) => {
                let (running, program) = (Arc::clone(&self.running), self.program.clone());
                let give = give(running, program, source.clone(), self.predecessor.clone());
                self.task = Some(tokio::spawn(give));
            }
            (_, refused) => self.failed(refused.unwrap_or_default()),
        }
    }

    /// Whether one is under way.
    pub(crate) const fn is_under_way(&self) -> bool {
        self.task.is_some()
    }

    /// Waits for the end of the hand-over that runs; `None` if it has failed. Dropping the future
    /// loses nothing.
    pub(crate) async fn ended(&mut self) -> Option<Given> {
        let Some(task) = &mut self.task else { return std::future::pending().await };
        let ended = task.await;
        self.task = None;
        match ended {
            Ok(Ok(given)) => return Some(given),
            Ok(Err(reason)) => self.failed(&reason),
            Err(_) => self.failed("a bug of the server: it panicked"),
        }
        None
    }

    fn failed(&self, reason: &str) {
        self.running.service.reloads.record(Subject::HandOver, Err(reason));
        tracing::error!("hand-over failed; this process goes on: {reason}");
    }
}

impl Drop for HandOvers {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            // The new process ends with it.
            task.abort();
        }
    }
}

/// Starts the new process, and hands over to it.
async fn give(
    running: Arc<Running>,
    program: Program,
    source: PathBuf,
    predecessor: Option<EndingProcess>,
) -> Result<Given, String> {
    if let Some(predecessor) = predecessor {
        outlast(predecessor).await?;
    }
    tracing::info!("starting '{}' to hand over to", program.path().display());
    // Until this has ended, neither configuration nor certificates change.
    let _exclusive = running.replacing.lock().await;
    // Boxed: it is rare, and large.
    Box::pin(give_exclusively(&running, program, source)).await
}

/// Waits for the end of the process that has handed over to this one. Its last requests may change
/// keys, of which it tells this process alone: a third one would go on with what it has in memory.
async fn outlast(EndingProcess { id, ended }: EndingProcess) -> Result<(), String> {
    if ended.peek().is_none() {
        tracing::info!(
            "process {id}, which has handed over to this one, has not ended its requests: the next \
             hand-over begins after that"
        );
    }
    timeout(OUTLAST_LIMIT, ended).await.map_err(|_| {
        format!(
            "process {id}, which has handed over to this one, still ends its requests, or has left \
             changes of keys that the key store may still carry out; try again in a minute"
        )
    })
}

async fn give_exclusively(
    running: &Running,
    program: Program,
    source: PathBuf,
) -> Result<Given, String> {
    let regular =
        blocking(move || kes_tls::open_file(&source).map(drop).map_err(|error| (source, error)));
    match timeout(PREPARE_LIMIT, regular).await {
        Ok(Ok(())) => {}
        Ok(Err((path, error))) => return Err(format!("'{}': {error}", path.display())),
        Err(_) => return Err("the configuration file cannot be opened in time".to_owned()),
    }
    let (ours, theirs) = Pair::pair().map_err(|error| error.to_string())?;
    ours.set_nonblocking(true).map_err(|error| error.to_string())?;
    let stream = UnixStream::from_std(ours).map_err(|error| error.to_string())?;
    let path = program.path().to_owned();
    let started = blocking(move || program.start(theirs).map(|child| New(Some(child)))).await;
    let mut new =
        started.map_err(|error| format!("'{}' cannot be started: {error}", path.display()))?;
    let id = new.id();
    let given = hand_over(running, stream, id).await;
    if given.is_err() {
        // This process goes on, whether or not the disk answers.
        let generation = running.service.generation.load_full();
        tokio::spawn(async move { generation.keys.release_snapshot(false).await });
    }
    match given {
        Ok(mut given) => {
            given.child = Some(new);
            Ok(given)
        }
        Err(Fault::Told(reason)) => Err(reason),
        Err(Fault::Io(error)) if error.kind() == io::ErrorKind::InvalidData => {
            Err(format!("process {id}: {error}"))
        }
        Err(Fault::Io(error)) => {
            // Its end, if it has ended, is the better reason.
            let status = blocking(move || new.ended()).await;
            Err(match status {
                Some(status) => format!("process {id} ended ({status}) before it served"),
                None => format!("process {id}: {error}"),
            })
        }
    }
}

/// Why a hand-over failed.
enum Fault {
    /// This is the reason.
    Told(String),
    /// The pair failed.
    Io(io::Error),
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

async fn hand_over(running: &Running, mut stream: UnixStream, id: u32) -> Result<Given, Fault> {
    let late = |limit: Duration, what: &str| {
        Fault::Told(format!("process {id} {what} within {} s", limit.as_secs()))
    };
    let ready = timeout(PREPARE_LIMIT, prepare(running, &mut stream, id)).await;
    let Prepared { said, public_key, version, place, api, operations } =
        ready.map_err(|_| late(PREPARE_LIMIT, "was not ready to serve"))??;

    tracing::info!("handing over to process {id} (version {version})");
    let generation = running.service.generation.load_full();
    let succession = generation.keys.order().hand_over();
    let taken = async {
        // All that is deleted from now on asks the other process, which reads the file after this.
        snapshot::save(running).await;
        generation.keys.release_snapshot(true).await;
        let mut changes = 0;
        for some in succession.underway.chunks(MOST_CHANGES) {
            changes += some.len();
            let some = some.iter().map(Change::of).collect();
            send(&mut stream, &FromOld::Changes(some)).await?;
        }
        let mut sealed = 0;
        if place == generation.location.fingerprint() {
            let mut sealer = Sealer::new(&public_key, &said)
                .map_err(|_| Fault::Told(format!("process {id} has no key for the keys")))?;
            let public_key = sealer.public().to_vec();
            let at = monotonic();
            let (copies, unreachable) = generation.keys.copies(&succession.underway, &mut sealer);
            let unreachable = unreachable.and_then(|time| u64::try_from(time.as_nanos()).ok());
            send(&mut stream, &FromOld::Keys { public_key, at, unreachable }).await?;
            for message in copies {
                let message = message.map_err(|fault| Fault::Told(fault.to_string()))?;
                send_sealed(&mut stream, &message).await?;
                sealed += 1;
            }
        }
        send(&mut stream, &FromOld::TakeOver { changes, sealed }).await?;
        match receive(&mut stream).await?.parse()? {
            FromNew::Serving { keys } => Ok(keys),
            FromNew::Failed(reason) => Err(Fault::Told(reason)),
            other => Err(unexpected(id, &other)),
        }
    };
    let keys =
        timeout(TAKE_LIMIT, taken).await.map_err(|_| late(TAKE_LIMIT, "did not serve"))??;
    tracing::info!("process {id} serves from now on, with {keys} keys in memory");
    Ok(Given { child: None, stream, succession, api, operations })
}

/// What a process that could serve has said.
struct Prepared {
    /// Both hellos.
    said: Vec<u8>,
    public_key: Vec<u8>,
    version: String,
    place: String,
    api: bool,
    operations: bool,
}

async fn prepare(running: &Running, stream: &mut UnixStream, id: u32) -> Result<Prepared, Fault> {
    let first = receive(stream).await?;
    let hello: Hello = first.parse()?;
    let version = running.service.build.version.to_owned();
    let ours = Hello { protocol: PROTOCOL, version, public_key: Vec::new() };
    let reply = send(stream, &ours).await?;
    let Hello { protocol, version, public_key } = hello;
    let version: String = version.chars().filter(|c| !c.is_control()).take(100).collect();
    if protocol != PROTOCOL {
        return Err(Fault::Told(format!(
            "process {id} (version {version}) hands over by protocol {protocol}, and this one by \
             {PROTOCOL}; restart the server instead"
        )));
    }
    let said = match first {
        super::pair::Frame::Message(text) | super::pair::Frame::Sealed(text) => {
            [text, reply].concat()
        }
    };
    let api = running.listening.to_pass_on()?;
    let operations = running.operations.to_pass_on();
    let locks = running.service.generation.load().folders.locks_to_pass_on();
    let mut sockets: Vec<_> = api.sockets.files().collect();
    sockets.extend(operations.as_ref().map(|(_, socket)| socket.as_fd()));
    let message = FromOld::Sockets {
        api: api.sockets.files().count(),
        address: api.address,
        passed: api.passed,
        operations: operations.as_ref().map(|(address, _)| address.clone()),
        locks: locks.len(),
    };
    send(stream, &message).await?;
    send_files(stream, &sockets).await?;
    send_files(stream, &locks.iter().map(|lock| lock.as_fd()).collect::<Vec<_>>()).await?;
    match receive(stream).await?.parse()? {
        FromNew::Ready { place, api, operations } => {
            Ok(Prepared { said, public_key, version, place, api, operations })
        }
        FromNew::Failed(reason) => Err(Fault::Told(reason)),
        other => Err(unexpected(id, &other)),
    }
}

fn unexpected(id: u32, message: &FromNew) -> Fault {
    let text = format!("{message:?}");
    let name = text.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default();
    Fault::Told(format!("process {id} says '{name}', which is not its turn"))
}

impl New {
    fn id(&self) -> u32 {
        self.0.as_ref().map_or(0, Child::id)
    }

    /// How the process has ended, if it has.
    fn ended(&mut self) -> Option<std::process::ExitStatus> {
        /// How long a process that has closed its end of the pair may take to end.
        const LIMIT: Duration = Duration::from_millis(500);
        const PAUSE: Duration = Duration::from_millis(10);
        for _ in 0..LIMIT.as_millis() / PAUSE.as_millis() {
            if let Ok(Some(status)) = self.0.as_mut()?.try_wait() {
                return Some(status);
            }
            std::thread::sleep(PAUSE);
        }
        None
    }
}

impl Drop for New {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            // One that has ended is not killed.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Given {
    /// The ID of the process.
    pub(crate) fn id(&self) -> u32 {
        self.child.as_ref().map_or(0, New::id)
    }

    /// Lets the process go on alone, after the service manager was told. Until the result ends, each
    /// change that begins here asks it for its turn.
    pub(crate) async fn release(mut self, running: &Running, reload: bool) -> Changes {
        let id = self.id();
        if let Some(new) = &mut self.child {
            // It lives on.
            new.0 = None;
        }
        let _ = send(&mut self.stream, &FromOld::Released).await;
        if reload && let Some(id) = i32::try_from(id).ok().and_then(Pid::from_raw) {
            // The request came to this process, and may have come too late for what that one has read.
            let _ = kill_process(id, Signal::HUP);
        }
        let halves: Halves = self.stream.into_split();
        let order = running.service.generation.load().keys.order();
        let (end, is_over) = oneshot::channel();
        let task = tokio::spawn(changes::ask(order, self.succession, halves, is_over));
        Changes { task, end }
    }
}

impl Changes {
    /// No change begins any more: tells what there is to tell.
    pub(crate) async fn end(self) {
        let _ = self.end.send(());
        let _ = self.task.await;
    }
}
