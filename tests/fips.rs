//! A build with the feature `fips` (`docs/fips.md`): it says what it is, refuses with a sentence
//! what is not approved, and goes on with the keys and the API keys of other builds.

use std::path::Path;

use serde_json::json;

use crate::harness::{
    self, Config, Openssl, Protocol, Refused, Server, Vectors, Who, openssl, program,
};

fn output(command: &mut std::process::Command) -> (bool, String, String) {
    let output = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.success(), text(output.stdout), text(output.stderr))
}

#[test]
fn it_says_what_it_is() {
    harness::run(async {
        let server = Server::start();
        let line = "FIPS 140-3 module of AWS-LC, approved algorithms only";
        assert!(server.stdout().contains(line), "{}", server.stdout());
        let mut client = server.client(Who::Minio, Protocol::H2).await;
        assert_eq!(client.send("GET", "/v1/status", "").await.json()["fips"], true);

        let (_, status, _) = output(&mut server.command(Who::Admin, &["status", "-k"]));
        let has_row = |row: &str| row.contains("FIPS") && row.contains("140-3");
        assert!(status.lines().any(has_row), "{status}");
        let (_, version, _) = output(std::process::Command::new(program()).arg("--version"));
        assert!(version.trim_end().ends_with(" fips"), "{version}");
    });
}

/// `api::transport` has what is offered.
#[test]
fn the_log_tells_which_offer_is_not_approved() {
    let server = Server::start();
    let made = Openssl::new();
    for (args, lacks) in [
        ("-tls1_2 -cipher ECDHE-ECDSA-CHACHA20-POLY1305", "no cipher suite"),
        ("-tls1_3 -groups X25519", "no key exchange"),
    ] {
        made.s_client(&server, "/version", args);
        server.wait_for_stderr(&format!("{lacks} that a FIPS build serves"));
    }
}

#[test]
fn chacha20_is_refused_with_a_sentence() {
    harness::run(async {
        let vectors = Vectors::read();
        let server = Server::prepared(&Config::usual(), |folder| vectors.store(folder));
        let mut client = server.client(Who::Admin, Protocol::H2).await;
        for cipher in ["ChaCha20", "XCHACHA20-POLY1305"] {
            let body = json!({ "key": vectors.key("vec-chacha20").key, "cipher": cipher });
            let reply = client.send("PUT", "/v1/key/import/new", &body.to_string()).await;
            let text =
                format!("algorithm '{cipher}' is not supported: it is not approved (FIPS 140-3)");
            assert_eq!(reply.error(), (406, text));
        }
        let reply =
            client.send("PUT", "/v1/key/encrypt/vec-chacha20", r#"{"plaintext":"aGk="}"#).await;
        assert!(reply.status >= 500, "{reply:?}");
        server.wait_for_stderr("its cipher is ChaCha20, which is not approved (FIPS 140-3)");
        // New keys are for AES, whatever the processor can do.
        assert_eq!(client.send("PUT", "/v1/key/create/made", "").await.status, 200);
        let made = client.send("GET", "/v1/key/describe/made", "").await.json();
        assert_eq!(made["algorithm"], "AES256");
    });
}

#[test]
fn ciphertexts_of_other_builds_are_decrypted() {
    harness::run(async {
        let vectors = Vectors::read();
        let server = Server::prepared(&Config::usual(), |folder| vectors.store(folder));
        let mut client = server.client(Who::Admin, Protocol::H2).await;
        let mut seen = 0;
        for vector in vectors.ciphertexts.iter().filter(|vector| vector.key == "vec-aes256") {
            let body = json!({ "ciphertext": vector.ciphertext, "context": vector.context });
            let path = format!("/v1/key/decrypt/{}", vector.key);
            let reply = client.send("PUT", &path, &body.to_string()).await;
            assert_eq!(reply.json(), json!({ "plaintext": vector.plaintext }), "{}", vector.form);
            seen += 1;
        }
        assert!(seen >= 6, "{seen}");
    });
}

#[test]
fn an_api_key_works() {
    let (_, made, _) = output(std::process::Command::new(program()).args(["identity", "new"]));
    let api_key = made.split_whitespace().find(|word| word.starts_with("kes:v1:")).unwrap();
    let (_, identity, _) =
        output(std::process::Command::new(program()).args(["identity", "of", api_key]));
    let admin = format!("{{ identity: {} }}", identity.trim());
    let server = Server::with(&Config::usual().with("admin", &admin));
    let run = |args: &[&str]| {
        let mut command = server.command(Who::Nobody, args);
        output(command.env("KES_API_KEY", api_key))
    };
    let (done, _, stderr) = run(&["key", "create", "-k", "of-an-api-key"]);
    assert!(done, "{stderr}");
    let (done, stdout, stderr) = run(&["key", "dek", "-k", "of-an-api-key"]);
    assert!(done && stdout.contains("ciphertext"), "{stdout}{stderr}");
}

/// A private key that a password encrypts: outside of the module's algorithms.
#[test]
fn encrypted_private_keys_are_refused_with_what_to_do() {
    let prepare = |folder: &Path, form: &str| {
        openssl(folder, "genpkey -algorithm ec -pkeyopt ec_paramgen_curve:P-384 -out plain.key");
        let names = "-addext subjectAltName=IP:127.0.0.1";
        openssl(
            folder,
            &format!("req -x509 -key plain.key -subj /CN=x -days 9 {names} -out server.crt"),
        );
        openssl(folder, form);
    };
    let tls = "{ key: used.key, cert: server.crt, password: open-sesame-7 }";
    let config = Config::usual().with("tls", tls);
    for form in [
        "ec -in plain.key -aes128 -passout pass:open-sesame-7 -out used.key",
        "pkcs8 -topk8 -in plain.key -v2 aes-256-cbc -passout pass:open-sesame-7 -out used.key",
        "pkcs8 -topk8 -in plain.key -scrypt -passout pass:open-sesame-7 -out used.key",
    ] {
        let Refused { status, stderr, .. } =
            Server::refused(&config, |folder| prepare(folder, form));
        assert_eq!(status, Some(1), "{form}: {stderr}");
        assert!(stderr.contains("used.key"), "{form}: {stderr}");
        assert!(stderr.contains("which this FIPS build refuses"), "{form}: {stderr}");
        assert!(stderr.contains("openssl pkey"), "{form}: {stderr}");
        assert!(!stderr.contains("open-sesame"), "{form}: {stderr}");
    }
}

/// Their file format has no approved algorithm.
#[test]
fn backups_are_refused_with_a_sentence_before_anything_is_read() {
    let folder = tempfile::tempdir().unwrap();
    for args in [
        "backup --config none.yml --output keys.age --passphrase-file none",
        "restore keys.age --config none.yml --identity none",
    ] {
        let mut command = std::process::Command::new(program());
        command.args(args.split(' ')).current_dir(folder.path());
        let (done, stdout, stderr) = output(&mut command);
        assert!(!done && stdout.is_empty(), "{args}: {stdout}");
        assert!(stderr.contains("not approved (FIPS 140-3)"), "{args}: {stderr}");
        assert!(stderr.contains("'kes migrate' copies keys"), "{args}: {stderr}");
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}
