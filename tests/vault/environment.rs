//! What the client of Vault takes from its environment, with a real proxy and a real Vault.

use kes_testkit::ConnectProxy;

use super::world::{Layout, World};
use crate::harness::{self, Config, Protocol, Server, Who};

/// A name that no name server knows: only the proxy leads there.
const HOST: &str = "vault.invalid:8200";

/// The guide's configuration without trust, with what stands for it in the environment.
fn config(world: &World, scheme: &str) -> Config {
    let config = world.config_at(&format!("{scheme}://{HOST}"));
    let text = config.text();
    let keystore = text.split_once("keystore:").unwrap().1;
    let trusted = keystore.split_once("\n    tls:").map_or(keystore, |(before, _)| before);
    config.with("keystore", trusted)
}

fn with_trust(config: Config, world: &World) -> Config {
    // The certificate is for localhost.
    config
        .env("VAULT_CACERT", world.authority().certificate().to_str().unwrap())
        .env("VAULT_TLS_SERVER_NAME", "localhost")
}

async fn create(server: &Server, name: &str) -> u16 {
    let mut minio = server.client(Who::Minio, Protocol::H2).await;
    minio.send("PUT", &format!("/v1/key/create/{name}"), "").await.status
}

#[test]
fn a_vault_behind_a_proxy_is_reached_with_trust_and_name_of_the_environment() {
    let world = World::new(Layout { tls: true, ..Layout::V2 });
    let proxy = ConnectProxy::start(&[(HOST, world.bao.address())]);
    let url = format!("http://me:hunter2@{}", proxy.address());
    let config = with_trust(config(&world, "https"), &world);
    let server = Server::with(
        &config
            .clone()
            .env("HTTPS_PROXY", &url)
            .env("VAULT_SKIP_VERIFY", "1")
            .env("VAULT_TOKEN", "s3cret"),
    );
    harness::run(async { assert_eq!(create(&server, "k").await, 200) });
    assert!(world.secret("k").is_some());
    let asked = proxy.asked();
    assert!(asked.iter().all(|asked| asked.method == "CONNECT" && asked.host == HOST), "{asked:?}");
    // me:hunter2
    assert_eq!(asked[0].authorization.as_deref(), Some("Basic bWU6aHVudGVyMg=="));
    let log = server.stderr();
    for part in [
        "keystore.vault.tls.ca: not set, taken from the environment variable VAULT_CACERT",
        "keystore.vault.tls.server_name: not set",
        "keystore.vault.proxy: not set, taken from the environment variable HTTPS_PROXY",
        "not obeyed: VAULT_SKIP_VERIFY, VAULT_TOKEN",
    ] {
        assert!(log.contains(part), "{part}: {log}");
    }
    assert!(!log.contains("hunter2") && !log.contains("s3cret"), "{log}");

    // `kes check` obeys the same, and says it.
    let mut check = server.command(Who::Nobody, &["check", "--config", "config.yml"]);
    for (name, value) in server.environment() {
        check.env(name, value);
    }
    let output = check.output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    assert!(text.contains("taken from the environment variable HTTPS_PROXY"), "{text}");
    assert!(text.contains("not obeyed: VAULT_SKIP_VERIFY"), "{text}");

    // NO_PROXY excludes it: nobody knows the name.
    let before = proxy.asked().len();
    let excluded = config.env("HTTPS_PROXY", &url).env("NO_PROXY", "other,.invalid");
    let server = Server::with(&excluded);
    server.wait_for_stderr(&format!("not available: no connection to https://{HOST}"));
    assert_eq!(proxy.asked().len(), before);
}

#[test]
fn plain_http_has_a_proxy_of_its_own() {
    let world = World::new(Layout::V2);
    let proxy = ConnectProxy::start(&[(HOST, world.bao.address())]);
    let url = format!("http://{}", proxy.address());
    let server = Server::with(&config(&world, "http").env("http_proxy", &url));
    harness::run(async { assert_eq!(create(&server, "k").await, 200) });
    assert!(proxy.asked().iter().all(|asked| asked.method != "CONNECT" && asked.host == HOST));

    // The file says the same, for all endpoints.
    let proxy = ConnectProxy::start(&[(HOST, world.bao.address())]);
    let keystore = config(&world, "http").text();
    let keystore = keystore.split_once("keystore:").unwrap().1.to_owned();
    let keystore = format!("{keystore}    proxy: http://{}", proxy.address());
    let server = Server::with(&config(&world, "http").with("keystore", &keystore));
    harness::run(async { assert_eq!(create(&server, "l").await, 200) });
    assert!(!proxy.asked().is_empty() && !server.stderr().contains("taken from"));
}

/// What is not trusted, or has another name, is refused, whatever VAULT_SKIP_VERIFY says.
#[test]
fn the_certificate_is_verified_whatever_the_environment_says() {
    let world = World::new(Layout { tls: true, ..Layout::V2 });
    let proxy = ConnectProxy::start(&[(HOST, world.bao.address())]);
    let url = format!("http://{}", proxy.address());
    let config = config(&world, "https").env("HTTPS_PROXY", &url).env("VAULT_SKIP_VERIFY", "1");
    let server = Server::with(&config);
    server.wait_for_stderr("its certificate is not signed by a trusted CA");
    let ca = world.authority().certificate().to_str().unwrap().to_owned();
    let server = Server::with(&config.clone().env("VAULT_CACERT", &ca));
    server.wait_for_stderr("its certificate is for other names and not for");
    let pem = std::fs::read_to_string(&ca).unwrap();
    let named = config.env("VAULT_TLS_SERVER_NAME", "127.0.0.1").env("VAULT_CACERT_BYTES", &pem);
    let server = Server::with(&named);
    harness::run(async { assert_eq!(create(&server, "k").await, 200) });
}
