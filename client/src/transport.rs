//! One call, sent to one endpoint after the other.

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HeaderValue, USER_AGENT};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::client::legacy;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use kes_api::{Operation, SecretBytes, message};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use rustls::ClientConfig;
use tokio::time::{Instant, timeout_at};

use crate::body::{TIMEOUT, read};
use crate::connect::{Connector, KEEP_ALIVE};
use crate::endpoints::{Endpoint, Endpoints};
use crate::error::Error;
use crate::stream::LogStream;

/// The HTTP client, and the endpoints.
#[derive(Debug)]
pub(crate) struct Transport {
    http: legacy::Client<Connector, Full<Bytes>>,
    endpoints: Endpoints,
}

impl Transport {
    pub(crate) fn new(endpoints: Endpoints, tls: ClientConfig) -> Self {
        let http = legacy::Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .http2_keep_alive_interval(KEEP_ALIVE)
            .http2_keep_alive_timeout(KEEP_ALIVE)
            .build(Connector::new(tls));
        Self { http, endpoints }
    }

    pub(crate) fn endpoints(&self) -> &Endpoints {
        &self.endpoints
    }

    /// Makes a call and reads its answer. Returns the body and the endpoint that sent it.
    pub(crate) async fn call(
        &self,
        operation: Operation,
        resource: &str,
        body: Option<Bytes>,
    ) -> Result<(&Endpoint, SecretBytes), Error> {
        let (endpoint, response, deadline) = self.send(operation, resource, body).await?;
        let status = response.status();
        let body = read(endpoint, response, deadline).await?;
        if status == StatusCode::OK {
            Ok((endpoint, body))
        } else {
            Err(Error::status_of(endpoint, status, body.expose()))
        }
    }

    /// Opens a stream. The deadline holds only until the answer begins.
    pub(crate) async fn follow(&self, operation: Operation) -> Result<LogStream, Error> {
        let (endpoint, response, deadline) = self.send(operation, "", None).await?;
        match response.status() {
            StatusCode::OK => Ok(LogStream::new(endpoint.clone(), response)),
            status => {
                let body = read(endpoint, response, deadline).await?;
                Err(Error::status_of(endpoint, status, body.expose()))
            }
        }
    }

    /// Sends a request to the endpoints until one answers. Returns the deadline for the rest of the
    /// answer too.
    async fn send(
        &self,
        operation: Operation,
        resource: &str,
        body: Option<Bytes>,
    ) -> Result<(&Endpoint, Response<Incoming>, Instant), Error> {
        let path = path(operation, resource)?;
        let repeat = Repeat::of(operation);
        let mut attempts = self.endpoints.attempts();
        loop {
            let (index, endpoint) = attempts.next().expect("the last attempt returns");
            let is_last = attempts.len() == 0;
            let request = request(endpoint, operation, &path, body.clone())?;
            let deadline = Instant::now() + TIMEOUT;
            match self.attempt(endpoint, request, deadline).await {
                Ok(response) if !is_last && repeat.after_status(response.status()) => {}
                Ok(response) => {
                    self.endpoints.prefer(index);
                    return Ok((endpoint, response, deadline));
                }
                Err(failure) if !is_last && repeat.after_failure(&failure) => {}
                Err(failure) => return Err(failure.error),
            }
        }
    }

    async fn attempt(
        &self,
        endpoint: &Endpoint,
        request: Request<Full<Bytes>>,
        deadline: Instant,
    ) -> Result<Response<Incoming>, Failure> {
        match timeout_at(deadline, self.http.request(request)).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) if error.is_connect() => {
                Err(Failure { is_unsent: true, error: Error::connect(endpoint, &error) })
            }
            Ok(Err(error)) => {
                Err(Failure { is_unsent: false, error: Error::transport(endpoint, &error) })
            }
            Err(_) => Err(Failure { is_unsent: false, error: Error::timeout(endpoint, TIMEOUT) }),
        }
    }
}

/// Makes the request of a call.
fn request(
    endpoint: &Endpoint,
    operation: Operation,
    path: &str,
    body: Option<Bytes>,
) -> Result<Request<Full<Bytes>>, Error> {
    const AGENT: &str = concat!("kes/", env!("CARGO_PKG_VERSION"));
    let method = Method::from_bytes(operation.route().method.as_str().as_bytes())
        .expect("the table's methods are methods");
    let mut request = Request::builder()
        .method(method)
        .uri(endpoint.url(path))
        .header(USER_AGENT, HeaderValue::from_static(AGENT));
    if operation == Operation::Metrics {
        // Without a text format in `Accept` the server sends only some metrics.
        request = request.header(ACCEPT, HeaderValue::from_static("text/plain; version=0.0.4"));
    }
    if body.is_some() {
        request = request.header(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    request.body(Full::new(body.unwrap_or_default())).map_err(|error| Error::setup(&error))
}

/// A request that got no answer.
struct Failure {
    /// Whether the server certainly did not receive it, because there was no connection.
    is_unsent: bool,
    error: Error,
}

/// When a call is repeated on the next endpoint.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Repeat {
    /// If an endpoint gives no answer, or a status with which another endpoint may do better.
    Always,
    /// If an endpoint gives no answer. Any answer is about this endpoint.
    Unanswered,
    /// If the request was not sent. The call changes something, and a second one would fail if the
    /// first one succeeded.
    Unsent,
}

impl Repeat {
    fn of(operation: Operation) -> Self {
        use Operation as Op;
        match operation {
            Op::CreateKey | Op::ImportKey | Op::DeleteKey => Self::Unsent,
            Op::Version
            | Op::Ready
            | Op::Status
            | Op::Metrics
            | Op::ListApis
            | Op::ErrorLog
            | Op::AuditLog
            | Op::Refusals => Self::Unanswered,
            Op::DescribeKey
            | Op::ListKeys
            | Op::GenerateKey
            | Op::EncryptKey
            | Op::DecryptKey
            | Op::BulkDecrypt
            | Op::Hmac
            | Op::DescribePolicy
            | Op::ReadPolicy
            | Op::ListPolicies
            | Op::DescribeIdentity
            | Op::ListIdentities
            | Op::SelfDescribe => Self::Always,
        }
    }

    fn after_status(self, status: StatusCode) -> bool {
        let elsewhere =
            [StatusCode::BAD_GATEWAY, StatusCode::SERVICE_UNAVAILABLE, StatusCode::GATEWAY_TIMEOUT];
        self == Self::Always && elsewhere.contains(&status)
    }

    /// A call is not repeated after a timeout: the caller has waited long enough.
    fn after_failure(self, failure: &Failure) -> bool {
        failure.is_unsent
            || (self != Self::Unsent && !matches!(failure.error, Error::Timeout { .. }))
    }
}

/// The path of a call. The resource is escaped, so that it is one segment.
fn path(operation: Operation, resource: &str) -> Result<String, Error> {
    /// What a URL reserves is escaped, except for the `*` of patterns.
    const ESCAPED: &AsciiSet =
        &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b'*');

    // URLs cannot contain these two segments, even escaped.
    if matches!(resource, "." | "..") {
        let message = invalid(operation, resource);
        return Err(Error::Status { status: message.status, message: message.text.into_owned() });
    }
    Ok(format!("{}{}", operation.route().path, utf8_percent_encode(resource, ESCAPED)))
}

/// The server's answer to an invalid name.
fn invalid(operation: Operation, resource: &str) -> message::Message {
    use Operation as Op;
    match operation {
        Op::ListKeys | Op::ListPolicies | Op::ListIdentities => message::invalid_pattern(resource),
        Op::DescribePolicy | Op::ReadPolicy => message::invalid_policy_name(resource),
        Op::DescribeIdentity => message::invalid_identity(resource),
        _ => message::invalid_key_name(resource),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resource_is_one_segment() {
        for (resource, expected) in [
            ("my-key_1", "/v1/key/describe/my-key_1"),
            ("a/b", "/v1/key/describe/a%2Fb"),
            ("a%2Fb", "/v1/key/describe/a%252Fb"),
            ("../x?y#z", "/v1/key/describe/..%2Fx%3Fy%23z"),
            ("é", "/v1/key/describe/%C3%A9"),
            ("-_.~*", "/v1/key/describe/-_.~*"),
            (
                " !\"#$%&'()+,/:;<=>?@[\\]^`{|}\0\u{7f}",
                "/v1/key/describe/%20%21%22%23%24%25%26%27%28%29%2B%2C%2F%3A%3B%3C%3D%3E%3F%40%5B%5C\
                 %5D%5E%60%7B%7C%7D%00%7F",
            ),
            ("", "/v1/key/describe/"),
        ] {
            assert_eq!(path(Operation::DescribeKey, resource).unwrap(), expected);
        }
        assert_eq!(path(Operation::ListKeys, "my-*").unwrap(), "/v1/key/list/my-*");
        assert_eq!(path(Operation::Version, "").unwrap(), "/version");
        for resource in [".", ".."] {
            let error = path(Operation::DescribeKey, resource).unwrap_err().to_string();
            assert_eq!(error, message::invalid_key_name(resource).text);
        }
    }
}
