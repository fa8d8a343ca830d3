use std::sync::Arc;
use std::time::Duration;

use kes_testkit::wait;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::assert_refused;
use crate::harness::{self, Config, Exposition, Openssl, Server, Tls, tls_connect};

#[test]
fn two_certificates_that_are_no_cas_name_nobody() {
    let server = Server::start();
    let made = Openssl::new();
    made.leaf("a", "P-256");
    made.leaf("b", "ed25519");
    made.key("ca", "P-256");
    made.certificate("ca", "");
    made.write("two.crt", &(made.read("a.crt") + &made.read("b.crt")));
    made.write("three.crt", &(made.read("a.crt") + &made.read("ca.crt") + &made.read("b.crt")));
    let message = "tls: received more than one client certificate";
    for certificates in ["two.crt", "three.crt"] {
        assert_refused(&server, &made, certificates, "a.key", message);
    }
}

/// The handshake proves possession of the first certificate's key alone. Whoever may be an
/// admin's certificate behind it, the sender is not that admin.
#[test]
fn a_ca_certificate_in_front_does_not_lend_somebody_elses_identity() {
    let made = Openssl::new();
    made.leaf("victim", "P-256");
    made.key("ca", "P-256");
    made.certificate("ca", "");
    made.write("stolen.crt", &(made.read("ca.crt") + &made.read("victim.crt")));
    let admin = format!("{{ identity: {} }}", made.identity("victim.crt"));
    let server = Server::with(&Config::usual().with("admin", &admin));

    let own = made.curl(&server, "/v1/status", Some(("victim.crt", "victim.key")), Tls::V1_3, &[]);
    assert_eq!(own.status, 200, "{own:?}");
    let message = "tls: client certificate is required";
    assert_refused(&server, &made, "stolen.crt", "ca.key", message);
}

/// Somebody shows a certificate whose private key is another's.
#[test]
fn who_does_not_hold_the_private_key_is_refused_in_the_handshake() {
    harness::run(async {
        let made = Openssl::new();
        let kinds = ["ed25519", "P-256", "P-384", "P-521", "2048"];
        for kind in kinds {
            made.leaf(kind, kind);
            made.key(&format!("other-{kind}"), kind);
        }
        // Once with every certificate demanded, once with certificates optional.
        for api in ["{ /v1/ready: { skip_auth: false } }", "{ /v1/ready: { skip_auth: true } }"] {
            let config = Config::usual().with("api", api).with("log", "{ error: debug }");
            let server = Server::with(&config);
            for tls in Tls::ALL {
                for kind in kinds {
                    let certificate = format!("{kind}.crt");
                    let told = format!("{kind} {tls:?} {api}");
                    // The same way with the right key is served, so that it is the key's fault.
                    let key = format!("{kind}.key");
                    let right = ask(&server, &made, &certificate, &key, tls).await.unwrap();
                    assert!(right.starts_with("HTTP/1.1 200"), "{told}: {right}");
                    let key = format!("other-{kind}.key");
                    let wrong = ask(&server, &made, &certificate, &key, tls).await;
                    let error = wrong.expect_err(&told).to_string();
                    assert!(error.to_lowercase().contains("alert"), "{told}: {error}");
                }
            }
            server.wait_for_stderr("belongs to a private key that the client does not hold");
            #[allow(clippy::cast_precision_loss, reason = "a small number")]
            let refusals = (kinds.len() * Tls::ALL.len()) as f64;
            wait::eventually_async(Duration::from_secs(30), "each refusal is counted", || async {
                Exposition::from(&server).await.value("kes_tls_handshake_errors") == refusals
            })
            .await;
        }
    });
}

/// Sends a request with a certificate and a key that need not belong together.
async fn ask(
    server: &Server,
    made: &Openssl,
    certificate: &str,
    key: &str,
    tls: Tls,
) -> std::io::Result<String> {
    let certificate = CertificateDer::from_pem_file(made.path(certificate)).unwrap();
    let key = PrivateKeyDer::from_pem_file(made.path(key)).unwrap();
    let provider = kes_tls::provider();
    let key = provider.key_provider.load_private_key(key).unwrap();
    let pair = SingleCertAndKey::from(CertifiedKey::new(vec![certificate], key));
    let mut roots = RootCertStore::empty();
    roots.add(server.tls.certificate.clone()).unwrap();
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[tls.version()])
        .unwrap()
        .with_root_certificates(roots)
        .with_client_cert_resolver(Arc::new(pair));
    let mut stream = tls_connect(&server.address, config).await?;
    let request = "GET /version HTTP/1.1\r\nhost: kes\r\nconnection: close\r\n\r\n";
    // In TLS 1.3 the refusal comes after the client's own handshake.
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    if answer.is_empty() {
        return Err(std::io::Error::other("no answer and no alert"));
    }
    Ok(answer)
}
