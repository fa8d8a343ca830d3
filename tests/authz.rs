//! Who may do what: every route by every kind of caller (contract `api.md`, Order of checks;
//! contract `config.md`, Policies).

use std::collections::BTreeSet;

use kes_api::route::ROUTES;
use serde_json::{Value, json};

use self::Cell::{Refused, Required, Served};
use crate::harness::{self, Client, Config, Credentials, Protocol, Server, Who};

/// Methods that a route is not listed with.
mod method;

/// What patterns open and close, however the path is written.
mod pattern;

/// What a deny refuses beside the paths that it matches.
mod power;

/// The policies that `kes policy preset` prints.
mod preset;

/// What was refused of late.
mod refusals;

/// APIs that do without a certificate.
mod skip_auth;

/// What a caller gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cell {
    /// 200, and what the row says.
    Served,
    /// Nobody is known: a certificate is missing.
    Required,
    /// The policy, or the lack of one.
    Refused,
}

/// A route: what is sent to it, and what each of [`CALLERS`] gets.
struct Row {
    method: &'static str,
    path: &'static str,
    /// What follows the path; `#` stands for the caller's position, so that each has keys of its
    /// own.
    name: &'static str,
    /// `<c>` stands for a ciphertext of the key `k`.
    body: &'static str,
    cells: [Cell; 5],
    /// Fields that a JSON answer has, or else a text that the answer holds.
    answer: &'static [&'static str],
}

/// The columns: no certificate, an identity that no policy knows, one whose policy allows all
/// and denies each route by a pattern of its own, one whose policy allows each route, the admin.
const CALLERS: [&str; 5] = ["no certificate", "unknown", "denied", "allowed", "admin"];

const BY_POLICY: [Cell; 5] = [Required, Refused, Refused, Served, Served];

#[rustfmt::skip]
const TABLE: [Row; 24] = [
    row("GET",    "/version",                  "",      "",  [Served; 5], &["version", "commit"]),
    row("GET",    "/v1/ready",                 "",      "",  BY_POLICY, &[]),
    row("GET",    "/v1/status",                "",      "",  BY_POLICY, &["uptime", "os", "arch"]),
    row("GET",    "/v1/metrics",               "",      "",  BY_POLICY, &["kes_http_request_success"]),
    row("GET",    "/v1/api",                   "",      "",  BY_POLICY, &["/v1/log/audit"]),
    row("PUT",    "/v1/key/create/",           "new-#", "",  BY_POLICY, &[]),
    row("PUT",    "/v1/key/import/",           "imp-#", KEY, BY_POLICY, &[]),
    row("GET",    "/v1/key/describe/",         "k",     "",  BY_POLICY, &["name", "algorithm", "created_by"]),
    row("DELETE", "/v1/key/delete/",           "old-#", "",  BY_POLICY, &[]),
    row("GET",    "/v1/key/list/",             "k*",    "",  BY_POLICY, &["names"]),
    row("PUT",    "/v1/key/generate/",         "k",     "",  BY_POLICY, &["plaintext", "ciphertext"]),
    row("PUT",    "/v1/key/encrypt/",          "k",     r#"{"plaintext":"aGk="}"#, BY_POLICY, &["ciphertext"]),
    row("PUT",    "/v1/key/decrypt/",          "k",     r#"{"ciphertext":"<c>"}"#, BY_POLICY, &["plaintext"]),
    row("PUT",    "/v1/key/bulk/decrypt/",     "k",     r#"[{"ciphertext":"<c>"}]"#, BY_POLICY, &[r#"[{"plaintext":"aGk="}]"#]),
    row("PUT",    "/v1/key/hmac/",             "k",     r#"{"message":"aGk="}"#, BY_POLICY, &["hmac"]),
    row("GET",    "/v1/policy/describe/",      "allowed", "", BY_POLICY, &["name", "created_at", "created_by"]),
    row("GET",    "/v1/policy/read/",          "allowed", "", BY_POLICY, &["name", "allow", "deny"]),
    row("GET",    "/v1/policy/list/",          "",      "",  BY_POLICY, &["names"]),
    row("GET",    "/v1/identity/describe/",    "<id>",  "",  BY_POLICY, &["policy", "created_at"]),
    row("GET",    "/v1/identity/list/",        "",      "",  BY_POLICY, &["identities"]),
    row("GET",    "/v1/identity/self/describe", "",     "",  [Required, Served, Served, Served, Served], &["identity"]),
    row("GET",    "/v1/log/error",             "",      "",  BY_POLICY, &[]),
    row("GET",    "/v1/log/audit",             "",      "",  BY_POLICY, &[]),
    row("GET",    "/v1/log/refusals",          "",      "",  BY_POLICY, &["since", "refusals"]),
];

const KEY: &str = r#"{"key":"MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=","cipher":"AES256"}"#;

const fn row(
    method: &'static str,
    path: &'static str,
    name: &'static str,
    body: &'static str,
    cells: [Cell; 5],
    answer: &'static [&'static str],
) -> Row {
    Row { method, path, name, body, cells, answer }
}

#[test]
fn the_table_has_every_route_and_no_other() {
    let of_table: BTreeSet<_> = TABLE.iter().map(|row| (row.path, row.method)).collect();
    let of_routes: BTreeSet<_> =
        ROUTES.iter().map(|route| (route.path, route.method.as_str())).collect();
    let lacking: Vec<_> = of_routes.difference(&of_table).collect();
    let excess: Vec<_> = of_table.difference(&of_routes).collect();
    assert!(lacking.is_empty(), "routes that the table lacks: {lacking:?}");
    assert!(excess.is_empty(), "rows without a route: {excess:?}");
    assert_eq!(of_table.len(), TABLE.len(), "a row stands twice");
}

#[test]
fn the_api_listing_has_every_route_and_no_other() {
    harness::run(async {
        let server = Server::start();
        let mut admin = server.client(Who::Admin, Protocol::H2).await;
        let listing = admin.send("GET", "/v1/api", "").await.json();
        let listed: BTreeSet<String> = listing
            .as_array()
            .unwrap()
            .iter()
            .map(|api| format!("{} {}", api["method"].as_str().unwrap(), api["path"]))
            .collect();
        let table: BTreeSet<String> =
            TABLE.iter().map(|row| format!("{} {:?}", row.method, row.path)).collect();
        assert_eq!(listed, table);
    });
}

#[test]
fn every_cell_of_the_table_over_http1() {
    harness::run(every_cell(Protocol::H1));
}

#[test]
fn every_cell_of_the_table_over_http2() {
    harness::run(every_cell(Protocol::H2));
}

/// One API skips authentication, so that the handshake lets who has no certificate through: that
/// API is served to all, and no other opens.
async fn every_cell(protocol: Protocol) {
    let skipping = match protocol {
        Protocol::H1 => "/v1/ready",
        Protocol::H2 => "/v1/policy/describe/",
    };
    let server = Server::with(&config(skipping));
    let unknown = Credentials::new(&["unknown"]);
    let callers: [Option<&Credentials>; 5] =
        [None, Some(&unknown), Some(&server.other), Some(&server.minio), Some(&server.admin)];
    let mut admin = server.client(Who::Admin, protocol).await;
    let ciphertext = prepare(&mut admin).await;

    let mut problems = Vec::new();
    for (position, (caller, credentials)) in CALLERS.iter().zip(callers).enumerate() {
        let mut client = connect(&server, credentials, protocol).await;
        for row in &TABLE {
            let name = row
                .name
                .replace('#', &position.to_string())
                .replace("<id>", &server.minio.identity);
            let path = format!("{}{name}", row.path);
            let body = row.body.replace("<c>", &ciphertext);
            let expected = if row.path == skipping { Served } else { row.cells[position] };
            if ["/v1/log/error", "/v1/log/audit"].contains(&row.path) {
                // A stream that is served has no end: its status tells.
                let answer = client.open(row.method, &path, &[], "".into()).await.unwrap();
                client = connect(&server, credentials, protocol).await;
                if answer.status() == 200 {
                    if expected != Served {
                        problems.push(format!("{path} as {caller}: served"));
                    }
                    continue;
                }
            }
            let reply = client.send(row.method, &path, &body).await;
            if let Some(problem) = problem(&reply, expected, row.answer) {
                problems.push(format!("{} {path} as {caller}: {problem}", row.method));
            }
        }
    }
    assert!(problems.is_empty(), "over {protocol:?}:\n{}", problems.join("\n"));

    // Who was refused has changed nothing.
    let names = admin.send("GET", "/v1/key/list/", "").await.json()["names"].clone();
    let kept = ["imp-3", "imp-4", "k", "new-3", "new-4", "old-0", "old-1", "old-2"];
    assert_eq!(names, json!(kept), "over {protocol:?}");
}

/// What is wrong with an answer.
fn problem(reply: &harness::Reply, expected: Cell, answer: &[&str]) -> Option<String> {
    let refusal = match expected {
        Served => {
            let text = String::from_utf8_lossy(&reply.body);
            let json: Value = serde_json::from_str(&text).unwrap_or_default();
            let complete = answer.iter().all(|part| match &json {
                Value::Object(fields) => fields.contains_key(*part),
                _ => text.contains(part),
            });
            let is_empty = answer.is_empty() == text.is_empty();
            return (reply.status != 200 || !complete || !is_empty)
                .then(|| format!("{} {text}", reply.status));
        }
        Required => (400, "tls: client certificate is required"),
        Refused => (403, "not authorized: insufficient permissions"),
    };
    let is_as_told = reply.status == refusal.0
        && reply.header("content-type") == "application/json"
        && serde_json::from_slice::<Value>(&reply.body).ok()
            == Some(json!({ "message": refusal.1 }));
    (!is_as_told).then(|| {
        format!("{} {:?}, expected {refusal:?}", reply.status, String::from_utf8_lossy(&reply.body))
    })
}

/// `${MINIO}` is allowed each route, `${OTHER}` denied each.
fn config(skipping: &str) -> Config {
    let patterns: Vec<String> = TABLE
        .iter()
        .map(|row| if row.path.ends_with('/') { format!("{}*", row.path) } else { row.path.into() })
        .collect();
    let patterns = patterns.join(", ");
    let policy = format!(
        "
  allowed: {{ allow: [{patterns}], identities: [\"${{MINIO}}\"] }}
  denied: {{ allow: ['*'], deny: [{patterns}], identities: [\"${{OTHER}}\"] }}"
    );
    Config::usual()
        .with("policy", &policy)
        .with("api", &format!("{{ {skipping}: {{ skip_auth: true }} }}"))
}

/// Makes the keys that the table speaks of and returns a ciphertext.
async fn prepare(admin: &mut Client) -> String {
    for name in ["k", "old-0", "old-1", "old-2", "old-3", "old-4"] {
        assert_eq!(admin.send("PUT", &format!("/v1/key/create/{name}"), "").await.status, 200);
    }
    let sealed = admin.send("PUT", "/v1/key/encrypt/k", r#"{"plaintext":"aGk="}"#).await;
    sealed.json()["ciphertext"].as_str().unwrap().to_owned()
}

async fn connect(server: &Server, credentials: Option<&Credentials>, protocol: Protocol) -> Client {
    Client::connect(&server.address, &server.tls.certificate, credentials, protocol).await.unwrap()
}
