//! `log.audit_required`: no change of a key without a line of the audit log that says so.

use kes_testkit::wait;

use super::lost::server_with;
use super::{PATIENCE, audit, fields, keys, value, wait_for_audit};
use crate::harness::{self, Client, Config, Protocol, Server, Who};

const IMPORT: &str = r#"{"key":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=","cipher":"AES256"}"#;

const REFUSED: &str = "audit log is not available: the key was not changed";

fn config() -> Config {
    Config::usual().with("log", "{ audit_required: true }")
}

/// A server whose standard output is read once the file `go` is there, beside the start-up message.
fn stalled() -> Server {
    let reader = "> >(sed -u '/up and running/q'; \
                  while [ -e config.yml -a ! -e go ]; do sleep 0.05; done; cat)";
    server_with(&config(), reader)
}

/// None of the three changes is made.
async fn assert_no_change(admin: &mut Client) {
    let changes = [
        ("PUT", "/v1/key/create/k1", ""),
        ("PUT", "/v1/key/import/k2", IMPORT),
        ("DELETE", "/v1/key/delete/kept", ""),
    ];
    // Together: each may wait for its line.
    let calls = changes.map(|(method, path, body)| {
        let mut admin = admin.share();
        tokio::spawn(async move { (path, admin.send(method, path, body).await) })
    });
    for call in calls {
        let (path, reply) = call.await.unwrap();
        assert_eq!(reply.error(), (503, REFUSED.to_owned()), "{path}");
    }
    for (key, status) in [("k1", 404), ("k2", 404), ("kept", 200)] {
        let path = format!("/v1/key/describe/{key}");
        assert_eq!(admin.send("GET", &path, "").await.status, status, "{key}");
    }
}

/// Puts a key into the key store of a server, which cannot create it itself.
async fn keep_a_key(server: &Server) {
    let maker = Server::start();
    let mut admin = maker.client(Who::Admin, Protocol::H2).await;
    assert_eq!(admin.send("PUT", "/v1/key/create/kept", "").await.status, 200);
    std::fs::copy(maker.file("keys").join("kept"), server.file("keys").join("kept")).unwrap();
}

/// The bytes of the audit log that wait for who reads standard output, by the metrics.
async fn queued_bytes(admin: &mut Client) -> f64 {
    let body = admin.send("GET", "/v1/metrics?all", "").await.body;
    let mut lines = std::str::from_utf8(&body).unwrap().lines();
    let value = lines.find_map(|line| line.strip_prefix("kes_log_queued_bytes{log=\"audit\"} "));
    value.expect("the gauge is there").parse().unwrap()
}

#[test]
fn a_change_is_announced_before_it_is_made() {
    harness::run(async {
        let mut server = Server::with(&config().with("keys", "[{ name: listed }]"));
        wait_for_audit(&server, 2);
        let mut admin = server.client(Who::Admin, Protocol::H2).await;
        for (method, path, body, status) in [
            ("PUT", "/v1/key/create/a", "", 200),
            ("PUT", "/v1/key/create/a", "", 400),
            ("PUT", "/v1/key/import/b", IMPORT, 200),
            ("DELETE", "/v1/key/delete/a", "", 200),
        ] {
            assert_eq!(admin.send(method, path, body).await.status, status, "{path}");
        }
        // What is no change is not announced.
        assert_eq!(admin.send("GET", "/v1/key/describe/b", "").await.status, 200);
        assert_eq!(admin.send("PUT", "/v1/key/create/-", "").await.status, 400);
        let lines = wait_for_audit(&server, 11);
        let messages = |lines: &[String]| -> Vec<String> {
            lines.iter().map(|line| value(&fields(line), "msg").to_owned()).collect()
        };
        assert_eq!(
            messages(&lines),
            [
                "secret key 'listed' is to be created",
                "secret key 'listed' created",
                "secret key 'a' is to be created",
                "secret key 'a' created",
                "secret key 'a' is to be created",
                "key already exists",
                "secret key 'b' is to be imported",
                "secret key 'b' imported",
                "secret key 'a' is to be deleted",
                "secret key 'a' deleted",
                "key name '-' is empty, too long or contains invalid characters",
            ]
        );
        let announced = fields(&lines[2]);
        let expected = ["time", "level", "msg", "req.method", "req.path", "req.ip", "req.identity"];
        assert_eq!(keys(&announced), expected);
        assert_eq!(value(&announced, "req.path"), "/v1/key/create/a");
        assert_eq!(value(&announced, "req.identity"), server.admin.identity);
        // What was announced has an end.
        server.restart();
        let lines = wait_for_audit(&server, 13);
        let expected = ["secret key 'listed' is to be created", "key already exists"];
        assert_eq!(messages(&lines[11..]), expected);
    });
}

/// A line that waits in a queue is not written: the answer waits for it.
#[test]
fn a_change_waits_until_its_line_is_written() {
    harness::run(async {
        let server = stalled();
        keep_a_key(&server).await;
        let mut admin = server.client(Who::Admin, Protocol::H2).await;
        // What fits into the pipe is written, as far as the server can tell.
        let mut made = 0;
        loop {
            let reply = admin.send("PUT", &format!("/v1/key/create/made-{made}"), "").await;
            if reply.status != 200 {
                break;
            }
            made += 1;
        }
        assert_no_change(&mut admin).await;
        let why = "log.audit_required is set, and standard output did not take the line about it \
                   within 5 s";
        server.wait_for_stderr(why);
        // What changes no key needs no record.
        assert_eq!(admin.send("PUT", "/v1/key/generate/kept", "").await.status, 200);
        assert!(queued_bytes(&mut admin).await > 0.0, "metrics tell what waits");
        let mut waiting = admin.share();
        let delete =
            tokio::spawn(async move { waiting.send("DELETE", "/v1/key/delete/kept", "").await });
        std::fs::write(server.file("go"), "").unwrap();
        let deleted = delete.await.unwrap().status;
        if deleted != 200 {
            // It had waited for too long by then.
            assert_eq!(deleted, 503);
            assert_eq!(admin.send("DELETE", "/v1/key/delete/kept", "").await.status, 200);
        }
        wait::eventually(PATIENCE, "the delete is recorded", || {
            let lines = audit(&server);
            let done = |text: &str| lines.iter().any(|line| line.contains(text));
            done("'kept' is to be deleted") && done("'kept' deleted")
        });
        let is_empty = async || queued_bytes(&mut admin).await == 0.0;
        wait::eventually_async(PATIENCE, "nothing waits any more", is_empty).await;
        // Each key that was made has both lines.
        let text = server.stdout();
        for number in 0..made {
            let name = format!("'made-{number}'");
            assert!(text.contains(&format!("{name} is to be created")), "{name}");
            assert!(text.contains(&format!("{name} created")), "{name}");
        }
    });
}

/// A file that may have 4 KiB stands for the disk.
#[test]
fn with_a_full_disk_no_key_is_changed_until_there_is_room_again() {
    harness::run(async {
        let full = "trap '' XFSZ; exec 2> >(exec cat >&2); ulimit -f 4; exec \"$@\"";
        let server = Server::with(&config().under(&["bash", "-c", full, "bash"]));
        keep_a_key(&server).await;
        let mut admin = server.client(Who::Admin, Protocol::H2).await;
        let (mut made, mut reply) = (0, None);
        while made < 100 {
            let path = format!("/v1/key/create/made-{made}");
            let answer = admin.send("PUT", &path, "").await;
            if answer.status != 200 {
                reply = Some(answer);
                break;
            }
            made += 1;
        }
        // Either line of the last one may be that for which there is no room.
        let (status, text) = reply.expect("4 KiB are not enough for 100 keys").error();
        assert_eq!(status, 503);
        let path = format!("/v1/key/describe/made-{made}");
        let described = admin.send("GET", &path, "").await.status;
        match text.as_str() {
            REFUSED => assert_eq!(described, 404),
            "audit log is not available: the key was changed" => assert_eq!(described, 200),
            text => panic!("{text}"),
        }
        let lines = audit(&server);
        for number in 0..made {
            let text = format!("'made-{number}' created");
            assert!(lines.iter().any(|line| line.contains(&text)), "{text}: {lines:#?}");
        }
        assert_no_change(&mut admin).await;
        let why = "log.audit_required is set, and the line about it could not be written to \
                   standard output";
        server.wait_for_stderr(why);

        std::fs::File::options()
            .write(true)
            .open(server.file("stdout"))
            .unwrap()
            .set_len(0)
            .unwrap();
        assert_eq!(admin.send("DELETE", "/v1/key/delete/kept", "").await.status, 200);
        let text = server.stdout();
        assert!(text.contains("'kept' is to be deleted"), "{text}");
        assert!(text.contains("'kept' deleted"), "{text}");
    });
}

/// Nothing keeps what is written there. (That no key is changed then is tested with the writer.)
#[test]
fn a_standard_output_that_keeps_nothing_is_told_at_the_start() {
    for redirection in ["> /dev/null", ">&-"] {
        let script = format!("exec \"$@\" {redirection}");
        let config = config().with("tls", "{ key: none.key, cert: none.crt }");
        let ended = Server::refused(&config.under(&["bash", "-c", &script, "bash"]), |_| {});
        let told = "log.audit_required is set, but standard output is closed or /dev/null, which \
                    keeps no audit log: no key can be created, imported or deleted";
        assert!(ended.stderr.contains(told), "{redirection}: {}", ended.stderr);
    }
}
