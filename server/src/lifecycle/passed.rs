//! Sockets that the service manager has opened for the server (sd_listen_fds(3)). They stay open while
//! the server is restarted, so that clients that connect meanwhile wait and are not refused.

use std::net::TcpListener;

use listenfd::ListenFd;
use rustix::net::sockopt;

use super::error::Error;

/// The number of the first one.
const FIRST: usize = 3;

/// The most that are taken. A server listens on a handful of addresses; each address of a
/// `ListenStream` is one socket.
const MAX: usize = 64;

/// The sockets that the service manager has passed to this process.
#[derive(Debug, Default)]
pub struct PassedSockets {
    pub(crate) api: Vec<TcpListener>,
}

impl PassedSockets {
    /// Takes them from the process. It removes variables of the environment, and is therefore called
    /// before other threads run.
    ///
    /// # Errors
    /// [`Error::Passed`] if one of them does not listen for TCP connections.
    pub fn take() -> Result<Self, Error> {
        let count = count()?;
        let mut passed = Self::default();
        if count == 0 {
            return Ok(passed);
        }
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let names: Vec<&str> = names.split(':').collect();
        let mut files = ListenFd::from_env();
        for index in 0..count {
            let name = names.get(index).copied().unwrap_or_default();
            let fault = |fault: String| Error::Passed {
                number: FIRST + index,
                name: name.to_owned(),
                fault,
            };
            let socket =
                files.take_tcp_listener(index).map_err(|error| fault(error.to_string()))?;
            let Some(socket) = socket else { continue };
            if !sockopt::socket_acceptconn(&socket).unwrap_or(false) {
                return Err(fault(
                    "it does not listen; write Accept=no in the socket unit".to_owned(),
                ));
            }
            socket.set_nonblocking(true).map_err(|error| fault(error.to_string()))?;
            passed.api.push(socket);
        }
        Ok(passed)
    }
}

/// How many sockets are passed to this process: a variable that a parent has left names another one.
fn count() -> Result<usize, Error> {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u32>().ok());
    let is_ours = number("LISTEN_PID") == Some(std::process::id());
    let count = number("LISTEN_FDS").filter(|_| is_ours).unwrap_or(0);
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    if count > MAX {
        return Err(Error::TooManyPassed { count, most: MAX });
    }
    Ok(count)
}
