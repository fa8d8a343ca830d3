//! How far a change of a key and its request have come: one of both ends first.

use std::sync::atomic::{AtomicU8, Ordering};

use kes_api::message;

/// How far a change and its request have come.
#[derive(Default)]
pub(crate) struct Progress(AtomicU8);

/// The request waits for the change.
pub(super) const WAITS: u8 = 0;
/// The change has ended, and was recorded.
const RECORDED: u8 = 1;
/// The request was answered before.
pub(super) const ANSWERED: u8 = 2;
/// The client has gone away before.
pub(super) const GONE: u8 = 3;

impl Progress {
    /// The request is answered; whether the change was recorded.
    pub(super) fn answered(&self) -> bool {
        self.leave(ANSWERED)
    }

    /// The client has gone away, which the answer would have been counted as.
    pub(super) fn client_gone(&self) -> u16 {
        self.leave(GONE);
        message::CLIENT_GONE.status
    }

    fn leave(&self, state: u8) -> bool {
        self.0.compare_exchange(WAITS, state, Ordering::AcqRel, Ordering::Acquire).is_err()
    }

    /// The change has ended; what has become of its request.
    pub(super) fn ended(&self) -> u8 {
        self.0.swap(RECORDED, Ordering::AcqRel)
    }
}
