//! Many servers create one key at the same time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use kes_keystore::config::{KvVersion, Vault};
use kes_keystore::vault::VaultStore;
use kes_keystore::{Error, KeyStore};
use kes_testkit::faulty::{Faulty, Relay, Reply, Request};
use serde_json::json;
use tokio::task::JoinSet;

use super::world::{STORED, World, config, create, list, name, open, read, value};

/// How long a create is repeated.
const REPEATED: Duration = Duration::from_secs(90);

/// The value of a key that exists.
async fn stands(store: &VaultStore, key: &str) -> String {
    let start = Instant::now();
    loop {
        match read(store, key).await {
            Ok(text) => break text,
            Err(Error::Unavailable { .. } | Error::Unreachable { .. })
                if start.elapsed() < REPEATED =>
            {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            Err(error) => panic!("{error}"),
        }
    }
}

/// Creates one key with all stores at once, `each` times with each, and returns the value of the
/// creator that succeeded.
pub(super) async fn race(stores: &[Arc<VaultStore>], key: &str, each: usize) -> String {
    let mut creators = JoinSet::new();
    for (at, store) in stores.iter().enumerate() {
        for again in 0..each {
            let (store, key) = (Arc::clone(store), name(key));
            creators.spawn(async move {
                let text = format!("value {again} of server {at}");
                let start = Instant::now();
                let mut unsure = false;
                loop {
                    match store.create(&key, &value(&text)).await {
                        Ok(()) => break Ok(text),
                        // On a busy machine, so many creates may take longer than the time limit of
                        // one. A create that fails for this has not created the key, and is
                        // repeated.
                        Err(Error::Locked { .. }) if start.elapsed() < REPEATED => {}
                        // Nor does a create that Vault did not complete in time say what became of
                        // it. Only then may the key that stands be its own.
                        Err(Error::Unavailable { reason })
                            if reason.contains("did not complete it")
                                && start.elapsed() < REPEATED =>
                        {
                            unsure = true;
                        }
                        Err(Error::Exists { .. })
                            if unsure && stands(&store, key.as_str()).await == text =>
                        {
                            break Ok(text);
                        }
                        Err(error) => break Err(error),
                    }
                }
            });
        }
    }
    let mut winners = Vec::new();
    for outcome in creators.join_all().await {
        match outcome {
            Ok(text) => winners.push(text),
            Err(Error::Exists { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(winners.len(), 1, "{winners:?}");
    winners.remove(0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_servers_exactly_one_succeeds() {
    const ROUNDS: usize = 6;
    for version in [KvVersion::V1, KvVersion::V2] {
        let world = World::new(version);
        let mut stores = Vec::new();
        for _ in 0..6 {
            stores.push(Arc::new(world.open().await));
        }
        for round in 0..ROUNDS {
            let key = format!("key-{round}");
            let winner = race(&stores, &key, 2).await;
            assert_eq!(read(&*stores[0], &key).await.unwrap(), winner);
        }
        assert_eq!(list(&*stores[0]).await.len(), ROUNDS);
        if version == KvVersion::V1 {
            assert_eq!(world.bao.root().list("kv/.kes-claims"), [""; 0], "no claim is left");
        }
    }
}

/// The policy grants the right to overwrite, and one server is slower than the other at every step:
/// only the create lock prevents that it overwrites the key.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_server_overwrites_nothing() {
    let world = World::new(KvVersion::V1);
    let rights = "[\"create\", \"update\", \"read\", \"delete\", \"list\"]";
    world.bao.root().write_policy("kes", &format!("path \"kv/*\" {{ capabilities = {rights} }}"));
    let relay = Relay::to(world.bao.address());
    relay.set_delay(Duration::from_millis(30));
    let slow_url = format!("http://{}", relay.address());
    let slow = Arc::new(open(config(&slow_url, KvVersion::V1, &world.role)).await);
    let fast = Arc::new(world.open().await);
    for round in 0..20 {
        let key = format!("key-{round}");
        let mut slow_first = JoinSet::new();
        let (store, of) = (Arc::clone(&slow), name(&key));
        slow_first.spawn(async move { store.create(&of, &value("slow")).await });
        // At some step of the slow server.
        tokio::time::sleep(Duration::from_millis(round * 13)).await;
        let second = fast.create(&name(&key), &value("fast")).await;
        let first = slow_first.join_next().await.unwrap().unwrap();
        let stands = read(&*fast, &key).await.unwrap();
        match (first, second) {
            (Ok(()), Err(Error::Exists { .. })) => assert_eq!(stands, "slow"),
            (Err(Error::Exists { .. }), Ok(())) => assert_eq!(stands, "fast"),
            other => panic!("round {round}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn the_claim_of_a_server_that_died_long_ago_is_removed() {
    let world = World::new(KvVersion::V1);
    let claim = "kv/.kes-claims/k/0000";
    world.bao.root().write(claim, &json!({ "created": "1700000000" }));
    let store = world.open().await;
    create(&store, "k").await.unwrap();
    assert_eq!(world.bao.root().read(claim), None);
}

#[tokio::test]
async fn a_claim_that_may_live_is_respected() {
    let world = World::new(KvVersion::V1);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let claim = "kv/.kes-claims/k/0000";
    world.bao.root().write(claim, &json!({ "created": now.as_secs().to_string() }));
    let server = world.bao.admin_address();
    let node = Faulty::start(move |_: &Request| Reply::Forward(server));
    let store = Arc::new(open(config(&node.url(), KvVersion::V1, &world.role)).await);
    let creator = Arc::clone(&store);
    let created = tokio::spawn(async move { create(&*creator, "k").await });
    // It has tried to get the create lock, released its claim, and tried again.
    kes_testkit::wait::eventually_async(Duration::from_secs(8), "it claims twice", async || {
        let requests = node.requests();
        let claims = requests.iter().filter(|request| {
            request.method == "POST" && request.path().starts_with("/v1/kv/.kes-claims/k/")
        });
        claims.count() >= 2
    })
    .await;
    assert_eq!(world.bao.root().read("kv/k"), None);
    // The server with the other claim finishes.
    world.bao.root().delete(claim);
    created.await.unwrap().unwrap();

    // The server with the other claim never finishes.
    world
        .bao
        .root()
        .write("kv/.kes-claims/l/0000", &json!({ "created": now.as_secs().to_string() }));
    let error = create(&*store, "l").await.unwrap_err();
    assert!(matches!(error, Error::Locked { .. }), "{error:?}");
    assert_eq!(world.bao.root().read("kv/l"), None);
}

/// A claim says whether its server may overwrite keys, where Vault can be asked for that.
#[tokio::test]
async fn a_claim_says_whether_its_server_may_overwrite_keys() {
    let world = World::new(KvVersion::V1);
    let server = world.bao.admin_address();
    let node = Faulty::start(move |_: &Request| Reply::Forward(server));
    let root = world.bao.root();
    let said = |key: &str| {
        let path = format!("/v1/kv/.kes-claims/{key}/");
        let requests = node.requests();
        let claim = requests.iter().find(|asked| {
            asked.method == "POST" && asked.path().starts_with(&path) && asked.body.len() > 2
        });
        let claim: serde_json::Value = serde_json::from_slice(&claim.unwrap().body).unwrap();
        claim["overwrites"].as_str().map(str::to_owned)
    };
    let store = open(config(&node.url(), KvVersion::V1, &world.role)).await;
    create(&store, "k").await.unwrap();
    assert_eq!(said("k").as_deref(), Some("no"));
    let rights = |all: &str| format!("path \"kv/*\" {{ capabilities = [{all}] }}");
    root.write_policy("kes", &rights(r#""create", "update", "read", "delete", "list""#));
    create(&store, "l").await.unwrap();
    assert_eq!(said("l"), None);
    root.write_policy("kes", &rights(r#""create", "read", "delete", "list""#));
    // A token without the policy `default` may not ask.
    root.change_role("approle", "kes", &json!({ "token_no_default_policy": true }));
    let store = open(config(&node.url(), KvVersion::V1, &world.role)).await;
    create(&store, "m").await.unwrap();
    assert_eq!(said("m"), None);
}

/// A server died in the middle of a create. If it may not overwrite keys, its claim counts for a
/// shorter time.
#[tokio::test]
async fn the_claim_of_a_server_that_may_not_overwrite_is_soon_dead() {
    let world = World::new(KvVersion::V1);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let claim = "kv/.kes-claims/k/0000";
    let made = json!({ "created": now.as_secs().to_string(), "overwrites": "no" });
    world.bao.root().write(claim, &made);
    let store = world.open().await;
    let start = Instant::now();
    let mut refused = 0;
    while let Err(error) = create(&store, "k").await {
        assert!(matches!(error, Error::Locked { .. }), "{error:?}");
        refused += 1;
        assert!(start.elapsed() < Duration::from_secs(90), "{error:?}");
    }
    assert!(refused > 0 && start.elapsed() > Duration::from_secs(14), "{:?}", start.elapsed());
    assert_eq!(read(&store, "k").await.unwrap(), STORED);
    assert_eq!(world.bao.root().read(claim), None);
}

/// Vault carries the write out, and the answer is lost.
#[tokio::test]
async fn a_create_whose_answer_is_lost_knows_that_it_won() {
    for version in [KvVersion::V1, KvVersion::V2] {
        let world = World::new(version);
        let server = world.bao.admin_address();
        let path = if version == KvVersion::V1 { "/v1/kv/k" } else { "/v1/kv/data/k" };
        let lost = AtomicBool::new(false);
        let node = Faulty::start(move |request: &Request| {
            let first = request.method == "POST"
                && request.path() == path
                && !lost.swap(true, Ordering::Relaxed);
            if first { Reply::ForwardAndReset(server) } else { Reply::Forward(server) }
        });
        let store = open(config(&node.url(), version, &world.role)).await;
        create(&store, "k").await.unwrap();
        assert_eq!(read(&store, "k").await.unwrap(), STORED);
        assert!(matches!(create(&store, "k").await, Err(Error::Exists { .. })));
    }
}

/// A client that disconnects during a create leaves no claim behind.
#[tokio::test]
async fn an_abandoned_create_is_finished() {
    let world = World::new(KvVersion::V1);
    let store = open(Vault { prefix: "p".to_owned(), ..world.config() }).await;
    read(&store, "k").await.unwrap_err();
    for millis in 0..10 {
        let key = format!("k{millis}");
        let limit = Duration::from_millis(millis);
        let _ = tokio::time::timeout(limit, create(&store, &key)).await;
    }
    kes_testkit::wait::eventually_async(Duration::from_secs(10), "no claim is left", async || {
        world.bao.root().list("kv/p/.kes-claims").is_empty() && list(&store).await.len() == 10
    })
    .await;
}

/// Vault goes away during a create and comes back: the name is soon free again or has the key. A
/// claim is left where a write of the key may still be carried out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_in_the_middle_of_a_create_keeps_no_name() {
    // At which request it goes away, whether it has carried that out, and whether the key exists
    // then.
    let claim = "/v1/kv/.kes-claims/k/";
    for (path, is_done, stands) in [
        (claim, true, false),
        (claim, false, false),
        ("/v1/kv/k", true, true),
        ("/v1/kv/k", false, true),
    ] {
        let world = World::new(KvVersion::V1);
        let server = world.bao.admin_address();
        // It goes away once.
        let (begun, ended) = (AtomicBool::new(false), Arc::new(AtomicBool::new(false)));
        let is_back = Arc::clone(&ended);
        let node = Faulty::start(move |request: &Request| {
            let begins = request.method == "POST" && request.path().starts_with(path);
            if begins && !begun.swap(true, Ordering::Relaxed) {
                if is_done { Reply::ForwardAndReset(server) } else { Reply::Reset }
            } else if begun.load(Ordering::Relaxed) && !is_back.load(Ordering::Relaxed) {
                Reply::Reset
            } else {
                Reply::Forward(server)
            }
        });
        let store = open(config(&node.url(), KvVersion::V1, &world.role)).await;
        let error = create(&store, "k").await.unwrap_err();
        assert!(matches!(error, Error::Unreachable { .. }), "{path}: {error:?}");
        ended.store(true, Ordering::Relaxed);
        let other = world.open().await;
        let is_in_order = async || {
            let root = world.bao.root();
            if stands {
                root.read("kv/k").is_some()
            } else {
                root.list("kv/.kes-claims").is_empty()
            }
        };
        kes_testkit::wait::eventually_async(
            Duration::from_secs(20),
            "all is in order",
            is_in_order,
        )
        .await;
        match create(&other, "k").await {
            Ok(()) => assert!(!stands, "{path}, {is_done}"),
            Err(Error::Exists { .. }) => assert!(stands, "{path}, {is_done}"),
            Err(error) => panic!("{path}, {is_done}: {error}"),
        }
        assert_eq!(read(&other, "k").await.unwrap(), STORED);
    }
}
