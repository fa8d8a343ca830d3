use kes_testkit::wait;

use super::{PATIENCE, config, grep, report, start};
use crate::harness::{self, Exposition, Protocol, Raw, Who, figure};

const REQUESTS: u64 = 10_000;

/// One of so many is not waited for.
const GONE: u64 = 10;

const CONNECTIONS: u64 = 8;

/// Each request is recorded once, also if its client goes away, beside a reader of the stream who takes
/// nothing, and over several segments.
#[test]
fn each_of_ten_thousand_requests_has_one_record() {
    harness::run(async {
        let server = start(&config(", max_size: 1MiB"));
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
        let recorded = || grep(&server, &["--operation", "GenerateKey"]);
        let count = || u64::try_from(recorded().len()).unwrap();
        wait::eventually(PATIENCE, "all are recorded", || count() >= REQUESTS);
        figure("requests", REQUESTS);
        figure("records in the audit file", count());
        assert_eq!(count(), REQUESTS);
        let mut numbers: Vec<u64> =
            recorded().iter().map(|record| record["request"].as_u64().unwrap()).collect();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), recorded().len(), "each has a number of its own");
        let report = report(&server, &[]);
        assert_eq!(report["good"], true, "{report:#}");
        assert!(report["segments"].as_u64().unwrap() >= 3, "{report:#}");
        let metrics = Exposition::from(&server).await;
        assert_eq!(metrics.value("kes_audit_file_lost_records"), 0.0);
        assert!(metrics.value("kes_audit_file_records") >= 10_000.0);
        drop(stalled);
    });
}
