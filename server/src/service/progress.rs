//! How far a change of a key and its request have come: one of both ends first.

use std::sync::atomic::{AtomicU16, Ordering};

use parking_lot::Mutex;

use crate::observe::logging::receipt::Receipt;

/// How far a change and its request have come.
#[derive(Default)]
pub(crate) struct Progress {
    /// One of the constants below; or the status of the change once it has ended.
    state: AtomicU16,
    /// For the line that tells how the change ended, if that line must not be lost.
    receipt: Mutex<Option<Receipt>>,
}

/// The request waits for the change.
pub(super) const WAITS: u16 = 0;
/// The request was answered before the change ended.
pub(super) const ANSWERED: u16 = 1;
/// The client has gone away before.
pub(super) const GONE: u16 = 2;

impl Progress {
    /// The request is answered; whether the change has ended.
    pub(super) fn answered(&self) -> bool {
        self.leave(ANSWERED).is_some()
    }

    /// The client has gone away; the status of the change if it has ended.
    pub(super) fn client_gone(&self) -> Option<u16> {
        self.leave(GONE)
    }

    fn leave(&self, state: u16) -> Option<u16> {
        self.state.compare_exchange(WAITS, state, Ordering::AcqRel, Ordering::Acquire).err()
    }

    /// The change has ended; what has become of its request.
    pub(super) fn ended(&self, status: u16) -> u16 {
        self.state.swap(status, Ordering::AcqRel)
    }

    /// Keeps the receipt for the request, which waits for it.
    pub(super) fn keep(&self, receipt: Receipt) {
        *self.receipt.lock() = Some(receipt);
    }

    /// The receipt, if there is one.
    pub(super) fn take_receipt(&self) -> Option<Receipt> {
        self.receipt.lock().take()
    }
}
