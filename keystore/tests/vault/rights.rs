//! Policies with different rights: each operation succeeds if its rights are granted, and fails
//! with a helpful error if not.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use kes_keystore::config::{KvVersion, Vault};
use kes_keystore::vault::VaultStore;
use kes_keystore::{Error, KeyStore};
use kes_testkit::bao::{KvPolicy, minimal_transit_policy};
use kes_testkit::faulty::{Faulty, Reply, Request};
use serde_json::json;

use super::creators::race;
use super::world::{
    STORED, World, create, delete, list, list_of, name, open, read, transit_key, value,
};

/// A server with one policy, and the configuration for it.
struct Granted {
    world: World,
    policy: KvPolicy,
    transit: bool,
}

impl Granted {
    fn new(policy: KvPolicy, transit: bool) -> Self {
        let world = World::new(version(policy));
        let granted = Self { world, policy, transit };
        granted.grant(&policy.text("kv"));
        granted
    }

    /// Replaces the policy for keys.
    fn grant(&self, policy: &str) {
        let transit =
            if self.transit { minimal_transit_policy("transit", "wrap") } else { String::new() };
        self.world.bao.root().write_policy("kes", &format!("{policy}{transit}"));
    }

    fn config(&self, url: &str) -> Vault {
        Vault {
            endpoints: vec![url.parse().unwrap()],
            prefix: self.policy.prefix().to_owned(),
            transit: self.transit.then(transit_key),
            ..self.world.config()
        }
    }

    async fn open(&self) -> VaultStore {
        open(self.config(&self.world.bao.url())).await
    }

    /// A path of the KV engine; `kind` is the part that version 2 has after the engine.
    fn path(&self, kind: &str, key: &str) -> String {
        let kind = if self.policy.version() == 1 { "" } else { kind };
        let parts = ["kv", kind, self.policy.prefix(), key];
        parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/")
    }

    /// A key that another server creates.
    fn put(&self, key: &str, text: &str) {
        let fields = json!({ key: text });
        let body = if self.policy.version() == 1 { fields } else { json!({ "data": fields }) };
        self.world.bao.root().write(&self.path("data", key), &body);
    }

    /// Lists keys, or fails because the right is missing.
    async fn lists(&self, store: &VaultStore, expected: &[&str]) {
        if self.policy.lists() {
            assert_eq!(list(store).await, expected, "{:?}", self.policy);
        } else {
            let error = list_of(store).await.unwrap_err().to_string();
            let expected = "403 Forbidden to GET kv/tenant/minio?list=true";
            assert!(error.contains(expected), "{error}");
            assert!(error.contains("grant \"list\" on \"kv/tenant/minio/*\""), "{error}");
        }
    }
}

fn version(policy: KvPolicy) -> KvVersion {
    if policy.version() == 1 { KvVersion::V1 } else { KvVersion::V2 }
}

fn exists(result: &Result<(), Error>) -> bool {
    matches!(result, Err(Error::Exists { .. }))
}

fn is_missing<T>(result: &Result<T, Error>) -> bool {
    matches!(result, Err(Error::NotFound { .. }))
}

#[tokio::test]
async fn each_documented_policy_is_enough() {
    for policy in KvPolicy::ALL {
        for transit in [false, true] {
            let granted = Granted::new(policy, transit);
            let servers = [granted.open().await, granted.open().await];
            for [one, other] in [[0, 1], [1, 0]].map(|order| order.map(|at| &servers[at])) {
                // The key does not exist.
                assert!(is_missing(&read(one, "k").await), "{policy:?}");
                delete(one, "k").await.unwrap();
                granted.lists(one, &[]).await;
                create(one, "k").await.unwrap();
                // The key exists.
                for server in [one, other] {
                    let again = server.create(&name("k"), &value("another")).await;
                    assert!(exists(&again), "{policy:?}: {again:?}");
                    assert_eq!(read(server, "k").await.unwrap(), STORED, "{policy:?}");
                    granted.lists(server, &["k"]).await;
                }
                delete(other, "k").await.unwrap();
                assert!(is_missing(&read(one, "k").await), "{policy:?}");
            }
            let folder = granted.path("metadata", "");
            assert_eq!(granted.world.bao.root().list(&folder), [""; 0], "{policy:?}");
        }
    }
}

/// What an engine of version 2 keeps of a key of which all versions are deleted, or all but a later
/// one.
#[tokio::test]
async fn what_is_left_of_a_secret_is_in_the_way_of_a_create_and_no_key() {
    for policy in [KvPolicy::V2, KvPolicy::V2Tenant] {
        let granted = Granted::new(policy, false);
        let root = granted.world.bao.root();
        let store = granted.open().await;
        let [data, metadata] = ["data", "metadata"].map(|kind| granted.path(kind, "k"));
        let destroy = granted.path("destroy", "k");
        for what in ["deleted", "destroyed", "out of versions", "without versions"] {
            match what {
                "deleted" => {
                    create(&store, "k").await.unwrap();
                    root.delete(&data);
                }
                "destroyed" => {
                    create(&store, "k").await.unwrap();
                    root.write(&destroy, &json!({ "versions": [1] }));
                }
                "out of versions" => {
                    root.write(&metadata, &json!({ "max_versions": 1 }));
                    granted.put("k", "first");
                    granted.put("k", "second");
                }
                _ => root.write(&metadata, &json!({ "max_versions": 3 })),
            }
            let found = read(&store, "k").await;
            assert!(is_missing(&found), "{what}: {found:?}");
            granted.lists(&store, &["k"]).await;
            let created = create(&store, "k").await;
            if what == "without versions" {
                // Only the policy prevents the write: Vault treats it as an update.
                let error = created.unwrap_err().to_string();
                assert!(error.contains("403") && error.contains("create"), "{error}");
            } else {
                assert!(exists(&created), "{what}: {created:?}");
            }
            delete(&store, "k").await.unwrap();
            create(&store, "k").await.unwrap();
            delete(&store, "k").await.unwrap();
        }
        // With one more right, the error says what prevents the write.
        root.write(&metadata, &json!({ "max_versions": 3 }));
        granted.grant(
            "path \"kv/data/*\" { capabilities = [\"create\", \"read\"] }
             path \"kv/metadata/*\" { capabilities = [\"read\", \"list\", \"delete\"] }",
        );
        let error = create(&store, "k").await.unwrap_err().to_string();
        assert!(error.contains("without a version") && error.contains(&metadata), "{error}");
        // With another right, the write succeeds.
        granted.grant("path \"kv/*\" { capabilities = [\"create\", \"update\", \"read\"] }");
        create(&store, "k").await.unwrap();
        assert_eq!(read(&store, "k").await.unwrap(), STORED);
    }
}

/// Another server writes the key after ours has found it missing and before ours writes it.
#[tokio::test]
async fn a_key_of_another_server_that_came_in_between_is_not_overwritten() {
    for policy in KvPolicy::ALL {
        for transit in [false, true] {
            let granted = Arc::new(Granted::new(policy, transit));
            let server = granted.world.bao.admin_address();
            let (other, path) = (Arc::clone(&granted), granted.path("data", "k"));
            let begun = AtomicBool::new(false);
            let node = Faulty::start(move |request: &Request| {
                let writes = request.method == "POST" && request.path() == format!("/v1/{path}");
                if writes && !begun.swap(true, Ordering::Relaxed) {
                    other.put("k", "of the other");
                }
                Reply::Forward(server)
            });
            let store = open(granted.config(&node.url())).await;
            let created = create(&store, "k").await;
            assert!(exists(&created), "{policy:?}: {created:?}");
            assert_eq!(read(&store, "k").await.unwrap(), "of the other", "{policy:?}");
            let logins = node.requests().iter().filter(|r| r.path().contains("/login")).count();
            assert_eq!(logins, 1, "{policy:?}: the refusal is no reason for a login");
        }
    }
}

/// Without `list` there is no create lock: a server whose key was overwritten during the create
/// notices that when it reads the key back.
#[tokio::test]
async fn a_key_that_was_written_over_at_the_same_moment_is_not_taken_for_ones_own() {
    let granted = Arc::new(Granted::new(KvPolicy::V1Tenant, false));
    let server = granted.world.bao.admin_address();
    let (other, path) = (Arc::clone(&granted), format!("/v1/{}", granted.path("data", "k")));
    let (is_written, is_over) = (AtomicBool::new(false), AtomicBool::new(false));
    let node = Faulty::start(move |request: &Request| {
        if request.path() == path {
            if request.method == "POST" {
                is_written.store(true, Ordering::SeqCst);
            } else if is_written.load(Ordering::SeqCst) && !is_over.swap(true, Ordering::SeqCst) {
                other.put("k", "of the other");
            }
        }
        Reply::Forward(server)
    });
    let store = open(granted.config(&node.url())).await;
    let created = create(&store, "k").await;
    assert!(exists(&created), "{created:?}");
    assert_eq!(read(&store, "k").await.unwrap(), "of the other");
}

/// If Vault or the create lock makes it possible.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_servers_one_succeeds_under_each_policy() {
    for policy in KvPolicy::ALL.into_iter().filter(|policy| policy.lists()) {
        let granted = Granted::new(policy, false);
        let mut servers = Vec::new();
        for _ in 0..4 {
            servers.push(Arc::new(granted.open().await));
        }
        for round in 0..10 {
            let key = format!("key-{round}");
            let winner = race(&servers, &key, 2).await;
            assert_eq!(read(&*servers[0], &key).await.unwrap(), winner, "{policy:?}");
        }
    }
}

/// Any right that the create lock needs may be missing.
#[tokio::test]
async fn a_right_that_the_create_lock_needs_may_be_missing() {
    let all = ["create", "read", "delete", "list"];
    for missing in all {
        let granted = Granted::new(KvPolicy::V1, false);
        let claims: Vec<_> = all.into_iter().filter(|right| *right != missing).collect();
        let keys = r#"["create", "read", "delete", "list"]"#;
        granted.grant(&format!(
            "path \"kv/.kes-claims/*\" {{ capabilities = {} }} path \"kv/*\" {{ capabilities = {keys} }}",
            json!(claims)
        ));
        let store = granted.open().await;
        for _ in 0..2 {
            create(&store, "k").await.unwrap();
            assert!(exists(&create(&store, "k").await), "{missing}");
            assert_eq!(read(&store, "k").await.unwrap(), STORED);
            delete(&store, "k").await.unwrap();
        }
        assert_eq!(granted.world.bao.root().list("kv"), [""; 0], "{missing}");
    }
}

/// The rights for the create lock are revoked while a server runs, at each step.
#[tokio::test]
async fn rights_that_are_taken_away_during_a_create_are_done_without() {
    let claims = "/v1/kv/.kes-claims/k/";
    for (method, path) in [("POST", claims), ("GET", "/v1/kv/.kes-claims/k"), ("DELETE", claims)] {
        let granted = Arc::new(Granted::new(KvPolicy::V1, false));
        let server = granted.world.bao.admin_address();
        let (of, is_armed) = (Arc::clone(&granted), Arc::new(AtomicBool::new(false)));
        let armed = Arc::clone(&is_armed);
        let node = Faulty::start(move |request: &Request| {
            let is_step = request.method == method && request.path().starts_with(path);
            if is_step && armed.swap(false, Ordering::Relaxed) {
                of.grant("path \"kv/+\" { capabilities = [\"create\", \"read\", \"delete\"] }");
            }
            Reply::Forward(server)
        });
        let store = open(granted.config(&node.url())).await;
        create(&store, "first").await.unwrap();
        is_armed.store(true, Ordering::Relaxed);
        create(&store, "k").await.unwrap();
        assert_eq!(read(&store, "k").await.unwrap(), STORED, "{method}");
        create(&store, "other").await.unwrap();
    }
}

/// A token without the right to look itself up is not taken for an unknown one: a refusal causes no
/// login and no pause.
#[tokio::test]
async fn each_policy_is_enough_for_a_token_without_the_default_policy() {
    for policy in KvPolicy::ALL {
        let granted = Granted::new(policy, true);
        let root = granted.world.bao.root();
        root.change_role("approle", "kes", &json!({ "token_no_default_policy": true }));
        let store = granted.open().await;
        create(&store, "k").await.unwrap();
        assert!(exists(&create(&store, "k").await));
        granted.lists(&store, &["k"]).await;
        delete(&store, "k").await.unwrap();
        assert_eq!(root.tokens("approle").len(), 1, "{policy:?}");
    }
}

/// The error of any refused request names its method, path and right.
#[tokio::test]
async fn a_right_that_is_missing_is_named_for_every_operation() {
    for policy in KvPolicy::ALL {
        let granted = Granted::new(policy, true);
        let store = granted.open().await;
        create(&store, "k").await.unwrap();
        let [data, whole] = ["data", "metadata"].map(|kind| granted.path(kind, ""));
        granted.grant("");
        let told = |error: Error, request: &str, grant: &str| {
            let text = error.to_string();
            assert!(text.contains(&format!(" answers 403 Forbidden to {request}: ")), "{text}");
            assert!(text.contains(&format!("grant {grant}")), "{text}");
            assert!(text.contains("(`kes check` names all that is missing)"), "{text}");
        };
        let denied = read(&store, "k").await.unwrap_err();
        told(denied, &format!("GET {data}/k"), &format!("\"read\" on \"{data}/*\""));
        let denied = delete(&store, "k").await.unwrap_err();
        told(denied, &format!("DELETE {whole}/k"), &format!("\"delete\" on \"{whole}/*\""));
        let denied = list_of(&store).await.unwrap_err();
        told(denied, &format!("GET {whole}?list=true"), &format!("\"list\" on \"{whole}/*\""));
        let reads = format!("path \"{data}/*\" {{ capabilities = [\"read\"] }}");
        granted.grant(&reads);
        let denied = create(&store, "l").await.unwrap_err();
        told(denied, &format!("POST {data}/l"), &format!("\"create\" on \"{data}/*\""));
        granted.world.bao.root().write_policy("kes", &reads);
        let update = |verb: &str| format!("\"update\" on \"transit/{verb}/wrap\"");
        let denied = read(&store, "k").await.unwrap_err();
        told(denied, "POST transit/decrypt/wrap", &update("decrypt"));
        let denied = create(&store, "l").await.unwrap_err();
        told(denied, "POST transit/encrypt/wrap", &update("encrypt"));
    }
}
