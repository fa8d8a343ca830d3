//! The JSON of spans: an `ExportTraceServiceRequest` of OTLP 1 in its JSON encoding, in which IDs are
//! hexadecimal digits, enumerations numbers, and integers of 64 bits texts. Attributes are those of
//! the semantic conventions for HTTP servers, and `kes.*`.

use std::borrow::Cow;
use std::fmt::{Display, LowerHex};
use std::sync::OnceLock;

use serde::ser::Serializer;
use serde::{Deserialize, Serialize};

use super::Numbers;
use super::span::{Call, Ids, OTHER, Served, Span, What};

/// The longest answer that is read, in bytes. One that tells of rejected spans has some hundred.
pub(super) const MAX_ANSWER: usize = 64 * 1024;

/// `SPAN_KIND_SERVER` and `SPAN_KIND_CLIENT`
const SERVER: u8 = 2;
const CLIENT: u8 = 3;

/// `STATUS_CODE_ERROR`
const ERROR: u8 = 2;

/// The body of a request with spans.
#[expect(clippy::expect_used, reason = "maps with text keys are JSON")]
pub(super) fn encode(spans: &[Span]) -> Vec<u8> {
    let resource = Resource {
        attributes: [
            text("service.name", "kes"),
            text("service.version", VERSION),
            text("service.instance.id", instance()),
        ],
    };
    let scope_spans = [ScopeSpans {
        scope: Scope { name: "kes", version: VERSION },
        spans: spans.iter().map(OtlpSpan::of).collect(),
    }];
    let request = Request { resource_spans: [ResourceSpans { resource, scope_spans }] };
    serde_json::to_vec(&request).expect("maps with text keys are JSON")
}

/// How many of the spans of a request its answer says were rejected. What else it says is not looked
/// at.
///
/// # Errors
/// If it is not an answer of this protocol. An empty one is.
pub(super) fn rejected(answer: &[u8]) -> Result<u64, NoAnswer> {
    if answer.is_empty() {
        return Ok(0);
    }
    let answer: Answer = serde_json::from_slice(answer).map_err(|_| NoAnswer)?;
    match answer.partial_success.unwrap_or_default().rejected_spans {
        None => Ok(0),
        Some(Count::Number(count)) => Ok(count),
        Some(Count::Text(count)) => count.parse().map_err(|_| NoAnswer),
    }
}

/// An answer is none of OTLP.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NoAnswer;

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// A UUID for this process.
fn instance() -> &'static str {
    static INSTANCE: OnceLock<String> = OnceLock::new();
    INSTANCE.get_or_init(|| {
        let numbers = Numbers::new();
        let random = numbers.trace(0);
        // Version 4 and variant 1 (RFC 9562).
        let id = random & !(0xf << 76) & !(0x3 << 62) | 0x4 << 76 | 0x2 << 62;
        let hex = format!("{id:032x}");
        let mut uuid = String::with_capacity(36);
        for (at, digit) in hex.char_indices() {
            if matches!(at, 8 | 12 | 16 | 20) {
                uuid.push('-');
            }
            uuid.push(digit);
        }
        uuid
    })
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Request {
    resource_spans: [ResourceSpans; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ResourceSpans {
    resource: Resource,
    scope_spans: [ScopeSpans; 1],
}

#[derive(Serialize)]
struct Resource {
    attributes: [Attribute; 3],
}

#[derive(Serialize)]
struct ScopeSpans {
    scope: Scope,
    spans: Vec<OtlpSpan>,
}

#[derive(Serialize)]
struct Scope {
    name: &'static str,
    version: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct OtlpSpan {
    #[serde(serialize_with = "hex::<32, _, _>")]
    trace_id: u128,
    #[serde(serialize_with = "hex::<16, _, _>")]
    span_id: u64,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "optional_hex")]
    parent_span_id: Option<u64>,
    name: Cow<'static, str>,
    kind: u8,
    #[serde(serialize_with = "decimal")]
    start_time_unix_nano: u64,
    #[serde(serialize_with = "decimal")]
    end_time_unix_nano: u64,
    attributes: Vec<Attribute>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Status>,
}

#[derive(Serialize)]
struct Status {
    code: u8,
}

#[derive(Serialize)]
struct Attribute {
    key: &'static str,
    value: Value,
}

#[derive(Serialize)]
enum Value {
    #[serde(rename = "stringValue")]
    Text(Cow<'static, str>),
    #[serde(rename = "intValue", serialize_with = "decimal")]
    Number(u64),
    #[serde(rename = "boolValue")]
    Switch(bool),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    partial_success: Option<PartialSuccess>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PartialSuccess {
    rejected_spans: Option<Count>,
}

/// An integer of 64 bits.
#[derive(Deserialize)]
#[serde(untagged)]
enum Count {
    Number(u64),
    Text(String),
}

impl OtlpSpan {
    fn of(span: &Span) -> Self {
        let Span { ids: Ids { trace, span, parent }, began, ended, what } = *span;
        let (name, kind, attributes, is_error) = match what {
            What::Served(served) => (
                format!("{} {}", name_of(served.method), route(&served)).into(),
                SERVER,
                of_request(&served),
                served.status >= 500,
            ),
            What::Call(call) => {
                (call_name(call.operation), CLIENT, of_call(&call), call.is_failure)
            }
        };
        Self {
            trace_id: trace,
            span_id: span,
            parent_span_id: parent.map(Into::into),
            name,
            kind,
            start_time_unix_nano: began,
            end_time_unix_nano: ended,
            attributes,
            status: is_error.then_some(Status { code: ERROR }),
        }
    }
}

/// A method in the name of a span, as the conventions want it.
fn name_of(method: &'static str) -> &'static str {
    if method == OTHER { "HTTP" } else { method }
}

/// The path of an API, without the name that a request has.
fn route(served: &Served) -> String {
    served.operation.route().template("{name}", "{pattern}")
}

fn of_request(served: &Served) -> Vec<Attribute> {
    let mut attributes = vec![
        text("http.request.method", served.method),
        text("http.route", route(served)),
        Attribute { key: "http.response.status_code", value: Value::Number(served.status.into()) },
        text("url.scheme", "https"),
        text("network.protocol.name", "http"),
        text("network.protocol.version", served.version),
        text("kes.operation", served.operation.name()),
    ];
    if served.status >= 500 {
        attributes.push(text("error.type", served.status.to_string()));
    }
    attributes
}

fn of_call(call: &Call) -> Vec<Attribute> {
    let mut attributes = vec![
        text("kes.keystore.kind", call.store.word()),
        text("kes.keystore.operation", call.operation),
        text("kes.keystore.result", call.result),
    ];
    if call.is_shared {
        attributes.push(Attribute { key: "kes.shared", value: Value::Switch(true) });
    }
    if call.is_failure {
        attributes.push(text("error.type", call.result));
    }
    attributes
}

fn call_name(operation: &'static str) -> Cow<'static, str> {
    format!("keystore {operation}").into()
}

fn text(key: &'static str, value: impl Into<Cow<'static, str>>) -> Attribute {
    Attribute { key, value: Value::Text(value.into()) }
}

fn hex<const DIGITS: usize, N: LowerHex, S: Serializer>(
    number: &N,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{number:0DIGITS$x}"))
}

fn optional_hex<S: Serializer>(number: &Option<u64>, serializer: S) -> Result<S::Ok, S::Error> {
    hex::<16, _, _>(&number.unwrap_or_default(), serializer)
}

fn decimal<S: Serializer>(number: &impl Display, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(number)
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU64;

    use kes_api::Operation;
    use kes_api::route::ROUTES;
    use kes_keystore::Kind;
    use serde_json::json;

    use super::*;

    fn served(operation: Operation, status: u16) -> Span {
        let what = What::Served(Served { operation, method: "PUT", version: "2", status });
        let ids = Ids { trace: 0xaf7, span: 0xb7, parent: None };
        Span { ids, began: 1_700_000_000_000_000_001, ended: 1_700_000_000_000_000_009, what }
    }

    fn spans(of: &[Span]) -> serde_json::Value {
        let request: serde_json::Value = serde_json::from_slice(&encode(of)).unwrap();
        request["resourceSpans"][0]["scopeSpans"][0]["spans"].clone()
    }

    #[test]
    fn a_request_is_a_span_of_a_server() {
        let text = |value: &str| json!({ "stringValue": value });
        assert_eq!(
            spans(&[served(Operation::GenerateKey, 200)]),
            json!([{
                "traceId": "00000000000000000000000000000af7",
                "spanId": "00000000000000b7",
                "name": "PUT /v1/key/generate/{name}",
                "kind": 2,
                "startTimeUnixNano": "1700000000000000001",
                "endTimeUnixNano": "1700000000000000009",
                "attributes": [
                    { "key": "http.request.method", "value": text("PUT") },
                    { "key": "http.route", "value": text("/v1/key/generate/{name}") },
                    { "key": "http.response.status_code", "value": { "intValue": "200" } },
                    { "key": "url.scheme", "value": text("https") },
                    { "key": "network.protocol.name", "value": text("http") },
                    { "key": "network.protocol.version", "value": text("2") },
                    { "key": "kes.operation", "value": text("GenerateKey") },
                ],
            }])
        );
        let failed = &spans(&[served(Operation::GenerateKey, 502)])[0];
        assert_eq!(failed["status"], json!({ "code": 2 }));
        let last = &failed["attributes"].as_array().unwrap().last();
        assert_eq!(*last, Some(&json!({ "key": "error.type", "value": text("502") })));
        // A mistake of the client is none of the server.
        assert!(spans(&[served(Operation::GenerateKey, 404)])[0].get("status").is_none());
    }

    #[test]
    fn a_call_is_a_span_of_a_client_below_it() {
        let text = |value: &str| json!({ "stringValue": value });
        let call = Call {
            operation: "read",
            store: Kind::new(&"vault"),
            result: "unreachable",
            is_failure: true,
            is_shared: true,
        };
        let ids = Ids { trace: u128::MAX, span: u64::MAX, parent: NonZeroU64::new(0xb7) };
        let span = Span { ids, began: 1, ended: 2, what: What::Call(call) };
        assert_eq!(
            spans(&[span]),
            json!([{
                "traceId": "ffffffffffffffffffffffffffffffff",
                "spanId": "ffffffffffffffff",
                "parentSpanId": "00000000000000b7",
                "name": "keystore read",
                "kind": 3,
                "startTimeUnixNano": "1",
                "endTimeUnixNano": "2",
                "attributes": [
                    { "key": "kes.keystore.kind", "value": text("vault") },
                    { "key": "kes.keystore.operation", "value": text("read") },
                    { "key": "kes.keystore.result", "value": text("unreachable") },
                    { "key": "kes.shared", "value": { "boolValue": true } },
                    { "key": "error.type", "value": text("unreachable") },
                ],
                "status": { "code": 2 },
            }])
        );
    }

    #[test]
    fn the_name_of_a_span_is_that_of_its_route() {
        for route in ROUTES {
            let name = spans(&[served(route.operation, 200)])[0]["name"].clone();
            let rest = name.as_str().unwrap().strip_prefix("PUT ").unwrap();
            let (path, what) = rest.split_once('{').unwrap_or((rest, ""));
            assert_eq!(path, route.path);
            let expected = match route.operation {
                _ if !route.takes_name() => "",
                Operation::ListKeys | Operation::ListPolicies | Operation::ListIdentities => {
                    "pattern}"
                }
                _ => "name}",
            };
            assert_eq!(what, expected, "{path}");
        }
    }

    #[test]
    fn the_resource_is_the_server() {
        let request: serde_json::Value = serde_json::from_slice(&encode(&[])).unwrap();
        let resource = &request["resourceSpans"][0]["resource"]["attributes"];
        let value = |at: usize| resource[at]["value"]["stringValue"].as_str().unwrap().to_owned();
        assert_eq!((value(0), value(1)), ("kes".to_owned(), VERSION.to_owned()));
        let id = value(2);
        let lengths: Vec<usize> = id.split('-').map(str::len).collect();
        assert_eq!(lengths, [8, 4, 4, 4, 12], "{id}");
        assert_eq!(id.as_bytes()[14], b'4', "{id}");
        assert!(b"89ab".contains(&id.as_bytes()[19]), "{id}");
        assert_eq!(id, instance());
    }

    #[test]
    fn an_answer_tells_how_many_spans_were_rejected() {
        for (answer, expected) in [
            ("", Ok(0)),
            ("{}", Ok(0)),
            (r#"{"partialSuccess":{}}"#, Ok(0)),
            (r#"{"partialSuccess":null,"more":[1]}"#, Ok(0)),
            (r#"{"partialSuccess":{"rejectedSpans":"3","errorMessage":"x"}}"#, Ok(3)),
            (r#"{"partialSuccess":{"rejectedSpans":3}}"#, Ok(3)),
            (r#"{"partialSuccess":{"rejectedSpans":"x"}}"#, Err(NoAnswer)),
            (r#"{"partialSuccess":{"rejectedSpans":-1}}"#, Err(NoAnswer)),
            (r#"{"partialSuccess":7}"#, Err(NoAnswer)),
            ("<html>", Err(NoAnswer)),
            ("[]", Err(NoAnswer)),
            ("\0\u{1}", Err(NoAnswer)),
        ] {
            assert_eq!(rejected(answer.as_bytes()), expected, "{answer}");
        }
    }
}
