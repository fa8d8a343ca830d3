//! How the last reload ended: in the status, the metrics, the command line and the error stream.

use std::fs;
use std::time::Duration;

use http_body_util::BodyExt as _;
use hyper::body::{Bytes, Incoming};
use kes_testkit::wait;
use serde_json::Value;

use super::PATIENCE;
use crate::harness::{self, Client, Config, Exposition, Protocol, Server, Who};

async fn status(client: &mut Client) -> Value {
    client.send("GET", "/v1/status", "").await.json()
}

#[test]
fn the_last_reload_is_in_the_status_the_metrics_and_the_command_line() {
    harness::run(async {
        let server = Server::start();
        let mut client = server.client(Who::Admin, Protocol::H2).await;
        let first = status(&mut client).await;
        assert_eq!(first.get("last_reload"), None, "{first}");
        let metric = async |client: &mut Client, name: &str| {
            let metrics = Exposition::of(client).await;
            metrics.value(&format!("kes_config_last_reload_{name}"))
        };
        assert_eq!(metric(&mut client, "failed").await, 0.0);
        let started = metric(&mut client, "success_time").await;
        assert!(started > 1.7e9, "{started}");

        // A configuration that is refused. The reason has no line break, though the log has many.
        server.reload(&Config::usual().with("cache", "{ expiry: { any: soon, unused: later } }"));
        server.wait_for_stderr("reload failed");
        let failed = status(&mut client).await;
        let last = &failed["last_reload"];
        assert_eq!(last["result"], "error", "{failed}");
        let reason = last["reason"].as_str().unwrap();
        assert!(reason.contains("cache.expiry.any") && !reason.contains('\n'), "{reason}");
        assert!(last["time"].as_str().unwrap().ends_with('Z') && last.get("changes").is_none());
        // What clients of the reference read stands before, as it does without a reload.
        let text = client.send("GET", "/v1/status", "").await.body;
        let text = String::from_utf8(text.to_vec()).unwrap();
        let known = text.split(",\"last_reload\":").next().unwrap();
        let order = ["version", "os", "arch", "uptime", "num_cpu", "num_cpu_used"]
            .into_iter()
            .chain(["mem_heap_used", "mem_stack_used", "keystore_latency"]);
        let at = order.map(|field| known.find(&format!("\"{field}\":")).unwrap());
        assert!(at.collect::<Vec<_>>().is_sorted(), "{text}");
        assert_eq!(metric(&mut client, "failed").await, 1.0);
        let output = server.command(Who::Admin, &["status", "--short", "-k"]).output().unwrap();
        let printed = String::from_utf8(output.stdout).unwrap();
        assert!(
            printed.contains("Reload   failed at 2") && printed.contains("cache.expiry.any"),
            "{printed}"
        );

        // A certificate that cannot be used, and a good configuration that repairs it.
        let certificate = fs::read(server.file("server.crt")).unwrap();
        server.reload_and_wait(
            &Config::usual().with("policy", &minio("/v1/status, /v1/metrics, /v1/api")),
        );
        assert_eq!(metric(&mut client, "failed").await, 0.0);
        fs::write(server.file("server.crt"), "none").unwrap();
        wait::eventually_async(PATIENCE, "the failure is in the status", || {
            let mut client = client.share();
            async move { status(&mut client).await["last_certificate_reload"]["result"] == "error" }
        })
        .await;
        let both = status(&mut client).await;
        let reason = both["last_certificate_reload"]["reason"].as_str().unwrap();
        assert!(reason.contains("tls.cert"), "{both}");
        assert_eq!(
            both["last_reload"]["changes"],
            "1 policy added; 1 policy removed; 1 identity moved"
        );
        assert_eq!(metric(&mut client, "failed").await, 1.0);
        fs::write(server.file("server.crt"), certificate).unwrap();
        wait::eventually_async(PATIENCE, "the success is in the status", || {
            let mut client = client.share();
            async move { status(&mut client).await["last_certificate_reload"]["result"] == "success" }
        })
        .await;
        assert_eq!(metric(&mut client, "failed").await, 0.0);
        assert!(metric(&mut client, "success_time").await >= started);
        let output = server.command(Who::Admin, &["status", "-k"]).output().unwrap();
        let printed = String::from_utf8(output.stdout).unwrap();
        assert!(printed.contains("UTC: 1 policy added; 1 policy removed"), "{printed}");
    });
}

fn minio(allow: &str) -> String {
    format!("{{ p: {{ allow: [{allow}], identities: [\"${{MINIO}}\"] }} }}")
}

/// Reasons and changes name files, policies and identities.
#[test]
fn only_the_admin_sees_why_a_reload_failed_and_what_one_changed() {
    harness::run(async {
        let open = Config::usual().with("api", "{ /v1/status: { skip_auth: true } }");
        let server = Server::with(&open);
        let broken = open.clone().with(
            "policy",
            "{ p: { allow: [/v1/status], identities: [\"${MINIO}\", \"${ADMIN}\"] } }",
        );
        for (config, result, text) in [(&open, "success", "changes"), (&broken, "error", "reason")]
        {
            if result == "error" {
                server.reload(config);
                server.wait_for_stderr("reload failed");
            } else {
                server.reload_and_wait(config);
            }
            for (who, sees) in
                [(Who::Nobody, false), (Who::Other, false), (Who::Minio, true), (Who::Admin, true)]
            {
                let mut client = server.client(who, Protocol::H2).await;
                let status = status(&mut client).await;
                let last = status.get("last_reload");
                assert_eq!(last.is_some(), sees, "{who:?}: {status}");
                let Some(last) = last else { continue };
                let fields: Vec<_> = last.as_object().unwrap().keys().map(String::as_str).collect();
                let is_admin = matches!(who, Who::Admin);
                let expected =
                    if is_admin { vec![text, "result", "time"] } else { vec!["result", "time"] };
                let mut fields = fields;
                fields.sort_unstable();
                assert_eq!(fields, expected, "{who:?}: {status}");
                assert_eq!(last["result"], result);
            }
        }
    });
}

/// Reads a stream of the error log until a message begins so.
async fn messages_until(stream: &mut Incoming, last: &str) -> Vec<String> {
    let (mut read, mut messages) = (Vec::new(), Vec::new());
    loop {
        let frame = tokio::time::timeout(Duration::from_secs(60), stream.frame()).await;
        let frame = frame.expect("a line comes").expect("the stream goes on").unwrap();
        read.extend_from_slice(frame.data_ref().unwrap());
        while let Some(end) = read.iter().position(|byte| *byte == b'\n') {
            let line: Value = serde_json::from_slice(&read[..end]).unwrap();
            read.drain(..=end);
            messages.push(line["message"].as_str().unwrap().to_owned());
            if messages.last().unwrap().starts_with(last) {
                return messages;
            }
        }
    }
}

/// As in the status: files, policies and identities are named to the admin alone.
#[test]
fn of_those_who_follow_the_log_the_admin_alone_is_told_why_and_what() {
    harness::run(async {
        let policy = "{ p: { allow: [/v1/log/error], identities: [\"${MINIO}\"] } }";
        let config = Config::usual().with("policy", policy);
        let server = Server::with(&config);
        let mut streams = Vec::new();
        for who in [Who::Admin, Who::Minio] {
            let mut client = server.client(who, Protocol::H2).await;
            let response = client.open("GET", "/v1/log/error", &[], Bytes::new()).await.unwrap();
            assert_eq!(response.status(), 200);
            streams.push((client, response.into_body()));
        }
        let [(_, admin), (_, minio)] = &mut streams[..] else { unreachable!() };

        server.reload(&config.clone().with("cache", "{ expiry: { any: soon }, other: 1 }"));
        let failed = "reload failed; still using the previous configuration";
        let whole = messages_until(admin, failed).await;
        assert!(whole.iter().any(|text| text.contains("cache.other")), "{whole:?}");
        assert!(whole.last().unwrap().contains(": cache.expiry.any: "), "{whole:?}");
        assert_eq!(messages_until(minio, failed).await, [failed]);

        let more = "{ p: { allow: [/v1/log/error], identities: [\"${MINIO}\"] }, \
                    tenant-of-somebody: { allow: [/v1/api] } }";
        server.reload_and_wait(&config.with("policy", more));
        let done = "the configuration was read again";
        let whole = messages_until(admin, done).await;
        let change = "reload: 1 policy added: tenant-of-somebody".to_owned();
        assert_eq!(whole, [change, format!("{done}: 1 policy added")]);
        assert_eq!(messages_until(minio, done).await, [done]);
    });
}
