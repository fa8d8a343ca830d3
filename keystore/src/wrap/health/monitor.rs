use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::outage::Outage;
use crate::{Kind, State};

/// A new cause of an outage is logged this long after the last one at the earliest: each of
/// several endpoints may give another cause, twice a second.
const BETWEEN_CAUSES: Duration = Duration::from_secs(5);

/// What is known of the health of one store. The checks of [`Health`](super::Health) write it, and
/// so do the calls of a backend that learn something from their outcome. Reading it sends no
/// request.
pub struct Monitor {
    texts: Texts,
    known: watch::Sender<Known>,
    /// Set while the store answers and refuses to log us in: the text that says so.
    login_refused: Mutex<Option<&'static str>>,
    /// What was logged last.
    told: Mutex<Told>,
    /// Wakes the watch before its time.
    pub(super) doubt: Notify,
    /// The calls that wait for the store's return.
    pub(super) outage: Outage,
}

#[derive(Clone, Copy)]
struct Known {
    state: State,
    /// Whether a check has ended.
    is_checked: bool,
}

struct Texts {
    kind: Kind,
    /// What the log says when the store is available.
    up: String,
    /// What it says before the cause when the store is not available.
    down: String,
}

impl Monitor {
    /// Of a store of which nothing is known: it is checked at once, and the first outcome is
    /// logged, so that an operator sees a mistyped address.
    pub fn new(kind: Kind) -> Self {
        let texts = Texts { kind, up: "available".to_owned(), down: "not available".to_owned() };
        let known = Known { state: State::Unreachable, is_checked: false };
        Self::with(texts, known, Told { last: None })
    }

    /// Of a store that was just opened and found in this state. Texts call it `name`.
    pub fn opened(kind: Kind, name: &str, state: State) -> Self {
        let up = format!("{name} is available again");
        let down = format!("{name} is not available");
        let known = Known { state, is_checked: true };
        Self::with(Texts { kind, up, down }, known, Told { last: Some((Instant::now(), None)) })
    }

    fn with(texts: Texts, known: Known, told: Told) -> Self {
        Self {
            texts,
            known: watch::Sender::new(known),
            login_refused: Mutex::new(None),
            told: Mutex::new(told),
            doubt: Notify::new(),
            outage: Outage::new(),
        }
    }

    /// What is known of the store's health.
    pub(crate) fn state(&self) -> State {
        match self.known.borrow().state {
            State::Reachable { .. } if self.login_refused.lock().is_some() => State::Unavailable,
            state => state,
        }
    }

    /// Why the store is not available, as it was logged last.
    pub(crate) fn trouble(&self) -> Option<String> {
        let login_refused = *self.login_refused.lock();
        if let Some(refused) = login_refused.filter(|_| self.is_reachable()) {
            return Some(refused.to_owned());
        }
        let told = self.told.lock();
        let (_, cause) = told.last.as_ref()?;
        cause.as_ref().map(|cause| format!("{}: {cause}", self.texts.down))
    }

    /// Whether the store itself is healthy; a login may be refused all the same.
    pub(crate) fn is_reachable(&self) -> bool {
        matches!(self.known.borrow().state, State::Reachable { .. })
    }

    /// Waits until the store is healthy.
    pub(crate) async fn reachable(&self) {
        let is_reachable = |known: &Known| matches!(known.state, State::Reachable { .. });
        // The sender lives as long as `self`.
        let _ = self.known.subscribe().wait_for(is_reachable).await;
    }

    /// Waits until a check has ended.
    pub(crate) async fn checked(&self) {
        let _ = self.known.subscribe().wait_for(|known| known.is_checked).await;
    }

    pub(super) fn is_checked(&self) -> bool {
        self.known.borrow().is_checked
    }

    /// Records what a check found, and logs it if it is new.
    pub(super) fn found(&self, state: State, cause: Option<String>) {
        self.told.lock().tell(&self.texts, cause);
        self.set(state, true);
    }

    /// Records that the store carried out a call, in this time.
    pub(crate) fn note_success(&self, latency: Duration) {
        self.outage.ended();
        if !self.is_reachable() {
            self.told.lock().tell(&self.texts, None);
            self.set(State::Reachable { latency }, false);
        }
    }

    /// Records that a call had no result, for a reason that may pass.
    pub(crate) fn note_setback(&self) {
        self.outage.failed();
    }

    /// Records that a call was refused for a reason of its own: the store does its work.
    pub(crate) fn note_refusal(&self) {
        self.outage.ended();
    }

    /// Records that a call did not reach the store. The next check follows soon, and logs the
    /// cause.
    pub(crate) fn note_unreachable(&self) {
        self.set(State::Unreachable, false);
        self.doubt.notify_one();
    }

    /// Asks for a check soon: a call failed in a way that may be its own, or the store's.
    pub(crate) fn note_doubt(&self) {
        self.doubt.notify_one();
    }

    /// Records that a login succeeded, or the text that says that the store refused it.
    pub(crate) fn note_login(&self, refused: Option<&'static str>) {
        *self.login_refused.lock() = refused;
    }

    fn set(&self, state: State, is_check: bool) {
        if !matches!(state, State::Reachable { .. }) {
            self.outage.failed();
        } else if !self.is_reachable() {
            self.outage.ended();
        }
        self.known.send_modify(|known| {
            *known = Known { state, is_checked: known.is_checked || is_check };
        });
    }

    #[cfg(test)]
    pub(super) fn set_for_test(&self, state: State) {
        self.set(state, true);
    }
}

/// What was logged of the store's health.
struct Told {
    /// When, and why the store is not available; no cause while it is.
    last: Option<(Instant, Option<String>)>,
}

impl Told {
    /// Logs that the store is available, or why it is not: once at the start, and when it changes.
    fn tell(&mut self, texts: &Texts, cause: Option<String>) {
        let now = Instant::now();
        if let Some((time, last)) = &self.last
            && (*last == cause
                || last.is_some() && cause.is_some() && now.duration_since(*time) < BETWEEN_CAUSES)
        {
            return;
        }
        let Texts { kind, up, down } = texts;
        match &cause {
            None => tracing::info!("key store: {kind}: {up}"),
            Some(cause) => tracing::warn!("key store: {kind}: {down}: {cause}"),
        }
        self.last = Some((now, cause));
    }
}
