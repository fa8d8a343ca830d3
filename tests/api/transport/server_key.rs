use std::path::Path;

use crate::harness::{Config, Openssl, Refused, Server, Tls, openssl};

const PASSWORD: &str = "open-sesame-7";

/// How `openssl` writes a private key, plain and encrypted, in the forms of today and of old.
const FORMS: [(&str, &str); 10] = [
    ("rsa", "pkcs8 -topk8 -nocrypt -in plain.key -out used.key"),
    ("rsa", "rsa -in plain.key -traditional -out used.key"),
    ("rsa", "rsa -in plain.key -traditional -aes256 -passout pass:open-sesame-7 -out used.key"),
    ("rsa", "rsa -in plain.key -traditional -des3 -passout pass:open-sesame-7 -out used.key"),
    ("rsa", "pkcs8 -topk8 -in plain.key -v2 aes-256-cbc -passout pass:open-sesame-7 -out used.key"),
    ("ec", "ec -in plain.key -out used.key"),
    ("ec", "ec -in plain.key -aes128 -passout pass:open-sesame-7 -out used.key"),
    ("ec", "pkcs8 -topk8 -in plain.key -v2 des3 -passout pass:open-sesame-7 -out used.key"),
    (
        "ed25519",
        "pkcs8 -topk8 -in plain.key -v2 aes-128-cbc -passout pass:open-sesame-7 -out used.key",
    ),
    ("ed25519", "pkcs8 -topk8 -nocrypt -in plain.key -out used.key"),
];

fn config(password: &str) -> Config {
    let tls = format!("{{ key: used.key, cert: server.crt, password: {password} }}");
    Config::usual().with("tls", &tls)
}

/// Puts a key and a certificate for it into the server's folder.
fn prepare(folder: &Path, kind: &str, form: &str) {
    let key = match kind {
        "rsa" => "genrsa -out plain.key 2048",
        "ec" => "genpkey -algorithm ec -pkeyopt ec_paramgen_curve:P-384 -out plain.key",
        _ => "genpkey -algorithm ed25519 -out plain.key",
    };
    openssl(folder, key);
    let names = "-addext subjectAltName=IP:127.0.0.1";
    openssl(
        folder,
        &format!("req -x509 -key plain.key -subj /CN=x -days 9 {names} -out server.crt"),
    );
    openssl(folder, form);
}

#[test]
#[cfg_attr(feature = "fips", ignore = "a FIPS build refuses private keys with a password")]
fn every_form_of_a_private_key_is_read() {
    let made = Openssl::new();
    made.leaf("a", "P-256");
    for (kind, form) in FORMS {
        let server = Server::prepared(&config(PASSWORD), |folder| prepare(folder, kind, form));
        let answer = made.curl(&server, "/version", Some(("a.crt", "a.key")), Tls::V1_3, &[]);
        assert_eq!(answer.status, 200, "{form}: {answer:?}");
    }
}

#[test]
#[cfg_attr(feature = "fips", ignore = "a FIPS build refuses private keys with a password")]
fn the_password_may_come_from_the_environment() {
    let (kind, form) = FORMS[6];
    let config = config("\"${KEY_PASSWORD}\"").env("KEY_PASSWORD", PASSWORD);
    let server = Server::prepared(&config, |folder| prepare(folder, kind, form));
    assert!(!server.stderr().contains(PASSWORD) && !server.stdout().contains(PASSWORD));
}

#[test]
#[cfg_attr(feature = "fips", ignore = "a FIPS build refuses private keys with a password")]
fn a_password_that_does_not_fit_is_told() {
    for (kind, form) in FORMS.into_iter().filter(|(_, form)| form.contains("-passout")) {
        for (password, expected) in [
            ("wrong-guess-9", "the password is wrong"),
            ("\"\"", "the private key is encrypted, and no password was given"),
        ] {
            let Refused { status, stdout, stderr } =
                Server::refused(&config(password), |folder| prepare(folder, kind, form));
            assert_eq!(status, Some(1), "{form}: {stderr}");
            let errors: Vec<&str> =
                stderr.lines().filter(|line| line.starts_with("Error: ")).collect();
            assert_eq!(errors.len(), 1, "{form}: {stderr}");
            assert!(errors[0].contains("used.key"), "{form}: {stderr}");
            assert!(errors[0].contains(expected), "{form}: {stderr}");
            assert!(!stderr.contains("wrong-guess") && !stdout.contains("wrong-guess"), "{stderr}");
            assert!(!stderr.contains("panicked"), "{stderr}");
        }
    }
}
