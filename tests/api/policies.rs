//! Policies and identities as the API tells them.

use serde_json::{Value, json};

use crate::harness::{self, Client, Config, Protocol, Server, Who};

/// Takes out the time at which the server started, which is one for all, and checks it.
fn without_time(mut answer: Value, times: &mut Vec<String>) -> Value {
    let fields = answer.as_object_mut().unwrap();
    let time = fields.remove("created_at").unwrap_or_else(|| panic!("no time: {fields:?}"));
    let time = time.as_str().unwrap();
    assert!(time.ends_with('Z') && kes_api::Timestamp::parse(time).is_ok(), "{time}");
    times.push(time.to_owned());
    answer
}

async fn get(client: &mut Client, path: &str) -> Value {
    let reply = client.send("GET", path, "").await;
    assert_eq!(reply.status, 200, "{path}: {reply:?}");
    assert_eq!(reply.header("content-type"), "application/json", "{path}");
    reply.json()
}

#[test]
fn policies_and_identities_are_described_alike() {
    harness::run(async {
        let server = Server::start();
        let (admin, minio) = (&server.admin.identity, &server.minio.identity);
        for protocol in [Protocol::H1, Protocol::H2] {
            let mut client = server.client(Who::Admin, protocol).await;
            let mut times = Vec::new();
            let allow = json!({
                "/v1/key/bulk/decrypt": {}, "/v1/key/create/*": {}, "/v1/key/decrypt/*": {},
                "/v1/key/generate/*": {}, "/v1/key/list/*": {}, "/v1/log/audit": {},
                "/v1/log/error": {}, "/v1/metrics": {}, "/v1/status": {},
            });
            let deny = json!({ "/v1/key/decrypt/secret-*": {} });
            for (path, expected) in [
                (
                    "/v1/policy/describe/minio".to_owned(),
                    json!({ "name": "minio", "created_by": admin }),
                ),
                (
                    "/v1/policy/read/minio".to_owned(),
                    json!({ "name": "minio", "allow": allow, "deny": deny, "created_by": admin }),
                ),
                (format!("/v1/identity/describe/{admin}"), json!({ "admin": true })),
                (
                    format!("/v1/identity/describe/{minio}"),
                    json!({ "policy": "minio", "created_by": admin }),
                ),
            ] {
                let answer = get(&mut client, &path).await;
                assert_eq!(without_time(answer, &mut times), expected, "{path}");
            }
            times.dedup();
            assert_eq!(times.len(), 1, "all of it began with the server: {times:?}");

            let missing = (404, "policy does not exist".to_owned());
            for path in ["/v1/policy/describe/none", "/v1/policy/read/Minio"] {
                assert_eq!(client.send("GET", path, "").await.error(), missing, "{path}");
            }
            let missing = (404, "identity does not exist".to_owned());
            for identity in [&server.other.identity, "none", &"0".repeat(64)] {
                let path = format!("/v1/identity/describe/{identity}");
                assert_eq!(client.send("GET", &path, "").await.error(), missing, "{path}");
            }
        }
    });
}

#[test]
fn everybody_learns_who_they_are() {
    harness::run(async {
        let server = Server::start();
        for protocol in [Protocol::H1, Protocol::H2] {
            let mut times = Vec::new();
            for (who, credentials) in [
                (Who::Admin, &server.admin),
                (Who::Minio, &server.minio),
                (Who::Other, &server.other),
            ] {
                let mut client = server.client(who, protocol).await;
                let answer = get(&mut client, "/v1/identity/self/describe").await;
                // The SDK reads a text in `policy` and the reference writes an object: what both
                // take is no such field.
                assert_eq!(answer.get("policy"), None, "{who:?}");
                let answer = without_time(answer, &mut times);
                assert_eq!(answer["identity"], credentials.identity, "{who:?}");
                match who {
                    Who::Admin => {
                        let expected = json!({ "identity": credentials.identity, "admin": true });
                        assert_eq!(answer, expected);
                    }
                    Who::Minio => {
                        assert_eq!(answer["policy_name"], "minio");
                        assert_eq!(answer["created_by"], server.admin.identity);
                        assert_eq!(answer["allow"]["/v1/key/create/*"], json!({}));
                        assert_eq!(answer["allow"].as_object().unwrap().len(), 9);
                        assert_eq!(answer["deny"], json!({ "/v1/key/decrypt/secret-*": {} }));
                        assert_eq!(answer.get("admin"), None);
                    }
                    Who::Other | Who::Nobody => {
                        assert_eq!(answer.get("policy_name"), None);
                        assert_eq!(answer.get("allow"), None);
                        assert_eq!(answer.get("admin"), None);
                    }
                }
            }
        }
    });
}

#[test]
fn without_an_admin_nobody_is_one() {
    harness::run(async {
        let policy = "
  all:
    allow: [/*]
    identities: [\"${MINIO}\"]";
        let config = Config::usual().with("admin", "{ identity: disabled }").with("policy", policy);
        let server = Server::with(&config);
        let mut admin = server.client(Who::Admin, Protocol::H1).await;
        assert_eq!(admin.send("GET", "/v1/status", "").await.status, 403);
        let mut minio = server.client(Who::Minio, Protocol::H1).await;
        let page = get(&mut minio, "/v1/identity/list/").await;
        assert_eq!(page["identities"], json!([server.minio.identity]));
        let own = get(&mut minio, "/v1/identity/self/describe").await;
        assert_eq!((own.get("admin"), &own["policy_name"]), (None, &json!("all")));
        let read = get(&mut minio, "/v1/policy/read/all").await;
        assert_eq!((&read["allow"], &read["deny"]), (&json!({ "/*": {} }), &json!({})));
    });
}
