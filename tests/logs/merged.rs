//! Refused and failed requests of a client that are too many for a line each: lines that tell their
//! number.

use kes_api::Timestamp;
use kes_testkit::wait;
use rustix::process::Signal;

use super::{PATIENCE, audit, fields, server, value};
use crate::harness::{self, Client, Exposition, Protocol, Server, Who};

type Line = Vec<(String, String)>;

/// The lines with a status.
fn with_status(server: &Server, status: &str) -> Vec<Line> {
    let lines = audit(server).iter().map(|line| fields(line)).collect::<Vec<_>>();
    lines.into_iter().filter(|line| value(line, "res.code") == status).collect()
}

/// How many requests a line stands for.
pub(super) fn count(line: &[(String, String)]) -> u64 {
    line.iter().find(|(key, _)| key == "count").map_or(1, |(_, count)| count.parse().unwrap())
}

fn total(lines: &[Line]) -> u64 {
    lines.iter().map(|line| count(line)).sum()
}

/// Sends a request so many times, some of them at the same time.
async fn repeat(client: &Client, times: u64, method: &'static str, path: &str, status: u16) {
    for number in 0..times.div_ceil(100) {
        let calls: Vec<_> = (number * 100..times.min((number + 1) * 100))
            .map(|_| {
                let (mut client, path) = (client.share(), path.to_owned());
                tokio::spawn(async move { client.send(method, &path, "").await.status })
            })
            .collect();
        for call in calls {
            assert_eq!(call.await.unwrap(), status, "{path}");
        }
    }
}

#[test]
fn each_of_ten_thousand_refusals_is_counted_in_few_lines_and_no_change_is_merged() {
    harness::run(async {
        let (server, _) = server("{}").await;
        let other = server.client(Who::Other, Protocol::H2).await;
        let mut admin = server.client(Who::Admin, Protocol::H2).await;
        let start = Timestamp::now();
        let mut by_path = Vec::new();
        for round in 0..20 {
            // Another name is no other kind.
            let path = format!("/v1/key/create/other-{round}");
            repeat(&other, 500, "PUT", &path, 403).await;
            by_path.push(path);
            let path = format!("/v1/key/create/own-{round}");
            assert_eq!(admin.send("PUT", &path, "").await.status, 200);
        }
        wait::eventually(PATIENCE, "all refusals are told", || {
            total(&with_status(&server, "403")) >= 10_000
        });
        let refused = with_status(&server, "403");
        assert_eq!(total(&refused), 10_000);
        let merged: Vec<&Line> = refused.iter().filter(|line| count(line) > 1).collect();
        // A line a second, and it is less often if it goes on.
        assert!(!merged.is_empty() && refused.len() < 200, "{} lines", refused.len());
        for line in merged {
            for (key, expected) in [
                ("msg", "not authorized: insufficient permissions"),
                ("req.method", "PUT"),
                ("req.identity", &*server.other.identity),
                ("req.ip", "127.0.0.1"),
            ] {
                assert_eq!(value(line, key), expected, "{line:?}");
            }
            assert!(by_path.iter().any(|path| path == value(line, "req.path")), "{line:?}");
            assert!(!value(line, "reason").is_empty());
            let time = |key| Timestamp::parse(value(line, key)).unwrap();
            let times = [time("first"), time("last"), time("time")];
            assert!(times.is_sorted(), "{line:?}");
            assert!(start.unix_seconds() <= times[0].unix_seconds(), "{line:?}");
        }
        let made = with_status(&server, "200");
        assert_eq!(made.len(), 20, "a change has a line of its own");
        assert_eq!(total(&made), 20);
        let metrics = Exposition::from(&server).await;
        assert_eq!(metrics.value(r#"kes_http_request_error{code="403"}"#), 10_000.0);
        assert!(metrics.value("kes_log_audit_events") >= 10_020.0);
        let merged = refused.iter().map(|line| count(line)).filter(|count| *count > 1).sum::<u64>();
        #[allow(clippy::cast_precision_loss, reason = "some thousand")]
        let merged = merged as f64;
        assert!(metrics.value("kes_log_merged_requests") >= merged);
    });
}

/// Whatever the key store is asked for while it fails.
#[test]
fn failures_are_merged_in_both_logs() {
    harness::run(async {
        let (server, _) = server("{}").await;
        std::fs::write(server.file("keys").join("damaged"), "no stored key").unwrap();
        let admin = server.client(Who::Admin, Protocol::H2).await;
        repeat(&admin, 300, "PUT", "/v1/key/generate/damaged", 502).await;
        let errors = || -> Vec<Line> {
            let text = server.stderr();
            let lines = text.lines().filter(|line| line.contains("failed to read key 'damaged'"));
            lines.map(fields).collect()
        };
        wait::eventually(PATIENCE, "all failures are told", || {
            total(&with_status(&server, "502")) >= 300 && total(&errors()) >= 300
        });
        let errors = errors();
        assert_eq!((total(&with_status(&server, "502")), total(&errors)), (300, 300));
        assert!(errors.len() < 50, "{} lines", errors.len());
        let merged = errors.iter().find(|line| count(line) > 1).unwrap();
        let times = format!(" ({} times)", count(merged));
        assert!(value(merged, "msg").ends_with(&times), "{merged:?}");
        assert_eq!(value(merged, "level"), "ERROR");
        assert!(value(merged, "first") <= value(merged, "last"));
    });
}

#[test]
fn a_server_that_stops_tells_what_was_counted() {
    harness::run(async {
        let (mut server, _) = server("{}").await;
        let other = server.client(Who::Other, Protocol::H2).await;
        repeat(&other, 100, "GET", "/v1/status", 403).await;
        drop(other);
        server.signal(Signal::TERM);
        server.wait_for_exit(PATIENCE);
        assert_eq!(total(&with_status(&server, "403")), 100);
    });
}
