//! Bulk decrypt, which MinIO before 2023-11 calls.

use serde_json::{Value, json};

use crate::harness::{self, Client, Config, Protocol, Reply, Server, Vectors, Who};

const PATH: &str = "/v1/key/bulk/decrypt/vec-aes256";

fn server() -> Server {
    Server::prepared(&Config::usual(), |folder| Vectors::read().store(folder))
}

async fn bulk(client: &mut Client, requests: &[Value]) -> Reply {
    client.send("PUT", PATH, &json!(requests).to_string()).await
}

/// Every ciphertext of the key, in every format, and what it says.
fn known() -> Vec<(Value, Value)> {
    let of_key = |vector: &harness::Ciphertext| {
        let request = json!({ "ciphertext": vector.ciphertext, "context": vector.context });
        (request, json!({ "plaintext": vector.plaintext }))
    };
    let vectors = Vectors::read();
    vectors.ciphertexts.iter().filter(|vector| vector.key == "vec-aes256").map(of_key).collect()
}

#[test]
fn plaintexts_come_in_the_order_of_the_ciphertexts() {
    harness::run(async {
        let server = server();
        for protocol in [Protocol::H1, Protocol::H2] {
            let mut client = server.client(Who::Admin, protocol).await;
            let known = known();
            assert!(known.len() > 3);
            for turned in [false, true] {
                let mut known = known.clone();
                if turned {
                    known.reverse();
                }
                let (requests, answers): (Vec<_>, Vec<_>) = known.into_iter().unzip();
                let reply = bulk(&mut client, &requests).await;
                assert_eq!(reply.header("content-type"), "application/json");
                assert_eq!((reply.status, reply.json()), (200, json!(answers)));
            }
            assert_eq!(bulk(&mut client, &[]).await.json(), json!([]));
        }
    });
}

#[test]
fn one_that_is_not_authentic_fails_all_of_them() {
    harness::run(async {
        let server = server();
        let mut client = server.client(Who::Admin, Protocol::H1).await;
        let (good, plaintexts): (Vec<_>, Vec<_>) = known().into_iter().unzip();
        for position in [0, good.len() / 2, good.len()] {
            let mut requests = good.clone();
            requests.insert(position, json!({ "ciphertext": "AAAA" }));
            let reply = bulk(&mut client, &requests).await;
            let message = "decryption failed: ciphertext is not authentic".to_owned();
            assert_eq!(reply.error(), (400, message));
            let answer = reply.json();
            assert_eq!(answer.as_object().unwrap().len(), 1, "{answer}");
            for plaintext in &plaintexts {
                let plaintext = plaintext["plaintext"].as_str().unwrap();
                let told = String::from_utf8_lossy(&reply.body).contains(plaintext);
                assert!(plaintext.is_empty() || !told);
            }
        }
        // A context that is another's is no context.
        let mut requests = good;
        requests[0]["context"] = json!("b3RoZXI=");
        assert_eq!(bulk(&mut client, &requests).await.status, 400);
    });
}

#[test]
fn a_thousand_are_taken_and_one_more_is_not() {
    harness::run(async {
        let server = server();
        let mut client = server.client(Who::Admin, Protocol::H2).await;
        let encrypted = client.send("PUT", "/v1/key/encrypt/vec-aes256", r#"{"plaintext":"aGk="}"#);
        let ciphertext = encrypted.await.json()["ciphertext"].clone();
        let requests = vec![json!({ "ciphertext": ciphertext }); 1001];
        let reply = bulk(&mut client, &requests[..1000]).await;
        assert_eq!(reply.json(), json!(vec![json!({ "plaintext": "aGk=" }); 1000]));
        let reply = bulk(&mut client, &requests).await;
        assert_eq!(reply.error(), (400, "invalid request body".to_owned()));
    });
}

#[test]
fn it_is_an_api_like_the_others() {
    harness::run(async {
        // Policies of that time allow it with and without what follows.
        let policy = "
  minio:
    allow: [/v1/key/bulk/decrypt/vec-*]
    identities: [\"${MINIO}\"]";
        let config = Config::usual().with("policy", policy);
        let server = Server::prepared(&config, |folder| Vectors::read().store(folder));
        let mut minio = server.client(Who::Minio, Protocol::H1).await;
        assert_eq!(bulk(&mut minio, &[known()[0].0.clone()]).await.status, 200);
        let denied = minio.send("PUT", "/v1/key/bulk/decrypt/json-aes256", "[]").await;
        assert_eq!(denied.status, 403);

        let mut admin = server.client(Who::Admin, Protocol::H1).await;
        let missing = admin.send("PUT", "/v1/key/bulk/decrypt/none", "[]").await;
        assert_eq!(missing.error(), (404, "key does not exist".to_owned()));
        let apis = admin.send("GET", "/v1/api", "").await.json();
        let row = json!({ "method": "PUT", "path": "/v1/key/bulk/decrypt/", "max_body": 1_000_000, "timeout": 15 });
        assert!(apis.as_array().unwrap().contains(&row), "{apis}");
    });
}
