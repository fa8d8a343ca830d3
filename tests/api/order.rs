//! Order of checks, and what happens to a path before it meets one.

use crate::harness::{self, Client, Config, Protocol, Raw, Server, Who};

/// One byte over the limit of a route that takes a body.
const TOO_LARGE: usize = 1_000_001;

const FORBIDDEN: &str = "not authorized: insufficient permissions";

/// Every method that a client may send.
const METHODS: [&str; 8] = ["GET", "HEAD", "PUT", "POST", "DELETE", "PATCH", "OPTIONS", "QUERY"];

/// What may be wrong with a request, in the order in which it is told.
const FAULTS: [&str; 7] = ["route", "method", "rights", "limit", "name", "body", "operation"];

/// A request with some of the faults: every combination of them is one.
struct Faulty {
    who: Who,
    method: &'static str,
    path: String,
    body: String,
}

impl Faulty {
    fn new(has: impl Fn(&str) -> bool) -> Self {
        let name = match (has("name"), has("operation")) {
            (true, _) => "-a",
            (false, true) => "none",
            (false, false) => "k",
        };
        let api = if has("route") { "nope" } else { "encrypt" };
        let mut body = if has("body") { "no JSON" } else { r#"{"plaintext":"aGk="}"# }.to_owned();
        if has("limit") {
            body += &" ".repeat(TOO_LARGE);
        }
        Self {
            who: if has("rights") { Who::Other } else { Who::Admin },
            method: if has("method") { "PATCH" } else { "PUT" },
            path: format!("/v1/key/{api}/{name}"),
            body,
        }
    }
}

/// The answer to a fault.
fn told(fault: Option<&str>) -> (u16, &'static str) {
    match fault {
        None => (200, r#"{"ciphertext":"#),
        Some("route") => (404, "404 page not found\n"),
        Some("method") => (405, "received method 'PATCH' expected 'PUT'"),
        Some("rights") => (403, FORBIDDEN),
        Some("limit") => (413, "request body is too large"),
        Some("name") => (400, "key name '-a' is empty, too long or contains invalid characters"),
        Some("body") => (400, "invalid request body"),
        Some("operation") => (404, "key does not exist"),
        Some(other) => panic!("{other}"),
    }
}

#[test]
fn of_all_faults_the_first_is_told() {
    harness::run(async {
        let server = Server::start();
        let mut admin = server.client(Who::Admin, Protocol::H2).await;
        assert_eq!(admin.send("PUT", "/v1/key/create/k", "").await.status, 200);
        for combination in 0..1_u8 << FAULTS.len() {
            let faults: Vec<_> = (0..FAULTS.len())
                .filter(|at| combination >> at & 1 == 1)
                .map(|at| FAULTS[at])
                .collect();
            let request = Faulty::new(|fault| faults.contains(&fault));
            for (protocol, in_pieces) in [
                (Protocol::H1, false),
                (Protocol::H1, true),
                (Protocol::H2, false),
                (Protocol::H2, true),
            ] {
                let mut first = faults.first().copied();
                let Faulty { who, method, path, body } = &request;
                let mut client = server.client(*who, protocol).await;
                let reply = if in_pieces {
                    // Without a length only reading tells, and the name is looked at before.
                    if first == Some("limit") && faults.contains(&"name") {
                        first = Some("name");
                    }
                    let pieces = body.as_bytes().chunks(100_000);
                    let pieces = pieces.map(|piece| piece.to_vec().into());
                    client.send_pieces(method, path, pieces).await
                } else {
                    client.send(method, path, body).await
                };
                let (status, text) = told(first);
                let seen = format!("{faults:?} {protocol:?} pieces: {in_pieces}: {reply:?}");
                assert_eq!(reply.status, status, "{seen}");
                assert!(String::from_utf8_lossy(&reply.body).contains(text), "{seen}");
            }
        }
    });
}

/// The length counts before a byte of the body has come, but only for who may send it.
#[test]
fn an_announced_length_is_enough_to_refuse_a_body() {
    harness::run(async {
        let server = Server::start();
        for (who, length, status) in [
            (Who::Other, TOO_LARGE, 403),
            (Who::Admin, TOO_LARGE, 413),
            (Who::Other, 1_000_000, 403),
        ] {
            let mut raw = Raw::connect(&server, who).await;
            raw.write(format!(
                "PUT /v1/key/encrypt/k HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n"
            ))
            .await;
            assert_eq!(raw.status().await, status, "{who:?} {length}");
        }
    });
}

/// Without a length only reading tells, and nobody reads for who may not ask.
#[test]
fn a_body_without_a_length_is_cut_at_the_limit() {
    harness::run(async {
        let server = Server::start();
        for protocol in [Protocol::H1, Protocol::H2] {
            for (who, status) in [(Who::Other, 403), (Who::Admin, 413)] {
                let mut client = server.client(who, protocol).await;
                let pieces = (0..1100).map(|_| "x".repeat(1000).into());
                let reply = client.send_pieces("PUT", "/v1/key/encrypt/k", pieces).await;
                assert_eq!(reply.status, status, "{protocol:?} {who:?}");
            }
        }
    });
}

#[test]
fn a_certificate_is_asked_for_after_the_method_and_before_length_and_name() {
    harness::run(async {
        let server =
            Server::with(&Config::usual().with(
                "api",
                "{ /v1/ready: { skip_auth: true }, /v1/key/hmac/: { skip_auth: true } }",
            ));
        let mut client = server.client(Who::Nobody, Protocol::H1).await;
        assert_eq!(client.send("GET", "/v1/ready", "").await.status, 200);
        assert_eq!(client.send("GET", "/version", "").await.status, 200);
        let required = (400, "tls: client certificate is required".to_owned());
        for (method, path) in [
            ("PUT", "/v1/key/create/-a"),
            ("PUT", "/v1/key/encrypt/-a"),
            ("GET", "/v1/identity/self/describe"),
            ("GET", "/v1/status"),
        ] {
            assert_eq!(client.send(method, path, "no JSON").await.error(), required, "{path}");
        }
        assert_eq!(client.send("GET", "/v1/key/create/-a", "").await.status, 405);
        let large = "x".repeat(TOO_LARGE);
        let mut client = server.client(Who::Nobody, Protocol::H1).await;
        assert_eq!(client.send("PUT", "/v1/key/import/-a", &large).await.error(), required);
        let mut client = server.client(Who::Nobody, Protocol::H1).await;
        assert_eq!(client.send("PUT", "/v1/key/hmac/-a", &large).await.status, 413);
    });
}

#[test]
fn a_body_that_a_route_does_not_take_is_ignored() {
    harness::run(async {
        let server = Server::start();
        let large = "x".repeat(2 * TOO_LARGE);
        for protocol in [Protocol::H1, Protocol::H2] {
            let mut client = server.client(Who::Admin, protocol).await;
            let path = format!("/v1/key/create/{protocol:?}");
            assert_eq!(client.send("PUT", &path, &large).await.status, 200);
        }
    });
}

#[test]
fn every_route_has_one_method_and_put_is_also_post() {
    harness::run(async {
        let server = Server::start();
        for protocol in [Protocol::H1, Protocol::H2] {
            let mut client = server.client(Who::Admin, protocol).await;
            let apis = client.send("GET", "/v1/api", "").await.json();
            assert_eq!(apis.as_array().unwrap().len(), 24);
            for api in apis.as_array().unwrap() {
                let expected = api["method"].as_str().unwrap();
                let path = api["path"].as_str().unwrap();
                for method in METHODS {
                    if method == expected || (expected == "PUT" && method == "POST") {
                        continue;
                    }
                    let reply = client.send(method, path, "").await;
                    let seen = format!("{protocol:?} {method} {path}: {reply:?}");
                    assert_eq!(reply.status, 405, "{seen}");
                    assert_eq!(reply.header("accept"), expected, "{seen}");
                    assert_eq!(reply.header("allow"), expected, "{seen}");
                    if method != "HEAD" {
                        let message = format!("received method '{method}' expected '{expected}'");
                        assert_eq!(reply.message(), message, "{seen}");
                    }
                }
            }
            for method in ["PUT", "POST"] {
                let path = format!("/v1/key/create/{protocol:?}-{method}");
                assert_eq!(client.send(method, &path, "").await.status, 200, "{path}");
                let path = path.replace("create", "generate");
                assert_eq!(client.send(method, &path, "").await.status, 200, "{path}");
            }
        }
    });
}

#[test]
fn an_unclean_path_leads_elsewhere_and_runs_nothing() {
    harness::run(async {
        let server = Server::start();
        for protocol in [Protocol::H1, Protocol::H2] {
            let mut admin = server.client(Who::Admin, protocol).await;
            let mut other = server.client(Who::Other, protocol).await;
            let (kept, new) = (format!("{protocol:?}-kept"), format!("{protocol:?}-new"));
            assert_eq!(admin.send("PUT", &format!("/v1/key/create/{kept}"), "").await.status, 200);
            for method in METHODS {
                for (path, clean) in [
                    ("//version".to_owned(), "/version".to_owned()),
                    ("/./version".to_owned(), "/version".to_owned()),
                    ("/v1/key/../status".to_owned(), "/v1/status".to_owned()),
                    ("/../../v1/status".to_owned(), "/v1/status".to_owned()),
                    ("/v1//nowhere".to_owned(), "/v1/nowhere".to_owned()),
                    ("//example.org/version".to_owned(), "/example.org/version".to_owned()),
                    ("/v1/key/create".to_owned(), "/v1/key/create/".to_owned()),
                    ("/v1/policy/list".to_owned(), "/v1/policy/list/".to_owned()),
                    (format!("/v1/key/create//{new}"), format!("/v1/key/create/{new}")),
                    (format!("/v1//key/create/{new}"), format!("/v1/key/create/{new}")),
                    (format!("/v1/./key/delete/{kept}"), format!("/v1/key/delete/{kept}")),
                    (format!("/v1/key/delete/x/../{kept}"), format!("/v1/key/delete/{kept}")),
                ] {
                    for (path, clean) in
                        [(format!("{path}?a=b&c=%20"), format!("{clean}?a=b&c=%20")), (path, clean)]
                    {
                        redirects(&mut admin, method, &path, &clean).await;
                        redirects(&mut other, method, &path, &clean).await;
                    }
                }
            }
            let names = admin.send("GET", "/v1/key/list/", "").await.json()["names"].clone();
            let names: Vec<String> = serde_json::from_value(names).unwrap();
            assert!(names.contains(&kept) && !names.contains(&new), "{names:?}");
        }
    });
}

async fn redirects(client: &mut Client, method: &str, path: &str, clean: &str) {
    let reply = client.send(method, path, "").await;
    assert_eq!((reply.status, reply.header("location")), (307, clean), "{method} {path}");
}

#[test]
fn an_escape_that_is_none_is_refused() {
    harness::run(async {
        let server = Server::start();
        for protocol in [Protocol::H1, Protocol::H2] {
            for who in [Who::Admin, Who::Other] {
                let mut client = server.client(who, protocol).await;
                for path in ["/%zz", "/v1/key/create/%", "/v1/key/create/a%1", "/v1/%+1status"] {
                    for method in METHODS {
                        let reply = client.send(method, path, "").await;
                        assert_eq!(reply.status, 400, "{method} {path}");
                    }
                }
            }
            let mut admin = server.client(Who::Admin, protocol).await;
            let names = admin.send("GET", "/v1/key/list/", "").await.json();
            assert_eq!(names["names"], serde_json::json!([]));
        }
    });
}

#[test]
fn a_path_is_decoded_before_all_else() {
    harness::run(async {
        let server = Server::start();
        for protocol in [Protocol::H1, Protocol::H2] {
            let mut minio = server.client(Who::Minio, protocol).await;
            // The policy denies `/v1/key/decrypt/secret-*`.
            for path in [
                "/v1/key/decrypt/secret-1",
                "/v1/key/decrypt/%73ecret-1",
                "/v1/key/decrypt/%73%65%63%72%65%74%2D1",
                "/v1/key/%64ecrypt/secret-1",
                "/%761/key/decrypt%2Fsecret-1",
            ] {
                let reply = minio.send("PUT", path, "{}").await;
                assert_eq!(reply.error(), (403, FORBIDDEN.to_owned()), "{path}");
            }
            // An escape is decoded once.
            let reply = minio.send("PUT", "/v1/key/decrypt/%2573ecret-1", "{}").await;
            let message = "key name '%73ecret-1' is empty, too long or contains invalid characters";
            assert_eq!(reply.error(), (400, message.to_owned()));

            let mut admin = server.client(Who::Admin, protocol).await;
            assert_eq!(admin.send("GET", "/v1/%73tatus?x=%2F", "").await.status, 200);
            assert_eq!(admin.send("GET", "/version?/v1/nowhere", "").await.status, 200);
            for path in ["/Version", "/version/", "/v1/STATUS", "/v1/key/", "/", "/v1/status%3Fx"] {
                let reply = admin.send("GET", path, "").await;
                assert_eq!(reply.status, 404, "{path}");
                assert_eq!(reply.header("content-type"), "text/plain; charset=utf-8", "{path}");
            }
        }
    });
}
