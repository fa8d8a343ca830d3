//! Client certificates of X.509 version 1, as guides make them with `openssl x509 -req`.

use crate::harness::{Config, Openssl, Server, Tls};

const DESCRIBE: &str = "/v1/identity/self/describe";

/// A key, and a certificate of version 1 that `ca` signs.
fn version1(made: &Openssl, ca: &str, name: &str, kind: &str, days: i32) {
    made.key(name, kind);
    made.run(&format!("req -new -key {name}.key -subj /CN={name} -out {name}.csr"));
    made.run(&format!(
        "x509 -req -in {name}.csr -CA {ca}.crt -CAkey {ca}.key -CAcreateserial -days {days} \
         -out {name}.crt"
    ));
    let text = String::from_utf8(made.run(&format!("x509 -in {name}.crt -noout -text"))).unwrap();
    assert!(text.contains("Version: 1 (0x0)"), "{text}");
}

fn authority(made: &Openssl, name: &str, kind: &str) {
    made.key(name, kind);
    made.certificate(name, "-addext keyUsage=keyCertSign");
}

fn strict(made: &Openssl, trusted: &str) -> Server {
    let trusted = made.read(&format!("{trusted}.crt"));
    let tls = "{ key: server.key, cert: server.crt, auth: on, ca: ca.crt }";
    Server::prepared(&Config::usual().with("tls", tls), |folder| {
        std::fs::write(folder.join("ca.crt"), trusted).unwrap();
    })
}

/// The status of self describe, which has to name the certificate's identity; 0 if the handshake
/// fails.
fn status(server: &Server, made: &Openssl, certificate: &str, key: &str, tls: Tls) -> u16 {
    let (crt, key) = (format!("{certificate}.crt"), format!("{key}.key"));
    let answer = made.curl(server, DESCRIBE, Some((&crt, &key)), tls, &[]);
    if answer.status == 200 {
        assert!(answer.body.contains(&made.identity(&crt)), "{certificate}: {answer:?}");
    }
    answer.status
}

#[test]
fn with_auth_on_they_are_let_in_where_their_ca_verifies() {
    let made = Openssl::new();
    for kind in ["2048", "P-256", "P-384", "P-521", "ed25519"] {
        authority(&made, "ca", kind);
        authority(&made, "foreign", kind);
        version1(&made, "ca", "good", kind, 30);
        version1(&made, "foreign", "of-foreign", kind, 30);
        let server = strict(&made, "ca");
        for tls in Tls::ALL {
            assert_eq!(status(&server, &made, "good", "good", tls), 200, "{kind} {tls:?}");
            let refused = status(&server, &made, "of-foreign", "of-foreign", tls);
            assert_eq!(refused, 0, "{kind} {tls:?}");
        }
    }
}

#[test]
fn with_auth_on_the_rest_is_refused() {
    let made = Openssl::new();
    authority(&made, "ca", "P-256");
    version1(&made, "ca", "good", "P-256", 30);
    version1(&made, "ca", "expired", "P-256", -1);
    // A client that plays the CA, with a certificate of either version.
    version1(&made, "good", "of-v1", "P-256", 30);
    made.write("of-v1-chain.crt", &(made.read("of-v1.crt") + &made.read("good.crt")));
    made.issue("ca", "leaf", 30, "basicConstraints=critical,CA:FALSE\n");
    version1(&made, "leaf", "of-leaf", "P-256", 30);
    made.write("of-leaf-chain.crt", &(made.read("of-leaf.crt") + &made.read("leaf.crt")));
    made.issue("ca", "between", 30, "basicConstraints=critical,CA:TRUE\nkeyUsage=keyCertSign\n");
    version1(&made, "between", "deep", "P-256", 30);
    made.write("deep-chain.crt", &(made.read("deep.crt") + &made.read("between.crt")));
    made.key("thief", "P-256");
    let server = strict(&made, "ca");
    for tls in Tls::ALL {
        assert_eq!(status(&server, &made, "deep-chain", "deep", tls), 200, "{tls:?}");
        for (certificate, key) in [
            ("expired", "expired"),
            ("of-v1", "of-v1"),
            ("of-v1-chain", "of-v1"),
            ("of-leaf-chain", "of-leaf"),
            ("deep", "deep"),
        ] {
            let status = status(&server, &made, certificate, key, tls);
            assert_eq!(status, 0, "{certificate} {tls:?}");
        }
    }
    // Somebody else's certificate, with a key that is not its own: the client itself refuses to
    // send it, so a test of possession has a client of its own (`api/identity/possession.rs`).
    let log = server.stderr();
    let expired = log.lines().find(|line| line.contains("certificate expired on")).unwrap();
    assert!(expired.contains("tls.subject=\"CN=expired\""), "{expired}");
    let identity = format!("req.identity={}", made.identity("expired.crt"));
    assert!(expired.contains(&identity), "{expired}");
}

#[test]
fn with_auth_off_all_of_them_are_let_in() {
    let made = Openssl::new();
    authority(&made, "ca", "P-256");
    version1(&made, "ca", "good", "P-256", 30);
    version1(&made, "ca", "expired", "P-256", -1);
    let server = Server::start();
    for tls in Tls::ALL {
        for name in ["good", "expired"] {
            assert_eq!(status(&server, &made, name, name, tls), 200, "{name} {tls:?}");
        }
    }
}

#[test]
fn their_sessions_are_resumed_with_their_identity() {
    let made = Openssl::new();
    authority(&made, "ca", "P-256");
    version1(&made, "ca", "a", "P-256", 30);
    let identity = made.identity("a.crt");
    let server = strict(&made, "ca");
    for version in ["-tls1_3", "-tls1_2", "-tls1_2 -no_ticket"] {
        let first = format!("{version} -cert a.crt -key a.key -sess_out session");
        let said = made.s_client(&server, DESCRIBE, &first);
        assert!(said.contains("New, TLSv1") && said.contains(&identity), "{version}: {said}");
        let said = made.s_client(&server, DESCRIBE, &format!("{version} -sess_in session"));
        assert!(said.contains("Reused, TLSv1") && said.contains(&identity), "{version}: {said}");
    }
}
