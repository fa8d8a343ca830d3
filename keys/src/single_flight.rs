//! Single flight: many callers that need one result at the same time cause one read (contract
//! `config.md`, Cache).

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};

use kes_api::KeyName;
use parking_lot::Mutex;
use tokio::sync::watch;

/// The reads in flight, by the name that is read. `T` is the result that all callers get.
pub(crate) struct SingleFlight<T> {
    in_flight: Mutex<HashMap<KeyName, InFlight<T>>>,
    next_id: AtomicU64,
}

struct InFlight<T> {
    id: u64,
    result: watch::Receiver<Option<T>>,
}

/// What a caller has to do for a result.
pub(crate) enum Role<T> {
    /// Nobody reads this name: perform the read, and complete it.
    Leader(Leader<T>, Follower<T>),
    /// Another caller performs the read: wait for its result.
    Follower(Follower<T>),
}

/// The duty to perform a read and to complete it. If it is dropped instead, the followers learn
/// that the read was abandoned, and the next caller becomes the leader.
#[must_use]
pub(crate) struct Leader<T> {
    name: KeyName,
    id: u64,
    result: watch::Sender<Option<T>>,
}

/// Waits for the result of a read.
pub(crate) struct Follower<T>(watch::Receiver<Option<T>>);

impl<T> Default for SingleFlight<T> {
    fn default() -> Self {
        Self { in_flight: Mutex::default(), next_id: AtomicU64::new(0) }
    }
}

impl<T: Clone> SingleFlight<T> {
    /// Joins the read of a name that is in flight, or starts one.
    pub(crate) fn join(&self, name: KeyName) -> Role<T> {
        let mut in_flight = self.in_flight.lock();
        if let Some(read) = in_flight.get(&name) {
            // An error means that the leader is gone without a result.
            if read.result.has_changed().is_ok() {
                return Role::Follower(Follower(read.result.clone()));
            }
        }
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let (sender, result) = watch::channel(None);
        in_flight.insert(name, InFlight { id, result: result.clone() });
        Role::Leader(Leader { name, id, result: sender }, Follower(result))
    }

    /// Ends a read and gives its result to all followers. `keep` runs first, unless the read was
    /// cancelled. It runs under the lock that [`SingleFlight::cancel`] takes, so that a read which
    /// began before a key was deleted cannot put the key back into the cache.
    #[expect(clippy::needless_pass_by_value, reason = "a leader completes its read once")]
    pub(crate) fn complete(&self, leader: Leader<T>, result: T, keep: impl FnOnce(&T)) {
        {
            let mut in_flight = self.in_flight.lock();
            if in_flight.get(&leader.name).is_some_and(|read| read.id == leader.id) {
                keep(&result);
                in_flight.remove(&leader.name);
            }
        }
        leader.result.send_replace(Some(result));
    }

    /// Cancels the read of a name: its callers get the result, but it is not kept, and the next
    /// caller starts a new read. `also` runs under the same lock.
    pub(crate) fn cancel(&self, name: &KeyName, also: impl FnOnce()) {
        let mut in_flight = self.in_flight.lock();
        in_flight.remove(name);
        also();
    }

    /// Whether a caller would be a follower now.
    pub(crate) fn is_in_flight(&self, name: &KeyName) -> bool {
        let in_flight = self.in_flight.lock();
        in_flight.get(name).is_some_and(|read| read.result.has_changed().is_ok())
    }

    /// Cancels all reads.
    pub(crate) fn cancel_all(&self) {
        self.in_flight.lock().clear();
    }

    /// The names that are being read.
    pub(crate) fn names(&self) -> HashSet<KeyName> {
        self.in_flight.lock().keys().copied().collect()
    }
}

impl<T> Leader<T> {
    /// The name to read.
    pub(crate) fn name(&self) -> KeyName {
        self.name
    }
}

impl<T: Clone> Follower<T> {
    /// Waits for the result; `None` if the leader abandoned the read.
    pub(crate) async fn result(mut self) -> Option<T> {
        let result = self.0.wait_for(Option::is_some).await.ok()?;
        result.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::name;

    fn lead(reads: &SingleFlight<u32>) -> (Leader<u32>, Follower<u32>) {
        match reads.join(name("k")) {
            Role::Leader(leader, follower) => (leader, follower),
            Role::Follower(_) => panic!("another caller leads"),
        }
    }

    fn follow(reads: &SingleFlight<u32>) -> Follower<u32> {
        match reads.join(name("k")) {
            Role::Leader(..) => panic!("nobody leads"),
            Role::Follower(follower) => follower,
        }
    }

    #[tokio::test]
    async fn all_callers_get_the_result_of_the_leader() {
        let reads = SingleFlight::default();
        let (leader, own) = lead(&reads);
        let other = follow(&reads);
        assert_eq!(reads.names(), [name("k")].into());
        let mut kept = None;
        reads.complete(leader, 7, |result| kept = Some(*result));
        assert_eq!((own.result().await, other.result().await), (Some(7), Some(7)));
        assert_eq!(kept, Some(7));
        assert!(reads.names().is_empty());
        drop(lead(&reads));
    }

    #[tokio::test]
    async fn a_leader_that_is_dropped_leaves_the_read_to_the_next_caller() {
        let reads = SingleFlight::default();
        let (leader, own) = lead(&reads);
        let other = follow(&reads);
        drop(leader);
        assert_eq!((own.result().await, other.result().await), (None, None));
        let (leader, own) = lead(&reads);
        reads.complete(leader, 7, |_| {});
        assert_eq!(own.result().await, Some(7));
    }

    #[tokio::test]
    async fn a_cancelled_read_is_not_kept_and_not_joined() {
        let reads = SingleFlight::default();
        let (first, of_first) = lead(&reads);
        reads.cancel(&name("k"), || {});
        let (second, of_second) = lead(&reads);
        let other = follow(&reads);
        reads.complete(first, 1, |_| panic!("it was cancelled"));
        let mut kept = None;
        reads.complete(second, 2, |result| kept = Some(*result));
        assert_eq!((of_first.result().await, of_second.result().await), (Some(1), Some(2)));
        assert_eq!((other.result().await, kept), (Some(2), Some(2)));

        let (leader, own) = lead(&reads);
        reads.cancel_all();
        reads.complete(leader, 3, |_| panic!("it was cancelled"));
        assert_eq!(own.result().await, Some(3));
    }
}
