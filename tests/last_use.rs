//! When a key was last used, and by whom (contract `api.md`, Last use).

use std::time::Duration;

use kes_api::Timestamp;
use kes_testkit::wait::eventually_async;
use serde_json::Value;

use crate::harness::{self, Client, Config, Exposition, Protocol, Raw, Server, Successors, Who};

/// How long something may take before a test fails.
const PATIENCE: Duration = Duration::from_secs(60);

const FIELDS: [&str; 3] = ["last_used_at", "last_used_by", "uses_known_since"];

/// What a description of `k` says of its uses.
async fn uses(client: &mut Client) -> [Option<String>; 3] {
    let reply = client.send("GET", "/v1/key/describe/k", "").await;
    assert_eq!(reply.status, 200, "{reply:?}");
    let key = reply.json();
    FIELDS.map(|field| key.get(field).map(|value: &Value| value.as_str().unwrap().to_owned()))
}

fn time(text: &Option<String>) -> Timestamp {
    Timestamp::parse(text.as_deref().unwrap()).unwrap()
}

async fn generate(client: &mut Client) {
    assert_eq!(client.send("PUT", "/v1/key/generate/k", "").await.status, 200);
}

async fn admin_with_key(server: &Server) -> Client {
    let mut admin = server.client(Who::Admin, Protocol::H2).await;
    assert_eq!(admin.send("PUT", "/v1/key/create/k", "").await.status, 200);
    admin
}

#[test]
fn who_may_delete_a_key_is_told_its_last_use_and_nobody_else() {
    const POLICY: &str = "
  minio:
    allow: [/v1/key/generate/*, /v1/key/describe/*, /v1/key/delete/*]
    deny: [/v1/key/delete/k]
    identities: [\"${MINIO}\"]
  other:
    allow: [/v1/key/describe/k, /v1/key/delete/k]
    identities: [\"${OTHER}\"]";
    harness::run(async {
        let config = Config::usual()
            .with("policy", POLICY)
            .with("api", "{ /v1/key/describe/: { skip_auth: true } }");
        let server = Server::with(&config);
        let mut admin = admin_with_key(&server).await;
        let mut minio = server.client(Who::Minio, Protocol::H2).await;
        let mut other = server.client(Who::Other, Protocol::H2).await;
        let mut nobody = server.client(Who::Nobody, Protocol::H2).await;

        let [at, by, since] = uses(&mut admin).await;
        assert_eq!((at, by), (None, None), "a description is no use");
        generate(&mut minio).await;
        for client in [&mut admin, &mut other] {
            let [at, by, still_since] = uses(client).await;
            assert_eq!(by, Some(server.minio.identity.clone()));
            assert_eq!(at.unwrap().len(), "2026-01-01T00:00:00Z".len());
            assert_eq!(still_since, since);
        }
        for client in [&mut minio, &mut nobody] {
            assert_eq!(uses(client).await, [None, None, None]);
        }
    });
}

#[test]
fn uses_outlast_a_reload_and_each_start_begins_anew() {
    harness::run(async {
        let mut server = Server::start();
        let mut admin = admin_with_key(&server).await;
        generate(&mut admin).await;
        let used = uses(&mut admin).await;
        assert!(used.iter().all(Option::is_some), "{used:?}");
        server.reload_and_wait(&Config::usual().with("cache", "{ expiry: { unused: 1h } }"));
        assert_eq!(uses(&mut admin).await, used);

        server.restart();
        let mut admin = server.client(Who::Admin, Protocol::H2).await;
        let [at, by, since] = uses(&mut admin).await;
        assert_eq!((at, by), (None, None));
        assert!(time(&since) > time(&used[2]), "{since:?} {used:?}");
    });
}

/// It has the keys of the one before in memory, and not what that one used them for until it ended.
#[test]
fn a_process_that_takes_over_knows_uses_from_then_on() {
    harness::run(async {
        let server = Server::start();
        let mut admin = admin_with_key(&server).await;
        generate(&mut admin).await;
        let used = uses(&mut admin).await;
        // A request that the old process has begun, and ends after the new one has begun to serve.
        let mut slow = Raw::connect(&server, Who::Admin).await;
        slow.write("PUT /v1/key/generate/k HTTP/1.1\r\nhost: kes\r\ncontent-length: 2\r\n\r\n")
            .await;
        eventually_async(PATIENCE, "the request is under way", || {
            let mut admin = admin.share();
            async move { Exposition::of(&mut admin).await.value("kes_http_request_active") == 2.0 }
        })
        .await;
        let mut successors = Successors::of(&server);
        successors.hand_over(&server).await;
        let mut admin = server.client(Who::Admin, Protocol::H2).await;
        let [at, by, since] = uses(&mut admin).await;
        assert_eq!((at, by), (None, None));
        assert!(time(&since) > time(&used[2]), "{since:?} {used:?}");
        slow.write("{}").await;
        assert_eq!(slow.status().await, 200);
        drop(slow);
        eventually_async(PATIENCE, "uses are known from the end of the old process on", || {
            let (mut admin, since) = (admin.share(), since.clone());
            async move { time(&uses(&mut admin).await[2]) > time(&since) }
        })
        .await;
        generate(&mut admin).await;
        assert_eq!(uses(&mut admin).await[1], Some(server.admin.identity.clone()));
    });
}
