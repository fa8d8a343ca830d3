//! Version, status, readiness, and the list of APIs.

use std::time::{Duration, Instant};

use kes_testkit::wait::eventually_async;
use serde_json::{Value, json};

use crate::harness::{self, Config, Exposition, Protocol, Server, Who};

#[test]
fn a_status_has_the_fields_that_clients_read() {
    harness::run(async {
        let server = Server::start();
        for protocol in [Protocol::H1, Protocol::H2] {
            let mut client = server.client(Who::Minio, protocol).await;
            let reply = client.send("GET", "/v1/status", "").await;
            assert_eq!(reply.header("content-type"), "application/json");
            let status = reply.json();
            let number = |field: &str| {
                status[field].as_u64().unwrap_or_else(|| panic!("{field} is no number: {status}"))
            };
            let words =
                (status["version"].as_str(), status["os"].as_str(), status["arch"].as_str());
            let arch = match std::env::consts::ARCH {
                "x86_64" => "amd64",
                "aarch64" => "arm64",
                other => other,
            };
            assert_eq!(words, (Some(env!("CARGO_PKG_VERSION")), Some("linux"), Some(arch)));
            assert!(number("uptime") < 3600);
            assert!(number("num_cpu") >= number("num_cpu_used") && number("num_cpu_used") >= 1);
            assert!(number("mem_heap_used") > 4096 && number("mem_stack_used") > 0);
            // In milliseconds: more than a minute would be another unit.
            assert!((1..60_000).contains(&number("keystore_latency")));
            assert_eq!(status.get("keystore_unreachable"), None);
            let fields = 9 + usize::from(cfg!(feature = "fips"));
            assert_eq!(status.as_object().unwrap().len(), fields, "{status}");

            let version = client.send("GET", "/version", "").await.json();
            assert_eq!(version["version"], env!("CARGO_PKG_VERSION"));
            assert!(version["commit"].is_string());
            assert_eq!(version.as_object().unwrap().len(), 2, "{version}");
        }
    });
}

#[test]
fn a_server_that_has_lost_its_key_store_says_so_until_it_is_back() {
    harness::run(async {
        let server = Server::start();
        let mut client = server.client(Who::Admin, Protocol::H2).await;
        let ready = client.send("GET", "/v1/ready", "").await;
        assert_eq!((ready.status, ready.body.len()), (200, 0));
        assert_eq!(client.send("PUT", "/v1/key/create/k", "").await.status, 200);

        let (here, away) = (server.file("keys"), server.file("away"));
        std::fs::rename(&here, &away).unwrap();
        eventually_async(Duration::from_secs(20), "the loss is noticed", || {
            let mut client = client.share();
            async move { client.send("GET", "/v1/ready", "").await.status != 200 }
        })
        .await;
        let ready = client.send("GET", "/v1/ready", "").await;
        assert_eq!(ready.error(), (504, "key store is not reachable".to_owned()));
        let reply = client.send("GET", "/v1/status", "").await;
        assert_eq!(reply.status, 200);
        let status = reply.json();
        assert_eq!(status["keystore_unreachable"], true);
        assert_eq!(status.get("keystore_latency"), None);
        assert_eq!(Exposition::of(&mut client).await.value("kes_keystore_reachable"), 0.0);

        for (method, path, message) in [
            ("PUT", "/v1/key/create/new", "failed to create key"),
            ("PUT", "/v1/key/generate/other", "failed to read key"),
            ("DELETE", "/v1/key/delete/other", "failed to delete key"),
            ("GET", "/v1/key/list/", "failed to list keys"),
        ] {
            let reply = client.send(method, path, "").await;
            assert_eq!(reply.error(), (502, message.to_owned()), "{method} {path}");
        }

        std::fs::rename(&away, &here).unwrap();
        eventually_async(Duration::from_secs(20), "the return is noticed", || {
            let mut client = client.share();
            async move { client.send("GET", "/v1/ready", "").await.status == 200 }
        })
        .await;
        let status = client.send("GET", "/v1/status", "").await.json();
        assert!(status["keystore_latency"].as_u64().unwrap() >= 1);
        assert_eq!(status.get("keystore_unreachable"), None);
        assert_eq!(client.send("PUT", "/v1/key/generate/k", "").await.status, 200);
    });
}

/// The table of the contract.
const APIS: [(&str, &str, u64, u64); 24] = [
    ("GET", "/version", 0, 10),
    ("GET", "/v1/ready", 0, 15),
    ("GET", "/v1/status", 0, 15),
    ("GET", "/v1/metrics", 0, 15),
    ("GET", "/v1/api", 0, 10),
    ("PUT", "/v1/key/create/", 0, 15),
    ("PUT", "/v1/key/import/", 1_000_000, 15),
    ("GET", "/v1/key/describe/", 0, 15),
    ("DELETE", "/v1/key/delete/", 0, 15),
    ("GET", "/v1/key/list/", 0, 15),
    ("PUT", "/v1/key/generate/", 1_000_000, 15),
    ("PUT", "/v1/key/encrypt/", 1_000_000, 15),
    ("PUT", "/v1/key/decrypt/", 1_000_000, 15),
    ("PUT", "/v1/key/bulk/decrypt/", 1_000_000, 15),
    ("PUT", "/v1/key/hmac/", 1_000_000, 15),
    ("GET", "/v1/policy/describe/", 0, 15),
    ("GET", "/v1/policy/read/", 0, 15),
    ("GET", "/v1/policy/list/", 0, 15),
    ("GET", "/v1/identity/describe/", 0, 15),
    ("GET", "/v1/identity/list/", 0, 15),
    ("GET", "/v1/identity/self/describe", 0, 15),
    ("GET", "/v1/log/error", 0, 0),
    ("GET", "/v1/log/audit", 0, 0),
    ("GET", "/v1/log/refusals", 0, 15),
];

fn rows(changed: impl Fn(&str, u64) -> u64) -> Vec<Value> {
    let row = |(method, path, max_body, timeout): (&str, &str, u64, u64)| {
        let timeout = changed(path, timeout);
        json!({ "method": method, "path": path, "max_body": max_body, "timeout": timeout })
    };
    APIS.into_iter().map(row).collect()
}

#[test]
fn the_apis_are_those_of_the_table() {
    harness::run(async {
        let server = Server::start();
        let mut client = server.client(Who::Admin, Protocol::H1).await;
        let listed: Vec<Value> =
            serde_json::from_slice(&client.send("GET", "/v1/api", "").await.body).unwrap();
        let expected = rows(|_, timeout| timeout);
        for row in &expected {
            assert!(listed.contains(row), "{row} is missing in {listed:?}");
        }
        assert_eq!(listed.len(), expected.len());
    });
}

#[test]
fn a_configured_time_limit_is_that_of_the_api() {
    harness::run(async {
        let api = "{ /v1/key/encrypt/: { timeout: 2s }, /v1/ready: { timeout: 30s } }";
        let server = Server::with(&Config::usual().with("api", api));
        let mut client = server.client(Who::Admin, Protocol::H1).await;
        let listed = client.send("GET", "/v1/api", "").await.json();
        let changed = rows(|path, timeout| match path {
            "/v1/key/encrypt/" => 2,
            "/v1/ready" => 30,
            _ => timeout,
        });
        assert_eq!(listed, json!(changed));

        // A body that never comes to its end is not waited for beyond it.
        let mut raw = harness::Raw::connect(&server, Who::Admin).await;
        let start = Instant::now();
        raw.write("PUT /v1/key/encrypt/k HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\n{").await;
        assert_eq!(raw.status().await, 408);
        let took = start.elapsed();
        // Without the configuration it would be 15 s.
        assert!((1_900..14_000).contains(&took.as_millis()), "{took:?}");
    });
}
