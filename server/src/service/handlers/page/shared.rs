//! One page for all requests that ask for it at the same time: many clients that list the same keys
//! cost as much as one, in work and in memory.
//!
//! A request joins others whose page has not been begun yet, so no request is answered with names
//! that were read before it came. One page of a pattern is made at a time: those who come meanwhile
//! share the next one.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;

/// The pages that are being made or waited for, by their pattern.
pub(super) struct SharedPages<T> {
    lines: Mutex<Option<HashMap<String, Line<T>>>>,
}

/// The requests for one pattern.
struct Line<T> {
    /// Held while a page is made.
    turn: Arc<tokio::sync::Mutex<()>>,
    /// The page that has not been begun.
    next: Option<watch::Receiver<Option<T>>>,
    /// The requests that lead. The line ends with the last of them.
    leaders: usize,
}

/// What a request has to do for its page.
pub(super) enum Role<'a, T> {
    /// Make it.
    Leader(Leader<'a, T>),
    /// Wait for it.
    Follower(Follower<T>),
}

/// The duty to make a page. If it is dropped before that, those who wait learn it, and one of them
/// makes the page.
pub(super) struct Leader<'a, T> {
    pages: &'a SharedPages<T>,
    pattern: String,
    turn: Arc<tokio::sync::Mutex<()>>,
    page: watch::Sender<Option<T>>,
    is_open: bool,
}

/// Waits for a page.
pub(super) struct Follower<T>(watch::Receiver<Option<T>>);

impl<T: Clone> SharedPages<T> {
    pub(super) const fn new() -> Self {
        Self { lines: Mutex::new(None) }
    }

    /// Joins those who wait for a page that has not been begun, if there are any.
    pub(super) fn follow(&self, pattern: &str) -> Option<Follower<T>> {
        let lines = self.lines.lock();
        let next = lines.as_ref()?.get(pattern)?.next.as_ref()?;
        Some(Follower(next.clone()))
    }

    /// Joins those who wait for a page that has not been begun, or leads those who come.
    pub(super) fn join(&self, pattern: &str) -> Role<'_, T> {
        let mut lines = self.lines.lock();
        let lines = lines.get_or_insert_default();
        if let Some(line) = lines.get(pattern)
            && let Some(next) = &line.next
        {
            return Role::Follower(Follower(next.clone()));
        }
        let (page, next) = watch::channel(None);
        let line = lines.entry(pattern.to_owned()).or_insert_with(|| Line {
            turn: Arc::default(),
            next: None,
            leaders: 0,
        });
        line.next = Some(next);
        line.leaders += 1;
        let (pattern, turn) = (pattern.to_owned(), Arc::clone(&line.turn));
        Role::Leader(Leader { pages: self, pattern, turn, page, is_open: true })
    }
}

impl<T> Leader<'_, T> {
    /// Waits until no page of the pattern is being made. `resources` are what the making needs:
    /// while the leader waits for them, others may still join.
    pub(super) async fn begin<R>(
        &mut self,
        resources: impl Future<Output = R>,
    ) -> (tokio::sync::OwnedMutexGuard<()>, R) {
        let turn = Arc::clone(&self.turn).lock_owned().await;
        let resources = resources.await;
        self.close();
        (turn, resources)
    }

    /// Gives the page to all who wait for it.
    pub(super) fn complete(self, page: T) {
        self.page.send_replace(Some(page));
    }

    /// Nobody joins any more.
    fn close(&mut self) {
        if !std::mem::take(&mut self.is_open) {
            return;
        }
        if let Some(line) =
            self.pages.lines.lock().as_mut().and_then(|all| all.get_mut(&self.pattern))
        {
            line.next = None;
        }
    }
}

impl<T> Drop for Leader<'_, T> {
    fn drop(&mut self) {
        self.close();
        let mut lines = self.pages.lines.lock();
        let Some(lines) = lines.as_mut() else { return };
        if let Some(line) = lines.get_mut(&self.pattern) {
            line.leaders -= 1;
            if line.leaders == 0 {
                lines.remove(&self.pattern);
            }
        }
    }
}

impl<T: Clone> Follower<T> {
    /// Waits for the page; `None` if whoever had to make it went away.
    pub(super) async fn page(mut self) -> Option<T> {
        let page = self.0.wait_for(Option::is_some).await.ok()?;
        page.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::future::ready;

    use super::*;

    fn lead<'a>(pages: &'a SharedPages<u32>, pattern: &str) -> Leader<'a, u32> {
        match pages.join(pattern) {
            Role::Leader(leader) => leader,
            Role::Follower(_) => panic!("another request leads"),
        }
    }

    fn follow(pages: &SharedPages<u32>, pattern: &str) -> Follower<u32> {
        match pages.join(pattern) {
            Role::Leader(_) => panic!("nobody leads"),
            Role::Follower(follower) => follower,
        }
    }

    #[tokio::test]
    async fn a_page_is_for_all_who_came_before_it_was_begun() {
        let pages = SharedPages::new();
        let mut first = lead(&pages, "a");
        let early = follow(&pages, "a");
        let (turn, ()) = first.begin(ready(())).await;
        // Names that were read before a request came are not for it.
        let mut second = lead(&pages, "a");
        let late = follow(&pages, "a");
        let other = lead(&pages, "b");
        first.complete(1);
        assert_eq!(early.page().await, Some(1));
        drop((turn, other));
        let (turn, ()) = second.begin(ready(())).await;
        second.complete(2);
        assert_eq!(late.page().await, Some(2));
        drop(turn);
        assert!(pages.lines.lock().as_ref().unwrap().is_empty());
    }

    #[tokio::test]
    async fn one_page_of_a_pattern_is_made_at_a_time() {
        let pages = SharedPages::new();
        let mut first = lead(&pages, "a");
        let (turn, ()) = first.begin(ready(())).await;
        let mut second = lead(&pages, "a");
        let early = {
            let begun = second.begin(ready(()));
            tokio::time::timeout(std::time::Duration::from_millis(20), begun).await.is_err()
        };
        assert!(early);
        // It gave up, and whoever comes joins nobody who is gone.
        drop(second);
        let third = lead(&pages, "a");
        drop((turn, first, third));
        assert!(pages.lines.lock().as_ref().unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_leader_that_goes_away_leaves_the_page_to_another() {
        let pages = SharedPages::new();
        let leader = lead(&pages, "a");
        let (one, other) = (follow(&pages, "a"), follow(&pages, "a"));
        drop(leader);
        assert_eq!((one.page().await, other.page().await), (None, None));
        let leader = lead(&pages, "a");
        let waiting = follow(&pages, "a");
        leader.complete(3);
        assert_eq!(waiting.page().await, Some(3));
    }
}
