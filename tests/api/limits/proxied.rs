//! Requests through a TLS proxy that forwards the certificates of its clients (contract
//! `config.md`, TLS). The client of the connection stands for the proxy.

use std::path::Path;
use std::time::Duration;

use futures_util::future::join_all;
use http_body_util::BodyExt;
use hyper::body::Bytes;
use kes_testkit::wait::{eventually, eventually_async};
use tokio::time::timeout;

use super::store_calls::{config as with_vault, held, vault};
use crate::harness::{self, Client, Config, Credentials, Exposition, Protocol, Reply, Server, Who};

/// How long something may take before a test fails.
const PATIENCE: Duration = Duration::from_secs(30);

/// `Who::Other` is a proxy.
const TLS: &str = "{ key: server.key, cert: server.crt, proxy: { identities: [\"${OTHER}\"] } }";

/// A request that a proxy forwards for a client.
async fn forward(proxy: &mut Client, client: &Credentials, method: &str, path: &str) -> Reply {
    let headers = [("x-tls-client-cert", client.escaped_certificate())];
    send(proxy, method, path, &headers).await
}

async fn send(client: &mut Client, method: &str, path: &str, headers: &[(&str, String)]) -> Reply {
    let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    client.try_send(method, path, &headers, Bytes::new()).await.unwrap()
}

const SELF: &str = "/v1/identity/self/describe";

#[test]
fn a_request_is_that_of_the_certificate_that_the_proxy_forwards() {
    harness::run(async {
        let server = Server::with(&Config::usual().with("tls", TLS));
        let unknown = Credentials::new(&["client"]);
        for protocol in [Protocol::H1, Protocol::H2] {
            let mut proxy = server.client(Who::Other, protocol).await;
            for client in [&server.minio, &server.admin] {
                let reply = forward(&mut proxy, client, "GET", SELF).await;
                assert_eq!(reply.json()["identity"], client.identity.as_str());
            }
            let create = format!("/v1/key/create/{protocol:?}");
            let of_minio = forward(&mut proxy, &server.minio, "PUT", &create).await;
            assert_eq!(of_minio.status, 200);
            for (client, status) in [(&server.admin, 200), (&server.minio, 403), (&unknown, 403)] {
                let path = "/v1/policy/list/";
                let reply = forward(&mut proxy, client, "GET", path).await;
                assert_eq!(reply.status, status, "{}", client.identity);
            }
            // Somebody who is no proxy forwards nothing.
            let mut minio = server.client(Who::Minio, protocol).await;
            let reply = forward(&mut minio, &server.admin, "GET", SELF).await;
            assert_eq!(reply.json()["identity"], server.minio.identity.as_str());
        }
    });
}

/// The proxy has no rights of its own, whatever it forwards.
#[test]
fn without_one_valid_certificate_a_request_has_no_identity() {
    harness::run(async {
        let server = Server::with(&Config::usual().with("tls", TLS));
        let minio = server.minio.escaped_certificate();
        let minio = minio.as_str();
        for protocol in [Protocol::H1, Protocol::H2] {
            let mut proxy = server.client(Who::Other, protocol).await;
            for values in [vec![], vec![""], vec!["x"], vec![&minio[..200]], vec![minio, minio]] {
                let headers: Vec<_> =
                    values.iter().map(|value| ("X-Tls-Client-Cert", (*value).to_owned())).collect();
                for path in [SELF, "/v1/status"] {
                    let reply = send(&mut proxy, "GET", path, &headers).await;
                    let expected = (400, "tls: client certificate is required".to_owned());
                    assert_eq!(reply.error(), expected, "{values:?}");
                }
                // What needs no identity needs no certificate.
                assert_eq!(send(&mut proxy, "GET", "/version", &headers).await.status, 200);
            }
        }
    });
}

#[test]
fn the_logs_have_the_address_and_the_identity_of_the_client() {
    harness::run(async {
        let server =
            Server::with(&Config::usual().with("tls", TLS).with("log", "{ audit: debug }"));
        let mut proxy = server.client(Who::Other, Protocol::H2).await;
        let headers = [
            ("x-forwarded-for", "198.51.100.7, 192.0.2.33".to_owned()),
            ("x-tls-client-cert", server.minio.escaped_certificate()),
        ];
        assert_eq!(send(&mut proxy, "GET", "/v1/status", &headers).await.status, 200);
        let nothing = [("x-tls-client-cert", "x".to_owned())];
        assert_eq!(send(&mut proxy, "GET", "/v1/status", &nothing).await.status, 400);
        let client = format!("req.ip=192.0.2.33 req.identity={} ", server.minio.identity);
        eventually(PATIENCE, "both are audited", || {
            let log = server.stdout();
            log.contains(&client) && log.contains("is no URL-escaped PEM of a certificate")
        });
    });
}

/// Under `auth: on` a client that could not connect itself gets nothing through a proxy.
#[test]
fn with_auth_on_the_forwarded_certificate_has_to_verify() {
    harness::run(async {
        let tls = "{ key: server.key, cert: server.crt, auth: on, ca: ca.crt, \
                   proxy: { identities: [\"${OTHER}\"] } }";
        let trust = |folder: &Path| {
            let read = |name| std::fs::read_to_string(folder.join(name)).unwrap();
            std::fs::write(folder.join("ca.crt"), read("other.crt") + &read("minio.crt")).unwrap();
        };
        let server = Server::prepared(&Config::usual().with("tls", tls), trust);
        let mut proxy = server.client(Who::Other, Protocol::H2).await;
        assert_eq!(forward(&mut proxy, &server.minio, "GET", "/v1/status").await.status, 200);
        let refused = forward(&mut proxy, &server.admin, "GET", "/v1/status").await;
        assert_eq!(refused.error(), (400, "tls: client certificate is required".to_owned()));
    });
}

/// Its stream ends when its CA is no longer trusted, and the connection of the proxy goes on.
#[test]
fn a_client_behind_a_proxy_follows_a_log_for_as_long_as_its_ca_is_trusted() {
    harness::run(async {
        let tls = "{ key: server.key, cert: server.crt, auth: on, ca: ca.crt, \
                   proxy: { identities: [\"${OTHER}\"] } }";
        let trust = |folder: &Path, names: &[&str]| {
            let read = |name| std::fs::read_to_string(folder.join(name)).unwrap();
            let cas: String = names.iter().copied().map(read).collect();
            std::fs::write(folder.join("ca.crt"), cas).unwrap();
        };
        let config = Config::usual().with("tls", tls);
        let server = Server::prepared(&config, |folder: &Path| {
            trust(folder, &["other.crt", "minio.crt", "admin.crt"]);
        });
        for protocol in [Protocol::H1, Protocol::H2] {
            let folder = server.file("ca.crt").parent().unwrap().to_owned();
            trust(&folder, &["other.crt", "minio.crt", "admin.crt"]);
            server.reload_and_wait(&config);
            let mut proxy = server.client(Who::Other, protocol).await;
            let mut proxy_of_admin = server.client(Who::Other, protocol).await;
            let follow = async |proxy: &mut Client, client: &Credentials| {
                let certificate = client.escaped_certificate();
                let headers = [("x-tls-client-cert", certificate.as_str())];
                let opened = proxy.open("GET", "/v1/log/error", &headers, Bytes::new()).await;
                let stream = opened.unwrap();
                assert_eq!(stream.status(), 200);
                stream.into_body()
            };
            let ended = BodyExt::collect(follow(&mut proxy, &server.minio).await);
            let other = BodyExt::collect(follow(&mut proxy_of_admin, &server.admin).await);
            trust(&folder, &["other.crt", "admin.crt"]);
            server.reload_and_wait(&config);
            assert!(timeout(PATIENCE, ended).await.expect("the stream ends").is_ok());
            assert_eq!(forward(&mut proxy, &server.admin, "GET", "/v1/status").await.status, 200);
            let refused = forward(&mut proxy, &server.minio, "GET", "/v1/status").await;
            assert_eq!(refused.error(), (400, "tls: client certificate is required".to_owned()));
            // Another client's stream goes on.
            assert!(timeout(Duration::from_millis(100), other).await.is_err());
        }
        server.wait_for_stderr("through a TLS proxy is ended: its client certificate is no longer");
    });
}

/// The connection is that of a known identity, whoever its clients are.
#[test]
fn the_connection_of_a_proxy_is_not_a_strangers() {
    harness::run(async {
        let server = Server::with(&Config::usual().with("tls", TLS));
        let mut admin = server.client(Who::Admin, Protocol::H2).await;
        let mut proxy = server.client(Who::Other, Protocol::H2).await;
        let stranger = Credentials::new(&["client"]);
        assert_eq!(forward(&mut proxy, &stranger, "GET", "/v1/status").await.status, 403);
        let metrics = Exposition::of(&mut admin).await;
        let connections =
            |class| metrics.value(&format!("kes_class_connections{{class=\"{class}\"}}"));
        assert_eq!(["stranger", "known", "admin"].map(connections), [0.0, 1.0, 1.0]);
    });
}

/// They share a connection and nothing else.
#[test]
fn each_client_of_a_proxy_has_its_own_budgets() {
    harness::run(async {
        let vault = vault();
        let [one, another, limited] = [(); 3].map(|()| Credentials::new(&["client"]));
        let policy = format!(
            "
  free: {{ allow: ['*'], identities: [\"{}\", \"{}\"] }}
  limited: {{ allow: ['*'], limits: {{ requests_at_once: 1 }}, identities: [\"{}\"] }}",
            one.identity, another.identity, limited.identity
        );
        let config = with_vault(&vault).with("policy", &policy).with("tls", TLS);
        let server = Server::with(&config);
        let proxy = server.client(Who::Other, Protocol::H2).await;
        let mut admin = server.client(Who::Admin, Protocol::H2).await;

        let flood = join_all((0..100).map(|n| {
            let (mut proxy, one) = (proxy.share(), &one);
            async move {
                let path = format!("/v1/key/describe/held-{n}");
                forward(&mut proxy, one, "GET", &path).await.status
            }
        }));
        let served = async {
            eventually_async(PATIENCE, "reads hang", || async { held(&vault).len() >= 24 }).await;
            let mut proxy = proxy.share();
            for n in 0..10 {
                for client in [&another, &server.admin] {
                    let path = format!("/v1/key/describe/k-{n}-{}", &client.identity[..8]);
                    assert_eq!(forward(&mut proxy, client, "GET", &path).await.status, 200);
                }
            }
            let calls = "kes_class_store_calls{call=\"read\",class=\"known\"}";
            assert_eq!(Exposition::of(&mut admin).await.value(calls), 24.0);
        };
        tokio::select! {
            _ = flood => panic!("what hangs is answered"),
            served = timeout(Duration::from_secs(9), served) => {
                served.expect("nobody waits for the reads of another client");
            }
        }

        let certificate = limited.escaped_certificate();
        let headers = [("x-tls-client-cert", certificate.as_str())];
        let mut proxy = proxy.share();
        let stream = proxy.open("GET", "/v1/log/error", &headers, Bytes::new()).await.unwrap();
        assert_eq!(stream.status(), 200);
        let too_many = forward(&mut proxy, &limited, "GET", "/v1/metrics").await;
        assert_eq!(too_many.error(), (429, "too many requests at a time".to_owned()));
        assert_eq!(forward(&mut proxy, &another, "GET", "/v1/metrics").await.status, 200);
    });
}

#[test]
fn who_is_no_longer_a_proxy_forwards_nothing_more() {
    harness::run(async {
        let config = Config::usual().with("tls", TLS);
        let server = Server::with(&config);
        let mut proxy = server.client(Who::Other, Protocol::H2).await;
        let certificate = server.minio.escaped_certificate();
        let headers = [("x-tls-client-cert", certificate.as_str())];
        let stream = proxy.open("GET", "/v1/log/error", &headers, Bytes::new()).await.unwrap();
        assert_eq!(stream.status(), 200);
        server.reload_and_wait(&Config::usual());
        let end = BodyExt::collect(stream.into_body());
        assert!(timeout(PATIENCE, end).await.expect("the stream ends").is_ok());
        let mut proxy = server.client(Who::Other, Protocol::H2).await;
        assert_eq!(forward(&mut proxy, &server.minio, "GET", "/v1/status").await.status, 403);
    });
}
