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
    connected_as(slots, class, 0)
}

fn identity(number: u8) -> Identity {
    format!("{number:064}").parse().unwrap()
}

fn connected_as(slots: &Arc<Slots>, class: Class, number: u8) -> (Slot, Arc<IdleTracker>) {
    let mut slot = silent(slots);
    slot.begin_handshake();
    let tracker = IdleTracker::new(false, class);
    slot.set_class(class, Some(identity(number)), &tracker);
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
fn known_identities_are_never_displaced_by_strangers() {
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
    slot.set_class(Class::Known, Some(identity(1)), &tracker);
    assert!(!displaced_at(&slots, later()));
    slot.set_class(Class::Stranger, Some(identity(1)), &tracker);
    assert!(slots.displace());
}

/// Of 32 slots, 28 are for known identities.
#[test]
fn of_the_known_who_has_most_connections_makes_room() {
    let slots = slots(32);
    let few = [(); 2].map(|()| connected_as(&slots, Class::Known, 1));
    let mut many = [(); 26].map(|()| connected_as(&slots, Class::Known, 2));
    let displaced = |many: &[(Slot, Arc<IdleTracker>)]| -> Vec<usize> {
        assert!(!few.iter().any(|(slot, _)| is_displaced(slot)));
        (0..many.len()).filter(|at| is_displaced(&many[*at].0)).collect()
    };
    assert_eq!(displaced(&many), [0; 0]);
    let admin = connected(&slots, Class::Admin);
    assert_eq!(displaced(&many), [0; 0]);

    // The longest connected one without a request, whoever comes.
    let request = many[0].1.begin_request();
    let third = connected_as(&slots, Class::Known, 3);
    assert_eq!(displaced(&many), [1]);
    many[1] = connected_as(&slots, Class::Known, 2);
    assert_eq!(displaced(&many), [2]);

    // The longest connected one, if each has a request.
    let requests: Vec<_> = many.iter().map(|(_, tracker)| tracker.begin_request()).collect();
    let fourth = connected_as(&slots, Class::Known, 4);
    assert_eq!(displaced(&many), [0]);
    assert_eq!(slots.metrics.displaced_connections.get(), 3);
    assert_eq!(slots.metrics.classes.displaced_connections.of(Class::Known.index()).get(), 3);
    drop((request, requests));
    drop((few, many, third, fourth, admin));
    assert!(slots.candidates.lock().known.is_empty());
}
