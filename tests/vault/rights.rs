//! MinIO and its operator under each policy that operators were told to grant, and with a
//! configuration for another version of the KV engine than the engine's.

use std::time::Duration;

use kes_testkit::bao::KvPolicy;
use kes_testkit::wait;
use serde_json::json;

use super::stored::{AES256, StoredKey};
use super::work::{generate, open};
use super::world::{Layout, Policy, World, told_nothing_of};
use crate::harness::{self, Client, Protocol, Server, Who};

#[test]
fn kv_v1() {
    serves(KvPolicy::V1, false);
}

#[test]
fn kv_v1_of_a_tenant() {
    serves(KvPolicy::V1Tenant, true);
}

#[test]
fn kv_v2() {
    serves(KvPolicy::V2, true);
}

#[test]
fn kv_v2_of_a_tenant() {
    serves(KvPolicy::V2Tenant, false);
}

/// All operations, on two servers.
fn serves(policy: KvPolicy, transit: bool) {
    let world = World::new(Layout {
        version: policy.version(),
        engine: "nested/kv",
        prefix: policy.prefix(),
        transit,
        tls: false,
        policy: Policy::Documented(policy),
        ..Layout::V1
    });
    let servers = [world.serve(), world.serve()];
    harness::run(async {
        let mut clients = Vec::new();
        for server in &servers {
            clients.push((
                server.client(Who::Minio, Protocol::H2).await,
                server.client(Who::Other, Protocol::H2).await,
            ));
        }
        // Servers do not tell each other what they have in memory: each has its key.
        for (at, key) in [(0, "k0"), (1, "k1")] {
            let (minio, operator) = (&mut clients[at].0.share(), &mut clients[at].1.share());
            let other = &mut clients[1 - at].0.share();
            let missing = (404, "key does not exist".to_owned());
            assert_eq!(put(minio, "generate", key).await, missing);
            assert_eq!(delete(operator, key).await, 200, "of what is not there");
            assert_eq!(put(minio, "create", key).await, (200, String::new()));
            let exists = (400, "key already exists".to_owned());
            for client in [&mut *minio, &mut *other] {
                assert_eq!(put(client, "create", key).await, exists);
                let made = generate(client, key, "context").await;
                open(client, key, &made).await;
                let reply = client.send("GET", "/v1/key/list/*", "").await;
                if policy.lists() {
                    assert_eq!((reply.status, reply.json()), (200, json!({ "names": [key] })));
                } else {
                    assert_eq!(reply.error(), (502, "failed to list keys".to_owned()));
                }
            }
            assert_eq!(delete(operator, key).await, 200);
            assert_eq!(put(minio, "generate", key).await, missing);
        }
    });
    for server in &servers {
        let log = || server.stderr().replace("\\\"", "\"");
        let of = |text: &str| log().lines().filter(|line| line.contains(text)).count();
        if policy.lists() {
            told_nothing_of(server, &["ERROR", "may both succeed"]);
            continue;
        }
        // Each listing that is refused is told with its reason, and what is lost is said once.
        let refused = "answers 403 Forbidden to GET nested/kv/tenant/minio?list=true";
        let limit = Duration::from_secs(30);
        wait::eventually(limit, "both refusals are told", || of(refused) == 2);
        assert_eq!(of("grant \"list\" on \"nested/kv/tenant/minio/*\""), 2, "{}", log());
        assert_eq!(of("may both succeed"), 1, "{}", log());
        let claims = "\"list\" on \"nested/kv/tenant/minio/.kes-claims/*\"";
        assert_eq!(of(claims), 1, "{}", log());
    }
}

/// `vault secrets enable kv` makes version 1. The reference takes it for version 2 if it is told
/// so, and its keys stand where that puts them.
#[test]
fn keys_for_version_2_in_an_engine_of_version_1() {
    let world = World::new(Layout { tls: false, prefix: "minio", ..Layout::V1 });
    let key = StoredKey {
        key: [7; 32],
        cipher: AES256,
        hmac_key: [8; 32],
        hash: 1,
        seconds: 1_700_000_000,
        nanos: 1,
        created_by: "a0".repeat(32),
    };
    let secret = json!({ "data": { "k": key.encode() }, "options": { "cas": 0 } });
    world.space().write("kv/data/minio/k", &secret);
    let config = world.config();
    let keystore =
        world.keystore(&world.bao.url(), "${APPROLE_SECRET}").replace("\"v1\"", "\"v2\"");
    let server = Server::with(&config.with("keystore", &keystore));
    harness::run(async {
        let mut minio = server.client(Who::Minio, Protocol::H2).await;
        let mut operator = server.client(Who::Other, Protocol::H2).await;
        let made = generate(&mut minio, "k", "context").await;
        open(&mut minio, "k", &made).await;
        let exists = (400, "key already exists".to_owned());
        assert_eq!(put(&mut minio, "create", "k").await, exists);
        assert_eq!(put(&mut minio, "create", "new").await, (200, String::new()));
        let reply = minio.send("GET", "/v1/key/list/*", "").await;
        assert_eq!(reply.json(), json!({ "names": ["k", "new"] }));
        assert_eq!(world.space().list("kv/data/minio"), ["k", "new"]);
        assert_eq!(delete(&mut operator, "k").await, 200);
        assert_eq!(world.space().list("kv/data/minio"), ["new"]);
    });
    // Nobody is told to write what would hide the keys.
    server.wait_for_stderr("leave both as they are");
    let log = server.stderr() + &server.stdout();
    for advice in ["version: v1", "version` to", "'version' to"] {
        assert!(!log.contains(advice), "{log}");
    }
    told_nothing_of(&server, &["ERROR"]);
}

#[test]
fn a_key_that_is_damaged_is_told_with_the_store() {
    let world = World::new(Layout { tls: false, ..Layout::V1 });
    world.put("k", "no stored key");
    let server = world.serve();
    harness::run(async {
        let mut minio = server.client(Who::Minio, Protocol::H2).await;
        assert_eq!(put(&mut minio, "generate", "k").await, (502, "failed to read key".to_owned()));
    });
    server.wait_for_stderr("key store: vault: key 'k' is damaged: ");
}

async fn put(client: &mut Client, verb: &str, key: &str) -> (u16, String) {
    let reply = client.send("PUT", &format!("/v1/key/{verb}/{key}"), "{}").await;
    if reply.status == 200 { (200, String::new()) } else { reply.error() }
}

async fn delete(client: &mut Client, key: &str) -> u16 {
    client.send("DELETE", &format!("/v1/key/delete/{key}"), "").await.status
}
