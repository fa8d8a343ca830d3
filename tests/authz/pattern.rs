use std::fmt::Write as _;

use crate::authz::TABLE;
use crate::harness::{self, Client, Config, Credentials, Protocol, Server, Who};

const REFUSED: &str = "not authorized: insufficient permissions";

/// A server whose `${MINIO}` has a policy.
fn server(allow: &str, deny: &str) -> Server {
    let policy =
        format!("{{ p: {{ allow: [{allow}], deny: [{deny}], identities: [\"${{MINIO}}\"] }} }}");
    Server::with(&Config::usual().with("policy", &policy))
}

/// Refused by the policy, or let through to whatever comes next.
async fn assert_refused(client: &mut Client, method: &str, path: &str, expected: bool) {
    let reply = client.send(method, path, "").await;
    let is_refused = reply.status == 403 && reply.message() == REFUSED;
    assert_eq!(is_refused, expected, "{method} {path}: {reply:?}");
}

#[test]
fn a_pattern_opens_its_route_alone() {
    let rows: Vec<_> = TABLE.iter().filter(|row| row.cells[1] != super::Cell::Served).collect();
    let callers: Vec<_> = rows.iter().map(|_| Credentials::new(&["caller"])).collect();
    let mut policy = String::new();
    for (number, (row, caller)) in rows.iter().zip(&callers).enumerate() {
        let star = if row.path.ends_with('/') { "*" } else { "" };
        let identity = &caller.identity;
        write!(
            policy,
            "\n  p{number}: {{ allow: ['{}{star}'], identities: [{identity}] }}",
            row.path
        )
        .unwrap();
    }
    harness::run(async {
        let server = Server::with(&Config::usual().with("policy", &policy));
        for (caller, opened) in callers.iter().zip(&rows) {
            let trusted = &server.tls.certificate;
            let mut client = Client::connect(&server.address, trusted, Some(caller), Protocol::H2)
                .await
                .unwrap();
            for row in &rows {
                let path =
                    format!("{}{}", row.path, if row.path.ends_with('/') { "x" } else { "" });
                // A stream that is opened goes on: its status is enough.
                let answer = client.open(row.method, &path, &[], "".into()).await.unwrap();
                let is_refused = answer.status() == 403;
                let same = row.path == opened.path;
                assert_eq!(is_refused, !same, "{path} by the pattern of {}", opened.path);
            }
        }
    });
}

#[test]
fn a_deny_is_not_dodged_by_another_spelling_of_the_path() {
    harness::run(async {
        let server = server("'*'", "/v1/key/decrypt/secret-*, /v1/status");
        for protocol in [Protocol::H1, Protocol::H2] {
            let mut minio = server.client(Who::Minio, protocol).await;
            for path in [
                "/v1/key/decrypt/secret-1",
                "/v1/key/decrypt/%73ecret-1",
                "/v1/key/decrypt/%73%65%63%72%65%74%2D%31",
                "/v1/key/decrypt/secret%2d1",
                "/v1/key/decrypt%2Fsecret-1",
                "/v1/key/%64ecrypt/secret-1",
                "/%76%31/%6b%65%79/decrypt/secret-1",
                "/v1%2fkey%2fdecrypt%2fsecret-1",
                "/v1/key/decrypt/secret-1?x=/v1/key/generate/k",
                "/v1/key/decrypt/secret-",
                "/v1/key/decrypt/secret-a/b",
            ] {
                assert_refused(&mut minio, "PUT", path, true).await;
                assert_refused(&mut minio, "POST", path, true).await;
            }
            for path in ["/v1/status", "/v1/statu%73", "/v1/%73tatus"] {
                assert_refused(&mut minio, "GET", path, true).await;
            }
            // Unclean paths lead elsewhere and run nothing; letters in the other case are others.
            for (path, status) in [
                ("/v1/key/decrypt/x/../secret-1", 307),
                ("/v1/key/decrypt/./secret-1", 307),
                ("/v1/key/decrypt//secret-1", 307),
                ("//v1/key/decrypt/secret-1", 307),
                ("/v1/key/DECRYPT/secret-1", 404),
                ("/v1/key/decrypt/%zzsecret-1", 400),
                ("/v1/key/decrypt/SECRET-1", 400),
            ] {
                let reply = minio.send("PUT", path, "").await;
                assert_eq!(reply.status, status, "{path} over {protocol:?}: {reply:?}");
            }
            // Decoded once: what is left of a second escape is no name.
            let reply = minio.send("PUT", "/v1/key/decrypt/%2573ecret-1", "").await;
            let message = "key name '%73ecret-1' is empty, too long or contains invalid characters";
            assert_eq!(reply.error(), (400, message.to_owned()));
            // Nor are segments made by an escape ever resolved.
            for path in ["/v1/key/decrypt/%2e/secret-1", "/v1/key/decrypt/x%2f..%2fsecret-1"] {
                let status = minio.send("PUT", path, "").await.status;
                assert!(matches!(status, 307 | 400), "{path} over {protocol:?}: {status}");
            }
        }
    });
}

#[test]
fn an_allow_is_for_the_decoded_path_and_for_that_alone() {
    harness::run(async {
        let server = server("/v1/key/generate/my-key, /v1/key/list/*", "");
        let mut admin = server.client(Who::Admin, Protocol::H1).await;
        assert_eq!(admin.send("PUT", "/v1/key/create/my-key", "").await.status, 200);
        for protocol in [Protocol::H1, Protocol::H2] {
            let mut minio = server.client(Who::Minio, protocol).await;
            for path in ["/v1/key/generate/my-key", "/v1/k%65y/generate/my%2Dkey"] {
                let reply = minio.send("PUT", path, "").await;
                assert_eq!(reply.status, 200, "{path} over {protocol:?}: {reply:?}");
            }
            for path in
                ["/v1/key/generate/my-key2", "/v1/key/generate/my-ke", "/v1/key/generate/MY-KEY"]
            {
                assert_refused(&mut minio, "PUT", path, true).await;
            }
            assert_refused(&mut minio, "GET", "/v1/key/list/", false).await;
            assert_refused(&mut minio, "GET", "/v1/key/list/my*", false).await;
        }
    });
}

#[test]
fn a_star_inside_a_deny_pattern_matches_within_one_segment() {
    harness::run(async {
        let deny = "/v1/key/*/secret, /v1/key/decrypt/*-prod, /v1/key/de*/x-*";
        let server = server("'*'", deny);
        let mut minio = server.client(Who::Minio, Protocol::H2).await;
        for (method, path, refused) in [
            ("PUT", "/v1/key/decrypt/secret", true),
            ("PUT", "/v1/key/create/secret", true),
            ("DELETE", "/v1/key/delete/s%65cret", true),
            ("PUT", "/v1/key/decrypt/secret2", false),
            // Its power is that of decrypt, which the first pattern denies.
            ("PUT", "/v1/key/bulk/decrypt/secret", true),
            ("PUT", "/v1/key/bulk/decrypt/secret2", false),
            ("PUT", "/v1/key/decrypt/eu-prod", true),
            ("PUT", "/v1/key/decrypt/-prod", true),
            ("PUT", "/v1/key/decrypt/eu-prod-x", false),
            ("PUT", "/v1/key/decrypt/a/eu-prod", false),
            ("PUT", "/v1/key/generate/eu-prod", false),
            ("PUT", "/v1/key/decrypt/x-1", true),
            ("GET", "/v1/key/describe/x-1", true),
            ("PUT", "/v1/key/encrypt/x-1", false),
        ] {
            assert_refused(&mut minio, method, path, refused).await;
        }
        // The operator is told what such a pattern does.
        for pattern in ["/v1/key/*/secret", "/v1/key/decrypt/*-prod"] {
            let stderr = server.stderr();
            let warned = stderr.lines().any(|line| line.contains("WARN") && line.contains(pattern));
            assert!(warned, "no warning of {pattern}: {stderr}");
        }
    });
}

#[test]
fn a_star_inside_an_allow_pattern_opens_nothing() {
    harness::run(async {
        let server = server("/v1/key/*/my-key, /v1/key/dec*/x", "");
        let mut minio = server.client(Who::Minio, Protocol::H1).await;
        for path in ["/v1/key/create/my-key", "/v1/key/decrypt/my-key", "/v1/key/decrypt/x"] {
            assert_refused(&mut minio, "PUT", path, true).await;
        }
        assert!(server.stderr().contains("/v1/key/*/my-key"), "{}", server.stderr());
    });
}

#[test]
fn a_deny_outweighs_every_allow() {
    harness::run(async {
        let server = server("/v1/key/create/x, /v1/key/create/*", "/v1/key/create/x");
        let mut minio = server.client(Who::Minio, Protocol::H1).await;
        assert_refused(&mut minio, "PUT", "/v1/key/create/x", true).await;
        assert_refused(&mut minio, "PUT", "/v1/key/create/y", false).await;
    });
}

#[test]
fn a_disabled_admin_is_nobody() {
    harness::run(async {
        let config = Config::usual().with("admin", "{ identity: disabled }");
        let server = Server::with(&config);
        let mut former = server.client(Who::Admin, Protocol::H2).await;
        assert_refused(&mut former, "GET", "/v1/status", true).await;
        assert_refused(&mut former, "PUT", "/v1/key/create/k", true).await;
        let own = former.send("GET", "/v1/identity/self/describe", "").await.json();
        assert_ne!(own["admin"], true, "{own}");
    });
}
