//! Requests that are passed on as they came, to one server.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::client::legacy;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::ClientConfig;
use tokio::time::{Instant, timeout_at};

use crate::body::{TIMEOUT, read};
use crate::connect::{Connector, KEEP_ALIVE};
use crate::endpoints::Endpoint;
use crate::error::Error;

/// How long a connection is kept for the next request. Key servers close it after 90 s: a request
/// that was sent meanwhile would get no answer.
const IDLE: Duration = Duration::from_secs(60);

/// Passes requests on to one server, over connections of its own. Nothing is repeated on another
/// connection once it was sent.
pub struct Relay {
    http: legacy::Client<Connector, Full<Bytes>>,
    endpoint: Endpoint,
}

/// A request to pass on.
#[derive(Clone)]
pub struct Passed {
    /// Its method.
    pub method: Method,
    /// Its path as it came, with the query; or `*`, for the server as a whole.
    pub path: String,
    /// The header fields that are passed on.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

/// The answer to a request that was passed on.
#[derive(Clone)]
pub struct Relayed {
    /// Its status.
    pub status: StatusCode,
    /// Its header fields.
    pub headers: HeaderMap,
    /// Its body, which may hold a plaintext: it is wiped when the last copy is dropped.
    pub body: Bytes,
}

impl Relay {
    /// A relay to a server, with a TLS configuration such as one of [`crate::tls::config`].
    pub fn new(endpoint: Endpoint, tls: ClientConfig) -> Self {
        let http = legacy::Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .http2_keep_alive_interval(KEEP_ALIVE)
            .http2_keep_alive_timeout(KEEP_ALIVE)
            .build(Connector::new(tls));
        Self { http, endpoint }
    }

    /// The server.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Sends a request and reads the whole answer, for 30 s and up to 4 MiB.
    ///
    /// # Errors
    /// [`Error::Connect`], [`Error::Tls`] and [`Error::Timeout`] if there is no answer,
    /// [`Error::Protocol`] if it is too large. Any status is an answer.
    pub async fn call(&self, request: Passed) -> Result<Relayed, Error> {
        let (response, deadline) = self.send(request).await?;
        let (status, headers) = (response.status(), response.headers().clone());
        let body = read(&self.endpoint, response, deadline).await?;
        Ok(Relayed { status, headers, body: Bytes::from_owner(body) })
    }

    /// Sends a request whose answer may have no end. It has to begin within 30 s.
    ///
    /// # Errors
    /// As [`Relay::call`].
    pub async fn open(&self, request: Passed) -> Result<Response<Incoming>, Error> {
        self.send(request).await.map(|(response, _)| response)
    }

    async fn send(&self, request: Passed) -> Result<(Response<Incoming>, Instant), Error> {
        let Passed { method, path, headers, body } = request;
        let uri = self.endpoint.uri(&path).map_err(|error| Error::setup(&error))?;
        let mut request = Request::new(Full::new(body));
        (*request.method_mut(), *request.uri_mut()) = (method, uri);
        *request.headers_mut() = headers;
        let deadline = Instant::now() + TIMEOUT;
        match timeout_at(deadline, self.http.request(request)).await {
            Ok(Ok(response)) => Ok((response, deadline)),
            Ok(Err(error)) if error.is_connect() => Err(Error::connect(&self.endpoint, &error)),
            Ok(Err(error)) => Err(Error::transport(&self.endpoint, &error)),
            Err(_) => Err(Error::timeout(&self.endpoint, TIMEOUT)),
        }
    }
}

impl fmt::Debug for Relay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Relay").field(&self.endpoint).finish()
    }
}
