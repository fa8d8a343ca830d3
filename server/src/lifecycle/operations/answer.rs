use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use tokio::time::timeout;

use super::{Health, Shared};
use crate::observe::metrics::{Exposition, Format};

/// How long the accept loop of the API may take to answer. Probes wait for 1 s by default; the loop
/// answers within microseconds on a machine that is not overloaded.
const ANSWER_LIMIT: Duration = Duration::from_millis(900);

/// What a request gets.
struct Answer {
    status: StatusCode,
    content_type: &'static str,
    text: String,
}

/// Answers a request; its body is not read.
pub(super) async fn answer<H: Health>(
    request: Request<Incoming>,
    shared: &Arc<Shared<H>>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
    let path = if is_read { request.uri().path() } else { "" };
    let Answer { status, content_type, text } = match path {
        "/live" => live(shared).await,
        "/ready" => ready(shared, leaves_store_out(request.uri().query())),
        "/startup" => startup(shared),
        "/metrics" => metrics(shared, Format::of(request.headers())),
        _ => plain(StatusCode::NOT_FOUND, "not found"),
    };
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// Whether the process works: not, if it has to be restarted. One that starts or stops works.
async fn live<H: Health>(shared: &Shared<H>) -> Answer {
    match running(shared) {
        Ok(server) if timeout(ANSWER_LIMIT, server.answers()).await.is_err() => {
            plain(StatusCode::SERVICE_UNAVAILABLE, "the server accepts no connections")
        }
        _ => plain(StatusCode::OK, "ok"),
    }
}

/// Whether requests can be served.
fn ready<H: Health>(shared: &Shared<H>, leaves_store_out: bool) -> Answer {
    match running(shared) {
        Err(why) => plain(StatusCode::SERVICE_UNAVAILABLE, why),
        Ok(server) if leaves_store_out || server.is_store_reachable() => {
            plain(StatusCode::OK, "ok")
        }
        Ok(_) => plain(StatusCode::SERVICE_UNAVAILABLE, "the key store is not available"),
    }
}

/// Whether the server has started; that does not change again.
fn startup<H: Health>(shared: &Shared<H>) -> Answer {
    match shared.server.get() {
        Some(_) => plain(StatusCode::OK, "ok"),
        None => plain(StatusCode::SERVICE_UNAVAILABLE, STARTING),
    }
}

fn metrics<H: Health>(shared: &Shared<H>, format: Format) -> Answer {
    match shared.server.get().and_then(std::sync::Weak::upgrade) {
        Some(server) => {
            let Exposition { content_type, text } = server.metrics(format);
            Answer { status: StatusCode::OK, content_type, text }
        }
        None => plain(StatusCode::SERVICE_UNAVAILABLE, STARTING),
    }
}

const STARTING: &str = "the server is starting";

/// The server, or why it does not serve.
fn running<H: Health>(shared: &Shared<H>) -> Result<Arc<H>, &'static str> {
    if shared.is_stopping.load(Ordering::Relaxed) {
        return Err("the server is stopping");
    }
    shared.server.get().and_then(std::sync::Weak::upgrade).ok_or(STARTING)
}

/// Whether a query has `keystore=false`.
fn leaves_store_out(query: Option<&str>) -> bool {
    let mut parameters = query.unwrap_or_default().split('&');
    parameters.any(|parameter| parameter == "keystore=false")
}

fn plain(status: StatusCode, text: &str) -> Answer {
    Answer { status, content_type: "text/plain; charset=utf-8", text: format!("{text}\n") }
}
