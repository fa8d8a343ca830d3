//! A deny refuses a power on a resource, by whichever path it is requested.

use serde_json::json;

use crate::harness::{self, Client, Config, Protocol, Server, Who};

/// A server whose `${MINIO}` may do everything but what one pattern denies.
fn denying(pattern: &str) -> Server {
    let policy =
        format!("{{ p: {{ allow: ['*'], deny: ['{pattern}'], identities: [\"${{MINIO}}\"] }} }}");
    Server::with(&Config::usual().with("policy", &policy))
}

/// Makes a key; returns the bodies that decrypt a ciphertext of it, alone and in bulk.
async fn bodies(admin: &mut Client, key: &str) -> [String; 2] {
    let path = format!("/v1/key/create/{key}");
    assert_eq!(admin.send("PUT", &path, "").await.status, 200, "{path}");
    let path = format!("/v1/key/encrypt/{key}");
    let sealed = admin.send("PUT", &path, r#"{"plaintext":"aGk="}"#).await.json();
    let request = json!({ "ciphertext": sealed["ciphertext"] });
    [request.to_string(), json!([request]).to_string()]
}

#[test]
fn a_deny_of_decryption_covers_bulk_decryption_and_the_reverse() {
    harness::run(async {
        for (pattern, denied, open) in [
            ("/v1/key/decrypt/secret-*", &["secret-1", "secret-2"][..], &["open-1"][..]),
            ("/v1/key/decrypt/secret-1", &["secret-1"], &["secret-2", "open-1"]),
            ("/v1/key/decrypt/*", &["secret-1", "open-1"], &[]),
            ("/v1/key/decrypt*", &["secret-1", "open-1"], &[]),
            ("/v1/key/*/secret-*", &["secret-1"], &["open-1"]),
            ("/v1/key/*/*-1", &["secret-1", "open-1"], &["secret-2"]),
            ("/v1/*/decrypt/secret-1", &["secret-1"], &["secret-2", "open-1"]),
            ("/*/key/de*t/secret*", &["secret-1"], &["open-1"]),
            ("/v1/key/bulk/decrypt/secret-*", &["secret-1", "secret-2"], &["open-1"]),
            ("/v1/key/bulk/*/secret-1", &["secret-1"], &["secret-2", "open-1"]),
            ("/v1/key/bulk/*", &["secret-1", "open-1"], &[]),
        ] {
            let server = denying(pattern);
            let mut admin = server.client(Who::Admin, Protocol::H2).await;
            for protocol in [Protocol::H1, Protocol::H2] {
                let mut minio = server.client(Who::Minio, protocol).await;
                for (keys, status) in [(denied, 403), (open, 200)] {
                    for key in keys {
                        let _ = admin.send("DELETE", &format!("/v1/key/delete/{key}"), "").await;
                        let [one, many] = bodies(&mut admin, key).await;
                        let escaped = key.replacen('-', "%2D", 1);
                        for (path, body) in [
                            (format!("/v1/key/decrypt/{key}"), &one),
                            (format!("/v1/key/bulk/decrypt/{key}"), &many),
                            (format!("/v1/key/bulk%2Fdecrypt/{escaped}"), &many),
                        ] {
                            let reply = minio.send("PUT", &path, body).await;
                            let told = String::from_utf8_lossy(&reply.body);
                            assert_eq!(reply.status, status, "{path} under {pattern}: {told}");
                            // The admin has no policy.
                            assert_eq!(admin.send("PUT", &path, body).await.status, 200, "{path}");
                        }
                    }
                }
            }
        }
    });
}

/// An allow pattern is for its path alone, and outweighs no deny.
#[test]
fn what_a_policy_allows_in_bulk_does_not_outweigh_a_deny() {
    harness::run(async {
        let policy = "
  p:
    allow: [/v1/key/bulk/decrypt/*, /v1/key/decrypt/open-*]
    deny: [/v1/key/decrypt/secret-*]
    identities: [\"${MINIO}\"]";
        let server = Server::with(&Config::usual().with("policy", policy));
        let mut admin = server.client(Who::Admin, Protocol::H2).await;
        let mut minio = server.client(Who::Minio, Protocol::H2).await;
        for (key, alone, bulk) in [("secret-1", 403, 403), ("open-1", 200, 200), ("x", 403, 200)] {
            let [one, many] = bodies(&mut admin, key).await;
            let decrypted = minio.send("PUT", &format!("/v1/key/decrypt/{key}"), &one).await;
            assert_eq!(decrypted.status, alone, "{key}");
            let decrypted = minio.send("PUT", &format!("/v1/key/bulk/decrypt/{key}"), &many).await;
            assert_eq!(decrypted.status, bulk, "{key}");
        }
    });
}

/// Operations that the reference tells apart stay apart, and the log says what is left open.
#[test]
fn a_deny_refuses_no_other_power_and_the_log_tells_what_stays_allowed() {
    harness::run(async {
        for (pattern, refused, allowed, told) in [
            ("/v1/key/generate/k", "/v1/key/generate/k", "/v1/key/encrypt/k", "/v1/key/encrypt/"),
            ("/v1/key/encrypt/k", "/v1/key/encrypt/k", "/v1/key/generate/k", ""),
            ("/v1/key/create/k2", "/v1/key/create/k2", "/v1/key/import/k2", "/v1/key/import/"),
            ("/v1/key/import/k2", "/v1/key/import/k2", "/v1/key/create/k2", ""),
        ] {
            let server = denying(pattern);
            let mut admin = server.client(Who::Admin, Protocol::H2).await;
            bodies(&mut admin, "k").await;
            let mut minio = server.client(Who::Minio, Protocol::H2).await;
            let body = r#"{"plaintext":"aGk=","cipher":"AES256","key":"MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="}"#;
            assert_eq!(minio.send("PUT", refused, body).await.status, 403, "{pattern}");
            assert_eq!(minio.send("PUT", allowed, body).await.status, 200, "{pattern}");
            let stderr = server.stderr();
            let warning = format!("'{pattern}' does not deny '{told}'");
            assert_eq!(stderr.contains(&warning), !told.is_empty(), "{stderr}");
        }
    });
}

#[test]
fn another_spelling_of_a_resource_dodges_no_deny() {
    harness::run(async {
        for (pattern, refused, served) in [
            ("/v1/key/list/", &["", "*", "*k"][..], &["k", "k*"][..]),
            ("/v1/key/list/k", &["k", "k*", "k*k1"], &["", "kk*"]),
            ("/v1/key/list/k*", &["k", "k*", "kk*", "k*k1"], &["", "j*"]),
        ] {
            let server = denying(pattern);
            let mut minio = server.client(Who::Minio, Protocol::H2).await;
            for (spellings, status) in [(refused, 403), (served, 200)] {
                for spelling in spellings {
                    let path = format!("/v1/key/list/{spelling}");
                    let reply = minio.send("GET", &path, "").await;
                    assert_eq!(reply.status, status, "{path} under {pattern}");
                }
            }
        }
        let policy = "
  p: { allow: ['*'], deny: [/v1/identity/describe/1111111111111111111111111111111111111111111111111111111111111abc], identities: [\"${MINIO}\"] }";
        let server = Server::with(&Config::usual().with("policy", policy));
        let mut minio = server.client(Who::Minio, Protocol::H1).await;
        for (digits, status) in [("abc", 403), ("ABC", 403), ("aBc", 403), ("abd", 404)] {
            let path = format!("/v1/identity/describe/{}{digits}", "1".repeat(61));
            assert_eq!(minio.send("GET", &path, "").await.status, status, "{path}");
        }
    });
}
