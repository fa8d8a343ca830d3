//! Listing many keys: the listing is complete and in order, and its cost does not grow with the
//! number of pages.

use std::collections::BTreeSet;

use kes_api::ListPattern;
use kes_keystore::config::KvVersion;
use kes_keystore::vault::VaultStore;
use kes_keystore::{KeyStore, Limit};
use kes_testkit::Bao;
use kes_testkit::faulty::{Faulty, Relay, Reply, Request};
use serde_json::{Value, json};

use super::login::join_all;
use super::transport::{stub, well};
use super::world::{STORED, World, config, create, delete, number, open};

const PAGE: usize = 1024;

/// A page, and the first name of the next one.
async fn page(store: &VaultStore, pattern: &str, limit: usize) -> (Vec<String>, Option<String>) {
    page_within(store, pattern, Limit::names(limit)).await
}

async fn page_within(
    store: &VaultStore,
    pattern: &str,
    limit: Limit,
) -> (Vec<String>, Option<String>) {
    let page = store.list(&ListPattern::parse(pattern).unwrap(), limit).await.unwrap();
    let next = page.next.map(|next| next.to_string());
    (page.names.iter().map(str::to_owned).collect(), next)
}

/// All pages of a listing, as a client requests them.
async fn pages(store: &VaultStore, prefix: &str, limit: usize) -> Vec<Vec<String>> {
    let mut pages = Vec::new();
    let mut pattern = prefix.to_owned();
    loop {
        let (names, next) = page(store, &pattern, limit).await;
        assert!(names.len() == limit || names.len() < limit && next.is_none());
        pages.push(names);
        match next {
            Some(next) => pattern = format!("{prefix}*{next}"),
            None => return pages,
        }
    }
}

fn sorted(names: impl IntoIterator<Item = String>) -> Vec<String> {
    BTreeSet::from_iter(names).into_iter().collect()
}

/// Writes entries as another client of the engine would, some at the same time.
fn fill(bao: &Bao, version: KvVersion, names: &[String]) {
    let data = if number(version) == 2 { "kv/data" } else { "kv" };
    std::thread::scope(|scope| {
        for part in names.chunks(names.len().div_ceil(4)) {
            scope.spawn(move || {
                for name in part {
                    let secret = json!({ name: STORED });
                    let secret =
                        if number(version) == 2 { json!({ "data": secret }) } else { secret };
                    bao.root().write(&format!("{data}/{name}"), &secret);
                }
            });
        }
    });
}

/// The keys of these tests: names of every length, each the prefix of others.
fn many(count: u32) -> Vec<String> {
    let odd = |at: u32| at.wrapping_mul(2_654_435_761);
    (0..count)
        .map(|at| match at % 4 {
            0 => format!("{at}"),
            1 => format!("Key_{}-{at}", odd(at) % 7),
            2 => format!("key-{:08x}", odd(at)),
            _ => format!("key-{at}{}", "z".repeat(usize::try_from(at % 60).unwrap())),
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_thousands_of_keys_none_is_lost_and_none_comes_twice() {
    for version in [KvVersion::V1, KvVersion::V2] {
        let world = World::new(version);
        let keys = many(2200);
        fill(&world.bao, version, &keys);
        // Entries that are not keys: folders beside keys of the same name, and names of other
        // programs.
        let others = ["key-/x", "key-1/x", "key-3/x", "0/x", "key-.a", "a.b", "-x", "z%20z/y", "~"];
        fill(&world.bao, version, &others.map(str::to_owned));
        let all = sorted(keys);
        let store = world.open().await;
        for (prefix, limit) in [
            ("", PAGE),
            ("", 5000),
            ("key-", PAGE),
            ("key-", 100),
            ("Key_3", 7),
            ("0", 3),
            ("key-3", 1),
            ("key-3zzz", PAGE),
            ("z", PAGE),
        ] {
            let expected: Vec<_> = all.iter().filter(|key| key.starts_with(prefix)).collect();
            let found = pages(&store, prefix, limit).await.concat();
            let same = found.iter().eq(expected.iter().copied());
            assert!(same, "{prefix:?} {limit}: {} of {}", found.len(), expected.len());
        }
        // Starting at any name, whether such a key exists or not.
        for from in ["-", "0", "1", "Key_", "Key_3-", "_", "a", "key-", "key-3", "key-3a", "zz"] {
            let start = all.partition_point(|key| key.as_str() < from);
            let end = all.len().min(start + 3);
            let page = page(&store, &format!("*{from}"), 3).await;
            assert_eq!(page, (all[start..end].to_vec(), all.get(end).cloned()), "{from:?}");
        }
        // More clients than listings are prefetched for.
        for found in join_all((0..8).map(|_| pages(&store, "", PAGE))).await {
            assert!(found.concat() == all);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_this_server_creates_and_deletes_shows_on_the_next_page() {
    for version in [KvVersion::V1, KvVersion::V2] {
        let world = World::new(version);
        let mut keys = BTreeSet::from_iter((0..500).map(|at| format!("key-{at:03}")));
        fill(&world.bao, version, &Vec::from_iter(keys.clone()));
        let store = world.open().await;
        let (names, mut next) = page(&store, "key-*", 100).await;
        assert!(names.iter().eq(keys.iter().take(100)));
        let mut from = 100;
        while let Some(name) = next {
            // A name before the next page, its first name, and one after it.
            for at in [from - 50, from, from + 30] {
                let key = format!("key-{at:03}");
                delete(&store, &key).await.unwrap();
                keys.remove(&key);
            }
            for at in [from - 40, from + 20] {
                let key = format!("key-{at:03}-new");
                create(&store, &key).await.unwrap();
                keys.insert(key);
            }
            let (names, following) = page(&store, &format!("key-*{name}"), 100).await;
            let expected = keys.range(name..).take(100);
            assert!(names.iter().eq(expected), "{version:?} {from}: {names:?}");
            next = following;
            from += 100;
        }
        assert!(from >= 500);
        assert!(pages(&store, "", 100).await.concat().iter().eq(&keys));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_others_create_and_delete_disturbs_no_other_key() {
    for version in [KvVersion::V1, KvVersion::V2] {
        let world = World::new(version);
        let keys = Vec::from_iter((0..500).map(|at| format!("key-{at:03}")));
        fill(&world.bao, version, &keys);
        let (store, other) = (world.open().await, world.open().await);
        let (mut found, mut next) = page(&store, "key-*", 100).await;
        let (mut gone, mut from) = (BTreeSet::new(), 100);
        while let Some(name) = next {
            for at in [from - 50, from, from + 30] {
                let key = format!("key-{at:03}");
                delete(&other, &key).await.unwrap();
                gone.insert(key);
            }
            for at in [from - 40, from + 20] {
                create(&other, &format!("key-{at:03}-new")).await.unwrap();
            }
            let (names, following) = page(&store, &format!("key-*{name}"), 100).await;
            found.extend(names);
            next = following;
            from += 100;
        }
        assert_eq!(sorted(found.clone()), found, "in order, and each once");
        let stayed = |key: &&String| key.len() == 7 && !gone.contains(*key);
        let found = found.iter().filter(stayed);
        assert!(found.eq(keys.iter().filter(stayed)), "{version:?}");
        // A new listing shows all changes.
        let all = pages(&store, "", PAGE).await.concat();
        assert_eq!(all.iter().filter(|key| key.ends_with("-new")).count(), 8);
        assert!(!all.iter().any(|key| gone.contains(key)));
    }
}

/// A listing of several pages gets each name from Vault once, or little more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_names_are_taken_from_openbao_once() {
    for version in [KvVersion::V1, KvVersion::V2] {
        let world = World::new(version);
        let keys = many(1600);
        fill(&world.bao, version, &keys);
        let relay = Relay::to(world.bao.address());
        let url = format!("http://{}", relay.address());
        let store = open(config(&url, version, &world.role)).await;
        assert!(page(&store, "none", 1).await.0.is_empty());
        let before = relay.answered();
        assert_eq!(pages(&store, "", 100).await.len(), 16);
        let taken = relay.answered() - before;
        let names: usize = keys.iter().map(|key| key.len() + 3).sum();
        let names = u64::try_from(names).unwrap();
        assert!(taken > names && taken < names + names / 4, "{version:?}: {taken} for {names}");
    }
}

/// A policy of OpenBao may limit listings, or hide names.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn policies_that_limit_listings_and_hide_names_end_no_listing_early() {
    let world = World::new(KvVersion::V2);
    let keys = sorted((0..1500).map(|at| format!("key-{at:04}")));
    fill(&world.bao, KvVersion::V2, &keys);
    let root = world.bao.root();
    let list =
        |more: &str| format!("path \"kv/metadata/\" {{ capabilities = [\"list\"]\n{more} }}\n");
    let open = async |policy: &str| {
        root.write_policy("kes", policy);
        world.open().await
    };
    let store = open(&list("pagination_limit = 100")).await;
    assert_eq!(pages(&store, "", PAGE).await.concat(), keys);
    assert_eq!(pages(&store, "key-1", 7).await.concat(), keys[1000..]);

    // Whole answers have only hidden names, and the last names are visible.
    let hide = list("list_scan_response_keys_filter_path = \"{{ .path }}{{ .key }}\"");
    let see = |name: &str| format!("path \"kv/metadata/{name}\" {{ capabilities = [\"read\"] }}\n");
    let store = open(&(hide.clone() + &see("key-0007") + &see("key-149*"))).await;
    let seen = [&keys[7..8], &keys[1490..]].concat();
    for limit in [1, 3, PAGE] {
        assert_eq!(pages(&store, "", limit).await.concat(), seen);
    }
    let store = open(&(hide + &see("key-1499"))).await;
    assert_eq!(pages(&store, "", PAGE).await.concat(), keys[1499..]);
}

#[tokio::test]
async fn no_right_to_list_is_an_error() {
    let world = World::new(KvVersion::V2);
    fill(&world.bao, KvVersion::V2, &["key".to_owned()]);
    world.bao.root().write_policy("kes", "path \"kv/data/*\" { capabilities = [\"read\"] }");
    let error = world.open().await.list(&ListPattern::ALL, Limit::names(10)).await.unwrap_err();
    assert!(error.to_string().contains("403"), "{error}");
}

/// How a stub answers a listing.
#[derive(Clone, Copy, Debug)]
enum Style {
    /// Like OpenBao.
    Pages,
    /// Like OpenBao if a policy hides most names: it counts the hidden ones too.
    HiddenPages,
    /// Like Vault: all names, in no particular order.
    All { warns: bool },
}

/// A stub with a folder of names.
fn folder(mut names: Vec<String>, style: Style) -> Faulty {
    match style {
        Style::Pages | Style::HiddenPages => names.sort(),
        Style::All { .. } => names.sort_by_key(|name| name.bytes().rev().collect::<Vec<_>>()),
    }
    Faulty::start(move |request: &Request| {
        if request.path() != "/v1/kv" {
            return well(request);
        }
        let [after, limit] = asked(request);
        let limit = limit.map_or(usize::MAX, |limit| limit.parse().unwrap());
        let after = after.unwrap_or_default();
        let (keys, warnings) = match style {
            Style::Pages | Style::HiddenPages => {
                let start = names.partition_point(|name| *name <= after);
                (&names[start..names.len().min(start.saturating_add(limit))], Value::Null)
            }
            Style::All { warns: false } => (&names[..], Value::Null),
            Style::All { warns: true } => (
                &names[..],
                json!(["Endpoint ignored these unrecognized parameters: [after limit]"]),
            ),
        };
        let is_hidden = |key: &String| matches!(style, Style::HiddenPages) && !key.contains("seen");
        let keys: Vec<_> = keys.iter().filter(|key| !is_hidden(key)).collect();
        match style {
            Style::All { warns: true } if keys.is_empty() => {
                Reply::json(200, json!({ "data": {}, "warnings": warnings }))
            }
            _ if keys.is_empty() => Reply::json(404, json!({ "errors": [] })),
            _ => Reply::json(200, json!({ "data": { "keys": keys }, "warnings": warnings })),
        }
    })
}

/// The two parameters of a request.
fn asked(request: &Request) -> [Option<String>; 2] {
    let query = request.target.split_once('?').unwrap().1;
    let query: Vec<_> = url::form_urlencoded::parse(query.as_bytes()).collect();
    ["after", "limit"].map(|name| {
        query.iter().find(|(field, _)| field == name).map(|(_, value)| value.clone().into_owned())
    })
}

fn listings(node: &Faulty) -> Vec<Request> {
    let all = node.requests().into_iter();
    all.filter(|request| request.path() == "/v1/kv").collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_thousand_keys_take_few_requests_of_bounded_size() {
    let keys = many(100_000);
    let node = folder(keys.clone(), Style::Pages);
    let store = stub(&node).await;
    let found = pages(&store, "", PAGE).await;
    assert_eq!(found.len(), 98);
    assert!(found.concat() == sorted(keys));
    let asked: Vec<_> = listings(&node).iter().map(asked).collect();
    // The names after the last one are requested without a limit.
    let limited = asked.iter().filter(|[_, limit]| limit.is_some());
    assert!(limited.clone().all(|[_, limit]| limit.as_deref() == Some("49153")), "{asked:?}");
    assert!(limited.count() <= 4 && asked.len() <= 5, "{asked:?}");
    assert!(asked.iter().skip(1).all(|[after, _]| after.is_some()), "{asked:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_knows_no_pages_is_understood() {
    for warns in [false, true] {
        for count in [0, 1, 3, 1025, 1026, 16_384, 16_385, 16_386, 20_000] {
            let keys = many(count);
            let node = folder(keys.clone(), Style::All { warns });
            let store = stub(&node).await;
            for prefix in ["", "key-"] {
                let expected = sorted(keys.iter().filter(|key| key.starts_with(prefix)).cloned());
                let found = pages(&store, prefix, PAGE).await.concat();
                assert!(found == expected, "{warns} {count} {prefix:?}: {}", found.len());
            }
            let most = if warns { 3 } else { 6 };
            let requests = listings(&node).len();
            assert!(requests <= most, "{warns} {count}: {requests}");
        }
    }
}

/// Whole answers among them have only hidden names.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_between_thousands_of_hidden_names_are_found() {
    let mut names: Vec<_> = (0..60_000).map(|at| format!("key-{at:05}")).collect();
    let seen = ["key-00007-seen", "key-39999-seen", "key-40000-seen", "key-59999-seen"];
    names.extend(seen.map(str::to_owned));
    let node = folder(names, Style::HiddenPages);
    let store = stub(&node).await;
    for limit in [1, 2, PAGE] {
        assert_eq!(pages(&store, "", limit).await.concat(), seen);
        assert_eq!(pages(&store, "key-4", limit).await.concat(), seen[2..3]);
    }
    assert!(pages(&store, "key-5999", PAGE).await.concat() == seen[3..]);
}

/// More names that are not keys than one answer holds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_between_thousands_of_folders_are_found() {
    let mut names: Vec<_> = (0..40_000).map(|at| format!("folder-{at:05}/")).collect();
    names.extend(["a", "folder-1", "folder-20000", "folder-39999", "z"].map(str::to_owned));
    let node = folder(names, Style::Pages);
    let store = stub(&node).await;
    let keys = ["a", "folder-1", "folder-20000", "folder-39999", "z"];
    for limit in [2, PAGE] {
        assert_eq!(pages(&store, "", limit).await.concat(), keys);
        assert_eq!(pages(&store, "folder-2", limit).await.concat(), ["folder-20000"]);
    }
}
