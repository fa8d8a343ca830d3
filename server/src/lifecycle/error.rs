use std::io;

use kes_config::ConfiguredAddress;

use super::operations::Unbound;
use crate::transport::listener::bind_hint;
use crate::transport::tls;

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration, or something that it names.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// The address cannot be bound.
    #[error("{}", cannot_listen(address, reason))]
    Listen {
        /// Where the server was to listen.
        address: ConfiguredAddress,
        /// What the system says.
        reason: io::Error,
    },
    /// A file that the service manager has passed cannot be listened on.
    #[error(
        "file descriptor {number}{} that the service manager passed cannot be used: {fault}; the \
         server takes listening TCP sockets",
        if name.is_empty() { String::new() } else { format!(" ('{name}')") }
    )]
    Passed {
        /// Its number.
        number: usize,
        /// Its name (FileDescriptorName= of the socket unit).
        name: String,
        /// What is wrong with it.
        fault: String,
    },
    /// More sockets than any server listens on.
    #[error(
        "the service manager passed {count} sockets (LISTEN_FDS), and a server takes up to {most}"
    )]
    TooManyPassed {
        /// How many there are.
        count: usize,
        /// How many may be passed.
        most: usize,
    },
    /// The limit of open files is too low for any server.
    #[error(
        "the process may open only {limit} files, and a server needs at least {needed}; raise \
         LimitNOFILE (systemd) or `ulimit -n`"
    )]
    Files {
        /// The limit.
        limit: u64,
        /// The smallest limit that works.
        needed: u64,
    },
    /// The process was started to take over from another one, and cannot.
    #[error("hand-over: {reason}")]
    HandOver {
        /// Why.
        reason: String,
    },
    /// SIGTERM or SIGINT came before the server had started.
    #[error("stopped by a signal before the server had started")]
    Stopped,
    /// The system refuses something that every process may have.
    #[error("cannot start: {reason}")]
    System {
        /// What the system says.
        reason: io::Error,
    },
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The file, with all its mistakes.
    #[error(transparent)]
    Config(kes_config::Errors),
    /// A private key or certificate.
    #[error(transparent)]
    Tls(tls::Error),
    /// A file that hangs.
    #[error("{reason}")]
    Hangs {
        /// Which one.
        reason: String,
    },
    /// The audit file.
    #[error("{reason}")]
    AuditFile {
        /// What is wrong with it, and where the configuration names it.
        reason: String,
    },
    /// The key of the snapshot.
    #[error("{reason}")]
    Snapshot {
        /// What is wrong with it, and where the configuration names it.
        reason: String,
    },
    /// The collector of traces.
    #[error("{reason}")]
    Traces {
        /// What is wrong with what the configuration says of it.
        reason: String,
    },
    /// The key store.
    #[error(transparent)]
    Store(kes_keystore::OpenError),
    /// The key store has not the keys that the configuration pins.
    #[error("{reason}")]
    Pins {
        /// Which ones, and where the configuration names them.
        reason: String,
    },
    /// The address of the operations listener.
    #[error(transparent)]
    Operations(#[from] Unbound),
    /// The address that a reload asks for.
    #[error("{}", cannot_listen(address, reason))]
    Listen {
        /// Where the server was to listen.
        address: ConfiguredAddress,
        /// What the system says.
        reason: io::Error,
    },
}

/// Says which address cannot be bound, where it was set, and what to do.
fn cannot_listen(address: &ConfiguredAddress, reason: &io::Error) -> String {
    let hint = bind_hint(address, reason);
    address.blame(format_args!("cannot listen on {address}: {reason}{hint}"))
}
