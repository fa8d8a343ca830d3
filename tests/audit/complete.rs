use kes_testkit::wait;

use super::{PATIENCE, config, grep, report, start};
use crate::harness::{self, Exposition, REQUESTS, figure, ten_thousand_generates};

/// Each request is recorded once, also if its client goes away, beside a reader of the stream who takes
/// nothing, and over several segments.
#[test]
fn each_of_ten_thousand_requests_has_one_record() {
    harness::run(async {
        let server = start(&config(", max_size: 1MiB"));
        let stalled = ten_thousand_generates(&server).await;
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
