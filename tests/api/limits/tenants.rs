//! The limits of tenants (contract `config.md`, Limits).

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use hyper::body::{Bytes, Incoming};
use kes_testkit::wait::{eventually, eventually_async};
use serde_json::json;

use crate::harness::{self, Client, Config, Exposition, Protocol, Reply, Server, Who};

/// How long something may take before a test fails.
const PATIENCE: Duration = Duration::from_secs(30);

/// Two tenants that may do everything: `minio` has these limits, `other` has none.
fn tenants(limits: &str) -> Config {
    let policy = format!(
        "
  limited: {{ allow: ['*'], limits: {limits}, identities: [\"${{MINIO}}\"] }}
  free: {{ allow: ['*'], identities: [\"${{OTHER}}\"] }}"
    );
    Config::usual().with("policy", &policy)
}

/// A server with the key `k`.
async fn start(config: &Config) -> (Server, Client) {
    let server = Server::with(config);
    let mut admin = server.client(Who::Admin, Protocol::H2).await;
    assert_eq!(admin.send("PUT", "/v1/key/create/k", "").await.status, 200);
    (server, admin)
}

/// Many requests at one time on one connection.
async fn together(
    client: &Client,
    method: &str,
    paths: impl Iterator<Item = String>,
) -> Vec<Reply> {
    let send = |path: String| {
        let mut client = client.share();
        async move { client.send(method, &path, "{}").await }
    };
    join_all(paths.map(send)).await
}

/// Sends bursts of 50 requests, until one of them is refused, of which two a second may pass. A slow
/// machine may send so few a second that none is refused. How many were refused.
async fn burst(
    client: &Client,
    method: &str,
    path: impl Fn(usize) -> String,
    usual: u16,
    message: &str,
) -> usize {
    let start = Instant::now();
    let mut done = 0;
    for round in 0.. {
        let paths = (0..50).map(|n| path(50 * round + n));
        let replies = together(client, method, paths).await;
        let (passed, refused): (Vec<_>, Vec<_>) =
            replies.iter().partition(|reply| reply.status == usual);
        done += passed.len();
        for reply in &refused {
            assert_limited(reply, message);
        }
        // Two at once, two for each second since, and the one of a half second that had begun before.
        let most = 3.0 + 2.0 * start.elapsed().as_secs_f64();
        assert!(done >= 1 && done as f64 <= most, "{done} passed, of {most}");
        if !refused.is_empty() {
            return refused.len();
        }
    }
    unreachable!()
}

#[track_caller]
fn assert_limited(reply: &Reply, message: &str) {
    assert_eq!(reply.error(), (429, message.to_owned()));
    assert_eq!(reply.header("retry-after"), "1");
}

/// A stream, which is a request that lasts.
async fn follow(client: &Client) -> Incoming {
    let mut client = client.share();
    let response = client.open("GET", "/v1/log/error", &[], Bytes::new()).await.unwrap();
    assert_eq!(response.status(), 200);
    response.into_body()
}

const AT_ONCE: &str = "too many requests at a time";

#[test]
fn who_has_as_many_requests_as_it_may_is_refused_until_one_ends() {
    harness::run(async {
        let (server, mut admin) = start(&tenants("{ requests_at_once: 1 }")).await;
        let client = server.client(Who::Minio, Protocol::H2).await;
        let stream = follow(&client).await;
        // On any of its connections.
        for protocol in [Protocol::H1, Protocol::H2] {
            let mut another = server.client(Who::Minio, protocol).await;
            assert_limited(&another.send("PUT", "/v1/key/generate/k", "{}").await, AT_ONCE);
            // What probes ask for is answered, and so is who asks for its own rights.
            for path in
                ["/version", "/v1/ready", "/v1/status", "/v1/api", "/v1/identity/self/describe"]
            {
                assert_eq!(another.send("GET", path, "").await.status, 200, "{path}");
            }
        }
        for who in [Who::Admin, Who::Other] {
            let client = server.client(who, Protocol::H2).await;
            let _stream = follow(&client).await;
            let mut client = client.share();
            assert_eq!(client.send("PUT", "/v1/key/generate/k", "{}").await.status, 200, "{who:?}");
        }

        let limited = r#"kes_http_limited_requests{limit="requests_at_once"}"#;
        assert_eq!(Exposition::of(&mut admin).await.value(limited), 2.0);
        let of_sdk = Exposition::as_the_sdk(&mut admin).await;
        assert_eq!(of_sdk.kind("kes_http_limited_requests"), None);
        eventually(PATIENCE, "the refusals are audited", || {
            let log = server.stdout();
            log.lines().filter(|line| line.contains("res.code=429")).count() == 2
        });

        drop(stream);
        eventually_async(PATIENCE, "the turn is free again", || {
            let mut client = client.share();
            async move { client.send("PUT", "/v1/key/generate/k", "{}").await.status == 200 }
        })
        .await;
    });
}

#[test]
fn a_burst_beyond_the_rate_is_refused_and_no_other_client_notices() {
    harness::run(async {
        let (server, mut admin) = start(&tenants("{ requests_per_second: 2 }")).await;
        let client = server.client(Who::Minio, Protocol::H2).await;
        let path = |_| "/v1/key/generate/k".to_owned();
        let refused = burst(&client, "PUT", path, 200, "too many requests per second").await;
        let other = server.client(Who::Other, Protocol::H2).await;
        let replies = together(&other, "PUT", (0..50).map(path)).await;
        assert!(replies.iter().all(|reply| reply.status == 200));
        let metrics = Exposition::of(&mut admin).await;
        let series = r#"kes_http_limited_requests{limit="requests_per_second"}"#;
        assert_eq!(metrics.value(series), refused as f64);
    });
}

#[test]
fn only_what_is_not_in_memory_counts_as_a_call_to_the_key_store() {
    harness::run(async {
        let config = tenants("{ store_calls_per_second: 2 }")
            .with("cache", "{ expiry: { any: 1h, unused: 1h } }");
        let (server, mut admin) = start(&config).await;
        let client = server.client(Who::Minio, Protocol::H2).await;
        let mut refused = Vec::new();
        for (method, path, usual) in [
            ("GET", "/v1/key/describe/none-", 404),
            ("PUT", "/v1/key/create/new-", 200),
            ("DELETE", "/v1/key/delete/none-", 404),
            ("GET", "/v1/key/list/k", 200),
        ] {
            let message = "too many key store calls per second";
            let of = |n| format!("{path}{n}");
            refused.push(burst(&client, method, of, usual, message).await);
        }
        let paths = (0..200).map(|_| "/v1/key/generate/k".to_owned());
        let replies = together(&client, "PUT", paths).await;
        assert!(replies.iter().all(|reply| reply.status == 200));
        // Each key that was refused does not exist.
        let names = admin.send("GET", "/v1/key/list/new-*", "").await.json();
        let created = names["names"].as_array().unwrap().len();
        assert!(created >= 1 && (created + refused[1]) % 50 == 0, "{created} {refused:?}");
    });
}

#[test]
fn a_reload_keeps_the_requests_of_limits_that_stay() {
    harness::run(async {
        let config = tenants("{ requests_at_once: 1 }");
        let (server, _) = start(&config).await;
        let client = server.client(Who::Minio, Protocol::H2).await;
        let _stream = follow(&client).await;
        let generate = async || {
            let mut client = client.share();
            client.send("PUT", "/v1/key/generate/k", "{}").await
        };
        assert_limited(&generate().await, AT_ONCE);
        server.reload_and_wait(&config);
        assert_limited(&generate().await, AT_ONCE);
        server.reload_and_wait(&tenants("{ requests_at_once: 2 }"));
        assert_eq!(generate().await.status, 200);
        server.reload_and_wait(&tenants("{ requests_at_once: unlimited }"));
        assert_eq!(generate().await.status, 200);
    });
}

#[test]
fn the_most_specific_limit_counts_and_can_be_read() {
    harness::run(async {
        let limits = "{ requests_at_once: 2, overrides: [{ identities: [\"${MINIO}\"], \
                      requests_at_once: 1 }] }";
        let config =
            tenants(limits).with("limits", "{ requests_at_once: 9, store_calls_per_second: 1000 }");
        let (server, mut admin) = start(&config).await;
        let client = server.client(Who::Minio, Protocol::H2).await;
        let _stream = follow(&client).await;
        let mut client = client.share();
        assert_limited(&client.send("PUT", "/v1/key/generate/k", "{}").await, AT_ONCE);

        let (minio, other) = (&server.minio.identity, &server.other.identity);
        for (path, at_once) in [
            ("/v1/policy/read/limited".to_owned(), 2),
            ("/v1/policy/read/free".to_owned(), 9),
            (format!("/v1/identity/describe/{minio}"), 1),
            (format!("/v1/identity/describe/{other}"), 9),
        ] {
            let answer = admin.send("GET", &path, "").await.json();
            let expected = json!({ "requests_at_once": at_once, "store_calls_per_second": 1000 });
            assert_eq!(answer["limits"], expected, "{path}");
        }
        let own = client.send("GET", "/v1/identity/self/describe", "").await.json();
        assert_eq!(own["limits"]["requests_at_once"], 1);
        let own = admin.send("GET", "/v1/identity/self/describe", "").await.json();
        assert!(own.get("limits").is_none(), "{own}");

        let show = |args: &[&str]| {
            let output = server.command(Who::Admin, args).output().unwrap();
            assert!(output.status.success(), "{output:?}");
            String::from_utf8(output.stdout).unwrap()
        };
        let policy: serde_json::Value =
            serde_json::from_str(&show(&["policy", "show", "-k", "limited", "--json"])).unwrap();
        assert_eq!(policy["limits"]["requests_at_once"], 2);
        let table = show(&["identity", "info", "-k", minio]);
        assert!(table.contains("Limits") && table.contains("1 requests at once"), "{table}");
    });
}
