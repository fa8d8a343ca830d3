//! Vault is away, and the server is started again meanwhile: keys that were in use come from its
//! snapshot (contract `config.md`, Cache).

mod tpm;

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use kes_testkit::wait;
use rustix::process::Signal;
use serde_json::{Value, json};

use super::world::{Layout, World, told_nothing_of};
use crate::harness::{self, BASE64, Client, Config, Exposition, Protocol, Server, Who};

/// With room for a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

const KEY: &str = "the key of the snapshot has more than 32 bytes";

fn config(world: &World) -> Config {
    world
        .config()
        .with("admin", "{ identity: \"${ADMIN}\" }")
        .with("cache", "{ snapshot: { path: keys.snapshot, key: snapshot.key } }")
}

fn serve(world: &World) -> Server {
    let key = |folder: &std::path::Path| fs::write(folder.join("snapshot.key"), KEY).unwrap();
    Server::prepared(&config(world), key)
}

fn file(server: &Server) -> PathBuf {
    server.file("keys.snapshot")
}

async fn status(server: &Server) -> Value {
    let mut admin = server.client(Who::Admin, Protocol::H2).await;
    admin.send("GET", "/v1/status", "").await.json()["snapshot"].clone()
}

/// Waits until the snapshot has this many keys.
async fn has_keys(server: &Server, count: u64) {
    let what = format!("{count} keys are in the snapshot");
    wait::eventually_async(LIMIT, &what, async || status(server).await["keys"] == count).await;
}

fn stop(server: &mut Server) {
    server.signal(Signal::TERM);
    assert_eq!(server.wait_for_exit(LIMIT).code(), Some(0));
}

async fn answer(client: &mut Client, method: &str, path: &str, body: Value) -> Value {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let reply = client.send(method, path, &body).await;
    assert_eq!(reply.status, 200, "{path}: {}", String::from_utf8_lossy(&reply.body));
    if reply.body.is_empty() { Value::Null } else { reply.json() }
}

/// All that MinIO asks for with a key, and the key's description.
async fn answers_all(server: &Server, key: &str, made: &Value) {
    let mut admin = server.client(Who::Admin, Protocol::H2).await;
    let opened = |plaintext: &Value| assert_eq!(plaintext, &made["plaintext"]);
    let sealed = json!({ "ciphertext": made["ciphertext"], "context": "Yw==" });
    let path = |api: &str| format!("/v1/key/{api}/{key}");
    let reply = answer(&mut admin, "PUT", &path("decrypt"), sealed.clone()).await;
    opened(&reply["plaintext"]);
    let bulk = json!([sealed, sealed]);
    let reply = answer(&mut admin, "PUT", &path("bulk/decrypt"), bulk).await;
    for one in reply.as_array().unwrap() {
        opened(&one["plaintext"]);
    }
    let new = answer(&mut admin, "PUT", &path("generate"), json!({ "context": "Yw==" })).await;
    let reply = json!({ "ciphertext": new["ciphertext"], "context": "Yw==" });
    let reply = answer(&mut admin, "PUT", &path("decrypt"), reply).await;
    assert_eq!(reply["plaintext"], new["plaintext"]);
    let plain = BASE64.encode_to_string("a text");
    let reply = answer(&mut admin, "PUT", &path("encrypt"), json!({ "plaintext": plain })).await;
    let reply = json!({ "ciphertext": reply["ciphertext"] });
    let reply = answer(&mut admin, "PUT", &path("decrypt"), reply).await;
    assert_eq!(reply["plaintext"], plain);
    let reply = answer(&mut admin, "GET", &path("describe"), Value::Null).await;
    assert_eq!(reply["name"], key);
    answer(&mut admin, "PUT", &path("hmac"), json!({ "message": plain })).await;
}

async fn is_unread(server: &Server, key: &str) {
    let mut admin = server.client(Who::Admin, Protocol::H2).await;
    let reply = admin.send("PUT", &format!("/v1/key/generate/{key}"), "{}").await;
    assert_eq!(reply.error(), (502, "failed to read key".to_owned()));
}

async fn metric(server: &Server, name: &str) -> f64 {
    Exposition::from(server).await.value(name)
}

#[test]
fn keys_that_were_in_use_survive_a_restart_while_vault_is_away() {
    let mut world = World::new(Layout::V2);
    let mut server = serve(&world);
    harness::run(async {
        server.wait_for_stderr("snapshot: there is no 'keys.snapshot' yet");
        let mut admin = server.client(Who::Admin, Protocol::H2).await;
        for key in ["k", "unused"] {
            answer(&mut admin, "PUT", &format!("/v1/key/create/{key}"), Value::Null).await;
        }
        let body = json!({ "context": "Yw==" });
        let made = answer(&mut admin, "PUT", "/v1/key/generate/k", body).await;
        has_keys(&server, 2).await;
        // A key that this server has never read.
        world.put("foreign", &world.stored("unused").unwrap());

        world.bao.kill();
        for is_killed in [false, true] {
            let started = server.stderr().len();
            if !is_killed {
                stop(&mut server);
            }
            server.restart();
            assert_eq!(status(&server).await["used"], Value::Null);
            answers_all(&server, "k", &made).await;
            answers_all(&server, "k", &made).await;
            is_unread(&server, "foreign").await;
            let log = server.stderr()[started..].to_owned();
            for told in [
                "snapshot: 'keys.snapshot' has 2 keys for use while the key store is unreachable",
                "level=WARN msg=\"snapshot: the key store is unreachable; keys come from the snapshot\"",
            ] {
                assert!(log.contains(told), "{told}: {log}");
            }
        }
        assert_eq!(status(&server).await["used"], true);
        assert!(metric(&server, "kes_snapshot_hits").await > 10.0);
        assert_eq!(metric(&server, "kes_snapshot_used").await, 1.0);
        let output = server.command(Who::Admin, &["status", "-k"]).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.contains("Snapshot 2 keys, written at "), "{text}");
        assert!(text.contains("; keys come from it now"), "{text}");

        world.bao.start_again();
        world.bao.unseal();
        server.wait_for_stderr("snapshot: the key store is back; no key of the snapshot is used");
        answers_all(&server, "k", &made).await;
        assert_eq!(status(&server).await["used"], Value::Null);
    });
    let stored = world.stored("k").unwrap();
    told_nothing_of(&server, &[&world.role.secret_id, &stored, KEY]);
    let bytes = fs::read(file(&server)).unwrap();
    assert!(!String::from_utf8_lossy(&bytes).contains("unused"), "not even names are in the clear");
}

#[test]
fn a_deleted_key_does_not_come_back_from_the_snapshot_or_a_copy_of_it() {
    let mut world = World::new(Layout::V1);
    let mut server = serve(&world);
    harness::run(async {
        let mut admin = server.client(Who::Admin, Protocol::H2).await;
        for key in ["k", "l"] {
            answer(&mut admin, "PUT", &format!("/v1/key/create/{key}"), Value::Null).await;
        }
        has_keys(&server, 2).await;
        let before = fs::read(file(&server)).unwrap();
        answer(&mut admin, "DELETE", "/v1/key/delete/k", Value::Null).await;
        let after = fs::read(file(&server)).unwrap();
        assert!(after.len() < before.len());
        server.process().kill();
        world.bao.kill();
        server.restart();
        let mut admin = server.client(Who::Admin, Protocol::H2).await;
        answer(&mut admin, "PUT", "/v1/key/generate/l", json!({})).await;
        is_unread(&server, "k").await;

        // The older one is put back, as from a backup.
        server.process().kill();
        let copy = server.file("copy");
        fs::write(&copy, &before).unwrap();
        fs::rename(&copy, file(&server)).unwrap();
        server.restart();
        server.wait_for_stderr("snapshot: 'keys.snapshot' is not used: it is a copy");
        for key in ["k", "l"] {
            is_unread(&server, key).await;
        }
        assert_eq!(metric(&server, "kes_snapshot_refused").await, 1.0);
        // Over the newer one.
        server.process().kill();
        fs::write(file(&server), &before).unwrap();
        server.restart();
        is_unread(&server, "k").await;

        // Back, it goes on, and a new one is written.
        world.bao.start_again();
        world.bao.unseal();
        let admin = server.client(Who::Admin, Protocol::H2).await;
        wait::eventually_async(LIMIT, "a key is read", async || {
            admin.share().send("PUT", "/v1/key/generate/l", "{}").await.status == 200
        })
        .await;
        has_keys(&server, 1).await;
        let reply = admin.share().send("PUT", "/v1/key/generate/k", "{}").await;
        assert_eq!(reply.status, 404);
    });
}
