use std::sync::Arc;

use kes_testkit::{Authority, wait};
use rustls::{ClientConfig, HandshakeKind};
use std::time::Duration;

use super::{ask, client_config};
use crate::harness::{self, Config, Credentials, Openssl, Server, Tls, tls_connect};

/// Connects, asks who it is, and returns how the handshake went and the answer.
async fn connect(
    server: &Server,
    config: &ClientConfig,
) -> Result<(HandshakeKind, String), String> {
    // The clone shares the store of sessions.
    let mut stream =
        tls_connect(&server.address, config.clone()).await.map_err(|error| error.to_string())?;
    let kind = stream.get_ref().1.handshake_kind().unwrap();
    let answer = ask(&mut stream, "/v1/identity/self/describe").await;
    match answer.map_err(|error| error.to_string())? {
        answer if answer.is_empty() => Err("no answer".to_owned()),
        answer => Ok((kind, answer)),
    }
}

fn is_resumed(kind: HandshakeKind) -> bool {
    kind == HandshakeKind::Resumed
}

#[test]
fn a_session_is_resumed_with_its_identity() {
    harness::run(async {
        let server = Server::start();
        for tls in Tls::ALL {
            for who in [&server.admin, &server.other] {
                let config = client_config(&server, who, &[tls.version()], &[]);
                for round in 0..4 {
                    let (kind, answer) = connect(&server, &config).await.unwrap();
                    assert_eq!(is_resumed(kind), round > 0, "{tls:?} round {round}: {kind:?}");
                    let told = format!("{tls:?} round {round}: {answer}");
                    assert!(answer.starts_with("HTTP/1.1 200"), "{told}");
                    assert!(answer.contains(&who.identity), "{told}");
                }
            }
        }
    });
}

#[test]
fn openssl_resumes_by_ticket_and_by_id() {
    let server = Server::start();
    let made = Openssl::new();
    made.leaf("a", "P-256");
    let identity = made.identity("a.crt");
    for version in ["-tls1_3", "-tls1_2", "-tls1_2 -no_ticket"] {
        let path = "/v1/identity/self/describe";
        let first = format!("{version} -cert a.crt -key a.key -sess_out session");
        let said = made.s_client(&server, path, &first);
        assert!(said.contains("New, TLSv1") && said.contains(&identity), "{version}: {said}");
        // Neither certificate nor key: the session alone says who it is.
        let said = made.s_client(&server, path, &format!("{version} -sess_in session"));
        assert!(said.contains("Reused, TLSv1"), "{version}: {said}");
        assert!(said.contains(&identity), "{version}: {said}");
    }
}

#[test]
fn a_reload_that_changes_trust_ends_old_sessions() {
    harness::run(async {
        let made = Openssl::new();
        made.key("ca", "P-256");
        made.certificate("ca", "-addext keyUsage=keyCertSign");
        let ca = made.read("ca.crt");
        let usual = Config::usual();
        let server = Server::prepared(&usual, |folder| {
            std::fs::write(folder.join("ca.crt"), ca).unwrap();
        });
        let configs = Tls::ALL
            .map(|tls| Arc::new(client_config(&server, &server.admin, &[tls.version()], &[])));
        for config in &configs {
            connect(&server, config).await.unwrap();
            let (kind, _) = connect(&server, config).await.unwrap();
            assert!(is_resumed(kind), "the sessions would be resumed");
        }
        let strict = "{ key: server.key, cert: server.crt, auth: on, ca: ca.crt }";
        server.reload_and_wait(&usual.clone().with("tls", strict));
        for config in &configs {
            let refused = connect(&server, config).await;
            assert!(refused.is_err(), "a session outlived the trust in it: {refused:?}");
        }
        server.reload_and_wait(&usual);
        for config in &configs {
            let (kind, _) = connect(&server, config).await.unwrap();
            assert!(!is_resumed(kind), "{kind:?}");
        }
    });
}

#[test]
fn new_certificate_files_end_old_sessions() {
    harness::run(async {
        let server = Server::start();
        let config = client_config(&server, &server.admin, &[Tls::V1_3.version()], &[]);
        connect(&server, &config).await.unwrap();
        // The same certificate, in a file that was written again.
        std::fs::write(server.file("server.crt"), &server.tls.certificate_pem).unwrap();
        wait::eventually(Duration::from_secs(30), "the file is read again", || {
            server.stderr().contains("the certificate files were read again")
        });
        let (kind, _) = connect(&server, &config).await.unwrap();
        assert!(!is_resumed(kind), "{kind:?}");
    });
}

/// A CA is exchanged for another one: what was signed by the old one does not resume either.
#[test]
fn sessions_of_a_ca_that_was_removed_are_not_resumed() {
    harness::run(async {
        let (old, new) = (Authority::new(), Authority::new());
        let client = Credentials::issued(&old.client("client"));
        let tls = "{ key: server.key, cert: server.crt, auth: on, ca: trust.crt }";
        let usual = Config::usual().with("tls", tls);
        let ca = |ca: &Authority| std::fs::read(ca.certificate()).unwrap();
        let server = Server::prepared(&usual, |folder| {
            std::fs::write(folder.join("trust.crt"), ca(&old)).unwrap();
        });
        let configs = Tls::ALL.map(|tls| client_config(&server, &client, &[tls.version()], &[]));
        for config in &configs {
            connect(&server, config).await.unwrap();
            let (kind, _) = connect(&server, config).await.unwrap();
            assert!(is_resumed(kind), "the sessions would be resumed");
        }
        std::fs::write(server.file("trust.crt"), ca(&new)).unwrap();
        server.reload_and_wait(&usual);
        for config in &configs {
            let refused = connect(&server, config).await;
            assert!(refused.is_err(), "a session outlived the trust in it: {refused:?}");
        }
    });
}
