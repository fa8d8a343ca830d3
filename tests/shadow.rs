//! `kes shadow` in front of two servers (`docs/shadow.md`).

use std::process::Stdio;
use std::sync::Arc;

use http_body_util::BodyExt as _;
use hyper::body::Bytes;
use kes_testkit::wait::eventually;
use kes_testkit::{Bao, Process};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::{self, BASE64, Client, Credentials, Protocol, Raw, Server, Who, program};

mod fake;
mod world;

use world::{PATIENCE, Running, Servers, config, policy};

/// What must stand in no line: the name of a key, a context and a plaintext.
const NAME: &str = "sesame-key";
const CONTEXT: &str = "open-sesame-context";
const PLAINTEXT: &str = "the-plaintext-of-sesame";

fn base64(text: &str) -> String {
    BASE64.encode_to_string(text)
}

/// Asks for a data key and has it decrypted, as MinIO does.
async fn use_key(client: &mut Client, key: &str) {
    let body = json!({ "context": base64(CONTEXT) }).to_string();
    let made = client.send("PUT", &format!("/v1/key/generate/{key}"), &body).await;
    assert_eq!(made.status, 200, "{:?}", made.body);
    let body = json!({ "ciphertext": made.json()["ciphertext"], "context": base64(CONTEXT) });
    let path = format!("/v1/key/decrypt/{key}");
    let decrypted = client.send("PUT", &path, &body.to_string()).await;
    assert_eq!(decrypted.json()["plaintext"], made.json()["plaintext"]);
}

async fn encrypt(client: &mut Client, key: &str) {
    let body = json!({ "plaintext": base64(PLAINTEXT), "context": base64(CONTEXT) }).to_string();
    let encrypted = client.send("PUT", &format!("/v1/key/encrypt/{key}"), &body).await;
    assert_eq!(encrypted.status, 200);
}

/// Looks for what the shadow must not tell.
fn assert_tells_nothing(shadow: &Running, servers: &Servers) {
    let told = shadow.stdout() + &shadow.stderr();
    let identities = [&servers.old.minio, &servers.old.admin, &servers.old.other];
    let secrets = [NAME, CONTEXT, PLAINTEXT].map(str::to_owned).into_iter();
    let encoded = [CONTEXT, PLAINTEXT].map(base64).into_iter();
    let identities = identities.map(|who| who.identity.clone()).into_iter();
    for secret in secrets.chain(encoded).chain(identities) {
        assert!(!told.contains(&secret), "'{secret}' stands in\n{told}");
    }
}

fn count(summary: &Value, operation: &str, what: &str) -> u64 {
    summary["operations"][operation][what].as_u64().unwrap_or_default()
}

#[test]
fn each_server_decrypts_what_the_other_one_has_encrypted() {
    harness::run(async {
        let servers = Servers::with_keys(&[NAME]).await;
        let mut shadow = servers.shadow(Who::Minio, &["--stores", "separate"]);
        for protocol in [Protocol::H1, Protocol::H2] {
            let mut client = servers.client(&shadow, Who::Minio, protocol).await;
            for _ in 0..3 {
                use_key(&mut client, NAME).await;
            }
            encrypt(&mut client, NAME).await;
            for path in ["/version", "/v1/status", "/v1/key/list/", "/v1/key/list/se*"] {
                assert_eq!(client.send("GET", path, "").await.status, 200, "{path}");
            }
            let described = client.send("GET", &format!("/v1/key/describe/{NAME}"), "").await;
            assert_eq!(described.json()["name"], NAME);
            let missing = client.send("PUT", "/v1/key/generate/missing", "").await;
            assert_eq!(missing.error(), (404, "key does not exist".to_owned()));
            let refused = client.send("GET", "/v1/metrics", "").await;
            assert_eq!(refused.status, 403);
        }
        let summary = shadow.end();
        assert_eq!(summary["different"], 0, "{}", shadow.stdout());
        for (operation, requests) in [
            ("GenerateKey", 8),
            ("DecryptKey", 6),
            ("EncryptKey", 2),
            ("CrossDecryption", 8),
            ("ListKeys", 4),
            ("DescribeKey", 2),
            ("Version", 2),
            ("Status", 2),
        ] {
            assert_eq!(count(&summary, operation, "requests"), requests, "{operation} {summary}");
            assert_eq!(count(&summary, operation, "equal"), requests, "{operation} {summary}");
        }
        assert_eq!(summary["operations"]["Metrics"]["not_compared"]["own_figures"], 2);
        assert_tells_nothing(&shadow, &servers);
        // Both were asked in the client's name.
        let told = format!(
            "req.path=/v1/metrics req.ip=127.0.0.1 req.identity={}",
            servers.old.minio.identity
        );
        assert!(servers.old.stdout().contains(&told));
    });
}

#[test]
fn differences_are_told_by_their_kind_and_clients_get_the_old_answers() {
    harness::run(async {
        let keys = [NAME, "other-sesame-key", "third-sesame-key"];
        let servers = Servers::new(
            |config, old| {
                let policy = policy(&old.minio.identity)
                    .replace("/v1/key/describe/*", "/v1/key/describe/none");
                config.with("policy", &policy)
            },
            &keys,
            |folder| {
                std::fs::remove_file(folder.join(keys[1])).unwrap();
                // Another key under the same name.
                std::fs::copy(folder.join(keys[0]), folder.join(keys[2])).unwrap();
            },
        )
        .await;
        // No summary comes between two equal differences.
        let args = ["--stores", "separate", "--summary", "1h"];
        let mut shadow = servers.shadow(Who::Minio, &args);
        let mut client = servers.client(&shadow, Who::Minio, Protocol::H2).await;
        for _ in 0..2 {
            let described = client.send("GET", &format!("/v1/key/describe/{NAME}"), "").await;
            assert_eq!(described.status, 200);
        }
        use_key(&mut client, keys[1]).await;
        encrypt(&mut client, keys[2]).await;
        assert_eq!(
            client.send("GET", "/v1/key/list/", "").await.json()["names"],
            json!(keys_sorted(&keys))
        );
        let told = |differs: &'static str, operation: &'static str| {
            shadow.wait_for(&format!("{differs} of {operation}"), |line| {
                line["event"] == "difference"
                    && line["differs"] == differs
                    && line["operation"] == operation
            })
        };
        let described = told("status", "DescribeKey");
        assert_eq!(described["old"], json!({ "status": 200 }));
        let message = "not authorized: insufficient permissions";
        assert_eq!(described["new"], json!({ "status": 403, "message": message }));
        let generated = told("status", "GenerateKey");
        assert_eq!(generated["new"], json!({ "status": 404, "message": "key does not exist" }));
        let crosswise = told("cross_decryption", "CrossDecryption");
        let message = "decryption failed: ciphertext is not authentic";
        assert_eq!(crosswise["detail"], "new_decrypts_what_old_encrypted");
        assert_eq!(crosswise["new"], json!({ "status": 400, "message": message }));
        assert_eq!(told("body", "ListKeys")["detail"], "names");
        assert_tells_nothing(&shadow, &servers);
        let summary = shadow.end();
        // Equal differences are one line.
        let told = shadow.differences();
        let described: Vec<_> =
            told.iter().filter(|line| line["operation"] == "DescribeKey").collect();
        assert_eq!(described.len(), 1, "{told:?}");
        assert!(count(&summary, "DescribeKey", "different") >= 1, "{summary}");
        assert_tells_nothing(&shadow, &servers);
    });
}

fn keys_sorted<'a>(keys: &[&'a str]) -> Vec<&'a str> {
    let mut keys = keys.to_vec();
    keys.sort_unstable();
    keys
}

#[test]
fn names_are_told_to_who_asks_for_them_and_the_new_server_answers_if_it_is_to() {
    harness::run(async {
        let servers = Servers::new(
            |config, _| config,
            &[NAME],
            |folder| {
                std::fs::remove_file(folder.join(NAME)).unwrap();
            },
        )
        .await;
        let args = ["--stores", "separate", "--answer", "new", "--names"];
        let shadow = servers.shadow(Who::Minio, &args);
        let mut client = servers.client(&shadow, Who::Minio, Protocol::H1).await;
        let path = format!("/v1/key/describe/{NAME}");
        let missing = client.send("GET", &path, "").await;
        assert_eq!(missing.error(), (404, "key does not exist".to_owned()));
        let told = shadow.wait_for("the difference", |line| line["event"] == "difference");
        assert_eq!(told["key"], NAME);
    });
}

#[test]
fn a_new_server_that_hangs_or_is_gone_fails_and_delays_no_request() {
    harness::run(async {
        let mut servers = Servers::with_keys(&[NAME]).await;
        let mut shadow = servers.shadow(Who::Minio, &["--stores", "separate"]);
        let mut client = servers.client(&shadow, Who::Minio, Protocol::H2).await;
        use_key(&mut client, NAME).await;
        servers.new.signal(Signal::STOP);
        // It answers nothing: whatever is answered did not wait for it. More requests than there is
        // room for comparisons.
        for _ in 0..200 {
            use_key(&mut client, NAME).await;
        }
        servers.new.signal(Signal::CONT);
        servers.new.process().kill();
        for _ in 0..10 {
            use_key(&mut client, NAME).await;
        }
        let gone = shadow.wait_for("that it is gone", |line| line["event"] == "no_answer");
        assert_eq!(gone["server"], "new");
        let summary = shadow.end();
        assert_eq!(summary["different"], 0, "{summary}");
        assert_eq!(count(&summary, "GenerateKey", "requests"), 211);
        let left_out = |reason: &str| {
            ["GenerateKey", "DecryptKey"]
                .map(|operation| {
                    summary["operations"][operation]["not_compared"][reason].as_u64().unwrap_or(0)
                })
                .into_iter()
                .sum::<u64>()
        };
        assert!(left_out("busy") > 0, "{summary}");
        assert!(left_out("no_answer") > 0, "{summary}");
        assert_tells_nothing(&shadow, &servers);
    });
}

#[test]
fn an_old_server_that_is_gone_is_an_error_for_the_client() {
    harness::run(async {
        let mut servers = Servers::with_keys(&[NAME]).await;
        let shadow = servers.shadow(Who::Minio, &[]);
        let mut client = servers.client(&shadow, Who::Minio, Protocol::H1).await;
        servers.old.process().kill();
        let failed = client.send("GET", "/v1/status", "").await;
        assert_eq!(failed.error(), (502, "key server is not reachable".to_owned()));
        let gone = shadow.wait_for("that it is gone", |line| line["event"] == "no_answer");
        assert_eq!(gone["server"], "old");
    });
}

/// Each client is asked for in its own name, with a credential of its own.
#[test]
fn clients_keep_their_identities_and_rights() {
    harness::run(async {
        let servers = Servers::with_keys(&[NAME]).await;
        // No policy names the third one.
        let third = Credentials::new(&["client"]);
        for (name, who) in [("admin", &servers.old.admin), ("third", &third)] {
            let pem = who.key_pem.clone() + &who.certificate_pem;
            std::fs::write(servers.old.file(&format!("{name}.pem")), pem).unwrap();
        }
        let clients = format!(
            "{}=admin.pem, {}=third.pem, {}",
            servers.old.admin.identity, third.identity, servers.old.minio.identity
        );
        let mut shadow = servers.shadow(Who::Minio, &["--client", &clients]);
        let stranger = Credentials::new(&["client"]);
        let forged = servers.old.admin.escaped_certificate();
        let headers = [("x-tls-client-cert", forged.as_str()), ("x-forwarded-for", "198.51.100.7")];
        const SELF: &str = "/v1/identity/self/describe";
        for protocol in [Protocol::H1, Protocol::H2] {
            for (who, allowed) in [
                (&servers.old.admin, [200, 200]),
                (&servers.old.minio, [200, 403]),
                (&third, [403, 403]),
            ] {
                let mut client = shadow.client(&servers.old.tls, Some(who), protocol).await;
                let reply = client.try_send("GET", SELF, &headers, Bytes::new()).await.unwrap();
                assert_eq!(reply.json()["identity"], who.identity);
                let statuses = [
                    client.send("GET", "/v1/status", "").await.status,
                    client.send("GET", "/v1/policy/list/", "").await.status,
                ];
                assert_eq!(statuses, allowed);
            }
            let mut client = shadow.client(&servers.old.tls, Some(&stranger), protocol).await;
            let refused = client.try_send("GET", SELF, &headers, Bytes::new()).await.unwrap();
            let message = "not authorized: insufficient permissions";
            assert_eq!(refused.error(), (403, message.to_owned()));
            assert_eq!(client.send("GET", "/version", "").await.status, 200);
            let mut client = shadow.client(&servers.old.tls, None, protocol).await;
            let refused = client.try_send("GET", SELF, &headers, Bytes::new()).await.unwrap();
            let message = "tls: client certificate is required";
            assert_eq!(refused.error(), (400, message.to_owned()));
        }
        shadow.wait_for("the stranger", |line| line["event"] == "stranger");
        assert!(!shadow.stdout().contains(&stranger.identity));
        let summary = shadow.end();
        assert_eq!(summary["different"], 0, "{}", shadow.stdout());
    });
}

/// Both servers take the shadow for a TLS proxy: it needs no credential of a client.
#[test]
fn as_a_proxy_it_serves_everybody_and_nobody_gains_by_a_header() {
    harness::run(async {
        let servers = Servers::with_keys(&[NAME]).await;
        let mut shadow = servers.shadow(Who::Other, &["--proxy", "--stores", "separate"]);
        let forged = servers.old.admin.escaped_certificate();
        let headers = [("x-tls-client-cert", forged.as_str()), ("x-forwarded-for", "198.51.100.7")];
        const SELF: &str = "/v1/identity/self/describe";
        for protocol in [Protocol::H1, Protocol::H2] {
            for who in [Who::Admin, Who::Minio] {
                let mut client = servers.client(&shadow, who, protocol).await;
                let own = &servers.old.credentials(who).unwrap().identity;
                let reply = client.try_send("GET", SELF, &headers, Bytes::new()).await.unwrap();
                assert_eq!(&reply.json()["identity"], own, "{who:?}");
                use_key(&mut client, NAME).await;
            }
            let stranger = Credentials::new(&["client"]);
            let mut client = shadow.client(&servers.old.tls, Some(&stranger), protocol).await;
            let refused =
                client.try_send("GET", "/v1/status", &headers, Bytes::new()).await.unwrap();
            assert_eq!(refused.status, 403);
            let mut client = shadow.client(&servers.old.tls, None, protocol).await;
            let refused = client.try_send("GET", SELF, &headers, Bytes::new()).await.unwrap();
            assert_eq!(refused.status, 400);
        }
        let summary = shadow.end();
        assert_eq!(summary["different"], 0, "{}", shadow.stdout());
        assert!(!servers.old.stdout().contains("198.51.100.7"));
        assert_tells_nothing(&shadow, &servers);
    });
}

/// The servers would believe a header of this credential: no client's own header gets there.
#[test]
fn a_header_of_a_client_does_not_reach_servers_that_would_believe_it() {
    harness::run(async {
        let servers = Servers::with_keys(&[NAME]).await;
        let minio = servers.old.minio.identity.clone();
        let shadow = servers.shadow(Who::Other, &["--client", &minio]);
        let forged = servers.old.admin.escaped_certificate();
        for protocol in [Protocol::H1, Protocol::H2] {
            let mut client = servers.client(&shadow, Who::Minio, protocol).await;
            for name in ["x-tls-client-cert", "X-Tls-Client-Cert"] {
                let headers = [(name, forged.as_str())];
                let path = "/v1/policy/list/";
                let refused = client.try_send("GET", path, &headers, Bytes::new()).await.unwrap();
                let message = "tls: client certificate is required";
                assert_eq!(refused.error(), (400, message.to_owned()));
            }
        }
    });
}

/// Both servers use one Vault, as in a week beside the old server.
#[test]
fn a_key_of_a_shared_store_is_created_once_and_found_by_both() {
    harness::run(async {
        let bao = Bao::start();
        let role = bao.root().set_up().kv("kv", 2).app_role();
        let keystore = format!(
            "{{ vault: {{ endpoint: \"{}\", engine: kv, version: v2, approle: {{ id: \"{}\", \
             secret: \"{}\" }} }} }}",
            bao.url(),
            role.role_id,
            role.secret_id
        );
        let old = Server::with(&config().with("keystore", &keystore));
        let same = config()
            .with("admin", &format!("{{ identity: \"{}\" }}", old.admin.identity))
            .with("policy", &policy(&old.minio.identity))
            .with("keystore", &keystore);
        let servers = Servers { new: Server::with(&same), old };
        let mut shadow = servers.shadow(Who::Minio, &[]);
        let mut client = servers.client(&shadow, Who::Minio, Protocol::H2).await;
        let create = format!("/v1/key/create/{NAME}");
        assert_eq!(client.send("PUT", &create, "").await.status, 200);
        let exists = client.send("PUT", &create, "").await;
        assert_eq!(exists.error(), (400, "key already exists".to_owned()));
        use_key(&mut client, NAME).await;
        // Once the new server must know it.
        shadow.wait_for("the new key is compared", |line| {
            line["event"] == "summary" && count(line, "CreateKey", "equal") == 1
        });
        use_key(&mut client, NAME).await;
        let summary = shadow.end();
        assert_eq!(summary["different"], 0, "{}", shadow.stdout());
        assert_eq!(count(&summary, "CreateKey", "equal"), 1, "{summary}");
        assert_eq!(summary["operations"]["CreateKey"]["not_compared"]["change"], 1, "{summary}");
        assert_eq!(summary["operations"]["GenerateKey"]["not_compared"]["changed_lately"], 1);
        assert_eq!(count(&summary, "GenerateKey", "equal"), 1, "{summary}");
        assert_eq!(count(&summary, "CrossDecryption", "equal"), 1, "{summary}");
        assert_tells_nothing(&shadow, &servers);
    });
}

#[test]
fn of_two_stores_both_are_changed_but_for_new_keys() {
    harness::run(async {
        let servers = Servers::with_keys(&[NAME]).await;
        let mut shadow = servers.shadow(Who::Admin, &["--stores", "separate"]);
        let mut client = servers.client(&shadow, Who::Admin, Protocol::H1).await;
        let key = json!({ "key": BASE64.encode_to_string([7; 32]), "cipher": "AES256" });
        let import = client.send("PUT", "/v1/key/import/imported", &key.to_string()).await;
        assert_eq!(import.status, 200);
        use_key(&mut client, "imported").await;
        assert_eq!(client.send("DELETE", &format!("/v1/key/delete/{NAME}"), "").await.status, 200);
        assert_eq!(client.send("PUT", "/v1/key/create/created", "").await.status, 200);
        let summary = shadow.end();
        assert_eq!(summary["different"], 0, "{}", shadow.stdout());
        let keys = |server: &Server| {
            let mut names: Vec<String> = std::fs::read_dir(server.file("keys"))
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .filter(|name| !name.starts_with('.'))
                .collect();
            names.sort();
            names
        };
        assert_eq!(keys(&servers.old), ["created", "imported"]);
        eventually(PATIENCE, "both are changed", || keys(&servers.new) == ["imported"]);
    });
}

/// With more requests under way than can be compared.
#[test]
fn what_is_deleted_from_one_of_two_stores_is_deleted_from_both() {
    harness::run(async {
        let servers = Servers::with_keys(&[NAME, "unused"]).await;
        let shadow = servers.shadow(Who::Admin, &["--stores", "separate"]);
        let mut client = servers.client(&shadow, Who::Admin, Protocol::H2).await;
        use_key(&mut client, NAME).await;
        servers.new.signal(Signal::STOP);
        for _ in 0..150 {
            use_key(&mut client, NAME).await;
        }
        assert_eq!(client.send("DELETE", "/v1/key/delete/unused", "").await.status, 200);
        servers.new.signal(Signal::CONT);
        assert!(!servers.old.file("keys/unused").exists());
        eventually(PATIENCE, "both are changed", || !servers.new.file("keys/unused").exists());
    });
}

#[test]
fn a_log_is_followed_and_large_bodies_pass() {
    harness::run(async {
        let servers = Servers::with_keys(&[NAME]).await;
        let mut shadow = servers.shadow(Who::Minio, &["--stores", "separate"]);
        let mut follower = servers.client(&shadow, Who::Minio, Protocol::H2).await;
        let stream = follower.open("GET", "/v1/log/audit", &[], Bytes::new()).await.unwrap();
        assert_eq!(stream.status(), 200);
        let mut lines = stream.into_body();
        for protocol in [Protocol::H1, Protocol::H2] {
            let mut client = servers.client(&shadow, Who::Minio, protocol).await;
            let plaintext = BASE64.encode_to_string(vec![7; 700_000]);
            let body = json!({ "plaintext": plaintext }).to_string();
            let path = format!("/v1/key/encrypt/{NAME}");
            let encrypted = client.send("PUT", &path, &body).await;
            assert_eq!(encrypted.status, 200);
            let pieces = body.as_bytes().chunks(10_000).map(Bytes::copy_from_slice);
            assert_eq!(client.send_pieces("PUT", &path, pieces).await.status, 200);
            let body = encrypted.json().to_string();
            let decrypted = client.send("PUT", &format!("/v1/key/decrypt/{NAME}"), &body).await;
            assert_eq!(decrypted.json()["plaintext"], plaintext);
            let refused = client.send("PUT", &path, &"x".repeat(1_500_000)).await;
            assert_eq!(refused.error(), (413, "request body is too large".to_owned()));
        }
        let mut followed = String::new();
        while !followed.contains("/v1/key/encrypt/") {
            let frame = tokio::time::timeout(PATIENCE, lines.frame()).await.unwrap();
            let line = frame.unwrap().unwrap().into_data().unwrap();
            followed.push_str(&String::from_utf8_lossy(&line));
        }
        drop(lines);
        drop(follower);
        let summary = shadow.end();
        assert_eq!(summary["different"], 0, "{}", shadow.stdout());
        assert_eq!(count(&summary, "EncryptKey", "equal"), 6, "{summary}");
        assert_eq!(count(&summary, "DecryptKey", "equal"), 2, "{summary}");
    });
}

/// `*` is no path.
#[test]
fn a_request_for_the_server_as_a_whole_is_answered_as_by_the_server() {
    async fn ask(address: &str, server: &Server) -> Vec<String> {
        let mut raw = Raw::connect_at(address, server, Who::Minio).await;
        raw.write("OPTIONS * HTTP/1.1\r\nhost: key-server\r\n\r\n").await;
        let answer = raw.head().await;
        let (head, _) = answer.split_once("\r\n\r\n").unwrap();
        let head = head.lines().map(str::to_owned);
        head.filter(|line| !line.starts_with("date:")).collect()
    }
    harness::run(async {
        let servers = Servers::with_keys(&[]).await;
        let own = ask(&servers.old.address, &servers.old).await;
        assert_eq!(own[0], "HTTP/1.1 404 Not Found", "{own:?}");
        let mut shadow = servers.shadow(Who::Minio, &[]);
        assert_eq!(ask(&shadow.address, &servers.old).await, own);
        let summary = shadow.end();
        assert_eq!(summary["operations"]["Other"]["not_compared"]["no_route"], 1, "{summary}");

        // One that speaks HTTP/1.1 alone, and refuses what it does not know.
        let old = &servers.old;
        let http1 = fake::start(old, Arc::new(Vec::new())).await;
        let shadow = Running::start(old, &http1, &servers.new, Who::Minio, &[]);
        assert_eq!(ask(&shadow.address, old).await[0], "HTTP/1.1 403 Forbidden");
    });
}

/// The old server is one that answers what was recorded from the reference.
#[test]
#[cfg_attr(feature = "fips", ignore = "a FIPS build says what it is")]
fn the_reference_differs_from_this_server_as_documented_alone() {
    harness::run(async {
        let recorded: Vec<Value> = serde_json::from_str(include_str!("data/answers.json")).unwrap();
        let recorded = Arc::new(recorded);
        let server = Server::start();
        let reference = fake::start(&server, Arc::clone(&recorded)).await;
        for name in ["admin", "minio", "other"] {
            let read =
                |end: &str| std::fs::read_to_string(server.file(&format!("{name}.{end}"))).unwrap();
            std::fs::write(server.file(&format!("{name}.pem")), read("key") + &read("crt"))
                .unwrap();
        }
        let clients =
            [("admin", &server.admin), ("minio", &server.minio), ("other", &server.other)]
                .map(|(name, who)| format!("{}={name}.pem", who.identity))
                .join(",");
        let args = ["--stores", "separate", "--answer", "new", "--client", &clients];
        let mut shadow = Running::start(&server, &reference, &server, Who::Nobody, &args);
        let mut kept = std::collections::HashMap::from([
            ("ai".to_owned(), server.admin.identity.clone()),
            ("mi".to_owned(), server.minio.identity.clone()),
            ("oi".to_owned(), server.other.identity.clone()),
        ]);
        for (number, request) in recorded.iter().enumerate() {
            let who = match request["as"].as_str().unwrap() {
                "admin" => Who::Admin,
                "minio" => Who::Minio,
                _ => Who::Other,
            };
            let mut client =
                shadow.client(&server.tls, server.credentials(who), Protocol::H1).await;
            let text = |field: &str| {
                let text = request[field].as_str().unwrap_or_default().to_owned();
                kept.iter()
                    .fold(text, |text, (name, value)| text.replace(&format!("${{{name}}}"), value))
            };
            let agent = format!("recorded-{number}");
            let headers = [("user-agent", agent.as_str())];
            let (method, path, body) = (text("method"), text("path"), text("body"));
            let reply = client.try_send(&method, &path, &headers, body.into()).await.unwrap();
            assert_eq!(Some(u64::from(reply.status)), request["answer"]["status"].as_u64());
            for (name, field) in request["keep"].as_object().into_iter().flatten() {
                let value = reply.json()[field.as_str().unwrap()].as_str().unwrap().to_owned();
                kept.insert(name.clone(), value);
            }
        }
        let summary = shadow.end();
        let differences = shadow.differences();
        // The recorded server has no keys: its plaintexts and ciphertexts are made up.
        let is_made_up =
            |line: &&Value| line["differs"] == "value" || line["differs"] == "cross_decryption";
        let unexpected: Vec<_> = differences.iter().filter(|line| !is_made_up(line)).collect();
        assert!(unexpected.is_empty(), "{unexpected:#?}");
        assert!(count(&summary, "DescribeKey", "equal") > 0, "{summary}");
        assert!(count(&summary, "GenerateKey", "equal") > 0, "{summary}");
        assert!(count(&summary, "ListKeys", "equal") > 0, "{summary}");
        assert!(count(&summary, "ReadPolicy", "equal") > 0, "{summary}");
    });
}

#[test]
fn tools_work_through_it_and_its_certificate_can_be_renewed() {
    harness::run(async {
        let servers = Servers::with_keys(&[NAME]).await;
        let mut shadow = servers.shadow(Who::Minio, &["--stores", "separate"]);
        let url = format!("https://{}", shadow.address);
        let kes = |args: &[&str]| {
            let mut command = servers.old.command(Who::Minio, args);
            let output = command
                .env("KES_SERVER", &url)
                .env("KES_CAPATH", servers.old.file("server.crt"))
                .output()
                .unwrap();
            let text = |bytes| String::from_utf8(bytes).unwrap();
            assert!(output.status.success(), "{}", text(output.stderr));
            text(output.stdout)
        };
        assert!(kes(&["key", "ls"]).contains(NAME));
        let made: Value = serde_json::from_str(&kes(&["key", "dek", NAME])).unwrap();
        let ciphertext = made["ciphertext"].as_str().unwrap();
        let decrypted: Value =
            serde_json::from_str(&kes(&["key", "decrypt", NAME, ciphertext])).unwrap();
        assert_eq!(decrypted["plaintext"], made["plaintext"]);
        let curl = |version: &str| {
            let output = std::process::Command::new("curl")
                .args(["--silent", "--show-error", version, "--cacert", "server.crt"])
                .args(["--cert", "minio.crt", "--key", "minio.key", "-X", "PUT", "-d", "{}"])
                .arg(format!("{url}/v1/key/generate/{NAME}"))
                .current_dir(servers.old.folder())
                .output()
                .unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8(output.stdout).unwrap()
        };
        for version in ["--http1.1", "--http2"] {
            assert!(curl(version).contains("ciphertext"));
        }
        // What is no certificate changes nothing.
        let renewed = Credentials::new(&["127.0.0.1"]);
        std::fs::write(servers.old.file("server.crt"), "no certificate").unwrap();
        shadow.process().signal(Signal::HUP);
        eventually(PATIENCE, "the warning", || shadow.stderr().contains("was not read again"));
        let mut client = servers.client(&shadow, Who::Minio, Protocol::H1).await;
        assert_eq!(client.send("GET", "/version", "").await.status, 200);
        std::fs::write(servers.old.file("server.key"), &renewed.key_pem).unwrap();
        std::fs::write(servers.old.file("server.crt"), &renewed.certificate_pem).unwrap();
        shadow.process().signal(Signal::HUP);
        eventually_connects(&shadow, &renewed, &servers.old.minio).await;
        let summary = shadow.end();
        assert_eq!(summary["different"], 0, "{}", shadow.stdout());
    });
}

/// Waits until the shadow serves with a certificate.
async fn eventually_connects(shadow: &Running, tls: &Credentials, who: &Credentials) {
    kes_testkit::wait::eventually_async(PATIENCE, "the new certificate is served", async || {
        Client::connect(&shadow.address, &tls.certificate, Some(who), Protocol::H1).await.is_ok()
    })
    .await;
}

#[test]
fn a_wrong_command_line_says_what_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    let all = ["--to", "a:1", "--new", "b:1", "--key", "none.key", "--cert", "none.crt"];
    for (args, expected) in [
        (vec![], "no old server: --to"),
        (all[..2].to_vec(), "no new server: --new"),
        (all[..4].to_vec(), "no private key: --key"),
        (all[..6].to_vec(), "no certificate: --cert"),
        (all.to_vec(), "open none.key: no such file or directory"),
        ([&all[..], &["--answer", "both"]].concat(), "--answer"),
        ([&all[..], &["--client", "minio"]].concat(), "64 hexadecimal digits"),
        ([&all[..], &["--summary", "0s"]].concat(), "--summary is 0"),
        (
            [&all[..], &["--proxy", "--client", &"0".repeat(64)]].concat(),
            "--proxy and --client are both specified",
        ),
    ] {
        let mut command = Process::command(&program());
        command.arg("shadow").args(&args).current_dir(folder.path()).stdin(Stdio::null());
        let output = command.output().unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{args:?}");
        assert!(told.contains(expected), "{args:?}: {told}");
    }
}
