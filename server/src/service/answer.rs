//! What a handler answers, and what is sent of it.

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
use crate::transport::idle::ActiveRequest;

/// An answer: status, the few header fields that any has, and content.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    content_type: Option<HeaderValue>,
    /// Of a redirect.
    location: Option<HeaderValue>,
    /// The method that would have been right.
    allow: Option<&'static str>,
    content: Content,
}

/// The content of an answer, as it is sent.
pub(crate) enum Content {
    Whole(Bytes),
    /// A stream goes on after its handler, and its request with it.
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

    /// 200 with JSON that is written already.
    pub(crate) fn json_text(text: impl Into<Bytes>) -> Self {
        Self::of_bytes(JSON, text.into())
    }

    /// 200 with JSON that may hold a plaintext. It is wiped once it is sent.
    pub(crate) fn secret_json(body: SecretBytes) -> Self {
        Self::of_bytes(JSON, Bytes::from_owner(body))
    }

    /// 200 with a text of another type.
    pub(crate) fn text(content_type: &'static str, text: String) -> Self {
        Self::of_bytes(HeaderValue::from_static(content_type), text.into())
    }

    /// 200 with lines that go on.
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

    /// The same, with the method that would have been right.
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

    /// 404 for a path that is none.
    pub(crate) fn not_found() -> Self {
        let text = HeaderValue::from_static("text/plain; charset=utf-8");
        let body = Content::Whole(Bytes::from_static(b"404 page not found\n"));
        Self::new(StatusCode::NOT_FOUND, Some(text), body)
    }

    /// What is sent. `headers` is that of the request, whose memory is used again.
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
        // An answer to HEAD has the head that it would have, and no content (RFC 9110, 9.3.2).
        // Over HTTP/2 hyper would send it, and the client end the connection for it.
        if is_head {
            if let Content::Whole(bytes) = &content {
                headers.insert(CONTENT_LENGTH, bytes.len().into());
            }
            content = Content::Whole(Bytes::new());
        }
        // Any other answer is only to be sent: a client that does not read it is idle.
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
