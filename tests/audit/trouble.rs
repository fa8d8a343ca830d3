use kes_testkit::wait;
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use serde_json::Value;

use super::{KEY, PATIENCE, config, files, grep, report, start, start_beside, wait_for};
use crate::harness::{self, Config, Exposition, Protocol, Server, Who};

/// A killed server loses what waited, and never the chain.
#[test]
fn the_chain_goes_on_after_kills() {
    harness::run(async {
        let mut server = start(&config(", max_size: 8KiB"));
        for run in 0..4 {
            let mut admin = server.client(Who::Admin, Protocol::H2).await;
            let busy: Vec<_> = (0..4)
                .map(|_| {
                    let mut client = admin.share();
                    tokio::spawn(async move {
                        while let Ok(reply) =
                            client.try_send("GET", "/v1/status", &[], "".into()).await
                        {
                            assert_eq!(reply.status, 200);
                        }
                    })
                })
                .collect();
            let create = format!("/v1/key/create/k{run}");
            assert_eq!(admin.send("PUT", &create, "").await.status, 200);
            wait::eventually(PATIENCE, "some are recorded", || {
                !grep(&server, &["--key", &format!("k{run}")]).is_empty()
            });
            server.restart();
            for task in busy {
                let _ = task.await;
            }
        }
        let report = report(&server, &[]);
        assert_eq!(report["good"], true, "{report:#}");
        assert!(report["segments"].as_u64().unwrap() > 1, "{report:#}");
        assert_eq!(grep(&server, &["--operation", "CreateKey"]).len(), 4);
    });
}

/// A limit of the size of files stands for the disk.
#[test]
fn with_a_full_disk_reads_go_on_and_changes_do_not() {
    harness::run(async {
        let limited = "trap '' XFSZ; ulimit -S -f 8; exec \"$@\"";
        let file = "{ path: audit.jsonl, key: audit.key }";
        let log = format!("{{ error: off, audit: off, audit_required: true, audit_file: {file} }}");
        let config = Config::usual().with("log", &log).under(&["bash", "-c", limited, "bash"]);
        let mut server = start(&config);
        let mut admin = server.client(Who::Admin, Protocol::H2).await;
        assert_eq!(admin.send("PUT", "/v1/key/create/kept", "").await.status, 200);
        let announced = wait_for(&server, 2, &["--key", "kept"]);
        assert_eq!(
            (&announced[0]["kind"], &announced[1]["kind"]),
            (&"announced".into(), &"request".into())
        );
        assert_eq!(announced[0]["request"], announced[1]["request"]);
        assert_eq!(announced[0]["status"], Value::Null);

        let (mut made, mut refused) = (0, None);
        while made < 100 {
            let reply = admin.send("PUT", &format!("/v1/key/create/made-{made}"), "").await;
            if reply.status != 200 {
                refused = Some(reply.error());
                break;
            }
            made += 1;
        }
        let (status, text) = refused.expect("8 KiB are not enough for 100 keys");
        assert_eq!(status, 503);
        assert!(text.starts_with("audit log is not available: the key was "), "{text}");
        for _ in 0..20 {
            assert_eq!(admin.send("PUT", "/v1/key/generate/kept", "").await.status, 200);
        }
        for (method, path) in [("PUT", "/v1/key/create/more"), ("DELETE", "/v1/key/delete/kept")] {
            let told = (503, "audit log is not available: the key was not changed".to_owned());
            assert_eq!(admin.send(method, path, "").await.error(), told, "{path}");
        }
        assert_eq!(admin.send("GET", "/v1/key/describe/kept", "").await.status, 200);
        let lost = Exposition::from(&server).await.value("kes_audit_file_lost_records");
        assert!(lost >= 3.0, "{lost}");

        let id = Pid::from_raw(server.process().id().try_into().unwrap()).unwrap();
        prlimit(Some(id), Resource::Fsize, Rlimit { current: None, maximum: None }).unwrap();
        assert_eq!(admin.send("DELETE", "/v1/key/delete/kept", "").await.status, 200);
        wait_for(&server, 1, &["--operation", "DeleteKey", "--status", "200"]);
        let report = report(&server, &[]);
        assert_eq!(report["good"], true, "{report:#}");
        let notes = report["notes"].to_string();
        assert!(notes.contains("the server lost") && notes.contains("File too large"), "{notes}");
        for number in 0..made {
            assert_eq!(grep(&server, &["--key", &format!("made-{number}")]).len(), 2, "{number}");
        }
    });
}

/// Another file, no file, and a file that a tool for logs has moved.
#[test]
fn a_reload_changes_the_file_and_a_moved_file_is_left() {
    harness::run(async {
        let server = start(&config(""));
        let mut admin = server.client(Who::Admin, Protocol::H2).await;
        assert_eq!(admin.send("PUT", "/v1/key/create/a", "").await.status, 200);
        wait_for(&server, 1, &["--key", "a"]);
        std::fs::rename(server.file("audit.jsonl"), server.file("audit.jsonl.00000001")).unwrap();
        assert_eq!(admin.send("PUT", "/v1/key/create/b", "").await.status, 200);
        server.wait_for_stderr(
            "was moved, removed or cut by somebody else; the chain goes on in a new one",
        );
        assert_eq!(admin.send("PUT", "/v1/key/create/c", "").await.status, 200);
        wait_for(&server, 3, &["--operation", "CreateKey"]);
        assert_eq!(report(&server, &[])["segments"], 2);

        let other = "{ audit: off, audit_file: { path: other.jsonl } }";
        server.reload_and_wait(&Config::usual().with("log", other));
        assert_eq!(admin.send("PUT", "/v1/key/create/d", "").await.status, 200);
        wait::eventually(PATIENCE, "it is in the other file", || {
            let text = std::fs::read_to_string(server.file("other.jsonl")).unwrap_or_default();
            text.contains("\"key\":\"d\"") && text.contains("\"chain\":\"SHA-256, unkeyed\"")
        });
        server.reload_and_wait(&Config::usual().with("log", "{ audit: off }"));
        assert_eq!(admin.send("PUT", "/v1/key/create/e", "").await.status, 200);
        server.reload_and_wait(&config(""));
        assert_eq!(admin.send("PUT", "/v1/key/create/f", "").await.status, 200);
        let found = wait_for(&server, 4, &["--operation", "CreateKey"]);
        let keys: Vec<_> = found.iter().map(|record| record["key"].as_str().unwrap()).collect();
        assert_eq!(keys, ["a", "b", "c", "f"]);
        let report = report(&server, &[]);
        assert!(report["lines"].as_u64().unwrap() > 8, "{report:#}");
        let reloaded = server.stderr();
        assert!(reloaded.contains("log.audit_file.path"), "{reloaded}");
        assert!(files(&server).iter().any(|name| name.ends_with(".checkpoint")));
    });
}

/// A second server waits for the first one to end.
#[test]
fn two_servers_never_write_one_file() {
    harness::run(async {
        let first = start(&config(""));
        let path = first.file("audit.jsonl").display().to_string();
        let log = format!("{{ audit: off, audit_file: {{ path: {path}, key: audit.key }} }}");
        let second = start_beside(&Config::usual().with("log", &log));
        second.wait_for_stderr("another process writes");
        let mut admin = second.client(Who::Admin, Protocol::H2).await;
        assert_eq!(admin.send("PUT", "/v1/key/create/second", "").await.status, 200);
        assert_eq!(grep(&first, &["--key", "second"]).len(), 0);
        first.signal(rustix::process::Signal::TERM);
        wait_for(&first, 1, &["--key", "second"]);
        assert_eq!(report(&first, &[])["good"], true);
    });
}

#[test]
fn a_file_that_cannot_be_used_is_told_at_the_start() {
    for (name, text, told) in [
        (
            "audit.key",
            "short\n",
            "log.audit_file.key: audit.key: it has 5 bytes, and a key has at least 32",
        ),
        (
            "audit.jsonl",
            "a log of something else\n",
            "log.audit_file.path: 'audit.jsonl' is not an audit file of kes",
        ),
    ] {
        let ended = Server::refused(&config(""), |folder| {
            std::fs::write(folder.join("audit.key"), KEY).unwrap();
            std::fs::write(folder.join(name), text).unwrap();
        });
        assert_eq!(ended.status, Some(1));
        assert!(ended.stderr.contains(told), "{}", ended.stderr);
    }
    let ended = Server::refused(&config(""), |_| {});
    assert!(
        ended.stderr.contains("log.audit_file.key: audit.key: No such file"),
        "{}",
        ended.stderr
    );
}
