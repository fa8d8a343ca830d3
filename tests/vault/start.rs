//! Starts and logins: Vault is not there yet, refuses the login, or gives another secret.

use std::time::Duration;

use kes_testkit::wait;
use serde_json::json;

use super::outage::recovers;
use super::work::{generate, open};
use super::world::{Layout, World, told_nothing_of};
use crate::harness::{self, Config, Protocol, Server, Who};

#[test]
fn a_server_that_starts_before_vault_serves_when_vault_is_there() {
    let mut world = World::new(Layout::V1);
    world.bao.kill();
    // A key of the recovery's check, and one more, are made by configuration.
    let keys = "[{ name: uncached }, { name: of-the-configuration }]";
    let server = Server::with(&world.config().with("keys", keys));
    harness::run(async {
        let mut minio = server.client(Who::Minio, Protocol::H2).await;
        let mut operator = server.client(Who::Other, Protocol::H2).await;
        assert_eq!(minio.send("GET", "/version", "").await.status, 200);
        let reply = operator.send("GET", "/v1/ready", "").await;
        assert_eq!(reply.error(), (504, "key store is not reachable".to_owned()));
        let reply = minio.send("PUT", "/v1/key/generate/k", "").await;
        assert_eq!(reply.error(), (502, "failed to read key".to_owned()));
        server.wait_for_stderr(&format!(
            "level=WARN msg=\"key store: vault: not available: no connection to {}: Connection refused",
            world.bao.url()
        ));
        server.wait_for_stderr("key 'uncached' of the configuration");
        let log = server.stderr();
        let line = log.lines().find(|line| line.contains("of the configuration")).unwrap();
        assert!(line.contains("level=ERROR") && line.contains("vault"), "{line}");
        assert!(line.contains("refused"), "{line}");

        // There and sealed is still away.
        world.bao.start_again();
        let reply = minio.send("PUT", "/v1/key/generate/k", "").await;
        assert_eq!(reply.error(), (502, "failed to read key".to_owned()));
        world.bao.unseal();
        recovers(&server).await;
        let names = json!({ "names": ["of-the-configuration", "uncached"] });
        wait::eventually_async(Duration::from_secs(5), "all keys are made", async || {
            let reply = minio.share().send("GET", "/v1/key/list/*", "").await;
            reply.status == 200 && reply.json() == names
        })
        .await;
    });
}

#[test]
fn keys_of_the_configuration_are_made_once() {
    let world = World::new(Layout::V2);
    let keys = "[{ name: default }]";
    let mut server = Server::with(&world.config().with("keys", keys));
    wait::eventually(Duration::from_secs(30), "the key is made", || {
        world.secret("default").is_some()
    });
    let secret = world.secret("default");
    harness::run(async {
        let mut minio = server.client(Who::Minio, Protocol::H2).await;
        let made = generate(&mut minio, "default", "context").await;
        server.restart();
        let mut minio = server.client(Who::Minio, Protocol::H2).await;
        open(&mut minio, "default", &made).await;
    });
    assert_eq!(world.secret("default"), secret);
    told_nothing_of(&server, &["ERROR"]);
}

#[test]
fn a_refused_login_is_explained_and_put_right_by_a_reload() {
    const WRONG: &str = "d2b5f0c4-0000-4000-8000-00000000beef";
    let world = World::new(Layout::V1);
    let config = world.config_with_secret(WRONG);
    let server = Server::with(&config);
    harness::run(async {
        let mut minio = server.client(Who::Minio, Protocol::H2).await;
        let mut operator = server.client(Who::Other, Protocol::H2).await;
        server.wait_for_stderr("login to Vault by AppRole failed");
        let log = server.stderr();
        let line = log.lines().find(|line| line.contains("login to Vault")).unwrap();
        for part in [
            "level=ERROR",
            "key store: vault: ",
            "auth/approle/login",
            "answers 40",
            "`approle.id`",
            "`approle.secret`",
            "check",
        ] {
            assert!(line.contains(part), "'{part}' is not in {line}");
        }
        let reply = operator.send("GET", "/v1/ready", "").await;
        assert_eq!(reply.error(), (502, "key store is unavailable".to_owned()));
        let reply = minio.send("PUT", "/v1/key/create/k", "").await;
        assert_eq!(reply.error(), (502, "failed to create key".to_owned()));

        server.reload_and_wait(&world.config_with_secret(&world.role.secret_id));
        let reply = minio.send("PUT", "/v1/key/create/k", "").await;
        assert_eq!((reply.status, reply.body.len()), (200, 0));
        assert_eq!(operator.send("GET", "/v1/ready", "").await.status, 200);
    });
    told_nothing_of(&server, &[WRONG, &world.role.secret_id]);
}

#[test]
fn a_new_secret_is_taken_by_a_reload() {
    let world = World::new(Layout::V2);
    let server = world.serve();
    let new = world.space().create_secret_id("approle", "kes");
    harness::run(async {
        // One connection, through all of it.
        let mut minio = server.client(Who::Minio, Protocol::H2).await;
        let reply = minio.send("PUT", "/v1/key/create/k", "").await;
        assert_eq!((reply.status, reply.body.len()), (200, 0));
        let made = generate(&mut minio, "k", "context").await;

        let old = json!({ "secret_id": world.role.secret_id });
        world.space().must("POST", "auth/approle/role/kes/secret-id/destroy", Some(&old));
        world.space().revoke_tokens("approle");
        let reply = minio.send("PUT", "/v1/key/create/l", "").await;
        assert_eq!(reply.error(), (502, "failed to create key".to_owned()));
        // What is in memory goes on.
        open(&mut minio, "k", &made).await;

        // A configuration that cannot be used changes nothing.
        server.reload(&Config::usual().with("keystore", "{}"));
        server.wait_for_stderr("still using the previous configuration");
        open(&mut minio, "k", &made).await;

        server.reload_and_wait(&world.config_with_secret(&new));
        let reply = minio.send("PUT", "/v1/key/create/l", "").await;
        assert_eq!((reply.status, reply.body.len()), (200, 0));
        open(&mut minio, "k", &made).await;
    });
    told_nothing_of(&server, &[&new, &world.role.secret_id]);
}
