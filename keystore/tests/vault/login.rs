//! Login, and renewal and loss of the token.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use kes_keystore::config::{AppRoleSecret, Jwt, KvVersion, Login, SecretText, Vault};
use kes_keystore::vault::VaultStore;
use kes_keystore::{Error, KeyStore, State};
use kes_testkit::bao::{RoleCredentials, minimal_kv_policy};
use kes_testkit::faulty::{Faulty, Reply, Request};
use kes_testkit::kubernetes;
use kes_testkit::wait::{eventually, eventually_async};
use serde_json::json;

use super::transport::{login_answer, stub, well};
use super::world::{STORED, World, app_role, config, create, is_reachable, open, read, set_up};

const SOON: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_refused_login_says_what_to_look_at_and_shows_no_secret() {
    let world = World::new(KvVersion::V1);
    let secret = "11111111-aaaa-bbbb-cccc-222222222222";
    let wrong_secret = RoleCredentials { secret_id: secret.to_owned(), ..world.role.clone() };
    let wrong_role = RoleCredentials { role_id: "no-such-role".to_owned(), ..world.role.clone() };
    for role in [&wrong_secret, &wrong_role] {
        let store = open(Vault { login: app_role(role), ..world.config() }).await;
        let error = read(&store, "k").await.unwrap_err();
        assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
        let text = error.to_string();
        assert!(text.contains("approle.id") && text.contains("approle.secret"), "{text}");
        for secret in [secret, &world.role.secret_id] {
            assert!(!format!("{text} {error:?}").contains(secret), "{text}");
        }
        assert_eq!(store.state(), State::Unavailable);
    }
    let Login::AppRole { id, secret, .. } = app_role(&world.role) else { unreachable!() };
    let engine = "none".to_owned();
    let login = Login::AppRole { engine, namespace: None, id, secret };
    let store = open(Vault { login, ..world.config() }).await;
    let text = read(&store, "k").await.unwrap_err().to_string();
    let expected = "check `approle.engine`: a login engine must be mounted at auth/none, in this";
    assert!(text.contains(expected), "{text}");
}

#[tokio::test]
async fn a_refused_login_blames_what_refuses_it() {
    let world = World::new(KvVersion::V1);
    let root = world.bao.root();
    let team = root.create_namespace("team");
    let in_team = set_up(&team, KvVersion::V1, Duration::ZERO);
    let told = async |config: Vault| {
        let store = open(config).await;
        read(&store, "k").await.unwrap_err().to_string()
    };
    let elsewhere = "the login is in no namespace: if the role is in one, set `namespace`";
    // The namespace is missing from the configuration, or the role is in another one.
    let text = told(Vault { login: app_role(&in_team), ..world.config() }).await;
    assert!(text.contains("`approle.id`") && text.contains(elsewhere), "{text}");
    let text = told(Vault { namespace: "team".to_owned(), ..world.config() }).await;
    assert!(text.contains("`approle.id`") && !text.contains("no namespace"), "{text}");
    // The secret ID, and the token, are bound to other addresses.
    for field in ["secret_id_bound_cidrs", "token_bound_cidrs"] {
        let none = json!({ "secret_id_bound_cidrs": [], "token_bound_cidrs": [] });
        root.change_role("approle", "kes", &none);
        root.change_role("approle", "kes", &json!({ field: ["10.0.0.0/8"] }));
        let text = told(world.config()).await;
        assert!(text.contains(&format!("`{field}`")), "{text}");
        assert!(!text.contains("approle.id"), "{text}");
    }
}

/// Whatever a server says that Vault is not known to say is not shown.
#[tokio::test]
async fn a_secret_that_a_refusal_repeats_is_not_shown() {
    let node = Faulty::start(|request: &Request| match request.path() {
        "/v1/auth/approle/login" => {
            Reply::json(503, json!({ "errors": ["secret s is no secret of this server"] }))
        }
        _ => well(request),
    });
    let text = read(&stub(&node).await, "k").await.unwrap_err().to_string();
    let expected =
        "answers 503 Service Unavailable: an unknown text of 36 bytes, which is not shown";
    assert!(text.contains(expected), "{text}");
}

#[tokio::test]
async fn a_secret_file_is_read_anew_at_each_login() {
    let world = World::new(KvVersion::V1);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secret-id");
    let login = Login::AppRole {
        engine: "approle".to_owned(),
        namespace: None,
        id: world.role.role_id.clone(),
        secret: AppRoleSecret::File((&path).into()),
    };
    let store = open(Vault { login, ..world.config() }).await;
    let text = read(&store, "k").await.unwrap_err().to_string();
    assert!(text.contains(path.to_str().unwrap()), "{text}");
    for (content, error) in [("\n", "empty"), (&"x".repeat(1 << 17), "longer")] {
        fs::write(&path, content).unwrap();
        eventually_async(SOON, error, async || {
            read(&store, "k").await.unwrap_err().to_string().contains(error)
        })
        .await;
    }
    fs::write(&path, "11111111-aaaa-bbbb-cccc-222222222222").unwrap();
    let hint = format!("file '{}' of `approle.secret_file`", path.display());
    eventually_async(SOON, "a wrong secret names its file", async || {
        read(&store, "k").await.unwrap_err().to_string().contains(&hint)
    })
    .await;
    fs::write(&path, format!("{}\n", world.role.secret_id)).unwrap();
    eventually_async(SOON, "the login succeeds", async || create(&store, "k").await.is_ok()).await;
}

#[tokio::test]
async fn after_a_revocation_the_next_call_succeeds_with_one_login() {
    let world = World::new(KvVersion::V1);
    let store = world.open().await;
    create(&store, "k").await.unwrap();
    // Older than the time that the nodes of a cluster need to learn of a token.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    world.bao.root().revoke_tokens("approle");
    let reads = (0..50).map(|_| read(&store, "k"));
    for result in join_all(reads).await {
        assert_eq!(result.unwrap(), STORED);
    }
    assert_eq!(world.bao.root().tokens("approle").len(), 1);
}

#[tokio::test]
async fn a_token_revoked_right_after_the_login_is_replaced_too() {
    let world = World::new(KvVersion::V1);
    let store = world.open().await;
    create(&store, "k").await.unwrap();
    world.bao.root().revoke_tokens("approle");
    assert_eq!(read(&store, "k").await.unwrap(), STORED);
}

/// Vault has just said that it knows the token: that was before.
#[tokio::test]
async fn a_token_revoked_right_after_a_denial_is_replaced_too() {
    let world = World::new(KvVersion::V1);
    let root = world.bao.root();
    let store = world.open().await;
    create(&store, "k").await.unwrap();
    root.write_policy("kes", "path \"other/*\" { capabilities = [\"read\"] }");
    read(&store, "k").await.unwrap_err();
    root.write_policy("kes", &minimal_kv_policy("kv", 1));
    root.revoke_tokens("approle");
    for result in join_all((0..3).map(|_| read(&store, "k"))).await {
        assert_eq!(result.unwrap(), STORED);
    }
}

#[tokio::test]
async fn a_short_lived_token_is_renewed() {
    let world = World::with_ttl(SHORT);
    let store = world.open().await;
    create(&store, "k").await.unwrap();
    is_renewed(&world, &store).await;
}

/// The life of a token: the test waits for 80 % of it, and the rest is long enough to renew it.
const SHORT: Duration = Duration::from_secs(10);

/// The token is renewed and not replaced while keys are read.
async fn is_renewed(world: &World, store: &VaultStore) {
    let root = world.bao.root();
    let tokens = root.tokens("approle");
    let [token] = &tokens[..] else { panic!("one token: {tokens:?}") };
    let lease = json!({ "lease_id": format!("auth/approle/login/{token}") });
    eventually_async(SOON, "the token is renewed", async || {
        assert_eq!(read(store, "k").await.unwrap(), STORED);
        let found = root.must("PUT", "sys/leases/lookup", Some(&lease)).json();
        !found["data"]["last_renewal"].is_null()
    })
    .await;
    assert_eq!(read(store, "k").await.unwrap(), STORED);
    assert_eq!(root.tokens("approle"), tokens, "renewed, not replaced");
}

#[tokio::test]
async fn a_token_is_replaced_where_renewing_ends() {
    for fields in [json!({ "token_max_ttl": "4s" }), json!({ "token_type": "batch" })] {
        let world = World::with_ttl(Duration::from_secs(3));
        world.bao.root().change_role("approle", "kes", &fields);
        let store = world.open().await;
        create(&store, "k").await.unwrap();
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(8) {
            assert_eq!(read(&store, "k").await.unwrap(), STORED, "{fields}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

#[tokio::test]
async fn a_missing_right_is_an_error_and_no_storm_of_logins() {
    let world = World::new(KvVersion::V1);
    let root = world.bao.root();
    root.write_policy("kes", "path \"kv/allowed*\" { capabilities = [\"read\"] }");
    root.write("kv/allowed", &json!({ "allowed": STORED }));
    let store = world.open().await;
    assert_eq!(read(&store, "allowed").await.unwrap(), STORED);
    let start = Instant::now();
    for _ in 0..20 {
        let error = read(&store, "denied").await.unwrap_err();
        assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
        assert!(error.to_string().contains("403"), "{error}");
    }
    // No call is repeated for the 3 s that a node may need to learn of a token.
    assert!(start.elapsed() < Duration::from_secs(30), "{:?}", start.elapsed());
    assert_eq!(root.tokens("approle").len(), 1);
    assert!(is_reachable(&store), "one right is not all");
}

/// A node, in front of a real server, that does not know a new token for a second.
#[tokio::test]
async fn a_young_token_that_a_node_does_not_know_yet_is_waited_for() {
    let world = World::new(KvVersion::V1);
    let server = world.bao.admin_address();
    let login: Arc<Mutex<Option<Instant>>> = Arc::default();
    let at = Arc::clone(&login);
    let node = Faulty::start(move |request: &Request| {
        let mut at = at.lock().unwrap();
        if request.path().contains("/login") {
            at.get_or_insert_with(Instant::now);
            return Reply::Forward(server);
        }
        let young = at.is_some_and(|at| at.elapsed() < Duration::from_secs(1));
        if young && request.header("x-vault-token").is_some() {
            return Reply::json(403, json!({ "errors": ["permission denied"] }));
        }
        Reply::Forward(server)
    });
    let store = open(config(&node.url(), KvVersion::V1, &world.role)).await;
    create(&store, "k").await.unwrap();
    let logins = node.requests().iter().filter(|request| request.path().contains("/login")).count();
    assert_eq!(logins, 1);
}

/// However many calls are refused, there is at most one login a second.
#[tokio::test]
async fn logins_are_never_more_than_one_a_second() {
    for status in [200, 400] {
        let node = Faulty::start(move |request: &Request| match request.path() {
            "/v1/auth/approle/login" if status == 200 => Reply::json(200, login_answer()),
            "/v1/auth/approle/login" => Reply::json(status, json!({ "errors": ["no"] })),
            "/v1/sys/health" => well(request),
            _ => Reply::json(403, json!({ "errors": ["permission denied"] })),
        });
        let start = Instant::now();
        let store = stub(&node).await;
        while start.elapsed() < Duration::from_secs(5) {
            for result in join_all((0..20).map(|_| read(&store, "k"))).await {
                assert!(result.is_err());
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let requests = node.requests();
        let logins = requests.iter().filter(|request| request.path().ends_with("/login")).count();
        // The times of arrival say little: on a busy machine, two logins that were sent a second
        // apart may arrive together. But all after the first take at least a second each.
        let seconds = usize::try_from(start.elapsed().as_secs()).unwrap();
        assert!((2..=seconds + 1).contains(&logins), "{logins} logins in {seconds} s");
    }
}

#[tokio::test]
async fn kubernetes_logs_in_with_a_token_or_a_file_that_is_read_anew() {
    let world = World::new(KvVersion::V1);
    let revoked = Arc::new(AtomicBool::new(false));
    let first_revoked = Arc::clone(&revoked);
    let api_server = kubernetes::token_review(move |subject| {
        subject == "second" || !first_revoked.load(Ordering::Relaxed)
    });
    world.bao.root().enable_kubernetes("k8s", &api_server.url(), "kes-role", "kes");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    fs::write(&path, kubernetes::token("first")).unwrap();

    let literal = Jwt::Literal(SecretText::new(kubernetes::token("first")));
    for jwt in [literal, Jwt::File((&path).into())] {
        let store = open(Vault { login: kubernetes_login(jwt), ..world.config() }).await;
        let _ = create(&store, "k").await;
        assert_eq!(read(&store, "k").await.unwrap(), STORED);
    }

    let store =
        open(Vault { login: kubernetes_login(Jwt::File((&path).into())), ..world.config() });
    let store = store.await;
    read(&store, "k").await.unwrap();
    revoked.store(true, Ordering::Relaxed);
    world.bao.root().revoke_tokens("k8s");
    let text = read(&store, "k").await.unwrap_err().to_string();
    assert!(text.contains("kubernetes.role") && text.contains("kubernetes.jwt"), "{text}");
    assert!(!text.contains(&kubernetes::token("first")), "{text}");
    // The exact text of each refusal.
    let url = world.bao.url();
    let hint = |jwt: &str| {
        format!(
            "check `kubernetes.role` and {jwt}: the role must exist and be bound to the service \
             account, and the token must be valid"
        )
    };
    let of_file = format!("file '{}' of `kubernetes.jwt`", path.display());
    let elsewhere = "the login is in no namespace: if the role is in one, set `namespace`";
    let refused = |engine: &str, said: &str, jwt: &str| {
        format!(
            "key store: login to Vault by Kubernetes failed: auth/{engine}/login: {url} answers 403 \
             Forbidden: {said}; check `kubernetes.engine`: a login engine must be mounted at \
             auth/{engine}, in this namespace; if it is, {}; and where the role is bound to \
             addresses, `token_bound_cidrs` must include that of this server; {elsewhere}",
            hint(jwt)
        )
    };
    assert_eq!(text, refused("k8s", "permission denied", &of_file));
    let literal = || Jwt::Literal(SecretText::new(kubernetes::token("first")));
    for (engine, role, expected) in [
        ("k8s", "kes-role", refused("k8s", "permission denied", "`kubernetes.jwt`")),
        ("none", "kes-role", refused("none", "permission denied", "`kubernetes.jwt`")),
        (
            "k8s",
            "no-role",
            format!(
                "key store: login to Vault by Kubernetes failed: auth/k8s/login: {url} answers 400 \
                 Bad Request: invalid role name \"no-role\"; {}; {elsewhere}",
                hint("`kubernetes.jwt`")
            ),
        ),
    ] {
        let login = Login::Kubernetes {
            engine: engine.to_owned(),
            namespace: None,
            role: role.to_owned(),
            jwt: literal(),
        };
        let store = open(Vault { login, ..world.config() }).await;
        assert_eq!(read(&store, "k").await.unwrap_err().to_string(), expected);
    }
    fs::write(&path, kubernetes::token("second")).unwrap();
    eventually_async(SOON, "the new token is used", async || read(&store, "k").await.is_ok()).await;
}

fn kubernetes_login(jwt: Jwt) -> Login {
    Login::Kubernetes {
        engine: "k8s".to_owned(),
        namespace: None,
        role: "kes-role".to_owned(),
        jwt,
    }
}

#[tokio::test]
async fn a_login_may_be_in_another_namespace() {
    let world = World::with_ttl(SHORT);
    let root = world.bao.root();
    let space = root.create_namespace("team");
    space.enable_kv("kv", 2);
    let policy = minimal_kv_policy("team/kv", 2);
    root.write_policy("kes", &policy);
    let Login::AppRole { engine, id, secret, .. } = app_role(&world.role) else { unreachable!() };
    let login = Login::AppRole { engine, namespace: Some(String::new()), id, secret };
    let store: VaultStore =
        open(Vault { login, namespace: "team".to_owned(), ..world.config() }).await;
    create(&store, "k").await.unwrap();
    assert!(space.read("kv/data/k").is_some());
    // Renewed by the server that the token is from.
    is_renewed(&world, &store).await;
    assert!(is_reachable(&store));
}

#[tokio::test]
async fn a_store_that_is_dropped_leaves_no_task_behind() {
    let node = Faulty::start(|request: &Request| match request.path() {
        "/v1/sys/health" => Reply::json(503, json!({ "initialized": true, "sealed": true })),
        _ => Reply::json(503, json!({ "errors": ["Vault is sealed"] })),
    });
    let role = RoleCredentials { role_id: "r".to_owned(), secret_id: "s".to_owned() };
    let store = open(config(&node.url(), KvVersion::V1, &role)).await;
    eventually(SOON, "it asks", || !node.requests().is_empty());
    drop(store);
    // Requests that are under way may still arrive. A task that was left would send more than that.
    for _ in 0..5 {
        let asked = node.requests().len();
        tokio::time::sleep(Duration::from_secs(2)).await;
        if node.requests().len() == asked {
            return;
        }
    }
    panic!("it goes on asking");
}

pub(super) async fn join_all<T>(
    futures: impl IntoIterator<Item = impl Future<Output = T>>,
) -> Vec<T> {
    let mut futures: Vec<_> = futures.into_iter().map(|future| Some(Box::pin(future))).collect();
    let mut results: Vec<Option<T>> = futures.iter().map(|_| None).collect();
    std::future::poll_fn(|context| {
        for (future, result) in futures.iter_mut().zip(&mut results) {
            if let Some(running) = future
                && let std::task::Poll::Ready(value) = running.as_mut().poll(context)
            {
                *result = Some(value);
                *future = None;
            }
        }
        if futures.iter().all(Option::is_none) {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
    results.into_iter().flatten().collect()
}
