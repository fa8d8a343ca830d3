//! The connections that may be open at once, and which of them ends if a new client finds all of
//! them in use.
//!
//! Nobody knows who a new client is before its handshake. So a waiting client always gets the place
//! of a stranger or of a client that has not identified itself; connections of known identities
//! are never ended for it, but for each other's (`known`). In this order:
//!
//! 1. strangers without a request, the longest connected first,
//! 2. clients that have sent nothing for `SILENT_GRACE`,
//! 3. clients that have not finished their handshake within `HANDSHAKE_GRACE`,
//! 4. strangers with a request that have been connected for `BUSY_GRACE`.

use std::collections::BTreeMap;
use std::sync::Arc;

use kes_api::Identity;
use parking_lot::Mutex;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use super::class::Class;
use super::clock::{self, Millis};
use super::idle::IdleTracker;
use crate::observe::metrics::Metrics;

/// Those of known identities.
mod known;

use known::KnownConnections;

/// A client usually sends the start of its handshake together with the end of TCP's. If many known
/// clients connect at once, none of them may lose its place to the next one.
const SILENT_GRACE: Millis = 500;

/// A handshake needs two round trips and some milliseconds.
const HANDSHAKE_GRACE: Millis = 2_000;

/// The requests of a stranger are answered at once or refused; one that is busy for this long keeps
/// itself busy.
const BUSY_GRACE: Millis = 5_000;

/// How many connections are looked at to find one without a request.
const LOOK_AT: usize = 64;

/// The slots of a listener.
pub(crate) struct Slots {
    free: Arc<Semaphore>,
    max: u32,
    metrics: Arc<Metrics>,
    candidates: Mutex<Candidates>,
}

/// Connections that may be ended for a new one, in the order in which they came to their stage.
struct Candidates {
    next: u64,
    silent: BTreeMap<u64, Candidate>,
    in_handshake: BTreeMap<u64, Candidate>,
    strangers: BTreeMap<u64, Candidate>,
    known: KnownConnections,
}

struct Candidate {
    since: Millis,
    /// Of a client whose handshake is over.
    tracker: Option<Arc<IdleTracker>>,
    displaced: Arc<Notify>,
}

impl Candidate {
    fn is_idle(&self) -> bool {
        self.tracker.as_ref().is_some_and(|tracker| tracker.is_idle())
    }
}

/// How far a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Silent,
    InHandshake,
    Stranger,
    Known(Identity),
    /// Cannot be displaced: the admin's, and before the client has connected.
    Kept,
}

/// The place of one connection, free again when dropped.
pub(crate) struct Slot {
    slots: Arc<Slots>,
    stage: Stage,
    /// Of the client, once it is connected.
    class: Option<Class>,
    /// The key in the map of the stage.
    number: u64,
    displaced: Arc<Notify>,
    _permit: OwnedSemaphorePermit,
}

impl Slots {
    pub(super) fn new(max: u32, metrics: Arc<Metrics>) -> Arc<Self> {
        let free = Arc::new(Semaphore::new(max as usize));
        Arc::new(Self { free, max, metrics, candidates: Mutex::new(Candidates::new(max)) })
    }

    /// How many connections may be open at once.
    pub(super) fn max(&self) -> u32 {
        self.max
    }

    /// A free slot.
    pub(super) fn try_take(self: &Arc<Self>) -> Option<Slot> {
        let permit = Arc::clone(&self.free).try_acquire_owned().ok()?;
        Some(Slot::new(self, permit))
    }

    /// Waits for a free slot.
    #[expect(clippy::expect_used, reason = "the semaphore is never closed")]
    pub(super) async fn take(self: &Arc<Self>) -> Slot {
        let permit = Arc::clone(&self.free).acquire_owned().await;
        Slot::new(self, permit.expect("the semaphore is never closed"))
    }

    /// Waits until no connection is open.
    pub(super) async fn all_free(&self) {
        let _ = self.free.acquire_many(self.max).await;
    }

    /// Ends a connection for a new one; `false` if none may be ended now.
    pub(super) fn displace(&self) -> bool {
        let candidate = self.candidates.lock().pick(clock::now());
        let Some(candidate) = candidate else { return false };
        self.end(&candidate, Class::Stranger);
        true
    }

    /// Ends a connection of a client of a class for another one.
    fn end(&self, candidate: &Candidate, class: Class) {
        self.metrics.displaced_connections.inc();
        self.metrics.classes.displaced_connections.of(class.index()).inc();
        candidate.displaced.notify_one();
    }
}

impl Candidates {
    fn new(max: u32) -> Self {
        Self {
            next: 0,
            silent: BTreeMap::new(),
            in_handshake: BTreeMap::new(),
            strangers: BTreeMap::new(),
            known: KnownConnections::new(max),
        }
    }

    /// Adds a connection that has come to a stage. If it is one of a known identity too many, gives
    /// the one that has to end.
    fn insert(&mut self, stage: Stage, number: u64, candidate: Candidate) -> Option<Candidate> {
        match stage {
            Stage::Silent => self.silent.insert(number, candidate),
            Stage::InHandshake => self.in_handshake.insert(number, candidate),
            Stage::Stranger => self.strangers.insert(number, candidate),
            Stage::Known(identity) => return self.known.insert(identity, number, candidate),
            Stage::Kept => None,
        };
        None
    }

    fn remove(&mut self, stage: Stage, number: u64) {
        match stage {
            Stage::Silent => self.silent.remove(&number),
            Stage::InHandshake => self.in_handshake.remove(&number),
            Stage::Stranger => self.strangers.remove(&number),
            Stage::Known(identity) => self.known.remove(identity, number),
            Stage::Kept => None,
        };
    }

    fn pick(&mut self, now: Millis) -> Option<Candidate> {
        let idle = self.strangers.iter().take(LOOK_AT).find(|(_, stranger)| stranger.is_idle());
        if let Some(number) = idle.map(|(number, _)| *number) {
            return self.strangers.remove(&number);
        }
        take_older(&mut self.silent, now, SILENT_GRACE)
            .or_else(|| take_older(&mut self.in_handshake, now, HANDSHAKE_GRACE))
            .or_else(|| take_older(&mut self.strangers, now, BUSY_GRACE))
    }
}

/// The first of them, if it came at least so long ago.
fn take_older(
    stage: &mut BTreeMap<u64, Candidate>,
    now: Millis,
    grace: Millis,
) -> Option<Candidate> {
    let first = stage.first_entry()?;
    (first.get().since + grace <= now).then(|| first.remove())
}

impl Slot {
    fn new(slots: &Arc<Slots>, permit: OwnedSemaphorePermit) -> Self {
        Self {
            slots: Arc::clone(slots),
            stage: Stage::Kept,
            class: None,
            number: 0,
            displaced: Arc::default(),
            _permit: permit,
        }
    }

    /// A client has connected.
    pub(super) fn begin(&mut self) {
        self.enter(Stage::Silent, None);
    }

    /// The client has begun its handshake.
    pub(super) fn begin_handshake(&mut self) {
        self.enter(Stage::InHandshake, None);
    }

    /// The handshake is over, or the client's class has changed.
    pub(super) fn set_class(
        &mut self,
        class: Class,
        identity: Option<Identity>,
        tracker: &Arc<IdleTracker>,
    ) {
        let stage = match (class, identity) {
            (Class::Stranger, _) => Stage::Stranger,
            (Class::Known, Some(identity)) => Stage::Known(identity),
            (Class::Known, None) | (Class::Admin, _) => Stage::Kept,
        };
        if self.class != Some(class) {
            self.count(Some(class));
        }
        if stage != self.stage {
            self.enter(stage, Some(tracker));
        }
    }

    /// Counts the connection in another class than before.
    fn count(&mut self, class: Option<Class>) {
        let connections = &self.slots.metrics.classes.connections;
        if let Some(old) = self.class {
            connections.of(old.index()).dec();
        }
        if let Some(new) = class {
            connections.of(new.index()).inc();
        }
        self.class = class;
    }

    /// Told when this connection has to end for a new one.
    pub(super) fn displaced(&self) -> Arc<Notify> {
        Arc::clone(&self.displaced)
    }

    fn enter(&mut self, stage: Stage, tracker: Option<&Arc<IdleTracker>>) {
        self.leave();
        let mut candidates = self.slots.candidates.lock();
        self.stage = stage;
        self.number = candidates.next;
        candidates.next += 1;
        let tracker = tracker.map(Arc::clone);
        let displaced = Arc::clone(&self.displaced);
        let candidate = Candidate { since: clock::now(), tracker, displaced };
        let too_many = candidates.insert(stage, self.number, candidate);
        drop(candidates);
        if let Some(connection) = too_many {
            self.slots.end(&connection, Class::Known);
        }
        if stage == Stage::Stranger {
            self.slots.metrics.strangers.inc();
        }
    }

    fn leave(&mut self) {
        self.slots.candidates.lock().remove(self.stage, self.number);
        if self.stage == Stage::Stranger {
            self.slots.metrics.strangers.dec();
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.leave();
        self.count(None);
    }
}

#[cfg(test)]
mod tests;
