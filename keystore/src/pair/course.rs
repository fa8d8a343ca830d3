//! The task of a change: it tells the caller the result as soon as that is known, and goes on if the
//! change is half made.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use kes_api::KeyName;
use tokio::sync::oneshot;
use tokio::time::{self, Instant};

use super::{Notes, Two, are_equal};
use crate::jitter::jitter;
use crate::wrap::{Change, MAX_DURATION, Part, Unsettled};
use crate::{Error, KeyStore, Side, Value};

/// The pause before a half of a change is tried again, doubled each time up to the second.
const PAUSES: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(5)];

/// How often it is looked whether a request without an answer may still be carried out.
const SETTLING: Duration = Duration::from_millis(200);

/// How long a key that was just created is looked for: nodes of a cluster lag by some 100 ms.
const LAG: Duration = Duration::from_secs(2);

/// The caller of a change, until it is told the result.
pub(super) struct Told {
    sender: Option<oneshot::Sender<Result<(), Error>>>,
    notes: Arc<Notes>,
    what: (KeyName, Change),
    is_unfinished: bool,
    change: Option<Unsettled>,
}

/// What a store has under a name, compared with a value.
pub(super) enum Look {
    /// That value.
    Same,
    /// Something else.
    Other,
    /// Nothing.
    Nothing,
    /// That is not known.
    Unknown,
}

/// Pauses between attempts. They end some time after the pair has gone out of use.
pub(super) struct Patience {
    pause: Duration,
    end: Option<Instant>,
}

impl Told {
    pub(super) fn new(
        notes: &Arc<Notes>,
        what: (KeyName, Change),
        change: Option<Unsettled>,
    ) -> (Self, oneshot::Receiver<Result<(), Error>>) {
        let (sender, answer) = oneshot::channel();
        let notes = Arc::clone(notes);
        (Self { sender: Some(sender), notes, what, is_unfinished: false, change }, answer)
    }

    /// A part of the change.
    pub(super) fn part(&self) -> Part {
        Part::of(self.change.as_ref())
    }

    /// Makes a call that is the whole change.
    pub(super) async fn whole<T>(&self, call: impl Future<Output = T>) -> T {
        match &self.change {
            Some(change) => change.clone().perform(call).await,
            None => call.await,
        }
    }

    /// Whether the caller was told that the change has failed.
    pub(super) const fn has_failed(&self) -> bool {
        self.sender.is_none()
    }

    /// The change has failed for its caller, and goes on.
    pub(super) fn fails(&mut self, error: Error) {
        if let Some(sender) = self.sender.take() {
            self.is_unfinished = true;
            self.notes.unfinished.lock().push(self.what);
            // The caller may have gone away.
            let _ = sender.send(Err(error));
        }
    }

    /// The change has ended. If it had failed for its caller before, that is told where it is recorded.
    pub(super) fn ends(mut self, result: Result<(), Error>) {
        if result.is_ok()
            && let Some(change) = &self.change
        {
            change.carried_out();
        }
        // Before the caller is told: it does not wait for parts of a change that has ended.
        self.change = None;
        if let Some(sender) = self.sender.take() {
            let _ = sender.send(result);
        }
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        if self.is_unfinished {
            let mut unfinished = self.notes.unfinished.lock();
            if let Some(at) = unfinished.iter().position(|what| *what == self.what) {
                unfinished.remove(at);
            }
        }
    }
}

impl Patience {
    pub(super) const fn new() -> Self {
        Self { pause: PAUSES[0], end: None }
    }

    /// Waits before the next attempt, which is made by the pair that has replaced this one, if it is of
    /// the same stores. `false` if there is to be none, because the stores have been out of use for as
    /// long as one may carry out what it was sent.
    pub(super) async fn lasts<A, B>(&mut self, stores: &mut Arc<Two<A, B>>) -> bool
    where
        A: KeyStore + 'static,
        B: KeyStore + 'static,
    {
        if !stores.in_use.load(Ordering::Relaxed) {
            if let Some(successor) = stores.successor() {
                (*stores, self.end) = (successor, None);
            } else {
                let end = *self.end.get_or_insert_with(|| Instant::now() + MAX_DURATION);
                if Instant::now() >= end {
                    return false;
                }
            }
        }
        time::sleep(jitter(self.pause)).await;
        self.pause = (self.pause * 2).min(PAUSES[1]);
        true
    }
}

impl<A: KeyStore, B: KeyStore> Two<A, B> {
    /// What a store has under a name.
    pub(super) async fn look(&self, side: Side, name: &KeyName, value: &Value) -> Look {
        match self.read(side, name).await {
            Ok(found) if are_equal(&found, value) => Look::Same,
            Ok(_) | Err(Error::Corrupt { .. } | Error::Foreign { .. }) => Look::Other,
            Err(Error::NotFound { .. }) => Look::Nothing,
            Err(_) => Look::Unknown,
        }
    }

    /// The same for a key that was there before: it is gone if it is for some time.
    pub(super) async fn look_patiently(&self, side: Side, name: &KeyName, value: &Value) -> Look {
        let start = Instant::now();
        loop {
            match self.look(side, name, value).await {
                Look::Nothing if start.elapsed() < LAG => time::sleep(PAUSES[0]).await,
                found => return found,
            }
        }
    }
}

/// Waits until a part of a change cannot be carried out any more.
pub(super) async fn settled(part: &Part) {
    while !part.is_settled() {
        time::sleep(SETTLING).await;
    }
}
