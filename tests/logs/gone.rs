//! Changes that nobody waits for: whoever performs them records them.

use std::time::Duration;

use kes_testkit::wait;
use rustix::process::Signal;

use super::{PATIENCE, audit, fields, keys, value, wait_for_audit};
use crate::harness::{self, Config, Exposition, Protocol, Server, Who};

#[test]
fn a_delete_whose_client_goes_away_is_recorded_as_done() {
    harness::run(async {
        let (vault, server) = slow_server();
        for (number, (protocol, key)) in
            [(Protocol::H1, "k1"), (Protocol::H2, "k2")].into_iter().enumerate()
        {
            delete_and_go_away(&vault, &server, protocol, key).await;
            let lines = wait_for_audit(&server, number + 1);
            assert_eq!(lines.len(), number + 1, "one line for each: {lines:#?}");
            let line = fields(lines.last().unwrap());
            for (name, expected) in [
                ("msg", &*format!("secret key '{key}' deleted")),
                ("req.method", "DELETE"),
                ("req.path", &*format!("/v1/key/delete/{key}")),
                ("req.ip", "127.0.0.1"),
                ("req.identity", &*server.admin.identity),
                ("res.code", "200"),
                ("reason", "the client went away before"),
            ] {
                assert_eq!(value(&line, name), expected, "{lines:#?}");
            }
        }
        let metrics = Exposition::from(&server).await;
        // Counted with the status that the line has.
        assert_eq!(metrics.value(r#"kes_http_request_success{code="200"}"#), 2.0);
        assert_eq!(metrics.value(r#"kes_http_request_error{code="499"}"#), 0.0);
        assert_eq!(metrics.value("kes_log_audit_events"), 2.0);
        assert_eq!(metrics.value("kes_log_lost_changes"), 0.0);
    });
}

/// The server stops only when the change has ended.
#[test]
fn a_server_that_stops_records_what_goes_on() {
    harness::run(async {
        let (vault, mut server) = slow_server();
        delete_and_go_away(&vault, &server, Protocol::H2, "k1").await;
        server.signal(Signal::TERM);
        server.wait_for_exit(PATIENCE);
        let lines = audit(&server);
        assert!(lines.iter().any(|line| line.contains("secret key 'k1' deleted")), "{lines:#?}");
    });
}

#[test]
fn a_key_that_the_configuration_lists_is_recorded_when_it_is_created() {
    harness::run(async {
        let mut server = Server::with(&Config::usual().with("keys", "[{ name: listed }]"));
        let lines = wait_for_audit(&server, 1);
        let line = fields(&lines[0]);
        for (name, expected) in [
            ("msg", "secret key 'listed' created"),
            ("req.method", ""),
            ("req.path", ""),
            ("req.ip", ""),
            ("req.identity", &*server.admin.identity),
            ("res.code", "200"),
            ("reason", "the configuration lists it under 'keys'"),
        ] {
            assert_eq!(value(&line, name), expected, "{lines:#?}");
        }
        assert_eq!(keys(&line).len(), 10);
        // Once: the next start finds it.
        server.restart();
        let mut admin = server.client(Who::Admin, Protocol::H2).await;
        assert_eq!(admin.send("DELETE", "/v1/key/delete/none", "").await.status, 404);
        wait::eventually(PATIENCE, "the delete is recorded", || {
            audit(&server).iter().any(|line| line.contains("/v1/key/delete/none"))
        });
        assert_eq!(audit(&server).len(), 2);
    });
}

/// A server whose key store takes its time.
fn slow_server() -> (kes_testkit::faulty::Faulty, Server) {
    let vault = crate::cache::slow_vault(Duration::from_millis(500));
    let keystore = format!(
        "{{ vault: {{ endpoint: \"{}\", approle: {{ id: i, secret: s }} }} }}",
        vault.url()
    );
    let server = Server::with(&Config::usual().with("keystore", &keystore));
    (vault, server)
}

/// Sends a delete, and goes away while the key store is at it.
async fn delete_and_go_away(
    vault: &kes_testkit::faulty::Faulty,
    server: &Server,
    protocol: Protocol,
    key: &str,
) {
    let mut client = server.client(Who::Admin, protocol).await;
    let path = format!("/v1/key/delete/{key}");
    let call = tokio::spawn(async move { client.send("DELETE", &path, "").await });
    let stored = format!("/v1/kv/{key}");
    wait::eventually_async(PATIENCE, "the key store is asked", || async {
        vault.requests().iter().any(|request| request.path() == stored)
    })
    .await;
    call.abort();
}
