use futures_util::future::join_all;
use rustix::process::Signal;

use super::{KINDS, LABELLED, OWN, PATIENCE, eventually_async};
use crate::harness::{
    self, BY_CODE, Client, Config, Exposition, Kind, PROMETHEUS, Protocol, Server, Who,
    slow_generate,
};

/// Of all metrics those that any client is sent: the counters by status, and what has one series
/// without labels.
fn one_series(all: &Exposition) -> Vec<&str> {
    let names = all.names().filter(|name| BY_CODE.contains(name) || all.series(name) == [""]);
    let names: Vec<_> = names.collect();
    for (name, _) in KINDS.into_iter().chain(OWN) {
        assert!(names.contains(&name), "{name}");
    }
    for (name, _) in LABELLED {
        assert!(!names.contains(&name), "{name}");
    }
    names
}

#[test]
fn who_names_no_text_format_is_told_what_has_one_series() {
    harness::run(async {
        let server = Server::start();
        for protocol in [Protocol::H1, Protocol::H2] {
            let mut client = server.client(Who::Minio, protocol).await;
            // As the very first request: the counters are there before anything was counted.
            let metrics = Exposition::as_the_sdk(&mut client).await;
            let all = Exposition::of(&mut client).await;
            let (one_series, everything) = (one_series(&all), all.names().collect::<Vec<_>>());
            assert_eq!(metrics.names().collect::<Vec<_>>(), one_series);
            assert!(everything.len() > one_series.len());
            for (name, kind) in KINDS.into_iter().chain(OWN) {
                assert_eq!(metrics.kind(name), Some(kind), "{name}");
            }
            for accept in ["*/*", "application/json", "text/plain", "text/html,*/*;q=0.8", ""] {
                let headers = [("accept", accept)];
                let metrics = Exposition::asked_for(&mut client, "/v1/metrics", &headers).await;
                assert_eq!(metrics.names().collect::<Vec<_>>(), one_series, "{accept}");
            }
            for (path, headers) in [
                ("/v1/metrics", vec![("accept", PROMETHEUS)]),
                ("/v1/metrics", vec![("accept", "text/plain;version=0.0.4")]),
                ("/v1/metrics", vec![("accept", "*/*"), ("accept", "Text/Plain; Version=0.0.4")]),
                ("/v1/metrics", vec![("accept", "application/openmetrics-text")]),
                ("/v1/metrics?all", vec![]),
                ("/v1/metrics?x&all=1", vec![("accept", "*/*")]),
            ] {
                let metrics = Exposition::asked_for(&mut client, path, &headers).await;
                assert_eq!(metrics.names().collect::<Vec<_>>(), everything, "{path} {headers:?}");
            }
        }
        let tls = harness::tls_config(&server.tls.certificate, Some(&server.admin), Protocol::H2);
        let client = kes_client::Client::new(server.address.parse().unwrap(), tls);
        let metrics = Exposition::parse(&client.metrics().await.unwrap());
        assert_eq!(metrics.kind("kes_api_response_time"), Some(Kind::Histogram));
    });
}

/// Requests of every kind, by who sends them.
const REQUESTS: [(&str, &str, &str); 32] = [
    ("GET", "/version", ""),
    ("GET", "/v1/ready", ""),
    ("GET", "/v1/status", ""),
    ("GET", "/v1/api", ""),
    ("GET", "/v1/metrics", ""),
    ("PUT", "/v1/key/create/k", ""),
    ("POST", "/v1/key/create/-bad", "{}"),
    ("PUT", "/v1/key/import/i", r#"{"key":"aGk=","cipher":"AES256"}"#),
    ("PUT", "/v1/key/import/i", r#"{"key":"aGk=","cipher":"DES"}"#),
    ("GET", "/v1/key/describe/k", ""),
    ("GET", "/v1/key/describe/none", ""),
    ("DELETE", "/v1/key/delete/none", ""),
    ("GET", "/v1/key/list/*", ""),
    ("GET", "/v1/key/list/%20", ""),
    ("PUT", "/v1/key/generate/k", "{}"),
    ("PUT", "/v1/key/generate/none", "{}"),
    ("PUT", "/v1/key/generate/damaged", ""),
    ("PUT", "/v1/key/encrypt/k", r#"{"plaintext":"aGk="}"#),
    ("PUT", "/v1/key/encrypt/k", "no JSON"),
    ("PUT", "/v1/key/decrypt/k", r#"{"ciphertext":"aGk="}"#),
    ("PUT", "/v1/key/bulk/decrypt/k", "[]"),
    ("PUT", "/v1/key/hmac/k", r#"{"message":"aGk="}"#),
    ("GET", "/v1/policy/describe/minio", ""),
    ("GET", "/v1/policy/read/none", ""),
    ("GET", "/v1/policy/list/", ""),
    ("GET", "/v1/identity/describe/a", ""),
    ("GET", "/v1/identity/list/", ""),
    ("GET", "/v1/identity/self/describe", ""),
    ("PATCH", "/v1/status", ""),
    ("HEAD", "/v1/status", ""),
    ("GET", "/nowhere", ""),
    ("GET", "//version", ""),
];

/// Sends requests one after the other; how many were answered with which status.
async fn send(client: &mut Client, count: usize) -> usize {
    for (method, path, body) in REQUESTS.into_iter().cycle().take(count) {
        let reply = client.send(method, path, body).await;
        assert!(reply.status < 500 || path.ends_with("damaged"), "{method} {path}: {reply:?}");
    }
    count
}

#[test]
fn the_sdk_reads_the_metrics_of_a_server_that_was_used_for_everything() {
    harness::run(async {
        let config = Config::usual().with("api", "{ /v1/metrics: { skip_auth: true } }");
        let server = Server::with(&config);
        std::fs::write(server.file("keys").join("damaged"), "no stored key").unwrap();
        server.signal(Signal::HUP);
        let mut callers = Vec::new();
        for who in [Who::Admin, Who::Minio, Who::Other, Who::Nobody] {
            for protocol in [Protocol::H1, Protocol::H2, Protocol::H2] {
                callers.push((who, protocol));
            }
        }
        let each = 10_000 / callers.len() + 1;
        let server = &server;
        let sent = callers.iter().map(|&(who, protocol)| async move {
            let mut client = server.client(who, protocol).await;
            send(&mut client, each).await
        });
        let sent: usize = join_all(sent).await.iter().sum();
        assert!(sent >= 10_000, "{sent}");
        eventually_async(PATIENCE, "the reload is counted", || async {
            let mut admin = server.client(Who::Admin, Protocol::H2).await;
            Exposition::of(&mut admin).await.kind("kes_config_reloads").is_some()
        })
        .await;

        let mut admin = server.client(Who::Admin, Protocol::H1).await;
        let all = Exposition::of(&mut admin).await;
        let (mut answered, mut codes) = (0.0, Vec::new());
        for name in
            ["kes_http_request_success", "kes_http_request_error", "kes_http_request_failure"]
        {
            for labels in all.series(name) {
                answered += all.value(&format!("{name}{labels}"));
                codes.push(labels.to_owned());
            }
        }
        assert!(answered >= 10_000.0, "{answered}");
        for code in ["200", "307", "400", "403", "404", "405", "502"] {
            let label = format!("{{code=\"{code}\"}}");
            assert!(codes.contains(&label), "{code} never came up: {codes:?}");
        }
        // The clients with no policy may not be idle for as long as the others took.
        for (who, protocol) in callers {
            let mut client = server.client(who, protocol).await;
            let metrics = Exposition::as_the_sdk(&mut client).await;
            assert_eq!(metrics.names().collect::<Vec<_>>(), one_series(&all));
            assert!(metrics.value(r#"kes_http_request_success{code="200"}"#) > 1000.0);
        }
    });
}

/// A scraper that prefers OpenMetrics gets the same samples, and traces of slow requests.
#[test]
fn openmetrics_has_the_same_samples_and_traces_of_slow_requests() {
    harness::run(async {
        let config = Config::usual().with("api", "{ /v1/key/generate/: { skip_auth: true } }");
        let server = Server::with(&config);
        let mut client = server.client(Who::Admin, Protocol::H2).await;
        assert_eq!(client.send("PUT", "/v1/key/create/k", "").await.status, 200);
        let trace =
            |digit: &str, flags: &str| format!("00-{}-b7ad6b7169203331-{flags}", digit.repeat(32));
        // Of a known client, of a trace that nobody records, of a stranger, and of no trace.
        for (who, trace) in [
            (Who::Minio, trace("a", "01").as_str()),
            (Who::Minio, &trace("b", "00")),
            (Who::Other, &trace("c", "01")),
            (Who::Minio, "\"} 1"),
        ] {
            assert_eq!(slow_generate(&server, &client, who, trace).await, 200, "{trace}");
        }

        let text = [("accept", "text/plain;version=0.0.4")];
        let open = [("accept", "application/openmetrics-text;version=1.0.0")];
        let plain = Exposition::asked_for(&mut client, "/v1/metrics", &text).await;
        let read = Exposition::asked_for(&mut client, "/v1/metrics", &open).await;
        assert_eq!(plain.names().collect::<Vec<_>>(), read.names().collect::<Vec<_>>());
        for name in plain.names() {
            assert_eq!(plain.kind(name), read.kind(name), "{name}");
            assert_eq!(plain.series(name), read.series(name), "{name}");
        }
        assert!(plain.exemplars().is_empty());
        let found: Vec<_> = read.exemplars().iter().collect();
        let [(bucket, exemplar)] = found[..] else { panic!("{found:?}") };
        assert!(bucket.starts_with(r#"kes_api_response_time_bucket{api="/v1/key/generate/",le=""#));
        let start = format!("{{trace_id=\"{}\"}} 0.", "a".repeat(32));
        assert!(exemplar.starts_with(&start), "{exemplar}");
    });
}
