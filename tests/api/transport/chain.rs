use crate::harness::{Config, Openssl, Server, Tls};

const LEAF: &str = "basicConstraints=critical,CA:FALSE\nextendedKeyUsage=clientAuth\n";

/// Two CAs, an intermediate one, and what they issue.
fn certificates() -> Openssl {
    let made = Openssl::new();
    for ca in ["ca", "second", "foreign"] {
        made.key(ca, "P-256");
        made.certificate(ca, "-addext keyUsage=keyCertSign");
    }
    let may_sign = "basicConstraints=critical,CA:TRUE\nkeyUsage=keyCertSign\n";
    made.issue("ca", "intermediate", 30, may_sign);
    made.issue("ca", "good", 30, LEAF);
    made.issue("second", "of-second", 30, LEAF);
    made.issue("foreign", "of-foreign", 30, LEAF);
    made.issue("ca", "expired", -1, LEAF);
    made.issue("intermediate", "deep", 30, LEAF);
    made.leaf("self-signed", "P-256");
    made.write("deep-chain.crt", &(made.read("deep.crt") + &made.read("intermediate.crt")));
    made
}

/// A server that trusts a file or folder, beside the system.
fn server(made: &Openssl, ca: &str, api: &str) -> Server {
    let tls = "{ key: server.key, cert: server.crt, auth: on, ca: trusted }";
    let config = Config::usual().with("tls", tls).with("api", api);
    let ca: Vec<String> = ca.split(' ').map(|name| made.read(&format!("{name}.crt"))).collect();
    Server::prepared(&config, |folder| {
        let trusted = folder.join("trusted");
        if ca.len() == 1 {
            std::fs::write(trusted, &ca[0]).unwrap();
        } else {
            std::fs::create_dir(&trusted).unwrap();
            for (number, ca) in ca.iter().enumerate() {
                std::fs::write(trusted.join(format!("{number}.pem")), ca).unwrap();
            }
        }
    })
}

/// The status of self describe; 0 if the handshake fails.
fn status(server: &Server, made: &Openssl, certificate: &str, tls: Tls) -> u16 {
    let key = certificate.strip_suffix("-chain").unwrap_or(certificate);
    let client = (format!("{certificate}.crt"), format!("{key}.key"));
    let client = Some((client.0.as_str(), client.1.as_str()));
    let answer = made.curl(server, "/v1/identity/self/describe", client, tls, &[]);
    if answer.status == 200 {
        let identity = made.identity(&format!("{certificate}.crt"));
        assert!(answer.body.contains(&identity), "{certificate}: {answer:?}");
    }
    answer.status
}

#[test]
fn with_auth_on_a_chain_has_to_verify() {
    let made = certificates();
    let server = server(&made, "ca", "{}");
    for tls in Tls::ALL {
        for (certificate, expected) in [
            ("good", 200),
            ("deep-chain", 200),
            // The server does not know the intermediate CA, and the client did not send it.
            ("deep", 0),
            ("self-signed", 0),
            ("expired", 0),
            ("of-second", 0),
            ("of-foreign", 0),
        ] {
            assert_eq!(status(&server, &made, certificate, tls), expected, "{certificate} {tls:?}");
        }
        let without = made.curl(&server, "/version", None, tls, &[]);
        assert_eq!(without.status, 0, "{without:?}");
    }
}

#[test]
fn why_a_certificate_is_refused_is_told_in_words() {
    let made = certificates();
    let usage = LEAF.replace("clientAuth", "serverAuth");
    made.issue("ca", "for-servers", 30, &usage);
    // An intermediate CA of X.509 v1, as `openssl x509 -req` makes it without extensions.
    made.key("old", "P-256");
    made.run("req -new -key old.key -subj /CN=old -out old.csr");
    made.run(
        "x509 -req -in old.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 30 -out old.crt",
    );
    made.issue("old", "of-old", 30, LEAF);
    made.write("of-old-chain.crt", &(made.read("of-old.crt") + &made.read("old.crt")));
    let server = server(&made, "ca", "{}");
    for (certificate, told) in [
        (
            "for-servers",
            "the client's certificate is for server authentication only; its extended key usage \
             needs clientAuth",
        ),
        (
            "of-old-chain",
            "the client's certificate has an X.509 v1 certificate in its chain; issue the CA with \
             basicConstraints CA:TRUE",
        ),
    ] {
        assert_eq!(status(&server, &made, certificate, Tls::V1_3), 0, "{certificate}");
        server.wait_for_stderr(told);
    }
}

#[test]
fn every_ca_of_a_folder_is_trusted() {
    let made = certificates();
    let server = server(&made, "ca second", "{}");
    for (certificate, expected) in
        [("good", 200), ("of-second", 200), ("of-foreign", 0), ("self-signed", 0)]
    {
        let got = status(&server, &made, certificate, Tls::V1_3);
        assert_eq!(got, expected, "{certificate}");
    }
}

#[test]
fn an_api_without_authentication_makes_a_certificate_optional_and_not_a_bad_one_good() {
    let made = certificates();
    let server = server(&made, "ca", "{ /v1/ready: { skip_auth: true } }");
    for tls in Tls::ALL {
        assert_eq!(made.curl(&server, "/v1/ready", None, tls, &[]).status, 200);
        assert_eq!(made.curl(&server, "/v1/status", None, tls, &[]).status, 400);
        for (certificate, expected) in [("good", 200), ("self-signed", 0), ("expired", 0)] {
            assert_eq!(status(&server, &made, certificate, tls), expected, "{certificate} {tls:?}");
        }
    }
}

#[test]
fn with_auth_off_no_chain_is_looked_at() {
    let made = certificates();
    let tls = "{ key: server.key, cert: server.crt, auth: off, ca: server.crt }";
    let server = Server::with(&Config::usual().with("tls", tls));
    for certificate in ["good", "self-signed", "expired", "of-foreign", "deep-chain"] {
        assert_eq!(status(&server, &made, certificate, Tls::V1_3), 200, "{certificate}");
    }
}

/// A chain stays in memory as long as its connection. What is over the limit is refused whatever
/// is trusted.
#[test]
fn a_chain_has_a_limit_in_bytes() {
    let made = Openssl::new();
    let server = Server::start();
    for (name, size, expected) in [("thick", 0x2e00, 200), ("thicker", 0x4000, 0)] {
        made.key(name, "P-256");
        let extension = format!("1.3.6.1.4.1.99999.1=DER:0482{size:04x}{}", "00".repeat(size));
        made.certificate(name, &format!("-addext basicConstraints=CA:FALSE -addext {extension}"));
        for tls in Tls::ALL {
            assert_eq!(status(&server, &made, name, tls), expected, "{name} {tls:?}");
        }
    }
    // An intermediate CA counts as well.
    made.key("ca", "P-256");
    made.certificate("ca", "");
    let two = made.read("thick.crt") + &made.read("ca.crt").repeat(12);
    made.write("thick-chain.crt", &two);
    assert_eq!(status(&server, &made, "thick-chain", Tls::V1_3), 0);
    server.wait_for_stderr("and at most 16384 are accepted");
}
