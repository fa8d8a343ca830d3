//! Bodies: how requests are read, and what the operations on keys answer.

use serde_json::json;

use crate::harness::{self, BASE64, Client, Protocol, Reply, Server, Vectors, Who};

const AES: &str = "vec-aes256";
const JSON_KEY: &str = "json-aes256";

/// A server with the keys of the vectors, and its admin.
async fn server(protocol: Protocol) -> (Server, Client) {
    let config = harness::Config::usual();
    let server = Server::prepared(&config, |folder| Vectors::read().store(folder));
    let client = server.client(Who::Admin, protocol).await;
    (server, client)
}

fn invalid() -> (u16, String) {
    (400, "invalid request body".to_owned())
}

/// What a ciphertext of the key [`AES`] says.
async fn decrypted(client: &mut Client, encrypted: &Reply) -> Vec<u8> {
    assert_eq!(encrypted.status, 200, "{encrypted:?}");
    let body = json!({ "ciphertext": encrypted.json()["ciphertext"] }).to_string();
    let reply = client.send("PUT", &format!("/v1/key/decrypt/{AES}"), &body).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    BASE64.decode_to_vec(reply.json()["plaintext"].as_str().unwrap()).unwrap()
}

#[test]
fn a_request_is_read_leniently() {
    harness::run(async {
        let (_server, mut client) = server(Protocol::H1).await;
        let path = format!("/v1/key/encrypt/{AES}");
        for (body, plaintext) in [
            (r#"{"plaintext":"aGk="}"#, "hi"),
            (r#"{"PLAINTEXT":"aGk="}"#, "hi"),
            (r#"{"PlainText":"aGk=","x":1}"#, "hi"),
            (r#"{"plaintext":"AAAA","plaintext":"aGk="}"#, "hi"),
            (r#"{"plaintext":"AAAA","Plaintext":"aGk="}"#, "hi"),
            (r#"{"plaintext":"aGk=","plaintext":null}"#, ""),
            (r#"{"plaintext":null}"#, ""),
            (r#"{"plaintext":""}"#, ""),
            ("{}", ""),
            ("null", ""),
            (r#"{"plaintext":"aGk=","context":null}"#, "hi"),
            (r#"{"version":"v1","plaintext":"aGk="}"#, "hi"),
            (r#"{"version":1,"plaintext":"aGk="}"#, "hi"),
            (r#"{"unknown":{"a":[1,{"b":null}]},"plaintext":"aGk="}"#, "hi"),
            (r#"{"plaintext":"aGk="} {"plaintext":"AAAA"}"#, "hi"),
            (r#"{"plaintext":"aGk="} no JSON"#, "hi"),
            (" \r\n\t{ \"plaintext\" : \"aGk=\" }\n", "hi"),
            (r#"{"plaintext":"aG\nk=\r\n"}"#, "hi"),
            (r#"{"plaintext":"\u0061Gk\u003d"}"#, "hi"),
        ] {
            let reply = client.send("PUT", &path, body).await;
            assert_eq!(decrypted(&mut client, &reply).await, plaintext.as_bytes(), "{body}");
        }
    });
}

#[test]
fn what_is_no_request_is_refused() {
    harness::run(async {
        let (_server, mut client) = server(Protocol::H1).await;
        for body in [
            "",
            " ",
            "no JSON",
            "{",
            r#"{"plaintext":"aGk=""#,
            "[]",
            "1",
            "true",
            r#""aGk=""#,
            r#"{"plaintext":1}"#,
            r#"{"plaintext":["aGk="]}"#,
            r#"{"plaintext":{"a":"aGk="}}"#,
            r#"{"plaintext":"***"}"#,
            r#"{"plaintext":"aGk"}"#,
            r#"{"plaintext":"aGk=="}"#,
            r#"{"plaintext":"aG k="}"#,
            r#"{"plaintext":"_-8="}"#,
            r#"{"plaintext":"aGk=","context":"*"}"#,
            "\u{feff}{}",
        ] {
            let reply = client.send("PUT", &format!("/v1/key/encrypt/{AES}"), body).await;
            assert_eq!(reply.error(), invalid(), "{body}");
        }
        for (api, body) in [
            ("decrypt", r#"{"ciphertext":"*"}"#),
            ("decrypt", ""),
            ("hmac", r#"{"message":"*"}"#),
            ("hmac", ""),
            ("generate", r#"{"context":"*"}"#),
            ("generate", "no JSON"),
            ("bulk/decrypt", r#"[{"ciphertext":"*"}]"#),
            ("bulk/decrypt", "{}"),
            ("bulk/decrypt", ""),
        ] {
            let reply = client.send("PUT", &format!("/v1/key/{api}/{AES}"), body).await;
            assert_eq!(reply.error(), invalid(), "{api} {body}");
        }
        for body in
            ["", "{", "[]", r#"{"key":"*","cipher":"AES256"}"#, r#"{"key":"AA==","cipher":1}"#]
        {
            let reply = client.send("PUT", "/v1/key/import/new", body).await;
            let expected = (400, "invalid import key request body".to_owned());
            assert_eq!(reply.error(), expected, "{body}");
        }
    });
}

#[test]
fn a_body_may_come_without_a_length_and_as_any_media_type() {
    harness::run(async {
        for protocol in [Protocol::H1, Protocol::H2] {
            let (_server, mut client) = server(protocol).await;
            let path = format!("/v1/key/encrypt/{AES}");
            let pieces = [r#"{"plain"#, r#"text":"a"#, "", r#"Gk="}"#].map(|piece| piece.into());
            let reply = client.send_pieces("PUT", &path, pieces).await;
            assert_eq!(decrypted(&mut client, &reply).await, b"hi");

            for media in
                ["application/json", "text/plain", "application/x-www-form-urlencoded", "?"]
            {
                let body = r#"{"plaintext":"aGk="}"#.into();
                let reply = client.try_send("POST", &path, &[("content-type", media)], body).await;
                assert_eq!(decrypted(&mut client, &reply.unwrap()).await, b"hi", "{media}");
            }

            // 1,000,000 bytes are within the limit, however they come.
            let plaintext = BASE64.encode_to_string([7; 749_000]);
            let body = format!(r#"{{"plaintext":"{plaintext}"}}"#);
            let body = format!("{body}{}", " ".repeat(1_000_000 - body.len()));
            let reply = client.send("PUT", &path, &body).await;
            assert_eq!(reply.status, 200);
            let pieces = body.as_bytes().chunks(9_999).map(|piece| piece.to_vec().into());
            let reply = client.send_pieces("PUT", &path, pieces).await;
            assert_eq!(reply.status, 200);
        }
    });
}

#[test]
#[cfg_attr(feature = "fips", ignore = "a FIPS build refuses ChaCha20")]
fn what_is_encrypted_comes_back_with_its_context_alone() {
    harness::run(async {
        let (_server, mut client) = server(Protocol::H2).await;
        for key in [AES, "vec-chacha20", JSON_KEY, "json-chacha20"] {
            let body = r#"{"plaintext":"aGk=","context":"Y3R4"}"#;
            let encrypted =
                client.send("PUT", &format!("/v1/key/encrypt/{key}"), body).await.json();
            let ciphertext = encrypted["ciphertext"].as_str().unwrap();
            assert_eq!(BASE64.decode_to_vec(ciphertext).unwrap().len(), 2 + 44, "{key}");
            assert_eq!(encrypted.as_object().unwrap().len(), 1);

            let path = format!("/v1/key/decrypt/{key}");
            let body = json!({ "ciphertext": ciphertext, "context": "Y3R4" }).to_string();
            let reply = client.send("PUT", &path, &body).await;
            assert_eq!(reply.json(), json!({ "plaintext": "aGk=" }), "{key}");
            for body in [
                json!({ "ciphertext": ciphertext }),
                json!({ "ciphertext": ciphertext, "context": "Y3R5" }),
                json!({ "ciphertext": "", "context": "Y3R4" }),
                json!({ "ciphertext": &ciphertext[4..], "context": "Y3R4" }),
                json!({}),
            ] {
                let reply = client.send("PUT", &path, &body.to_string()).await;
                let message = "decryption failed: ciphertext is not authentic".to_owned();
                assert_eq!(reply.error(), (400, message), "{key} {body}");
            }
        }
    });
}

#[test]
fn a_data_key_is_32_fresh_bytes() {
    harness::run(async {
        let (_server, mut client) = server(Protocol::H1).await;
        let path = format!("/v1/key/generate/{AES}");
        let mut seen = std::collections::HashSet::new();
        for body in ["", "{}", "null", r#"{"context":"Y3R4"}"#, r#"{"context":null}"#] {
            let reply = client.send("PUT", &path, body).await;
            assert_eq!(reply.status, 200, "{body}");
            assert_eq!(reply.header("content-type"), "application/json");
            let answer = reply.json();
            let plaintext = answer["plaintext"].as_str().unwrap().to_owned();
            assert_eq!(BASE64.decode_to_vec(&plaintext).unwrap().len(), 32, "{body}");
            let mut request = json!({ "ciphertext": answer["ciphertext"] });
            if body.contains("Y3R4") {
                request["context"] = json!("Y3R4");
            }
            let path = format!("/v1/key/decrypt/{AES}");
            let decrypted = client.send("PUT", &path, &request.to_string()).await.json();
            assert_eq!(decrypted, json!({ "plaintext": plaintext }), "{body}");
            assert!(seen.insert(plaintext), "a data key came twice");
        }
    });
}

#[test]
#[cfg_attr(feature = "fips", ignore = "a FIPS build refuses ChaCha20")]
fn an_imported_key_is_that_key_under_each_name_of_its_cipher() {
    harness::run(async {
        let server = Server::start();
        let mut client = server.client(Who::Admin, Protocol::H1).await;
        let vectors = Vectors::read();
        for (cipher, algorithm, source) in [
            ("AES256", "AES256", AES),
            ("AES256-GCM_SHA256", "AES256", AES),
            ("ChaCha20", "ChaCha20", "vec-chacha20"),
            ("XCHACHA20-POLY1305", "ChaCha20", "vec-chacha20"),
        ] {
            let body = json!({ "key": vectors.key(source).key, "cipher": cipher }).to_string();
            let path = format!("/v1/key/import/{cipher}");
            let reply = client.send("PUT", &path, &body).await;
            assert_eq!((reply.status, &*reply.body), (200, b"".as_slice()), "{cipher}");
            let described =
                client.send("GET", &format!("/v1/key/describe/{cipher}"), "").await.json();
            assert_eq!(described["algorithm"], algorithm);
            assert_eq!(described["created_by"], server.admin.identity);

            let mut tried = 0;
            for vector in vectors.ciphertexts.iter().filter(|vector| vector.key == source) {
                let body = json!({ "ciphertext": vector.ciphertext, "context": vector.context });
                let path = format!("/v1/key/decrypt/{cipher}");
                let reply = client.send("PUT", &path, &body.to_string()).await;
                assert_eq!(reply.json()["plaintext"], vector.plaintext, "{cipher} {}", vector.form);
                tried += 1;
            }
            assert!(tried > 3, "{tried} ciphertexts");

            // The HMAC key is a fresh one: not that of the vector, and not the same twice.
            let path = format!("/v1/key/hmac/{cipher}");
            let tag = vectors.key(source).hmac.clone().unwrap();
            let body = json!({ "message": tag.message }).to_string();
            let hmac = client.send("PUT", &path, &body).await.json();
            assert_ne!(hmac["hmac"], tag.tag);

            let again =
                client.send("PUT", &format!("/v1/key/import/{cipher}"), &body_of_32()).await;
            assert_eq!(again.error(), (400, "key already exists".to_owned()));
        }
    });
}

fn body_of_32() -> String {
    json!({ "key": BASE64.encode_to_string([1; 32]), "cipher": "AES256" }).to_string()
}

#[test]
fn an_import_of_something_else_is_refused() {
    harness::run(async {
        let server = Server::start();
        let mut client = server.client(Who::Admin, Protocol::H1).await;
        for cipher in ["", "aes256", "AES128", "DES", "AES256 ", "AES256\nx"] {
            let body =
                json!({ "key": BASE64.encode_to_string([1; 32]), "cipher": cipher }).to_string();
            let reply = client.send("PUT", "/v1/key/import/new", &body).await;
            let message = format!("algorithm '{cipher}' is not supported");
            assert_eq!(reply.error(), (406, message), "{cipher:?}");
        }
        for length in [0, 1, 16, 31, 33, 64] {
            let body =
                json!({ "key": BASE64.encode_to_string(vec![1; length]), "cipher": "AES256" });
            let reply = client.send("PUT", "/v1/key/import/new", &body.to_string()).await;
            assert_eq!(
                reply.error(),
                (406, "invalid key size for 'AES256'".to_owned()),
                "{length}"
            );
        }
        let missing = client.send("GET", "/v1/key/describe/new", "").await;
        assert_eq!(missing.error(), (404, "key does not exist".to_owned()));
    });
}

#[test]
#[cfg_attr(feature = "fips", ignore = "a FIPS build refuses ChaCha20")]
fn an_hmac_is_that_of_the_keys_own_hmac_key() {
    harness::run(async {
        let (_server, mut client) = server(Protocol::H1).await;
        let mut known = 0;
        for key in Vectors::read().stored_keys {
            let path = format!("/v1/key/hmac/{}", key.name);
            let Some(tag) = key.hmac else {
                let reply = client.send("PUT", &path, r#"{"message":"aGk="}"#).await;
                let message = "key does not support HMAC".to_owned();
                assert_eq!(reply.error(), (409, message), "{}", key.name);
                continue;
            };
            let body = json!({ "message": tag.message }).to_string();
            let reply = client.send("PUT", &path, &body).await;
            assert_eq!(reply.json(), json!({ "hmac": tag.tag }), "{}", key.name);
            known += 1;
        }
        assert_eq!(known, 2);
        let empty = client.send("PUT", &format!("/v1/key/hmac/{AES}"), "{}").await;
        assert_eq!(BASE64.decode_to_vec(empty.json()["hmac"].as_str().unwrap()).unwrap().len(), 32);
    });
}

#[test]
fn create_and_delete_say_whether_there_was_a_key() {
    harness::run(async {
        let server = Server::start();
        let mut client = server.client(Who::Admin, Protocol::H1).await;
        for _ in 0..2 {
            let created = client.send("PUT", "/v1/key/create/k", "").await;
            assert_eq!((created.status, created.body.len()), (200, 0));
            let again = client.send("PUT", "/v1/key/create/k", "").await;
            assert_eq!(again.error(), (400, "key already exists".to_owned()));
            let imported = client.send("PUT", "/v1/key/import/k", &body_of_32()).await;
            assert_eq!(imported.error(), (400, "key already exists".to_owned()));
            let deleted = client.send("DELETE", "/v1/key/delete/k", "").await;
            assert_eq!((deleted.status, deleted.body.len()), (200, 0));
            let missing = (404, "key does not exist".to_owned());
            assert_eq!(client.send("DELETE", "/v1/key/delete/k", "").await.error(), missing);
            for api in ["describe", "generate", "encrypt", "decrypt", "hmac", "bulk/decrypt"] {
                let method = if api == "describe" { "GET" } else { "PUT" };
                let body = if api == "bulk/decrypt" { "[]" } else { "{}" };
                let reply = client.send(method, &format!("/v1/key/{api}/k"), body).await;
                assert_eq!(reply.error(), missing, "{api}");
            }
        }
    });
}
