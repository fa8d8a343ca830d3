use std::time::Duration;

/// What becomes of a listener and its connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// They go on.
    None,
    /// The server stops: requests get their answers, and idle connections end at once.
    Stop,
    /// Another process accepts at the same sockets from now on. No client is to notice: an idle
    /// connection, on which a request may be under way, stays for this long, and ends with the answer
    /// to its next request.
    HandOver(Duration),
}

impl Ending {
    /// Whether they are to end.
    pub(crate) fn has_begun(&self) -> bool {
        *self != Self::None
    }
}
