//! What is secret shows nowhere but in the answer that it was asked for: not in a reply, a log
//! line, a stream, the metrics, an error, nor in what the system tells of the process.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use http_body_util::BodyExt as _;
use hyper::body::Bytes;
use kes_testkit::wait;
use serde_json::json;

use crate::harness::{self, BASE64, Client, Config, Protocol, Reply, Server, Who};

/// Passwords and tokens of the configuration.
mod configuration;

/// What the system shows of the process, and what stays in its memory.
mod process;

/// How much is left of a key in memory when it was deleted.
mod remains;

/// How long something may take that has to happen before a test fails.
const PATIENCE: Duration = Duration::from_secs(20);

/// A secret that is recognised wherever it comes up.
#[derive(Clone)]
struct Mark {
    name: &'static str,
    bytes: Vec<u8>,
}

impl Mark {
    /// Fresh random bytes, so that no two tests or runs share one.
    fn random(name: &'static str, length: usize) -> Self {
        use std::hash::{BuildHasher as _, RandomState};
        let random = RandomState::new();
        let words = (0..).map(|n: u64| random.hash_one(n).to_le_bytes());
        Self { name, bytes: words.flatten().take(length).collect() }
    }

    /// Text without anything that has to be quoted or escaped.
    fn text(name: &'static str) -> Self {
        let bytes = hex(&Self::random(name, 16).bytes).into_bytes();
        Self { name, bytes }
    }

    fn base64(&self) -> String {
        BASE64.encode_to_string(&self.bytes)
    }

    fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes).unwrap()
    }

    /// Every form in which the secret could be told.
    fn forms(&self) -> Vec<Vec<u8>> {
        let mut forms = vec![
            self.bytes.clone(),
            hex(&self.bytes).into_bytes(),
            hex(&self.bytes).to_uppercase().into_bytes(),
            // As Rust and Go print bytes.
            self.bytes.iter().map(u8::to_string).collect::<Vec<_>>().join(", ").into_bytes(),
            self.bytes.iter().map(u8::to_string).collect::<Vec<_>>().join(" ").into_bytes(),
        ];
        // Base64 of it, wherever in a longer text it begins.
        for before in 0..3 {
            let padded = [&vec![0; before][..], &self.bytes].concat();
            for text in
                [BASE64.encode_to_string(&padded), base64_simd::URL_SAFE.encode_to_string(&padded)]
            {
                let start = (before * 8).div_ceil(6);
                let end = padded.len() * 8 / 6;
                forms.push(text.as_bytes()[start..end].to_vec());
            }
        }
        forms
    }

    fn stands_in(&self, text: &[u8]) -> bool {
        self.forms().iter().any(|form| find(text, form))
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn find(text: &[u8], part: &[u8]) -> bool {
    memchr::memmem::find(text, part).is_some()
}

/// Fails if one of the secrets stands in a text.
fn assert_silent(what: &str, text: &[u8], marks: &[Mark]) {
    for mark in marks {
        let told = mark.stands_in(text);
        assert!(!told, "{what} tells {}: {}", mark.name, String::from_utf8_lossy(text));
    }
}

#[test]
fn a_mark_is_found_in_every_form() {
    let mark = Mark::random("mark", 32);
    for before in 0..7 {
        let text = [&vec![9; before][..], &mark.bytes, b"after"].concat();
        for told in [
            text.clone(),
            hex(&text).into_bytes(),
            BASE64.encode_to_string(&text).into_bytes(),
            format!("{text:?}").into_bytes(),
        ] {
            assert!(mark.stands_in(&told));
            assert!(!Mark::random("other", 32).stands_in(&told));
        }
    }
}

/// Collects a stream for as long as the server tells.
async fn follow(server: &Server, path: &str) -> Arc<Mutex<Vec<u8>>> {
    let mut client = server.client(Who::Admin, Protocol::H1).await;
    let mut body = client.open("GET", path, &[], Bytes::new()).await.unwrap().into_body();
    let told = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&told);
    tokio::spawn(async move {
        let _client = client;
        while let Some(Ok(frame)) = body.frame().await {
            sink.lock().unwrap().extend_from_slice(frame.data_ref().unwrap());
        }
    });
    told
}

/// What a server must not tell, and what it was asked.
struct Work {
    marks: Vec<Mark>,
    /// Replies that must not hold any of it.
    replies: Vec<(String, Reply)>,
}

impl Work {
    async fn send(&mut self, client: &mut Client, method: &str, path: &str, body: &str) {
        let reply = client.send(method, path, body).await;
        self.replies.push((format!("{method} {path}"), reply));
    }
}

/// Everything that a client can do with a secret, well and badly.
async fn work(server: &Server, client: &mut Client) -> Work {
    let [key, long_key, plaintext, context, message] = [
        ("the imported key", 32),
        ("a key of a wrong size", 33),
        ("a plaintext", 40),
        ("a context", 24),
        ("a message", 24),
    ]
    .map(|(name, length)| Mark::random(name, length));
    let (k, l, p, c, m) =
        (key.base64(), long_key.base64(), plaintext.base64(), context.base64(), message.base64());
    let bad = Mark::text("base64 that is none");
    let mut work = Work {
        marks: vec![key, long_key, plaintext, context, message, bad.clone()],
        replies: Vec::new(),
    };

    let import = json!({ "key": k, "cipher": "AES256" }).to_string();
    work.send(client, "PUT", "/v1/key/import/k", &import).await;
    work.send(client, "PUT", "/v1/key/import/k", &import).await;
    work.send(client, "PUT", "/v1/key/import/-k", &import).await;
    work.send(client, "GET", "/v1/key/import/k", &import).await;
    for body in [
        json!({ "key": l, "cipher": "AES256" }).to_string(),
        json!({ "key": k, "cipher": "DES" }).to_string(),
        json!({ "key": [k], "cipher": "AES256" }).to_string(),
        format!(r#"{{"key":"{k}","cipher":"AES256"#),
        format!(r#"{{"key":"{k}*","cipher":"AES256"}}"#),
        format!(r#"{{"key":"{}*"}}"#, bad.as_str()),
        format!("{k}{l}"),
    ] {
        work.send(client, "PUT", "/v1/key/import/bad", &body).await;
    }

    let encrypt = json!({ "plaintext": p, "context": c }).to_string();
    let encrypted = client.send("PUT", "/v1/key/encrypt/k", &encrypt).await;
    let ciphertext = encrypted.json()["ciphertext"].as_str().unwrap().to_owned();
    work.replies.push(("encrypt".to_owned(), encrypted));
    let decrypt = json!({ "ciphertext": ciphertext, "context": c });
    let decrypted = client.send("PUT", "/v1/key/decrypt/k", &decrypt.to_string()).await;
    assert_eq!(decrypted.json(), json!({ "plaintext": p }));
    let bulk = json!([decrypt, decrypt]).to_string();
    let decrypted = client.send("PUT", "/v1/key/bulk/decrypt/k", &bulk).await;
    assert_eq!(decrypted.json()[1], json!({ "plaintext": p }));
    for (api, body) in [
        ("decrypt", json!({ "ciphertext": ciphertext, "context": p }).to_string()),
        ("decrypt", json!({ "ciphertext": p, "context": c }).to_string()),
        ("bulk/decrypt", json!([decrypt, { "ciphertext": ciphertext }]).to_string()),
        ("encrypt", format!(r#"{{"plaintext":"{p}","context":"{}""#, bad.as_str())),
        ("encrypt", format!(r#"{{"plaintext":"{}*"}}"#, bad.as_str())),
        ("encrypt", format!(r#"{{"plaintext":{{"{p}":"{c}"}}}}"#)),
        ("hmac", json!({ "message": m }).to_string()),
        ("hmac", format!(r#"{{"message":"{m}""#)),
    ] {
        work.send(client, "PUT", &format!("/v1/key/{api}/k"), &body).await;
    }
    let mut other = server.client(Who::Other, Protocol::H1).await;
    work.send(&mut other, "PUT", "/v1/key/encrypt/k", &encrypt).await;
    work.send(&mut other, "PUT", "/v1/key/import/new", &import).await;

    // A data key is told once, to who asked.
    let generated = client.send("PUT", "/v1/key/generate/k", "").await.json();
    let bytes = BASE64.decode_to_vec(generated["plaintext"].as_str().unwrap()).unwrap();
    work.marks.push(Mark { name: "a data key", bytes });

    // Keys that the server made, as they stand in the key store.
    work.send(client, "PUT", "/v1/key/create/made", "").await;
    for name in ["made", "k"] {
        let [secret, hmac] = crate::keys_at_rest::secrets(server, name);
        work.marks.push(Mark { name: "a secret key at rest", bytes: secret });
        work.marks.push(Mark { name: "an HMAC key at rest", bytes: hmac });
    }

    // Keys that are damaged in all manner of ways.
    let stored = std::fs::read_to_string(server.file("keys").join("made")).unwrap();
    let legacy = |algorithm: &str| {
        json!({ "bytes": k, "algorithm": algorithm, "created_at": "2022-05-01T10:00:00Z" })
            .to_string()
    };
    for (name, value) in [
        ("cut", stored[..stored.len() - 8].to_owned()),
        ("strange", stored.replace('a', "*")),
        ("legacy", legacy("DES")),
        ("legacy-time", legacy("AES256").replace("2022", "never")),
        ("legacy-cut", legacy("AES256")[..80].to_owned()),
        ("plain", k.clone()),
        ("text", bad.as_str().to_owned()),
    ] {
        std::fs::write(server.file("keys").join(name), value).unwrap();
        work.send(client, "PUT", &format!("/v1/key/generate/{name}"), "").await;
    }

    for path in
        ["/v1/key/describe/k", "/v1/key/list/", "/v1/metrics", "/v1/status", "/v1/api", "/version"]
    {
        work.send(client, "GET", path, "").await;
    }
    work.send(client, "DELETE", "/v1/key/delete/k", "").await;
    work.send(client, "PUT", "/v1/key/decrypt/k", &decrypt.to_string()).await;
    work
}

#[test]
fn keys_and_plaintexts_are_told_to_nobody_who_did_not_ask() {
    harness::run(async {
        for (protocol, format) in [(Protocol::H1, "text"), (Protocol::H2, "json")] {
            let log = format!("{{ error: debug, audit: debug, format: {format} }}");
            let server = Server::with(&Config::usual().with("log", &log));
            let audit = follow(&server, "/v1/log/audit").await;
            let errors = follow(&server, "/v1/log/error").await;
            let mut client = server.client(Who::Admin, protocol).await;
            let work = work(&server, &mut client).await;
            // What is told in both logs, after all else.
            std::fs::write(server.file("keys").join("the-end"), "no stored key").unwrap();
            assert_eq!(client.send("GET", "/v1/key/describe/the-end", "").await.status, 502);

            for (what, reply) in &work.replies {
                assert_silent(what, &reply.body, &work.marks);
                for value in reply.headers.values() {
                    assert_silent(what, value.as_bytes(), &work.marks);
                }
            }
            let told = |told: &Mutex<Vec<u8>>| find(&told.lock().unwrap(), b"the-end");
            wait::eventually(PATIENCE, "the last lines are streamed", || {
                told(&audit) && told(&errors)
            });
            let is_the_end = |text: String| text.contains("the-end") && text.ends_with('\n');
            wait::eventually(PATIENCE, "the last lines are written", || {
                is_the_end(server.stdout()) && is_the_end(server.stderr())
            });
            let errors = errors.lock().unwrap().clone();
            assert!(find(&errors, b"legacy-time"), "nothing was streamed");
            assert_silent("the audit stream", &audit.lock().unwrap(), &work.marks);
            assert_silent("the error stream", &errors, &work.marks);
            assert_silent("standard output", server.stdout().as_bytes(), &work.marks);
            assert_silent("standard error", server.stderr().as_bytes(), &work.marks);
        }
    });
}
