//! Requests to Vault, without knowing what they mean: connections that are kept and reused, time
//! limits, one repeat of what is safe to repeat, several endpoints in turn, redirects by hand,
//! and answers of bounded size.

/// Why a request failed.
mod cause;

/// Connections that are kept.
mod pool;

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::header::{HeaderName, HeaderValue, LOCATION};
use http::{Method, StatusCode};
use reqwest::Proxy;
use rustls::ClientConfig;
use url::Url;

use self::cause::innermost;
use self::pool::{build, proxy};
use super::asked::{Asked, Capability};
use super::body::Buffer;
use super::consistency::Consistency;
use super::fault::{Detail, Fault, clean};
use super::sink::BodySink;
use crate::config;

/// From sending to the last byte of the answer. Two tries fit in the limit of a whole call
/// ([`super::CALL_LIMIT`]).
pub(super) const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// Idle connections that are kept for each endpoint.
const MAX_IDLE: usize = 64;

/// What is read of the body of an error. Vault's own are below 1 KiB.
const MAX_ERROR_LEN: usize = 64 * 1024;

const TOKEN: HeaderName = HeaderName::from_static("x-vault-token");
const NAMESPACE: HeaderName = HeaderName::from_static("x-vault-namespace");
/// Required by Vault's own proxies (`require_request_header`), against forged requests.
const REQUEST: HeaderName = HeaderName::from_static("x-vault-request");

/// Connections to the endpoints of one Vault.
pub(super) struct Client {
    endpoints: Vec<Endpoint>,
    /// The endpoint that answered last.
    active: AtomicUsize,
    /// Keeps connections. It is replaced when one of them turns out to be dead without a word,
    /// because the others are then likely to be dead as well.
    pooled: ArcSwap<reqwest::Client>,
    /// Makes a new connection for each request.
    fresh: reqwest::Client,
    tls: ClientConfig,
    proxy: Option<Proxy>,
    pub(super) consistency: Consistency,
}

struct Endpoint {
    url: Url,
    /// Scheme, host and port: for texts, and to know where a redirect may lead.
    origin: String,
}

/// One request.
#[derive(Clone)]
pub(super) struct Call {
    pub(super) method: Method,
    /// From `/v1/` on, percent-encoded.
    pub(super) path: String,
    pub(super) query: Option<Cow<'static, str>>,
    pub(super) body: Option<Bytes>,
    /// The right that it needs.
    pub(super) right: Capability,
    /// Whether a 403 may mean something else than a token that is no longer valid. The caller then
    /// judges it: there is no new login and no repeat.
    pub(super) judges_denial: bool,
    /// Whether doing it twice is the same as doing it once.
    pub(super) repeatable: bool,
    /// Whether it must see the latest state, also at a node that lags behind.
    pub(super) consistent: bool,
    /// The longest answer that is taken in, in bytes.
    pub(super) max_len: usize,
    /// From sending to the last byte of the answer.
    pub(super) limit: Duration,
}

/// Who asks.
#[derive(Clone, Copy, Default)]
pub(super) struct Credentials<'a> {
    pub(super) token: Option<&'a HeaderValue>,
    pub(super) namespace: Option<&'a HeaderValue>,
    /// The secret of a login.
    pub(super) secret: Option<&'a str>,
}

impl<'a> Credentials<'a> {
    /// What shows in no text, should whoever answers repeat it.
    fn hidden(&self) -> Option<&'a str> {
        self.secret.or_else(|| self.token?.to_str().ok())
    }
}

impl Client {
    pub(super) fn new(
        endpoints: Vec<Url>,
        tls: ClientConfig,
        proxies: &[config::Proxy],
    ) -> reqwest::Result<Self> {
        let proxy = proxy(proxies);
        let endpoints = endpoints
            .into_iter()
            .map(|url| Endpoint { origin: url.origin().ascii_serialization(), url })
            .collect();
        Ok(Self {
            endpoints,
            active: AtomicUsize::new(0),
            pooled: ArcSwap::from_pointee(build(tls.clone(), proxy.clone(), MAX_IDLE)?),
            fresh: build(tls.clone(), proxy.clone(), 0)?,
            tls,
            proxy,
            consistency: Consistency::default(),
        })
    }

    /// Sends a request. Endpoints are tried in turn, from the one that answered last, where the
    /// request cannot have been carried out or is safe to repeat; with one endpoint, what is safe
    /// to repeat is sent once more on a new connection. The endpoint that answered.
    pub(super) async fn send_into(
        &self,
        call: &Call,
        who: Credentials<'_>,
        sink: &mut impl BodySink,
    ) -> Result<String, Fault> {
        let first = self.active.load(Ordering::Relaxed);
        let count = self.endpoints.len();
        let mut turn = 0;
        let mut others = String::new();
        let mut may_pass = false;
        loop {
            let at = (first + turn) % count;
            let pool = if turn == 0 { Pool::Kept } else { Pool::Fresh };
            let fault = match self.send_to(at, pool, call, who, sink).await {
                Ok(at) => {
                    self.active.store(at, Ordering::Relaxed);
                    return Ok(self.endpoints[at].origin.clone());
                }
                Err(fault) => fault,
            };
            turn += 1;
            may_pass |= fault.may_pass();
            let more = if count == 1 {
                turn == 1 && call.repeatable && matches!(fault, Fault::NoAnswer { .. })
            } else {
                turn < count && (fault.is_not_done() || call.repeatable && is_trouble(&fault))
            };
            if !more {
                // A refusal is the answer, whoever was away before.
                let is_answer = !(fault.may_pass() || fault.is_not_done());
                return Err(if others.is_empty() || is_answer {
                    fault
                } else {
                    Fault::Several { last: Box::new(fault), others, may_pass }
                });
            }
            if count > 1 {
                let and = if others.is_empty() { "" } else { "; " };
                others = format!("{others}{and}{fault}");
            }
        }
    }

    async fn send_to(
        &self,
        at: usize,
        pool: Pool,
        call: &Call,
        who: Credentials<'_>,
        sink: &mut impl BodySink,
    ) -> Result<usize, Fault> {
        let url = self.endpoints[at].url(call);
        let response = self.exchange(at, pool, &url, call, who).await?;
        if !response.status().is_redirection() {
            self.take(at, response, call, who, sink).await?;
            return Ok(at);
        }
        let (at, url) = self.follow(at, &url, &response, call, who)?;
        let response = self.exchange(at, pool, &url, call, who).await?;
        if response.status().is_redirection() {
            let endpoint = self.endpoints[at].origin.clone();
            let target = location(&response).unwrap_or_default();
            return Err(Fault::Redirected {
                endpoint,
                target: clean(&target, who.hidden()),
                reason: "it is the second in a row",
            });
        }
        self.take(at, response, call, who, sink).await?;
        Ok(at)
    }

    /// Sends once and reads the head of the answer.
    async fn exchange(
        &self,
        at: usize,
        pool: Pool,
        url: &Url,
        call: &Call,
        who: Credentials<'_>,
    ) -> Result<reqwest::Response, Fault> {
        let kept = self.pooled.load_full();
        let client = match pool {
            Pool::Kept => &*kept,
            Pool::Fresh => &self.fresh,
        };
        let mut request = client
            .request(call.method.clone(), url.clone())
            .timeout(call.limit)
            .header(REQUEST, HeaderValue::from_static("true"));
        if let Some(namespace) = who.namespace {
            request = request.header(NAMESPACE, namespace);
        }
        if let Some(token) = who.token {
            request = request.header(TOKEN, token);
        }
        if call.consistent {
            for (name, value) in self.consistency.headers().into_iter().flatten() {
                request = request.header(name, value);
            }
        }
        if let Some(body) = &call.body {
            request = request
                .header(http::header::CONTENT_TYPE, HeaderValue::from_static("application/json"))
                .body(body.clone());
        }
        request.send().await.map_err(|error| self.fault(at, &error, call.limit, &kept))
    }

    /// Where a redirect leads: to another endpoint of the configuration, and nowhere else,
    /// because the token goes with it.
    fn follow(
        &self,
        at: usize,
        url: &Url,
        response: &reqwest::Response,
        call: &Call,
        who: Credentials<'_>,
    ) -> Result<(usize, Url), Fault> {
        let endpoint = self.endpoints[at].origin.clone();
        let target = location(response).unwrap_or_default();
        let refuse = |target: &str, reason| {
            let target = clean(target, who.hidden());
            Fault::Redirected { endpoint, target, reason }
        };
        let keeps_method = matches!(
            response.status(),
            StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT
        );
        if !keeps_method && call.method != Method::GET {
            return Err(refuse(&target, "it would change the method"));
        }
        let Ok(next) = url.join(&target) else {
            return Err(refuse(&target, "that is no URL"));
        };
        let origin = next.origin().ascii_serialization();
        if next.scheme() != url.scheme() {
            return Err(refuse(&origin, "the scheme differs"));
        }
        match self.endpoints.iter().position(|endpoint| endpoint.origin == origin) {
            Some(at) => Ok((at, next)),
            None => Err(refuse(&origin, "that is not an endpoint of the configuration")),
        }
    }

    /// Takes an answer: the body of a 2xx one goes to the sink, any other is a fault.
    async fn take(
        &self,
        at: usize,
        response: reqwest::Response,
        call: &Call,
        who: Credentials<'_>,
        sink: &mut impl BodySink,
    ) -> Result<(), Fault> {
        let status = response.status();
        self.consistency.learn(response.headers());
        if status.is_success() {
            return self.receive(at, response, call.max_len, call.limit, sink).await;
        }
        let mut body = Buffer::default();
        self.receive(at, response, MAX_ERROR_LEN, call.limit, &mut body).await?;
        let detail = Detail::parse(body.as_slice(), who.hidden());
        let endpoint = self.endpoints[at].origin.clone();
        Err(Fault::Refused { endpoint, status, asked: Asked::default(), detail })
    }

    /// Reads a body.
    async fn receive(
        &self,
        at: usize,
        mut response: reqwest::Response,
        max_len: usize,
        limit: Duration,
        sink: &mut impl BodySink,
    ) -> Result<(), Fault> {
        let endpoint = &self.endpoints[at].origin;
        let announced = response.content_length().unwrap_or(0);
        let too_long = || Fault::BadAnswer {
            endpoint: endpoint.clone(),
            reason: format!("it is longer than {max_len} bytes"),
        };
        let announced = usize::try_from(announced).unwrap_or(usize::MAX);
        if announced > max_len {
            return Err(too_long());
        }
        let bad = |bad| Fault::bad_answer(endpoint, bad);
        sink.begin(announced);
        let pool = self.pooled.load_full();
        let mut len = 0;
        while let Some(piece) =
            response.chunk().await.map_err(|error| self.fault(at, &error, limit, &pool))?
        {
            len += piece.len();
            if len > max_len {
                return Err(too_long());
            }
            sink.write(piece).map_err(bad)?;
        }
        sink.end().map_err(bad)
    }

    fn fault(
        &self,
        at: usize,
        error: &reqwest::Error,
        limit: Duration,
        used: &Arc<reqwest::Client>,
    ) -> Fault {
        let endpoint = self.endpoints[at].origin.clone();
        if cause::is_certificate(error) {
            return Fault::Untrusted { endpoint, reason: innermost(error) };
        }
        if error.is_connect() {
            return Fault::NoConnection { endpoint, reason: innermost(error) };
        }
        let reason = if error.is_timeout() {
            self.drop_connections(used);
            format!("no data arrived within {} s", limit.as_secs())
        } else {
            innermost(error)
        };
        Fault::NoAnswer { endpoint, reason }
    }

    /// Forgets the kept connections, unless somebody just did.
    fn drop_connections(&self, used: &Arc<reqwest::Client>) {
        // It was built once from the same parts, so it can be built again.
        if let Ok(client) = build(self.tls.clone(), self.proxy.clone(), MAX_IDLE) {
            self.pooled.compare_and_swap(used, Arc::new(client));
        }
    }
}

#[derive(Clone, Copy)]
enum Pool {
    Kept,
    Fresh,
}

impl Endpoint {
    fn url(&self, call: &Call) -> Url {
        let mut url = self.url.clone();
        url.set_path(&format!("{}{}", self.url.path().trim_end_matches('/'), call.path));
        url.set_query(call.query.as_deref());
        url
    }
}

/// Whether another endpoint may do better.
fn is_trouble(fault: &Fault) -> bool {
    matches!(fault, Fault::NoAnswer { .. } | Fault::BadAnswer { .. })
        || fault.status().is_some_and(|status| status.is_server_error())
}

fn location(response: &reqwest::Response) -> Option<String> {
    Some(response.headers().get(LOCATION)?.to_str().ok()?.to_owned())
}
