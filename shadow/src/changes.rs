//! Keys that were changed a short time ago: until the other server knows, its answers are those of
//! before, and no fault.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::time::{Duration, Instant};

use kes_api::Operation;
use parking_lot::Mutex;

/// How long a key that was created may be unknown to the other server: ours asks again after a
/// second for a key that was missing.
pub(crate) const AFTER_CREATE: Duration = Duration::from_secs(5);

/// How long a key that was deleted may stay in the cache of the other server: `cache.expiry.any` is
/// 5 minutes by default.
const AFTER_DELETE: Duration = Duration::from_secs(5 * 60 + 5);

/// Keys that are noted at a time: 32 bytes each. With more, all keys count as changed for a while.
const MOST: usize = 4_096;

/// The changes. Names are kept as hashes.
#[derive(Default)]
pub(crate) struct Changes {
    hash: RandomState,
    recent: Mutex<Recent>,
}

#[derive(Default)]
struct Recent {
    keys: HashMap<u64, Instant>,
    /// Until when listings differ.
    listings: Option<Instant>,
    /// Until when any key may be one of those that were not noted.
    all: Option<Instant>,
}

impl Changes {
    /// Notes that a key is being changed, or was changed just now.
    pub(crate) fn note(&self, operation: Operation, name: &str) {
        self.note_at(operation, name, Instant::now());
    }

    fn note_at(&self, operation: Operation, name: &str, now: Instant) {
        let after = if operation == Operation::DeleteKey { AFTER_DELETE } else { AFTER_CREATE };
        let until = now + after;
        let mut recent = self.recent.lock();
        recent.listings = Some(now + AFTER_CREATE);
        if recent.keys.len() >= MOST {
            recent.keys.retain(|_, until| *until > now);
        }
        if recent.keys.len() >= MOST {
            recent.all = recent.all.max(Some(until));
            return;
        }
        let known = recent.keys.entry(self.hash.hash_one(name)).or_insert(until);
        *known = until.max(*known);
    }

    /// Whether the answers of the servers to a request may differ because of a change.
    pub(crate) fn may_show(&self, operation: Operation, resource: &str) -> bool {
        self.may_show_at(operation, resource, Instant::now())
    }

    fn may_show_at(&self, operation: Operation, resource: &str, now: Instant) -> bool {
        let recent = self.recent.lock();
        let is_later = |until: Option<Instant>| until.is_some_and(|until| until > now);
        if operation == Operation::ListKeys {
            return is_later(recent.listings);
        }
        let is_of_key = operation.route().path.starts_with("/v1/key/");
        is_of_key
            && (is_later(recent.all)
                || is_later(recent.keys.get(&self.hash.hash_one(resource)).copied()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_shows_for_as_long_as_the_other_server_may_not_know() {
        use Operation as Op;
        let (changes, now) = (Changes::default(), Instant::now());
        let shows = |operation, name: &str, seconds| {
            changes.may_show_at(operation, name, now + Duration::from_secs(seconds))
        };
        assert!(!shows(Op::DecryptKey, "a", 0) && !shows(Op::ListKeys, "", 0));
        changes.note_at(Op::CreateKey, "a", now);
        changes.note_at(Op::DeleteKey, "b", now);
        assert!(shows(Op::DecryptKey, "a", 4) && !shows(Op::DecryptKey, "a", 6));
        assert!(shows(Op::DescribeKey, "b", 300) && !shows(Op::DescribeKey, "b", 306));
        assert!(shows(Op::ListKeys, "x", 4) && !shows(Op::ListKeys, "x", 6));
        assert!(!shows(Op::DecryptKey, "c", 0) && !shows(Op::ReadPolicy, "a", 0));
        // Created anew: the key of before may still be in a cache.
        changes.note_at(Op::CreateKey, "b", now);
        assert!(shows(Op::DescribeKey, "b", 300));
    }

    #[test]
    fn with_too_many_changes_every_key_counts() {
        let (changes, now) = (Changes::default(), Instant::now());
        for number in 0..=MOST {
            changes.note_at(Operation::CreateKey, &number.to_string(), now);
        }
        assert!(changes.may_show_at(Operation::Hmac, "other", now));
        assert!(!changes.may_show_at(Operation::Status, "", now));
        let later = now + AFTER_CREATE;
        assert!(!changes.may_show_at(Operation::Hmac, "other", later));
        changes.note_at(Operation::CreateKey, "again", later);
        assert_eq!(changes.recent.lock().keys.len(), 1);
    }
}
