//! Connections: reuse, TLS, redirects.

use std::fs;
use std::path::PathBuf;

use kes_keystore::config::{KvVersion, Vault, VaultTls};
use kes_keystore::vault::VaultStore;
use kes_keystore::{Error, KeyStore, OpenError, State};
use kes_testkit::Authority;
use kes_testkit::bao::RoleCredentials;
use kes_testkit::faulty::{Faulty, Relay, Reply, Request};
use serde_json::{Value, json};

use super::login::join_all;
use super::world::{STORED, World, config, create, is_reachable, open, read};

/// What a stub of a healthy Vault answers.
pub(super) fn well(request: &Request) -> Reply {
    match (request.method.as_str(), request.path()) {
        (_, "/v1/sys/health") => Reply::healthy(),
        (_, "/v1/auth/approle/login") => Reply::json(200, login_answer()),
        ("GET", _) => Reply::json(404, json!({ "errors": [] })),
        _ => Reply::Proper { status: 204, headers: Vec::new(), body: Vec::new() },
    }
}

pub(super) fn login_answer() -> Value {
    Reply::login_body("s.token", 3600)
}

/// A store that is connected to a stub.
pub(super) async fn stub(node: &Faulty) -> VaultStore {
    open(stub_config(node)).await
}

fn stub_config(node: &Faulty) -> Vault {
    let role = RoleCredentials { role_id: "r".to_owned(), secret_id: "s".to_owned() };
    config(&node.url(), KvVersion::V1, &role)
}

#[tokio::test]
async fn a_connection_is_used_for_many_calls() {
    let authority = Authority::new();
    let world = World::with_tls(&authority, false);
    let relay = Relay::to(world.bao.address());
    let url = format!("https://{}", relay.address());
    let tls =
        VaultTls { client: None, ca: Some(authority.certificate().into()), ..VaultTls::default() };
    let store = open(Vault { tls, ..config(&url, KvVersion::V1, &world.role) }).await;
    create(&store, "k").await.unwrap();
    for _ in 0..100 {
        assert_eq!(read(&store, "k").await.unwrap(), STORED);
    }
    // One for the calls, and one for the check of health at the same time.
    assert!(relay.connections() <= 3, "{}", relay.connections());
    for _ in 0..5 {
        for result in join_all((0..32).map(|_| read(&store, "k"))).await {
            assert_eq!(result.unwrap(), STORED);
        }
    }
    // On a busy machine, a connection may return to the pool after the next round has begun.
    // Without a pool there would be 160 more.
    assert!(relay.connections() <= 100, "{}", relay.connections());
}

#[tokio::test]
async fn tls_with_a_private_ca_and_a_client_certificate() {
    let authority = Authority::new();
    let world = World::with_tls(&authority, true);
    let client = authority.client("kes");
    let folder = authority.folder().join("cas");
    fs::create_dir(&folder).unwrap();
    fs::copy(authority.certificate(), folder.join("ca.pem")).unwrap();
    let stranger = Authority::new();
    let (file, pair) = (authority.certificate().to_path_buf(), (client.key, client.certificate));
    for (ca, client, works) in [
        (Some(file.clone()), Some(pair.clone()), true),
        (Some(folder), Some(pair.clone()), true),
        (Some(file), None, false),
        (None, Some(pair.clone()), false),
        (Some(stranger.certificate().to_path_buf()), Some(pair), false),
    ] {
        let client = client.map(|(key, certificate)| (key.into(), certificate.into()));
        let tls = VaultTls { client, ca: ca.map(Into::into), ..VaultTls::default() };
        let text = format!("{tls:?}");
        let store = open(Vault { tls, ..world.config() }).await;
        assert_eq!(is_reachable(&store), works, "{text}");
        match read(&store, "none").await.unwrap_err() {
            Error::NotFound { .. } => assert!(works, "{text}"),
            Error::Unreachable { reason } => assert!(!works, "{text}: {reason}"),
            other => panic!("{text}: {other}"),
        }
    }
}

#[tokio::test]
async fn a_mistake_in_the_configuration_is_told_at_once() {
    let authority = Authority::new();
    let client = authority.client("kes");
    let other = authority.client("other");
    let damaged = authority.folder().join("damaged.pem");
    fs::write(&damaged, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
    let missing = authority.folder().join("missing.pem");
    let node = Faulty::start(well);
    let tls = |client: Option<(PathBuf, PathBuf)>, ca: Option<PathBuf>| {
        let client = client.map(|(key, certificate)| (key.into(), certificate.into()));
        Vault {
            tls: VaultTls { client, ca: ca.map(Into::into), ..VaultTls::default() },
            ..stub_config(&node)
        }
    };
    for (config, word) in [
        (tls(None, Some(missing.clone())), "missing.pem"),
        (tls(None, Some(damaged.clone())), "damaged.pem"),
        (tls(Some((missing.clone(), client.certificate.clone())), None), "missing.pem"),
        (tls(Some((client.key.clone(), damaged)), None), "damaged.pem"),
        (tls(Some((client.key, other.certificate)), None), "other.crt"),
        (Vault { namespace: "a\nb".to_owned(), ..stub_config(&node) }, "namespace"),
    ] {
        let Err(error) = VaultStore::open(config).await else { panic!("{word}: opened") };
        assert!(matches!(error, OpenError::Remote { .. } | OpenError::File { .. }));
        assert!(error.to_string().contains(word), "{word}: {error}");
    }
}

/// Redirects to many targets, with each status and method.
#[tokio::test]
async fn a_token_never_goes_to_another_host() {
    for status in [301, 302, 303, 307, 308] {
        let other = Faulty::start(well);
        let target = other.url();
        let node = Faulty::start(move |request: &Request| match request.path() {
            path if path.starts_with("/v1/kv") => {
                Reply::redirect(status, &format!("{target}{}", request.target))
            }
            _ => well(request),
        });
        let store = stub(&node).await;
        for error in [read(&store, "k").await.unwrap_err(), create(&store, "k").await.unwrap_err()]
        {
            assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
            // Its port is a text of the one that redirects, as all of a target is.
            let port = other.url().rsplit_once(':').unwrap().1.to_owned();
            let text = error.to_string().replace(&node.url(), "NODE");
            assert!(
                text.contains("NODE redirects to the host of NODE with another port"),
                "{text}"
            );
            assert!(text.contains("`curl -sI NODE`") && !text.contains(&port), "{text}");
        }
        assert_eq!(other.connections(), 0);
        assert!(matches!(store.state(), State::Reachable { .. }));
    }
}

#[tokio::test]
async fn a_redirect_of_a_login_is_not_followed_with_the_secret() {
    let other = Faulty::start(well);
    let target = other.url();
    let node = Faulty::start(move |request: &Request| match request.path() {
        "/v1/auth/approle/login" => Reply::redirect(307, &format!("{target}{}", request.target)),
        _ => well(request),
    });
    let store = stub(&node).await;
    read(&store, "k").await.unwrap_err();
    assert_eq!(other.connections(), 0);
}

/// A standby that sends its clients to the active node.
#[tokio::test]
async fn a_redirect_to_another_endpoint_is_followed_once() {
    let world = World::new(KvVersion::V1);
    let target = world.bao.url();
    let standby = Faulty::start(move |request: &Request| match request.path() {
        "/v1/sys/health" => well(request),
        _ => Reply::redirect(307, &format!("{target}{}", request.target)),
    });
    let mut config = world.config();
    config.endpoints.insert(0, standby.url().parse().unwrap());
    let store = open(config).await;
    create(&store, "k").await.unwrap();
    assert_eq!(read(&store, "k").await.unwrap(), STORED);

    let node = Faulty::start(|request: &Request| match request.path() {
        "/v1/kv/k" => Reply::redirect(307, &request.target),
        _ => well(request),
    });
    let store = stub(&node).await;
    let error = read(&store, "k").await.unwrap_err();
    assert!(error.to_string().contains("redirect"), "{error}");
    let asked = node.requests().iter().filter(|request| request.path() == "/v1/kv/k").count();
    assert_eq!(asked, 2);
}

/// An endpoint with a base path, behind a proxy.
#[tokio::test]
async fn an_endpoint_may_have_a_path() {
    let node = Faulty::start(|request: &Request| {
        let target = request.target.strip_prefix("/vault").unwrap_or("/none").to_owned();
        well(&Request { target, ..request.clone() })
    });
    let mut config = stub_config(&node);
    config.endpoints = vec![format!("{}/vault/", node.url()).parse().unwrap()];
    let store = open(config).await;
    assert!(is_reachable(&store));
    assert!(matches!(read(&store, "k").await, Err(Error::NotFound { .. })));
}

/// Requests for health have no namespace and no token; all others have both.
#[tokio::test]
async fn each_call_has_the_headers_that_it_needs_and_no_more() {
    let node = Faulty::start(well);
    let store = open(Vault { namespace: "team".to_owned(), ..stub_config(&node) }).await;
    read(&store, "k").await.unwrap_err();
    let requests = node.requests();
    let of = |path: &str| {
        let request = requests.iter().find(|request| request.path() == path).unwrap();
        ["x-vault-request", "x-vault-namespace", "x-vault-token"]
            .map(|name| request.header(name).map(str::to_owned))
    };
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(of("/v1/sys/health"), [text("true"), None, None]);
    assert_eq!(of("/v1/auth/approle/login"), [text("true"), text("team"), None]);
    assert_eq!(of("/v1/kv/k"), [text("true"), text("team"), text("s.token")]);
}

/// A token that is not a valid header value, and a login answer of another form.
#[tokio::test]
async fn a_login_answer_that_is_nonsense_is_an_error_without_the_token() {
    let mut newline = login_answer();
    newline["auth"]["client_token"] = json!("s.hunter2\n");
    let mut shape = login_answer();
    shape["auth"]["lease_duration"] = json!("s.hunter2");
    let mut none = login_answer();
    none["auth"] = Value::Null;
    for answer in [newline, shape, none, json!("s.hunter2")] {
        let node = Faulty::start(move |request: &Request| match request.path() {
            "/v1/auth/approle/login" => Reply::json(200, answer.clone()),
            _ => well(request),
        });
        let error = read(&stub(&node).await, "k").await.unwrap_err();
        assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
    }
}
