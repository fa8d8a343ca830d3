use std::fs;
use std::net::TcpListener;
use std::path::Path;

use crate::harness::{Config, Credentials, Refused, Server, openssl};

/// That a server does not start, and says why: all of `told` in what follows one `Error: `.
fn assert_refused(config: &Config, prepare: impl FnOnce(&Path), told: &[&str]) {
    let Refused { status, stdout, stderr } = Server::refused(config, prepare);
    assert_eq!(status, Some(1), "{stderr}");
    assert_eq!(stdout, "", "a server that does not start announces itself");
    assert!(!stderr.contains("panicked"), "{stderr}");
    let (_, error) = stderr.split_once("Error: ").unwrap_or_else(|| panic!("no error: {stderr}"));
    assert!(!error.contains("Error: "), "more than one: {stderr}");
    for text in told {
        assert!(error.contains(text), "'{text}' is not told: {stderr}");
        // A cause that is part of the message is not told again as its cause.
        let is_sentence = text.split(' ').count() > 3;
        assert!(!is_sentence || error.matches(text).count() == 1, "'{text}' twice: {stderr}");
    }
}

#[test]
fn a_file_that_is_missing_is_named() {
    let remove =
        |name: &'static str| move |folder: &Path| fs::remove_file(folder.join(name)).unwrap();
    let usual = Config::usual();
    let missing = "no such file or directory";
    assert_refused(&usual, remove("config.yml"), &["config.yml", missing]);
    assert_refused(
        &usual,
        remove("server.crt"),
        &["config.yml:3: tls.cert: server.crt", "No such file or directory"],
    );
    assert_refused(
        &usual,
        remove("server.key"),
        &["config.yml:3: tls.key: server.key", "No such file or directory"],
    );
    let tls = "{ key: server.key, cert: server.crt, auth: on, ca: nowhere.pem }";
    let told = [": tls.ca: nowhere.pem", "No such file or directory"];
    assert_refused(&usual.with("tls", tls), |_| {}, &told);
}

/// Such as a credential that was not filled in.
#[test]
#[cfg_attr(feature = "fips", ignore = "a FIPS build reads no encrypted private key")]
fn an_empty_file_of_a_password_is_named() {
    let tls = "{ key: server.key, cert: server.crt, password_file: pw }";
    let encrypt = |folder: &Path| {
        openssl(folder, "pkey -in server.key -aes256 -passout pass:pw -out encrypted.key");
        fs::rename(folder.join("encrypted.key"), folder.join("server.key")).unwrap();
        fs::write(folder.join("pw"), "\n").unwrap();
    };
    let told = [": tls.password_file: pw: holds no password, and the private key is encrypted"];
    assert_refused(&Config::usual().with("tls", tls), encrypt, &told);
}

#[test]
fn all_mistakes_of_a_file_are_told_at_once() {
    let config = Config::usual()
        .with("cache", "{ expiry: { any: soon } }")
        .with("admin", "{}")
        .with("log", "\n  error: loud");
    let text = config.text();
    let place = |start: &str, field: &str| {
        let index = text.lines().position(|line| line.trim_start().starts_with(start)).unwrap();
        format!("config.yml:{}: {field}", index + 1)
    };
    let cache = place("cache:", "cache.expiry.any");
    let admin = place("admin:", "admin.identity");
    let log = place("error:", "log.error");
    let told = [&cache, "soon", &admin, "is required", &log, "loud"];
    assert_refused(&config, |_| {}, &told);
}

#[test]
fn a_variable_that_is_not_set_is_named() {
    let config = Config::usual().with("admin", "{ identity: \"${NOT_SET_ANYWHERE}\" }");
    assert_refused(&config, |_| {}, &["config.yml", "admin.identity", "NOT_SET_ANYWHERE"]);
}

#[test]
fn a_certificate_that_no_client_would_accept_is_refused() {
    let without_name = |folder: &Path| {
        let subject = "-subj /CN=127.0.0.1 -days 9";
        openssl(folder, &format!("req -x509 -key server.key {subject} -out server.crt"));
    };
    let told = ["server.crt", "no DNS name or IP address as subject alternative name"];
    assert_refused(&Config::usual(), without_name, &told);
}

#[test]
fn a_key_of_another_certificate_is_refused() {
    let swap = |folder: &Path| {
        fs::write(folder.join("server.key"), Credentials::new(&["127.0.0.1"]).key_pem).unwrap();
    };
    let told = ["server.crt", "server.key", "the private key does not belong to the certificate"];
    assert_refused(&Config::usual(), swap, &told);
}

#[test]
fn files_that_hold_something_else_are_refused() {
    let text = |name: &'static str| {
        move |folder: &Path| fs::write(folder.join(name), "something else\n").unwrap()
    };
    let usual = Config::usual();
    assert_refused(&usual, text("server.crt"), &["server.crt", "no certificate in PEM form"]);
    assert_refused(&usual, text("server.key"), &["server.key", "no private key in PEM form"]);
    assert_refused(&usual, text("config.yml"), &["config.yml"]);
}

#[test]
fn an_address_that_is_taken_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let config = Config::usual().with("address", &address);
    let line = config.text().lines().position(|line| line.starts_with("address:")).unwrap() + 1;
    let told = format!("config.yml:{line}: address: cannot listen on {address}: ");
    assert_refused(&config, |_| {}, &[&told, "in use"]);
    let flag = Config::usual().arg("--addr").arg(&address);
    assert_refused(&flag, |_| {}, &[&format!("--addr: cannot listen on {address}: "), "in use"]);
}

#[test]
fn a_key_store_that_cannot_be_used_is_named() {
    // A file where the folder should be: so it is also for root.
    let block = |folder: &Path| fs::write(folder.join("keys"), "no folder").unwrap();
    assert_refused(
        &Config::usual(),
        block,
        &["keystore.fs.path: cannot open folder 'keys' as key store: it is a file"],
    );
    let below = Config::usual().with("keystore", "{ fs: { path: server.key/keys } }");
    assert_refused(
        &below,
        |_| {},
        &["keystore.fs.path: cannot open folder 'server.key/keys'", "is a file"],
    );
}

#[test]
fn a_key_store_that_is_not_known_is_refused_by_name() {
    let config = Config::usual().with("keystore", "{ gemalto: { keysecure: { endpoint: x } } }");
    assert_refused(&config, |_| {}, &["config.yml", "gemalto.keysecure"]);
}
