use kes_testkit::wait;

use super::merged::count;
use super::{PATIENCE, audit, fields, value};
use crate::harness::{self, Config, Exposition, REQUESTS, Server, figure, ten_thousand_generates};

/// Each request is recorded once, also if its client goes away, and beside a reader of the stream who
/// takes nothing.
#[test]
fn each_of_ten_thousand_requests_is_recorded_once() {
    harness::run(async {
        let server = Server::with(&Config::usual().with("log", "{ audit: debug }"));
        let stalled = ten_thousand_generates(&server).await;
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
