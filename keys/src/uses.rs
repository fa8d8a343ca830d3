//! When each key was last used, and by whom, as far as this process knows (contract `api.md`, Last
//! use).
//!
//! A request that uses a key reads one number of its entry in memory, and writes nothing if the use
//! is of the same second as the last one. The first use of a second takes a lock that nobody holds
//! for longer than it takes to copy a note. Nothing is allocated.
//!
//! Notes outlive the entries in memory: those of keys that have left it are kept, up to a number.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use kes_api::{Fingerprint, Identity, KeyName, Timestamp};
use parking_lot::Mutex;

/// How many keys are remembered beside those in memory: some two megabytes.
const MOST_KEPT: usize = 10_000;

/// The second of a key that was never used.
const NEVER: i64 = i64::MIN;

/// The last use of a key, as far as it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastUse {
    /// When, in whole seconds; `None` if it was not used since [`LastUse::since`].
    pub at: Option<Timestamp>,
    /// By whom; `None` if that was somebody without an identity, or nobody.
    pub by: Option<Identity>,
    /// From when on uses are known.
    pub since: Timestamp,
}

/// The uses of one key. Its entries in memory have them one after the other.
#[derive(Debug)]
pub(crate) struct Uses {
    /// That of `last`, or of one that is about to be written.
    second: AtomicI64,
    last: Mutex<Use>,
}

#[derive(Clone, Copy, Debug)]
struct Use {
    second: i64,
    by: Option<Identity>,
}

/// The uses of all keys.
#[derive(Debug)]
pub(crate) struct Ledger(Mutex<Kept>);

#[derive(Debug)]
struct Kept {
    /// A key that takes the place of another one under its name has not been used.
    notes: HashMap<(KeyName, Fingerprint), Arc<Uses>>,
    /// Later uses than this of keys without a note are none.
    since: Timestamp,
    /// With so many notes, some are forgotten.
    full_at: usize,
}

impl Default for Uses {
    fn default() -> Self {
        Self { second: AtomicI64::new(NEVER), last: Mutex::new(Use { second: NEVER, by: None }) }
    }
}

impl Uses {
    /// Notes a use, in seconds since 1970. Of those within a second the first is kept.
    pub(crate) fn note(&self, second: i64, by: Option<Identity>) {
        // All cores read this number, and one of them writes it once a second.
        if self.second.load(Ordering::Relaxed) >= second
            || self.second.fetch_max(second, Ordering::Relaxed) >= second
        {
            return;
        }
        let mut last = self.last.lock();
        // The one that notes the next second may have been faster.
        if last.second < second {
            *last = Use { second, by };
        }
    }
}

impl Ledger {
    /// An empty one, which knows the uses from now on.
    pub(crate) fn new(now: Timestamp) -> Self {
        Self(Mutex::new(Kept { notes: HashMap::new(), since: now, full_at: MOST_KEPT }))
    }

    /// Where the uses of a key are noted, for an entry that comes into memory.
    pub(crate) fn of(&self, name: KeyName, fingerprint: Fingerprint) -> Arc<Uses> {
        let mut kept = self.0.lock();
        if let Some(uses) = kept.notes.get(&(name, fingerprint)) {
            return Arc::clone(uses);
        }
        if kept.notes.len() >= kept.full_at {
            kept.make_room();
        }
        let uses = Arc::new(Uses::default());
        kept.notes.insert((name, fingerprint), Arc::clone(&uses));
        uses
    }

    /// The last use of a key, by its notes.
    pub(crate) fn last(&self, uses: &Uses) -> LastUse {
        let since = self.0.lock().since;
        let Use { second, by } = *uses.last.lock();
        LastUse { at: Timestamp::from_unix(second, 0).ok(), by, since }
    }

    /// Keys were used by others until now, who have not noted it here.
    pub(crate) fn know_from(&self, now: Timestamp) {
        let mut kept = self.0.lock();
        kept.since = kept.since.max(now);
    }
}

impl Kept {
    /// Forgets keys that are not in memory, until half of those that may be kept are left: first those
    /// that were never used, then those whose last use is the longest ago. Half of them at once, so
    /// that a key that comes into memory seldom pays for it.
    fn make_room(&mut self) {
        let mut seconds: Vec<i64> = self.notes.values_mut().filter_map(second_of_left).collect();
        let excess = seconds.len().saturating_sub(MOST_KEPT / 2);
        if let Some(last) = excess.checked_sub(1) {
            let (_, &mut limit, _) = seconds.select_nth_unstable(last);
            self.notes.retain(|_, uses| second_of_left(uses).is_none_or(|second| second > limit));
            // A use within that second may be forgotten. `NEVER` is none of a calendar.
            if let Ok(since) = Timestamp::from_unix(limit.saturating_add(1), 0) {
                self.since = self.since.max(since);
            }
        }
        self.full_at = self.notes.len() + MOST_KEPT / 2;
    }
}

/// When a key was last used of which these notes alone are left, so that nobody adds to them; `None`
/// if it is in memory.
fn second_of_left(uses: &mut Arc<Uses>) -> Option<i64> {
    Arc::get_mut(uses).map(|uses| *uses.second.get_mut())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;
    use crate::testing::name;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_unix(seconds, 0).unwrap()
    }

    fn who(number: i64) -> Identity {
        Identity::of_public_key(&number.to_le_bytes())
    }

    fn print(number: u8) -> Fingerprint {
        Fingerprint::new([number; 16])
    }

    #[test]
    fn the_last_use_is_kept_with_its_user() {
        let ledger = Ledger::new(at(100));
        let k = name("k");
        let unknown = LastUse { at: None, by: None, since: at(100) };
        let uses = ledger.of(k, print(1));
        assert_eq!(ledger.last(&uses), unknown);
        uses.note(110, Some(who(1)));
        uses.note(110, Some(who(2)));
        assert_eq!(ledger.last(&uses), LastUse { at: Some(at(110)), by: Some(who(1)), ..unknown });
        drop(uses);
        // Of an entry that came into memory again.
        ledger.of(k, print(1)).note(111, None);
        let last = ledger.last(&ledger.of(k, print(1)));
        assert_eq!(last, LastUse { at: Some(at(111)), by: None, ..unknown });
        // A use that is noted late changes nothing.
        ledger.of(k, print(1)).note(110, Some(who(1)));
        assert_eq!(ledger.last(&ledger.of(k, print(1))), last);

        ledger.know_from(at(99));
        assert_eq!(ledger.last(&ledger.of(k, print(1))).since, at(100));
        ledger.know_from(at(120));
        assert_eq!(ledger.last(&ledger.of(k, print(1))), LastUse { since: at(120), ..last });
    }

    #[test]
    fn another_key_under_the_name_has_uses_of_its_own() {
        let ledger = Ledger::new(at(100));
        ledger.of(name("k"), print(1)).note(110, None);
        assert_eq!(ledger.last(&ledger.of(name("k"), print(2))).at, None);
        assert_eq!(ledger.last(&ledger.of(name("k"), print(1))).at, Some(at(110)));
    }

    #[test]
    fn many_keys_take_bounded_memory_and_no_use_is_denied_that_was_forgotten() {
        let ledger = Ledger::new(at(1));
        let of = |number: i64| ledger.of(name(&format!("k{number}")), print(1));
        // The first is in memory, and is used no more.
        let first = of(0);
        first.note(2, Some(who(1)));
        let most = i64::try_from(MOST_KEPT).unwrap();
        for number in 1..=3 * most {
            of(number).note(number + 10, Some(who(1)));
            assert!(ledger.0.lock().notes.len() <= MOST_KEPT + 1);
        }
        assert_eq!(ledger.last(&of(0)).at, Some(at(2)), "what is in memory is not forgotten");
        for number in 1..=3 * most {
            let (used, last) = (at(number + 10), ledger.last(&of(number)));
            assert!(last.at == Some(used) || last.at.is_none() && used < last.since, "{last:?}");
        }
        assert_eq!(ledger.last(&of(3 * most)).at, Some(at(3 * most + 10)));
    }

    #[test]
    fn keys_that_were_only_looked_at_push_no_use_out() {
        let ledger = Ledger::new(at(1));
        ledger.of(name("used"), print(1)).note(5, None);
        for number in 0..3 * MOST_KEPT {
            ledger.of(name(&format!("k{number}")), print(1));
        }
        let last = ledger.last(&ledger.of(name("used"), print(1)));
        assert_eq!(last, LastUse { at: Some(at(5)), by: None, since: at(1) });
    }

    #[test]
    fn a_reader_never_sees_half_of_a_note() {
        let (ledger, ended) = (Ledger::new(at(0)), AtomicBool::new(false));
        let uses = ledger.of(name("k"), print(1));
        std::thread::scope(|scope| {
            for writer in 0..2 {
                let (uses, ended) = (&uses, &ended);
                scope.spawn(move || {
                    for number in 1..5_000_i64 {
                        uses.note(number, Some(who(2 * number + writer)));
                    }
                    ended.store(true, Ordering::Relaxed);
                });
            }
            let mut before = at(0);
            while !ended.load(Ordering::Relaxed) {
                let LastUse { at: Some(second), by, .. } = ledger.last(&uses) else { continue };
                let number = 2 * second.unix_seconds();
                assert!([number, number + 1].map(who).contains(&by.unwrap()), "{number} {by:?}");
                assert!(second >= before);
                before = second;
            }
        });
        assert_eq!(ledger.last(&uses).at, Some(at(4_999)));
    }
}
