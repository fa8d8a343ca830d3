//! Pinned keys in Vault: a wrong prefix is found before anything is written, also if Vault is away
//! when the server starts.

use std::time::Duration;

use kes_testkit::wait;
use serde_json::Value;

use super::world::{Layout, World};
use crate::harness::{self, Client, Config, Protocol, Refused, Server, Who};

const PINNED: &str = "the key store does not have the pinned keys: key 'k' does not exist";

/// The configuration of a world, with `k` pinned.
fn pinning(world: &World, fingerprint: &str) -> Config {
    world.config().with("keys", &format!("[{{ name: k, fingerprint: {fingerprint} }}]"))
}

/// The same with the mistake that pins are for.
fn elsewhere(world: &World, fingerprint: &str) -> Config {
    let keystore = world.keystore(&world.bao.url(), "${APPROLE_SECRET}");
    let wrong = keystore.replace("prefix: \"\"", "prefix: \"minio\"");
    assert_ne!(wrong, keystore);
    pinning(world, fingerprint).with("keystore", &wrong)
}

/// Creates `k` with a server of its own.
async fn create(world: &World) -> String {
    let server = world.serve();
    let mut minio = server.client(Who::Minio, Protocol::H2).await;
    assert_eq!(minio.send("PUT", "/v1/key/create/k", "").await.status, 200);
    let mut operator = server.client(Who::Other, Protocol::H2).await;
    let key = operator.send("GET", "/v1/key/describe/k", "").await.json();
    key["fingerprint"].as_str().unwrap().to_owned()
}

async fn faults(client: &mut Client) -> Value {
    client.send("GET", "/v1/status", "").await.json()["pinned_key_faults"].take()
}

#[test]
fn a_wrong_prefix_is_found_before_anything_is_written_below_it() {
    for layout in [Layout::V1, Layout::V2] {
        let world = World::new(layout);
        harness::run(async {
            let fingerprint = create(&world).await;
            let Refused { status, stderr, .. } =
                Server::refused(&elsewhere(&world, &fingerprint), |_| {});
            assert_eq!(status, Some(1), "{stderr}");
            assert!(stderr.contains(PINNED), "{stderr}");

            // A server that works keeps its state.
            let server = Server::with(&pinning(&world, &fingerprint));
            server.reload(&elsewhere(&world, &fingerprint));
            server.wait_for_stderr(PINNED);
            server.wait_for_stderr("still using the previous configuration");
            let mut minio = server.client(Who::Minio, Protocol::H2).await;
            assert_eq!(minio.send("PUT", "/v1/key/generate/k", "").await.status, 200);
            let listed = minio.send("GET", "/v1/key/list/*", "").await.json();
            assert_eq!(listed["names"], serde_json::json!(["k"]));
        });
    }
}

#[test]
fn a_wrong_prefix_is_found_when_vault_is_back() {
    let mut world = World::new(Layout::V1);
    harness::run(async {
        let fingerprint = create(&world).await;
        world.bao.kill();
        let server = Server::with(&elsewhere(&world, &fingerprint));
        server.wait_for_stderr("pinned keys could not be checked");
        let mut minio = server.client(Who::Minio, Protocol::H2).await;
        assert_eq!(faults(&mut minio).await, Value::Null);
        world.bao.start_again();
        world.bao.unseal();
        wait::eventually_async(Duration::from_secs(60), "the fault is found", async || {
            faults(&mut minio.share()).await == 1
        })
        .await;
        server.wait_for_stderr("it is not used: key 'k' does not exist");
        let reply = minio.send("PUT", "/v1/key/create/k", "").await;
        assert_eq!(reply.error(), (502, "failed to create key".to_owned()));
        // Put right, it is served.
        server.reload_and_wait(&pinning(&world, &fingerprint));
        assert_eq!(faults(&mut minio).await, Value::Null);
        assert_eq!(minio.send("PUT", "/v1/key/generate/k", "").await.status, 200);
    });
}
