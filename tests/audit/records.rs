use base64_simd::STANDARD;
use rustix::process::Signal;
use serde_json::Value;

use super::{PATIENCE, config, files, grep, report, run, start, wait_for};
use crate::harness::{self, Client, Protocol, Server, Who};

/// A body of MinIO that names an object.
fn body(context: &str) -> String {
    format!(r#"{{"context":"{}"}}"#, STANDARD.encode_to_string(context))
}

async fn generate(client: &mut Client, context: &str) -> Value {
    let reply = client.send("PUT", "/v1/key/generate/k", &body(context)).await;
    assert_eq!(reply.status, 200);
    serde_json::from_slice(&reply.body).unwrap()
}

async fn server(fields: &str) -> (Server, Client) {
    let server = start(&config(fields));
    let mut admin = server.client(Who::Admin, Protocol::H2).await;
    assert_eq!(admin.send("PUT", "/v1/key/create/k", "").await.status, 200);
    (server, admin)
}

#[test]
fn a_record_tells_who_did_what() {
    harness::run(async {
        let (server, admin) = server("").await;
        let minio = server.client(Who::Minio, Protocol::H2).await;
        let other = server.client(Who::Other, Protocol::H2).await;
        for (mut client, method, path, status) in [
            (minio.share(), "PUT", "/v1/key/generate/k", 200),
            (minio.share(), "PUT", "/v1/key/decrypt/secret-k", 403),
            (other.share(), "GET", "/v1/key/describe/k", 403),
            (admin.share(), "GET", "/v1/policy/describe/minio", 200),
            (admin.share(), "GET", "/v1/key/generate/k", 405),
            (admin.share(), "GET", "/nothing", 404),
            (admin.share(), "GET", "/%zz", 400),
        ] {
            assert_eq!(client.send(method, path, "").await.status, status, "{path}");
        }
        let found = wait_for(&server, 8, &[]);
        let told = |number: usize, fields: &[(&str, Value)]| {
            for (name, expected) in fields {
                assert_eq!(&found[number][name], expected, "{name} of {:#}", found[number]);
            }
        };
        let (admin, minio) = (&*server.admin.identity, &*server.minio.identity);
        told(
            0,
            &[
                ("kind", "request".into()),
                ("operation", "CreateKey".into()),
                ("identity", admin.into()),
                ("admin", true.into()),
                ("policy", Value::Null),
                ("address", "127.0.0.1".into()),
                ("key", "k".into()),
                ("status", 200.into()),
                ("message", Value::Null),
            ],
        );
        told(
            1,
            &[
                ("operation", "GenerateKey".into()),
                ("identity", minio.into()),
                ("policy", "minio".into()),
                ("status", 200.into()),
            ],
        );
        told(
            2,
            &[
                ("key", "secret-k".into()),
                ("status", 403.into()),
                ("message", "not authorized: insufficient permissions".into()),
                ("reason", "policy 'minio' denies it by '/v1/key/decrypt/secret-*'".into()),
            ],
        );
        told(
            3,
            &[
                ("policy", Value::Null),
                ("admin", Value::Null),
                ("reason", "unknown identity".into()),
            ],
        );
        told(
            4,
            &[
                ("name", "minio".into()),
                ("key", Value::Null),
                ("operation", "DescribePolicy".into()),
            ],
        );
        told(
            5,
            &[
                ("method", "GET".into()),
                ("path", "/v1/key/generate/k".into()),
                ("status", 405.into()),
            ],
        );
        told(
            6,
            &[
                ("operation", Value::Null),
                ("method", "GET".into()),
                ("path", "/nothing".into()),
                ("status", 404.into()),
            ],
        );
        told(7, &[("path", "/%zz".into()), ("status", 400.into())]);
        assert!(found.iter().all(|record| record["duration_us"].is_u64()));
        assert_eq!(grep(&server, &["--status", "4xx"]).len(), 5);
        assert_eq!(grep(&server, &["--identity", minio]).len(), 2);
        assert_eq!(
            grep(&server, &["--policy", "minio", "--status", "403", "--since", "1h"]).len(),
            1
        );
        assert_eq!(grep(&server, &["--until", "2020-01-01T00:00:00Z"]).len(), 0);
        assert_eq!(report(&server, &[])["good"], true);
    });
}

/// Who has opened an object.
#[test]
fn the_object_of_a_request_is_found() {
    harness::run(async {
        let (server, mut admin) = server("").await;
        let key = generate(&mut admin, r#"{"photos":"photos/2026/cat.jpg"}"#).await;
        generate(&mut admin, r#"{"photos":"photos/dog.jpg"}"#).await;
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let context = STANDARD.encode_to_string(r#"{"photos":"photos/2026/cat.jpg"}"#);
        let decrypt =
            format!(r#"{{"ciphertext":"{}","context":"{context}"}}"#, text(&key["ciphertext"]));
        let mut minio = server.client(Who::Minio, Protocol::H2).await;
        assert_eq!(minio.send("PUT", "/v1/key/decrypt/k", &decrypt).await.status, 200);
        let bulk = format!("[{decrypt},{decrypt}]");
        assert_eq!(admin.send("PUT", "/v1/key/bulk/decrypt/k", &bulk).await.status, 200);
        wait_for(&server, 5, &[]);
        let cat = ["--bucket", "photos", "--object", "2026/cat.jpg"];
        let found = grep(&server, &cat);
        let operations: Vec<_> = found.iter().map(|record| text(&record["operation"])).collect();
        assert_eq!(operations, ["GenerateKey", "DecryptKey", "BulkDecrypt"]);
        assert_eq!(found[1]["identity"], *server.minio.identity);
        assert_eq!(found[2]["objects"].as_array().unwrap().len(), 2);
        // For a person.
        let shown = run(&server, &[&["grep"][..], &cat].concat());
        let shown = String::from_utf8(shown.stdout).unwrap();
        assert_eq!(shown.lines().count(), 3, "{shown}");
        assert!(
            shown.lines().nth(1).unwrap().ends_with("DecryptKey k  photos/2026/cat.jpg"),
            "{shown}"
        );
    });
}

#[test]
fn names_of_objects_can_be_hashed_or_left_out() {
    harness::run(async {
        for (mode, found) in [("hash", 1), ("off", 0)] {
            let (server, mut admin) = server(&format!(", context: {mode}")).await;
            generate(&mut admin, r#"{"photos":"photos/cat.jpg"}"#).await;
            wait_for(&server, 2, &[]);
            let text = std::fs::read_to_string(server.file("audit.jsonl")).unwrap();
            assert!(!text.contains("photos") && !text.contains("cat.jpg"), "{text}");
            let args = ["--bucket", "photos", "--object", "cat.jpg"];
            let output = run(&server, &[&["grep", "--json"], &args[..]].concat());
            assert!(output.stdout.is_empty());
            let told = String::from_utf8(output.stderr).unwrap();
            if mode == "hash" {
                assert!(told.contains("1 more record may match: names"), "{told}");
                assert_eq!(output.status.code(), Some(1));
            } else {
                assert!(told.is_empty() && output.status.success(), "{told}");
            }
            let with_key = [&args[..], &["--key-file", "audit.key"]].concat();
            assert_eq!(grep(&server, &with_key).len(), found, "{mode}");
        }
    });
}

/// The heads in the log of the server and the checkpoint know the last lines.
#[test]
fn a_server_that_stops_vouches_for_its_last_line() {
    harness::run(async {
        let (mut server, mut admin) = server("").await;
        generate(&mut admin, "").await;
        server.signal(Signal::TERM);
        server.wait_for_exit(PATIENCE);
        assert_eq!(files(&server), ["audit.jsonl", "audit.jsonl.checkpoint"]);
        let good = report(&server, &["--heads", "stderr"]);
        assert_eq!(
            (&good["good"], &good["vouched"]),
            (&Value::from(true), &good["last"]),
            "{good:#}"
        );
        // The first line, the start, the requests, the stop.
        assert_eq!(good["last"], 5);

        // Cut off the last two lines.
        let path = server.file("audit.jsonl");
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = text.split_inclusive('\n').collect();
        std::fs::write(&path, lines[..3].concat()).unwrap();
        let cut = report(&server, &[]);
        let told = cut["findings"][0]["text"].as_str().unwrap();
        assert!(told.contains("knows line 5: lines 4 to 5 were cut off"), "{cut:#}");

        // Edit a line. A person is told where.
        std::fs::write(&path, text.replace("GenerateKey", "DescribeKey")).unwrap();
        let output = run(&server, &["verify", "--key-file", "audit.key"]);
        let shown = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(1));
        let told = "Found audit.jsonl:4 (line 4 of the chain): was edited, or its hash was";
        assert!(shown.contains(told), "{shown}");
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(told, "Error: the audit log was changed, or cannot be checked: 1 finding\n");
        // Without the key nothing can be said.
        let output = run(&server, &["verify"]);
        let shown = String::from_utf8(output.stdout).unwrap();
        assert!(
            shown.contains("cannot be checked: its key is") && !output.status.success(),
            "{shown}"
        );
    });
}

#[test]
fn a_key_has_a_name_and_a_verifier() {
    let server = start(&config(""));
    let output = server.command(Who::Nobody, &["audit", "key", "audit.key"]).output().unwrap();
    let shown = String::from_utf8(output.stdout).unwrap();
    let text = std::fs::read_to_string(server.file("audit.jsonl")).unwrap();
    let first: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    let id = first["key"].as_str().unwrap();
    assert!(shown.starts_with(&format!("Key         {id}\n")), "{shown}");
    assert!(shown.contains(&format!("Verifier    kes-audit/key/{id}+")), "{shown}");
}
