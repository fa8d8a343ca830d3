//! Calls to a key store that hangs: who has many of them under way keeps nobody else from theirs
//! (contract `api.md`, Calls to the key store).

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::future::join_all;
use kes_testkit::faulty::{Faulty, Reply as Answer};
use kes_testkit::wait::eventually_async;
use serde_json::json;
use tokio::time::timeout;

use crate::harness::{self, Client, Config, Exposition, Protocol, Server, Vectors, Who};

/// How long something may take before a test fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// A Vault in little that has every key and lists two. It does not answer what is asked for names
/// that begin with `held`, and every change.
pub(super) fn vault() -> Faulty {
    let key = Vectors::read().key("vec-aes256").clone();
    Faulty::start(move |request| match (request.method.as_str(), request.path()) {
        (_, "/v1/sys/health") => Answer::healthy(),
        (_, "/v1/auth/approle/login") => Answer::login("t", 0),
        (_, path) if path.starts_with("/v1/kv/held") => Answer::Hang,
        ("GET", path) if path.starts_with("/v1/kv/k") => {
            let name = path.rsplit('/').next().unwrap();
            Answer::json(200, json!({ "data": { name: key.value } }))
        }
        _ => Answer::json(404, json!({ "errors": [] })),
    })
}

pub(super) fn config(vault: &Faulty) -> Config {
    let keystore = format!(
        "{{ vault: {{ endpoint: \"{}\", approle: {{ id: i, secret: s }} }} }}",
        vault.url()
    );
    let policy = "
  one: { allow: ['*'], identities: [\"${MINIO}\"] }
  another: { allow: ['*'], identities: [\"${OTHER}\"] }";
    Config::usual().with("keystore", &keystore).with("policy", policy)
}

/// The names that Vault was asked for and does not answer.
pub(super) fn held(vault: &Faulty) -> BTreeSet<String> {
    let requests = vault.requests().into_iter();
    let paths = requests.map(|request| request.path().to_owned());
    paths.filter(|path| path.starts_with("/v1/kv/held")).collect()
}

/// Asks for many keys at a time on one connection, each of them by its own request. The statuses
/// and messages of what is answered.
async fn flood(client: &Client, count: usize) -> Vec<(u16, String)> {
    let ask = |n: usize| {
        let mut client = client.share();
        async move { client.send("GET", &format!("/v1/key/describe/held-{n}"), "").await.error() }
    };
    join_all((0..count).map(ask)).await
}

async fn describe(client: &mut Client, name: &str) -> u16 {
    let path = format!("/v1/key/describe/{name}");
    let reply = timeout(PATIENCE, client.send("GET", &path, ""));
    reply.await.expect("it is answered").status
}

#[test]
fn reads_that_hang_keep_nobody_else_from_theirs() {
    harness::run(async {
        let vault = vault();
        let server = Server::with(&config(&vault));
        let hog = server.client(Who::Minio, Protocol::H2).await;
        let mut own = server.client(Who::Minio, Protocol::H1).await;
        let mut other = server.client(Who::Other, Protocol::H2).await;
        let mut admin = server.client(Who::Admin, Protocol::H2).await;
        assert_eq!(describe(&mut own, "k-own").await, 200);
        let others = async {
            eventually_async(PATIENCE, "many reads hang", || async { held(&vault).len() >= 24 })
                .await;
            for n in 0..20 {
                assert_eq!(describe(&mut other, &format!("k-other-{n}")).await, 200);
                assert_eq!(describe(&mut admin, &format!("k-admin-{n}")).await, 200);
            }
            // What is in memory needs no place.
            assert_eq!(describe(&mut own, "k-own").await, 200);
            let metrics = Exposition::of(&mut admin).await;
            let under_way = |class| {
                metrics.value(&format!("kes_class_store_calls{{call=\"read\",class=\"{class}\"}}"))
            };
            assert_eq!(["stranger", "known", "admin"].map(under_way), [0.0, 24.0, 0.0]);
            held(&vault).len()
        };
        let flooded = flood(&hog, 200);
        let others = timeout(Duration::from_secs(9), others);
        let (replies, asked) = tokio::join!(flooded, others);
        // Before the first of them was given up, no more than the budget of one identity.
        assert_eq!(asked.expect("nobody waits for what hangs"), 24);
        let too_many = (429, "too many key store calls at a time".to_owned());
        assert!(replies.contains(&too_many), "{replies:?}");
        let is_failure = |(status, _): &&(u16, String)| [429, 502, 503, 504].contains(status);
        assert_eq!(replies.iter().filter(is_failure).count(), replies.len(), "{replies:?}");
        let reason = "as many calls of this kind to the key store under way as it may have";
        kes_testkit::wait::eventually(PATIENCE, "the reason is audited", || {
            server.stdout().contains(reason)
        });
    });
}

/// Anybody can make certificates: strangers have one budget together.
#[test]
fn strangers_together_have_a_few_reads_under_way() {
    harness::run(async {
        let vault = vault();
        let config = config(&vault)
            .with("api", "{ /v1/key/describe/: { skip_auth: true } }")
            .with("policy", "{ one: { allow: ['*'], identities: [\"${MINIO}\"] } }");
        let server = Server::with(&config);
        let strangers = [
            server.client(Who::Nobody, Protocol::H2).await,
            server.client(Who::Nobody, Protocol::H2).await,
            server.client(Who::Other, Protocol::H2).await,
        ];
        let mut known = server.client(Who::Minio, Protocol::H2).await;
        let mut admin = server.client(Who::Admin, Protocol::H2).await;
        let served = async {
            eventually_async(PATIENCE, "reads hang", || async { held(&vault).len() >= 8 }).await;
            for n in 0..20 {
                assert_eq!(describe(&mut known, &format!("k-known-{n}")).await, 200);
                assert_eq!(describe(&mut admin, &format!("k-admin-{n}")).await, 200);
            }
            held(&vault).len()
        };
        let served = timeout(Duration::from_secs(9), served);
        let floods = join_all(strangers.iter().map(|stranger| flood(stranger, 30)));
        tokio::select! {
            _ = floods => panic!("what hangs is answered"),
            asked = served => assert_eq!(asked.expect("nobody waits for strangers"), 8),
        }
    });
}
