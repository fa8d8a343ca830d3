//! Real TLS proxies in front of a server, with the configurations of `docs/proxies.md` (contract
//! `config.md`, TLS).

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use http_body_util::BodyExt as _;
use hyper::body::Bytes;
use kes_testkit::wait::eventually;
use kes_testkit::{Authority, SelfSigned};
use rustls::client::ResolvesClientCert;
use rustls::sign::CertifiedKey;
use rustls::{HandshakeKind, SignatureScheme};
use serde_json::json;
use tokio::time::timeout;

use crate::harness::{self, BASE64, Client, Config, Credentials, Exposition, Protocol, Reply, Who};

mod site;

use site::{CLIENT, KINDS, Kind, Site, TLS};

/// How long something may take before a test fails.
const PATIENCE: Duration = Duration::from_secs(30);

const SELF: &str = "/v1/identity/self/describe";

const NO_IDENTITY: &str = "tls: client certificate is required";

fn config() -> Config {
    Config::usual().with("tls", TLS)
}

async fn send(client: &mut Client, path: &str, headers: &[(&str, &str)]) -> Reply {
    client.try_send("GET", path, headers, Bytes::new()).await.unwrap()
}

#[test]
fn a_client_uses_keys_through_a_proxy() {
    harness::run(async {
        // API keys are Ed25519.
        let of_api_key = Credentials::of(SelfSigned::builder(&[]).ed25519().make());
        let policy = format!(
            "
  keys: {{ allow: ['/v1/key/*', '/v1/log/audit'], identities: [\"${{MINIO}}\", \"{}\"] }}",
            of_api_key.identity
        );
        for kind in KINDS {
            let site = Site::new(kind, &config().with("policy", &policy));
            for (who, key) in [(&site.server.minio, "k1"), (&of_api_key, "k2")] {
                let mut client = site.client(Some(who), Protocol::H2).await;
                let create = format!("/v1/key/create/{key}");
                assert_eq!(client.send("PUT", &create, "").await.status, 200, "{kind:?}");
                assert_eq!(client.send("PUT", &create, "").await.status, 400, "{kind:?}");
            }
            for protocol in [Protocol::H1, Protocol::H2] {
                let mut client = site.client(Some(&of_api_key), protocol).await;
                assert_eq!(
                    send(&mut client, SELF, &[]).await.json()["identity"],
                    of_api_key.identity
                );
                for body in [300, 700_000] {
                    let plaintext = BASE64.encode_to_string(vec![7; body]);
                    let text = json!({ "plaintext": plaintext }).to_string();
                    let encrypted = client.send("PUT", "/v1/key/encrypt/k1", &text).await;
                    let text = encrypted.json().to_string();
                    let decrypted = client.send("PUT", "/v1/key/decrypt/k1", &text).await;
                    assert_eq!(decrypted.json()["plaintext"], plaintext, "{kind:?} {protocol:?}");
                }
                let too_large = "x".repeat(1_500_000);
                let refused = client.send("PUT", "/v1/key/encrypt/k1", &too_large).await;
                assert_eq!(refused.error(), (413, "request body is too large".to_owned()));
                // A proxy that has the answer before the whole body may close the connection.
                let mut client = site.client(Some(&of_api_key), protocol).await;
                let list = send(&mut client, "/v1/key/list/", &[]).await;
                assert_eq!(list.json()["names"], json!(["k1", "k2"]), "{kind:?} {protocol:?}");
            }
        }
    });
}

#[test]
fn a_log_is_followed_line_by_line() {
    harness::run(async {
        for kind in KINDS {
            let site = Site::new(kind, &config());
            let mut follower = site.client(Some(&site.server.minio), Protocol::H2).await;
            let stream = follower.open("GET", "/v1/log/audit", &[], Bytes::new()).await.unwrap();
            assert_eq!(stream.status(), 200, "{kind:?}");
            let mut lines = stream.into_body();
            let mut client = site.client(Some(&site.server.minio), Protocol::H1).await;
            let mut read = String::new();
            for n in 0..3 {
                let path = format!("/v1/key/list/{n}");
                assert_eq!(send(&mut client, &path, &[]).await.status, 200);
                while !read.contains(&path) {
                    let frame = timeout(PATIENCE, lines.frame()).await.expect("a line comes");
                    let bytes = frame.expect("the stream goes on").unwrap().into_data().unwrap();
                    read.push_str(std::str::from_utf8(&bytes).unwrap());
                }
            }
        }
    });
}

/// HAProxy has an HTTP/2 connection to each server for all its clients. Its client does not read, and
/// so does HAProxy in the end.
#[test]
fn a_client_that_takes_no_answer_stops_no_other() {
    harness::run(async {
        let others: Vec<_> = (0..4).map(|_| Credentials::new(&["client"])).collect();
        let identities: Vec<_> = others.iter().map(|who| who.identity.as_str()).collect();
        let policy = format!(
            "\n  keys: {{ allow: ['/v1/key/*'], identities: [\"${{MINIO}}\", {}] }}",
            identities.join(", ")
        );
        let site = Site::new(Kind::Haproxy, &config().with("policy", &policy));
        let mut clients = Vec::new();
        for who in &others {
            clients.push(site.client(Some(who), Protocol::H2).await);
        }
        assert_eq!(clients[0].send("PUT", "/v1/key/create/k", "").await.status, 200);

        let tls = site.connect(site.tls(Some(&site.server.minio), Protocol::H2)).await;
        let mut stalled = Client::with_window(tls, "localhost", 100).await;
        let plaintext = BASE64.encode_to_string(vec![7; 700_000]);
        let body = json!({ "plaintext": plaintext }).to_string().into();
        let answer = stalled.open("PUT", "/v1/key/encrypt/k", &[], body).await.unwrap();
        assert_eq!(answer.status(), 200);
        let mut direct = site.server.client(Who::Admin, Protocol::H2).await;
        loop {
            for client in &mut clients {
                assert_eq!(client.send("PUT", "/v1/key/generate/k", "").await.status, 200);
            }
            let metrics = Exposition::of(&mut direct).await;
            // Two servers, by its configuration.
            assert!(metrics.value("kes_class_connections{class=\"known\"}") <= 2.0);
            if metrics.value("kes_class_reserved_bytes{class=\"known\"}") == 0.0 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let rest = answer.into_body().collect();
        assert!(timeout(PATIENCE, rest).await.expect("it ends").is_err());
        for client in &mut clients {
            assert_eq!(client.send("PUT", "/v1/key/generate/k", "").await.status, 200);
        }
    });
}

/// Each request is refused to the stranger that sends it, and told by its own name and address.
#[test]
fn strangers_are_refused_by_their_own_identity() {
    harness::run(async {
        for kind in KINDS {
            let site = Site::new(kind, &config());
            let stranger = Credentials::new(&["client"]);
            for protocol in [Protocol::H1, Protocol::H2] {
                let mut client = site.client(Some(&stranger), protocol).await;
                let forged = [("x-forwarded-for", "198.51.100.7")];
                for path in ["/v1/key/list/a", "/v1/status"] {
                    let refused = send(&mut client, path, &forged).await;
                    assert_eq!(
                        refused.error(),
                        (403, "not authorized: insufficient permissions".to_owned())
                    );
                }
                // Without a certificate there is nobody to refuse.
                let mut nobody = site.client(None, protocol).await;
                assert_eq!(
                    send(&mut nobody, "/v1/status", &forged).await.error(),
                    (400, NO_IDENTITY.to_owned())
                );
                assert_eq!(send(&mut nobody, "/version", &[]).await.status, 200);
            }
            let told = format!(
                "req.path=/v1/key/list/a req.ip={CLIENT} req.identity={} ",
                stranger.identity
            );
            eventually(PATIENCE, "the refusal is audited", || site.server.stdout().contains(&told));
            assert!(!site.server.stdout().contains("198.51.100.7"));
        }
    });
}

/// Whatever a client writes into the headers, it stays itself.
#[test]
fn a_client_forwards_no_certificate_itself() {
    harness::run(async {
        for kind in KINDS {
            let site = Site::new(kind, &config());
            let (minio, admin) = (&site.server.minio, site.server.admin.escaped_certificate());
            let admin = admin.as_str();
            let forged: [&[(&str, &str)]; 4] = [
                &[("x-tls-client-cert", admin)],
                &[("X-Tls-Client-Cert", admin), ("X-TLS-CLIENT-CERT", admin)],
                &[("x_tls_client_cert", admin)],
                &[("x-tls-client-cert", "")],
            ];
            for protocol in [Protocol::H1, Protocol::H2] {
                let mut client = site.client(Some(minio), protocol).await;
                let mut nobody = site.client(None, protocol).await;
                for headers in forged {
                    let reply = send(&mut client, SELF, headers).await;
                    assert_eq!(reply.json()["identity"], minio.identity, "{kind:?} {headers:?}");
                    let reply = send(&mut nobody, SELF, headers).await;
                    assert_eq!(
                        reply.error(),
                        (400, NO_IDENTITY.to_owned()),
                        "{kind:?} {headers:?}"
                    );
                }
                // Who is no proxy and sends it to the server.
                let mut direct = site.server.client(Who::Minio, protocol).await;
                let reply = send(&mut direct, SELF, forged[0]).await;
                assert_eq!(reply.json()["identity"], minio.identity);
            }
            // A header that belongs to the connection between client and proxy is not forwarded.
            let mut client = site.client(Some(minio), Protocol::H1).await;
            let headers = [("connection", "x-tls-client-cert"), ("x-tls-client-cert", admin)];
            let reply = send(&mut client, SELF, &headers).await;
            assert_eq!(reply.json()["identity"], minio.identity, "{kind:?}");
        }
    });
}

/// The connections of the proxy carry the requests of all its clients.
#[test]
fn clients_share_the_connections_of_the_proxy() {
    harness::run(async {
        for kind in KINDS {
            let site = Site::new(kind, &config());
            let strangers: Vec<_> = (0..20).map(|_| Credentials::new(&["client"])).collect();
            let mut clients = Vec::new();
            for who in &strangers {
                clients.push((site.client(Some(who), Protocol::H2).await, who));
            }
            for _ in 0..3 {
                join_all(clients.iter_mut().map(|(client, who)| async {
                    for _ in 0..5 {
                        let reply = send(client, SELF, &[]).await;
                        assert_eq!(reply.json()["identity"], who.identity, "{kind:?}");
                    }
                }))
                .await;
            }
            for (client, who) in &mut clients {
                assert_eq!(
                    send(client, SELF, &[]).await.json()["identity"],
                    who.identity,
                    "{kind:?}"
                );
            }
            let metrics = Exposition::from(&site.server).await;
            let connections = metrics.value("kes_class_connections{class=\"known\"}");
            assert!((1.0..=32.0).contains(&connections), "{kind:?}: {connections}");
            // No stranger has one of its own.
            assert_eq!(metrics.value("kes_class_connections{class=\"stranger\"}"), 0.0);
            let total = metrics.value("kes_tls_connections");
            assert!(total <= 33.0, "{kind:?}: {total}");
        }
    });
}

/// The client of a resumed session has the certificate of the session.
#[test]
fn a_client_may_resume_its_session_with_the_proxy() {
    harness::run(async {
        for kind in KINDS {
            let site = Site::new(kind, &config());
            for who in [&site.server.minio, &site.server.admin] {
                // Clones share the store of sessions.
                let config = site.tls(Some(who), Protocol::H1);
                for round in 0..3 {
                    let tls = site.connect(config.clone()).await;
                    let kind_of_handshake = tls.get_ref().1.handshake_kind().unwrap();
                    let mut client = Client::over(tls, Protocol::H1, "localhost").await.unwrap();
                    let reply = send(&mut client, SELF, &[]).await;
                    let told = format!("{kind:?} {round} {kind_of_handshake:?} {reply:?}");
                    assert_eq!(reply.json()["identity"], who.identity, "{told}");
                    assert_eq!(kind_of_handshake == HandshakeKind::Resumed, round > 0, "{told}");
                }
            }
        }
    });
}

/// A client written in Go sends its certificate only if the other side asks for no CA, or for that
/// of the certificate.
#[test]
fn a_proxy_asks_for_certificates_of_any_ca() {
    #[derive(Debug)]
    struct Asked(Arc<dyn ResolvesClientCert>);

    impl ResolvesClientCert for Asked {
        fn resolve(
            &self,
            hints: &[&[u8]],
            schemes: &[SignatureScheme],
        ) -> Option<Arc<CertifiedKey>> {
            if hints.is_empty() { self.0.resolve(hints, schemes) } else { None }
        }

        fn has_certs(&self) -> bool {
            true
        }
    }

    harness::run(async {
        for kind in KINDS {
            let site = Site::new(kind, &config());
            let mut config = site.tls(Some(&site.server.minio), Protocol::H1);
            config.client_auth_cert_resolver = Arc::new(Asked(config.client_auth_cert_resolver));
            let tls = site.connect(config).await;
            let mut client = Client::over(tls, Protocol::H1, "localhost").await.unwrap();
            let reply = send(&mut client, SELF, &[]).await;
            assert_eq!(reply.json()["identity"], site.server.minio.identity, "{kind:?}");
        }
    });
}

#[test]
fn with_auth_on_a_certificate_of_the_ca_passes_the_proxy() {
    harness::run(async {
        let authority = Authority::new();
        let issued = Credentials::issued(&authority.client("issued"));
        let tls = "{ key: server.key, cert: server.crt, auth: on, ca: ca.crt, \
                   proxy: { identities: [\"${OTHER}\"] } }";
        let policy =
            format!("\n  p: {{ allow: ['/v1/status'], identities: [\"{}\"] }}", issued.identity);
        let config = Config::usual().with("tls", tls).with("policy", &policy);
        for kind in KINDS {
            let trust = |folder: &Path| {
                let ca = fs::read_to_string(authority.certificate()).unwrap();
                let proxy = fs::read_to_string(folder.join("other.crt")).unwrap();
                fs::write(folder.join("ca.crt"), ca + &proxy).unwrap();
            };
            let site = Site::prepared(kind, &config, trust);
            let mut client = site.client(Some(&issued), Protocol::H2).await;
            assert_eq!(send(&mut client, "/v1/status", &[]).await.status, 200, "{kind:?}");
            // The admin could not connect to the server either.
            let mut client = site.client(Some(&site.server.admin), Protocol::H2).await;
            let refused = send(&mut client, "/v1/status", &[]).await;
            assert_eq!(refused.error(), (400, NO_IDENTITY.to_owned()), "{kind:?}");
            eventually(PATIENCE, "the audit log says why", || {
                site.server.stdout().contains("the certificate that the TLS proxy forwarded")
            });
        }
    });
}

/// What the proxy has open does not go on, and what it opens anew is a stranger's.
#[test]
fn who_is_no_longer_a_proxy_forwards_nothing() {
    harness::run(async {
        for kind in KINDS {
            let site = Site::new(kind, &config());
            let mut client = site.client(Some(&site.server.minio), Protocol::H2).await;
            assert_eq!(send(&mut client, "/v1/status", &[]).await.status, 200);
            site.server.reload_and_wait(&Config::usual());
            for _ in 0..3 {
                assert_eq!(send(&mut client, "/v1/status", &[]).await.status, 403, "{kind:?}");
            }
            let told = format!("req.identity={} ", site.server.other.identity);
            eventually(PATIENCE, "the proxy is refused", || site.server.stdout().contains(&told));
            site.server.reload_and_wait(&config());
            assert_eq!(send(&mut client, "/v1/status", &[]).await.status, 200, "{kind:?}");
        }
    });
}
