//! The listing prefetch: names that were read along with a page, for the pages that follow.
//!
//! To list some of the names costs Vault as much as to list all: KV v2 decrypts every name to
//! find those that are asked for, and other engines have no pages at all. So one request to Vault
//! reads the names of several pages, which are kept for a short time. A create or delete of this
//! server discards them, and so shows in the next page; a change that another server makes in the
//! middle of a listing may not show.

use std::collections::VecDeque;
use std::time::Duration;

use kes_api::ListPattern;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

use crate::{Limit, Names, Page};

/// How much one request reads, in bytes of JSON: between two and three pages of the contract. In
/// memory it is 4 MiB at most, where names are as short as they can be.
const PREFETCH: usize = 2 * 1024 * 1024;

/// How many listings are prefetched at one time, and how many are kept. Any further listing reads
/// each page for itself.
const RUNS: usize = 4;

/// Names are used for this time after they were read.
const MAX_AGE: Duration = Duration::from_secs(10);

/// The names that were read for pages to come.
pub(in crate::vault) struct Prefetch {
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

/// All names with a prefix, from one name up to another.
struct Run {
    prefix: String,
    names: Names,
    /// Whether Vault has more names; they begin with the last one here.
    more: bool,
    read: Instant,
}

/// A listing that Vault is asked for.
pub(in crate::vault) struct Reading<'a> {
    prefetch: &'a Prefetch,
    /// `None` if too many are prefetched already.
    permit: Option<SemaphorePermit<'a>>,
    changes: u64,
}

/// A change to a key that is under way.
pub(in crate::vault) struct Change<'a>(&'a Prefetch);

impl Default for Prefetch {
    fn default() -> Self {
        Self { kept: Mutex::default(), readers: Semaphore::new(RUNS) }
    }
}

impl Prefetch {
    /// A page that continues where another one ended, if its names were prefetched.
    pub(in crate::vault) fn page(&self, pattern: &ListPattern<'_>, limit: Limit) -> Option<Page> {
        let mut kept = self.kept.lock();
        kept.runs.retain(|run| run.read.elapsed() < MAX_AGE);
        kept.runs.iter().rev().find_map(|run| run.page(pattern, limit))
    }

    /// Begins a listing; call it before Vault is asked.
    pub(in crate::vault) fn read(&self) -> Reading<'_> {
        let permit = self.readers.try_acquire().ok();
        Reading { prefetch: self, permit, changes: self.kept.lock().changes }
    }

    /// Begins the create or delete of a key. When the returned guard is dropped, all names are
    /// discarded that were read, or whose reading has begun, before that.
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
        // A page continues at a name that the page before it ended with. At any other name Vault
        // has to be asked, because a key may have been created in between.
        let from = self.names.find(pattern.from())?;
        Page::cut(&self.names, from, limit, self.more)
    }
}

impl Reading<'_> {
    /// How much to read for a page of this limit.
    pub(in crate::vault) fn limit(&self, limit: Limit) -> Limit {
        if self.permit.is_some() { limit.at_least(PREFETCH) } else { limit }
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
        // The first name of the next page alone makes no page.
        let left = names.len() - page.names.len();
        let is_useful = if more { left > 1 } else { left > 0 };
        let mut kept = self.prefetch.kept.lock();
        if is_useful && kept.changes == self.changes && self.permit.is_some() {
            // The listing has used up the names that it continues.
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

    /// The page of names that Vault has, starting at a number.
    fn stored(from: usize, count: usize) -> Page {
        let name = |at| kes_api::KeyName::parse(&format!("key-{at:06}")).unwrap();
        Page { names: (from..from + count).map(name).collect(), next: Some(name(from + count)) }
    }

    fn page(prefetch: &Prefetch, pattern: &str, limit: usize) -> Option<Page> {
        prefetch.page(&ListPattern::parse(pattern).unwrap(), Limit::names(limit))
    }

    fn done(reading: Reading<'_>, pattern: &str, read: Page) {
        let first = Page::cut(&read.names, 0, Limit::names(10), false).unwrap();
        let pattern = ListPattern::parse(pattern).unwrap();
        assert_eq!(reading.done(&pattern, read, Limit::names(10)), first);
    }

    fn read(prefetch: &Prefetch, prefix: &str) {
        done(prefetch.read(), prefix, stored(0, 100));
    }

    #[tokio::test]
    async fn only_what_goes_on_at_a_known_name_is_told() {
        let prefetch = Prefetch::default();
        read(&prefetch, "key-");
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
            assert_eq!(page(&prefetch, pattern, limit), expected, "{pattern} {limit}");
        }
        // If no name follows the prefetched ones, a page may reach to the end.
        let end = Page { next: None, ..stored(0, 20) };
        done(prefetch.read(), "k", end.clone());
        let found = page(&prefetch, "k*key-000015", 1024).unwrap();
        assert_eq!(found, Page { next: None, ..stored(15, 5) });
    }

    #[tokio::test(start_paused = true)]
    async fn names_are_told_for_a_while() {
        let prefetch = Prefetch::default();
        read(&prefetch, "key-");
        tokio::time::advance(MAX_AGE - Duration::from_millis(1)).await;
        assert!(page(&prefetch, "key-*key-000010", 10).is_some());
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(page(&prefetch, "key-*key-000010", 10).is_none());
        assert!(prefetch.kept.lock().runs.is_empty());
    }

    #[tokio::test]
    async fn a_change_ends_what_was_read_before_it_was_done() {
        let prefetch = Prefetch::default();
        read(&prefetch, "key-");
        let change = prefetch.change();
        assert!(page(&prefetch, "key-*key-000010", 10).is_some());
        let reading = prefetch.read();
        drop(change);
        assert!(page(&prefetch, "key-*key-000010", 10).is_none());
        done(reading, "key-", stored(0, 100));
        assert!(page(&prefetch, "key-*key-000010", 10).is_none(), "it was read before the change");
        read(&prefetch, "key-");
        assert!(page(&prefetch, "key-*key-000010", 10).is_some());
    }

    #[tokio::test]
    async fn what_is_kept_is_bounded() {
        let prefetch = Prefetch::default();
        let readings: Vec<_> = (0..=RUNS).map(|_| prefetch.read()).collect();
        let ten = Limit::names(10);
        let limits: Vec<_> = readings.iter().map(|reading| reading.limit(ten)).collect();
        assert_eq!(limits, [&[Limit::bytes(PREFETCH, PREFETCH); RUNS][..], &[ten]].concat());
        for (at, reading) in readings.into_iter().enumerate() {
            let pattern = ListPattern::parse("key-").unwrap();
            let count = if at == RUNS { 10 } else { 10_000 };
            assert_eq!(reading.done(&pattern, stored(0, count), ten), stored(0, 10));
        }
        for prefix in ["a", "b", "c", "d", "e", "f"] {
            read(&prefetch, prefix);
        }
        assert_eq!(prefetch.kept.lock().runs.len(), RUNS);
        assert!(page(&prefetch, "f*key-000010", 10).is_some());
        assert!(page(&prefetch, "b*key-000010", 10).is_none());
        // A page that leaves room for the name of the next page loses no name, prefetched or not.
        let pattern = ListPattern::parse("key-").unwrap();
        let limit = Limit::bytes(130, 125);
        let readings: Vec<_> = (0..=RUNS).map(|_| prefetch.read()).collect();
        for reading in readings {
            assert_eq!(reading.done(&pattern, stored(0, 8), limit), stored(0, 8));
        }
        // Of a listing that continues, only the last run is kept.
        done(prefetch.read(), "f*key-000100", stored(100, 100));
        assert!(page(&prefetch, "f*key-000010", 10).is_none());
        for pattern in ["d*key-000010", "e*key-000010", "f*key-000110"] {
            assert!(page(&prefetch, pattern, 10).is_some(), "{pattern}");
        }
    }
}
