//! Keys at rest (contract `crypto-and-storage.md`): what the reference wrote is read, and what is
//! written can be read by it.

use std::os::unix::fs::PermissionsExt as _;

use prost::Message;
use serde_json::{Value, json};

use crate::harness::{self, BASE64, Client, Config, Protocol, Server, StoredKey, Vectors, Who};

/// The stored key as the contract has it, for a decoder that shares nothing with ours.
#[derive(Clone, PartialEq, Message)]
struct KeyVersion {
    #[prost(message, optional, tag = "1")]
    key: Option<SecretKey>,
    #[prost(message, optional, tag = "2")]
    hmac_key: Option<HmacKey>,
    #[prost(message, optional, tag = "3")]
    created_at: Option<Timestamp>,
    #[prost(string, tag = "4")]
    created_by: String,
}

#[derive(Clone, PartialEq, Message)]
struct SecretKey {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
    #[prost(uint32, tag = "2")]
    r#type: u32,
}

#[derive(Clone, PartialEq, Message)]
struct HmacKey {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
    #[prost(uint32, tag = "2")]
    hash: u32,
}

#[derive(Clone, PartialEq, Message)]
struct Timestamp {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

/// The secret key and the HMAC key of a key that a server has written.
pub(crate) fn secrets(server: &Server, name: &str) -> [Vec<u8>; 2] {
    let version = decoded(server, name);
    [version.key.unwrap().key, version.hmac_key.unwrap().key]
}

fn server() -> Server {
    Server::prepared(&Config::usual(), |folder| Vectors::read().store(folder))
}

#[test]
#[cfg_attr(feature = "fips", ignore = "a FIPS build refuses ChaCha20")]
fn every_stored_key_is_read_with_what_is_known_of_it() {
    harness::run(async {
        let server = server();
        let mut client = server.client(Who::Admin, Protocol::H2).await;
        let keys = Vectors::read().stored_keys;
        assert_eq!(keys.len(), 7);
        for key in keys {
            let path = format!("/v1/key/describe/{}", key.name);
            let expected = json!({
                "name": key.name, "algorithm": key.algorithm,
                "created_at": key.created_at, "created_by": key.created_by,
            });
            let mut described = client.send("GET", &path, "").await.json();
            for ours in ["fingerprint", "uses_known_since"] {
                assert!(described.as_object_mut().unwrap().remove(ours).is_some());
            }
            assert_eq!(described, expected);
            let reply = client
                .send("PUT", &format!("/v1/key/hmac/{}", key.name), r#"{"message":"bWVzc2FnZQ=="}"#)
                .await;
            assert_eq!(key.hmac.is_some(), key.hmac_key.is_some(), "{}", key.name);
            match key.hmac {
                Some(tag) => {
                    assert_eq!(tag.message, "bWVzc2FnZQ==");
                    assert_eq!(reply.json(), json!({ "hmac": tag.tag }), "{}", key.name);
                }
                None => assert_eq!(reply.status, 409, "{}", key.name),
            }
        }
    });
}

#[test]
#[cfg_attr(feature = "fips", ignore = "a FIPS build refuses ChaCha20")]
fn every_ciphertext_is_decrypted_and_none_that_was_changed() {
    harness::run(async {
        let server = server();
        let mut client = server.client(Who::Admin, Protocol::H2).await;
        let ciphertexts = Vectors::read().ciphertexts;
        assert_eq!(ciphertexts.len(), 36);
        for vector in ciphertexts {
            let path = format!("/v1/key/decrypt/{}", vector.key);
            let what = format!("{} of {}", vector.form, vector.key);
            let body = json!({ "ciphertext": vector.ciphertext, "context": vector.context });
            let reply = client.send("PUT", &path, &body.to_string()).await;
            assert_eq!(reply.json(), json!({ "plaintext": vector.plaintext }), "{what}");

            let mut bytes = BASE64.decode_to_vec(&vector.ciphertext).unwrap();
            *bytes.last_mut().unwrap() ^= 1;
            let body =
                json!({ "ciphertext": BASE64.encode_to_string(bytes), "context": vector.context });
            let reply = client.send("PUT", &path, &body.to_string()).await;
            let message = "decryption failed: ciphertext is not authentic".to_owned();
            assert_eq!(reply.error(), (400, message.clone()), "{what}");

            let context = BASE64.encode_to_string(
                [&BASE64.decode_to_vec(&vector.context).unwrap()[..], b"x"].concat(),
            );
            let body = json!({ "ciphertext": vector.ciphertext, "context": context });
            let reply = client.send("PUT", &path, &body.to_string()).await;
            assert_eq!(reply.error(), (400, message), "{what}");
        }
    });
}

/// Reads a key file as the reference would, and checks what has to stand in it.
fn decoded(server: &Server, name: &str) -> KeyVersion {
    let file = server.file("keys").join(name);
    let mode = std::fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o600, "{name}");
    let text = std::fs::read_to_string(&file).unwrap();
    let version = KeyVersion::decode(&*BASE64.decode_to_vec(&text).unwrap()).unwrap();
    // Nothing but the fields that are known, each in its place.
    assert_eq!(BASE64.encode_to_string(version.encode_to_vec()), text, "{name}");
    version
}

#[test]
#[cfg_attr(feature = "fips", ignore = "a FIPS build refuses ChaCha20")]
fn what_is_written_can_be_read_by_another() {
    harness::run(async {
        let server = Server::start();
        let mut client = server.client(Who::Admin, Protocol::H1).await;
        let vector = Vectors::read().key("vec-chacha20").clone();
        let import = json!({ "key": vector.key, "cipher": "ChaCha20" }).to_string();
        for (path, body) in [
            ("/v1/key/create/created", ""),
            ("/v1/key/create/another", ""),
            ("/v1/key/import/imported", import.as_str()),
        ] {
            assert_eq!(client.send("PUT", path, body).await.status, 200);
        }
        let [created, another, imported] =
            ["created", "another", "imported"].map(|name| decoded(&server, name));
        assert_eq!(imported.key.as_ref().unwrap().r#type, 2);
        assert_eq!(BASE64.encode_to_string(&imported.key.as_ref().unwrap().key), vector.key);
        let mut secrets = std::collections::HashSet::new();
        for (name, version) in
            [("created", &created), ("another", &another), ("imported", &imported)]
        {
            let described =
                client.send("GET", &format!("/v1/key/describe/{name}"), "").await.json();
            let (key, hmac) = (version.key.as_ref().unwrap(), version.hmac_key.as_ref().unwrap());
            let algorithm = ["", "AES256", "ChaCha20"][key.r#type as usize];
            assert_eq!(described["algorithm"], algorithm, "{name}");
            assert_eq!((key.key.len(), hmac.key.len(), hmac.hash), (32, 32, 1), "{name}");
            assert!(secrets.insert(key.key.clone()) && secrets.insert(hmac.key.clone()), "{name}");
            assert_eq!(version.created_by, server.admin.identity, "{name}");
            let at = version.created_at.as_ref().unwrap();
            let told =
                kes_api::Timestamp::parse(described["created_at"].as_str().unwrap()).unwrap();
            assert_eq!(told.unix_seconds(), at.seconds, "{name}");
            assert_eq!(i64::from(told.subsecond_nanos()), i64::from(at.nanos), "{name}");
        }

        // An HMAC by the stored HMAC key, computed by another implementation.
        let reply = client.send("PUT", "/v1/key/hmac/created", r#"{"message":"aGk="}"#).await;
        let tag = hmac_sha256(&created.hmac_key.unwrap().key, b"hi");
        assert_eq!(reply.json(), json!({ "hmac": BASE64.encode_to_string(tag) }));
        // The keys, and the marker of the folder.
        assert_eq!(std::fs::read_dir(server.file("keys")).unwrap().count(), 4, "no file is left");
    });
}

/// With OpenSSL: it shares no code with the server.
fn hmac_sha256(key: &[u8], message: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    use std::process::{Command, Stdio};
    let hex: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut openssl = Command::new("openssl")
        .args(["dgst", "-sha256", "-mac", "HMAC", "-binary", "-macopt", &format!("hexkey:{hex}")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("openssl is needed for this test");
    openssl.stdin.take().unwrap().write_all(message).unwrap();
    let output = openssl.wait_with_output().unwrap();
    assert!(output.status.success(), "openssl cannot compute an HMAC");
    output.stdout
}

/// What is known of `k`, without its last use, which a server knows of itself alone.
async fn described(client: &mut Client) -> Value {
    let mut described = client.send("GET", "/v1/key/describe/k", "").await.json();
    let fields = described.as_object_mut().unwrap();
    for own in ["last_used_at", "last_used_by", "uses_known_since"] {
        fields.remove(own);
    }
    described
}

#[test]
fn a_key_outlives_the_server_that_made_it() {
    harness::run(async {
        let mut server = Server::start();
        let mut client = server.client(Who::Admin, Protocol::H1).await;
        assert_eq!(client.send("PUT", "/v1/key/create/k", "").await.status, 200);
        let answer = client.send("PUT", "/v1/key/generate/k", "").await.json();
        let before = described(&mut client).await;
        server.restart();
        let mut client = server.client(Who::Admin, Protocol::H1).await;
        assert_eq!(described(&mut client).await, before);
        let body = json!({ "ciphertext": answer["ciphertext"] }).to_string();
        let reply = client.send("PUT", "/v1/key/decrypt/k", &body).await;
        assert_eq!(reply.json(), json!({ "plaintext": answer["plaintext"] }));
    });
}

#[test]
fn a_damaged_key_is_told_and_does_not_touch_the_others() {
    harness::run(async {
        let server = server();
        let mut client = server.client(Who::Admin, Protocol::H1).await;
        let good = Vectors::read().key("vec-aes256").clone();
        let half = &good.value[..good.value.len() / 2];
        let json_half = &Vectors::read().key("json-aes256").value[..60].to_owned();
        let short_key = KeyVersion {
            key: Some(SecretKey { key: vec![7; 31], r#type: 1 }),
            ..KeyVersion::decode(&*BASE64.decode_to_vec(&good.value).unwrap()).unwrap()
        };
        let strange = KeyVersion {
            key: Some(SecretKey { key: vec![7; 32], r#type: 9 }),
            ..short_key.clone()
        };
        let damaged = [
            ("half", half.to_owned()),
            ("half-json", json_half.clone()),
            ("empty", String::new()),
            ("text", "no stored key".to_owned()),
            ("short", BASE64.encode_to_string(short_key.encode_to_vec())),
            ("strange", BASE64.encode_to_string(strange.encode_to_vec())),
            ("no-object", "[1]".to_owned()),
        ];
        for (name, value) in &damaged {
            StoredKey { value: value.clone(), ..good.clone() }.store(server.folder(), name);
        }
        std::fs::write(server.file("keys").join("bytes"), [0xff; 100]).unwrap();
        for name in damaged.iter().map(|(name, _)| *name).chain(["bytes"]) {
            for (method, api) in [("GET", "describe"), ("PUT", "generate"), ("PUT", "hmac")] {
                let reply = client.send(method, &format!("/v1/key/{api}/{name}"), "{}").await;
                assert_eq!(reply.error(), (502, "failed to read key".to_owned()), "{api} {name}");
            }
            server.wait_for_stderr(&format!("'{name}'"));
            let exists = client.send("PUT", &format!("/v1/key/create/{name}"), "").await;
            assert_eq!(exists.error(), (400, "key already exists".to_owned()), "{name}");
        }
        let stderr = server.stderr();
        for (name, value) in &damaged {
            let line = stderr.lines().find(|line| line.contains(&format!("'{name}'"))).unwrap();
            assert!(line.contains(" level=ERROR ") && line.contains("damaged"), "{line}");
            assert!(value.len() < 8 || !stderr.contains(&value[..8]), "bytes of the key are told");
        }

        // Others go on, and a damaged one can be deleted and listed.
        assert_eq!(client.send("PUT", "/v1/key/generate/vec-aes256", "").await.status, 200);
        let listed = client.send("GET", "/v1/key/list/half*", "").await.json();
        assert_eq!(listed["names"], json!(["half", "half-json"]));
        assert_eq!(client.send("DELETE", "/v1/key/delete/half", "").await.status, 200);
        assert_eq!(client.send("PUT", "/v1/key/create/half", "").await.status, 200);
        assert_eq!(client.send("PUT", "/v1/key/generate/half", "").await.status, 200);
    });
}
