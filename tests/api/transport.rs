//! How a client connects (contract `api.md`, Transport; contract `config.md`, TLS).

use std::time::Duration;

use rustls::{ClientConfig, ProtocolVersion, SupportedProtocolVersion};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::harness::{self, Credentials, Openssl, Server, Tls, tls_connect};

/// Whose certificates are trusted.
mod chain;

/// Handshakes that fail.
mod failed;

/// The server's own private key.
mod server_key;

/// Sessions that are resumed.
mod session;

/// Client certificates of X.509 version 1.
mod version1;

/// A client with a choice of versions and application protocols.
fn client_config(
    server: &Server,
    credentials: &Credentials,
    versions: &[&'static SupportedProtocolVersion],
    alpn: &[&str],
) -> ClientConfig {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(server.tls.certificate.clone()).unwrap();
    let mut config = ClientConfig::builder_with_provider(kes_tls::provider())
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(vec![credentials.certificate.clone()], credentials.private_key())
        .unwrap();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    config
}

/// Sends one request over HTTP/1.1 and reads until the server ends the connection.
async fn ask(stream: &mut TlsStream<TcpStream>, path: &str) -> std::io::Result<String> {
    let request = format!("GET {path} HTTP/1.1\r\nhost: kes\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

#[test]
fn both_versions_of_tls_and_the_better_one_first() {
    harness::run(async {
        let server = Server::start();
        let all: &[&SupportedProtocolVersion] = &[&rustls::version::TLS12, &rustls::version::TLS13];
        for (versions, expected) in [
            (&all[..1], ProtocolVersion::TLSv1_2),
            (&all[1..], ProtocolVersion::TLSv1_3),
            (all, ProtocolVersion::TLSv1_3),
        ] {
            let config = client_config(&server, &server.admin, versions, &[]);
            let mut stream = tls_connect(&server.address, config).await.unwrap();
            assert_eq!(stream.get_ref().1.protocol_version(), Some(expected));
            let answer = ask(&mut stream, "/v1/status").await.unwrap();
            assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        }
    });
}

#[test]
fn older_versions_of_tls_are_refused() {
    let server = Server::start();
    let made = Openssl::new();
    made.leaf("a", "P-256");
    for version in ["-tls1", "-tls1_1"] {
        let args = format!("{version} -cipher ALL@SECLEVEL=0 -cert a.crt -key a.key");
        let said = made.s_client(&server, "/version", &args);
        assert!(said.contains("SSL alert number"), "{version}: {said}");
        assert!(!said.contains("HTTP/1.1"), "{version}: {said}");
    }
    let said = made.s_client(&server, "/version", "-tls1_2 -cert a.crt -key a.key");
    assert!(said.contains("HTTP/1.1 200"), "{said}");
}

/// What `docs/differences.md` says of the offer. Ciphers are those of the test's own server key,
/// which is ECDSA.
#[test]
fn the_offer_is_the_documented_one() {
    let server = Server::start();
    let made = Openssl::new();
    made.leaf("a", "P-256");
    for (args, is_served) in [
        ("-tls1_2 -cipher ECDHE-ECDSA-AES128-GCM-SHA256", true),
        ("-tls1_2 -cipher ECDHE-ECDSA-AES256-GCM-SHA384", true),
        ("-tls1_2 -cipher ECDHE-ECDSA-CHACHA20-POLY1305", !cfg!(feature = "fips")),
        ("-tls1_2 -cipher ECDHE-ECDSA-AES128-SHA", false),
        ("-tls1_2 -cipher ECDHE-ECDSA-AES256-SHA", false),
        ("-tls1_2 -cipher ECDHE-ECDSA-AES128-SHA256", false),
        ("-tls1_2 -cipher ECDHE-ECDSA-AES256-SHA384", false),
        ("-tls1_2 -cipher AES128-GCM-SHA256", false),
        ("-tls1_3 -ciphersuites TLS_AES_128_GCM_SHA256", true),
        ("-tls1_3 -ciphersuites TLS_AES_256_GCM_SHA384", true),
        ("-tls1_3 -ciphersuites TLS_CHACHA20_POLY1305_SHA256", !cfg!(feature = "fips")),
        ("-tls1_3 -groups X25519", !cfg!(feature = "fips")),
        ("-tls1_3 -groups P-256", true),
        ("-tls1_3 -groups P-384", true),
        ("-tls1_3 -groups P-521", false),
        ("-tls1_2 -groups P-521", false),
        ("-tls1_1 -cipher ALL@SECLEVEL=0", false),
    ] {
        let said = made.s_client(&server, "/version", &format!("{args} -cert a.crt -key a.key"));
        assert_eq!(said.contains("HTTP/1.1 200"), is_served, "{args}: {said}");
        // handshake_failure
        assert_eq!(said.contains("SSL alert number 40"), !is_served, "{args}: {said}");
    }
}

#[test]
fn the_application_protocol_is_the_servers_choice_among_the_clients() {
    harness::run(async {
        let server = Server::start();
        for tls in Tls::ALL {
            for (offered, chosen) in [
                (&["h2"][..], Some("h2")),
                (&["http/1.1"], Some("http/1.1")),
                (&["h2", "http/1.1"], Some("h2")),
                (&["http/1.1", "h2"], Some("h2")),
                (&["spdy/3", "http/1.1"], Some("http/1.1")),
                (&[], None),
            ] {
                let config = client_config(&server, &server.admin, &[tls.version()], offered);
                let mut stream = tls_connect(&server.address, config).await.unwrap();
                let protocol = stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec);
                assert_eq!(protocol.as_deref(), chosen.map(str::as_bytes), "{offered:?} {tls:?}");
                // Without one it is HTTP/1.1.
                if chosen != Some("h2") {
                    let answer = ask(&mut stream, "/v1/status").await.unwrap();
                    assert!(answer.starts_with("HTTP/1.1 200"), "{offered:?} {tls:?}: {answer}");
                }
            }
            let config = client_config(&server, &server.admin, &[tls.version()], &["spdy/3"]);
            let refused = tls_connect(&server.address, config).await;
            assert!(refused.is_err(), "an unknown protocol alone is refused");
        }
    });
}

#[test]
fn curl_speaks_both_protocols() {
    let server = Server::start();
    let made = Openssl::new();
    made.leaf("a", "ed25519");
    for tls in Tls::ALL {
        for (arg, http) in [("--http1.1", "1.1"), ("--http2", "2"), ("--no-alpn", "1.1")] {
            let answer = made.curl(&server, "/version", Some(("a.crt", "a.key")), tls, &[arg]);
            assert_eq!((answer.status, answer.http.as_str()), (200, http), "{arg}: {answer:?}");
        }
    }
}

#[test]
fn what_is_not_tls_gets_no_answer_of_an_api() {
    harness::run(async {
        let server = Server::start();
        for bytes in [
            b"GET /version HTTP/1.1\r\nhost: kes\r\n\r\n".to_vec(),
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
            b"SSH-2.0-OpenSSH_9.2\r\n".to_vec(),
            vec![0xff; 4096],
            // A TLS record that announces more than there may be.
            vec![0x16, 0x03, 0x01, 0xff, 0xff, 0x01],
        ] {
            let mut socket = TcpStream::connect(&server.address).await.unwrap();
            socket.write_all(&bytes).await.unwrap();
            let mut answer = Vec::new();
            // The server ends it at once, and does not wait for more.
            let end = tokio::time::timeout(Duration::from_secs(4), socket.read_to_end(&mut answer));
            let _ = end.await.unwrap_or_else(|_| panic!("still open after {bytes:?}"));
            let text = String::from_utf8_lossy(&answer);
            assert!(!text.contains("version\""), "{text}");
        }
        let mut admin = server.client(harness::Who::Admin, harness::Protocol::H2).await;
        assert_eq!(admin.send("GET", "/version", "").await.status, 200);
    });
}
