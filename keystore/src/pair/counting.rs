//! How many keys stand where. Both stores are listed page by page, at intervals and never for more than
//! a twentieth of the time, so that the memory does not grow with the number of keys, and a store is
//! seldom kept busy by it.

use std::cmp::Ordering;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use kes_api::{KeyName, ListPattern};
use tokio::time::{self, Instant};

use super::{Side, Two, of_side};
use crate::{Count, Error, KeyStore, Limit, Names};

/// The shortest pause between two counts.
const INTERVAL: Duration = Duration::from_secs(30);

/// How many times as long as a count the pause after it is.
const PAUSE: u32 = 20;

/// How much of a listing is read at a time, in bytes of names.
const PAGE: usize = 256 * 1024;

/// Counts until it is aborted.
pub(super) async fn follow<A: KeyStore, B: KeyStore>(stores: Arc<Two<A, B>>) {
    loop {
        let start = Instant::now();
        let counted = count(&*stores, start).await;
        {
            let mut kept = stores.counted.lock();
            match counted {
                Ok(count) => {
                    kept.count = Some(count);
                    kept.uncounted = None;
                }
                Err(error) => kept.uncounted = Some(error.to_string()),
            }
        }
        time::sleep(INTERVAL.max(start.elapsed() * PAUSE)).await;
    }
}

/// The names of one store, one after the other.
struct Cursor<'a, S> {
    store: &'a S,
    side: Side,
    names: Names,
    at: usize,
    /// The pattern of the next page; `None` after the last.
    next: Option<String>,
}

impl<'a, S: KeyStore> Cursor<'a, S> {
    fn new(store: &'a S, side: Side) -> Self {
        Self { store, side, names: Names::default(), at: 0, next: Some(String::new()) }
    }

    /// Reads the next page if the last one is used up.
    async fn fill(&mut self) -> Result<(), Error> {
        while self.at >= self.names.len()
            && let Some(text) = self.next.take()
        {
            #[expect(clippy::expect_used, reason = "a name is a place in the list of all")]
            let pattern = ListPattern::parse(&text).expect("a name is a place in the list of all");
            let page = Box::pin(self.store.list(&pattern, Limit::bytes(PAGE, PAGE))).await;
            let page = page.map_err(|error| of_side(self.side, error))?;
            self.next = page.next.map(|next| pattern.continue_at(next.as_str()));
            (self.names, self.at) = (page.names, 0);
        }
        Ok(())
    }

    fn name(&self) -> Option<&str> {
        self.names.get(self.at)
    }
}

/// Counts the keys of both stores.
pub(super) async fn count<A: KeyStore, B: KeyStore>(
    stores: &Two<A, B>,
    start: Instant,
) -> Result<Count, Error> {
    let mut old = Cursor::new(&stores.old, Side::Old);
    let mut new = Cursor::new(&stores.new, Side::New);
    let [mut only_old, mut only_new, mut both] = [0; 3];
    let [mut named_old, mut named_new] = [Vec::new(), Vec::new()];
    let name_one = |named: &mut Vec<KeyName>, name: Option<&str>| {
        if named.len() < Count::MOST_NAMED {
            named.extend(name.and_then(|name| KeyName::parse(name).ok()));
        }
    };
    loop {
        old.fill().await?;
        new.fill().await?;
        let order = match (old.name(), new.name()) {
            (None, None) => break,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(old), Some(new)) => old.cmp(new),
        };
        match order {
            Ordering::Less => {
                only_old += 1;
                name_one(&mut named_old, old.name());
                old.at += 1;
            }
            Ordering::Greater => {
                only_new += 1;
                name_one(&mut named_new, new.name());
                new.at += 1;
            }
            Ordering::Equal => {
                both += 1;
                old.at += 1;
                new.at += 1;
            }
        }
    }
    let (at, took) = (SystemTime::now(), start.elapsed());
    Ok(Count { only_old, only_new, both, named_old, named_new, at, took })
}
