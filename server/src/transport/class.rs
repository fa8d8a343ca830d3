//! Classes of callers, and what each class may take of the server's connections.
//!
//! Anybody can make a self-signed certificate, so a finished handshake proves nothing: a client
//! that no policy names costs the server as little as possible, and makes room for the others.

use std::time::Duration;

/// The class of a caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// The client has no identity, or one that no policy names.
    Stranger,
    /// The client's identity has a policy.
    Known,
    /// The admin.
    Admin,
}

/// A connection without a request is closed after this long (contract `api.md`, Transport).
const IDLE_TIMEOUT: Duration = Duration::from_secs(90);

/// The same for a stranger. As long as a handshake or a head may take: what a stranger can ask for
/// is answered at once, and a client that keeps a connection for later can open another one.
const STRANGER_IDLE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a client may leave an answer untaken, or the next 64 KiB of a large one: as long as a
/// request may take. Until then the answer holds memory.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);

/// The same for a stranger, whose answers fit into one packet.
const STRANGER_ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// How long an HTTP/2 connection that is closed gracefully may take to end.
const GRACEFUL_SHUTDOWN: Duration = Duration::from_secs(5);

/// The same for a stranger, which could double its idle time by not answering.
const STRANGER_GRACEFUL_SHUTDOWN: Duration = Duration::from_millis(500);

/// Requests that one HTTP/2 connection may have open at once.
const MAX_STREAMS: u32 = 256;

/// The same for a stranger. A connection keeps the number that it began with. No less: clients
/// written in Go begin with up to 100 before they have read the limit, and RFC 9113 (6.5.2)
/// advises 100.
const STRANGER_MAX_STREAMS: u32 = 100;

/// The same for a TLS proxy, whose connection several clients share: each has its own limits
/// (`service::proxies`).
pub(super) const PROXY_MAX_STREAMS: u32 = 1_024;

impl Class {
    /// Its place in metrics with a series for each class.
    pub(crate) const fn index(self) -> usize {
        match self {
            Self::Stranger => 0,
            Self::Known => 1,
            Self::Admin => 2,
        }
    }

    pub(super) const fn max_streams(self) -> u32 {
        if self.is_stranger() { STRANGER_MAX_STREAMS } else { MAX_STREAMS }
    }

    pub(super) const fn is_stranger(self) -> bool {
        matches!(self, Self::Stranger)
    }

    pub(super) const fn idle_timeout(self) -> Duration {
        if self.is_stranger() { STRANGER_IDLE_TIMEOUT } else { IDLE_TIMEOUT }
    }

    pub(super) const fn answer_timeout(self) -> Duration {
        if self.is_stranger() { STRANGER_ANSWER_TIMEOUT } else { ANSWER_TIMEOUT }
    }

    pub(super) const fn graceful_shutdown(self) -> Duration {
        if self.is_stranger() { STRANGER_GRACEFUL_SHUTDOWN } else { GRACEFUL_SHUTDOWN }
    }
}
