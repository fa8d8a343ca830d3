//! What Vault is told of the trace of a request (contract `vault.md`, Connections).

use std::collections::BTreeSet;
use std::time::Duration;

use kes_testkit::faulty::{Faulty, Reply, Request};
use kes_testkit::otlp;
use kes_testkit::wait::eventually_async;
use serde_json::{Value, json};

use super::world::{Layout, World};
use crate::harness::{self, Protocol, Server, Who};

const PATIENCE: Duration = Duration::from_secs(60);

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

#[test]
fn the_requests_of_a_call_are_below_its_span() {
    harness::run(async {
        let world = World::new(Layout { tls: false, ..Layout::V1 });
        let vault = world.bao.admin_address();
        let node = Faulty::start(move |_: &Request| Reply::Forward(vault));
        let collector = Faulty::start(|_| Reply::json(200, json!({})));
        let traces = format!("{{ endpoint: '{}', sample: 0 }}", collector.url());
        let server = Server::with(&world.config_at(&node.url()).with("traces", &traces));
        // What Vault was sent as a part of a trace: the path, and the span above.
        let told = || -> Vec<(String, String)> {
            let requests = node.requests().into_iter();
            let told = requests.filter_map(|request| {
                let parent = request.header("traceparent")?;
                let span = parent.strip_prefix(&format!("00-{TRACE}-")).expect(parent);
                let span = span.strip_suffix("-01").expect(parent);
                Some((request.path().to_owned(), span.to_owned()))
            });
            told.collect()
        };
        let mut minio = server.client(Who::Minio, Protocol::H2).await;
        assert_eq!(minio.send("PUT", "/v1/key/create/plain", "").await.status, 200);
        assert_eq!(told(), [], "a request that is not traced");

        let parent = format!("00-{TRACE}-b7ad6b7169203331-01");
        let headers = [("traceparent", parent.as_str())];
        let mut operator = server.client(Who::Other, Protocol::H2).await;
        for (method, path, status) in [
            ("PUT", "/v1/key/create/traced", 200),
            ("PUT", "/v1/key/generate/none", 404),
            ("DELETE", "/v1/key/delete/traced", 200),
        ] {
            let client = if method == "DELETE" { &mut operator } else { &mut minio };
            let reply = client.try_send(method, path, &headers, "".into()).await.unwrap();
            assert_eq!(reply.status, status, "{reply:?}");
        }
        let sent = || collector.requests().into_iter().map(|request| request.body);
        eventually_async(PATIENCE, "the spans are sent", async || {
            sent().any(|body| String::from_utf8_lossy(&body).contains("DeleteKey"))
        })
        .await;
        let bodies: Vec<_> = sent().collect();
        let spans = otlp::spans(bodies.iter().map(|body| &body[..]));
        let call = |id: &str| -> Option<&Value> {
            let span = spans.iter().find(|span| span["id"] == id)?;
            Some(&span["attributes"]["kes.keystore.operation"])
        };
        let mut calls = BTreeSet::new();
        for (path, span) in told() {
            let operation = call(&span).and_then(Value::as_str);
            let operation = operation.unwrap_or_else(|| panic!("{span} of {path}: {spans:#?}"));
            calls.insert((operation.to_owned(), path));
        }
        for (operation, path) in
            [("create", "/v1/kv/traced"), ("read", "/v1/kv/none"), ("delete", "/v1/kv/traced")]
        {
            let call = (operation.to_owned(), path.to_owned());
            assert!(calls.contains(&call), "{call:?} in {calls:?}");
        }
    });
}
