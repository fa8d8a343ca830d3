//! Keys that the configuration pins by their fingerprints (contract `config.md`, Pinned keys).

use std::fs;

use crate::harness::{self, Client, Config, Exposition, Protocol, Refused, Server, Who};

fn pinning(name: &str, fingerprint: &str) -> Config {
    let keys = format!("[{{ name: {name}, fingerprint: {fingerprint} }}]");
    Config::usual().with("keys", &keys)
}

async fn created(client: &mut Client, name: &str) -> String {
    assert_eq!(client.send("PUT", &format!("/v1/key/create/{name}"), "").await.status, 200);
    fingerprint(client, name).await
}

async fn fingerprint(client: &mut Client, name: &str) -> String {
    let key = client.send("GET", &format!("/v1/key/describe/{name}"), "").await.json();
    key["fingerprint"].as_str().unwrap().to_owned()
}

/// As if a backup of another key were restored.
fn exchange(server: &Server, one: &str, other: &str) {
    let [one, other] = [one, other].map(|name| server.file("keys").join(name));
    let value = fs::read(&other).unwrap();
    fs::remove_file(&one).unwrap();
    fs::write(&one, value).unwrap();
}

#[test]
fn a_fingerprint_is_that_of_the_key_in_all_its_forms() {
    harness::run(async {
        let mut server = Server::start();
        let mut admin = server.client(Who::Admin, Protocol::H2).await;
        let (k, other) = (created(&mut admin, "k").await, created(&mut admin, "other").await);
        assert_eq!(k.len(), 32);
        assert_ne!(k, other);
        let body = r#"{"key":"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=","cipher":"AES256"}"#;
        for name in ["one", "two"] {
            let path = format!("/v1/key/import/{name}");
            assert_eq!(admin.send("PUT", &path, body).await.status, 200);
            // By openssl dgst -sha256 -mac HMAC, as the contract says.
            assert_eq!(fingerprint(&mut admin, name).await, "c2e66e682022d59236df5b7f2493cd12");
        }
        server.restart();
        let mut admin = server.client(Who::Admin, Protocol::H2).await;
        assert_eq!(fingerprint(&mut admin, "k").await, k);
    });
}

#[test]
fn a_server_with_the_pinned_key_starts_and_one_without_does_not() {
    let other = "0123456789abcdef0123456789abcdef";
    // A wrong path shows as a key that is not there. It is not created.
    let Refused { status, stdout, stderr } = Server::refused(&pinning("k", other), |_| {});
    assert_eq!((status, &*stdout), (Some(1), ""), "{stderr}");
    assert!(stderr.contains("key 'k' does not exist"), "{stderr}");
    assert!(stderr.contains("config.yml:"), "{stderr}");
    assert!(stderr.contains(": keys[0].fingerprint: the key store does not have"), "{stderr}");

    harness::run(async {
        let mut server = Server::start();
        let mut admin = server.client(Who::Admin, Protocol::H2).await;
        let k = created(&mut admin, "k").await;
        let written = fs::read(server.file("keys").join("k")).unwrap();
        server.reload_and_wait(&pinning("k", &k.to_uppercase()));
        server.restart();
        let mut admin = server.client(Who::Admin, Protocol::H2).await;
        assert_eq!(fingerprint(&mut admin, "k").await, k);
        assert_eq!(admin.send("PUT", "/v1/key/generate/k", "").await.status, 200);
        let status = admin.send("GET", "/v1/status", "").await.json();
        assert!(status.get("pinned_key_faults").is_none(), "{status}");
        assert_eq!(fs::read(server.file("keys").join("k")).unwrap(), written);
    });
}

#[test]
fn a_reload_that_pins_another_key_changes_nothing() {
    harness::run(async {
        let server = Server::start();
        let mut admin = server.client(Who::Admin, Protocol::H2).await;
        let k = created(&mut admin, "k").await;
        let other = created(&mut admin, "other").await;
        server.reload(&pinning("k", &other));
        server.wait_for_stderr(&format!(
            "keys[0].fingerprint: the key store does not have the pinned keys: key 'k' has the \
             fingerprint {k}, and {other} is pinned"
        ));
        server.wait_for_stderr("still using the previous configuration");
        assert_eq!(fingerprint(&mut admin, "k").await, k);
        server.reload(&pinning("missing", &other));
        server.wait_for_stderr("key 'missing' does not exist");
        // It is no pinned key: it can be created.
        created(&mut admin, "missing").await;
    });
}

/// It is noticed whenever the key is read, not at the start alone.
#[test]
fn a_key_that_is_exchanged_while_the_server_runs_is_not_used() {
    harness::run(async {
        let server = Server::start();
        let mut admin = server.client(Who::Admin, Protocol::H2).await;
        let k = created(&mut admin, "k").await;
        created(&mut admin, "other").await;
        let config = pinning("k", &k);
        // So that the key is read anew.
        let config = config.with("cache", "{ expiry: { any: 100ms, unused: 100ms } }");
        server.reload_and_wait(&config);
        exchange(&server, "k", "other");
        let refused = (502, "failed to read key".to_owned());
        kes_testkit::wait::eventually_async(
            std::time::Duration::from_secs(40),
            "the key is not used",
            async || {
                let reply = admin.share().send("PUT", "/v1/key/generate/k", "").await;
                reply.status == 502 && reply.error() == refused
            },
        )
        .await;
        server.wait_for_stderr(&format!(", and {k} is pinned"));
        let status = admin.send("GET", "/v1/status", "").await.json();
        assert_eq!(status["pinned_key_faults"], 1);
        assert_eq!(Exposition::of(&mut admin).await.value("kes_keystore_pin_faults"), 1.0);
        // If it is deleted, it is not made anew, whoever asks for it.
        assert_eq!(admin.send("DELETE", "/v1/key/delete/k", "").await.status, 200);
        let reply = admin.send("PUT", "/v1/key/create/k", "").await;
        assert_eq!(reply.error(), (502, "failed to create key".to_owned()));
        assert!(!server.file("keys").join("k").exists());
    });
}

#[test]
fn a_check_compares_pinned_keys_beside_the_server_and_changes_nothing() {
    harness::run(async {
        let server = Server::start();
        let mut admin = server.client(Who::Admin, Protocol::H2).await;
        let (k, other) = (created(&mut admin, "k").await, created(&mut admin, "other").await);
        let check = |config: &Config| {
            fs::write(server.file("config.yml"), config.text()).unwrap();
            let mut command = server.command(Who::Nobody, &["check", "--config", "config.yml"]);
            command.envs(server.environment().iter().map(|(name, value)| (name, value)));
            let output = command.output().unwrap();
            (output.status.success(), String::from_utf8(output.stdout).unwrap())
        };
        let (is_good, told) = check(&pinning("k", &k));
        assert!(
            is_good
                && told
                    .ends_with("ok       keys: the key store has what is pinned: 1 pinned key\n"),
            "{told}"
        );
        for (name, wrong) in [("k", "has the fingerprint"), ("missing", "does not exist")] {
            let (is_good, told) = check(&pinning(name, &other));
            assert!(!is_good, "{told}");
            let line = told.lines().last().unwrap();
            let place = "FAILED   config.yml:";
            let fault = format!(
                "keys[0].fingerprint: the key store does not have the pinned keys: key '{name}' {wrong}"
            );
            assert!(line.starts_with(place) && line.contains(&fault), "{told}");
        }
        assert!(!server.file("keys").join("missing").exists());
    });
}
