//! Answers, and their form on the wire.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{ACCEPT, ALLOW, CONTENT_LENGTH, CONTENT_TYPE, LOCATION};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use hyper::body::{Body, Frame, SizeHint};
use kes_api::SecretBytes;
use kes_api::body::ErrorBody;
use kes_api::message::Message;
use serde::Serialize;

use crate::observe::logging::stream::Lines;
use crate::transport::{ActiveRequest, fairness};

/// An answer: status, the few header fields that an answer can have, and content.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    content_type: Option<HeaderValue>,
    /// Of a redirect.
    location: Option<HeaderValue>,
    /// The method of the route, in the answer to another method.
    allow: Option<&'static str>,
    content: Content,
}

/// The content of an answer, as it is sent.
pub(crate) enum Content {
    Whole(Bytes),
    /// A stream, whose request is active until it ends.
    Lines {
        lines: Lines,
        request: Option<ActiveRequest>,
    },
}

impl Answer {
    fn new(status: StatusCode, content_type: Option<HeaderValue>, content: Content) -> Self {
        Self { status, content_type, location: None, allow: None, content }
    }

    fn of_bytes(content_type: HeaderValue, bytes: Bytes) -> Self {
        Self::new(StatusCode::OK, Some(content_type), Content::Whole(bytes))
    }

    /// Makes an answer of `len` bytes that an operation returned. If they are many, other
    /// connections run first.
    pub(crate) async fn encode(len: usize, encode: impl FnOnce() -> Self) -> Self {
        fairness::yield_after(len).await;
        encode()
    }

    /// 200 without content.
    pub(crate) fn empty() -> Self {
        Self::new(StatusCode::OK, None, Content::Whole(Bytes::new()))
    }

    /// 200 with JSON.
    pub(crate) fn json(body: &impl Serialize) -> Self {
        let mut text = serde_json::to_vec(body).expect("maps with text keys are JSON");
        text.push(b'\n');
        Self::json_text(text)
    }

    /// 200 with encoded JSON.
    pub(crate) fn json_text(text: impl Into<Bytes>) -> Self {
        Self::of_bytes(JSON, text.into())
    }

    /// 200 with encoded JSON that may hold a plaintext. It is wiped after it was sent.
    pub(crate) fn secret_json(body: SecretBytes) -> Self {
        Self::of_bytes(JSON, Bytes::from_owner(body))
    }

    /// 200 with a text of another type.
    pub(crate) fn text(content_type: &'static str, text: String) -> Self {
        Self::of_bytes(HeaderValue::from_static(content_type), text.into())
    }

    /// 200 with a stream of lines.
    pub(crate) fn lines(lines: Lines) -> Self {
        let content = Content::Lines { lines, request: None };
        let content_type = HeaderValue::from_static("application/x-ndjson");
        Self::new(StatusCode::OK, Some(content_type), content)
    }

    /// An error, in the contract's form.
    pub(crate) fn refusal(message: &Message) -> Self {
        let body = ErrorBody { message: message.text.to_string() };
        let status = StatusCode::from_u16(message.status);
        Self { status: status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), ..Self::json(&body) }
    }

    /// The same, with the method of the route.
    pub(crate) fn with_method(self, allow: &'static str) -> Self {
        Self { allow: Some(allow), ..self }
    }

    /// 307 to another path.
    pub(crate) fn redirect(location: &str) -> Self {
        match HeaderValue::from_str(location) {
            Ok(location) => Self {
                status: StatusCode::TEMPORARY_REDIRECT,
                location: Some(location),
                ..Self::empty()
            },
            Err(_) => Self::not_found(),
        }
    }

    /// 404 for a path without a route.
    pub(crate) fn not_found() -> Self {
        let text = HeaderValue::from_static("text/plain; charset=utf-8");
        let body = Content::Whole(Bytes::from_static(b"404 page not found\n"));
        Self::new(StatusCode::NOT_FOUND, Some(text), body)
    }

    /// The response. `headers` are those of the request: their memory is used again.
    pub(crate) fn into_response(
        self,
        mut headers: HeaderMap,
        is_head: bool,
        request: ActiveRequest,
    ) -> Response<Content> {
        headers.clear();
        if let Some(content_type) = self.content_type {
            headers.insert(CONTENT_TYPE, content_type);
        }
        if let Some(location) = self.location {
            headers.insert(LOCATION, location);
        }
        if let Some(allow) = self.allow {
            headers.insert(ACCEPT, HeaderValue::from_static(allow));
            headers.insert(ALLOW, HeaderValue::from_static(allow));
        }
        let mut content = self.content;
        // The answer to HEAD has the usual headers and no content (RFC 9110, 9.3.2). Over HTTP/2
        // hyper would send the content, and the client would close the connection.
        if is_head {
            if let Content::Whole(bytes) = &content {
                headers.insert(CONTENT_LENGTH, bytes.len().into());
            }
            content = Content::Whole(Bytes::new());
        }
        // Any other answer is complete: a client that does not read it is idle.
        if let Content::Lines { request: going_on, .. } = &mut content {
            *going_on = Some(request);
        }
        let mut response = Response::new(content);
        *response.status_mut() = self.status;
        *response.headers_mut() = headers;
        response
    }
}

impl Body for Content {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match &mut *self {
            Self::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Self::Lines { lines, .. } => {
                lines.poll_next(cx).map(|line| line.map(|line| Ok(Frame::data(line))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(bytes) if bytes.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Lines { .. } => SizeHint::default(),
        }
    }
}

const JSON: HeaderValue = HeaderValue::from_static("application/json");
