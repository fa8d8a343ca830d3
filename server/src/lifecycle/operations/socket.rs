use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use kes_config::OperationsAddress;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::time::timeout;

use crate::transport::listener::{bind_hint, listen};

/// How long another program may take to accept a connection at a unix socket before it counts as
/// running.
const CONNECT_LIMIT: Duration = Duration::from_secs(1);

/// A listening socket.
pub(crate) enum Socket {
    Tcp(TcpListener),
    Unix(UnixSocket),
}

/// A connection.
pub(super) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// A unix socket, whose file goes with it.
pub(crate) struct UnixSocket {
    listener: UnixListener,
    path: PathBuf,
    /// Device and inode of the file: another server may have put its own in the place.
    file: Option<(u64, u64)>,
    /// Whether another process goes on with the same socket.
    is_passed_on: AtomicBool,
}

impl Socket {
    /// Binds an address. `beside` is the socket that this one replaces.
    pub(super) async fn bind(
        address: &OperationsAddress,
        beside: Option<&Self>,
    ) -> io::Result<Self> {
        match address {
            OperationsAddress::Tcp(address) => {
                let beside = match beside {
                    Some(Self::Tcp(old)) => {
                        let bound = old.local_addr();
                        let overlaps = bound.is_ok_and(|bound| bound.port() == address.port());
                        overlaps.then_some(old)
                    }
                    _ => None,
                };
                listen(address, beside).await.map(Self::Tcp)
            }
            OperationsAddress::Unix(path) => UnixSocket::bind(path).await.map(Self::Unix),
        }
    }

    /// The socket of the server that hands over, which was bound for this address.
    pub(super) fn inherit(address: &OperationsAddress, socket: OwnedFd) -> io::Result<Self> {
        match address {
            OperationsAddress::Tcp(_) => {
                let socket = std::net::TcpListener::from(socket);
                socket.set_nonblocking(true)?;
                TcpListener::from_std(socket).map(Self::Tcp)
            }
            OperationsAddress::Unix(path) => {
                let socket = std::os::unix::net::UnixListener::from(socket);
                socket.set_nonblocking(true)?;
                let listener = UnixListener::from_std(socket)?;
                Ok(Self::Unix(UnixSocket::of(listener, path)))
            }
        }
    }

    /// Notes that another process goes on with the same socket.
    pub(super) fn pass_on(&self) {
        if let Self::Unix(socket) = self {
            socket.is_passed_on.store(true, Ordering::Relaxed);
        }
    }

    pub(super) async fn accept(&self) -> io::Result<Stream> {
        match self {
            Self::Tcp(listener) => listener.accept().await.map(|(stream, _)| Stream::Tcp(stream)),
            Self::Unix(socket) => {
                socket.listener.accept().await.map(|(stream, _)| Stream::Unix(stream))
            }
        }
    }

    /// Where a client finds it.
    pub(super) fn url(&self, is_tls: bool) -> String {
        let scheme = if is_tls { "https" } else { "http" };
        match self {
            Self::Tcp(listener) => match listener.local_addr() {
                Ok(address) => format!("{scheme}://{address}"),
                Err(_) => scheme.to_owned(),
            },
            Self::Unix(socket) => format!("unix:{}", socket.path.display()),
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(listener) => listener.as_fd(),
            Self::Unix(socket) => socket.listener.as_fd(),
        }
    }
}

impl UnixSocket {
    async fn bind(path: &Path) -> io::Result<Self> {
        let listener = match UnixListener::bind(path) {
            Err(error) if error.kind() == ErrorKind::AddrInUse && is_left_behind(path).await => {
                std::fs::remove_file(path)?;
                UnixListener::bind(path)?
            }
            bound => bound?,
        };
        Ok(Self::of(listener, path))
    }

    fn of(listener: UnixListener, path: &Path) -> Self {
        let is_passed_on = AtomicBool::new(false);
        Self { listener, path: path.to_owned(), file: file(path), is_passed_on }
    }
}

impl Drop for UnixSocket {
    fn drop(&mut self) {
        if self.is_passed_on.load(Ordering::Relaxed) {
            return;
        }
        if self.file.is_some() && file(&self.path) == self.file {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn file(path: &Path) -> Option<(u64, u64)> {
    let file = std::fs::symlink_metadata(path).ok()?;
    Some((file.dev(), file.ino()))
}

/// Whether a file is a socket of a server that was killed: nobody listens at it.
async fn is_left_behind(path: &Path) -> bool {
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket());
    if !is_socket {
        return false;
    }
    let connected = timeout(CONNECT_LIMIT, UnixStream::connect(path)).await;
    matches!(connected, Ok(Err(error)) if error.kind() == ErrorKind::ConnectionRefused)
}

/// An address in one text, to compare it with that of another process.
pub(super) fn text(address: &OperationsAddress) -> String {
    match address {
        OperationsAddress::Tcp(address) => format!("tcp:{}", **address),
        OperationsAddress::Unix(path) => format!("unix:{}", path.display()),
    }
}

/// Whether two addresses are the same.
pub(super) fn is_same(one: &OperationsAddress, other: &OperationsAddress) -> bool {
    match (one, other) {
        (OperationsAddress::Tcp(one), OperationsAddress::Tcp(other)) => **one == **other,
        (OperationsAddress::Unix(one), OperationsAddress::Unix(other)) => **one == **other,
        _ => false,
    }
}

/// A message about an address that cannot be bound.
pub(super) fn cannot_listen(address: &OperationsAddress, reason: &io::Error) -> String {
    match address {
        OperationsAddress::Tcp(address) => {
            let hint = bind_hint(address, reason);
            address.blame(format_args!("cannot listen on {address}: {reason}{hint}"))
        }
        OperationsAddress::Unix(path) => {
            let hint = match reason.kind() {
                ErrorKind::AddrInUse => "; another program listens there, or it is another file",
                ErrorKind::NotFound => {
                    "; the folder has to exist: RuntimeDirectory= makes one in /run"
                }
                _ => "",
            };
            path.blame(format_args!("cannot listen on unix:{}: {reason}{hint}", path.display()))
        }
    }
}
