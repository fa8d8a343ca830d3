//! What a reload is told to have changed, in the log.

use std::fmt::Write as _;
use std::fs;

use kes_testkit::{Authority, wait};

use super::PATIENCE;
use crate::harness::{self, Config, Credentials, Openssl, Protocol, Server, Who};

/// The lines that a reload adds to the log about what it changes, without time and level.
fn told(server: &Server, config: &Config) -> Vec<String> {
    let before = server.stderr().len();
    server.reload_and_wait(config);
    changes(&server.stderr()[before..])
}

fn changes(log: &str) -> Vec<String> {
    let of_reload = |line: &str| {
        let (_, message) = line.split_once("level=INFO msg=\"reload: ")?;
        Some(message.strip_suffix('"')?.replace("\\\"", "\""))
    };
    log.lines().filter_map(of_reload).collect()
}

/// How the log ends the account of the last reload.
fn summary(server: &Server) -> String {
    let log = server.stderr();
    let line = log.lines().rfind(|line| line.contains("was read again: ")).unwrap();
    let (_, summary) = line.split_once("was read again: ").unwrap();
    summary.trim_end_matches('"').to_owned()
}

#[test]
fn each_kind_of_change_is_told() {
    let server = Server::start();
    let usual = Config::usual;
    let identity = |who| server.credentials(who).unwrap().identity.clone();
    let (admin, minio, other) = (identity(Who::Admin), identity(Who::Minio), identity(Who::Other));
    assert_eq!(told(&server, &usual()), [""; 0]);
    assert_eq!(summary(&server), "nothing changed");
    let policies = |text: &str| usual().with("policy", &format!("{{ {text} }}"));
    for (config, lines, kinds) in [
        (
            policies(
                "a: { allow: [/v1/status], identities: [\"${MINIO}\"] }, 'b c': { allow: [/v1/api] }",
            ),
            vec![
                "2 policies added: a, 'b c'".to_owned(),
                "1 policy removed: minio".to_owned(),
                format!("1 identity moved from policy minio to policy a: {minio}"),
            ],
            "2 policies added; 1 policy removed; 1 identity moved",
        ),
        (
            policies(
                "a: { allow: [/v1/api], deny: [/v1/api*], identities: [\"${OTHER}\"], limits: { requests_at_once: 5 } }",
            ),
            vec![
                "1 policy removed: 'b c'".to_owned(),
                "policy a changed: allow 1 added (/v1/api), allow 1 removed (/v1/status), \
                 deny 1 added (/v1/api*), limits"
                    .to_owned(),
                format!("1 identity added to policy a: {other}"),
                format!("1 identity removed from policy a: {minio}"),
            ],
            "1 policy removed; 1 policy changed; 1 identity added; 1 identity removed",
        ),
        (
            policies(
                "a: { allow: [/v1/api], deny: [/v1/api*], identities: [\"${OTHER}\"], limits: { requests_at_once: 6 } }",
            ),
            vec![
                "policy a changed: limits".to_owned(),
                format!("other limits for 1 identity: {other}"),
            ],
            "1 policy changed; other limits for 1 identity",
        ),
        (
            policies("").with("admin", "{ identity: \"${MINIO}\" }"),
            vec![
                "1 policy removed: a".to_owned(),
                format!("1 identity removed from policy a: {other}"),
                format!("admin.identity changed from {admin} to {minio}"),
            ],
            "1 policy removed; 1 identity removed; settings changed: admin.identity",
        ),
    ] {
        assert_eq!(told(&server, &config), lines, "{}", config.text());
        assert_eq!(summary(&server), kinds, "{}", config.text());
    }
    server.reload_and_wait(&usual());
    fs::create_dir(server.file("others")).unwrap();
    for (section, text, line) in [
        ("cache", "{ expiry: { any: 1m } }", "cache.expiry.any changed from 300s to 60s"),
        ("limits", "{ store_calls_per_second: 7 }", "limits.store_calls_per_second set to 7"),
        ("api", "{ /v1/ready: { timeout: 3s } }", "api./v1/ready.timeout changed from 15s to 3s"),
        ("log", "{ audit: debug }", "log.audit changed from INFO to DEBUG"),
        (
            "log",
            "{ format: text, audit_required: on }",
            "log.audit_required changed from false to true",
        ),
        ("keys", "[{ name: k1 }, { name: k2 }]", "keys 2 added (k1, k2)"),
        ("tls", "{ key: server.key, cert: server.crt, password: s3cret }", "tls.password set"),
        (
            "tls",
            "{ key: server.key, cert: server.crt, proxy: { identities: [\"${OTHER}\"] } }",
            &format!("tls.proxy.identities 1 added ({other})"),
        ),
        (
            "operations",
            "{ address: 'unix:operations.sock' }",
            "operations.address set to unix:operations.sock",
        ),
        ("address", "\"localhost:0\"", "address changed from 127.0.0.1:0 to localhost:0"),
        ("keystore", "{ fs: { path: others } }", "keystore.fs.path changed from keys to others"),
    ] {
        let lines = told(&server, &usual().with(section, text));
        // Whoever has no limits gets some by the limit for all.
        assert!(lines.contains(&line.to_owned()), "{section}: {lines:?}");
        server.reload_and_wait(&usual());
    }
    // A variable is that of the process; what it holds is told if it is no secret.
    assert!(!server.stderr().contains("s3cret"));
}

/// Other contents of the files that stay named.
#[test]
fn certificates_are_told_by_sighup_and_by_the_watch() {
    let [first, second] = [(); 2].map(|()| Authority::new());
    let fresh = || Credentials::new(&["127.0.0.1"]);
    let auth = "{ key: server.key, cert: server.crt, auth: on, ca: ca.crt }";
    let config = Config::usual().with("tls", auth);
    let server = Server::prepared(&config, |folder| {
        fs::copy(first.certificate(), folder.join("ca.crt")).unwrap();
    });
    fs::copy(second.certificate(), server.file("ca.crt")).unwrap();
    let other = fresh();
    fs::write(server.file("server.key"), &other.key_pem).unwrap();
    fs::write(server.file("server.crt"), &other.certificate_pem).unwrap();
    server.reload(&config);
    // Whichever of the two reads the files first tells it.
    let is_told = |count| {
        let log = server.stderr();
        let lines = changes(&log);
        let of = |field: &str| lines.iter().filter(|line| line.starts_with(field)).count();
        of("tls.cert is another certificate (") == count
            && lines.iter().any(|line| line.contains(", valid until ") && line.ends_with(" UTC"))
    };
    wait::eventually(PATIENCE, "the certificate is told", || is_told(1));
    let ca = "tls.ca trusts other CAs: 1 added ('CN=private CA of a test'), \
              1 removed ('CN=private CA of a test')";
    wait::eventually(PATIENCE, "the CA is told", || {
        changes(&server.stderr()).contains(&ca.to_owned())
    });
    // The watch alone.
    let other = fresh();
    fs::write(server.file("server.key"), &other.key_pem).unwrap();
    fs::write(server.file("server.crt"), &other.certificate_pem).unwrap();
    wait::eventually(PATIENCE, "the next certificate is told", || is_told(2));
    server.wait_for_stderr("the certificate files were read again: certificates changed: tls.cert");
}

#[test]
fn a_vault_is_told_by_what_differs_and_never_with_its_secrets() {
    let vault = |secret: &str, more: &str| {
        let login = format!("approle: {{ id: role, secret: {secret} }}");
        let endpoint = "endpoint: 'http://127.0.0.1:9'";
        Config::usual().with("keystore", &format!("{{ vault: {{ {endpoint}, {login}{more} }} }}"))
    };
    let made = Openssl::new();
    made.leaf("one", "P-256");
    let server = Server::prepared(&vault("s3cret-1", ""), |folder| {
        for name in ["one.key", "one.crt"] {
            fs::copy(made.path(name), folder.join(name)).unwrap();
        }
    });
    let secret = "keystore.vault.approle.secret changed";
    assert_eq!(told(&server, &vault("s3cret-2", "")), [secret]);
    assert_eq!(
        told(&server, &vault("s3cret-2", ", namespace: s3cret-3")),
        ["keystore.vault.namespace changed"]
    );
    let client = ", tls: { key: one.key, cert: one.crt }";
    let lines = told(&server, &vault("s3cret-2", client));
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert!(lines.contains(&"keystore.vault.tls.cert set to one.crt".to_owned()), "{lines:?}");
    // The same names, with other contents.
    made.leaf("one", "P-256");
    for name in ["one.key", "one.crt"] {
        fs::copy(made.path(name), server.file(name)).unwrap();
    }
    assert_eq!(
        told(&server, &vault("s3cret-2", client)),
        [
            "keystore.vault.tls.cert (one.crt) has other contents",
            "keystore.vault.tls.key (one.key) has other contents",
        ]
    );
    assert!(!server.stderr().contains("s3cret"), "{}", server.stderr());
}

/// The address that the command line names wins over that of the file.
#[test]
fn what_needs_a_restart_is_told_as_such() {
    let server = Server::with(&Config::usual().arg("--addr").arg("127.0.0.1:0"));
    let lines = told(&server, &Config::usual().with("address", "127.0.0.1:1"));
    let expected = "address changed from 127.0.0.1:0 to 127.0.0.1:1; it takes effect after a \
                    restart without --addr";
    assert_eq!(lines, [expected]);
}

#[test]
fn names_cannot_forge_lines_and_many_changes_have_few() {
    let server = Server::start();
    let forged = "\"x\\n2026 level=ERROR msg=\\\"forged\\\" time=\\e[31m\"";
    let lines = told(&server, &Config::usual().with("policy", &format!("{{ {forged}: {{}} }}")));
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert!(!server.stderr().lines().any(|line| line.starts_with("2026 level=ERROR")));
    assert!(!server.stderr().contains('\u{1b}'));

    let mut policies = String::from("\n");
    for number in 0..2_000 {
        let _ = writeln!(
            policies,
            "  p{number:04}: {{ allow: [/v1/status], identities: [{number:064x}, {:064x}] }}",
            number + 100_000
        );
    }
    let lines = told(&server, &Config::usual().with("policy", &policies));
    assert!(lines.len() < 40 && lines.iter().all(|line| line.len() < 2_000), "{lines:?}");
    assert!(lines[0].starts_with("2000 policies added: p0000, p0001,"), "{lines:?}");
    assert!(lines[0].ends_with("p0009 and 1990 more"), "{lines:?}");
    assert_eq!(summary(&server), "2000 policies added; 1 policy removed; 4000 identities added");
}

#[test]
fn the_values_of_variables_are_in_no_line_about_a_reload() {
    let usual = || Config::usual().env("PATTERN", "/v1/key/s3cret/*").env("HEADER", "X-S3cret");
    let server = Server::with(&usual());
    let policy = "{ minio: { allow: [/v1/status, \"${PATTERN}\"], identities: [\"${MINIO}\"] } }";
    let tls = "{ key: server.key, cert: server.crt, proxy: { header: { cert: \"${HEADER}\" } } }";
    let lines = told(&server, &usual().with("policy", policy).with("tls", tls));
    assert!(lines[0].contains("allow 1 added ('${PATTERN}'), "), "{lines:?}");
    assert_eq!(lines[1], "tls.proxy.header.cert changed");
    let lines = told(&server, &usual());
    assert!(lines[0].contains("1 removed ('${PATTERN}')"), "{lines:?}");
    assert!(!server.stderr().to_lowercase().contains("s3cret"), "{}", server.stderr());
}

/// The copy has the marker of the folder, and other keys.
#[test]
fn a_copy_in_the_place_of_the_key_folder_is_told_and_empties_the_cache() {
    harness::run(async {
        let server = Server::start();
        let mut client = server.client(Who::Minio, Protocol::H2).await;
        assert_eq!(client.send("PUT", "/v1/key/create/k", "").await.status, 200);
        let (keys, copy) = (server.file("keys"), server.file("copy"));
        fs::create_dir(&copy).unwrap();
        fs::copy(keys.join(".kes-folder"), copy.join(".kes-folder")).unwrap();
        fs::rename(&keys, server.file("before")).unwrap();
        fs::rename(&copy, &keys).unwrap();
        let lines = told(&server, &Config::usual());
        let expected =
            "keystore.fs.path leads to another folder with the same marker, such as a copy";
        assert_eq!(lines, [expected]);
        assert!(server.stderr().contains("key store changed: another folder is in the place of"));
        let made = client.send("PUT", "/v1/key/generate/k", "").await;
        assert_eq!(made.status, 404, "the key is in the cache still");
        assert_eq!(told(&server, &Config::usual()), [""; 0]);
    });
}
