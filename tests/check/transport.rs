//! TLS to Vault: what is wrong with it is a sentence that says what to do.

use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;

use kes_testkit::{Authority, Bao};
use rustls::ServerConfig;

use super::world::{HEAD, World, keystore, policy};
use crate::harness::Openssl;

/// A server that does the handshake and nothing more, for as long as the test runs.
fn handshakes(certificate: &Path, key: &Path) -> String {
    let pair = kes_tls::load_certified_key(certificate, key, None).unwrap();
    let config = ServerConfig::builder_with_provider(kes_tls::provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(pair)));
    let (listener, config) = (TcpListener::bind("127.0.0.1:0").unwrap(), Arc::new(config));
    let url = format!("https://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut connection = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
            // A client that refuses it ends it.
            while connection.is_handshaking() && connection.complete_io(&mut stream).is_ok() {}
        }
    });
    url
}

#[test]
fn a_certificate_that_cannot_be_trusted_is_told_with_what_to_do() {
    let openssl = Openssl::new();
    openssl.key("ca", "P-256");
    openssl.certificate("ca", "-addext basicConstraints=critical,CA:TRUE");
    openssl.issue("ca", "good", 30, "subjectAltName=IP:127.0.0.1");
    openssl.issue("ca", "other", 30, "subjectAltName=DNS:vault.internal");
    openssl.issue("ca", "past", -1, "subjectAltName=IP:127.0.0.1");
    let world = World::new(1, false);
    let ca = format!(", tls: {{ ca: \"{}\" }}", openssl.path("ca.crt").display());
    let check = |name: &str, more: &str| {
        let file = |end: &str| openssl.path(&format!("{name}.{end}"));
        let url = handshakes(&file("crt"), &file("key"));
        world.place.write(&format!("{HEAD}{}", keystore(&url, 1, more)));
        (world.place.check(), url)
    };
    // As `openssl req -x509` makes one, which says that it is a CA: trusted by its own file.
    openssl.key("own", "P-256");
    openssl.certificate("own", "-addext subjectAltName=IP:127.0.0.1");
    let own = format!(", tls: {{ ca: \"{}\" }}", openssl.path("own.crt").display());
    let (ran, url) = check("own", &own);
    ran.fails(&[&[&format!("keystore: connection: no answer from {url}")]]);

    let (ran, url) = check("good", "");
    ran.fails(&[&[
        &format!("keystore: connection: no connection to {url}: "),
        "not signed by a trusted CA",
        "`tls.ca`",
    ]]);
    let (ran, _) = check("other", &ca);
    ran.fails(&[&["its certificate is for other names and not for '127.0.0.1'", "`endpoint`"]]);
    let (ran, _) = check("past", &ca);
    ran.fails(&[&["keystore: connection: ", "its certificate has expired"]]);
}

#[test]
fn a_private_ca_and_a_client_certificate_are_taken() {
    let authority = Authority::new();
    let world = World::on(Bao::start_tls(&authority, true), 1, false, &policy(1, false));
    let url = world.bao.url();
    let client = authority.client("kes");
    let ca = format!("ca: \"{}\"", authority.certificate().display());
    let pair =
        format!("key: \"{}\", cert: \"{}\"", client.key.display(), client.certificate.display());
    world
        .place
        .write(&format!("{HEAD}{}", keystore(&url, 1, &format!(", tls: {{ {ca}, {pair} }}"))));
    let ran = world.place.check();
    ran.is_good();
    ran.tells(&format!("connection: {url} serves, its certificate is trusted"));
    world.is_untouched();

    world.place.write(&format!("{HEAD}{}", keystore(&url, 1, &format!(", tls: {{ {ca} }}"))));
    world.place.check().fails(&[&["client certificate", "`tls.key` and `tls.cert`"]]);

    // The other scheme, both ways.
    let plain = url.replace("https", "http");
    world.place.write(&format!("{HEAD}{}", keystore(&plain, 1, "")));
    world.place.check().fails(&[&["400", "https://"]]);
    let tls = format!("https://{}", world.bao.admin_address());
    world.place.write(&format!("{HEAD}{}", keystore(&tls, 1, &format!(", tls: {{ {ca} }}"))));
    world.place.check().fails(&[&["does not speak TLS", "http://"]]);

    // What the configuration names is not there.
    world.place.write(&format!("{HEAD}{}", keystore(&url, 1, ", tls: { ca: nowhere.pem }")));
    world
        .place
        .check()
        .fails(&[&["keystore: open: config.yml:", ": keystore.vault.tls.ca: nowhere.pem"]]);
}
