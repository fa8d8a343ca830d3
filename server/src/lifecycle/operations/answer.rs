use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{Either, Full, StreamBody};
use hyper::body::Incoming;
use tokio::time::timeout;

use super::page::events::{Events, Reading};
use super::page::guard::{Names, check_metrics};
use super::page::{self, Page};
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

/// The body of an answer: a text, or the events of the page.
type Body = Either<Full<Bytes>, StreamBody<Events>>;

/// Answers a request; its body is not read. With a page the connection's reading comes along, which an
/// event stream begins. `names` are those by which a browser may ask.
pub(super) async fn answer<H: Health>(
    request: Request<Incoming>,
    shared: &Arc<Shared<H>>,
    page: Option<(&Page, &Arc<Reading>)>,
    names: &Names,
) -> Result<Response<Body>, Infallible> {
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
    let path = if is_read { request.uri().path() } else { "" };
    if let (Some((page, reading)), "/" | "/events") = (page, path)
        && let Ok(server) = running(shared)
    {
        let headers = request.headers();
        let is_head = request.method() == Method::HEAD;
        let answer = match path {
            "/" => page.document(headers, &*server),
            _ => page.events(headers, is_head, &*server, reading),
        };
        return Ok(of_page(answer));
    }
    let Answer { status, content_type, text } = match path {
        "/live" => live(shared).await,
        "/ready" => ready(shared, leaves_store_out(request.uri().query())),
        "/startup" => startup(shared),
        "/metrics" => match check_metrics(names, request.headers()) {
            Ok(()) => metrics(shared, Format::of(request.headers())),
            Err(why) => plain(StatusCode::FORBIDDEN, why),
        },
        "/" | "/events" if page.is_some() => {
            let why = running(shared).err().unwrap_or(STARTING);
            plain(StatusCode::SERVICE_UNAVAILABLE, why)
        }
        _ => plain(StatusCode::NOT_FOUND, "not found"),
    };
    let mut response = Response::new(Either::Left(Full::from(text)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// An answer of the page.
fn of_page(answer: page::Answer) -> Response<Body> {
    let status = match &answer {
        page::Answer::Refused(_) => StatusCode::FORBIDDEN,
        page::Answer::Full => StatusCode::SERVICE_UNAVAILABLE,
        page::Answer::Document(_) | page::Answer::Events(_) | page::Answer::Head => StatusCode::OK,
    };
    let mut response = Response::new(Either::Left(Full::default()));
    *response.status_mut() = status;
    page::add_headers(response.headers_mut(), &answer);
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    *response.body_mut() = match answer {
        page::Answer::Document(text) => Either::Left(Full::from(text)),
        page::Answer::Events(events) => Either::Right(StreamBody::new(events)),
        page::Answer::Head => Either::Left(Full::default()),
        page::Answer::Refused(why) => Either::Left(Full::from(format!("{why}\n"))),
        page::Answer::Full => Either::Left(Full::from("too many pages are open\n")),
    };
    response
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
