//! The tests that every key store passes, backends and wrappers alike. A store's own tests call
//! [`run`] with a function that opens an empty store.

#![expect(clippy::expect_used, clippy::panic, reason = "a test panics where it fails")]

use std::sync::Arc;

use kes_api::{KeyName, ListPattern};
use tokio::task::JoinSet;

use crate::{Error, KeyStore, Limit, Page, State, Value};

/// What a delete of a name that is missing does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MissingDelete {
    /// It fails: there is no such name.
    Fails,
    /// It succeeds: there is nothing left.
    Succeeds,
}

/// Runs all tests, each with a store of its own. Needs a tokio runtime; one of several threads
/// makes the tests of concurrency mean more.
///
/// # Panics
/// If the store fails one.
pub async fn run<S, F>(missing: MissingDelete, open: F)
where
    S: KeyStore + 'static,
    F: AsyncFn() -> S,
{
    a_value_is_read_as_it_was_created(&open().await).await;
    a_name_is_created_once(&open().await).await;
    a_missing_name_is_not_found(&open().await, missing).await;
    a_deleted_name_is_free(&open().await, missing).await;
    every_name_is_its_own(&open().await).await;
    of_many_creators_one_succeeds(Arc::new(open().await)).await;
    a_reader_sees_all_or_nothing(Arc::new(open().await)).await;
    a_pattern_selects(&open().await).await;
    pages_are_complete(Arc::new(open().await)).await;
    assert!(matches!(open().await.state(), State::Reachable { .. }));
}

async fn a_value_is_read_as_it_was_created(store: &impl KeyStore) {
    for (at, text) in [
        "a",
        "Y2lwaGVy+/==",
        "{\"bytes\": \"\\u0041\", \"created_by\": \"Zoë\"}",
        &"long".repeat(256),
    ]
    .into_iter()
    .enumerate()
    {
        let name = name(&format!("key-{at}"));
        succeeds(store.create(&name, &value(text)).await);
        assert_eq!(read(store, &name).await, text);
        assert_eq!(read(store, &name).await, text, "the second time");
    }
}

async fn a_name_is_created_once(store: &impl KeyStore) {
    let key = name("key");
    succeeds(store.create(&key, &value("first")).await);
    let second = store.create(&key, &value("second")).await;
    assert!(matches!(second, Err(Error::Exists { name }) if name == key), "{second:?}");
    assert_eq!(read(store, &key).await, "first");
}

async fn a_missing_name_is_not_found(store: &impl KeyStore, missing: MissingDelete) {
    let key = name("key");
    let is_not_found = |error: &Error| matches!(error, Error::NotFound { name } if *name == key);
    for _ in 0..2 {
        assert!(store.read(&key).await.err().as_ref().is_some_and(is_not_found));
        delete_missing(store, &key, missing).await;
    }
    assert_eq!(list(store, "", 10).await, Page::default());
}

async fn delete_missing(store: &impl KeyStore, key: &KeyName, missing: MissingDelete) {
    match (missing, store.delete(key).await) {
        (MissingDelete::Succeeds, Ok(())) => {}
        (MissingDelete::Fails, Err(Error::NotFound { name })) => assert_eq!(name, *key),
        (_, outcome) => panic!("{outcome:?}"),
    }
}

async fn a_deleted_name_is_free(store: &impl KeyStore, missing: MissingDelete) {
    let (key, other) = (name("key"), name("key2"));
    succeeds(store.create(&other, &value("other")).await);
    for text in ["first", "second"] {
        succeeds(store.create(&key, &value(text)).await);
        assert_eq!(read(store, &key).await, text);
        succeeds(store.delete(&key).await);
        assert!(matches!(store.read(&key).await, Err(Error::NotFound { .. })));
        delete_missing(store, &key, missing).await;
        assert_eq!(list(store, "", 10).await.names, [other].into_iter().collect());
    }
    assert_eq!(read(store, &other).await, "other");
}

async fn every_name_is_its_own(store: &impl KeyStore) {
    let longest = "n".repeat(80);
    let names = ["0", "CON", "Key", "_-_", "__", "a", "a-b", "a_b", "key", "key1", &longest];
    for text in names {
        succeeds(store.create(&name(text), &value(text)).await);
    }
    for text in names {
        assert_eq!(read(store, &name(text)).await, text);
    }
    let mut sorted = names.map(name);
    sorted.sort();
    assert_eq!(
        list(store, "", 100).await,
        Page { names: sorted.into_iter().collect(), next: None }
    );
}

async fn of_many_creators_one_succeeds(store: Arc<impl KeyStore + 'static>) {
    for round in 0..5 {
        let key = name(&format!("key-{round}"));
        let mut creators = JoinSet::new();
        for creator in 0..50 {
            let store = Arc::clone(&store);
            creators.spawn(async move {
                let text = format!("value of creator {creator}");
                store.create(&key, &value(&text)).await.map(|()| text)
            });
        }
        let mut winners = Vec::new();
        for outcome in creators.join_all().await {
            match outcome {
                Ok(text) => winners.push(text),
                Err(Error::Exists { name }) => assert_eq!(name, key),
                Err(error) => panic!("{error}"),
            }
        }
        assert_eq!(winners.len(), 1, "{winners:?}");
        assert_eq!([read(&*store, &key).await], *winners);
    }
    assert_eq!(list(&*store, "", 100).await.names.len(), 5);
}

async fn a_reader_sees_all_or_nothing(store: Arc<impl KeyStore + 'static>) {
    let text = "whole".repeat(100);
    for round in 0..20 {
        let key = name(&format!("key-{round}"));
        let reader = tokio::spawn({
            let (store, text) = (Arc::clone(&store), text.clone());
            async move {
                loop {
                    match store.read(&key).await {
                        Ok(value) => break assert_eq!(value.expose(), text),
                        Err(Error::NotFound { .. }) => tokio::task::yield_now().await,
                        Err(error) => panic!("{error}"),
                    }
                }
            }
        });
        succeeds(store.create(&key, &value(&text)).await);
        reader.await.expect("the reader saw the whole value");
    }
}

async fn a_pattern_selects(store: &impl KeyStore) {
    for text in ["ab", "a", "b", "abc", "B", "abd", "a-c", "a_c"] {
        succeeds(store.create(&name(text), &value(text)).await);
    }
    for (pattern, limit, names, next) in [
        ("", 8, "B a a-c a_c ab abc abd b", None),
        ("*", 9, "B a a-c a_c ab abc abd b", None),
        ("", 7, "B a a-c a_c ab abc abd", Some("b")),
        ("a", 10, "a a-c a_c ab abc abd", None),
        ("a*", 2, "a a-c", Some("a_c")),
        ("a*a_c", 2, "a_c ab", Some("abc")),
        ("a*abc", 2, "abc abd", None),
        ("a*B", 1, "a", Some("a-c")), // starts before all that match
        ("a*b", 2, "", None),         // and after
        ("ab*", 1, "ab", Some("abc")),
        ("ab*abca", 9, "abd", None), // at a name that was deleted since
        ("*ab", 2, "ab abc", Some("abd")),
        ("B", 1, "B", None),
        ("c", 1, "", None),
        ("a", 0, "", Some("a")),
    ] {
        let page = list(store, pattern, limit).await;
        let expected = Page { names: names.split_whitespace().collect(), next: next.map(name) };
        assert_eq!(page, expected, "{pattern:?}, at most {limit}");
    }
}

/// More names than two pages hold, created in no order. Few, since each create of KV v1 is five
/// calls; many are for the tests of a backend, which can put them where they stand.
async fn pages_are_complete(store: Arc<impl KeyStore + 'static>) {
    const COUNT: u32 = 300;
    const LIMIT: usize = 128;
    // An odd factor changes the order and hits no name twice.
    let of = |at: u32| name(&format!("key-{:08x}", at.wrapping_mul(2_654_435_761)));
    let mut creators = JoinSet::new();
    for first in 0..32 {
        let store = Arc::clone(&store);
        creators.spawn(async move {
            for at in (first..COUNT).step_by(32) {
                succeeds(store.create(&of(at), &value("value")).await);
            }
        });
    }
    creators.join_all().await;
    succeeds(store.create(&name("other"), &value("value")).await);

    let mut all: Vec<KeyName> = (0..COUNT).map(of).collect();
    all.sort();
    let (mut names, mut pages) = (Vec::new(), 0);
    let mut pattern = "key-*".to_owned();
    loop {
        let page = list(&*store, &pattern, LIMIT).await;
        assert!(page.names.len() <= LIMIT);
        names.extend(page.names.iter().map(name));
        pages += 1;
        let Some(next) = page.next else { break };
        assert_eq!(names.len() % LIMIT, 0, "only the last page is short");
        pattern = format!("key-*{next}");
    }
    assert_eq!(pages, 3);
    assert!(names == all, "{} of {} names, or in another order", names.len(), all.len());

    // The same in pages of so many bytes of JSON: 15 for each name, and 12 for the next one.
    let (all_names, third) = (all.len(), all.len() / 3);
    for (last, more, sizes) in [
        (15 * all_names, 0, vec![all_names]),
        (15 * all_names - 1, 15 * 2 * third + 12, vec![2 * third, third]),
        (15 * (third - 1), 15 * third + 12, vec![third, third, third - 1, 1]),
        (15 * third, 15 * third + 11, vec![third - 1, third - 1, third - 1, 3]),
        (15 * third, 15 * third + 12, vec![third; 3]),
    ] {
        let (mut found, mut all_sizes, mut pattern) = (Vec::new(), Vec::new(), "key-*".to_owned());
        loop {
            let page = list_within(&*store, &pattern, Limit::bytes(last, more)).await;
            all_sizes.push(page.names.len());
            found.extend(page.names.iter().map(name));
            let Some(next) = page.next else { break };
            pattern = format!("key-*{next}");
        }
        assert_eq!(all_sizes, sizes, "{last} {more}");
        assert!(found == all, "{last} {more}");
    }
}

fn name(text: &str) -> KeyName {
    KeyName::parse(text).expect("the tests' names are names")
}

fn value(text: &str) -> Value {
    Value::new(text.to_owned())
}

async fn read(store: &impl KeyStore, name: &KeyName) -> String {
    match store.read(name).await {
        Ok(value) => value.expose().to_owned(),
        Err(error) => panic!("{error}"),
    }
}

async fn list(store: &impl KeyStore, pattern: &str, limit: usize) -> Page {
    list_within(store, pattern, Limit::names(limit)).await
}

async fn list_within(store: &impl KeyStore, pattern: &str, limit: Limit) -> Page {
    let pattern = ListPattern::parse(pattern).expect("the tests' patterns are patterns");
    match store.list(&pattern, limit).await {
        Ok(page) => page,
        Err(error) => panic!("{error}"),
    }
}

fn succeeds(result: Result<(), Error>) {
    if let Err(error) = result {
        panic!("{error}");
    }
}
