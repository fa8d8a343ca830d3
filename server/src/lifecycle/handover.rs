//! A running server hands over to a new process of its program, such as an upgraded one, and no
//! client notices (contract `config.md`, While it runs).
//!
//! On SIGUSR2 the server starts its program again (`program`), with one end of a pair of sockets as
//! standard input (`pair`), and the two talk (`message`):
//!
//! ```text
//! new (`taker`)                                     old (`giver`)
//! Hello: protocol, version, public key          →
//!                                               ←   Hello: the same
//!                                               ←   Sockets, with the listening sockets themselves, and
//!                                                   with the locks of its key folders as open files
//! reads its configuration, opens all that it names
//! Ready, or Failed                              →
//!                                                   from here on the new one has the order of changes
//!                                               ←   Changes that have begun and are not settled
//!                                               ←   Keys in memory, sealed for the new process alone
//!                                               ←   TakeOver
//! accepts connections
//! Serving                                       →
//!                                                   tells the service manager, accepts nothing more
//!                                               ←   Released
//! is ready, for the service manager                 ends its requests (10 s)
//!                                               ↔   what either changes (`changes`)
//! ```
//!
//! Until `Serving` the old server serves as if nothing had been asked of it, and goes on if anything
//! fails or the new process is too slow. It has then ended the new process.

use std::time::Duration;

/// The program, and how it is started again.
pub(super) mod program;

/// What goes between the two processes.
mod pair;

/// What they say.
mod message;

/// The order of changes, while both have requests.
mod changes;

/// The side of the server that hands over.
pub(super) mod giver;

/// The side of the server that takes over.
pub(crate) mod taker;

/// How long a hand-over waits for the process that has handed over to this one, which has 10 s for its
/// last requests. Where it leaves changes that a key store may still carry out, it counts as ended
/// after 90 s.
const OUTLAST_LIMIT: Duration = Duration::from_secs(30);

/// How long the new process may take until it could serve. It starts within a second unless the
/// files of its configuration hang.
const PREPARE_LIMIT: Duration = Duration::from_secs(20);

/// How long it may take from there until it serves. Changes of keys wait meanwhile.
const TAKE_LIMIT: Duration = Duration::from_secs(10);

/// When the server has handed over, a connection without a request stays for this long: its client
/// does not know yet, and may have sent one. Less than what requests get to end (10 s), so that one
/// that comes at the last moment is answered as well.
const IDLE: Duration = Duration::from_secs(8);

/// The same with an audit file: changes that have to be recorded wait for its end, for up to 5 s.
const SHORT_IDLE: Duration = Duration::from_secs(1);

/// How long a connection may be idle after a hand-over. The new process writes to the audit file once
/// the old one has closed it.
pub(super) const fn idle_time(has_audit_file: bool) -> Duration {
    if has_audit_file { SHORT_IDLE } else { IDLE }
}

/// The variable that tells a process that another one hands over to it: the ID of that one, which is
/// its parent.
const VARIABLE: &str = "KES_HANDOVER";
