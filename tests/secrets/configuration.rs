//! Secrets of the configuration: they come from its file or its environment, and go to who they
//! are for.

use kes_testkit::faulty::{Faulty, Reply, Request};
use kes_testkit::wait;
use serde_json::{Value, json};

use super::{Mark, PATIENCE, assert_silent, find, follow};
use crate::harness::{self, Config, Protocol, Server, Who, openssl};

/// A Vault in little that answers with whatever it was sent, as a bad proxy in front of one may.
/// What it hands out is `token`.
fn telltale(token: String, logs_in: bool) -> Faulty {
    Faulty::start(move |request| {
        let path = request.path();
        if path == "/v1/sys/health" {
            return Reply::healthy();
        }
        if path.ends_with("/login") && logs_in {
            let mut body = Reply::login_body(&token, 100);
            body["auth"]["accessor"] = json!(token);
            return Reply::json(200, body);
        }
        let status = if path.contains("broken") { 500 } else { 400 };
        Reply::json(status, json!({ "errors": [echo(request)] }))
    })
}

fn echo(request: &Request) -> Value {
    let headers: Vec<String> =
        request.headers.iter().map(|(name, value)| format!("{name}: {value}")).collect();
    let body = String::from_utf8_lossy(&request.body);
    json!(format!("cannot serve {}: {}", headers.join(", "), body))
}

#[test]
fn what_vault_is_given_is_told_to_nobody_else() {
    harness::run(async {
        let [id, secret, jwt, token] =
            ["the role", "the secret ID", "the JWT", "the token"].map(Mark::text);
        for (logs_in, login) in [
            (true, format!("approle: {{ id: {}, secret: {} }}", id.as_str(), secret.as_str())),
            (false, format!("approle: {{ id: a, secret: {} }}", secret.as_str())),
            (false, "approle: { id: a, secret: \"${APPROLE_SECRET}\" }".to_owned()),
            (true, format!("kubernetes: {{ role: a, jwt: {} }}", jwt.as_str())),
            (false, format!("kubernetes: {{ role: a, jwt: {} }}", jwt.as_str())),
        ] {
            let vault = telltale(format!("hvs.{}", token.as_str()), logs_in);
            let keystore = format!("{{ vault: {{ endpoint: \"{}\", {login} }} }}", vault.url());
            let config = Config::usual()
                .with("keystore", &keystore)
                .with("log", "{ error: debug, audit: debug }")
                .env("APPROLE_SECRET", secret.as_str());
            let server = Server::with(&config);
            let errors = follow(&server, "/v1/log/error").await;
            let mut client = server.client(Who::Admin, Protocol::H2).await;
            let marks = [secret.clone(), jwt.clone(), token.clone()];
            for (method, path) in [
                ("PUT", "/v1/key/create/k"),
                ("PUT", "/v1/key/create/broken"),
                ("PUT", "/v1/key/generate/k"),
                ("PUT", "/v1/key/generate/broken"),
                ("DELETE", "/v1/key/delete/broken"),
                ("GET", "/v1/key/list/"),
                ("GET", "/v1/metrics"),
                ("GET", "/v1/status"),
            ] {
                let reply = client.send(method, path, "").await;
                assert!(reply.status == 200 || reply.status >= 500, "{method} {path} {reply:?}");
                assert_silent(path, &reply.body, &marks);
            }
            // All of it was used: what is not told is not merely unknown.
            wait::eventually(PATIENCE, "Vault is asked to let the server in", || {
                vault.requests().iter().any(|request| request.path().ends_with("/login"))
            });
            let asked = vault.requests();
            let sent = |mark: &Mark| {
                asked.iter().any(|request| find(echo(request).to_string().as_bytes(), &mark.bytes))
            };
            assert!(sent(if login.starts_with("kube") { &jwt } else { &secret }), "{login}");
            assert_eq!(sent(&token), logs_in, "{login}");
            // The last failure is everywhere that failures are told.
            server.wait_for_stderr("failed to list keys");
            wait::eventually(PATIENCE, "the last failure is streamed", || {
                find(&errors.lock().unwrap(), b"failed to list keys")
            });
            // Each request is audited, and the last of them asked for the status.
            wait::eventually(PATIENCE, "the last request is audited", || {
                server.stdout().contains("req.path=/v1/status")
            });
            assert_silent("standard error", server.stderr().as_bytes(), &marks);
            assert_silent("standard output", server.stdout().as_bytes(), &marks);
            assert_silent("the error stream", &errors.lock().unwrap(), &marks);
        }
    });
}

#[test]
#[cfg_attr(feature = "fips", ignore = "a FIPS build refuses private keys with a password")]
fn the_password_of_the_private_key_is_not_told() {
    let [password, wrong] = ["the password", "a wrong password"].map(Mark::text);
    let marks = [password.clone(), wrong.clone()];
    let tls =
        |password: &str| format!("{{ key: locked.key, cert: server.crt, password: {password} }}");
    let prepare = |folder: &std::path::Path| {
        let password = password.as_str();
        let output = format!("-out locked.key -passout pass:{password}");
        openssl(folder, &format!("pkcs8 -topk8 -in server.key {output}"));
    };
    let usual = Config::usual().with("log", "{ error: debug, audit: debug }");
    let right = usual.clone().with("tls", &tls(password.as_str()));
    let server = Server::prepared(&right, prepare);
    harness::run(async {
        let mut client = server.client(Who::Admin, Protocol::H1).await;
        assert_eq!(client.send("GET", "/version", "").await.status, 200);
    });
    // A reload that fails tells what is wrong, and no more.
    std::fs::write(
        server.file("config.yml"),
        usual.clone().with("tls", &tls(wrong.as_str())).text(),
    )
    .unwrap();
    server.signal(rustix::process::Signal::HUP);
    server.wait_for_stderr("still using the previous configuration");
    assert_silent("standard error", server.stderr().as_bytes(), &marks);
    assert_silent("standard output", server.stdout().as_bytes(), &marks);

    let from_env =
        usual.clone().with("tls", &tls("\"${PASSWORD}\"")).env("PASSWORD", wrong.as_str());
    for config in [usual.with("tls", &tls(wrong.as_str())), from_env] {
        let refused = Server::refused(&config, prepare);
        assert_eq!(refused.status, Some(1));
        assert!(refused.stderr.contains("locked.key"), "{}", refused.stderr);
        assert_silent("the error", refused.stderr.as_bytes(), &marks);
        assert_silent("standard output", refused.stdout.as_bytes(), &marks);
    }
}

#[test]
fn a_file_that_is_refused_is_refused_without_its_secrets() {
    let mark = Mark::text("the secret");
    let vault =
        |login: &str| ("keystore", format!("{{ vault: {{ endpoint: 'https://h:1', {login} }} }}"));
    let tls = |fields: &str| ("tls", format!("{{ key: server.key, {fields} }}"));
    for (section, text) in [
        vault("approle: { id: a, secret: [SECRET] }"),
        vault("approle: { id: a, secret: { SECRET: SECRET } }"),
        vault("approle: { secret: SECRET }"),
        vault("approle: { id: a, secret: SECRET, secret: SECRET }"),
        vault("approle: { id: a, secret: \"SECRET }"),
        vault("approle: { id: a, secret: SECRET: }"),
        vault("approle: { id: a, sekret: SECRET }"),
        vault("kubernetes: { role: a, jwt: [SECRET] }"),
        vault("kubernetes: { jwt: SECRET }"),
        ("keystore", "{ vault: { endpoint: 'https://user:SECRET@h:1', approle: {} } }".to_owned()),
        tls("password: SECRET"),
        tls("cert: server.crt, password: [SECRET]"),
        tls("cert: server.crt, password: 'SECRET"),
        tls("cert: server.crt, auth: '${MARKED}'"),
        ("cache", "{ expiry: { any: '${MARKED}' } }".to_owned()),
    ] {
        let text = text.replace("SECRET", mark.as_str());
        let config = Config::usual().with(section, &text).env("MARKED", mark.as_str());
        let refused = Server::refused(&config, |_| {});
        assert_eq!(refused.status, Some(1), "{text}");
        assert!(refused.stderr.contains("config.yml"), "{}", refused.stderr);
        assert_silent(&text, refused.stderr.as_bytes(), std::slice::from_ref(&mark));
    }
}

/// A variable that is to name a file has what should be in it.
#[test]
fn a_secret_in_the_place_of_a_path_is_not_told() {
    let secret = Mark::text("a private key");
    for (section, text) in [
        ("tls", "{ key: \"${SECRET}\", cert: server.crt }"),
        ("tls", "{ key: server.key, cert: \"${SECRET}\" }"),
        ("tls", "{ key: server.key, cert: server.crt, auth: on, ca: \"${SECRET}\" }"),
        ("tls", "{ key: server.key, cert: server.crt, password_file: \"${SECRET}\" }"),
        ("keystore", "{ fs: { path: \"${SECRET}\", id: 0123456789abcdef0123456789abcdef } }"),
        ("operations", "{ address: \"${SOCKET}\" }"),
        (
            "keystore",
            "{ vault: { endpoint: 'https://127.0.0.1:1', approle: { id: a, secret: b }, \
             tls: { ca: \"${SECRET}\" } } }",
        ),
    ] {
        let config = Config::usual()
            .with(section, text)
            .env("SECRET", &format!("none/{}", secret.as_str()))
            .env("SOCKET", &format!("unix:none/{}", secret.as_str()));
        let refused = Server::refused(&config, |_| ());
        assert_eq!(refused.status, Some(1), "{text}: {}", refused.stderr);
        let name = if section == "operations" { "${SOCKET}" } else { "${SECRET}" };
        assert!(refused.stderr.contains(name), "{text}: {}", refused.stderr);
        assert_silent(text, refused.stderr.as_bytes(), std::slice::from_ref(&secret));
        assert_silent(text, refused.stdout.as_bytes(), std::slice::from_ref(&secret));
    }
}
