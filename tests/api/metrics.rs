//! Metrics.

use std::time::Duration;

use kes_testkit::faulty::{Faulty, Reply};
use kes_testkit::wait::eventually_async;
use rustix::process::Signal;
use serde_json::json;
use tokio::io::AsyncWriteExt as _;

use crate::harness::{self, Client, Config, Exposition, Kind, Protocol, Server, Who};

/// As the different clients ask for them.
mod audience;

/// How long a value may take to move before a test fails.
const PATIENCE: Duration = Duration::from_secs(20);

/// What dashboards and the SDK read.
const KINDS: [(&str, Kind); 14] = [
    ("kes_http_request_success", Kind::Counter),
    ("kes_http_request_error", Kind::Counter),
    ("kes_http_request_failure", Kind::Counter),
    ("kes_http_request_active", Kind::Gauge),
    ("kes_http_response_time", Kind::Histogram),
    ("kes_log_error_events", Kind::Counter),
    ("kes_log_audit_events", Kind::Counter),
    ("kes_system_up_time", Kind::Gauge),
    ("kes_system_num_cpu", Kind::Gauge),
    ("kes_system_num_cpu_used", Kind::Gauge),
    ("kes_system_num_threads", Kind::Gauge),
    ("kes_system_mem_heap_used", Kind::Gauge),
    ("kes_system_mem_heap_objects", Kind::Gauge),
    ("kes_system_mem_stack_used", Kind::Gauge),
];

/// Ours beyond that with one series each.
const OWN: [(&str, Kind); 33] = [
    ("kes_audit_file_lost_records", Kind::Counter),
    ("kes_audit_file_queued_bytes", Kind::Gauge),
    ("kes_audit_file_queued_records", Kind::Gauge),
    ("kes_audit_file_records", Kind::Counter),
    ("kes_cache_age", Kind::Gauge),
    ("kes_cache_hits", Kind::Counter),
    ("kes_cache_keys", Kind::Gauge),
    ("kes_cache_misses", Kind::Counter),
    ("kes_cache_negative_hits", Kind::Counter),
    ("kes_cache_negative_names", Kind::Gauge),
    ("kes_config_generations", Kind::Gauge),
    ("kes_config_last_reload_failed", Kind::Gauge),
    ("kes_config_last_reload_success_time", Kind::Gauge),
    ("kes_http_reservations_refused", Kind::Counter),
    ("kes_http_reserved_bytes", Kind::Gauge),
    ("kes_http_reserved_bytes_limit", Kind::Gauge),
    ("kes_keystore_pin_faults", Kind::Gauge),
    ("kes_keystore_reachable", Kind::Gauge),
    ("kes_last_handover_failed", Kind::Gauge),
    ("kes_log_dropped_lines", Kind::Counter),
    ("kes_log_lost_changes", Kind::Counter),
    ("kes_migration_differences", Kind::Counter),
    ("kes_migration_second_reads", Kind::Counter),
    ("kes_migration_unfinished", Kind::Gauge),
    ("kes_system_mem_resident", Kind::Gauge),
    ("kes_tls_certificate_expiry", Kind::Gauge),
    ("kes_tls_connections", Kind::Gauge),
    ("kes_tls_connections_limit", Kind::Gauge),
    ("kes_tls_displaced_connections", Kind::Counter),
    ("kes_tls_handshake_errors", Kind::Counter),
    ("kes_tls_proxy_header_errors", Kind::Counter),
    ("kes_tls_strangers", Kind::Gauge),
    ("kes_traces_exported_spans", Kind::Counter),
];

/// Ours with a series for each API, call, or result.
const LABELLED: [(&str, Kind); 18] = [
    ("kes_api_response_time", Kind::Histogram),
    ("kes_cache_refreshes", Kind::Counter),
    ("kes_class_connections", Kind::Gauge),
    ("kes_class_displaced_connections", Kind::Counter),
    ("kes_class_log_followers_refused", Kind::Counter),
    ("kes_class_merged_requests", Kind::Counter),
    ("kes_class_requests", Kind::Gauge),
    ("kes_class_reservations_refused", Kind::Counter),
    ("kes_class_reserved_bytes", Kind::Gauge),
    ("kes_class_store_calls", Kind::Gauge),
    ("kes_class_store_calls_refused", Kind::Counter),
    ("kes_config_reloads", Kind::Counter),
    ("kes_http_limited_requests", Kind::Counter),
    ("kes_keystore_errors", Kind::Counter),
    ("kes_keystore_response_time", Kind::Histogram),
    ("kes_log_queued_bytes", Kind::Gauge),
    ("kes_policy_refusals", Kind::Counter),
    ("kes_traces_dropped_spans", Kind::Counter),
];

async fn start() -> (Server, Client) {
    let server = Server::start();
    let client = server.client(Who::Admin, Protocol::H2).await;
    (server, client)
}

/// One request with each kind of answer.
async fn answers_of_every_kind(server: &Server, client: &mut Client) {
    std::fs::write(server.file("keys").join("damaged"), "no stored key").unwrap();
    for (method, path, status) in [
        ("GET", "/version", 200),
        ("PUT", "/v1/key/create/k", 200),
        ("PUT", "/v1/key/create/k", 400),
        ("PUT", "/v1/key/generate/none", 404),
        ("GET", "/nowhere", 404),
        ("GET", "/v1/key/create/k", 405),
        ("PUT", "/v1/key/generate/damaged", 502),
        ("GET", "//version", 307),
    ] {
        assert_eq!(client.send(method, path, "").await.status, status, "{method} {path}");
    }
}

#[test]
fn names_and_kinds_are_those_that_are_read() {
    harness::run(async {
        let (server, mut client) = start().await;
        answers_of_every_kind(&server, &mut client).await;
        let mut other = server.client(Who::Other, Protocol::H2).await;
        assert_eq!(other.send("GET", "/v1/status", "").await.status, 403);
        server.signal(Signal::HUP);
        eventually_async(PATIENCE, "a reload is counted", || {
            let mut client = client.share();
            async move { Exposition::of(&mut client).await.kind("kes_config_reloads").is_some() }
        })
        .await;
        for protocol in [Protocol::H1, Protocol::H2] {
            let mut client = server.client(Who::Minio, protocol).await;
            let metrics = Exposition::of(&mut client).await;
            for (name, kind) in KINDS.into_iter().chain(OWN).chain(LABELLED) {
                assert_eq!(metrics.kind(name), Some(kind), "{name}");
            }
            for name in metrics.names() {
                assert!(name.starts_with("kes_") && !name.ends_with("_total"), "{name}");
            }
            // The figures of a login have no meaning for a folder.
            assert_eq!(metrics.kind("kes_keystore_logins"), None);
            let bounds: Vec<f64> =
                metrics.buckets("kes_http_response_time", "").iter().map(|(le, _)| *le).collect();
            let expected = [0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 1.5, 3.0, 5.0, 10.0, f64::INFINITY];
            assert_eq!(bounds, expected);
            let fine = metrics.buckets("kes_api_response_time", r#"{api="/v1/key/generate/"}"#);
            assert_eq!(fine[0].0, 0.000_05);
            let text = client.send("GET", "/v1/metrics", "").await;
            assert!(!String::from_utf8_lossy(&text.body).contains("# EOF"));
        }
    });
}

#[test]
fn answers_are_counted_by_their_status() {
    harness::run(async {
        let (server, mut client) = start().await;
        let before = Exposition::of(&mut client).await;
        answers_of_every_kind(&server, &mut client).await;
        let after = Exposition::of(&mut client).await;
        for (series, more) in [
            // The text that is asked for is answered after it is made.
            (r#"kes_http_request_success{code="200"}"#, 3.0),
            (r#"kes_http_request_error{code="400"}"#, 1.0),
            (r#"kes_http_request_error{code="404"}"#, 2.0),
            (r#"kes_http_request_error{code="405"}"#, 1.0),
            (r#"kes_http_request_failure{code="502"}"#, 1.0),
            ("kes_http_response_time_count", 9.0),
            // What reached no route is not audited.
            ("kes_log_audit_events", 7.0),
            ("kes_log_error_events", 1.0),
            (r#"kes_api_response_time_count{api="/v1/key/create/"}"#, 3.0),
            (r#"kes_api_response_time_count{api="/v1/key/generate/"}"#, 2.0),
            (r#"kes_keystore_response_time_count{call="create"}"#, 2.0),
            (r#"kes_keystore_response_time_count{call="read"}"#, 2.0),
            (r#"kes_keystore_response_time_count{call="delete"}"#, 0.0),
            ("kes_log_dropped_lines", 0.0),
        ] {
            assert_eq!(after.value(series) - before.value(series), more, "{series}");
        }
        // Only what is running: this request.
        assert_eq!(after.value("kes_http_request_active"), 1.0);
        assert_eq!(after.value("kes_tls_connections"), 1.0);
        assert_eq!(after.value("kes_keystore_reachable"), 1.0);
        let up = after.value("kes_system_up_time");
        assert!(up > before.value("kes_system_up_time") && up < 3600.0, "{up}");
        for (name, least, most) in [
            ("kes_system_num_cpu", 1.0, 4096.0),
            ("kes_system_num_cpu_used", 1.0, after.value("kes_system_num_cpu")),
            ("kes_system_num_threads", 2.0, 1000.0),
            ("kes_system_mem_heap_used", 100_000.0, 1e9),
            ("kes_system_mem_heap_objects", 1.0, 1e9),
            ("kes_system_mem_stack_used", 4096.0, 1e9),
            ("kes_system_mem_resident", 1_000_000.0, 1e9),
        ] {
            let value = after.value(name);
            assert!((least..=most).contains(&value), "{name} {value}");
        }
    });
}

#[test]
fn the_cache_and_the_key_store_are_counted() {
    harness::run(async {
        let (server, mut client) = start().await;
        assert_eq!(client.send("PUT", "/v1/key/create/k", "").await.status, 200);
        harness::Vectors::read().store(server.folder());
        for path in ["k", "vec-aes256", "vec-aes256", "none"] {
            client.send("PUT", &format!("/v1/key/generate/{path}"), "").await;
        }
        assert_eq!(client.send("GET", "/v1/key/list/", "").await.status, 200);
        let metrics = Exposition::of(&mut client).await;
        // The created key stands in memory at once; the other is read once.
        for (series, value) in [
            ("kes_cache_hits", 2.0),
            ("kes_cache_misses", 2.0),
            ("kes_cache_keys", 2.0),
            (r#"kes_keystore_response_time_count{call="read"}"#, 2.0),
            (r#"kes_keystore_response_time_count{call="list"}"#, 1.0),
            // A key that is missing is no error of the key store.
            (r#"kes_keystore_errors{call="read"}"#, 0.0),
        ] {
            assert_eq!(metrics.value(series), value, "{series}");
        }
        let age = metrics.value("kes_cache_age");
        assert!(age > 0.0 && age < 60.0, "{age}");

        std::fs::write(server.file("keys").join("damaged"), "no stored key").unwrap();
        let reply = client.send("PUT", "/v1/key/generate/damaged", "").await;
        assert_eq!(reply.error(), (502, "failed to read key".to_owned()));
        // What is no file is no key.
        std::fs::create_dir(server.file("keys").join("folder")).unwrap();
        let reply = client.send("PUT", "/v1/key/generate/folder", "").await;
        assert_eq!(reply.error(), (404, "key does not exist".to_owned()));
        let metrics = Exposition::of(&mut client).await;
        assert_eq!(metrics.value(r#"kes_keystore_errors{call="read"}"#), 1.0);
        assert_eq!(metrics.value("kes_cache_negative_hits"), 0.0);

        // A client in a loop asks the key store no more, until the window of a second is over.
        eventually_async(PATIENCE, "a miss is answered from memory", || {
            let mut client = client.share();
            async move {
                for _ in 0..40 {
                    client.send("PUT", "/v1/key/generate/none", "").await;
                }
                let metrics = Exposition::of(&mut client).await;
                metrics.value("kes_cache_negative_hits") > 0.0
                    && metrics.value("kes_cache_negative_names") > 0.0
            }
        })
        .await;
    });
}

#[test]
fn connections_handshakes_and_reloads_are_counted() {
    harness::run(async {
        let (server, mut client) = start().await;
        let value = |series: &'static str| {
            let mut client = client.share();
            async move { Exposition::of(&mut client).await.value(series) }
        };
        let mut clients = Vec::new();
        for protocol in [Protocol::H1, Protocol::H2, Protocol::H1] {
            clients.push(server.client(Who::Minio, protocol).await);
        }
        // A client has shaken hands before the server knows that it has.
        eventually_async(PATIENCE, "connections are counted", || async {
            value("kes_tls_connections").await == 4.0
        })
        .await;
        drop(clients);
        eventually_async(PATIENCE, "connections end", || async {
            value("kes_tls_connections").await == 1.0
        })
        .await;

        let mut plain = tokio::net::TcpStream::connect(&server.address).await.unwrap();
        plain.write_all(b"GET /version HTTP/1.1\r\n\r\n").await.unwrap();
        eventually_async(PATIENCE, "a failed handshake is counted", || async {
            value("kes_tls_handshake_errors").await == 1.0
        })
        .await;

        server.signal(Signal::HUP);
        eventually_async(PATIENCE, "a reload is counted", || async {
            value(r#"kes_config_reloads{result="success"}"#).await == 1.0
        })
        .await;
        std::fs::write(server.file("config.yml"), "no configuration").unwrap();
        server.signal(Signal::HUP);
        eventually_async(PATIENCE, "a failed reload is counted", || async {
            value(r#"kes_config_reloads{result="error"}"#).await == 1.0
        })
        .await;
        assert_eq!(value(r#"kes_config_reloads{result="success"}"#).await, 1.0);
        eventually_async(PATIENCE, "no request has the first configuration any more", || async {
            value("kes_config_generations").await == 1.0
        })
        .await;
        assert_eq!(client.send("GET", "/version", "").await.status, 200);
    });
}

/// A Vault in little: it is well, and lets in who has the right secret.
fn vault(secret: &'static str) -> Faulty {
    Faulty::start(move |request| match request.path() {
        "/v1/sys/health" => Reply::healthy(),
        "/v1/auth/approle/login" if String::from_utf8_lossy(&request.body).contains(secret) => {
            Reply::login("t", 1000)
        }
        _ => Reply::json(400, json!({ "errors": ["no"] })),
    })
}

#[test]
fn logins_to_vault_and_the_life_of_the_token_are_shown() {
    harness::run(async {
        for (secret, result, other, lives) in
            [("right", "success", "error", true), ("wrong", "error", "success", false)]
        {
            let vault = vault("right");
            let keystore = format!(
                "{{ vault: {{ endpoint: \"{}\", approle: {{ id: i, secret: {secret} }} }} }}",
                vault.url()
            );
            let server = Server::with(&Config::usual().with("keystore", &keystore));
            let client = server.client(Who::Admin, Protocol::H2).await;
            let series = format!("kes_keystore_logins{{result=\"{result}\"}}");
            eventually_async(PATIENCE, "the login is counted", || {
                let (mut client, series) = (client.share(), series.clone());
                async move { Exposition::of(&mut client).await.value(&series) > 0.0 }
            })
            .await;
            let metrics = Exposition::as_the_sdk(&mut client.share()).await;
            assert_eq!(metrics.kind("kes_keystore_logins"), None);
            assert_eq!(metrics.kind("kes_keystore_token_life"), Some(Kind::Gauge));
            let metrics = Exposition::of(&mut client.share()).await;
            assert_eq!(metrics.kind("kes_keystore_logins"), Some(Kind::Counter));
            assert_eq!(metrics.kind("kes_keystore_token_life"), Some(Kind::Gauge));
            let other = format!("kes_keystore_logins{{result=\"{other}\"}}");
            assert_eq!(metrics.value(&other), 0.0);
            let life = metrics.value("kes_keystore_token_life");
            assert_eq!((900.0..=1000.0).contains(&life), lives, "{life}");
            assert!(lives || life == 0.0, "{life}");
        }
    });
}
