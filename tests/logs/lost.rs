//! Lines that cannot be written: they are counted, and told on the stream that still works.

use kes_testkit::wait;

use super::{PATIENCE, fields, value};
use crate::harness::{self, Config, Exposition, Protocol, Server, Who};

/// A server that a shell starts with one of its streams elsewhere.
fn server(redirection: &str) -> Server {
    server_with(&Config::usual(), redirection)
}

pub(super) fn server_with(config: &Config, redirection: &str) -> Server {
    let script = format!("exec \"$@\" {redirection}");
    Server::with(&config.clone().under(&["bash", "-c", &script, "bash"]))
}

async fn lost(server: &Server) -> f64 {
    Exposition::from(server).await.value("kes_log_dropped_lines")
}

#[test]
fn lines_for_a_reader_that_is_gone_are_counted_and_told_on_standard_error() {
    harness::run(async {
        // A reader of the start-up message alone.
        let server = server("> >(sed '/up and running/q')");
        let mut admin = server.client(Who::Admin, Protocol::H2).await;
        let start = std::time::Instant::now();
        let mut created = 0;
        // The reader ends some time after its last line.
        while lost(&server).await < 20.0 {
            assert!(start.elapsed() < PATIENCE, "{created} lines, {} lost", lost(&server).await);
            let path = format!("/v1/key/create/k{created}");
            assert_eq!(admin.send("PUT", &path, "").await.status, 200, "a log stops no request");
            created += 1;
        }
        let told = "log lines are lost, 1 so far: standard output cannot be written: Broken pipe";
        server.wait_for_stderr(told);
        let stderr = server.stderr();
        let line = stderr.lines().find(|line| line.contains(told)).unwrap();
        assert!(line.contains("level=ERROR"), "{line}");
        assert_eq!(stderr.matches("log lines are lost").count(), 1, "it is told once: {stderr}");
        // What each of them says is told, and counted.
        let lost = Exposition::from(&server).await.value("kes_log_lost_changes");
        assert!(lost >= 20.0, "{lost}");
        let last = format!("secret key 'k{}' created", created - 1);
        server.wait_for_stderr(&last);
        let stderr = server.stderr();
        let line = stderr.lines().find(|line| line.contains(&last)).unwrap();
        let line = fields(line);
        assert_eq!(value(&line, "level"), "ERROR");
        assert_eq!(value(&line, "msg"), "standard output did not take a line of the audit log");
        let path = format!("/v1/key/create/k{}", created - 1);
        assert_eq!(value(&fields(value(&line, "line")), "req.path"), path);
    });
}

#[test]
fn lines_for_a_full_disk_are_counted() {
    harness::run(async {
        let server = server("2> /dev/full");
        // The warnings of the configuration were the first.
        let before = lost(&server).await;
        let plain = tokio::net::TcpStream::connect(&server.address).await.unwrap();
        let mut plain = plain;
        tokio::io::AsyncWriteExt::write_all(&mut plain, b"no TLS at all\r\n").await.unwrap();
        wait::eventually_async(PATIENCE, "lost lines are counted", || async {
            lost(&server).await > before
        })
        .await;
        let mut admin = server.client(Who::Admin, Protocol::H2).await;
        assert_eq!(admin.send("PUT", "/v1/key/create/k", "").await.status, 200);
        wait::eventually(PATIENCE, "the audit log goes on", || {
            server.stdout().contains("'k' created")
        });
    });
}

/// Who reads standard output stops for a while, and somebody without any right fills the queue.
#[test]
fn other_requests_do_not_displace_the_line_of_a_change() {
    harness::run(async {
        let reader = "> >(sed '/up and running/q'; \
                      while [ -e config.yml -a ! -e go ]; do sleep 0.05; done; cat)";
        let config = Config::usual().with("log", "{ audit: debug }");
        let server = server_with(&config, reader);
        let other = server.client(Who::Other, Protocol::H2).await;
        let start = std::time::Instant::now();
        while lost(&server).await < 100.0 {
            assert!(start.elapsed() < 6 * PATIENCE, "nothing is lost");
            let mut calls = Vec::new();
            for _ in 0..200 {
                let mut other = other.share();
                calls.push(tokio::spawn(async move {
                    assert_eq!(other.send("GET", "/version", "").await.status, 200);
                }));
            }
            for call in calls {
                call.await.unwrap();
            }
        }
        let mut admin = server.client(Who::Admin, Protocol::H2).await;
        assert_eq!(admin.send("PUT", "/v1/key/create/precious", "").await.status, 200);
        assert_eq!(admin.send("DELETE", "/v1/key/delete/precious", "").await.status, 200);
        assert_eq!(Exposition::from(&server).await.value("kes_log_lost_changes"), 0.0);
        std::fs::write(server.file("go"), "").unwrap();
        for text in [
            "'precious' created",
            "'precious' deleted",
            "of them about changes to keys: 0; they were not read in time",
        ] {
            wait::eventually(PATIENCE, text, || server.stdout().contains(text));
        }
    });
}
