//! Which servers the command line trusts.

use std::path::Path;

use crate::harness::{Config, Server, Who, openssl};

/// A certificate as `openssl req -x509` makes it, which says that it is a CA.
fn self_signed(folder: &Path, name: &str) {
    openssl(
        folder,
        &format!(
            "req -x509 -newkey rsa:2048 -nodes -days 3 -subj /CN=kes -addext \
             subjectAltName=DNS:localhost,IP:127.0.0.1 -keyout {name}.key -out {name}.crt"
        ),
    );
}

#[test]
fn a_self_signed_ca_certificate_is_accepted_where_it_is_trusted() {
    let config = Config::usual().with("tls", "{ key: own.key, cert: own.crt }");
    let server = Server::prepared(&config, |folder| {
        self_signed(folder, "own");
        self_signed(folder, "other");
        for (store, certificate) in [("trusting", "own.crt"), ("strange", "other.crt")] {
            std::fs::create_dir(folder.join(store)).unwrap();
            std::fs::copy(folder.join(certificate), folder.join(store).join("ca.pem")).unwrap();
        }
    });
    let status = |variable: &str, value: &str| {
        let mut command = server.command(Who::Admin, &["status", "--json"]);
        for name in ["SSL_CERT_FILE", "SSL_CERT_DIR"] {
            command.env_remove(name);
        }
        let output = command.env(variable, server.file(value)).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.success(), text(output.stdout) + &text(output.stderr))
    };
    for (variable, trusting, strange) in [
        ("SSL_CERT_FILE", "own.crt", "other.crt"),
        ("SSL_CERT_DIR", "trusting", "strange"),
        ("KES_CAPATH", "own.crt", "other.crt"),
        ("MINIO_KES_CAPATH", "trusting", "strange"),
    ] {
        let (works, text) = status(variable, trusting);
        assert!(works && text.starts_with("{\"version\""), "{variable}: {text}");
        let (works, text) = status(variable, strange);
        assert!(!works && text.contains("is not trusted"), "{variable}: {text}");
    }
}
