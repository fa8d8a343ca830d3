//! Requests to Vault: what its protocol adds to plain HTTP.

use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use rustls::ClientConfig;
use url::Url;

use super::call::Call;
use super::consistency::Consistency;
use super::fault::{Fault, Refusal};
use crate::config;
use crate::remote::{self, Answer, BodySink, Exchange, Request};
use crate::traced::traceparent;

const TOKEN: HeaderName = HeaderName::from_static("x-vault-token");
const NAMESPACE: HeaderName = HeaderName::from_static("x-vault-namespace");
/// Required by Vault's own proxies (`require_request_header`), against forged requests.
const REQUEST: HeaderName = HeaderName::from_static("x-vault-request");

/// The span that a call is below, if it is part of a trace (W3C Trace Context).
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// Connections to the endpoints of one Vault.
pub(super) struct Client {
    http: remote::Client,
    pub(super) consistency: Consistency,
}

/// The credentials of a call.
#[derive(Clone, Copy, Default)]
pub(super) struct Credentials<'a> {
    pub(super) token: Option<&'a HeaderValue>,
    pub(super) namespace: Option<&'a HeaderValue>,
    /// The name of a role in a login, which is no secret.
    pub(super) role: Option<&'a str>,
}

impl Client {
    pub(super) fn new(
        endpoints: Vec<Url>,
        tls: ClientConfig,
        proxies: &[config::Proxy],
    ) -> reqwest::Result<Self> {
        let http = remote::Client::new(endpoints, tls, proxies)?;
        Ok(Self { http, consistency: Consistency::default() })
    }

    /// Sends a call as [`remote::Client::send`] does.
    pub(super) async fn send(&self, call: &Call, who: Credentials<'_>) -> Result<Answer, Fault> {
        self.http.send(&Outgoing { call, who, consistency: &self.consistency }).await
    }

    /// Sends a call as [`remote::Client::send_into`] does.
    pub(super) async fn send_into(
        &self,
        call: &Call,
        who: Credentials<'_>,
        sink: &mut impl BodySink,
    ) -> Result<String, Fault> {
        self.http.send_into(&Outgoing { call, who, consistency: &self.consistency }, sink).await
    }
}

/// A call that is sent.
struct Outgoing<'a> {
    call: &'a Call,
    who: Credentials<'a>,
    consistency: &'a Consistency,
}

impl Exchange for Outgoing<'_> {
    type Refusal = Refusal;

    fn request(&self) -> &Request {
        &self.call.request
    }

    fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::with_capacity(8);
        headers.insert(REQUEST, HeaderValue::from_static("true"));
        if let Some(namespace) = self.who.namespace {
            headers.insert(NAMESPACE, namespace.clone());
        }
        if let Some(token) = self.who.token {
            headers.insert(TOKEN, token.clone());
            // A login serves calls of other requests, too.
            headers.extend(traceparent().map(|parent| (TRACEPARENT, parent)));
        }
        if self.call.consistent {
            headers.extend(self.consistency.headers().into_iter().flatten());
        }
        if self.call.request.body.is_some() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        headers
    }

    fn observe(&self, headers: &HeaderMap) {
        self.consistency.learn(headers);
    }

    fn name(&self) -> Option<&str> {
        self.who.role
    }
}
