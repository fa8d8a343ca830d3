use serde_json::json;

use crate::harness::{self, Config, Protocol, Server, Who};

/// The policy that `kes policy preset minio` prints, as a section of a configuration.
fn preset(args: &[&str]) -> String {
    let mut command = std::process::Command::new(harness::program());
    let output = command.args(["policy", "preset", "minio"]).args(args).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let (_, section) = text.split_once("policy:").unwrap();
    section.to_owned()
}

/// For the identity of `Who::Minio`, which is known once the server is configured.
fn with_identity(preset: &str) -> String {
    let (before, after) = preset.split_once("    identities:\n").unwrap();
    assert!(after.trim_start().starts_with("#-"), "{preset}");
    format!("{before}    identities: [\"${{MINIO}}\"]\n")
}

/// Each call that MinIO makes, as the body that its SDK sends, and calls that it does not make.
#[test]
fn the_preset_lets_minio_do_what_it_does_and_nothing_else() {
    harness::run(async {
        let server = Server::with(&Config::usual().with("policy", &with_identity(&preset(&[]))));
        assert!(!server.stderr().contains("policy.minio"), "{}", server.stderr());
        let mut minio = server.client(Who::Minio, Protocol::H2).await;
        assert_eq!(minio.send("POST", "/v1/key/create/k", "").await.status, 200);
        let context = r#"{"context":"YnVja2V0L29iamVjdA=="}"#;
        let key = minio.send("POST", "/v1/key/generate/k", context).await.json();
        let sealed = json!({ "ciphertext": key["ciphertext"], "context": "YnVja2V0L29iamVjdA==" });
        let opened = minio.send("POST", "/v1/key/decrypt/k", &sealed.to_string()).await.json();
        assert_eq!(opened["plaintext"], key["plaintext"]);
        let many = json!([sealed]).to_string();
        let opened = minio.send("POST", "/v1/key/bulk/decrypt/k", &many).await.json();
        assert_eq!(opened[0]["plaintext"], key["plaintext"]);
        for path in ["/version", "/v1/key/describe/k", "/v1/key/list/", "/v1/status", "/v1/metrics"]
        {
            assert_eq!(minio.send("GET", path, "").await.status, 200, "{path}");
        }
        for (method, path) in [
            ("DELETE", "/v1/key/delete/k"),
            ("PUT", "/v1/key/import/k"),
            ("PUT", "/v1/key/encrypt/k"),
            ("PUT", "/v1/key/hmac/k"),
            ("GET", "/v1/policy/list/"),
            ("GET", "/v1/log/audit"),
            ("GET", "/v1/log/refusals"),
        ] {
            assert_eq!(minio.send(method, path, "").await.status, 403, "{path}");
        }
    });
}

#[test]
fn the_preset_can_be_for_some_keys() {
    harness::run(async {
        let policy = with_identity(&preset(&["--key", "tenant-1-", "--name", "tenant-1"]));
        let server = Server::with(&Config::usual().with("policy", &policy));
        let mut minio = server.client(Who::Minio, Protocol::H2).await;
        for (name, status) in [("tenant-1-key", 200), ("tenant-2-key", 403)] {
            let path = format!("/v1/key/create/{name}");
            assert_eq!(minio.send("PUT", &path, "").await.status, status, "{name}");
        }
        let mut admin = server.client(Who::Admin, Protocol::H2).await;
        let names = admin.send("GET", "/v1/policy/list/", "").await.json()["names"].clone();
        assert_eq!(names, json!(["tenant-1"]));
    });
}
