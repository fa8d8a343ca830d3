use kes_testkit::wait;

use super::merged::count;
use super::{PATIENCE, audit, fields, value};
use crate::harness::{self, Config, Exposition, Protocol, Raw, Server, Who, figure};

const REQUESTS: u64 = 10_000;

/// One of so many is not waited for.
const GONE: u64 = 10;

const CONNECTIONS: u64 = 8;

/// Each request is recorded once, also if its client goes away, and beside a reader of the stream who
/// takes nothing.
#[test]
fn each_of_ten_thousand_requests_is_recorded_once() {
    harness::run(async {
        let server = Server::with(&Config::usual().with("log", "{ audit: debug }"));
        let mut admin = server.client(Who::Admin, Protocol::H2).await;
        assert_eq!(admin.send("PUT", "/v1/key/create/k", "").await.status, 200);
        let mut stalled = Raw::connect_narrow(&server, Who::Admin).await;
        stalled.write("GET /v1/log/audit HTTP/1.1\r\nhost: kes\r\n\r\n").await;

        let served = (0..CONNECTIONS).map(|_| async {
            let mut client = server.client(Who::Admin, Protocol::H2).await;
            for _ in 0..REQUESTS / GONE * (GONE - 1) / CONNECTIONS {
                let reply = client.send("PUT", "/v1/key/generate/k", "").await;
                assert_eq!(reply.status, 200);
            }
        });
        let gone = (0..CONNECTIONS).map(|_| async {
            for _ in 0..REQUESTS / GONE / CONNECTIONS {
                let mut raw = Raw::connect(&server, Who::Admin).await;
                raw.write(
                    "PUT /v1/key/generate/k HTTP/1.1\r\nhost: kes\r\nexpect: 100-continue\r\n\
                     content-length: 20\r\n\r\n",
                )
                .await;
                // The server has the request and waits for its body, which never comes.
                assert!(raw.head().await.starts_with("HTTP/1.1 100"));
            }
        });
        tokio::join!(futures_util::future::join_all(served), futures_util::future::join_all(gone),);
        // A request that nobody waited for has another status. Many of them share a line, which has
        // no path of its own.
        let recorded = || {
            let lines = audit(&server);
            let lines = lines.iter().map(|line| fields(line));
            let is_ours = |line: &Vec<(String, String)>| {
                let path = value(line, "req.path");
                path == "/v1/key/generate/k"
                    || path != "/v1/log/audit" && value(line, "res.code") != "200"
            };
            lines.filter(is_ours).map(|line| count(&line)).sum::<u64>()
        };
        wait::eventually(PATIENCE, "all are recorded", || recorded() >= REQUESTS);
        figure("requests", REQUESTS);
        figure("requests in the audit log", recorded());
        assert_eq!(recorded(), REQUESTS);
        let lost = Exposition::from(&server).await.value("kes_log_dropped_lines");
        figure("lines that a stalled reader lost", lost);
        drop(stalled);
    });
}
