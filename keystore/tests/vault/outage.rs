//! Outages of Vault. The store recovers without a restart.

use std::time::{Duration, Instant};

use kes_keystore::config::{KvVersion, Vault, VaultTls};
use kes_keystore::vault::VaultStore;
use kes_keystore::{Error, KeyStore, Limit, State};
use kes_testkit::Authority;
use kes_testkit::bao::RoleCredentials;
use kes_testkit::faulty::{Faulty, Mode, Relay, Reply, Request};
use kes_testkit::wait::eventually_async;
use serde_json::json;

use super::login::join_all;
use super::transport::{stub, well};
use super::world::{STORED, World, config, create, delete, is_reachable, list, open, read};

/// The longest time until the store has recovered: some 0.5 s on an idle machine. It is less than
/// the configured 15 s between two checks, so a store that checks too seldom fails the test.
const RECOVERY: Duration = Duration::from_secs(12);

/// Less than the 15 s of a route.
const ANSWER: Duration = Duration::from_secs(14);

async fn recovers(store: &VaultStore) {
    eventually_async(RECOVERY, "it reads again", async || read(store, "k").await.is_ok()).await;
    eventually_async(RECOVERY, "it says so", async || is_reachable(store)).await;
}

/// The store notices the outage without any call.
async fn notices_recovery(store: &VaultStore) {
    eventually_async(RECOVERY, "it says so", async || is_reachable(store)).await;
    assert_eq!(read(store, "k").await.unwrap(), STORED);
}

async fn is_unreachable(store: &VaultStore) {
    let start = Instant::now();
    let error = read(store, "k").await.unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error:?}");
    assert!(start.elapsed() < ANSWER, "{:?}", start.elapsed());
    assert_eq!(store.state(), State::Unreachable);
}

#[tokio::test]
async fn sealed_and_unsealed() {
    let world = World::new(KvVersion::V1);
    let store = world.open().await;
    create(&store, "k").await.unwrap();
    world.bao.seal();
    is_unreachable(&store).await;
    let text = read(&store, "k").await.unwrap_err().to_string();
    assert!(text.contains("is sealed"), "{text}");
    assert!(matches!(create(&store, "l").await, Err(Error::Unreachable { .. })));
    assert!(matches!(delete(&store, "k").await, Err(Error::Unreachable { .. })));
    world.bao.unseal();
    recovers(&store).await;
}

#[tokio::test]
async fn killed_and_started_again() {
    let mut world = World::durable(KvVersion::V2);
    let store = world.open().await;
    create(&store, "k").await.unwrap();
    for _ in 0..2 {
        world.bao.kill();
        is_unreachable(&store).await;
        world.bao.start_again();
        is_unreachable(&store).await; // sealed
        world.bao.unseal();
        recovers(&store).await;
    }
    world.bao.kill();
    is_unreachable(&store).await;
    // Vault is down for longer than the check that the failure caused.
    tokio::time::sleep(Duration::from_secs(1)).await;
    world.bao.start_again();
    world.bao.unseal();
    notices_recovery(&store).await;
}

#[tokio::test]
async fn a_restart_that_no_call_meets_fails_none() {
    let mut world = World::durable(KvVersion::V1);
    let store = world.open().await;
    create(&store, "k").await.unwrap();
    for result in join_all((0..16).map(|_| read(&store, "k"))).await {
        result.unwrap();
    }
    // All connections of the pool are dead now.
    world.bao.restart();
    for result in join_all((0..16).map(|_| read(&store, "k"))).await {
        assert_eq!(result.unwrap(), STORED);
    }
}

#[tokio::test]
async fn started_after_us() {
    let mut world = World::durable(KvVersion::V1);
    world.bao.root().write("kv/k", &json!({ "k": STORED }));
    world.bao.kill();
    let store = world.open().await;
    is_unreachable(&store).await;
    world.bao.start_again();
    world.bao.unseal();
    notices_recovery(&store).await;
}

#[tokio::test]
async fn not_initialised() {
    let node = Faulty::start(|request: &Request| match request.path() {
        "/v1/sys/health" => Reply::json(501, json!({ "initialized": false, "sealed": true })),
        _ => Reply::json(503, json!({ "errors": ["Vault is sealed"] })),
    });
    let store = stub(&node).await;
    assert_eq!(store.state(), State::Unreachable);
    is_unreachable(&store).await;
}

#[tokio::test]
async fn a_standby_without_a_leader_is_not_available() {
    let node = Faulty::start(|request: &Request| match request.path() {
        "/v1/sys/health" => {
            Reply::json(200, json!({ "initialized": true, "sealed": false, "standby": true }))
        }
        "/v1/sys/leader" => Reply::json(200, json!({ "leader_address": "" })),
        _ => Reply::json(500, json!({ "errors": ["local node not active"] })),
    });
    assert_eq!(stub(&node).await.state(), State::Unavailable);
}

/// A node that has just started learns of the leader a little later than the others.
#[tokio::test]
async fn another_node_is_asked_where_one_knows_no_leader() {
    let world = World::new(KvVersion::V1);
    let node = Faulty::start(|request: &Request| match request.path() {
        "/v1/sys/health" => well(request),
        _ => Reply::json(
            500,
            json!({ "errors": ["local node not active but active cluster node not found"] }),
        ),
    });
    let nodes = vec![node.url().parse().unwrap(), world.bao.url().parse().unwrap()];
    let store = open(Vault { endpoints: nodes, ..world.config() }).await;
    // Including requests that are not safe to repeat: a login, and a write.
    create(&store, "k").await.unwrap();
    assert_eq!(read(&store, "k").await.unwrap(), STORED);
    delete(&store, "k").await.unwrap();
    let logins = store.logins().unwrap();
    assert_eq!((logins.succeeded, logins.failed), (1, 0), "{:?}", node.requests());
}

/// The process is stopped: connections stay open, and no request is answered.
#[tokio::test]
async fn frozen() {
    let world = World::new(KvVersion::V1);
    let store = world.open().await;
    create(&store, "k").await.unwrap();
    world.bao.freeze();
    let start = Instant::now();
    let (read, created, deleted, listed) = tokio::join!(
        read(&store, "k"),
        create(&store, "l"),
        // Vault carries out a request that it has received when it continues.
        delete(&store, "m"),
        store.list(&kes_api::ListPattern::ALL, Limit::names(10)),
    );
    assert!(start.elapsed() < ANSWER, "{:?}", start.elapsed());
    for error in
        [read.unwrap_err(), created.unwrap_err(), deleted.unwrap_err(), listed.unwrap_err()]
    {
        assert!(matches!(error, Error::Unreachable { .. }), "{error:?}");
    }
    assert_eq!(store.state(), State::Unreachable);
    world.bao.thaw();
    recovers(&store).await;
}

/// A firewall drops the state of connections: those of the pool are dead without notice, new ones
/// work.
#[tokio::test]
async fn a_dead_connection_is_replaced_within_the_call() {
    let world = World::new(KvVersion::V1);
    let relay = Relay::to(world.bao.address());
    let url = format!("http://{}", relay.address());
    let store = open(config(&url, KvVersion::V1, &world.role)).await;
    create(&store, "k").await.unwrap();
    relay.set(Mode::HoldOpen);
    let start = Instant::now();
    assert_eq!(read(&store, "k").await.unwrap(), STORED);
    assert!(start.elapsed() < ANSWER, "{:?}", start.elapsed());
    // The other connections of the pool are not tried: each would take the 5 s of an answer.
    let start = Instant::now();
    for result in join_all((0..8).map(|_| read(&store, "k"))).await {
        assert_eq!(result.unwrap(), STORED);
    }
    assert!(start.elapsed() < Duration::from_millis(4_900), "{:?}", start.elapsed());
}

#[tokio::test]
async fn connections_that_are_reset() {
    let world = World::new(KvVersion::V1);
    let relay = Relay::to(world.bao.address());
    let url = format!("http://{}", relay.address());
    let store = open(config(&url, KvVersion::V1, &world.role)).await;
    create(&store, "k").await.unwrap();
    relay.set(Mode::Cut);
    is_unreachable(&store).await;
    relay.set(Mode::Pass);
    recovers(&store).await;
}

#[tokio::test]
async fn started_again_with_a_new_certificate() {
    let authority = Authority::new();
    let mut world = World::with_tls(&authority, false);
    let tls =
        VaultTls { client: None, ca: Some(authority.certificate().into()), ..VaultTls::default() };
    let store = open(Vault { tls, ..world.config() }).await;
    create(&store, "k").await.unwrap();
    // Another key and certificate of the same CA, in the same file.
    let _ = authority.server("bao");
    world.bao.restart();
    recovers(&store).await;
}

/// Faults that a real server never has, with the result of the call and the state after it.
#[tokio::test]
async fn broken_answers_are_errors_in_time() {
    let html = |status| Reply::Proper {
        status,
        headers: Vec::new(),
        body: b"<html>hunter2</html>".to_vec(),
    };
    let faults: Vec<(&str, Reply, bool)> = vec![
        ("truncated", Reply::Truncated, true),
        ("endless", Reply::Endless, false),
        ("reset", Reply::Reset, true),
        ("hang", Reply::Hang, true),
        ("closed", Reply::Raw(Vec::new()), true),
        ("no HTTP", Reply::Raw(b"SSH-2.0-OpenSSH_9.2\r\n".to_vec()), true),
        ("no JSON", html(200), false),
        (
            "cut JSON",
            Reply::Proper {
                status: 200,
                headers: vec![],
                body: b"{\"data\":{\"k\":\"hunter2".to_vec(),
            },
            false,
        ),
        ("400", html(400), false),
        ("429", Reply::json(429, json!({ "errors": ["too many"] })), false),
        ("500", Reply::json(500, json!({ "errors": ["internal error"] })), false),
        ("502", html(502), false),
        ("503", html(503), true),
    ];
    let checks = faults.into_iter().map(|(what, reply, unreachable)| async move {
        let node = Faulty::start(move |request: &Request| match request.path() {
            "/v1/kv/k" | "/v1/kv" => reply.clone(),
            _ => well(request),
        });
        let store = stub(&node).await;
        let start = Instant::now();
        let page = store.list(&kes_api::ListPattern::ALL, Limit::names(10));
        let results =
            tokio::join!(read(&store, "k"), create(&store, "k"), delete(&store, "k"), page);
        let (read, created, deleted, page) = results;
        assert!(start.elapsed() < ANSWER, "{what}: {:?}", start.elapsed());
        let errors =
            [read.unwrap_err(), created.unwrap_err(), deleted.unwrap_err(), page.unwrap_err()];
        for error in errors {
            assert_eq!(
                matches!(error, Error::Unreachable { .. }),
                unreachable,
                "{what}: {error:?}"
            );
            assert!(matches!(error, Error::Unreachable { .. } | Error::Unavailable { .. }));
            let text = format!("{error} {error:?}");
            assert!(!text.contains("hunter2") && !text.contains("s.token"), "{what}: {text}");
        }
    });
    join_all(checks).await;
}

#[tokio::test]
async fn json_of_another_shape_is_an_error() {
    for data in [json!({ "k": { "hunter2": 1 } }), json!(["hunter2"]), json!({ "keys": [1] })] {
        let node = Faulty::start(move |request: &Request| match request.path() {
            "/v1/kv/k" | "/v1/kv" => Reply::json(200, json!({ "data": data })),
            _ => well(request),
        });
        let store = stub(&node).await;
        let page = store.list(&kes_api::ListPattern::ALL, Limit::names(10)).await;
        for error in [read(&store, "k").await.err(), page.err()].into_iter().flatten() {
            assert!(!matches!(error, Error::NotFound { .. }), "{error:?}");
            assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
        }
        assert!(read(&store, "k").await.is_err());
    }
}

#[tokio::test]
async fn an_enormous_listing_is_cut_off() {
    let node = Faulty::start(|request: &Request| match request.path() {
        "/v1/kv" => Reply::Proper { status: 200, headers: Vec::new(), body: vec![b' '; 33 << 20] },
        _ => well(request),
    });
    let store = stub(&node).await;
    let error = store.list(&kes_api::ListPattern::ALL, Limit::names(10)).await.unwrap_err();
    assert!(error.to_string().contains("longer than"), "{error}");
}

#[tokio::test]
async fn a_name_that_does_not_resolve_is_no_connection() {
    let world = World::new(KvVersion::V1);
    let url = "http://no-such-host.invalid:8200";
    let store = open(config(url, KvVersion::V1, &world.role)).await;
    is_unreachable(&store).await;
}

#[tokio::test]
async fn an_error_of_several_endpoints_names_what_each_of_them_said() {
    let sealed = Faulty::start(|_| Reply::json(503, json!({ "errors": ["Vault is sealed"] })));
    let reset = Faulty::start(|_| Reply::Reset);
    let role = RoleCredentials { role_id: "role".to_owned(), secret_id: "hidden".to_owned() };
    let mut config = config(&sealed.url(), KvVersion::V1, &role);
    config.endpoints.push(reset.url().parse().unwrap());
    config.endpoints.push("http://127.0.0.1:1".parse().unwrap());
    let store = open(config).await;
    let text = read(&store, "k").await.unwrap_err().to_string();
    for part in [
        format!("{} is sealed", sealed.url()),
        // If the answer to a login is lost, it may have been carried out, so no other endpoint is
        // asked.
        format!("no answer from {}", reset.url()),
    ] {
        assert!(text.contains(&part), "{part}: {text}");
    }
}

#[tokio::test]
async fn several_endpoints_are_tried_in_turn() {
    let mut first = World::new(KvVersion::V1);
    let second = World::new(KvVersion::V1);
    let relay = Relay::to(second.bao.address());
    for world in [&first, &second] {
        world.bao.root().write("kv/k", &json!({ "k": STORED }));
    }
    // The two are not a cluster, so the login is set up on both.
    let role = json!({ "role_id": first.role.role_id });
    second.bao.root().write("auth/approle/role/kes/role-id", &role);
    let secret = json!({ "secret_id": first.role.secret_id });
    second.bao.root().write("auth/approle/role/kes/custom-secret-id", &secret);
    let mut config = first.config();
    config.endpoints = vec![
        "http://127.0.0.1:1".parse().unwrap(), // nobody
        first.bao.url().parse().unwrap(),
        format!("http://{}", relay.address()).parse().unwrap(),
    ];
    let store = open(config).await;
    assert_eq!(read(&store, "k").await.unwrap(), STORED);
    create(&store, "l").await.unwrap();
    assert_eq!(relay.connections(), 0, "one that answers is stayed with");
    first.bao.seal();
    // The other one does not know the token, so the store logs in again.
    let start = Instant::now();
    assert_eq!(read(&store, "k").await.unwrap(), STORED);
    assert!(start.elapsed() < ANSWER, "{:?}", start.elapsed());
    first.bao.kill();
    assert_eq!(list(&store).await, ["k"]);
    assert!(is_reachable(&store));
}
