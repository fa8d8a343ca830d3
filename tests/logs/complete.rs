use std::time::Duration;

use kes_testkit::wait;

use super::{PATIENCE, audit};
use crate::harness::{self, Config, Exposition, Protocol, Raw, Server, Who, figure};

const REQUESTS: usize = 10_000;

/// One of so many is not waited for.
const GONE: usize = 10;

const CONNECTIONS: usize = 8;

/// Each request has one line, also if its client goes away, and beside a reader of the stream who
/// takes nothing.
#[test]
fn each_of_ten_thousand_requests_has_one_line() {
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
        let lines =
            || audit(&server).iter().filter(|line| line.contains("/v1/key/generate/k")).count();
        let mut last = 0;
        wait::eventually(PATIENCE, "no line is written any more", || {
            std::thread::sleep(Duration::from_millis(500));
            std::mem::replace(&mut last, lines()) == lines()
        });
        let lost = Exposition::from(&server).await.value("kes_log_dropped_lines");
        figure("requests", REQUESTS);
        figure("lines of the audit log", lines());
        figure("lines lost and counted", lost);
        assert_eq!((lines(), lost), (REQUESTS, 0.0), "{:#?}", audit(&server).last());
        drop(stalled);
    });
}
