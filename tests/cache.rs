//! Keys in memory between requests (contract `config.md`, Cache).

use std::path::Path;
use std::time::{Duration, Instant};

use kes_testkit::faulty::{Faulty, Reply};
use kes_testkit::wait::eventually_async;
use serde_json::json;

use crate::harness::{self, Client, Config, Exposition, Protocol, Server, StoredKey, Vectors, Who};

/// How long something may take that has to happen before a test fails.
const PATIENCE: Duration = Duration::from_secs(60);

const READS: &str = "kes_keystore_response_time_count{call=\"read\"}";

fn config(any: &str, unused: &str, offline: &str) -> Config {
    let expiry = format!("{{ expiry: {{ any: {any}, unused: {unused}, offline: {offline} }} }}");
    Config::usual().with("cache", &expiry)
}

fn aes() -> StoredKey {
    Vectors::read().key("vec-aes256").clone()
}

fn chacha() -> StoredKey {
    Vectors::read().key("vec-chacha20").clone()
}

/// Puts another key in the place of one, in one step.
fn replace(folder: &Path, name: &str, key: &StoredKey) {
    let new = folder.join("replacement");
    std::fs::write(&new, &key.value).unwrap();
    std::fs::rename(new, folder.join("keys").join(name)).unwrap();
}

/// The algorithm that a description tells, or the status of one that fails.
async fn algorithm(client: &mut Client, name: &str) -> String {
    let reply = client.send("GET", &format!("/v1/key/describe/{name}"), "").await;
    match reply.status {
        200 => reply.json()["algorithm"].as_str().unwrap().to_owned(),
        status => status.to_string(),
    }
}

async fn server(config: &Config) -> (Server, Client) {
    let server = Server::prepared(config, |folder| aes().store(folder, "k"));
    let client = server.client(Who::Admin, Protocol::H2).await;
    (server, client)
}

/// A Vault in little that takes its time to read a key.
pub(crate) fn slow_vault(took: Duration) -> Faulty {
    Faulty::start(move |request| match request.path() {
        "/v1/sys/health" => Reply::healthy(),
        "/v1/auth/approle/login" => Reply::login("t", 0),
        path if path.starts_with("/v1/kv/k") => {
            std::thread::sleep(took);
            let name = path.rsplit('/').next().unwrap();
            Reply::json(200, json!({ "data": { name: aes().value } }))
        }
        _ => Reply::json(404, json!({ "errors": [] })),
    })
}

pub(crate) fn reads(vault: &Faulty, name: &str) -> usize {
    let path = format!("/v1/kv/{name}");
    vault.requests().iter().filter(|request| request.path() == path).count()
}

#[test]
fn many_requests_for_one_key_cause_one_read() {
    harness::run(async {
        let vault = slow_vault(Duration::from_millis(700));
        let keystore = format!(
            "{{ vault: {{ endpoint: \"{}\", approle: {{ id: i, secret: s }} }} }}",
            vault.url()
        );
        let server = Server::with(&Config::usual().with("keystore", &keystore));
        let client = server.client(Who::Admin, Protocol::H2).await;
        let generate = |name: &'static str| {
            let mut client = client.share();
            tokio::spawn(async move {
                client.send("PUT", &format!("/v1/key/generate/{name}"), "").await.status
            })
        };
        let calls: Vec<_> = (0..100).map(|_| generate("k1")).collect();
        for call in calls {
            assert_eq!(call.await.unwrap(), 200);
        }
        assert_eq!(reads(&vault, "k1"), 1);

        // Who came first goes away while the key is read; the others have it from that read.
        let mut first = server.client(Who::Admin, Protocol::H2).await;
        let gone = tokio::spawn(async move { first.send("PUT", "/v1/key/generate/k2", "").await });
        eventually_async(PATIENCE, "the read begins", || async { reads(&vault, "k2") == 1 }).await;
        let calls: Vec<_> = (0..20).map(|_| generate("k2")).collect();
        gone.abort();
        for call in calls {
            assert_eq!(call.await.unwrap(), 200);
        }
        assert_eq!(reads(&vault, "k2"), 1);

        // Also when nobody else waits: the next request finds it.
        let mut only = server.client(Who::Admin, Protocol::H1).await;
        let gone = tokio::spawn(async move { only.send("PUT", "/v1/key/generate/k3", "").await });
        eventually_async(PATIENCE, "the read begins", || async { reads(&vault, "k3") == 1 }).await;
        gone.abort();
        assert_eq!(generate("k3").await.unwrap(), 200);
        assert_eq!(reads(&vault, "k3"), 1);
    });
}

#[test]
fn a_cached_key_is_not_read_again() {
    harness::run(async {
        let (server, mut client) = server(&Config::usual()).await;
        for protocol in [Protocol::H1, Protocol::H2] {
            let mut client = server.client(Who::Admin, protocol).await;
            for _ in 0..20 {
                assert_eq!(algorithm(&mut client, "k").await, "AES256");
                assert_eq!(client.send("PUT", "/v1/key/generate/k", "").await.status, 200);
            }
        }
        let metrics = Exposition::of(&mut client).await;
        assert_eq!((metrics.value(READS), metrics.value("kes_cache_hits")), (1.0, 79.0));

        // It works without its file, and what is created works without a read.
        std::fs::remove_file(server.file("keys").join("k")).unwrap();
        assert_eq!(client.send("PUT", "/v1/key/encrypt/k", "{}").await.status, 200);
        assert_eq!(client.send("PUT", "/v1/key/create/new", "").await.status, 200);
        assert_eq!(client.send("PUT", "/v1/key/encrypt/new", "{}").await.status, 200);
        assert_eq!(Exposition::of(&mut client).await.value(READS), 1.0);
    });
}

#[test]
#[cfg_attr(feature = "fips", ignore = "a FIPS build refuses ChaCha20")]
fn a_key_that_changed_in_the_key_store_is_seen_when_its_time_is_over() {
    harness::run(async {
        let (server, mut client) = server(&config("4s", "60s", "0s")).await;
        let before = Instant::now();
        assert_eq!(algorithm(&mut client, "k").await, "AES256");
        replace(server.folder(), "k", &chacha());
        // Half of the time is the least that a key in use stays as it was read.
        loop {
            let seen = algorithm(&mut client, "k").await;
            let age = before.elapsed();
            if age > Duration::from_secs(2) {
                break;
            }
            assert_eq!(seen, "AES256", "after {age:?}");
        }
        eventually_async(PATIENCE, "the other key is seen", || {
            let mut client = client.share();
            async move { algorithm(&mut client, "k").await == "ChaCha20" }
        })
        .await;

        // A key that another server deleted goes in the same way, in use or not.
        std::fs::remove_file(server.file("keys").join("k")).unwrap();
        eventually_async(PATIENCE, "the key goes", || {
            let mut client = client.share();
            async move { algorithm(&mut client, "k").await == "404" }
        })
        .await;
    });
}

#[test]
#[cfg_attr(feature = "fips", ignore = "a FIPS build refuses ChaCha20")]
fn a_key_that_is_not_used_goes_and_one_in_use_stays() {
    harness::run(async {
        let (server, mut client) = server(&config("10m", "5s", "0s")).await;
        aes().store(server.folder(), "idle");
        assert_eq!(algorithm(&mut client, "k").await, "AES256");
        assert_eq!(algorithm(&mut client, "idle").await, "AES256");
        replace(server.folder(), "k", &chacha());
        // Used all the time, so that only the other one goes.
        let start = Instant::now();
        while Exposition::of(&mut client).await.value("kes_cache_keys") > 1.0
            || start.elapsed() < Duration::from_secs(6)
        {
            assert_eq!(algorithm(&mut client, "k").await, "AES256");
            assert!(start.elapsed() < PATIENCE, "a key that nobody uses stays");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(Exposition::of(&mut client).await.value(READS), 2.0);

        eventually_async(PATIENCE, "the key goes", || {
            let mut client = client.share();
            async move { Exposition::of(&mut client).await.value("kes_cache_keys") == 0.0 }
        })
        .await;
        assert_eq!(algorithm(&mut client, "k").await, "ChaCha20");
    });
}

#[test]
fn a_deleted_key_is_gone_at_once() {
    harness::run(async {
        let (server, mut client) = server(&Config::usual()).await;
        let mut other = server.client(Who::Admin, Protocol::H1).await;
        // Few enough to be no storm of requests for a key that does not exist.
        for _ in 0..5 {
            assert_eq!(client.send("PUT", "/v1/key/generate/k", "").await.status, 200);
            assert_eq!(client.send("DELETE", "/v1/key/delete/k", "").await.status, 200);
            for client in [&mut client, &mut other] {
                assert_eq!(client.send("PUT", "/v1/key/generate/k", "").await.status, 404);
            }
            aes().store(server.folder(), "k");
        }
        // Even one that only its memory had left.
        assert_eq!(client.send("PUT", "/v1/key/generate/k", "").await.status, 200);
        std::fs::remove_file(server.file("keys").join("k")).unwrap();
        assert_eq!(client.send("PUT", "/v1/key/generate/k", "").await.status, 200);
        assert_eq!(client.send("DELETE", "/v1/key/delete/k", "").await.status, 404);
        assert_eq!(client.send("PUT", "/v1/key/generate/k", "").await.status, 404);
    });
}

#[test]
fn a_key_that_another_server_creates_is_seen_at_once() {
    harness::run(async {
        let (server, mut client) = server(&Config::usual()).await;
        // Its folder is synchronised with that of this one.
        let second = Server::start();
        let synchronise = |name: &str| {
            let [from, to] = [&second, &server].map(|server| server.file("keys").join(name));
            std::fs::copy(from, to).unwrap();
        };
        let mut there = second.client(Who::Admin, Protocol::H2).await;
        for n in 0..10 {
            let name = format!("new-{n}");
            for _ in 0..3 {
                assert_eq!(algorithm(&mut client, &name).await, "404");
            }
            let created = there.send("PUT", &format!("/v1/key/create/{name}"), "").await;
            assert_eq!(created.status, 200);
            synchronise(&name);
            let seen = algorithm(&mut client, &name).await;
            assert_eq!(seen, algorithm(&mut there, &name).await);
            let again = client.send("PUT", &format!("/v1/key/create/{name}"), "").await;
            assert_eq!(again.error(), (400, "key already exists".to_owned()));
        }

        // A storm of requests for a name may be kept from the key store, for a moment.
        for _ in 0..200 {
            assert_eq!(algorithm(&mut client, "stormed").await, "404");
        }
        assert_eq!(there.send("PUT", "/v1/key/create/stormed", "").await.status, 200);
        synchronise("stormed");
        eventually_async(PATIENCE, "the key is seen", || {
            let mut client = client.share();
            async move { algorithm(&mut client, "stormed").await != "404" }
        })
        .await;

        // What could not be read is not remembered either.
        std::fs::write(server.file("keys").join("damaged"), "no stored key").unwrap();
        assert_eq!(algorithm(&mut client, "damaged").await, "502");
        aes().store(server.folder(), "damaged");
        assert_eq!(algorithm(&mut client, "damaged").await, "AES256");
    });
}

/// Takes the key store of a server away and waits until the server has noticed.
async fn lose_key_store(server: &Server, client: &mut Client) {
    std::fs::rename(server.file("keys"), server.file("away")).unwrap();
    eventually_async(PATIENCE, "the loss is noticed", || {
        let mut client = client.share();
        async move {
            client.send("GET", "/v1/status", "").await.json()["keystore_unreachable"] == true
        }
    })
    .await;
}

#[test]
fn without_its_key_store_a_server_goes_on_for_the_offline_time() {
    harness::run(async {
        let (server, mut client) = server(&config("10m", "6s", "10m")).await;
        assert_eq!(algorithm(&mut client, "k").await, "AES256");
        // In use until the loss is noticed, however long that takes.
        let mut user = client.share();
        let in_use = async {
            loop {
                assert_eq!(algorithm(&mut user, "k").await, "AES256");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::select! {
            () = lose_key_store(&server, &mut client) => {}
            () = in_use => unreachable!(),
        }
        // Nobody uses the key any more, and it would be gone by the end of this.
        tokio::time::sleep(Duration::from_secs(8)).await;
        assert_eq!(client.send("PUT", "/v1/key/generate/k", "").await.status, 200);
        let metrics = Exposition::of(&mut client).await;
        assert_eq!((metrics.value(READS), metrics.value("kes_cache_keys")), (1.0, 1.0));
        let other = client.send("PUT", "/v1/key/generate/other", "").await;
        assert_eq!(other.error(), (502, "failed to read key".to_owned()));

        // With the key store back, its time is as usual.
        std::fs::rename(server.file("away"), server.file("keys")).unwrap();
        eventually_async(PATIENCE, "the key goes", || {
            let mut client = client.share();
            async move { Exposition::of(&mut client).await.value("kes_cache_keys") == 0.0 }
        })
        .await;
        assert_eq!(algorithm(&mut client, "k").await, "AES256");
    });
}

#[test]
fn the_offline_time_has_an_end() {
    harness::run(async {
        let (server, mut client) = server(&config("10m", "10m", "3s")).await;
        assert_eq!(algorithm(&mut client, "k").await, "AES256");
        let before = Instant::now();
        lose_key_store(&server, &mut client).await;
        eventually_async(PATIENCE, "the key goes", || {
            let mut client = client.share();
            async move { client.send("PUT", "/v1/key/generate/k", "").await.status == 502 }
        })
        .await;
        assert!(before.elapsed() > Duration::from_secs(3), "{:?}", before.elapsed());
    });
}
