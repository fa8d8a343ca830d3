use std::io;
use std::net::TcpListener;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream as Pair;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use kes_config::Address;
use kes_keys::transfer::Receiver;
use rustix::net::{AddressFamily, sockopt};
use rustix::process::getppid;
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::super::error::Error;
use super::super::state::Running;
use super::changes::{Halves, Inherited};
use super::message::{FromNew, FromOld, Hello, PROTOCOL, monotonic};
use super::pair::{Frame, receive, receive_files, send};
use super::{TAKE_LIMIT, VARIABLE};

/// A server that hands over to this process.
#[derive(Debug)]
pub struct Predecessor {
    pair: Pair,
    id: u32,
}

/// The same, once it has told what it has.
pub(crate) struct Takeover {
    stream: UnixStream,
    id: u32,
    /// Both hellos.
    said: Vec<u8>,
    receiver: Receiver,
    sockets: Sockets,
}

/// The listening sockets of the other process.
pub(crate) struct Sockets {
    pub(crate) api: Vec<TcpListener>,
    /// The address that they were bound for.
    pub(crate) address: Address,
    /// Whether the service manager had opened them.
    pub(crate) passed: bool,
    /// That of the operations listener, with the address that it was bound for.
    pub(crate) operations: Option<(String, OwnedFd)>,
    /// The locks of its key folders.
    pub(crate) locks: Vec<OwnedFd>,
}

/// The process that has handed over, while it ends its requests.
#[derive(Clone)]
pub(crate) struct EndingProcess {
    pub(crate) id: u32,
    /// Done once it has ended, and no change of it can be carried out any more.
    pub(crate) ended: Shared<BoxFuture<'static, ()>>,
}

/// What this process has taken over, until it serves.
pub(crate) struct Taken {
    stream: UnixStream,
    id: u32,
    changes: Inherited,
    keys: usize,
    sockets: usize,
}

impl Predecessor {
    /// The server that has started this process to hand over to it; `None` if that was somebody else.
    ///
    /// # Errors
    /// [`Error::HandOver`] if the variable of the environment that says so is not right.
    pub fn take() -> Result<Option<Self>, Error> {
        let Some(text) = std::env::var_os(VARIABLE) else { return Ok(None) };
        let id = text.to_str().and_then(|text| text.parse().ok());
        let parent = getppid().and_then(|id| u32::try_from(id.as_raw_nonzero().get()).ok());
        let wrong = |what: &str| Error::HandOver { reason: format!("{VARIABLE} is set, {what}") };
        let Some(id) = id.filter(|id| Some(*id) == parent) else {
            return Err(wrong(
                "but not by the server that has started this process, or that is gone",
            ));
        };
        // The number stays open as well, as a standard input that has ended.
        let input = io::stdin().as_fd().try_clone_to_owned();
        let input =
            input.map_err(|error| wrong(&format!("but standard input is closed: {error}")))?;
        let is_pair =
            sockopt::socket_domain(&input).is_ok_and(|domain| domain == AddressFamily::UNIX);
        if !is_pair {
            return Err(wrong("but standard input is no socket of that server"));
        }
        let pair = Pair::from(input);
        pair.set_nonblocking(true).map_err(|reason| Error::System { reason })?;
        Ok(Some(Self { pair, id }))
    }

    /// Exchanges greetings, and receives the sockets.
    pub(crate) async fn greet(self, version: &str) -> Result<Takeover, Error> {
        let Self { pair, id } = self;
        timeout(TAKE_LIMIT, Self::receive(pair, id, version))
            .await
            .unwrap_or_else(|_| Err(io::Error::other("it does not answer")))
            .map_err(|error| failed(id, &error))
    }

    async fn receive(pair: Pair, id: u32, version: &str) -> io::Result<Takeover> {
        let mut stream = UnixStream::from_std(pair)?;
        let receiver = Receiver::new().map_err(io::Error::other)?;
        let (version, public_key) = (version.to_owned(), receiver.public().to_vec());
        let hello = Hello { protocol: PROTOCOL, version, public_key };
        let ours = send(&mut stream, &hello).await?;
        let first = receive(&mut stream).await?;
        let Hello { protocol, version, .. } = first.parse()?;
        if protocol != PROTOCOL {
            return Err(io::Error::other(format!(
                "its version {version:?} hands over by protocol {protocol}, and this one by \
                 {PROTOCOL}"
            )));
        }
        let (Frame::Message(theirs) | Frame::Sealed(theirs)) = first;
        let said = [ours, theirs].concat();
        let FromOld::Sockets { api, address, passed, operations, locks: locked } =
            receive(&mut stream).await?.parse()?
        else {
            return Err(unexpected());
        };
        let mut files = receive_files(&stream).await?;
        let locks = receive_files(&stream).await?;
        let last = match operations {
            Some(address) => Some((address, files.pop().ok_or_else(unexpected)?)),
            None => None,
        };
        if files.len() != api || files.is_empty() || locks.len() != locked {
            return Err(unexpected());
        }
        let address = address.parse().map_err(|_| unexpected())?;
        let api = files.into_iter().map(TcpListener::from).collect();
        let sockets = Sockets { api, address, passed, operations: last, locks };
        Ok(Takeover { stream, id, said, receiver, sockets })
    }
}

impl Takeover {
    /// The sockets.
    pub(crate) fn sockets(&mut self) -> &mut Sockets {
        &mut self.sockets
    }

    /// This process cannot start.
    pub(crate) async fn failed(mut self, error: &Error) {
        let _ = send(&mut self.stream, &FromNew::Failed(error.to_string())).await;
    }

    /// This process could serve, at so many of the sockets of the API and at that of the operations
    /// listener: takes over the order of changes and the keys in memory.
    pub(crate) async fn take(
        mut self,
        running: &Running,
        api: usize,
        operations: bool,
    ) -> Result<Taken, Error> {
        let id = self.id;
        let sockets = usize::from(operations) + api;
        let api = api > 0;
        let generation = running.service.generation.load_full();
        let mut changes = Inherited::new(generation.keys.order());
        let place = generation.location.fingerprint();
        let keys = async {
            send(&mut self.stream, &FromNew::Ready { place, api, operations }).await?;
            let (mut opener, mut ago, mut keys, mut sealed) = (None, Duration::ZERO, 0, 0);
            loop {
                let frame = receive(&mut self.stream).await?;
                if let Frame::Sealed(message) = frame {
                    let opener = opener.as_mut().ok_or_else(unexpected)?;
                    let taken = generation.keys.take_over(opener, message, ago);
                    keys += taken.map_err(io::Error::other)?;
                    sealed += 1;
                    continue;
                }
                match frame.parse()? {
                    FromOld::Changes(some) => changes.began(&some)?,
                    FromOld::Keys { public_key, at, unreachable } if opener.is_none() => {
                        ago = Duration::from_nanos(monotonic().saturating_sub(at));
                        if let Some(time) = unreachable {
                            generation.keys.was_unreachable(Duration::from_nanos(time) + ago);
                        }
                        let receiver = std::mem::replace(
                            &mut self.receiver,
                            Receiver::new().map_err(io::Error::other)?,
                        );
                        let opened = receiver.open_from(&public_key, &self.said);
                        opener = Some(opened.map_err(io::Error::other)?);
                    }
                    FromOld::TakeOver { changes: sent, sealed: sent_keys }
                        if sent == changes.len() && sent_keys == sealed =>
                    {
                        return Ok(keys);
                    }
                    _ => return Err(unexpected()),
                }
            }
        };
        let keys = timeout(TAKE_LIMIT, keys).await;
        let keys = keys.unwrap_or_else(|_| Err(io::Error::other("it does not answer")));
        let keys = keys.map_err(|error| failed(id, &error))?;
        Ok(Taken { stream: self.stream, id, changes, keys, sockets })
    }
}

impl Taken {
    /// This process serves. Waits until it is that of the service manager, and follows the changes of
    /// the other one, whose uses of keys are not known here. Returns what was taken over, in words.
    pub(crate) async fn serving(mut self, running: Arc<Running>) -> (String, EndingProcess) {
        let Self { id, keys, sockets, .. } = self;
        let released = async {
            send(&mut self.stream, &FromNew::Serving { keys }).await?;
            match receive(&mut self.stream).await?.parse()? {
                FromOld::Released => Ok(()),
                _ => Err(unexpected()),
            }
        };
        let released = timeout(TAKE_LIMIT, released).await;
        let released = released.unwrap_or_else(|_| Err(io::Error::other("it does not answer")));
        if let Err(error) = released {
            tracing::warn!("process {id} that hands over: {error}");
        }
        let (sockets, keys) = (count(sockets, "socket"), count(keys, "key"));
        let halves: Halves = self.stream.into_split();
        let of_others = Arc::clone(&running);
        let know_uses = move || running.service.generation.load().keys.know_uses_from_now();
        know_uses();
        let following = tokio::spawn(async move {
            self.changes.follow(halves, of_others).await;
            // Its last requests have used keys.
            know_uses();
        });
        let ended = following.map(drop).boxed().shared();
        (format!("took over from process {id}: {sockets}, {keys}"), EndingProcess { id, ended })
    }
}

fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

fn unexpected() -> io::Error {
    io::Error::other("it says something else than it should")
}

fn failed(id: u32, error: &io::Error) -> Error {
    let reason = match error.kind() {
        io::ErrorKind::UnexpectedEof => format!("process {id} has ended or given up"),
        _ => format!("process {id}: {error}"),
    };
    Error::HandOver { reason }
}
