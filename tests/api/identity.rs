//! Who a client is (contract `api.md`, Identity): certificates of the real
//! `openssl`, sent with `curl`, and the identity computed without us.

use crate::harness::{Config, Openssl, Server, Tls};

/// What the server must not take for the client's own certificate, and whose key it must prove.
mod possession;

const SELF: &str = "/v1/identity/self/describe";

/// Asks who a certificate is, over both versions of TLS and of HTTP.
fn assert_identity(server: &Server, made: &Openssl, certificate: &str, key: &str, expected: &str) {
    for tls in Tls::ALL {
        for protocol in ["--http1.1", "--http2"] {
            let answer = made.curl(server, SELF, Some((certificate, key)), tls, &[protocol]);
            let told = format!("{certificate}, {tls:?}, {protocol}: {answer:?}");
            assert_eq!(answer.status, 200, "{told}");
            assert!(protocol.ends_with(&answer.http), "{told}");
            let body: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
            assert_eq!(body["identity"], expected, "{told}");
        }
    }
}

/// Asks who a certificate is, and expects a refusal after the handshake.
fn assert_refused(server: &Server, made: &Openssl, certificate: &str, key: &str, message: &str) {
    for tls in Tls::ALL {
        for protocol in ["--http1.1", "--http2"] {
            // A route without a policy, and one with.
            for path in [SELF, "/v1/status"] {
                let answer = made.curl(server, path, Some((certificate, key)), tls, &[protocol]);
                let told = format!("{certificate}, {path}, {tls:?}, {protocol}: {answer:?}");
                assert_eq!(answer.status, 400, "{told}");
                assert_eq!(answer.body, format!(r#"{{"message":"{message}"}}"#), "{told}");
            }
        }
    }
}

#[test]
fn every_kind_of_key_has_the_identity_of_its_public_key() {
    let server = Server::start();
    let made = Openssl::new();
    for kind in ["ed25519", "P-256", "P-384", "P-521", "2048", "3072", "4096", "8192"] {
        made.leaf(kind, kind);
        let certificate = format!("{kind}.crt");
        let identity = made.identity(&certificate);
        assert_identity(&server, &made, &certificate, &format!("{kind}.key"), &identity);
    }
}

#[test]
fn the_identity_is_that_of_a_policy() {
    let made = Openssl::new();
    made.leaf("a", "P-384");
    made.leaf("b", "P-384");
    let policy =
        format!("{{ p: {{ allow: [/v1/status], identities: [{}] }} }}", made.identity("a.crt"));
    let server = Server::with(&Config::usual().with("policy", &policy));
    for tls in Tls::ALL {
        for (name, status) in [("a", 200), ("b", 403)] {
            let client = (format!("{name}.crt"), format!("{name}.key"));
            let client = Some((client.0.as_str(), client.1.as_str()));
            assert_eq!(made.curl(&server, "/v1/status", client, tls, &[]).status, status, "{name}");
        }
    }
}

#[test]
fn what_a_certificate_says_of_itself_does_not_matter() {
    let server = Server::start();
    let made = Openssl::new();
    made.leaf("plain", "P-256");
    let identity = made.identity("plain.crt");

    made.run("req -new -key plain.key -subj /CN=plain -out plain.csr");
    made.run("x509 -req -in plain.csr -key plain.key -out v1.crt -days 30");
    let text = String::from_utf8(made.run("x509 -in v1.crt -noout -text")).unwrap();
    assert!(text.contains("Version: 1 (0x0)"), "{text}");

    made.run("x509 -req -in plain.csr -key plain.key -out expired.crt -days -1");

    let critical = "-addext basicConstraints=CA:FALSE -addext 1.2.3.4.5=critical,DER:0500";
    made.run(&format!(
        "req -x509 -key plain.key -subj /CN=x -days 30 {critical} -out critical.crt"
    ));

    // For servers alone, and without a name.
    let purpose = "-addext basicConstraints=CA:FALSE -addext extendedKeyUsage=serverAuth";
    made.run(&format!("req -x509 -key plain.key -subj / -days 30 {purpose} -out server.crt"));

    // Issued by somebody, who is not trusted, and sent with or without that issuer.
    made.key("ca", "P-256");
    made.certificate("ca", "");
    made.run("x509 -req -in plain.csr -CA ca.crt -CAkey ca.key -CAcreateserial -out issued.crt");
    made.write("chain.crt", &(made.read("issued.crt") + &made.read("ca.crt")));

    for name in ["plain", "v1", "expired", "critical", "server", "issued", "chain"] {
        assert_identity(&server, &made, &format!("{name}.crt"), "plain.key", &identity);
    }
}

/// A chosen difference to the reference server, whose Go takes RSA keys from 1024 bits on.
#[test]
fn short_rsa_keys_are_refused_in_the_handshake() {
    let server = Server::with(&Config::usual().with("log", "{ error: debug }"));
    let made = Openssl::new();
    made.leaf("short", "1024");
    // curl would refuse the key itself and never come to the handshake.
    for version in ["-tls1_2", "-tls1_3"] {
        let args = format!("{version} -cipher ALL@SECLEVEL=0 -cert short.crt -key short.key");
        let said = made.s_client(&server, SELF, &args);
        assert!(!said.contains("HTTP/1.1"), "{version}: {said}");
        assert!(said.contains("SSL alert number"), "{version}: {said}");
    }
    server.wait_for_stderr("RSA keys need 2048 to 8192 bits");
}

#[test]
fn a_ca_certificate_names_nobody_and_the_log_says_why() {
    let server = Server::start();
    let made = Openssl::new();
    // What `openssl req -x509` makes unless it is told otherwise.
    made.key("ca", "P-256");
    made.certificate("ca", "");
    assert_refused(&server, &made, "ca.crt", "ca.key", "tls: client certificate is required");
    server.wait_for_stderr("the client's certificate gives no identity");
    let stderr = server.stderr();
    let line = stderr.lines().find(|line| line.contains("gives no identity")).unwrap();
    assert!(line.contains("CA:TRUE") && line.contains("req.ip=127.0.0.1"), "{line}");
}
