//! A server that answers as the reference did when its answers were recorded.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::harness::{BASE64, Server};

/// Starts one with the certificate of a server, which asks its clients for none, and returns its
/// address. Which of the recorded
/// requests it gets stands in `user-agent`, which the shadow passes on; any other request is
/// refused.
pub(super) async fn start(server: &Server, recorded: Arc<Vec<Value>>) -> String {
    let config = ServerConfig::builder_with_provider(kes_tls::provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![server.tls.certificate.clone()], server.tls.private_key())
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let names: Arc<HashMap<&str, String>> = Arc::new(HashMap::from([
        ("<ai>", server.admin.identity.clone()),
        ("<mi>", server.minio.identity.clone()),
        ("<oi>", server.other.identity.clone()),
    ]));
    tokio::spawn(async move {
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            let (acceptor, recorded) = (acceptor.clone(), Arc::clone(&recorded));
            let names = Arc::clone(&names);
            tokio::spawn(async move {
                let Ok(tls) = acceptor.accept(socket).await else { return };
                let service = service_fn(move |request: http::Request<Incoming>| {
                    let answer = answer(&request, &recorded, &names);
                    async { Ok::<_, Infallible>(answer) }
                });
                let _ = http1::Builder::new().serve_connection(TokioIo::new(tls), service).await;
            });
        }
    });
    address
}

fn answer(
    request: &http::Request<Incoming>,
    recorded: &[Value],
    names: &HashMap<&str, String>,
) -> http::Response<Full<Bytes>> {
    let number = request.headers().get("user-agent").and_then(|agent| agent.to_str().ok());
    let number = number.and_then(|agent| agent.strip_prefix("recorded-")?.parse::<usize>().ok());
    let Some(answer) = number.map(|number| &recorded[number]["answer"]) else {
        let body = r#"{"message":"not authorized: insufficient permissions"}"#;
        return http::Response::builder().status(403).body(Full::from(body)).unwrap();
    };
    let status = u16::try_from(answer["status"].as_u64().unwrap()).unwrap();
    let mut response = http::Response::builder().status(status);
    for (field, name) in [("type", "content-type"), ("location", "location"), ("accept", "accept")]
    {
        if let Some(value) = answer[field].as_str() {
            response = response.header(name, value);
        }
    }
    let body = filled(answer["body"].as_str().unwrap_or_default(), names);
    response.body(Full::from(body)).unwrap()
}

/// The body with something in place of each `<…>`.
fn filled(body: &str, names: &HashMap<&str, String>) -> String {
    let mut body = body.to_owned();
    for (hole, name) in names {
        body = body.replace(hole, name);
    }
    for count in 0..128 {
        let bytes = BASE64.encode_to_string(vec![7; count]);
        body = body.replace(&format!("<{count} bytes>"), &bytes);
    }
    body.replace("<time>", "2026-11-22T02:24:09.123456789Z").replace("<n>", "1").replace("<v>", "v")
}
