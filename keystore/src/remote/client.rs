//! Requests to the endpoints of one store: connections that are kept and reused, time limits, one
//! repeat of what is safe to repeat, several endpoints in turn, redirects to endpoints of the
//! configuration, and answers of bounded size.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use http::header::LOCATION;
use http::{Method, StatusCode};
use kes_api::SecretBytes;
use reqwest::Proxy;
use rustls::ClientConfig;
use tokio::sync::Semaphore;
use tokio::time;
use url::Url;

use super::cause::{innermost, is_certificate};
use super::exchange::{Exchange, Request};
use super::fault::{Fault, Refusal};
use super::pool::{build, proxy};
use super::redact;
use super::sends::{MAX_LINGERING, Sent, send};
use super::sink::{Answer, BodySink};
use crate::config;

/// The time limit of most exchanges, from sending to the last byte of the answer. Two tries fit in
/// the 12 s of a whole call.
pub(crate) const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// How many idle connections are kept for each endpoint.
const MAX_IDLE: usize = 64;

/// The longest body of an error. Those of Vault are below 1 KiB.
const MAX_ERROR_LEN: usize = 64 * 1024;

/// Connections to the endpoints of one store.
pub(crate) struct Client {
    endpoints: Vec<Endpoint>,
    /// The endpoint that answered last.
    active: AtomicUsize,
    /// Keeps connections. It is replaced when one of them turns out to be dead without notice,
    /// because the others are then likely to be dead as well.
    pooled: ArcSwap<reqwest::Client>,
    /// Makes a new connection for each request.
    fresh: reqwest::Client,
    tls: ClientConfig,
    proxy: Option<Proxy>,
    /// Bounds the requests that go on after their time limit.
    lingering: Arc<Semaphore>,
}

struct Endpoint {
    url: Url,
    /// Scheme, host and port: for texts, and to know where a redirect may lead.
    origin: String,
}

impl Client {
    pub(crate) fn new(
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
            lingering: Arc::new(Semaphore::new(MAX_LINGERING)),
        })
    }

    /// Sends a request whose answer fits in memory; otherwise as [`Client::send_into`].
    pub(crate) async fn send<E: Exchange>(
        &self,
        exchange: &E,
    ) -> Result<Answer, Fault<E::Refusal>> {
        let mut body = SecretBytes::default();
        let endpoint = self.send_into(exchange, &mut body).await?;
        Ok(Answer { endpoint, body })
    }

    /// Sends a request, and returns the endpoint that answered. It tries the endpoints in turn,
    /// from the one that answered last, as long as the request cannot have been carried out or is
    /// safe to repeat. If there is one endpoint, it sends what is safe to repeat once more on a new
    /// connection.
    pub(crate) async fn send_into<E: Exchange>(
        &self,
        exchange: &E,
        sink: &mut impl BodySink,
    ) -> Result<String, Fault<E::Refusal>> {
        let repeatable = exchange.request().repeatable;
        let first = self.active.load(Ordering::Relaxed);
        let count = self.endpoints.len();
        let mut turn = 0;
        let mut others = String::new();
        let mut may_pass = false;
        loop {
            let at = (first + turn) % count;
            let pool = if turn == 0 { Pool::Kept } else { Pool::Fresh };
            let fault = match self.send_to(at, pool, exchange, sink).await {
                Ok(at) => {
                    self.active.store(at, Ordering::Relaxed);
                    return Ok(self.endpoint(at).origin.clone());
                }
                Err(fault) => fault,
            };
            turn += 1;
            may_pass |= fault.may_pass();
            let more = if count == 1 {
                turn == 1 && repeatable && matches!(fault, Fault::NoAnswer { .. })
            } else {
                turn < count && (fault.is_not_done() || repeatable && fault.may_be_of_the_node())
            };
            if !more {
                // A refusal is the answer, whichever endpoints were away before.
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

    /// An endpoint by its place in the list, as the callers of this function have it.
    #[expect(clippy::indexing_slicing, reason = "places are below the number of endpoints")]
    fn endpoint(&self, at: usize) -> &Endpoint {
        &self.endpoints[at]
    }

    async fn send_to<E: Exchange>(
        &self,
        at: usize,
        pool: Pool,
        exchange: &E,
        sink: &mut impl BodySink,
    ) -> Result<usize, Fault<E::Refusal>> {
        let url = self.endpoint(at).url(exchange.request());
        let (response, sent) = self.send_once(at, pool, &url, exchange).await?;
        if !response.status().is_redirection() {
            self.take(at, response, sent, exchange, sink).await?;
            return Ok(at);
        }
        if let Some(sent) = sent {
            sent.answered();
        }
        let (at, url) = self.follow(at, &url, &response, exchange)?;
        let (response, sent) = self.send_once(at, pool, &url, exchange).await?;
        if response.status().is_redirection() {
            if let Some(sent) = sent {
                sent.answered();
            }
            let target = target(&url, &response);
            return Err(self.redirected(at, target.as_ref(), "it is the second in a row"));
        }
        self.take(at, response, sent, exchange, sink).await?;
        Ok(at)
    }

    /// Sends once and reads the head of the answer.
    async fn send_once<E: Exchange>(
        &self,
        at: usize,
        pool: Pool,
        url: &Url,
        exchange: &E,
    ) -> Result<(reqwest::Response, Option<Sent>), Fault<E::Refusal>> {
        let kept = self.pooled.load_full();
        let client = match pool {
            Pool::Kept => &*kept,
            Pool::Fresh => &self.fresh,
        };
        let Request { method, body, limit, sends, .. } = exchange.request();
        let mut request = client.request(method.clone(), url.clone()).headers(exchange.headers());
        if let Some(body) = body {
            request = request.body(body.clone());
        }
        let Some(sends) = sends else {
            let response = request.timeout(*limit).send().await;
            let response = response.map_err(|error| self.fault(at, &error, *limit, &kept))?;
            return Ok((response, None));
        };
        match send(request, sends, *limit, &self.lingering).await {
            Some((Ok(response), sent)) => Ok((response, Some(sent))),
            Some((Err(error), sent)) => {
                let fault = self.fault(at, &error, *limit, &kept);
                if !fault.is_unsure() {
                    sent.answered();
                }
                Err(fault)
            }
            None => {
                self.drop_connections(&kept);
                Err(self.no_data(at, *limit))
            }
        }
    }

    /// Where a redirect leads. It is followed to another endpoint of the configuration, and to no
    /// other server, because the token is sent with it.
    fn follow<E: Exchange>(
        &self,
        at: usize,
        url: &Url,
        response: &reqwest::Response,
        exchange: &E,
    ) -> Result<(usize, Url), Fault<E::Refusal>> {
        let target = target(url, response);
        let refuse = |reason| Err(self.redirected(at, target.as_ref(), reason));
        let keeps_method = matches!(
            response.status(),
            StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT
        );
        if !keeps_method && exchange.request().method != Method::GET {
            return refuse("it would change the method");
        }
        let Some(next) = &target else {
            return refuse("that is not followed");
        };
        if next.scheme() != url.scheme() {
            return refuse("a redirect to another scheme is not followed");
        }
        let origin = next.origin().ascii_serialization();
        match self.endpoints.iter().position(|endpoint| endpoint.origin == origin) {
            Some(at) => Ok((at, next.clone())),
            None => refuse("that is not an endpoint of the configuration"),
        }
    }

    /// The fault of a redirect that is not followed.
    fn redirected<R: Refusal>(
        &self,
        at: usize,
        target: Option<&Url>,
        reason: &'static str,
    ) -> Fault<R> {
        let Endpoint { url, origin } = self.endpoint(at);
        let endpoints: Vec<Url> = self.endpoints.iter().map(|other| other.url.clone()).collect();
        let target = redact::redirect_target(target, url, &endpoints);
        Fault::Redirected { endpoint: origin.clone(), target, reason }
    }

    /// Receives an answer, and notes whether it tells the outcome of its request.
    async fn take<E: Exchange>(
        &self,
        at: usize,
        response: reqwest::Response,
        sent: Option<Sent>,
        exchange: &E,
        sink: &mut impl BodySink,
    ) -> Result<(), Fault<E::Refusal>> {
        let Some(sent) = sent else { return self.parse(at, response, exchange, sink).await };
        let limit = exchange.request().limit;
        let taken = time::timeout(limit, self.parse(at, response, exchange, sink)).await;
        let taken = taken.unwrap_or_else(|_| Err(self.no_data(at, limit)));
        if !taken.as_ref().is_err_and(Fault::is_unsure) {
            sent.answered();
        }
        taken
    }

    /// Writes the body of a 2xx answer to the sink, and makes a fault of any other answer.
    async fn parse<E: Exchange>(
        &self,
        at: usize,
        response: reqwest::Response,
        exchange: &E,
        sink: &mut impl BodySink,
    ) -> Result<(), Fault<E::Refusal>> {
        let Request { max_len, limit, .. } = *exchange.request();
        let status = response.status();
        exchange.observe(response.headers());
        if status.is_success() {
            return self.receive(at, response, max_len, limit, sink).await;
        }
        let mut body = SecretBytes::default();
        self.receive::<E::Refusal>(at, response, MAX_ERROR_LEN, limit, &mut body).await?;
        let refusal = E::Refusal::parse(body.expose(), exchange.name());
        let endpoint = self.endpoint(at).origin.clone();
        Err(Fault::Refused { endpoint, status, refusal })
    }

    /// Reads a body.
    async fn receive<R: Refusal>(
        &self,
        at: usize,
        mut response: reqwest::Response,
        max_len: usize,
        limit: Duration,
        sink: &mut impl BodySink,
    ) -> Result<(), Fault<R>> {
        let endpoint = &self.endpoint(at).origin;
        let announced = response.content_length().unwrap_or(0);
        let too_long = || Fault::BadAnswer {
            endpoint: endpoint.clone(),
            reason: format!("it is longer than {max_len} bytes"),
        };
        let announced = usize::try_from(announced).unwrap_or(usize::MAX);
        if announced > max_len {
            return Err(too_long());
        }
        let bad = |bad| Fault::<R>::bad_answer(endpoint, bad);
        sink.begin(announced);
        let pool = self.pooled.load_full();
        let mut len = 0;
        while let Some(piece) =
            response.chunk().await.map_err(|error| self.fault::<R>(at, &error, limit, &pool))?
        {
            len += piece.len();
            if len > max_len {
                return Err(too_long());
            }
            sink.write(piece).map_err(bad)?;
        }
        sink.end().map_err(bad)
    }

    fn fault<R: Refusal>(
        &self,
        at: usize,
        error: &reqwest::Error,
        limit: Duration,
        used: &Arc<reqwest::Client>,
    ) -> Fault<R> {
        let endpoint = self.endpoint(at).origin.clone();
        if is_certificate(error) {
            return Fault::Untrusted { endpoint, reason: innermost(error) };
        }
        if error.is_connect() {
            return Fault::NoConnection { endpoint, reason: innermost(error) };
        }
        if error.is_timeout() {
            self.drop_connections(used);
            return self.no_data(at, limit);
        }
        Fault::NoAnswer { endpoint, reason: innermost(error) }
    }

    fn no_data<R: Refusal>(&self, at: usize, limit: Duration) -> Fault<R> {
        let reason = format!("no data arrived within {} s", limit.as_secs());
        Fault::NoAnswer { endpoint: self.endpoint(at).origin.clone(), reason }
    }

    /// Drops the kept connections, unless another call has done so since `used` was taken.
    fn drop_connections(&self, used: &Arc<reqwest::Client>) {
        // A client of the same parts was built before, so this does not fail.
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
    fn url(&self, request: &Request) -> Url {
        let mut url = self.url.clone();
        url.set_path(&format!("{}{}", self.url.path().trim_end_matches('/'), request.path));
        url.set_query(request.query.as_deref());
        url
    }
}

/// Where a redirect leads; `None` if that is missing or no URL.
fn target(url: &Url, response: &reqwest::Response) -> Option<Url> {
    url.join(response.headers().get(LOCATION)?.to_str().ok()?).ok()
}

#[cfg(test)]
mod tests;
