//! The connections that may be open at once, and which of them ends if a new client finds all of
//! them in use.
//!
//! Nobody knows who a new client is before its handshake. So a waiting client always gets the place
//! of a stranger or of a client that has not identified itself; connections of known identities
//! are never ended for it. In this order:
//!
//! 1. strangers without a request, the longest connected first,
//! 2. clients that have sent nothing for `SILENT_GRACE`,
//! 3. clients that have not finished their handshake within `HANDSHAKE_GRACE`,
//! 4. strangers with a request that have been connected for `BUSY_GRACE`.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use super::class::Class;
use super::clock::{self, Millis};
use super::idle::IdleTracker;
use crate::observe::metrics::Metrics;

/// A client usually sends the start of its handshake together with the end of TCP's. If many known
/// clients connect at once, none of them may lose its place to the next one.
const SILENT_GRACE: Millis = 500;

/// A handshake needs two round trips and some milliseconds.
const HANDSHAKE_GRACE: Millis = 2_000;

/// The requests of a stranger are answered at once or refused; one that is busy for this long keeps
/// itself busy.
const BUSY_GRACE: Millis = 5_000;

/// How many strangers are looked at to find one without a request.
const LOOK_AT: usize = 64;

/// The slots of a listener.
pub(crate) struct Slots {
    free: Arc<Semaphore>,
    max: u32,
    metrics: Arc<Metrics>,
    candidates: Mutex<Candidates>,
}

/// Connections that may be ended for a new one, in the order in which they came to their stage.
#[derive(Default)]
struct Candidates {
    next: u64,
    silent: BTreeMap<u64, Candidate>,
    in_handshake: BTreeMap<u64, Candidate>,
    strangers: BTreeMap<u64, Candidate>,
}

struct Candidate {
    since: Millis,
    /// Only of a stranger.
    tracker: Option<Arc<IdleTracker>>,
    displaced: Arc<Notify>,
}

/// How far a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Silent,
    InHandshake,
    Stranger,
    /// Cannot be displaced, as before the client has connected.
    Known,
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
        Arc::new(Self { free, max, metrics, candidates: Mutex::default() })
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
        self.metrics.displaced_connections.inc();
        // Nobody else is among the candidates.
        self.metrics.classes.displaced_connections.of(Class::Stranger.index()).inc();
        candidate.displaced.notify_one();
        true
    }
}

impl Candidates {
    fn of(&mut self, stage: Stage) -> Option<&mut BTreeMap<u64, Candidate>> {
        match stage {
            Stage::Silent => Some(&mut self.silent),
            Stage::InHandshake => Some(&mut self.in_handshake),
            Stage::Stranger => Some(&mut self.strangers),
            Stage::Known => None,
        }
    }

    fn pick(&mut self, now: Millis) -> Option<Candidate> {
        let is_idle = |stranger: &Candidate| {
            stranger.tracker.as_ref().is_some_and(|tracker| tracker.is_idle())
        };
        let idle = self.strangers.iter().take(LOOK_AT).find(|(_, stranger)| is_idle(stranger));
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
            stage: Stage::Known,
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
    pub(super) fn set_class(&mut self, class: Class, tracker: &Arc<IdleTracker>) {
        let stage = if class.is_stranger() { Stage::Stranger } else { Stage::Known };
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
        if let Some(candidates) = candidates.of(stage) {
            let candidate = Candidate { since: clock::now(), tracker, displaced };
            candidates.insert(self.number, candidate);
        }
        if stage == Stage::Stranger {
            self.slots.metrics.strangers.inc();
        }
    }

    fn leave(&mut self) {
        if let Some(candidates) = self.slots.candidates.lock().of(self.stage) {
            candidates.remove(&self.number);
        }
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
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    fn slots(max: u32) -> Arc<Slots> {
        Slots::new(max, Arc::new(Metrics::new()))
    }

    fn is_displaced(slot: &Slot) -> bool {
        slot.displaced.notified().now_or_never().is_some()
    }

    fn silent(slots: &Arc<Slots>) -> Slot {
        let mut slot = slots.try_take().unwrap();
        slot.begin();
        slot
    }

    fn connected(slots: &Arc<Slots>, class: Class) -> (Slot, Arc<IdleTracker>) {
        let mut slot = silent(slots);
        slot.begin_handshake();
        let tracker = IdleTracker::new(false, class);
        slot.set_class(class, &tracker);
        (slot, tracker)
    }

    /// Lets `pick` see another time.
    fn displaced_at(slots: &Slots, time: Millis) -> bool {
        let candidate = slots.candidates.lock().pick(time);
        candidate.map(|candidate| candidate.displaced.notify_one()).is_some()
    }

    /// A long time from now.
    fn later() -> Millis {
        clock::now() + 1_000_000
    }

    #[test]
    fn known_identities_are_never_displaced() {
        let slots = slots(4);
        let known = [Class::Known, Class::Admin].map(|class| connected(&slots, class).0);
        assert!(!displaced_at(&slots, later()));
        assert!(!known.iter().any(is_displaced));
        assert_eq!(slots.metrics.strangers.get(), 0);
    }

    #[test]
    fn idle_strangers_go_first_and_the_longest_connected_of_them() {
        let start = clock::now();
        let slots = slots(8);
        let silent = silent(&slots);
        let (busy, tracker) = connected(&slots, Class::Stranger);
        let request = tracker.begin_request();
        let idle = [(); 2].map(|()| connected(&slots, Class::Stranger).0);
        assert_eq!(slots.metrics.strangers.get(), 3);
        assert!(slots.displace());
        assert_eq!(idle.each_ref().map(is_displaced), [true, false]);
        assert!(slots.displace());
        assert_eq!(idle.each_ref().map(is_displaced), [false, true]);
        assert_eq!(slots.metrics.displaced_connections.get(), 2);

        // Nobody else has to go at once: they may be known clients that have just come.
        assert!(!displaced_at(&slots, start + SILENT_GRACE - 1));
        assert!(displaced_at(&slots, later()) && is_displaced(&silent));
        assert!(!displaced_at(&slots, start + BUSY_GRACE - 1) && !is_displaced(&busy));
        assert!(displaced_at(&slots, later()) && is_displaced(&busy));
        drop(request);
        drop((silent, busy, idle));
        assert_eq!(slots.metrics.strangers.get(), 0);
        let candidates = slots.candidates.lock();
        assert!(candidates.silent.is_empty() && candidates.strangers.is_empty());
    }

    #[test]
    fn a_handshake_gets_its_time() {
        let start = clock::now();
        let slots = slots(1);
        let mut slot = slots.try_take().unwrap();
        assert!(slots.try_take().is_none());
        assert!(!displaced_at(&slots, later()), "nobody has connected");
        slot.begin();
        slot.begin_handshake();
        assert!(!displaced_at(&slots, start + HANDSHAKE_GRACE - 1));
        assert!(displaced_at(&slots, later()) && is_displaced(&slot));
    }

    #[test]
    fn a_stranger_that_gets_a_policy_stays() {
        let slots = slots(1);
        let (mut slot, tracker) = connected(&slots, Class::Stranger);
        slot.set_class(Class::Known, &tracker);
        assert!(!displaced_at(&slots, later()));
        slot.set_class(Class::Stranger, &tracker);
        assert!(slots.displace());
    }
}
