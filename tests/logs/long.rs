//! Requests that cost their sender some bytes do not write kilobytes: HTTP/2 sends a path that it
//! has sent before as one byte.

use super::{fields, server, value, wait_for_audit};
use crate::harness::{self, Protocol, Who};

/// 64 bytes for each of a request of 13: the head of its frame, and one byte for each of four
/// pseudo header fields.
const MOST: usize = 64 * 13;

#[test]
fn a_line_is_short_whatever_a_client_sends() {
    harness::run(async {
        for log in ["{ audit: debug }", "{ audit: debug, format: json }"] {
            let (server, _) = server(log).await;
            let pieces = ["a", "%00", "%22", "%C3%A9", "%E2%80%AE", "%ff", "%F0%9F%94%91"];
            let methods = ["PUT", &"M".repeat(4000)];
            let mut expected = 0;
            for (who, right) in [(Who::Other, 403), (Who::Admin, 400)] {
                let mut client = server.client(who, Protocol::H2).await;
                for piece in pieces {
                    for method in methods {
                        let path = format!("/v1/key/create/{}", piece.repeat(4000 / piece.len()));
                        let status = client.send(method, &path, "").await.status;
                        assert_eq!(status, if method == "PUT" { right } else { 405 }, "{piece}");
                        expected += 1;
                    }
                }
            }
            let lines = || {
                let text = server.stdout();
                let lines = text.lines().filter(|line| line.contains("req.path"));
                lines.map(str::to_owned).collect::<Vec<_>>()
            };
            kes_testkit::wait::eventually(super::PATIENCE, "all lines are written", || {
                lines().len() >= expected
            });
            for line in lines() {
                assert!(line.len() <= MOST, "{} bytes: {line}", line.len());
                assert!(line.contains("…"), "it says that it was cut: {line}");
            }
        }
    });
}

/// The longest paths that are valid stand in the log as they are.
#[test]
fn no_valid_path_is_cut() {
    harness::run(async {
        let (server, mut client) = server("{ audit: debug }").await;
        let names = ["a".repeat(80), "b".repeat(80)];
        let paths = [
            ("PUT", format!("/v1/key/create/{}", names[0])),
            ("GET", format!("/v1/identity/describe/{}", names[0])),
            ("GET", format!("/v1/identity/list/{}*{}", names[0], names[1])),
        ];
        for (method, path) in &paths {
            client.send(method, path, "").await;
        }
        let lines = wait_for_audit(&server, paths.len());
        for (line, (_, path)) in lines.iter().zip(&paths) {
            assert_eq!(value(&fields(line), "req.path"), path);
        }
    });
}
