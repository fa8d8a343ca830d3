//! The protocol of OpenTelemetry by its published definitions, from packages that carry them.

use std::io::Write as _;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::fetch;

/// The definitions, and what reads messages by them.
const PACKAGES: [(&str, &[&str]); 2] = [
    (
        "opentelemetry-proto==1.45.2",
        &["03a7ca1b43f89fd5b965d5975902bb2515c0c86e2428b456836e9a6149c6235a"],
    ),
    ("protobuf==7.36.2", &["bdb3a345d48db958e6ce1f18e508beb0cc981d64f24088427549c866cd039f1e"]),
];

/// Reads requests, one a line. Protobuf's JSON has base64 where that of OTLP has hexadecimal digits.
const READER: &str = r#"
import base64, json, sys
from google.protobuf import json_format
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2

LENGTHS = {"traceId": 32, "spanId": 16, "parentSpanId": 16}

def prepared(node):
    if isinstance(node, list):
        return [prepared(item) for item in node]
    if not isinstance(node, dict):
        return node
    made = {}
    for key, value in node.items():
        if key in LENGTHS:
            assert len(value) == LENGTHS[key], (key, value)
            made[key] = base64.b64encode(bytes.fromhex(value)).decode()
        else:
            made[key] = prepared(value)
    return made

def attributes(of):
    kinds = {"string_value": str, "int_value": int, "bool_value": bool}
    return {one.key: kinds[one.value.WhichOneof("value")](
        getattr(one.value, one.value.WhichOneof("value"))) for one in of.attributes}

spans = []
for line in sys.stdin:
    request = trace_service_pb2.ExportTraceServiceRequest()
    json_format.ParseDict(prepared(json.loads(line)), request)
    for resource in request.resource_spans:
        for scope in resource.scope_spans:
            for span in scope.spans:
                spans.append({
                    "trace": span.trace_id.hex(), "id": span.span_id.hex(),
                    "parent": span.parent_span_id.hex(), "name": span.name,
                    "kind": span.kind, "began": span.start_time_unix_nano,
                    "ended": span.end_time_unix_nano, "status": span.status.code,
                    "attributes": attributes(span),
                    "resource": attributes(resource.resource), "scope": scope.scope.name,
                })
print(json.dumps(spans))
"#;

/// The spans of requests to a collector in JSON, read by the published definitions of the protocol,
/// which know no other fields: objects with `trace`, `id` and `parent` in hexadecimal digits, `name`,
/// `kind`, `began` and `ended` in nanoseconds, `status`, `attributes`, `resource` and `scope`.
///
/// # Panics
/// If one of them is no such request, or the definitions cannot be fetched.
pub fn spans<'a>(requests: impl IntoIterator<Item = &'a [u8]>) -> Vec<Value> {
    let folder = fetch::once("otlp-1.45.2", |work, ready| {
        fetch::wheels(work, &PACKAGES);
        for entry in std::fs::read_dir(work).expect("a folder can be read") {
            let wheel = entry.expect("a folder can be read").path();
            if fetch::is_wheel(&wheel) {
                fetch::unpack("zipfile", &wheel, &ready.join("python"));
            }
        }
    });
    let mut reader = Command::new("python3")
        .args(["-c", READER])
        .env("PYTHONPATH", folder.join("python"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("python3 starts");
    let lines: Vec<u8> = requests.into_iter().flat_map(|one| [one, b"\n"].concat()).collect();
    let mut stdin = reader.stdin.take().expect("it is a pipe");
    let writing = std::thread::spawn(move || stdin.write_all(&lines));
    let output = reader.wait_with_output().expect("python3 ends");
    // A reader that finds a fault does not read the rest.
    let _ = writing.join();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "not a request of OTLP: {said}");
    serde_json::from_slice(&output.stdout).expect("the reader prints JSON")
}
