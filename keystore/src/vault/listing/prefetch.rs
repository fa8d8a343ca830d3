//! Names that were read along with a page, for the pages after it.
//!
//! To list some of the names costs Vault as much as to list all: KV v2 decrypts every name to
//! find those that are asked for, and others know no pages at all. So one listing there is made
//! to do for many pages here, while its names are fresh. What our own server creates or deletes
//! shows at once; what others do in the middle of a listing may not.

use std::collections::VecDeque;
use std::time::Duration;

use kes_api::ListPattern;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

use crate::{Limit, Names, Page};

/// What is read for one page and those after it, in bytes of JSON: between two and three pages of
/// the contract. In memory it is 4 MiB at most, where names are as short as they can be.
const AHEAD: usize = 2 * 1024 * 1024;

/// Listings whose names are kept, and that may be read at one time. Of more, each page is read
/// for itself.
const RUNS: usize = 4;

/// Names are told for this time after they were read.
const MAX_AGE: Duration = Duration::from_secs(10);

/// What was read ahead.
pub(in crate::vault) struct Ahead {
    kept: Mutex<Kept>,
    readers: Semaphore,
}

#[derive(Default)]
struct Kept {
    /// Changes to keys, so far.
    changes: u64,
    /// The oldest first.
    runs: VecDeque<Run>,
}

/// All names with a prefix from one on, up to another.
struct Run {
    prefix: String,
    names: Names,
    /// Whether there are more, from the last one on.
    more: bool,
    read: Instant,
}

/// A listing that is being read.
pub(in crate::vault) struct Reading<'a> {
    ahead: &'a Ahead,
    /// None where there are too many.
    permit: Option<SemaphorePermit<'a>>,
    changes: u64,
}

/// A change to a key, about to be made.
pub(in crate::vault) struct Change<'a>(&'a Ahead);

impl Default for Ahead {
    fn default() -> Self {
        Self { kept: Mutex::default(), readers: Semaphore::new(RUNS) }
    }
}

impl Ahead {
    /// A page that goes on where another one ended, if its names are at hand.
    pub(in crate::vault) fn page(&self, pattern: &ListPattern<'_>, limit: Limit) -> Option<Page> {
        let mut kept = self.kept.lock();
        kept.runs.retain(|run| run.read.elapsed() < MAX_AGE);
        kept.runs.iter().rev().find_map(|run| run.page(pattern, limit))
    }

    /// Says that names are about to be read.
    pub(in crate::vault) fn read(&self) -> Reading<'_> {
        let permit = self.readers.try_acquire().ok();
        Reading { ahead: self, permit, changes: self.kept.lock().changes }
    }

    /// Says that a key is about to be created or deleted. When that is done, or given up, nothing
    /// that was read before it has ended is told any more.
    pub(in crate::vault) fn change(&self) -> Change<'_> {
        Change(self)
    }
}

impl Drop for Change<'_> {
    fn drop(&mut self) {
        let mut kept = self.0.kept.lock();
        kept.changes += 1;
        kept.runs.clear();
    }
}

impl Run {
    fn end(&self) -> &str {
        self.names.len().checked_sub(1).and_then(|last| self.names.get(last)).unwrap_or_default()
    }

    fn page(&self, pattern: &ListPattern<'_>, limit: Limit) -> Option<Page> {
        if self.prefix != pattern.prefix() {
            return None;
        }
        // A page goes on at a name that its client was told. At any other name we may have to
        // ask anew, for something may have come in between.
        let from = self.names.find(pattern.from())?;
        Page::cut(&self.names, from, limit, self.more)
    }
}

impl Reading<'_> {
    /// How much to read, for a page of a limit.
    pub(in crate::vault) fn limit(&self, limit: Limit) -> Limit {
        if self.permit.is_some() { limit.at_least(AHEAD) } else { limit }
    }

    /// Keeps what was read for the pages to come, and returns the first page of it.
    pub(in crate::vault) fn done(
        self,
        pattern: &ListPattern<'_>,
        read: Page,
        limit: Limit,
    ) -> Page {
        let more = read.next.is_some();
        let names = read.into_names();
        let page = Page::cut(&names, 0, limit, more).unwrap_or_else(|| Page::before_last(&names));
        // With the next page's first name alone nobody is served.
        let left = names.len() - page.names.len();
        let is_useful = if more { left > 1 } else { left > 0 };
        let mut kept = self.ahead.kept.lock();
        if is_useful && kept.changes == self.changes && self.permit.is_some() {
            // The listing has come to the end of the run before.
            kept.runs.retain(|run| run.prefix != pattern.prefix() || run.end() != pattern.from());
            while kept.runs.len() >= RUNS {
                kept.runs.pop_front();
            }
            let prefix = pattern.prefix().to_owned();
            let names = names.from(page.names.len()).collect();
            kept.runs.push_back(Run { prefix, names, more, read: Instant::now() });
        }
        page
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What Vault has, from a name on.
    fn stored(from: usize, count: usize) -> Page {
        let name = |at| kes_api::KeyName::parse(&format!("key-{at:06}")).unwrap();
        Page { names: (from..from + count).map(name).collect(), next: Some(name(from + count)) }
    }

    fn page(ahead: &Ahead, pattern: &str, limit: usize) -> Option<Page> {
        ahead.page(&ListPattern::parse(pattern).unwrap(), Limit::names(limit))
    }

    fn done(reading: Reading<'_>, pattern: &str, read: Page) {
        let first = Page::cut(&read.names, 0, Limit::names(10), false).unwrap();
        let pattern = ListPattern::parse(pattern).unwrap();
        assert_eq!(reading.done(&pattern, read, Limit::names(10)), first);
    }

    fn read(ahead: &Ahead, prefix: &str) {
        done(ahead.read(), prefix, stored(0, 100));
    }

    #[tokio::test]
    async fn only_what_goes_on_at_a_known_name_is_told() {
        let ahead = Ahead::default();
        read(&ahead, "key-");
        for (pattern, limit, expected) in [
            ("key-*key-000010", 10, Some(stored(10, 10))),
            ("key-*key-000010", 90, Some(stored(10, 90))),
            ("key-*key-000010", 91, None), // nobody knows what comes after it
            ("key-*key-000100", 1, None),
            ("key-*key-000099", 1, Some(stored(99, 1))),
            ("key-*key-00001", 10, None), // there may be such a key by now
            ("key-*key-000009", 10, None), // told before
            ("key-*", 10, None),
            ("*key-000010", 10, None),
            ("key-0*key-000010", 10, None),
        ] {
            assert_eq!(page(&ahead, pattern, limit), expected, "{pattern} {limit}");
        }
        // The end is known where there is nothing after it.
        let end = Page { next: None, ..stored(0, 20) };
        done(ahead.read(), "k", end.clone());
        let found = page(&ahead, "k*key-000015", 1024).unwrap();
        assert_eq!(found, Page { next: None, ..stored(15, 5) });
    }

    #[tokio::test(start_paused = true)]
    async fn names_are_told_for_a_while() {
        let ahead = Ahead::default();
        read(&ahead, "key-");
        tokio::time::advance(MAX_AGE - Duration::from_millis(1)).await;
        assert!(page(&ahead, "key-*key-000010", 10).is_some());
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(page(&ahead, "key-*key-000010", 10).is_none());
        assert!(ahead.kept.lock().runs.is_empty());
    }

    #[tokio::test]
    async fn a_change_ends_what_was_read_before_it_was_done() {
        let ahead = Ahead::default();
        read(&ahead, "key-");
        let change = ahead.change();
        assert!(page(&ahead, "key-*key-000010", 10).is_some());
        let reading = ahead.read();
        drop(change);
        assert!(page(&ahead, "key-*key-000010", 10).is_none());
        done(reading, "key-", stored(0, 100));
        assert!(page(&ahead, "key-*key-000010", 10).is_none(), "it was read before the change");
        read(&ahead, "key-");
        assert!(page(&ahead, "key-*key-000010", 10).is_some());
    }

    #[tokio::test]
    async fn what_is_kept_is_bounded() {
        let ahead = Ahead::default();
        let readings: Vec<_> = (0..=RUNS).map(|_| ahead.read()).collect();
        let ten = Limit::names(10);
        let limits: Vec<_> = readings.iter().map(|reading| reading.limit(ten)).collect();
        assert_eq!(limits, [&[Limit::bytes(AHEAD, AHEAD); RUNS][..], &[ten]].concat());
        for (at, reading) in readings.into_iter().enumerate() {
            let pattern = ListPattern::parse("key-").unwrap();
            let count = if at == RUNS { 10 } else { 10_000 };
            assert_eq!(reading.done(&pattern, stored(0, count), ten), stored(0, 10));
        }
        for prefix in ["a", "b", "c", "d", "e", "f"] {
            read(&ahead, prefix);
        }
        assert_eq!(ahead.kept.lock().runs.len(), RUNS);
        assert!(page(&ahead, "f*key-000010", 10).is_some());
        assert!(page(&ahead, "b*key-000010", 10).is_none());
        // A page that is cut for the name that follows it loses nothing, read ahead or not.
        let pattern = ListPattern::parse("key-").unwrap();
        let limit = Limit::bytes(130, 125);
        let readings: Vec<_> = (0..=RUNS).map(|_| ahead.read()).collect();
        for reading in readings {
            assert_eq!(reading.done(&pattern, stored(0, 8), limit), stored(0, 8));
        }
        // Of a listing that goes on, the last run.
        done(ahead.read(), "f*key-000100", stored(100, 100));
        assert!(page(&ahead, "f*key-000010", 10).is_none());
        for pattern in ["d*key-000010", "e*key-000010", "f*key-000110"] {
            assert!(page(&ahead, pattern, 10).is_some(), "{pattern}");
        }
    }
}
