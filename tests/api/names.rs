//! Names, and the patterns of listings.

use serde_json::{Value, json};

use crate::harness::{self, Client, Config, Protocol, Server, Who};

/// What a path may hold where a name stands, and what it is after decoding.
fn bad_names() -> Vec<(String, String)> {
    let mut bad: Vec<(String, String)> = [
        ("", ""),
        ("-", "-"),
        ("_", "_"),
        ("-a", "-a"),
        ("a-", "a-"),
        ("a.b", "a.b"),
        ("a/b", "a/b"),
        ("a%2Fb", "a/b"),
        ("a/", "a/"),
        ("a%20b", "a b"),
        ("%C3%A9", "é"),
        ("a%00", "a\0"),
        ("a%0A", "a\n"),
        ("a*", "a*"),
        ("*", "*"),
        ("a%5Cb", "a\\b"),
        ("a%22b", "a\"b"),
    ]
    .iter()
    .map(|(sent, meant)| ((*sent).to_owned(), (*meant).to_owned()))
    .collect();
    bad.push(("a".repeat(81), "a".repeat(81)));
    bad
}

fn good_names() -> Vec<String> {
    let mut good: Vec<String> =
        ["a", "0", "a-b", "a_b", "_a", "a_", "__", "A-Z_0", "1--2"].map(str::to_owned).into();
    good.push("a".repeat(80));
    good
}

#[test]
fn a_name_is_taken_or_refused_the_same_way_everywhere() {
    harness::run(async {
        let server = Server::start();
        let mut client = server.client(Who::Admin, Protocol::H1).await;
        let tail = "is empty, too long or contains invalid characters";
        for (kind, method, route) in [
            ("key name", "PUT", "/v1/key/create/"),
            ("key name", "PUT", "/v1/key/import/"),
            ("key name", "GET", "/v1/key/describe/"),
            ("key name", "DELETE", "/v1/key/delete/"),
            ("key name", "PUT", "/v1/key/generate/"),
            ("key name", "PUT", "/v1/key/encrypt/"),
            ("key name", "PUT", "/v1/key/decrypt/"),
            ("key name", "PUT", "/v1/key/bulk/decrypt/"),
            ("key name", "PUT", "/v1/key/hmac/"),
            ("policy name", "GET", "/v1/policy/describe/"),
            ("policy name", "GET", "/v1/policy/read/"),
            ("identity", "GET", "/v1/identity/describe/"),
        ] {
            for (sent, meant) in bad_names() {
                let reply = client.send(method, &format!("{route}{sent}"), "{}").await;
                let expected = (400, format!("{kind} '{meant}' {tail}"));
                assert_eq!(reply.error(), expected, "{route}{sent}");
            }
        }
        for name in good_names() {
            let created = client.send("PUT", &format!("/v1/key/create/{name}"), "").await;
            assert_eq!(created.status, 200, "{name}");
            let described = client.send("GET", &format!("/v1/key/describe/{name}"), "").await;
            assert_eq!(described.json()["name"], name);
            let policy = client.send("GET", &format!("/v1/policy/read/{name}"), "").await;
            assert_eq!(policy.error(), (404, "policy does not exist".to_owned()), "{name}");
            let identity = client.send("GET", &format!("/v1/identity/describe/{name}"), "").await;
            assert_eq!(identity.error(), (404, "identity does not exist".to_owned()), "{name}");
        }
    });
}

#[test]
fn patterns_list_what_starts_with_them() {
    harness::run(async {
        let server = Server::with(&Config::usual().with("policy", POLICIES));
        let mut client = server.client(Who::Admin, Protocol::H1).await;
        for name in KEYS {
            let path = format!("/v1/key/create/{name}");
            assert_eq!(client.send("PUT", &path, "").await.status, 200);
        }
        // The policies have the names of the keys: both listings have one rule.
        for (pattern, names) in [
            ("", &["K1", "__x", "_a", "a", "a-1", "a-2", "ab", "k1", "k10", "k2"] as &[&str]),
            ("*", &["K1", "__x", "_a", "a", "a-1", "a-2", "ab", "k1", "k10", "k2"]),
            ("k*", &["k1", "k10", "k2"]),
            ("k", &["k1", "k10", "k2"]),
            ("k1", &["k1", "k10"]),
            ("k1*", &["k1", "k10"]),
            ("a-", &["a-1", "a-2"]),
            ("a-*", &["a-1", "a-2"]),
            ("_", &["__x", "_a"]),
            ("_*", &["__x", "_a"]),
            ("k%2A", &["k1", "k10", "k2"]),
            ("z", &[]),
            ("k3*", &[]),
            // From a name on: what a page continues with.
            ("*a-2", &["a-2", "ab", "k1", "k10", "k2"]),
            ("k*k10", &["k10", "k2"]),
            ("k*k1a", &["k2"]),
            ("k*", &["k1", "k10", "k2"]),
        ] {
            for kind in ["key", "policy"] {
                let page = list(&mut client, &format!("/v1/{kind}/list/{pattern}")).await;
                assert_eq!(page["names"], json!(names), "{kind} {pattern}");
                // Absent for keys, an empty text for the others, as the reference answers.
                let more = page["continue_at"].as_str().unwrap_or_default();
                assert_eq!(more, "", "{kind} {pattern}");
            }
        }
    });
}

#[test]
fn a_pattern_that_is_none_is_refused_by_every_listing() {
    harness::run(async {
        let server = Server::start();
        let mut client = server.client(Who::Admin, Protocol::H1).await;
        let long = "a".repeat(81);
        for (sent, meant) in [
            ("a.b", "a.b"),
            ("**", "**"),
            ("a**", "a**"),
            ("a*b*", "a*b*"),
            ("a*b*c", "a*b*c"),
            ("a/b", "a/b"),
            ("a%20", "a "),
            ("%C3%A9*", "é*"),
            ("a*b.c", "a*b.c"),
            ("a%3F", "a?"),
            (&long, &long),
        ] {
            for kind in ["key", "policy", "identity"] {
                let reply = client.send("GET", &format!("/v1/{kind}/list/{sent}"), "").await;
                let message = format!("listing pattern '{meant}' is empty, too long or is invalid");
                assert_eq!(reply.error(), (400, message), "{kind} {sent}");
            }
        }
    });
}

#[test]
fn identities_are_listed_by_prefix_with_the_admin() {
    harness::run(async {
        let server = Server::start();
        let mut client = server.client(Who::Admin, Protocol::H1).await;
        let (admin, minio) = (&server.admin.identity, &server.minio.identity);
        let mut both = [admin, minio];
        both.sort();
        for pattern in ["", "*"] {
            let page = list(&mut client, &format!("/v1/identity/list/{pattern}")).await;
            assert_eq!(page, json!({ "identities": both, "continue_at": "" }));
        }
        for pattern in [admin.clone(), format!("{}*", &admin[..20])] {
            let page = list(&mut client, &format!("/v1/identity/list/{pattern}")).await;
            assert_eq!(page["identities"], json!([admin]), "{pattern}");
        }
        let none = list(&mut client, "/v1/identity/list/zz*").await;
        assert_eq!(none["identities"], json!([]));
    });
}

#[test]
fn an_empty_listing_is_a_list() {
    harness::run(async {
        let server = Server::with(&Config::usual().with("policy", ""));
        let mut client = server.client(Who::Admin, Protocol::H1).await;
        assert_eq!(list(&mut client, "/v1/key/list/").await, json!({ "names": [] }));
        let none = json!({ "names": [], "continue_at": "" });
        assert_eq!(list(&mut client, "/v1/policy/list/").await, none);
    });
}

async fn list(client: &mut Client, path: &str) -> Value {
    let reply = client.send("GET", path, "").await;
    assert_eq!(reply.status, 200, "{path}");
    reply.json()
}

const KEYS: [&str; 10] = ["k2", "k10", "k1", "ab", "a-2", "a-1", "a", "_a", "__x", "K1"];

const POLICIES: &str = "
  k2: { allow: [/v1/status] }
  k10: { allow: [/v1/status] }
  k1: { allow: [/v1/status] }
  ab: { allow: [/v1/status] }
  a-2: { allow: [/v1/status] }
  a-1: { allow: [/v1/status] }
  a: { allow: [/v1/status] }
  _a: { allow: [/v1/status] }
  __x: { allow: [/v1/status] }
  K1: { allow: [/v1/status] }";
