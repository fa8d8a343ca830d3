//! The recorded answers of the reference server, sent again in their order (see
//! `tests/data/answers.md`).

use std::collections::HashMap;

use serde_json::Value;

use crate::harness::{self, Client, Protocol, Reply, Server, Who};

#[test]
#[cfg_attr(feature = "fips", ignore = "a FIPS build says what it is")]
fn answers_are_those_of_the_reference() {
    harness::run(async {
        for protocol in [Protocol::H1, Protocol::H2] {
            replay(protocol).await;
        }
    });
}

async fn replay(protocol: Protocol) {
    let server = Server::start();
    let mut clients = HashMap::new();
    for (name, who) in [("admin", Who::Admin), ("minio", Who::Minio), ("other", Who::Other)] {
        clients.insert(name, server.client(who, protocol).await);
    }
    let mut kept: HashMap<String, String> = HashMap::new();
    for (name, credentials) in [("ai", &server.admin), ("mi", &server.minio), ("oi", &server.other)]
    {
        kept.insert(name.to_owned(), credentials.identity.clone());
    }

    let recorded: Vec<Value> = serde_json::from_str(include_str!("../data/answers.json")).unwrap();
    assert_eq!(recorded.len(), 134);
    for request in &recorded {
        let client = clients.get_mut(request["as"].as_str().unwrap()).unwrap();
        let reply = send(client, request, &kept).await;
        let problems = compare(&reply, &request["answer"], &kept);
        assert!(problems.is_empty(), "{} over {protocol:?}: {problems:?}", request["id"]);
        for (name, field) in request["keep"].as_object().into_iter().flatten() {
            let value = reply.json()[field.as_str().unwrap()].as_str().unwrap().to_owned();
            kept.insert(name.clone(), value);
        }
    }
}

async fn send(client: &mut Client, request: &Value, kept: &HashMap<String, String>) -> Reply {
    let text = |field: &str| fill(request[field].as_str().unwrap_or_default(), kept);
    let headers: Vec<(String, String)> = request["headers"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned()))
        .collect();
    let headers: Vec<(&str, &str)> =
        headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let (method, path, body) = (text("method"), text("path"), text("body"));
    client.try_send(&method, &path, &headers, body.into()).await.unwrap()
}

/// What of an answer is not as recorded.
fn compare(reply: &Reply, answer: &Value, kept: &HashMap<String, String>) -> Vec<String> {
    let mut problems = Vec::new();
    let mut check = |what: &str, got: &dyn std::fmt::Debug, same: bool| {
        if !same {
            problems.push(format!("{what} is {got:?}, expected {answer}"));
        }
    };
    check("status", &reply.status, Some(u64::from(reply.status)) == answer["status"].as_u64());
    if let Some(media) = answer["type"].as_str() {
        let of = |text: &str| text.split(';').next().unwrap_or_default().trim().to_owned();
        let got = reply.header("content-type");
        check("type", &got, of(got) == of(media));
    }
    for name in ["location", "accept"] {
        if let Some(value) = answer[name].as_str() {
            let got = reply.header(name);
            check(name, &got, got == value);
        }
    }
    if let Some(body) = answer["body"].as_str() {
        let got = String::from_utf8_lossy(&reply.body);
        let same = match serde_json::from_str::<Value>(body) {
            Ok(expected) => {
                let got = serde_json::from_str(&got).unwrap_or(Value::Null);
                matches(&got, &expected, kept)
            }
            Err(_) if body.starts_with("kes_") => {
                body.lines().all(|name| got.lines().any(|line| line.starts_with(name)))
            }
            Err(_) => match serde_json::from_str::<Value>(&quote_holes(body)) {
                Ok(expected) => {
                    let got = serde_json::from_str(&got).unwrap_or(Value::Null);
                    matches(&got, &expected, kept)
                }
                Err(_) => got == body,
            },
        };
        check("body", &got, same);
    }
    problems
}

/// `<n>` stands unquoted in the recorded JSON.
fn quote_holes(body: &str) -> String {
    body.replace(":<n>", ":\"<n>\"")
}

/// Fields that the reference does not have.
const OWN: [&str; 4] = ["fingerprint", "last_used_at", "last_used_by", "uses_known_since"];

fn matches(got: &Value, expected: &Value, kept: &HashMap<String, String>) -> bool {
    match expected {
        Value::Object(fields) => got.as_object().is_some_and(|got| {
            got.keys().filter(|name| !OWN.contains(&name.as_str())).count() == fields.len()
                && fields
                    .iter()
                    .all(|(name, value)| got.get(name).is_some_and(|got| matches(got, value, kept)))
        }),
        Value::Array(items) => got.as_array().is_some_and(|got| {
            got.len() == items.len()
                && got.iter().zip(items).all(|(got, item)| matches(got, item, kept))
        }),
        Value::String(text) => match text.as_str() {
            "<n>" => got.is_number(),
            "<v>" => got.is_string(),
            "<time>" => got.as_str().is_some_and(|time| kes_api::Timestamp::parse(time).is_ok()),
            text => match text.strip_prefix('<').and_then(|text| text.strip_suffix(" bytes>")) {
                Some(count) => got.as_str().is_some_and(|got| {
                    let bytes = kes_api::SecretBytes::from_base64(got.as_bytes());
                    bytes.is_ok_and(|bytes| bytes.expose().len().to_string() == count)
                }),
                None => got.as_str() == Some(&holes(text, kept)),
            },
        },
        other => got == other,
    }
}

/// `<ai>` and the like in an answer.
fn holes(text: &str, kept: &HashMap<String, String>) -> String {
    ["ai", "mi", "oi"]
        .iter()
        .fold(text.to_owned(), |text, name| text.replace(&format!("<{name}>"), &kept[*name]))
}

/// `${x}` in a request.
fn fill(text: &str, kept: &HashMap<String, String>) -> String {
    kept.iter()
        .fold(text.to_owned(), |text, (name, value)| text.replace(&format!("${{{name}}}"), value))
}
