//! The signals that a running server reacts to.

use std::io;

use rustix::process;
use tokio::signal::unix::{self, SignalKind};

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    /// SIGTERM or SIGINT.
    Stop,
    /// SIGHUP.
    Reload,
    /// SIGUSR2.
    HandOver,
}

/// Receives the signals.
pub(crate) struct Signals {
    terminate: unix::Signal,
    interrupt: unix::Signal,
    hang_up: unix::Signal,
    user: unix::Signal,
}

impl Signals {
    /// Receives signals from now on: one that comes before [`Signals::next`] is called is not lost.
    pub(crate) fn listen() -> io::Result<Self> {
        outlive_others()?;
        Ok(Self {
            terminate: unix::signal(SignalKind::terminate())?,
            interrupt: unix::signal(SignalKind::interrupt())?,
            hang_up: unix::signal(SignalKind::hangup())?,
            user: unix::signal(SignalKind::user_defined2())?,
        })
    }

    /// Waits for a signal that asks to stop. Others are left for [`Signals::next`].
    pub(crate) async fn stop(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    /// Waits for the next signal.
    pub(crate) async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.terminate.recv() => Signal::Stop,
            _ = self.interrupt.recv() => Signal::Stop,
            _ = self.hang_up.recv() => Signal::Reload,
            _ = self.user.recv() => Signal::HandOver,
        }
    }
}

/// Signals that say nothing to a server, and would end it: those of timers, of a limit of file sizes
/// or of processor time (the call fails, or a harder limit ends the process), and those that people
/// send to other programs to have something logged.
const OTHERS: [process::Signal; 8] = [
    process::Signal::USR1,
    process::Signal::ALARM,
    process::Signal::VTALARM,
    process::Signal::PROF,
    process::Signal::IO,
    process::Signal::POWER,
    process::Signal::XCPU,
    process::Signal::XFSZ,
];

/// Lets the process outlive all other signals that the reference outlives. A handler stays
/// registered after its listener was dropped.
fn outlive_others() -> io::Result<()> {
    OTHERS.iter().try_for_each(|other| unix::signal(SignalKind::from_raw(other.as_raw())).map(drop))
}
