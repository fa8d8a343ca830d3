//! The connections of known identities. Together they may have most of the slots, but not all: what is
//! left is for handshakes, because nobody knows who a new client is before, for the admin and for
//! strangers, who make room.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use kes_api::Identity;

use super::{Candidate, LOOK_AT};
use crate::observe::logging::rate_limit::RateLimit;

/// Of so many slots, one is not for known identities.
const SHARE_OF_OTHERS: u32 = 8;

const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// The connections of known identities, by identity and in the order in which they came.
pub(super) struct KnownConnections {
    limit: usize,
    count: usize,
    of: HashMap<Identity, BTreeMap<u64, Candidate>>,
    logged: RateLimit,
}

impl KnownConnections {
    /// Of `max` slots.
    pub(super) fn new(max: u32) -> Self {
        let limit = (max - max / SHARE_OF_OTHERS) as usize;
        Self { limit, count: 0, of: HashMap::new(), logged: RateLimit::new(LOG_INTERVAL) }
    }

    /// Adds a connection. If there are too many then, gives the one that has to end: of the identity
    /// that has most of them, the longest connected one without a request, or if each has one, the
    /// longest connected.
    pub(super) fn insert(
        &mut self,
        identity: Identity,
        number: u64,
        connection: Candidate,
    ) -> Option<Candidate> {
        self.of.entry(identity).or_default().insert(number, connection);
        self.count += 1;
        if self.count <= self.limit {
            return None;
        }
        let oldest = |connections: &BTreeMap<u64, _>| connections.keys().next().copied();
        let (&identity, connections) =
            self.of.iter().max_by_key(|(_, all)| (all.len(), Reverse(oldest(all))))?;
        let idle = connections.iter().take(LOOK_AT).find(|(_, connection)| connection.is_idle());
        let number = idle.map(|(number, _)| *number).or_else(|| oldest(connections))?;
        if self.logged.allows() {
            tracing::warn!(
                "known identities have {} connections, as many as are for them; {identity} has \
                 most of them, {}, and loses one for a new one; raise LimitNOFILE (systemd) or \
                 `ulimit -n`",
                self.limit,
                connections.len(),
            );
        }
        self.remove(identity, number)
    }

    /// Takes a connection out; nothing if it is not there any more.
    pub(super) fn remove(&mut self, identity: Identity, number: u64) -> Option<Candidate> {
        let connections = self.of.get_mut(&identity)?;
        let removed = connections.remove(&number)?;
        if connections.is_empty() {
            self.of.remove(&identity);
        }
        self.count -= 1;
        Some(removed)
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.count == 0 && self.of.is_empty()
    }
}
