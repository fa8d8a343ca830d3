//! Vault is away for two seconds: no call fails, and each key is created exactly once.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use kes_api::ListPattern;
use kes_keystore::config::{KvVersion, Vault, VaultTls};
use kes_keystore::vault::VaultStore;
use kes_keystore::{Error, KeyStore, Limit, State};
use kes_testkit::Authority;
use kes_testkit::faulty::{Faulty, Mode, Relay, Reply, Request};
use kes_testkit::wait::eventually_async;
use serde_json::json;

use super::login::join_all;
use super::transport::{stub, well};
use super::world::{STORED, World, config, create, delete, open, read};

/// How long Vault is away.
const BLIP: Duration = Duration::from_secs(2);

/// A call that is made while Vault is away ends within this time. It takes some 3 s on an idle
/// machine.
const ANSWER: Duration = Duration::from_secs(14);

/// A call that does not wait ends within this time, on a busy machine too.
const AT_ONCE: Duration = Duration::from_secs(3);

/// How Vault is away.
const MODES: [Mode; 7] = [
    Mode::Refuse,
    Mode::Cut,
    Mode::Hold,
    Mode::Answer(429),
    Mode::Answer(500),
    Mode::Answer(502),
    Mode::Answer(503),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Doing {
    Read,
    Create,
    Delete,
    List,
    /// Vault is away at the first call of a store, which has no token yet.
    LogIn,
}

#[tokio::test]
async fn a_blip_fails_no_call_on_v1() {
    a_blip_fails_no_call(KvVersion::V1).await;
}

#[tokio::test]
async fn a_blip_fails_no_call_on_v2() {
    a_blip_fails_no_call(KvVersion::V2).await;
}

async fn a_blip_fails_no_call(version: KvVersion) {
    let world = World::new(version);
    let doings = [Doing::Read, Doing::Create, Doing::Delete, Doing::List, Doing::LogIn];
    let all = MODES.into_iter().flat_map(|mode| doings.map(|doing| (mode, doing)));
    join_all(all.map(|(mode, doing)| meets_a_blip(&world, version, mode, doing))).await;
}

async fn meets_a_blip(world: &World, version: KvVersion, mode: Mode, doing: Doing) {
    let case = format!("{mode:?} {doing:?}");
    let relay = Relay::to(world.bao.address());
    let prefix = case.to_lowercase().replace([' ', '(', ')'], "-");
    let mut config = config(&format!("http://{}", relay.address()), version, &world.role);
    config.prefix = prefix.clone();
    if doing == Doing::LogIn {
        let stored = world.open_at(&prefix).await;
        create(&stored, "k").await.unwrap();
        relay.set(mode);
    }
    let store = open(config).await;
    if doing != Doing::LogIn {
        create(&store, "k").await.unwrap();
        relay.set(mode);
    }
    let back = Arc::new(AtomicBool::new(false));
    let start = Instant::now();
    let call = async {
        match doing {
            Doing::Read | Doing::LogIn => {
                let result = read(&store, "k").await;
                result.map(|value| assert_eq!(value, STORED, "{case}"))
            }
            Doing::Create => create(&store, "l").await,
            Doing::Delete => delete(&store, "k").await,
            Doing::List => store.list(&ListPattern::ALL, Limit::names(10)).await.map(|page| {
                assert_eq!(page.names.len(), 1, "{case}");
            }),
        }
        .unwrap_or_else(|error| panic!("{case}: {error}"));
        assert!(back.load(Ordering::SeqCst), "{case}: Vault was never away");
        assert!(start.elapsed() < ANSWER, "{case}: {:?}", start.elapsed());
    };
    let blip = async {
        tokio::time::sleep(BLIP).await;
        back.store(true, Ordering::SeqCst);
        relay.set(Mode::Pass);
    };
    tokio::join!(call, blip);
    match doing {
        Doing::Create => {
            assert_eq!(read(&store, "l").await.unwrap(), STORED, "{case}");
            let again = create(&store, "l").await;
            assert!(matches!(again, Err(Error::Exists { .. })), "{case}: {again:?}");
        }
        Doing::Delete => {
            let gone = read(&store, "k").await;
            assert!(matches!(gone, Err(Error::NotFound { .. })), "{case}");
        }
        Doing::Read | Doing::List | Doing::LogIn => {}
    }
}

/// The first call waits in vain. The calls after it fail at once.
#[tokio::test]
async fn who_is_away_for_longer_is_not_waited_for() {
    let world = World::new(KvVersion::V1);
    let relay = Relay::to(world.bao.address());
    let url = format!("http://{}", relay.address());
    let store = open(config(&url, KvVersion::V1, &world.role)).await;
    create(&store, "k").await.unwrap();
    relay.set(Mode::Refuse);
    let start = Instant::now();
    let waited = create(&store, "l").await;
    assert!(matches!(waited, Err(Error::Unreachable { .. })), "{waited:?}");
    let took = start.elapsed();
    assert!(took > Duration::from_secs(4) && took < ANSWER, "{took:?}");
    assert_eq!(store.state(), State::Unreachable);
    let start = Instant::now();
    let page = store.list(&ListPattern::ALL, Limit::names(10));
    let results = tokio::join!(read(&store, "k"), create(&store, "l"), delete(&store, "k"), page);
    assert!(results.0.is_err() && results.1.is_err() && results.2.is_err() && results.3.is_err());
    assert!(start.elapsed() < AT_ONCE, "{:?}", start.elapsed());
    relay.set(Mode::Pass);
    eventually_async(ANSWER, "it reads again", async || read(&store, "k").await.is_ok()).await;
    // The next outage is a new one: calls wait again.
    relay.set(Mode::Refuse);
    tokio::join!(async { assert_eq!(read(&store, "k").await.unwrap(), STORED) }, async {
        tokio::time::sleep(BLIP).await;
        relay.set(Mode::Pass);
    });
}

/// No call waits if a certificate is not trusted.
#[tokio::test]
async fn a_certificate_that_is_not_trusted_is_not_waited_for() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let world = World::with_tls(&authority, false);
    let tls = VaultTls { ca: Some(stranger.certificate().into()), ..VaultTls::default() };
    let store = open(Vault { tls, ..world.config() }).await;
    let start = Instant::now();
    let page = store.list(&ListPattern::ALL, Limit::names(10));
    let results = tokio::join!(read(&store, "k"), create(&store, "l"), delete(&store, "k"), page);
    assert!(start.elapsed() < AT_ONCE, "{:?}", start.elapsed());
    for error in [
        results.0.unwrap_err(),
        results.1.unwrap_err(),
        results.2.unwrap_err(),
        results.3.unwrap_err(),
    ] {
        assert!(matches!(error, Error::Unreachable { .. }), "{error:?}");
        // Both CAs have the same name.
        let told = "its issuer has the name of a trusted CA, but another key";
        assert!(error.to_string().contains(told), "{error}");
    }
    assert_eq!(store.state(), State::Unreachable);
}

/// If one node has a certificate that is not trusted, a call still waits for the other node.
#[tokio::test]
async fn beside_a_node_that_is_not_trusted_another_one_is_asked_and_waited_for() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let (world, untrusted) =
        (World::with_tls(&authority, false), World::with_tls(&stranger, false));
    let relay = Relay::to(world.bao.address());
    let trusted = format!("https://{}", relay.address());
    let orders = [[trusted.clone(), untrusted.bao.url()], [untrusted.bao.url(), trusted]];
    let mut stores = Vec::new();
    for order in orders {
        let tls = VaultTls { ca: Some(authority.certificate().into()), ..VaultTls::default() };
        let endpoints = order.iter().map(|url| url.parse().unwrap()).collect();
        stores.push(open(Vault { endpoints, tls, ..world.config() }).await);
    }
    create(&stores[0], "k").await.unwrap();
    for store in &stores {
        assert_eq!(read(store, "k").await.unwrap(), STORED);
    }
    relay.set(Mode::Refuse);
    tokio::join!(
        async {
            for found in join_all(stores.iter().map(|store| read(store, "k"))).await {
                assert_eq!(found.unwrap(), STORED);
            }
        },
        async {
            tokio::time::sleep(BLIP).await;
            relay.set(Mode::Pass);
        }
    );
}

/// Vault reports itself healthy and fails each call: after a while, calls fail at once.
#[tokio::test]
async fn calls_that_fail_beside_a_good_health_are_not_waited_for_for_ever() {
    let node = Faulty::start(|request: &Request| match request.path() {
        path if path.starts_with("/v1/kv") => Reply::json(500, json!({ "errors": ["disk"] })),
        _ => well(request),
    });
    let store = stub(&node).await;
    let start = Instant::now();
    assert!(read(&store, "k").await.is_err());
    assert!(start.elapsed() > Duration::from_secs(4), "{:?}", start.elapsed());
    let asked = node.requests().iter().filter(|request| request.path() == "/v1/kv/k").count();
    assert!(asked <= 16, "{asked} tries of one call");
    let start = Instant::now();
    assert!(read(&store, "k").await.is_err());
    assert!(start.elapsed() < AT_ONCE, "{:?}", start.elapsed());
}

/// Vault carries the write out, the answer is lost, and Vault is away: the create still succeeds.
#[tokio::test]
async fn a_create_whose_answer_is_lost_in_a_blip_is_a_success() {
    join_all([KvVersion::V1, KvVersion::V2].map(|version| async move {
        let world = World::new(version);
        let (node, _) = between(&world, "k", BLIP, Reply::ForwardAndReset);
        let store = open(config(&node.url(), version, &world.role)).await;
        create(&store, "k").await.unwrap();
        assert_eq!(read(&store, "k").await.unwrap(), STORED);
    }))
    .await;
}

/// Vault carries the write out and answers 503: the create still succeeds.
#[tokio::test]
async fn a_create_that_was_carried_out_and_refused_is_a_success() {
    join_all([KvVersion::V1, KvVersion::V2].map(|version| async move {
        let world = World::new(version);
        let lost = |server| Reply::ForwardAndAnswer(server, 503);
        let (node, _) = between(&world, "k", Duration::ZERO, lost);
        let store = open(config(&node.url(), version, &world.role)).await;
        create(&store, "k").await.unwrap();
        assert_eq!(read(&store, "k").await.unwrap(), STORED);
    }))
    .await;
}

/// Another program creates the key while a create waits for Vault: its value is not overwritten.
#[tokio::test]
async fn a_create_that_waited_never_overwrites() {
    join_all([KvVersion::V1, KvVersion::V2].map(|version| async move {
        let world = World::new(version);
        let (node, is_away) = between(&world, "k", BLIP, |_| Reply::Reset);
        let store = open(config(&node.url(), version, &world.role)).await;
        let other = async {
            let met = || is_away.load(Ordering::SeqCst);
            eventually_async(ANSWER, "the write is lost", async || met()).await;
            let secret = json!({ "k": "another" });
            match version {
                KvVersion::V1 => world.bao.root().write("kv/k", &secret),
                KvVersion::V2 => world.bao.root().write("kv/data/k", &json!({ "data": secret })),
            };
        };
        let (created, ()) = tokio::join!(create(&store, "k"), other);
        assert!(matches!(created, Err(Error::Exists { .. })), "{version:?}: {created:?}");
        assert_eq!(read(&store, "k").await.unwrap(), "another", "{version:?}");
    }))
    .await;
}

/// A server in front of a real one. It loses the first write of a key as `lost` says, and then
/// resets all connections for `time`.
fn between(
    world: &World,
    key: &'static str,
    time: Duration,
    lost: fn(SocketAddr) -> Reply,
) -> (Faulty, Arc<AtomicBool>) {
    let server = world.bao.address();
    let since = Arc::new(OnceLock::<Instant>::new());
    let is_away = Arc::new(AtomicBool::new(false));
    let away = Arc::clone(&is_away);
    let node = Faulty::start(move |request: &Request| match since.get() {
        Some(since) if since.elapsed() < time => Reply::Reset,
        None if is_write(request, key) => {
            let _ = since.set(Instant::now());
            away.store(true, Ordering::SeqCst);
            lost(server)
        }
        _ => Reply::Forward(server),
    });
    (node, is_away)
}

fn is_write(request: &Request, key: &str) -> bool {
    let ours = [format!("/v1/kv/{key}"), format!("/v1/kv/data/{key}")];
    request.method == "POST" && ours.iter().any(|path| path == request.path())
}

/// Many calls wait: Vault gets few requests while it is away, and no burst when it is back.
#[tokio::test]
async fn many_that_wait_are_no_storm() {
    const CALLERS: usize = 200;
    let start = Instant::now();
    let node = Faulty::start(move |request: &Request| {
        if start.elapsed() < BLIP { Reply::json(503, json!({})) } else { well(request) }
    });
    let store: VaultStore = stub(&node).await;
    let reads = (0..CALLERS).map(|at| {
        let (store, name) = (&store, format!("k{at}"));
        async move { read(store, &name).await }
    });
    for result in join_all(reads).await {
        assert!(matches!(result, Err(Error::NotFound { .. })), "{result:?}");
    }
    let asked = node.requests().len();
    // One request of each call when Vault is back, and those of the login, of the waiting calls
    // that try, and of the checks.
    assert!(asked < 2 * CALLERS, "{asked} requests for {CALLERS} calls");
}
