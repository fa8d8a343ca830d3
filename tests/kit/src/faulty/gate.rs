use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use crate::wait::eventually_async;

/// Holds up requests until it is opened. A [`Faulty`](super::Faulty) has the requests wait that a
/// server is to carry out late.
#[derive(Debug, Default)]
pub struct Gate {
    is_open: Mutex<bool>,
    opened: Condvar,
    held: AtomicUsize,
}

impl Gate {
    /// Waits until it is open.
    pub fn wait(&self) {
        self.held.fetch_add(1, Ordering::SeqCst);
        let is_open = self.is_open.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.opened.wait_while(is_open, |is_open| !*is_open));
    }

    /// Lets all pass from now on.
    pub fn open(&self) {
        *self.is_open.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.opened.notify_all();
    }

    /// Waits until a request has come.
    pub async fn holds_one(&self) {
        let holds = async || self.held.load(Ordering::SeqCst) > 0;
        eventually_async(Duration::from_secs(10), "a request is held up", holds).await;
    }
}
