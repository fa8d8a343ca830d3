//! Pages of names, as JSON (contract `api.md`, Paging).

/// One page for many requests.
mod shared;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use kes_api::ListPattern;
use kes_keystore::{Limit, Page, StoreOperation};
use kes_policy::{Permit, StoreCall};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time;

use self::shared::{Follower, Role, SharedPages};

use crate::service::answer::Answer;
use crate::service::error::Error;

/// The size of a page's JSON in bytes. MinIO only asks for the first page, and its SDK reads 1 MiB
/// of an answer.
const PAGE: usize = 768 * 1024;

/// How many large answers may exist at one time: each takes memory until its client has read it.
/// These are 24 MiB.
const LARGE_ANSWERS: usize = 32;

/// The size of a large answer in bytes. Smaller ones are limited as all other answers.
const LARGE: usize = 64 * 1024;

/// How long a listing waits until one of so many large answers has been read: longer than a client
/// takes that reads. Then it is answered with a smaller page, because clients that do not read must
/// not keep others from listing.
const PLACE_WAIT: Duration = Duration::from_secs(1);

/// How many pages of a kind are made at one time. Each goes through all names, and holds two to
/// three times its own size of them; a few keep the machine busy. One caller has fewer (see
/// `store_calls`).
const MAKING: usize = 8;

/// The JSON of a kind of page, without names and the pattern of the next page.
pub(super) struct Form {
    start: &'static str,
    /// After the names of the last page.
    end: &'static str,
    /// Held while a page is made.
    making: Semaphore,
}

/// A page that was made for several requests, or why it was not.
type Made = Result<Arc<PageJson>, Failed>;

/// A page as JSON, and its place among large answers, which is free again when all have been sent.
struct PageJson {
    json: Vec<u8>,
    _place: Option<SemaphorePermit<'static>>,
}

impl AsRef<[u8]> for PageJson {
    fn as_ref(&self) -> &[u8] {
        &self.json
    }
}

/// Places for large answers.
struct Places {
    free: Semaphore,
    /// Whether a listing has waited for a place in vain. The next ones do not wait, as long as no
    /// place is free: each that waits keeps others from being made.
    are_held: AtomicBool,
}

static KEYS: Form = Form::new("{\"names\":[", "]}\n");
pub(super) static POLICIES: Form = Form::new("{\"names\":[", "],\"continue_at\":\"\"}\n");
pub(super) static IDENTITIES: Form = Form::new("{\"identities\":[", "],\"continue_at\":\"\"}\n");

/// The JSON around the pattern of the next page.
const CONTINUE: [&str; 2] = ["],\"continue_at\":\"", "\"}\n"];

static PLACES: Places = Places::new(LARGE_ANSWERS);

/// Answers with the page that `make` returns.
pub(super) async fn answer(
    form: &Form,
    pattern: &ListPattern<'_>,
    make: impl AsyncFnOnce(Limit) -> Result<Page, Error>,
) -> Result<Answer, Error> {
    let own = SharedPages::new();
    let page = form.page(&own, pattern, (&PLACES, PLACE_WAIT), None, make).await?;
    Ok(Answer::shared_json(page))
}

/// Answers with a page of keys: the one that `make` returns, or the one that it returns for another
/// request for the same pattern which came before the page was begun. A request that
/// makes a page passes the gate of its permit to the key store first; one that shares the page of
/// another request need not.
pub(super) async fn shared_answer(
    pattern: &ListPattern<'_>,
    permit: &Permit<'_>,
    make: impl AsyncFnOnce(Limit) -> Result<Page, Error>,
) -> Result<Answer, Error> {
    static PAGES: SharedPages<Made> = SharedPages::new();

    let page = KEYS.page(&PAGES, pattern, (&PLACES, PLACE_WAIT), Some(permit), make).await?;
    Ok(Answer::shared_json(page))
}

/// Why a page was not made, for those who have waited for it.
#[derive(Clone)]
enum Failed {
    /// The key store failed.
    Store(kes_keystore::Error),
    /// The request that was to make it could not.
    Own,
}

/// Waits for the page of another request, and tells the trace of this one.
async fn followed(follower: Follower<Made>, permit: Option<&Permit<'_>>) -> Option<Made> {
    let Some(trace) = permit.and_then(Permit::trace) else { return follower.page().await };
    let (span, began, start) = (trace.call_begins(), SystemTime::now(), Instant::now());
    let page = follower.page().await;
    let error = match &page {
        Some(Ok(_)) => None,
        Some(Err(Failed::Store(error))) => Some(error),
        Some(Err(Failed::Own)) | None => return page,
    };
    trace.call_ended(&StoreCall {
        span,
        operation: StoreOperation::List.name(),
        result: error.map_or("ok", kes_keystore::Error::class),
        is_failure: error.is_some_and(kes_keystore::Error::is_failure),
        is_shared: true,
        began,
        took: start.elapsed(),
    });
    page
}

impl Failed {
    fn of(error: &Error) -> Self {
        match error {
            Error::Keys(kes_keys::Error::Store { source, .. }) => Self::Store(source.clone()),
            _ => Self::Own,
        }
    }
}

impl Places {
    const fn new(count: usize) -> Self {
        Self { free: Semaphore::const_new(count), are_held: AtomicBool::new(false) }
    }

    /// A place, if one is free or becomes free in time.
    async fn take(&self, wait: Duration) -> Option<SemaphorePermit<'_>> {
        let wait = if self.are_held.load(Ordering::Relaxed) { Duration::ZERO } else { wait };
        let place = time::timeout(wait, self.free.acquire()).await.ok().and_then(Result::ok);
        self.are_held.store(place.is_none(), Ordering::Relaxed);
        place
    }
}

impl Form {
    const fn new(start: &'static str, end: &'static str) -> Self {
        Self { start, end, making: Semaphore::const_new(MAKING) }
    }

    /// A page of its own or of another request.
    async fn page(
        &self,
        pages: &SharedPages<Made>,
        pattern: &ListPattern<'_>,
        (places, wait): (&'static Places, Duration),
        permit: Option<&Permit<'_>>,
        make: impl AsyncFnOnce(Limit) -> Result<Page, Error>,
    ) -> Result<Arc<PageJson>, Error> {
        let text = pattern.continue_at(pattern.from());
        let (_entered, mut leader) = loop {
            let follower = match pages.follow(&text) {
                Some(follower) => follower,
                None => {
                    // Before it leads, so that nobody who follows waits for the budget of another.
                    let entered = match permit {
                        Some(permit) => {
                            permit.enter_store().await.map_err(kes_keys::Error::from)?
                        }
                        None => None,
                    };
                    match pages.join(&text) {
                        Role::Leader(leader) => break (entered, leader),
                        Role::Follower(follower) => follower,
                    }
                }
            };
            match followed(follower, permit).await {
                Some(Ok(page)) => return Ok(page),
                Some(Err(Failed::Store(source))) => {
                    let operation = StoreOperation::List;
                    return Err(kes_keys::Error::Store { operation, source }.into());
                }
                Some(Err(Failed::Own)) | None => {}
            }
        };
        // It is never closed. A request that waits for too long ends by its time limit.
        let resources = async {
            let making = self.making.acquire().await;
            (making, places.take(wait).await)
        };
        let (_turn, (making, place)) = leader.begin(resources).await;
        let _making = making.map_err(|_| Error::Timeout)?;
        let size = if place.is_some() { PAGE } else { LARGE - 1 };
        let made = make(self.limit(pattern, size)).await.map(|page| {
            let json = self.json(&page, pattern);
            let place = place.filter(|_| json.len() >= LARGE);
            Arc::new(PageJson { json, _place: place })
        });
        leader.complete(made.as_ref().map(Arc::clone).map_err(Failed::of));
        made
    }

    /// What a page of some bytes of JSON may hold.
    fn limit(&self, pattern: &ListPattern<'_>, size: usize) -> Limit {
        // A page has one comma less than it has names.
        let room = size - self.start.len() + 1;
        let [before, after] = CONTINUE;
        let more = before.len() + pattern.continue_at("").len() + after.len();
        Limit::bytes(room - self.end.len(), room - more)
    }

    /// Names and patterns contain no character that JSON escapes.
    fn json(&self, page: &Page, pattern: &ListPattern<'_>) -> Vec<u8> {
        let names: usize = page.names.iter().map(|name| name.len() + 3).sum();
        let mut json = Vec::with_capacity(self.start.len() + names + 256);
        let mut add = |text: &str| json.extend_from_slice(text.as_bytes());
        add(self.start);
        for (at, name) in page.names.iter().enumerate() {
            add(if at == 0 { "\"" } else { ",\"" });
            add(name);
            add("\"");
        }
        match &page.next {
            None => add(self.end),
            Some(next) => {
                let [before, after] = CONTINUE;
                add(before);
                add(&pattern.continue_at(next.as_str()));
                add(after);
            }
        }
        json
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use kes_api::KeyName;
    use kes_api::body::{IdentityPage, NamePage};

    use super::*;

    /// Names of some length, in order.
    fn names(count: usize, len: usize) -> Vec<KeyName> {
        (0..count).map(|at| KeyName::parse(&format!("{at:0len$}")).unwrap()).collect()
    }

    fn json(form: &Form, pattern: &str, names: &[KeyName]) -> (Vec<u8>, Page) {
        let pattern = ListPattern::parse(pattern).unwrap();
        let page = Page::first(names.iter().copied(), form.limit(&pattern, PAGE));
        (form.json(&page, &pattern), page)
    }

    #[test]
    fn a_page_is_the_json_of_its_names() {
        let all = names(20_000, 80);
        for pattern in ["", "*", "0", "00*0"] {
            for count in [0, 1, 2, 3, 20_000] {
                let (text, page) = json(&KEYS, pattern, &all[..count]);
                let next = page
                    .next
                    .map(|next| ListPattern::parse(pattern).unwrap().continue_at(next.as_str()));
                assert_eq!(next.is_some(), count == 20_000);
                let names: Vec<_> = page.names.iter().map(str::to_owned).collect();
                let with = |continue_at| NamePage { names: names.clone(), continue_at };
                let expected = serde_json::to_string(&with(next.clone())).unwrap() + "\n";
                assert_eq!(String::from_utf8(text).unwrap(), expected);

                let next = next.unwrap_or_default();
                let (text, _) = json(&POLICIES, pattern, &all[..count]);
                let read: NamePage = serde_json::from_slice(&text).unwrap();
                assert_eq!(read.continue_at.as_ref(), Some(&next));
                let (text, page) = json(&IDENTITIES, pattern, &all[..count]);
                let read: IdentityPage = serde_json::from_slice(&text).unwrap();
                assert!(read.identities.iter().eq(page.names.iter()));
                assert_eq!(read.continue_at, next);
            }
        }
    }

    /// To the byte: a page is full, and one name more would be too much.
    #[test]
    fn a_page_has_as_many_names_as_fit() {
        for form in [&KEYS, &POLICIES, &IDENTITIES] {
            for len in [6, 7, 20, 79, 80] {
                // As many as fit where nothing follows, give or take one.
                let most = (PAGE + 1 - form.start.len() - form.end.len()) / (len + 3);
                let all = names(most + 200, len);
                let (text, page) = json(form, "", &all[..most]);
                assert_eq!((page.names.len(), page.next), (most, None), "{len}");
                assert!(text.len() <= PAGE && text.len() + len + 3 > PAGE, "{len}");
                for more in [1, 2, 200] {
                    let (text, page) = json(form, "0*", &all[..most + more]);
                    assert_eq!(page.next, Some(all[page.names.len()]), "{len}");
                    assert!(text.len() <= PAGE && text.len() + len + 3 > PAGE, "{len} {more}");
                }
            }
        }
    }

    /// Clients that do not read their large answers hold up no listing, large or small.
    #[tokio::test]
    async fn without_a_place_for_a_large_answer_a_page_is_smaller() {
        static PLACES: Places = Places::new(2);
        let all = names(20_000, 20);
        let list = async |count: usize, from: &str| {
            let pattern = format!("*{from}");
            let pattern = ListPattern::parse(&pattern).unwrap();
            let make = async |limit| {
                let rest = all[..count].iter().copied().filter(|name| name.as_str() >= from);
                Ok(Page::first(rest, limit))
            };
            let own = SharedPages::new();
            let page = KEYS
                .page(&own, &pattern, (&PLACES, Duration::ZERO), None, make)
                .await
                .ok()
                .unwrap();
            let names: NamePage = serde_json::from_slice(&page.json).unwrap();
            (page, names.names.len(), names.continue_at.unwrap_or_default())
        };
        let unread = [list(20_000, "").await, list(20_000, "").await];
        assert!(unread.iter().all(|(page, ..)| page.json.len() > LARGE && page.json.len() <= PAGE));
        for _ in 0..2 * MAKING {
            let (page, count, next) = list(20_000, "").await;
            assert!(page.json.len() < LARGE && page.json.len() > LARGE - 100);
            assert_eq!(next, format!("*{}", all[count]));
            assert_eq!(list(3, "").await.1, 3);
        }
        // The listing is complete all the same.
        let (mut found, mut from) = (0, String::new());
        loop {
            let (_, count, next) = list(20_000, &from).await;
            found += count;
            let Some(next) = next.strip_prefix('*') else { break };
            from = next.to_owned();
        }
        assert_eq!(found, all.len());
        // A place is free again when an answer has been read.
        drop(unread);
        assert!(list(20_000, "").await.0.json.len() > LARGE);
    }

    /// Many requests for one pattern cost two pages: one for those who came first, and one for those
    /// who came while it was made. They share its memory, its place and its failure.
    #[tokio::test]
    async fn requests_for_the_same_page_share_it() {
        static PLACES: Places = Places::new(2);
        let shared = SharedPages::new();
        let (all, made) = (names(20_000, 20), AtomicUsize::new(0));
        let pattern = ListPattern::parse("0").unwrap();
        let list = async |fails: bool| {
            let make = async |limit| {
                made.fetch_add(1, Ordering::Relaxed);
                // Others run meanwhile.
                time::sleep(Duration::from_millis(20)).await;
                if fails {
                    let reason = "away".to_owned();
                    let source = kes_keystore::Error::Unavailable { reason };
                    let operation = StoreOperation::List;
                    return Err(kes_keys::Error::Store { operation, source }.into());
                }
                Ok(Page::first(all.iter().copied(), limit))
            };
            KEYS.page(&shared, &pattern, (&PLACES, Duration::from_secs(60)), None, make).await
        };
        for fails in [false, true] {
            made.store(0, Ordering::Relaxed);
            let lists: Vec<_> = (0..100).map(|_| Box::pin(list(fails))).collect();
            let mut pages = Vec::new();
            let mut lists = lists;
            std::future::poll_fn(|context| {
                lists.retain_mut(|list| match list.as_mut().poll(context) {
                    std::task::Poll::Ready(page) => {
                        pages.push(page);
                        false
                    }
                    std::task::Poll::Pending => true,
                });
                if lists.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
            })
            .await;
            assert_eq!(made.load(Ordering::Relaxed), 2);
            assert!(pages.iter().all(|page| page.is_err() == fails));
            let mut places: Vec<_> = pages.iter().flatten().map(Arc::as_ptr).collect();
            places.sort_unstable();
            places.dedup();
            assert_eq!(places.len(), if fails { 0 } else { 2 });
        }
    }

    #[test]
    fn the_longest_pattern_leaves_room_for_names() {
        let prefix = "0".repeat(80);
        let pattern = ListPattern::parse(&prefix).unwrap();
        let all = names(15_000, 80);
        let page = Page::first(all, KEYS.limit(&pattern, PAGE));
        assert!(page.names.len() > 9_000 && page.next.is_some());
        assert!(KEYS.json(&page, &pattern).len() <= PAGE);
    }
}
